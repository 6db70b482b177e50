"""What the options of `kedge deploy` ask UpdateEndpoint for."""

from __future__ import annotations

from typing import Any

import click
import pytest

from kedge.cli.rollout import Rollout, bake_seconds, news, trial_settings


def blue_green(traffic: dict[str, Any], final_s: int, alarms: tuple[str, ...] = ()) -> dict[str, Any]:
    config: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": traffic, "TerminationWaitInSeconds": final_s}
    }
    if alarms:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return config


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


@pytest.mark.parametrize(
    ("way", "want"),
    [
        (Rollout(), None),
        (
            Rollout(canary=10, bake_s=300, alarms=("a", "b")),
            blue_green({"Type": "CANARY", "CanarySize": percent(10), "WaitIntervalInSeconds": 300}, 0, ("a", "b")),
        ),
        (
            Rollout(linear=25, bake_s=60, final_bake_s=120),
            blue_green({"Type": "LINEAR", "LinearStepSize": percent(25), "WaitIntervalInSeconds": 60}, 120),
        ),
        (Rollout(bake_s=60), blue_green({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 60}, 60)),
        (
            Rollout(rolling=50),
            {"RollingUpdatePolicy": {"MaximumBatchSize": percent(50), "WaitIntervalInSeconds": 0}},
        ),
    ],
)
def test_the_deployment_config(way: Rollout, want: dict[str, Any] | None):
    assert way.deployment_config() == want


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Rollout(canary=10, linear=10), "--canary and --linear"),
        (Rollout(rolling=10, final_bake_s=1), "keeps no old fleet"),
    ],
)
def test_two_ways_at_once_are_refused(way: Rollout, said: str):
    with pytest.raises(click.UsageError, match=said):
        way.deployment_config()


def test_the_tags_of_a_trial():
    assert trial_settings(None, ()) == ()
    way = Rollout(trial=trial_settings("captured", ("max-p99=200",)))
    assert not way.is_asked_for
    assert way.deployment_config() is None
    assert way.trial_tags() == [
        {"Key": "kedge:trial", "Value": "captured"},
        {"Key": "kedge:trial-max-p99", "Value": "200"},
    ]
    for source, given in ((None, ("rate=1",)), ("captured", ("rate",)), ("captured", ("=1",))):
        with pytest.raises(click.UsageError):
            trial_settings(source, given)


def test_times():
    assert (bake_seconds("--bake", "5m"), bake_seconds("--bake", None)) == (300, None)
    for text in ("2h", "5", "-1s", "x"):
        with pytest.raises(click.UsageError):
            bake_seconds("--bake", text)
    assert Rollout(linear=30, bake_s=10, final_bake_s=5).waits_s == 45


def test_news_of_both_fleets():
    def variant(status: str, message: str) -> dict[str, Any]:
        return {"VariantName": "a", "VariantStatus": [{"Status": status, "StatusMessage": message}]}

    endpoint = {
        "EndpointConfigName": "blue",
        "ProductionVariants": [{"VariantName": "a"}],
        "PendingDeploymentSummary": {
            "EndpointConfigName": "green",
            "ProductionVariants": [variant("Baking", "Baking for 5 seconds")],
        },
    }
    assert list(news(endpoint)) == ["green a: Baking: Baking for 5 seconds"]
