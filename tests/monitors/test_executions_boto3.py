"""Executions of data quality and model quality monitors: windows, jobs, reports, alerts, by an unmodified boto3."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from kedge.cli.main import commands
from tests.async_inference.conftest import until
from tests.jobs.programs import Programs
from tests.monitors.conftest import AT, EARLIER, LATER, Monitors

NAMES = ("_c0", "_c1", "_c2")


def constraints(low: float) -> bytes:
    """Of the columns of answer and request, which are never missing."""
    features = [{"name": name, "inferred_type": "Fractional", "completeness": low} for name in NAMES]
    return json.dumps({"version": 0.0, "features": features}).encode()


@pytest.fixture(scope="module")
def watched(monitors: Monitors) -> Monitors:
    """With captured records of the last hours, and a data quality monitor's files."""
    rows = [(f"{number / 7},{number / 3}", f"{number / 100}") for number in range(1, 61)]
    monitors.capture(monitors.back(6), rows)
    monitors.capture(monitors.back(3), [*rows, ("x,y", "0.5")], part="b")
    monitors.put("baseline/constraints.json", constraints(1.0))
    return monitors


def test_an_execution_looks_at_its_window_and_reports_where_sagemaker_does(watched: Monitors):
    watched.define("DataQuality", "clean", baseline={"Constraints": watched.uri("baseline/constraints.json")})
    watched.schedule("DataQuality", "clean", hours=EARLIER)
    found = watched.ended("clean")
    assert found["MonitoringExecutionStatus"] == "Completed", found
    assert (found["MonitoringType"], found["EndpointName"]) == ("DataQuality", "scores")
    assert found["MonitoringJobDefinitionName"] == "clean"
    job = watched.job(found)
    at = found["ScheduledTime"].astimezone(UTC)
    minute = f"/{at:%M}" if at.minute else ""
    (output,) = job["ProcessingOutputConfig"]["Outputs"]
    assert output["S3Output"]["S3Uri"] == watched.uri(f"reports/clean/scores/clean/{at:%Y/%m/%d/%H}{minute}")
    assert job["MonitoringScheduleArn"].endswith(":monitoring-schedule/clean")
    assert all("S3Input" in each for each in job["ProcessingInputs"])
    told = job["Environment"]
    assert told["start_time"] == told["metric_time"] == f"{at - timedelta(hours=9):%Y-%m-%dT%H:%M:%SZ}"
    assert told["end_time"] == f"{at - timedelta(hours=5):%Y-%m-%dT%H:%M:%SZ}"
    assert told["sagemaker_endpoint_name"] == "scores"
    assert told["sagemaker_monitoring_schedule_name"] == "clean"
    assert told["publish_cloudwatch_metrics"] == "Enabled"
    assert watched.report(found, "constraint_violations.json") == {"violations": []}
    assert watched.report(found, "statistics.json")["dataset"]["item_count"] == 60
    shown = watched.sagemaker.describe_monitoring_schedule(MonitoringScheduleName="clean")
    assert shown["LastMonitoringExecutionSummary"]["ProcessingJobArn"] == found["ProcessingJobArn"]


