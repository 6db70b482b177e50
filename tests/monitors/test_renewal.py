"""After a promotion the endpoint's data quality monitors get new baselines, on a clock moved by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.monitors.retraining_lab import ROLE, Lab
from tests.objects.putting import put_bytes

CALLS = ("CreateProcessingJob", "CreateDataQualityJobDefinition", "UpdateMonitoringSchedule")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    made = Lab(tmp_path / "data", **{"retrain-bake": "60"})
    await made.prepare()
    yield made
    made.close()


async def deployed(lab: Lab, **watched: Any) -> None:
    """The new model has just got all requests for good."""
    lab.watch_inputs(**watched)
    lab.alert()
    await lab.step()
    lab.end_training()
    await lab.settle()
    await lab.settle(60)
    await lab.settle(60)


def schedule(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = lab.do("DescribeMonitoringSchedule", MonitoringScheduleName="inputs")
    return found["MonitoringScheduleConfig"]


def captured_while_baking(lab: Lab) -> None:
    now = lab.world.clock.now()
    put_bytes(lab.world.objects, "models", f"captured/wine/v/{now:%Y/%m/%d/%H}/a.jsonl", b"{}\n")


async def test_the_monitor_is_given_a_baseline_of_what_was_trained_on(lab: Lab):
    await deployed(lab)
    assert lab.newest()["RetrainingStatus"] == "RenewingBaselines"
    (job,) = lab.baselining()
    request = job.document["request"]
    places = {each["InputName"]: each["S3Input"] for each in request["ProcessingInputs"]}
    assert places["baseline_input_1"]["S3Uri"] == lab.newest()["DataS3Uri"]
    assert places["baseline_input_1"]["S3DataType"] == "ManifestFile"
    assert places["constraints_before"]["S3Uri"] == "s3://models/before/constraints.json"
    told = request["Environment"]
    assert '{"captureIndexNames": ["endpointInput", "groundTruthData"]}' in told["dataset_format"]
    assert (told["start_time"], told["end_time"]) == ("2026-01-02T02:04:05Z", "2026-01-02T03:04:05Z")
    assert request["RoleArn"] == ROLE
    lab.end_baselining()
    await lab.step()
    shown = lab.newest()
    assert shown["RetrainingStatus"] == "Promoted"
    (baseline,) = shown["Baselines"]
    assert (baseline["MonitoringScheduleName"], baseline["BaselineStatus"]) == ("inputs", "Renewed")
    assert (baseline["MadeOf"], baseline["ProcessingJobName"]) == ("labelled records", job.document["name"])
    name = schedule(lab)["MonitoringJobDefinitionName"]
    assert name.startswith("inputs-baseline-")
    after = lab.do("DescribeDataQualityJobDefinition", JobDefinitionName=name)
    before = lab.do("DescribeDataQualityJobDefinition", JobDefinitionName="inputs")
    out = request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"]
    assert after["DataQualityBaselineConfig"]["ConstraintsResource"]["S3Uri"] == f"{out}/constraints.json"
    assert after["DataQualityBaselineConfig"]["StatisticsResource"]["S3Uri"] == f"{out}/statistics.json"
    same = ("DataQualityAppSpecification", "DataQualityJobInput", "DataQualityJobOutputConfig", "RoleArn")
    assert [after[each] for each in same] == [before[each] for each in same]
    tags = {each["Key"]: each["Value"] for each in lab.do("ListTags", ResourceArn=after["JobDefinitionArn"])["Tags"]}
    assert tags == {"team": "wine", "kedge:retraining-of": "quality"}


async def test_an_inline_definition_is_given_one_too(lab: Lab):
    await deployed(lab, inline=True)
    lab.end_baselining()
    await lab.step()
    inline = schedule(lab)["MonitoringJobDefinition"]
    assert inline["BaselineConfig"]["ConstraintsResource"]["S3Uri"].endswith("/labelled/constraints.json")
    assert lab.newest()["RetrainingStatus"] == "Promoted"


@pytest.mark.parametrize(("rows", "status"), [(199, "Completed"), (1000, "Failed")])
async def test_what_was_captured_in_the_bake_stands_in(lab: Lab, rows: int, status: str):
    await deployed(lab)
    captured_while_baking(lab)
    lab.end_baselining(rows, status)
    await lab.step()
    assert lab.baselining() == []  # captured records are still coming into their files
    lab.world.clock.advance(12)
    await lab.step()
    (job,) = lab.baselining()
    told = job.document["request"]["Environment"]
    assert '["endpointInput", "endpointOutput"]' in told["dataset_format"]
    assert (told["start_time"], told["end_time"]) == ("2026-01-02T03:05:05Z", "2026-01-02T03:06:05Z")
    lab.end_baselining()
    await lab.step()
    (baseline,) = lab.newest()["Baselines"]
    assert (baseline["BaselineStatus"], baseline["MadeOf"]) == ("Renewed", "captured records")
    says = "there are 199 rows; a baseline needs 200" if status == "Completed" else "other columns"
    assert says in baseline["Reason"]


async def test_a_baseline_that_cannot_be_made_is_kept_and_the_model_is_promoted(lab: Lab):
    await deployed(lab)
    lab.end_baselining(status="Failed")
    await lab.settle(12)
    shown = lab.newest()
    assert shown["RetrainingStatus"] == "Promoted"
    assert shown["Baselines"][0]["BaselineStatus"] == "Kept"
    assert "other columns" in shown["Baselines"][0]["Reason"]
    assert "nothing was captured while the new model had all requests" in shown["Baselines"][0]["Reason"]
    assert schedule(lab)["MonitoringJobDefinitionName"] == "inputs"


async def test_a_script_that_reads_answers_is_given_answers(lab: Lab):
    put_bytes(lab.world.objects, "models", "pre.py", b"")
    await deployed(lab, RecordPreprocessorSourceUri="s3://models/pre.py")
    captured_while_baking(lab)
    await lab.settle(12)
    (job,) = lab.baselining()
    assert job.document["request"]["Environment"]["record_preprocessor_script"].endswith("/preprocessing/pre.py")
    assert '"endpointOutput"' in job.document["request"]["Environment"]["dataset_format"]


@pytest.mark.parametrize("call", CALLS)
async def test_a_kill_right_after_a_call_repeats_nothing(lab: Lab, call: str):
    lab.crash_after = call
    await deployed(lab)
    for _ in range(4):
        lab.restart()
        await lab.settle(1)
        lab.end_baselining()
    assert lab.crash_after == ""
    assert lab.newest()["RetrainingStatus"] == "Promoted"
    assert [each for each, _ in lab.acted if each in CALLS] == list(CALLS)


async def test_an_execution_that_is_due_is_not_passed_over(lab: Lab):
    """An update of a schedule makes times up to now as good as done."""
    await deployed(lab, expression="cron(7 * ? * * *)")
    lab.end_baselining()
    lab.world.clock.advance(57)  # 03:07:02: due, and not begun
    await lab.step()
    assert schedule(lab)["MonitoringJobDefinitionName"] == "inputs"
    due = lab.world.store.get(lab.world.call().scope, "monitoring-schedule", "inputs")
    assert due is not None
    begun = {**due.document, "seen_to_s": lab.world.clock.now().timestamp()}
    lab.begin("inputs", begun)
    await lab.step()
    assert schedule(lab)["MonitoringJobDefinitionName"].startswith("inputs-baseline-")


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("unwatched", "was deleted"),
        ("rebased", "another baseline meanwhile"),
        ("stopped", "stopped it"),
        ("no monitor", 'The monitoring schedule "quality" was deleted'),
    ],
)
async def test_what_happens_meanwhile_is_kept_with_its_reason(lab: Lab, what: str, says: str):
    await deployed(lab)
    match what:
        case "unwatched":
            lab.do("DeleteMonitoringSchedule", MonitoringScheduleName="inputs")
        case "rebased":
            lab.do("CreateDataQualityJobDefinition", **{
                **lab.world.store.get(lab.world.call().scope, "data-quality-job-definition", "inputs").document,  # type: ignore[union-attr]
                "JobDefinitionName": "other",
                "DataQualityBaselineConfig": {"ConstraintsResource": {"S3Uri": "s3://models/mine.json"}},
            })  # fmt: skip
            config = {**schedule(lab), "MonitoringJobDefinitionName": "other"}
            lab.do("UpdateMonitoringSchedule", MonitoringScheduleName="inputs", MonitoringScheduleConfig=config)
        case "stopped":
            lab.by_hand("Stop")
        case _:
            lab.do("DeleteMonitoringSchedule", MonitoringScheduleName="quality")
    await lab.step()
    shown = lab.newest()
    assert (shown["RetrainingStatus"], shown["Baselines"][0]["BaselineStatus"]) == ("Promoted", "Kept")
    assert says in shown["Baselines"][0]["Reason"]
    if what in ("stopped", "no monitor"):
        assert [each.status for each in lab.baselining()] == ["Stopping"]


async def test_a_schedule_that_runs_once_is_left_as_it_is(lab: Lab):
    lab.world.clock.advance(3600)
    await deployed(lab, expression="NOW", times={"DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "-PT0H"})
    shown = lab.newest()
    assert shown["RetrainingStatus"] == "Promoted"
    assert "RenewingBaselines" not in [each["Status"] for each in shown["Steps"]]
    assert shown["Baselines"][0]["Reason"] == "The schedule runs once; it has run."


async def test_a_tag_keeps_the_baselines(tmp_path: Path):
    lab = Lab(tmp_path / "data", **{"retrain-bake": "60", "retrain-baselines": "keep"})
    await lab.prepare()
    await deployed(lab)
    assert lab.newest()["RetrainingStatus"] == "Promoted"
    assert "Baselines" not in lab.newest()
    lab.close()
