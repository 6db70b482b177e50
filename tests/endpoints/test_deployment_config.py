"""Every limit of a DeploymentConfig, with the value that is wrong and what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from kedge.endpoints.deployment_config import check, check_alarms
from kedge.errors import ValidationFailed
from tests.endpoints.test_deployment import fleet, variant


def size(value: int, kind: str = "CAPACITY_PERCENT") -> dict[str, Any]:
    return {"Type": kind, "Value": value}


def routed(kind: str, wait_s: int = 0, **more: Any) -> dict[str, Any]:
    return {"TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": wait_s, **more}}


def canary(value: int, kind: str = "CAPACITY_PERCENT", **more: Any) -> dict[str, Any]:
    return {"BlueGreenUpdatePolicy": {**routed("CANARY", more.pop("wait_s", 0), CanarySize=size(value, kind)), **more}}


def linear(value: int, kind: str = "CAPACITY_PERCENT", **more: Any) -> dict[str, Any]:
    step = size(value, kind)
    return {"BlueGreenUpdatePolicy": {**routed("LINEAR", more.pop("wait_s", 0), LinearStepSize=step), **more}}


def rolling(value: int, kind: str = "CAPACITY_PERCENT", wait_s: int = 0, **more: Any) -> dict[str, Any]:
    policy = {"MaximumBatchSize": size(value, kind), "WaitIntervalInSeconds": wait_s, **more}
    return {"RollingUpdatePolicy": policy}


ALL = {"BlueGreenUpdatePolicy": routed("ALL_AT_ONCE")}
COUNT = "INSTANCE_COUNT"
TIMEOUT = "MaximumExecutionTimeoutInSeconds"

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({**ALL, **rolling(10)}, "gives both BlueGreenUpdatePolicy and RollingUpdatePolicy"),
    ({"AutoRollbackConfiguration": {"Alarms": [{}]}}, "without an AlarmName"),
    ({"BlueGreenUpdatePolicy": routed("CANARY")}, "Type CANARY needs CanarySize"),
    ({"BlueGreenUpdatePolicy": routed("LINEAR")}, "Type LINEAR needs LinearStepSize"),
    ({"BlueGreenUpdatePolicy": routed("ALL_AT_ONCE", CanarySize=size(10))}, "CanarySize with the Type ALL_AT_ONCE"),
    (
        {"BlueGreenUpdatePolicy": routed("CANARY", CanarySize=size(10), LinearStepSize=size(10))},
        "LinearStepSize with the Type CANARY",
    ),
    (canary(51), "CanarySize is 51 % of the instances; it has to be 50 % at most"),
    (canary(3, COUNT), r"CanarySize is 3 instance\(s\), 75 % of the 4 of variant v; it has to be 50 % at most"),
    (linear(9), "LinearStepSize is 9 % of the instances; it has to be 10 to 50 %"),
    (linear(51), "LinearStepSize is 51 %"),
    (linear(3, COUNT), r"LinearStepSize is 3 instance\(s\), 75 % of the 4"),
    (rolling(4), "MaximumBatchSize is 4 % of the instances; it has to be 5 to 50 %"),
    (rolling(51), "MaximumBatchSize is 51 %"),
    (rolling(3, COUNT), r"MaximumBatchSize is 3 instance\(s\), 75 % of the 4"),
    (rolling(10, RollbackMaximumBatchSize=size(101)), "RollbackMaximumBatchSize is 101 %"),
    (rolling(10, RollbackMaximumBatchSize=size(9, COUNT)), r"RollbackMaximumBatchSize is 9 instance\(s\), 225 %"),
    (canary(10, wait_s=600, **{TIMEOUT: 600}), f"{TIMEOUT} is 600, but the waits of the deployment alone take 600 s"),
    (canary(10, wait_s=300, TerminationWaitInSeconds=300, **{TIMEOUT: 600}), "alone take 600 s"),
    (linear(10, wait_s=100, **{TIMEOUT: 900}), "alone take 900 s"),
    (rolling(50, wait_s=300, **{TIMEOUT: 600}), "alone take 600 s"),
    ({"BlueGreenUpdatePolicy": {**routed("ALL_AT_ONCE"), "TerminationWaitInSeconds": 3600, TIMEOUT: 3600}}, "3600 s"),
]

ALLOWED: list[dict[str, Any] | None] = [
    None,
    {},
    ALL,
    {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}},
    canary(1),
    canary(50),
    canary(2, COUNT),
    linear(10, wait_s=60, **{TIMEOUT: 600}),
    linear(1, COUNT),
    rolling(5),
    rolling(2, COUNT, RollbackMaximumBatchSize=size(4, COUNT)),
    {"BlueGreenUpdatePolicy": {**routed("ALL_AT_ONCE", 3600), TIMEOUT: 600}},
]


@pytest.mark.parametrize(("config", "says"), REFUSED)
def test_what_cannot_be_followed_is_refused(config: dict[str, Any], says: str):
    with pytest.raises(ValidationFailed, match=says):
        check(config, fleet(1, variant(desired=4, current=4)), fleet(2, variant(desired=4)))


@pytest.mark.parametrize("config", ALLOWED)
def test_what_is_within_the_limits_is_taken(config: dict[str, Any] | None):
    check(config, fleet(1, variant(desired=4, current=4)), fleet(2, variant(desired=4)))
    check(config, None, fleet(1, variant(desired=4)))


def test_counts_are_measured_against_each_variant():
    with pytest.raises(ValidationFailed, match="100 % of the 1 of variant b"):
        check(canary(1, COUNT), None, fleet(1, variant("a", desired=2), variant("b")))


def test_an_alarm_has_to_be_there_and_quiet():
    config = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "fine"}, {"AlarmName": "other"}]}}
    check_alarms(config, {"fine": "OK", "other": "INSUFFICIENT_DATA"}.get)
    with pytest.raises(ValidationFailed, match='the alarm "other", which is not there'):
        check_alarms(config, {"fine": "OK"}.get)
    with pytest.raises(ValidationFailed, match='"other" of AutoRollbackConfiguration is in state ALARM already'):
        check_alarms(config, {"fine": "OK", "other": "ALARM"}.get)
    check_alarms(None, {}.get)
