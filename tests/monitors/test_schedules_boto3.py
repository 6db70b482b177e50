"""Job definitions and monitoring schedules, by an unmodified boto3 against a running server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.async_inference.conftest import until
from tests.monitors.conftest import AT, SNAKE, Monitors

HOURLY = "cron(0 * ? * * *)"
NEVER = "cron(0 0 1 1 ? 2199)"
CONFIG = {"ConfigUri": "s3://somewhere/analysis_config.json"}
EXTRA: dict[str, dict[str, Any]] = {
    "DataQuality": {},
    "ModelQuality": {"app": {"ProblemType": "Regression"}, "job": {"GroundTruthS3Input": {"S3Uri": "s3://b/truth"}}},
    "ModelBias": {"app": CONFIG, "job": {"GroundTruthS3Input": {}}},
    "ModelExplainability": {"app": CONFIG},
}


@pytest.mark.parametrize("kind", SNAKE)
def test_a_job_definition_is_shown_as_it_was_given(monitors: Monitors, kind: str):
    name = f"Shown-{kind}"
    tags = [{"Key": "team", "Value": "risk"}]
    made = monitors.define(
        kind, name, Tags=tags, **EXTRA[kind], StoppingCondition={"MaxRuntimeInSeconds": 600},
        NetworkConfig={"EnableNetworkIsolation": False}, baseline={"Constraints": "s3://b/constraints.json"},
    )  # fmt: skip
    assert made.endswith(f":{SNAKE[kind].replace('_', '-')}-job-definition/{name.lower()}")
    describe = f"describe_{SNAKE[kind]}_job_definition"
    shown = getattr(monitors.sagemaker, describe)(JobDefinitionName=name)
    asked = monitors.definition(kind, name, **EXTRA[kind], baseline={"Constraints": "s3://b/constraints.json"})
    assert {member: shown[member] for member in asked} == asked
    assert shown["StoppingCondition"] == {"MaxRuntimeInSeconds": 600}
    assert monitors.sagemaker.list_tags(ResourceArn=made)["Tags"] == tags
    code, said = monitors.refused(f"create_{SNAKE[kind]}_job_definition", **asked)
    assert code == "ResourceInUse"
    assert made in said
    listed = getattr(monitors.sagemaker, f"list_{SNAKE[kind]}_job_definitions")
    (summary,) = listed(NameContains="shown", EndpointName="scores")["JobDefinitionSummaries"]
    assert (summary["MonitoringJobDefinitionName"], summary["EndpointName"]) == (name, "scores")
    assert listed(NameContains="shown", EndpointName="another")["JobDefinitionSummaries"] == []
    getattr(monitors.sagemaker, f"delete_{SNAKE[kind]}_job_definition")(JobDefinitionName=name)
    for verb in ("describe", "delete"):
        code, said = monitors.refused(f"{verb}_{SNAKE[kind]}_job_definition", JobDefinitionName=name)
        assert (code, made in said) == ("ResourceNotFound", True)


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("DataQuality", {"cluster": {"InstanceCount": 2}}, "InstanceCount is 2"),
        ("DataQuality", {"cluster": {"VolumeKmsKeyId": "key"}}, "VolumeKmsKeyId"),
        ("DataQuality", {"source": {"LocalPath": "/tmp"}}, "EndpointInput.LocalPath"),
        ("DataQuality", {"source": {"S3InputMode": "Pipe"}}, "S3InputMode is Pipe"),
        ("DataQuality", {"source": {"StartTimeOffset": "PTxH"}}, '"PTxH" is no duration'),
        ("DataQuality", {"source": {"StartTimeOffset": "-PT1H", "EndTimeOffset": "-PT2H"}}, "before the end"),
        ("DataQuality", {"output": {"S3Uri": "https://b/x"}}, "S3Output.S3Uri"),
        ("DataQuality", {"output": {"LocalPath": "/out"}}, "S3Output.LocalPath"),
        ("DataQuality", {"app": {"ImageUri": "nobody/knows:1"}}, "is not known"),
        ("DataQuality", {"app": {"Environment": {"kedge_late_labels": "P30D"}}}, "at most P7D"),
        ("DataQuality", {"job": {"BatchTransformInput": {"DataCapturedDestinationS3Uri": "s3://b/x",
            "DatasetFormat": {"Csv": {}}, "LocalPath": "/opt/ml/processing/in"}}}, "one of EndpointInput and Batch"),
        ("ModelQuality", {"job": {"GroundTruthS3Input": {}}}, "ProblemType is not given"),
        ("ModelBias", {"app": {"ConfigUri": "s3://b/c"}, "batch": True}, "neither InferenceAttribute nor"),
    ],
)  # fmt: skip
def test_a_job_definition_that_cannot_be_is_refused(monitors: Monitors, kind: str, given: dict[str, Any], said: str):
    batch = given.pop("batch", False)
    request = monitors.definition(kind, "refused", **given)
    if batch:
        source = {"DataCapturedDestinationS3Uri": "s3://b/x", "DatasetFormat": {"Csv": {}}, "LocalPath": AT}
        request[f"{kind}JobInput"] = {"BatchTransformInput": source, "GroundTruthS3Input": {"S3Uri": "s3://b/t"}}
    code, message = monitors.refused(f"create_{SNAKE[kind]}_job_definition", **request)
    assert (code, said in message) == ("ValidationException", True), message


def test_the_life_of_a_schedule(monitors: Monitors):
    sagemaker = monitors.sagemaker
    monitors.define("DataQuality", "Life")
    arn = monitors.schedule("DataQuality", "Life", NEVER, Tags=[{"Key": "a", "Value": "b"}])
    assert arn.endswith(":monitoring-schedule/life")
    name = {"MonitoringScheduleName": "Life"}

    def becomes(status: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = sagemaker.describe_monitoring_schedule(**name)
            return found if found["MonitoringScheduleStatus"] == status else None

        found: dict[str, Any] = until(look, status)
        return found

    shown = becomes("Scheduled")
    assert shown["EndpointName"] == "scores"
    assert shown["MonitoringType"] == "DataQuality"
    assert shown["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"] == "Life"
    assert "LastMonitoringExecutionSummary" not in shown
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    config = {"MonitoringScheduleConfig": {"MonitoringJobDefinitionName": "Life", "MonitoringType": "DataQuality"}}
    assert monitors.refused("create_monitoring_schedule", **name, **config)[0] == "ResourceInUse"
    sagemaker.stop_monitoring_schedule(**name)
    becomes("Stopped")
    sagemaker.update_monitoring_schedule(**name, **config)
    assert becomes("Stopped")["MonitoringScheduleConfig"] == config["MonitoringScheduleConfig"]
    sagemaker.start_monitoring_schedule(**name)
    becomes("Scheduled")
    by = {
        "found": [{"EndpointName": "SCORES"}, {"MonitoringTypeEquals": "DataQuality"}, {"StatusEquals": "Scheduled"}],
        "none": [{"EndpointName": "other"}, {"MonitoringTypeEquals": "ModelBias"}, {"StatusEquals": "Failed"}],
    }
    for given in by["found"]:
        (summary,) = sagemaker.list_monitoring_schedules(NameContains="life", **given)["MonitoringScheduleSummaries"]
        assert (summary["MonitoringScheduleArn"], summary["MonitoringJobDefinitionName"]) == (arn, "Life")
    for given in by["none"]:
        assert sagemaker.list_monitoring_schedules(NameContains="life", **given)["MonitoringScheduleSummaries"] == []
    sagemaker.delete_monitoring_schedule(**name)
    for call in ("describe", "start", "stop", "delete"):
        assert monitors.refused(f"{call}_monitoring_schedule", **name)[0] == "ResourceNotFound"
    assert monitors.refused("update_monitoring_schedule", **name, **config)[0] == "ResourceNotFound"


def test_a_schedule_whose_times_are_over_fails_and_says_so(monitors: Monitors):
    monitors.define("DataQuality", "over")
    monitors.schedule("DataQuality", "over", "cron(0 0 1 1 ? 1999)")

    def look() -> bool:
        shown = monitors.sagemaker.describe_monitoring_schedule(MonitoringScheduleName="over")
        return shown["MonitoringScheduleStatus"] == "Failed" and "no time left" in shown["FailureReason"]

    assert until(look, "the failure")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"ScheduleConfig": {"ScheduleExpression": "rate(1 hour)"}}, "is no schedule"),
        ({"ScheduleConfig": {"ScheduleExpression": "cron(0 25 ? * * *)"}}, '"25" in hours'),
        ({"ScheduleConfig": {"ScheduleExpression": "NOW"}}, "DataAnalysisStartTime"),
        ({"ScheduleConfig": {"ScheduleExpression": "NOW", "DataAnalysisStartTime": "-PT1H",
                             "DataAnalysisEndTime": "-PT2H"}}, "begin before"),
        ({"MonitoringJobDefinitionName": "nothing"}, 'data quality job definition "nothing"'),
        ({"MonitoringType": "ModelBias"}, 'model bias job definition "limits"'),
        ({"MonitoringJobDefinitionName": "long"}, "at most 3600"),
        ({"MonitoringJobDefinitionName": "elsewhere"}, "Could not find endpoint"),
        ({"MonitoringJobDefinitionName": "uncaptured"}, "captures nothing"),
    ],
)  # fmt: skip
def test_a_schedule_that_cannot_be_is_refused(limits: Monitors, config: dict[str, Any], said: str):
    whole = {"MonitoringJobDefinitionName": "limits", "MonitoringType": "DataQuality",
             "ScheduleConfig": {"ScheduleExpression": HOURLY}, **config}  # fmt: skip
    code, message = limits.refused(
        "create_monitoring_schedule", MonitoringScheduleName="refused", MonitoringScheduleConfig=whole
    )
    assert (code, said in message) == ("ValidationException", True), message


@pytest.fixture(scope="module")
def limits(monitors: Monitors) -> Monitors:
    monitors.define("DataQuality", "limits")
    monitors.define("DataQuality", "long", StoppingCondition={"MaxRuntimeInSeconds": 3601})
    monitors.define("DataQuality", "elsewhere", source={"EndpointName": "elsewhere"})
    monitors.define("DataQuality", "uncaptured", source={"EndpointName": "uncaptured"})
    variant = {
        "VariantName": "AllTraffic", "ModelName": "scores", "InstanceType": "ml.t2.medium", "InitialInstanceCount": 1,
    }  # fmt: skip
    monitors.sagemaker.create_endpoint_config(EndpointConfigName="uncaptured", ProductionVariants=[variant])
    monitors.sagemaker.create_endpoint(EndpointName="uncaptured", EndpointConfigName="uncaptured")
    return monitors


def test_lists_come_in_order_and_in_pages(monitors: Monitors):
    for number in range(3):
        monitors.define("DataQuality", f"paged-{number}")
        monitors.schedule("DataQuality", f"paged-{number}", NEVER)
    for operation, members, key in (
        ("list_data_quality_job_definitions", "JobDefinitionSummaries", "MonitoringJobDefinitionName"),
        ("list_monitoring_schedules", "MonitoringScheduleSummaries", "MonitoringScheduleName"),
    ):
        pages = monitors.sagemaker.get_paginator(operation).paginate(
            NameContains="paged", SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 2}
        )
        found = [[each[key] for each in page[members]] for page in pages]
        assert found == [["paged-2", "paged-1"], ["paged-0"]]