def test_two_executions_of_one_minute_keep_their_reports_apart(watched: Monitors):
    watched.define("DataQuality", "twice", baseline={"Constraints": watched.uri("baseline/constraints.json")})
    watched.schedule("DataQuality", "twice", hours=EARLIER)
    found = [watched.ended("twice")]
    for number in range(2, 5):  # of three that follow one another, two at least are of one minute
        watched.sagemaker.stop_monitoring_schedule(MonitoringScheduleName="twice")
        watched.sagemaker.start_monitoring_schedule(MonitoringScheduleName="twice")
        found.append(watched.ended("twice", number))
    at = [watched.job(each)["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] for each in found]
    assert len(set(at)) == len(at)
    for each in found:
        assert watched.report(each, "statistics.json")["dataset"]["item_count"] == 60


def test_violations_ring_the_alert_until_it_is_set_otherwise(watched: Monitors):
    watched.define("DataQuality", "bad", baseline={"Constraints": watched.uri("baseline/constraints.json")})
    watched.schedule("DataQuality", "bad", hours=LATER)
    found = watched.ended("bad")
    assert found["MonitoringExecutionStatus"] == "CompletedWithViolations", found
    violated = watched.report(found, "constraint_violations.json")["violations"]
    assert {each["constraint_check_type"] for each in violated} >= {"data_type_check"}
    told = [{"Name": "Endpoint", "Value": "scores"}, {"Name": "MonitoringSchedule", "Value": "bad"}]
    metrics = watched.kedge.client("cloudwatch").list_metrics(
        Namespace="aws/sagemaker/Endpoints/data-metrics", Dimensions=told, MetricName="feature_non_null__c0"
    )
    assert [each["Dimensions"] for each in metrics["Metrics"]] == [told]
    name = {"MonitoringScheduleName": "bad"}
    (alert,) = watched.sagemaker.list_monitoring_alerts(**name)["MonitoringAlertSummaries"]
    assert (alert["AlertStatus"], alert["DatapointsToAlert"], alert["EvaluationPeriod"]) == ("InAlert", 1, 1)
    watched.sagemaker.update_monitoring_alert(
        **name, MonitoringAlertName=alert["MonitoringAlertName"], DatapointsToAlert=2, EvaluationPeriod=3
    )
    (after,) = watched.sagemaker.list_monitoring_alerts(**name)["MonitoringAlertSummaries"]
    assert (after["AlertStatus"], after["DatapointsToAlert"], after["EvaluationPeriod"]) == ("OK", 2, 3)
    assert after["LastModifiedTime"] > alert["LastModifiedTime"]
    history = watched.sagemaker.list_monitoring_alert_history(**name, SortOrder="Ascending")["MonitoringAlertHistory"]
    assert [each["AlertStatus"] for each in history] == ["InAlert", "OK"]
    code, said = watched.refused(
        "update_monitoring_alert", **name, MonitoringAlertName="other", DatapointsToAlert=1, EvaluationPeriod=1
    )
    assert (code, "DefaultAlert" in said) == ("ResourceNotFound", True)


def test_drift_is_judged_from_window_to_window(watched: Monitors):
    """The baseline is what an execution without one suggests; what the first has left is brought to the second."""
    watched.define("DataQuality", "base")
    watched.schedule("DataQuality", "base", hours=EARLIER)
    (output,) = watched.job(watched.ended("base"))["ProcessingOutputConfig"]["Outputs"]
    files = {each: f"{output['S3Output']['S3Uri']}/{each.lower()}.json" for each in ("Constraints", "Statistics")}
    watched.define("DataQuality", "chain", baseline=files)
    watched.schedule("DataQuality", "chain", hours=EARLIER)
    assert "kedge_drift_state" not in watched.job(watched.ended("chain"))["Environment"]
    times = {"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-PT5H", "DataAnalysisEndTime": "-PT2H"}
    config = {"MonitoringJobDefinitionName": "chain", "MonitoringType": "DataQuality", "ScheduleConfig": times}
    watched.sagemaker.update_monitoring_schedule(MonitoringScheduleName="chain", MonitoringScheduleConfig=config)
    second = watched.job(watched.ended("chain", 2))
    assert second["ProcessingJobStatus"] == "Completed", second
    assert second["Environment"]["kedge_drift_state"] == "/opt/ml/processing/input/drift_state/kedge_drift_state.json"


def test_a_window_without_data_fails_and_says_nothing_of_the_model(watched: Monitors):
    watched.define("DataQuality", "empty")
    watched.schedule("DataQuality", "empty", hours=(20, 19))
    found = watched.ended("empty")
    assert (found["MonitoringExecutionStatus"], found["FailureReason"]) == ("Failed", "Job inputs had no data")
    assert "ProcessingJobArn" not in found
    (alert,) = watched.sagemaker.list_monitoring_alerts(MonitoringScheduleName="empty")["MonitoringAlertSummaries"]
    assert alert["AlertStatus"] == "OK"


def test_a_window_without_data_in_an_hour_that_has_some_is_no_datapoint_either(watched: Monitors):
    """An endpoint that is seldom asked, and a schedule of minutes."""
    since, until_then = (datetime.now(UTC) - watched.back(6) - timedelta(minutes=minutes) for minutes in (5, 20))
    watched.define("DataQuality", "quiet")
    times = {
        "ScheduleExpression": "NOW",
        "DataAnalysisStartTime": f"-PT{int(since.total_seconds() // 60)}M",
        "DataAnalysisEndTime": f"-PT{int(until_then.total_seconds() // 60)}M",
    }
    config = {"MonitoringJobDefinitionName": "quiet", "MonitoringType": "DataQuality", "ScheduleConfig": times}
    watched.sagemaker.create_monitoring_schedule(MonitoringScheduleName="quiet", MonitoringScheduleConfig=config)
    found = watched.ended("quiet")
    assert (found["MonitoringExecutionStatus"], "ProcessingJobArn" in found) == ("Failed", True)
    assert found["FailureReason"].startswith("Job inputs had no data: ")
    (alert,) = watched.sagemaker.list_monitoring_alerts(MonitoringScheduleName="quiet")["MonitoringAlertSummaries"]
    assert alert["AlertStatus"] == "OK"


def test_a_baselining_job_is_waited_for_and_its_output_is_the_baseline(watched: Monitors):
    jobs = Programs(watched.kedge)
    script = """
import pathlib, shutil, time
while not pathlib.Path("/opt/ml/processing/go").exists(): time.sleep(0.05); break
for each in pathlib.Path("/opt/ml/processing/made").iterdir(): shutil.copy(each, "/opt/ml/processing/out/")
"""
    jobs.process(
        "suggest", script, inputs=[jobs.input("made", watched.uri("baseline/"))], outputs=[jobs.output("out", "made")]
    )
    waiting = watched.definition("DataQuality", "after")
    waiting["DataQualityBaselineConfig"] = {"BaseliningJobName": "suggest"}
    watched.sagemaker.create_data_quality_job_definition(**waiting)
    watched.schedule("DataQuality", "after", hours=EARLIER)
    found = watched.ended("after")
    assert found["MonitoringExecutionStatus"] == "Failed"  # the job has left no statistics.json
    assert "statistics.json" in found["FailureReason"]
    done = CliRunner().invoke(commands, ["drift", "scores"], env={"KEDGE_DATA_DIR": str(watched.kedge.data_dir)})
    assert f"There is no baseline at {watched.uri('made/statistics.json')}" in done.output


def test_an_own_program_is_told_what_to_do_and_is_stopped_with_its_schedule(watched: Monitors):
    """An inline definition, as ModelMonitor of the SDK makes."""
    given = watched.definition("DataQuality", "own")
    image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
    program = (
        "import json, os, time; told = [os.environ[each] for each in ('colour', 'dataset_source')];"
        "json.dump(told, open('/opt/ml/processing/output/told.json', 'w')); time.sleep(600)"
    )
    config = {
        "ScheduleConfig": {
            "ScheduleExpression": "NOW", "DataAnalysisStartTime": "-PT9H", "DataAnalysisEndTime": "-PT5H",
        },
        "MonitoringJobDefinition": {
            "MonitoringInputs": [given["DataQualityJobInput"]],
            "MonitoringOutputConfig": given["DataQualityJobOutputConfig"],
            "MonitoringResources": given["JobResources"],
            "MonitoringAppSpecification": {"ImageUri": image, "ContainerEntrypoint": ["python3", "-c", program]},
            "Environment": {"colour": "red"},
            "RoleArn": given["RoleArn"],
        },
    }  # fmt: skip
    name = {"MonitoringScheduleName": "own"}
    watched.sagemaker.create_monitoring_schedule(**name, MonitoringScheduleConfig=config)

    def told() -> list[str]:
        """Outputs are Continuous, so this one is there while the program runs."""
        found = [each for each in watched.executions("own") if "ProcessingJobArn" in each]
        return watched.report(found[0], "told.json") if found else []

    assert until(told, "the program's output") == ["red", AT]
    watched.sagemaker.delete_monitoring_schedule(**name)
    assert watched.ended("own")["MonitoringExecutionStatus"] == "Stopped"


def test_labels_are_merged_and_a_window_is_looked_at_again_when_more_of_them_come(watched: Monitors):
    """The monitor runs twice, for one hour after the other; between both, labels of the first hour come."""
    kind, name = "ModelQuality", {"MonitoringScheduleName": "late"}
    worst = {"mae": {"threshold": 0.5, "comparison_operator": "GreaterThanThreshold"}}
    watched.put("baseline/quality.json", json.dumps({"version": 0.0, "regression_constraints": worst}).encode())
    watched.define(
        kind, "late", job={"GroundTruthS3Input": {"S3Uri": watched.uri("truth")}},
        app={"ProblemType": "Regression"}, source={"InferenceAttribute": "0"},
        baseline={"Constraints": watched.uri("baseline/quality.json")},
    )  # fmt: skip
    watched.label(watched.back(6), watched.back(6), {number: f"{(number + 1) / 100}" for number in range(40)}, "truth")
    watched.schedule(kind, "late", hours=EARLIER)
    first = watched.ended("late")
    assert first["MonitoringExecutionStatus"] == "Completed", first
    assert watched.report(first, "statistics.json")["dataset"]["item_count"] == 40
    merged = watched.get_lines("reports/late/merge/scores/AllTraffic")
    assert len(merged) == 40
    assert {"captureData", "eventMetadata", "groundTruthData"} <= merged[0].keys()
    watched.label(watched.back(0), watched.back(6), dict.fromkeys(range(40, 60), "99"), "truth")
    watched.label(
        watched.back(1), watched.back(3), {number: f"{(number + 1) / 100}" for number in range(60)}, "truth", part="b"
    )
    times = {"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-PT5H", "DataAnalysisEndTime": "-PT2H"}
    config = {"MonitoringJobDefinitionName": "late", "MonitoringType": kind, "ScheduleConfig": times}
    watched.sagemaker.update_monitoring_schedule(**name, MonitoringScheduleConfig=config)
    second, third = (watched.ended("late", number) for number in (2, 3))
    assert second["MonitoringExecutionStatus"] == "Completed", second
    assert third["MonitoringExecutionStatus"] == "CompletedWithViolations", third
    assert third["ScheduledTime"] == first["ScheduledTime"]
    told = [
        watched.sagemaker.describe_processing_job(ProcessingJobName=each["ProcessingJobArn"].rpartition("/")[2])
        for each in (first, second, third)
    ]
    assert [each["Environment"]["publish_cloudwatch_metrics"] for each in told] == ["Enabled", "Enabled", "Disabled"]
    assert watched.report(third, "statistics.json")["dataset"]["item_count"] == 60
    (alert,) = watched.sagemaker.list_monitoring_alerts(**name)["MonitoringAlertSummaries"]
    assert alert["AlertStatus"] == "OK"  # the last window is as it should be


def test_a_window_without_labels_fails_and_says_where_they_were_looked_for(watched: Monitors):
    watched.define(
        "ModelQuality", "unlabelled", job={"GroundTruthS3Input": {"S3Uri": watched.uri("nowhere")}},
        app={"ProblemType": "Regression"}, source={"InferenceAttribute": "0"},
    )  # fmt: skip
    watched.schedule("ModelQuality", "unlabelled", hours=EARLIER)
    found = watched.ended("unlabelled")
    assert found["MonitoringExecutionStatus"] == "Failed"
    assert f"no label was found below {watched.uri('nowhere')}" in found["FailureReason"]
    alerts = watched.sagemaker.list_monitoring_alerts(MonitoringScheduleName="unlabelled")["MonitoringAlertSummaries"]
    assert [each["AlertStatus"] for each in alerts] == ["OK"]


def test_a_batch_transform_is_watched_by_the_manifests_of_its_capture(watched: Monitors):
    watched.put("batches/rows.csv", b"a,b\n1,2\n3,x\n")
    manifest = [{"prefix": watched.uri("batches/")}, "rows.csv"]
    watched.put(f"transformed/input/{watched.back(6):%Y/%m/%d/%H}/m.json", json.dumps(manifest).encode())
    source = {
        "DataCapturedDestinationS3Uri": watched.uri("transformed"),
        "DatasetFormat": {"Csv": {"Header": True}},
        "LocalPath": "/opt/ml/processing/input",
    }
    given = watched.definition("DataQuality", "batch")
    given["DataQualityJobInput"] = {"BatchTransformInput": source}
    watched.sagemaker.create_data_quality_job_definition(**given)
    watched.schedule("DataQuality", "batch", hours=EARLIER)
    found = watched.ended("batch")
    assert found["MonitoringExecutionStatus"] == "Completed", found
    assert "EndpointName" not in found
    features = watched.report(found, "statistics.json")["features"]
    assert [(each["name"], each["inferred_type"]) for each in features] == [("a", "Integral"), ("b", "String")]


def test_labels_of_a_batch_transform_are_joined_by_the_ids_that_it_gave(watched: Monitors):
    hour = watched.back(6)
    lines = [f"{number},{number / 10},id-{number},{hour:%Y-%m-%dT%H:%M:%SZ}" for number in range(30)]
    watched.put("batches/rows.csv.out", "\n".join(lines).encode())
    manifest = [{"prefix": watched.uri("batches/")}, "rows.csv.out"]
    watched.put(f"transformed/output/{hour:%Y/%m/%d/%H}/m.json", json.dumps(manifest).encode())
    truth = [
        {"groundTruthData": {"data": f"{n / 10}", "encoding": "CSV"}, "eventMetadata": {"eventId": f"id-{n}"}}
        for n in range(20)
    ]
    watched.put(f"batch-truth/{hour:%Y/%m/%d/%H}/a.jsonl", "\n".join(map(json.dumps, truth)).encode())
    source = {
        "DataCapturedDestinationS3Uri": watched.uri("transformed"),
        "DatasetFormat": {"Csv": {"Header": False}},
        "LocalPath": "/opt/ml/processing/input",
        "InferenceAttribute": "1",
    }
    given = watched.definition("ModelQuality", "batch-quality", app={"ProblemType": "Regression"})
    given["ModelQualityJobInput"] = {
        "BatchTransformInput": source, "GroundTruthS3Input": {"S3Uri": watched.uri("batch-truth")},
    }  # fmt: skip
    watched.sagemaker.create_model_quality_job_definition(**given)
    watched.schedule("ModelQuality", "batch-quality", hours=EARLIER)
    found = watched.ended("batch-quality")
    assert found["MonitoringExecutionStatus"] == "Completed", found
    statistics = watched.report(found, "statistics.json")
    assert statistics["dataset"]["item_count"] == 20
    assert statistics["regression_metrics"]["mae"]["value"] == 0.0


def test_what_s3_refuses_is_a_failure_that_names_it(watched: Monitors):
    watched.define(
        "ModelQuality", "bucketless", job={"GroundTruthS3Input": {"S3Uri": "s3://no-such-bucket/x"}},
        app={"ProblemType": "Regression"}, source={"InferenceAttribute": "0"},
    )  # fmt: skip
    watched.schedule("ModelQuality", "bucketless", hours=EARLIER)
    assert 'bucket does not exist: "no-such-bucket"' in watched.ended("bucketless")["FailureReason"]


def kedge(watched: Monitors, *words: str, code: int = 0) -> str:
    """What the command says; in this process, since starting another takes longer than what it does."""
    done = CliRunner().invoke(commands, ["monitor", *words], env={"KEDGE_DATA_DIR": str(watched.kedge.data_dir)})
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_shows_what_monitors_found_and_begins_an_execution(watched: Monitors):
    """After the tests before: "clean" found nothing, "bad" did."""
    listed = kedge(watched, "list")
    assert next(line for line in listed.splitlines() if line.startswith("bad")).endswith("▲")
    told = kedge(watched, "run", "clean")
    assert told.startswith("Completed, 0 violations; its job is model-monitoring-")
    shown = json.loads(kedge(watched, "status", "clean", "--json"))
    assert [each["status"] for each in shown["executions"]] == ["Completed", "Completed"]
    found = kedge(watched, "status", "bad")
    assert "Violations at" in found
    assert "data_type_check" in found
    assert "Could not find monitoring schedule" in kedge(watched, "run", "none", code=1)
    assert "Job inputs had no data" in kedge(watched, "run", "empty", code=1)
