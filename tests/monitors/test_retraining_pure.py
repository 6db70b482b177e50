"""Tags of a retraining, what keeps one from beginning, and what is asked for: tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kedge.errors import ValidationFailed
from kedge.jobs.records import Status as JobStatus
from kedge.monitors.retraining import course, renewal, requests
from kedge.monitors.retraining.course import (
    UNWATCHED,
    Become,
    Deploy,
    Earlier,
    Job,
    Judged,
    Prepare,
    Seen,
    Serving,
    StopPreparing,
    Train,
)
from kedge.monitors.retraining.records import Phase, Run
from kedge.monitors.retraining.renewal import BAKING, LABELLED, Renewal
from kedge.monitors.retraining.settings import Limit, Settings, of_tags

DAY_S = 86400.0
RUN = Run("0123456789abcdef", "quality", "u", 1000.0, start_s=500.0, end_s=900.0, endpoint="wine")


def tags(**given: str) -> list[dict[str, str]]:
    return [{"Key": f"kedge:{key.replace('_', '-')}", "Value": value} for key, value in given.items()]


def test_tags_are_settings():
    assert of_tags([]) is None
    assert of_tags([{"Key": "kedge:retraining-of", "Value": "a"}]) is None
    assert of_tags(tags(retrain="job")) == Settings("job")
    found = of_tags(
        tags(
            retrain="s3://b/template.json", retrain_channel="train", retrain_window="P7D", retrain_on="any drift",
            retrain_cool_down="PT0S", retrain_most_a_day="9", retrain_at_least="accuracy=0.9",
            retrain_at_most="validation:rmse=3e1", retrain_group="g", retrain_approval="manual",
            retrain_approve_within="PT1H", retrain_variant="v", retrain_canary="5", retrain_bake="0",
            retrain_alarm="a b", retrain_baselines="keep", retrain_csv="rows",
        )
    )  # fmt: skip
    limits = (Limit("accuracy", 0.9, True), Limit("validation:rmse", 30.0, False))
    assert found == Settings(
        "s3://b/template.json", "train", 7 * DAY_S, "any drift", 0.0, 9, limits, "g", "manual", 3600.0, "v", 5, 0,
        "a b", "keep", "rows",
    )  # fmt: skip
    assert Settings.of(found.document()) == found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"retrain_canary": "10"}, "without kedge:retrain,"),
        ({"retrain": ""}, "without kedge:retrain,"),
        ({"retrain": "https://x"}, 'kedge:retrain is "https://x"'),
        ({"retrain": "j", "retrain_speed": "9"}, 'The tag "kedge:retrain-speed" is no setting'),
        ({"retrain": "j", "retrain_on": "monday"}, '"monday"; it has to be "concept drift" or "any drift"'),
        ({"retrain": "j", "retrain_window": "long"}, "kedge:retrain-window: .*long"),
        ({"retrain": "j", "retrain_window": "PT0S"}, "longer than nothing"),
        ({"retrain": "j", "retrain_canary": "51"}, '"51"; it has to be a whole number from 1 to 50'),
        ({"retrain": "j", "retrain_bake": "-1"}, "from 0 to 3600"),
        ({"retrain": "j", "retrain_most_a_day": "0"}, "from 1 to 100"),
        ({"retrain": "j", "retrain_at_least": "accuracy"}, "METRIC=NUMBER"),
        ({"retrain": "j", "retrain_at_most": "=1"}, "METRIC=NUMBER"),
        ({"retrain": "j", "retrain_at_most": "a=nan"}, "METRIC=NUMBER"),
        ({"retrain": "j", "retrain_alarm": ""}, "is empty"),
        ({"retrain": "j", "retrain_csv": "recent"}, 'kedge:retrain-csv" names the channel "recent"'),
        ({"retrain": "j", "retrain_approval": "manual"}, "without kedge:retrain-group"),
    ],
)
def test_a_tag_that_cannot_be_is_named(given: dict[str, str], says: str):
    with pytest.raises(ValidationFailed, match=says):
        of_tags(tags(**given))


def earlier(phase: Phase, began_s: float, ended_s: float) -> Earlier:
    return Earlier("the one before", phase, began_s, ended_s, ended_s)


@pytest.mark.parametrize(
    ("verdict", "others", "settings", "says"),
    [
        ("concept drift", [], {}, ""),
        (UNWATCHED, [], {}, ""),
        ("both", [], {}, "The verdict is both. advice"),
        ("both", [], {"on": "any drift"}, ""),
        ("none", [], {}, "The verdict is none"),
        ("concept drift", [earlier(Phase.TRAINING, 0, 0)], {}, "goes on"),
        ("concept drift", [earlier(Phase.DECIDING, 0, 0)], {}, ""),
        (
            "concept drift",
            [earlier(Phase.FAILED, 0, 1000)],
            {},
            "cool-down after the one before lasts for another 21600",
        ),
        ("concept drift", [earlier(Phase.NOT_BEGUN, 999, 999)], {}, ""),
        ("concept drift", [earlier(Phase.FAILED, 0, 1000)], {"cool_down_s": 0.0}, ""),
        ("concept drift", [earlier(Phase.PROMOTED, 0, 501)], {"cool_down_s": 0.0}, "tells of the one before"),
        ("concept drift", [earlier(Phase.PROMOTED, 0, 500)], {"cool_down_s": 0.0}, ""),
        ("concept drift", [earlier(Phase.STOPPED, 0, 1)] * 4, {"cool_down_s": 0.0}, "4 retrainings have begun"),
    ],
)
def test_what_keeps_one_from_beginning(verdict: str, others: list[Earlier], settings: dict[str, Any], says: str):
    found = course.refusal(RUN, Settings("j", **settings), others, Judged(verdict, "", "advice"), 1000.0)
    assert says in found
    assert bool(found) == bool(says)


def test_what_is_asked_for_by_hand_waits_for_nothing_but_the_one_that_goes_on():
    run = replace(RUN, asked_by="somebody")
    ended = [earlier(Phase.PROMOTED, 0, 1000)] * 9
    assert course.refusal(run, Settings("j"), ended, Judged("both", ""), 1000.0) == ""
    assert course.refusal(run, Settings("j"), [earlier(Phase.DEPLOYING, 0, 0)], Judged("both", ""), 1000.0)


IN_SERVICE = Serving("InService", "c")


@pytest.mark.parametrize(
    ("phase", "seen", "then"),
    [
        (Phase.PREPARING, Seen(endpoint=IN_SERVICE), Prepare()),
        (Phase.PREPARING, Seen(endpoint=IN_SERVICE, rows=Job(JobStatus.IN_PROGRESS)), None),
        (Phase.PREPARING, Seen(endpoint=IN_SERVICE, rows=Job(JobStatus.COMPLETED)), Become(Phase.TRAINING)),
        (Phase.PREPARING, Seen(endpoint=IN_SERVICE, rows=Job(JobStatus.FAILED)), Phase.FAILED),
        (Phase.PREPARING, Seen(rows=Job(JobStatus.IN_PROGRESS)), StopPreparing()),
        (Phase.PREPARING, Seen(rows=Job(JobStatus.STOPPING)), None),
        (Phase.PREPARING, Seen(rows=Job(JobStatus.STOPPED)), Phase.STOPPED),
        (Phase.TRAINING, Seen(endpoint=IN_SERVICE), Train()),
        (Phase.TRAINING, Seen(endpoint=IN_SERVICE, job=Job(JobStatus.IN_PROGRESS)), None),
        (Phase.TRAINING, Seen(endpoint=IN_SERVICE, job=Job(JobStatus.COMPLETED)), Become(Phase.REGISTERING)),
        (Phase.TRAINING, Seen(endpoint=IN_SERVICE, job=Job(JobStatus.STOPPED)), Phase.FAILED),
        (Phase.TRAINING, Seen(), Phase.STOPPED),
        (Phase.TRAINING, Seen(job=Job(JobStatus.STOPPING)), None),
        (Phase.REGISTERING, Seen(endpoint=IN_SERVICE), Become(Phase.DEPLOYING)),
        (Phase.REGISTERING, Seen(schedule=False, endpoint=IN_SERVICE), Phase.STOPPED),
        (Phase.APPROVING, Seen(endpoint=IN_SERVICE), Phase.FAILED),
        (Phase.APPROVING, Seen(endpoint=IN_SERVICE, approval="PendingManualApproval"), None),
        (Phase.DEPLOYING, Seen(endpoint=IN_SERVICE), Deploy()),
        (Phase.DEPLOYING, Seen(endpoint=replace(IN_SERVICE, status="Updating")), None),
        (Phase.DEPLOYING, Seen(endpoint=replace(IN_SERVICE, status="Failed")), Phase.FAILED),
        (Phase.DEPLOYING, Seen(endpoint=Serving("Updating", "c", RUN.made)), None),
        (Phase.DEPLOYING, Seen(endpoint=Serving("InService", RUN.made)), Become(Phase.RENEWING)),
        (Phase.DEPLOYING, Seen(endpoint=IN_SERVICE, outcome="Succeeded"), Become(Phase.RENEWING)),
        (Phase.DEPLOYING, Seen(schedule=False, endpoint=IN_SERVICE, outcome="Succeeded"), Become(Phase.PROMOTED)),
        (Phase.DEPLOYING, Seen(endpoint=IN_SERVICE, outcome="RolledBack"), Phase.ROLLED_BACK),
        (Phase.DEPLOYING, Seen(endpoint=None, outcome="Deleted"), Phase.ROLLED_BACK),
        (Phase.DEPLOYING, Seen(endpoint=None), Phase.STOPPED),
        (Phase.PROMOTED, Seen(), None),
    ],
)
def test_one_step(phase: Phase, seen: Seen, then: Any):
    found = course.step(RUN, phase, Settings("j"), seen, 1000.0)
    if isinstance(then, Phase):
        assert isinstance(found, Become)
        assert (found.phase, bool(found.reason)) == (then, True)
    else:
        assert found == then


def test_baselines_are_kept_where_a_tag_says_so():
    seen = Seen(endpoint=Serving("InService", RUN.made))
    assert course.step(RUN, Phase.DEPLOYING, Settings("j", baselines="keep"), seen, 1000.0) == Become(Phase.PROMOTED)


def test_windows_are_of_the_new_model_from_its_deployment_on_and_not_from_the_end_of_its_baselines():
    before = Earlier("the one before", Phase.PROMOTED, 0, 900, 400)
    assert course.refusal(RUN, Settings("j", cool_down_s=0.0), [before], Judged("concept drift", ""), 1000.0) == ""


def test_waiting_ends_some_day():
    waiting = Seen(endpoint=replace(IN_SERVICE, status="Updating"), approval="PendingManualApproval")
    for phase, within_s in ((Phase.DEPLOYING, DAY_S), (Phase.APPROVING, 7 * DAY_S)):
        assert course.due_in_s(RUN, phase, Settings("j"), 1000.0) == within_s
        assert course.step(RUN, phase, Settings("j"), waiting, 999.0 + within_s) is None
        found = course.step(RUN, phase, Settings("j"), waiting, 1000.0 + within_s)
        assert isinstance(found, Become)
        assert found.phase is Phase.FAILED


def test_how_it_is_deployed():
    assert requests.update(RUN, Settings("j"), has_policy=True)["RetainDeploymentConfig"]
    for settings in (Settings("j"), Settings("j", canary=20, alarm="a")):
        asked = requests.update(RUN, settings, has_policy=settings.canary is not None)["DeploymentConfig"]
        routing = asked["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
        assert routing["CanarySize"]["Value"] == (settings.canary or 10)
        assert ("AutoRollbackConfiguration" in asked) == bool(settings.alarm)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"Containers": [{}, {}]}, "has 2 containers"),
        ({}, "has 0 containers"),
        ({"PrimaryContainer": {"Image": "i", "Mode": "MultiModel"}}, "serves many models"),
    ],
)
def test_models_that_are_not_retrained(model: dict[str, Any], says: str):
    with pytest.raises(ValidationFailed, match=says):
        requests.container({"ModelName": "m", **model}, "s3://b/m")


def test_the_variant_whose_model_is_replaced():
    two = {"EndpointConfigName": "c", "ProductionVariants": [
        {"VariantName": "a", "ModelName": "m"}, {"VariantName": "b", "ModelName": "m"}, {"VariantName": "room"},
    ]}  # fmt: skip
    with pytest.raises(ValidationFailed, match="has 3 variants; the tag kedge:retrain-variant has to name one of a, b"):
        requests.chosen(two, Settings("j"))
    with pytest.raises(ValidationFailed, match='has no variant "x"'):
        requests.chosen(two, Settings("j", variant="x"))
    with pytest.raises(ValidationFailed, match="inference components"):
        requests.chosen(two, Settings("j", variant="room"))
    made = requests.endpoint_config(two, [{"Key": "kedge:trial", "Value": "captured"}], RUN, Settings("j", variant="b"))
    assert [each.get("ModelName") for each in made["ProductionVariants"]] == ["m", RUN.made, None]
    assert {"Key": "kedge:trial", "Value": "captured"} in made["Tags"]


def test_names_fit():
    run = replace(RUN, schedule="q" * 63)
    assert len(run.made) <= 63
    assert len(requests.training_job({}, run, Settings("j"))["TrainingJobName"]) <= 63
    assert len(run.preparing) <= 63
    renewed = Renewal(19, "d" * 63, "u", "s3://b/c")
    assert len(renewal.definition_name(run, renewed)) <= 63
    for source in (LABELLED, BAKING):
        assert len(renewal.job_name(run, replace(renewed, source=source))) <= 63
