"""The whole loop on real data: drift is found, a model is trained, canaried and promoted, and quality comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner

from kedge.cli.main import commands
from tests.async_inference.conftest import until
from tests.monitors.conftest import Monitors

LOOP = Path(__file__).parents[2] / "examples/closed_loop/loop.py"
QUALITY = "digits-quality"


def command(kedge: Any, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(commands, ["monitor", *words], env={"KEDGE_DATA_DIR": str(kedge.data_dir)})
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def went(kedge_server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the example found. It uses boto3 and nothing else, as users do."""
    kedge_server.reset()
    out = tmp_path_factory.mktemp("loop")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | kedge_server.environment()
    done = subprocess.run(
        [sys.executable, str(LOOP), "--quick", "--out", str(out)],
        env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (out / "quality.svg").read_text().startswith("<svg ")
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


def test_quality_goes_and_comes_back(went: dict[str, Any], kedge_server: Any):
    before, wrong, after = went["accuracies"]
    assert before > 0.95
    assert wrong < 0.85
    assert after > 0.93
    run = went["retrained"]
    assert (run["RetrainingStatus"], run["Verdict"]) == ("Promoted", "concept drift")
    assert [each["Status"] for each in run["Steps"]] == [
        "Deciding", "Training", "Registering", "PendingApproval", "Deploying", "Promoted",
    ]  # fmt: skip
    sagemaker = kedge_server.client("sagemaker")
    endpoint = sagemaker.describe_endpoint(EndpointName="digits")
    assert endpoint["EndpointConfigName"] == run["RetrainingName"]
    package = sagemaker.describe_model_package(ModelPackageName=run["ModelPackageArn"])
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["CreatedBy"]["IamIdentity"]["Arn"].endswith(":assumed-role/kedge-execution-role/SageMaker")
    job = sagemaker.describe_training_job(TrainingJobName=run["RetrainingName"])
    assert job["FinalMetricDataList"][0]["Value"] >= 0.9
    assert {each["ChannelName"] for each in job["InputDataConfig"]} == {"train", "recent"}
    assert until(lambda: rang(kedge_server), "the alarm on the monitor's metric", 75)
    said = command(kedge_server, "status", QUALITY)
    assert "Retrainings:" in said
    assert all(part in said for part in ("Promoted", "concept drift", run["RetrainingName"]))


def rang(kedge: Any) -> bool:
    changes = kedge.client("cloudwatch").describe_alarm_history(
        AlarmName="digits-accuracy", HistoryItemType="StateUpdate"
    )
    return any("to ALARM" in each["HistorySummary"] for each in changes["AlarmHistoryItems"])


def test_one_is_asked_for_by_hand_and_stopped(went: dict[str, Any], kedge_server: Any):
    begun = json.loads(command(kedge_server, "retrain", QUALITY, "--no-wait", "--json"))["name"]
    # On a busy machine the training may be over before it is seen.
    goes_on = ("Training", "Deploying")
    until(lambda: any(each in command(kedge_server, "status", QUALITY) for each in goes_on), "its training", 90)
    assert f"The retraining {begun} goes on" in command(kedge_server, "retrain", QUALITY, code=1)
    assert f"{begun}: Stopped" in command(kedge_server, "retrain", QUALITY, "--stop")
    assert "No retraining" in command(kedge_server, "retrain", QUALITY, "--stop", code=1)


def test_tags_that_cannot_be_are_refused(went: dict[str, Any], kedge_server: Any):
    sagemaker = kedge_server.client("sagemaker")
    config = {"MonitoringJobDefinitionName": "digits-dataquality", "MonitoringType": "DataQuality"}
    for tags, says in (
        ({"kedge:retrain": "digits-first"}, "a ModelQuality monitor has to have it"),
        ({"kedge:retrain-canary": "10"}, "without kedge:retrain"),
    ):
        with pytest.raises(ClientError, match=says):
            sagemaker.create_monitoring_schedule(
                MonitoringScheduleName="no", MonitoringScheduleConfig=config,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )  # fmt: skip


def test_a_role_that_may_not_deploy_ends_it(went: dict[str, Any], kedge_server: Any):
    """The retraining is done in the monitor's name: what its role may not do is not done."""
    iam, sagemaker = kedge_server.client("iam"), kedge_server.client("sagemaker")
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"},
                            "Action": "sts:AssumeRole"}]}  # fmt: skip
    role = iam.create_role(RoleName="watcher", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    given = sagemaker.describe_model_quality_job_definition(JobDefinitionName="digits-modelquality")
    made = {
        key: value
        for key, value in given.items()
        if key not in ("ResponseMetadata", "JobDefinitionArn", "CreationTime")
    }
    sagemaker.create_model_quality_job_definition(**{**made, "JobDefinitionName": "watched", "RoleArn": role})
    config = {
        "MonitoringJobDefinitionName": "watched", "MonitoringType": "ModelQuality",
        "ScheduleConfig": {
            "ScheduleExpression": "NOW", "DataAnalysisStartTime": "-PT1H", "DataAnalysisEndTime": "-PT0H",
        },
    }  # fmt: skip
    sagemaker.create_monitoring_schedule(
        MonitoringScheduleName="watched", MonitoringScheduleConfig=config,
        Tags=[{"Key": "kedge:retrain", "Value": "digits-first"}],
    )  # fmt: skip
    Monitors(kedge_server).ended("watched")
    until(lambda: "Failed" in command(kedge_server, "status", "watched"), "its end", 90)
    (run,) = json.loads(command(kedge_server, "status", "watched", "--json"))["retrainings"]
    assert "is not authorized to perform: sagemaker:CreateTrainingJob" in run["Reason"]


def test_a_template_in_s3_that_is_no_request_is_a_reason(went: dict[str, Any], kedge_server: Any):
    kedge_server.client("s3").put_object(
        Bucket=kedge_server.bucket, Key="template.json", Body=json.dumps({"HyperParameters": {"depth": 3}})
    )
    sagemaker = kedge_server.client("sagemaker")
    arn = sagemaker.describe_monitoring_schedule(MonitoringScheduleName=QUALITY)["MonitoringScheduleArn"]
    template = {"Key": "kedge:retrain", "Value": f"s3://{kedge_server.bucket}/template.json"}
    sagemaker.add_tags(ResourceArn=arn, Tags=[template])
    said = command(kedge_server, "retrain", QUALITY, code=1)
    assert "Failed: CreateTrainingJob: " in said
    assert all(part in said for part in ('"OutputDataConfig"', "HyperParameters.depth"))
