"""From an alert to a promoted model, step by step, on a clock moved by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kedge.compute.base import TaskState
from kedge.errors import ServiceError, ValidationFailed
from kedge.monitors.retraining.records import GOING, Phase
from kedge.objects.of_account import AccountObjects
from tests.endpoints import world as worlds
from tests.endpoints.world import ACCOUNT
from tests.monitors.retraining_lab import CAPTURE, SCOPE, TEMPLATE, Lab
from tests.objects.putting import put_bytes

HOUR_S = 3600.0


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(tmp_path / "data")
    await made.prepare()
    yield made
    made.close()


async def body(lab: Lab, uri: str) -> bytes:
    return await AccountObjects(lab.world.objects, ACCOUNT).read(uri, 1 << 20)


async def test_an_alert_ends_in_a_promoted_model(lab: Lab):
    lab.alert()
    await lab.step()
    shown = lab.newest()
    assert (shown["RetrainingStatus"], shown["Verdict"]) == ("Training", "quality moved, inputs unwatched")
    (job,) = lab.training()
    request = job.document["request"]
    assert request["HyperParameters"] == TEMPLATE["HyperParameters"]
    (channel,) = request["InputDataConfig"]
    source = channel["DataSource"]["S3DataSource"]
    assert (channel["ChannelName"], source["S3DataType"]) == ("recent", "ManifestFile")
    manifest = json.loads(await body(lab, source["S3Uri"]))
    assert manifest == [{"prefix": "s3://models/"}, "out/merge/wine/v/2026/01/02/02/part.jsonl"]
    assert request["Environment"] == {
        "KEDGE_RETRAIN_FROM": "2026-01-02T02:04:05Z", "KEDGE_RETRAIN_UNTIL": "2026-01-02T03:04:05Z",
    }  # fmt: skip
    lab.end_training()
    await lab.step()
    assert lab.newest()["RetrainingStatus"] == "Deploying"
    await lab.settle()
    await lab.settle(300)
    await lab.settle(300)
    assert lab.newest()["RetrainingStatus"] == "Promoted"
    made = shown["RetrainingName"]
    assert lab.endpoint() == ("InService", made)
    (update,) = [request for operation, request in lab.acted if operation == "UpdateEndpoint"]
    routing = update["DeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert (routing["Type"], routing["CanarySize"]["Value"], routing["WaitIntervalInSeconds"]) == ("CANARY", 10, 300)
    model = lab.do("DescribeModel", ModelName=made)["PrimaryContainer"]
    assert model == {"Image": "kedge/sklearn", "ModelDataUrl": f"s3://models/trained/{made}/output/model.tar.gz"}
    config = lab.do("DescribeEndpointConfig", EndpointConfigName=made)
    assert config["DataCaptureConfig"]["DestinationS3Uri"] == "s3://models/captured"
    said = [each.detail["RetrainingStatus"] for each in lab.world.store.outbox(1000) if each.source == "kedge.monitors"]
    assert said == ["Deciding", "Training", "Registering", "Deploying", "Promoted"]


async def test_windows_of_the_model_before_and_the_cool_down_begin_nothing(lab: Lab):
    lab.alert()
    await lab.step()
    lab.end_training()
    await lab.settle()
    await lab.settle(600)
    await lab.settle(600)
    assert lab.newest()["RetrainingStatus"] == "Promoted"
    lab.alert()
    await lab.step()
    assert "tells of the one before" in lab.newest()["Reason"]
    lab.world.clock.advance(2 * HOUR_S)
    lab.alert()
    await lab.step()
    assert (lab.newest()["RetrainingStatus"], "cool-down" in lab.newest()["Reason"]) == ("NotBegun", True)
    lab.world.clock.advance(4 * HOUR_S)
    lab.alert()
    await lab.step()
    assert lab.newest()["RetrainingStatus"] == "Training"


async def test_one_at_a_time_and_no_more_than_so_many_a_day(tmp_path: Path):
    lab = Lab(tmp_path / "data", **{"retrain-most-a-day": "2", "retrain-cool-down": "PT0S"})
    await lab.prepare()
    for _ in range(2):
        lab.alert()
        await lab.step()
        lab.world.clock.advance(60)
        lab.alert()
        await lab.step()
        assert "a monitor has one at a time" in lab.newest()["Reason"]
        with pytest.raises(ValidationFailed, match="one at a time"):
            lab.by_hand()
        lab.end_training(status="Failed")
        lab.world.clock.advance(60)
        await lab.step()
    states = [phase for _, phase in lab.runs()]
    assert states == [Phase.FAILED, Phase.NOT_BEGUN] * 2
    assert "AlgorithmError: no" in lab.runs()[0][0].reason
    lab.alert()
    await lab.step()
    assert lab.newest()["Reason"] == "2 retrainings have begun within a day, of at most 2."
    lab.world.clock.advance(60)
    lab.by_hand()
    await lab.step()
    assert lab.newest()["RetrainingStatus"] == "Training"
    lab.close()


@pytest.mark.parametrize("crash", ["", "CreateProcessingJob"])
async def test_a_channel_gets_csv_of_the_same_records(tmp_path: Path, crash: str):
    lab = Lab(tmp_path / "data", **{"retrain-csv": "train"})
    lab.crash_after = crash
    await lab.prepare()
    lab.alert()
    await lab.step()
    lab.restart()
    await lab.step()
    assert lab.newest()["RetrainingStatus"] == "PreparingData"
    assert "TrainingJobArn" not in lab.newest()
    (job,) = lab.baselining()
    request = job.document["request"]
    assert request["AppSpecification"]["ImageUri"] == "1.dkr/sagemaker-model-monitor-groundtruth-merger"
    assert request["ProcessingInputs"][0]["S3Input"]["S3Uri"] == lab.newest()["DataS3Uri"]
    assert request["Environment"]["start_time"] == "2026-01-02T02:04:05Z"
    lab.end_baselining()
    await lab.step()
    (training,) = lab.training()
    channels = {each["ChannelName"]: each for each in training.document["request"]["InputDataConfig"]}
    assert channels.keys() == {"recent", "train"}
    out = request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"]
    assert channels["train"]["DataSource"]["S3DataSource"]["S3Uri"] == f"{out}/"
    assert channels["train"]["ContentType"] == "text/csv"
    lab.close()


async def test_without_its_csv_nothing_is_trained(tmp_path: Path):
    lab = Lab(tmp_path / "data", **{"retrain-csv": "train", "retrain-cool-down": "PT0S"})
    await lab.prepare()
    lab.alert()
    await lab.step()
    lab.end_baselining(status="Failed")
    await lab.step()
    shown = lab.newest()
    assert (shown["RetrainingStatus"], lab.training()) == ("Failed", [])
    assert "No CSV was made of the labelled records" in shown["Reason"]
    lab.world.clock.advance(1)
    lab.alert()
    await lab.step()
    lab.by_hand("Stop")
    await lab.step()
    assert [each.status for each in lab.baselining()] == ["Stopping"]
    lab.end_baselining()
    await lab.step()
    assert lab.newest()["RetrainingStatus"] == "Stopped"
    lab.close()


async def test_a_rollback_leaves_the_model_that_served(lab: Lab):
    lab.alert()
    await lab.step()
    lab.end_training()
    await lab.step()
    await lab.world.settle()
    lab.world.engine.put_all(TaskState.STARTING, TaskState.FAILED, "it does not load")
    await lab.settle()
    shown = lab.newest()
    assert (shown["RetrainingStatus"], lab.endpoint()) == ("RolledBack", ("InService", "c"))
    assert "it does not load" in shown["Reason"]


async def test_what_the_new_model_has_to_reach(tmp_path: Path):
    lab = Lab(tmp_path / "data", **{"retrain-at-least": "accuracy=0.9", "retrain-cool-down": "PT0S"})
    await lab.prepare()
    for told, says in (
        ({"accuracy": 0.8}, "accuracy 0.8; it has to be accuracy at least 0.9"),
        ({"f": 1.0}, "told: f"),
    ):
        lab.world.clock.advance(1)
        lab.alert()
        await lab.step()
        lab.end_training(metrics=told)
        await lab.step()
        assert (lab.newest()["RetrainingStatus"], says in lab.newest()["Reason"]) == ("Failed", True)
    lab.world.clock.advance(1)
    lab.alert()
    await lab.step()
    lab.end_training(metrics={"accuracy": 0.9})
    await lab.step()
    assert lab.newest()["RetrainingStatus"] == "Deploying"
    lab.close()


@pytest.mark.parametrize(("answer", "ends"), [("Approved", "Promoted"), ("Rejected", "Rejected"), ("", "Failed")])
async def test_a_version_of_the_group_waits_for_its_approval(tmp_path: Path, answer: str, ends: str):
    lab = Lab(tmp_path / "data", **{"retrain-group": "wines", "retrain-approval": "manual", "retrain-bake": "0"})
    await lab.prepare()
    lab.alert()
    await lab.step()
    lab.end_training()
    await lab.settle(HOUR_S)
    assert lab.newest()["RetrainingStatus"] == "PendingApproval"
    if answer:
        lab.approve(answer)
    await lab.settle(0 if answer else 7 * 24 * HOUR_S)
    await lab.settle(1)
    await lab.settle(1)
    shown = lab.newest()
    assert shown["RetrainingStatus"] == ends
    assert shown["ModelPackageArn"].endswith(":model-package/wines/1")
    assert len(lab.do("ListModelPackages", ModelPackageGroupName="wines")["ModelPackageSummaryList"]) == 1
    lab.close()


@pytest.mark.parametrize(
    "after", ["CreateTrainingJob", "CreateModelPackage", "CreateModel", "CreateEndpointConfig", "UpdateEndpoint"]
)
async def test_a_kill_right_after_a_call_repeats_nothing(tmp_path: Path, after: str):
    lab = Lab(tmp_path / "data", **{"retrain-group": "wines", "retrain-bake": "0"})
    await lab.prepare()
    lab.crash_after = after
    lab.alert()
    for _ in range(6):
        await lab.step()
        lab.restart()
        lab.end_training()
        await lab.settle(1)
    assert lab.crash_after == ""
    assert lab.newest()["RetrainingStatus"] == "Promoted"
    done = [operation for operation, _ in lab.acted]
    once = ["CreateTrainingJob", "CreateModelPackage", "CreateModel", "CreateEndpointConfig", "UpdateEndpoint"]
    assert [each for each in done if each != "CreateModelPackage"] == [o for o in once if o != "CreateModelPackage"]
    # It is asked for again by the same token, so that there is one all the same.
    assert len(lab.do("ListModelPackages", ModelPackageGroupName="wines")["ModelPackageSummaryList"]) == 1
    lab.close()


@pytest.mark.parametrize("what", ["schedule", "endpoint", "stop"])
async def test_what_is_taken_away_while_it_trains_stops_the_training(lab: Lab, what: str):
    lab.alert()
    await lab.step()
    match what:
        case "schedule":
            lab.do("DeleteMonitoringSchedule", MonitoringScheduleName="quality")
        case "endpoint":
            lab.do("DeleteEndpoint", EndpointName="wine")
        case _:
            lab.by_hand("Stop")
    await lab.step()
    assert [each.status for each in lab.training()] == ["Stopping"]
    lab.end_training()
    await lab.step()
    ((run, phase),) = lab.runs()
    says = {"schedule": 'schedule "quality" was deleted', "endpoint": 'endpoint "wine" was deleted'}
    assert (phase, says.get(what, "stopped it") in run.reason) == (Phase.STOPPED, True)


async def test_a_schedule_that_is_deleted_leaves_the_deployment_to_itself(lab: Lab):
    lab.alert()
    await lab.step()
    lab.end_training()
    await lab.step()
    lab.do("DeleteMonitoringSchedule", MonitoringScheduleName="quality")
    lab.schedule()
    await lab.settle()
    ((run, phase),) = lab.runs()
    assert (phase, "under way goes on" in run.reason) == (Phase.STOPPED, True)
    for _ in range(3):
        await lab.settle(300)
    assert lab.endpoint() == ("InService", run.made)


async def test_an_endpoint_that_others_change_is_waited_for(lab: Lab):
    lab.world.make_config("other", worlds.variant(InstanceType="ml.m5.xlarge"), DataCaptureConfig=CAPTURE)
    lab.alert()
    await lab.step()
    lab.do("UpdateEndpoint", EndpointName="wine", EndpointConfigName="other")
    lab.end_training()
    await lab.step()
    assert lab.newest()["RetrainingStatus"] == "Deploying"
    assert "UpdateEndpoint" not in [operation for operation, _ in lab.acted]
    await lab.settle()
    config = lab.do("DescribeEndpointConfig", EndpointConfigName=lab.newest()["RetrainingName"])
    assert config["ProductionVariants"][0]["InstanceType"] == "ml.m5.xlarge"


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("s3://models/template.json", ""),
        ("s3://models/broken.json", "is no JSON"),
        ("s3://models/list.json", "has to be a JSON object"),
        ("s3://models/none.json", "none.json"),
        ("nobody", 'the training job "nobody", which is not there'),
    ],
)
async def test_templates_in_s3_and_those_that_are_none(tmp_path: Path, template: str, says: str):
    lab = Lab(tmp_path / "data", retrain=template)
    await lab.prepare()
    own = {**TEMPLATE, "HyperParameters": {**TEMPLATE["HyperParameters"], "depth": "3"}}
    for name, text in (("template", json.dumps(own)), ("broken", "{"), ("list", "[]")):
        put_bytes(lab.world.objects, "models", f"{name}.json", text.encode())
    lab.alert()
    await lab.step()
    shown = lab.newest()
    if says:
        assert (shown["RetrainingStatus"], says in shown["Reason"]) == ("Failed", True), shown
    else:
        (job,) = lab.training()
        assert job.document["request"]["HyperParameters"]["depth"] == "3"
    lab.close()


async def test_what_cannot_be_is_said(lab: Lab):
    lab.alert(labelled=False)
    await lab.step()
    assert "There is no labelled record from 2026-01-02T02:04:05Z" in lab.newest()["Reason"]
    lab.do("DeleteTags", ResourceArn=f"arn:aws:sagemaker:{SCOPE.region}:{SCOPE.account}:monitoring-schedule/quality",
           TagKeys=["kedge:retrain"])  # fmt: skip
    with pytest.raises(ServiceError, match="has no tag kedge:retrain"):
        lab.by_hand()
    lab.alert()
    await lab.step()
    assert len(lab.runs()) == 1
    with pytest.raises(ValidationFailed, match="No retraining of the monitoring schedule"):
        lab.by_hand("Stop")
    assert not [phase for _, phase in lab.runs() if phase in GOING]


async def test_an_update_that_is_refused_ends_it(tmp_path: Path):
    lab = Lab(tmp_path / "data", **{"retrain-alarm": "nobody"})
    await lab.prepare()
    lab.alert()
    await lab.step()
    lab.end_training()
    await lab.step()
    shown = lab.newest()
    assert (shown["RetrainingStatus"], lab.endpoint()) == ("Failed", ("InService", "c"))
    assert 'names the alarm "nobody", which is not there' in shown["Reason"]
    lab.close()


async def test_the_endpoints_own_way_of_deploying_is_kept(lab: Lab):
    policy = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
            "TerminationWaitInSeconds": 7,
        }
    }
    lab.world.make_config("other", worlds.variant(), DataCaptureConfig=CAPTURE)
    lab.do("UpdateEndpoint", EndpointName="wine", EndpointConfigName="other", DeploymentConfig=policy)
    await lab.settle()
    await lab.settle(7)
    lab.alert()
    await lab.step()
    lab.end_training()
    await lab.settle()
    await lab.settle(7)
    await lab.settle(7)
    assert lab.newest()["RetrainingStatus"] == "Promoted"
    found = lab.world.store.get(SCOPE, "endpoint", "wine")
    assert found is not None
    assert found.document["deployment"] == policy


def violations(*found: tuple[str, str]) -> bytes:
    told = [{"feature_name": name, "constraint_check_type": check} for name, check in found]
    return json.dumps({"violations": told}).encode()


DRIFT = ("age", "baseline_drift_check")
OVER = {"features": [{"name": "age", "windows": 4, "distance": {"low": 0.0}}]}


@pytest.mark.parametrize(
    ("found", "drift", "verdict", "ends"),
    [
        ([], {}, "concept drift", "Training"),
        ([DRIFT], {}, "both", "NotBegun"),
        ([DRIFT], OVER, "concept drift", "Training"),
    ],
)
async def test_the_verdict_is_by_the_data_quality_monitor_of_the_same_time(
    lab: Lab, found: list[tuple[str, str]], drift: dict[str, object], verdict: str, ends: str
):
    lab.watch_data(violations(*found), json.dumps(drift).encode())
    lab.alert()
    await lab.step()
    assert lab.newest()["RetrainingStatus"] == "Deciding"  # it is waited for
    lab.data_is_seen()
    await lab.step()
    shown = lab.newest()
    assert (shown["Verdict"], shown["RetrainingStatus"]) == (verdict, ends)
    if ends == "NotBegun":
        assert "age (baseline_drift_check)" in shown["Evidence"]
        assert "mended at its source" in shown["Reason"]


async def test_a_data_quality_monitor_that_hangs_is_not_waited_for_for_ever(lab: Lab):
    lab.watch_data(violations(), b"{}")
    lab.alert()
    await lab.step()
    lab.world.clock.advance(900)
    await lab.step()
    assert (lab.newest()["Verdict"], lab.newest()["RetrainingStatus"]) == (
        "quality moved, inputs unwatched",
        "Training",
    )
