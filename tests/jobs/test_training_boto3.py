"""Training jobs from end to end: an unmodified boto3 against a running server, with scripts in script mode."""

from __future__ import annotations

import io
import json
import tarfile
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.async_inference.conftest import until
from tests.jobs.programs import Programs

TRAIN = """
import argparse, json, os, pathlib
import helper
parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--depth", type=int)
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
args = parser.parse_args()
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "rows.csv").read_text()
config = pathlib.Path(os.environ["SM_INPUT_CONFIG_DIR"])
print("epoch=1 loss=0.75")
print("epoch=2 loss=0.25;")
model = {
    "args": [args.rate, args.depth],
    "rows": rows,
    "channels": json.loads(os.environ["SM_CHANNELS"]),
    "hps": json.loads(os.environ["SM_HPS"]),
    "data": json.loads((config / "inputdataconfig.json").read_text()),
    "job": os.environ["TRAINING_JOB_NAME"],
    "helper": helper.NAME,
}
pathlib.Path(args.model_dir, "model.json").write_text(json.dumps(model))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "plot.txt").write_text("a plot")
"""


@pytest.fixture(scope="module")
def jobs(kedge_server: Any) -> Programs:
    kedge_server.reset()
    return Programs(kedge_server)


def unpacked(body: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:gz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def test_a_script_is_trained_and_its_model_is_packed(jobs: Programs):
    jobs.put("train/rows.csv", "1,2\n")
    source = jobs.source("full", train=TRAIN, helper="NAME = 'a module beside it'")
    own = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": json.dumps(source)}
    definitions = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}, {"Name": "never", "Regex": "x=(y)"}]
    arn = jobs.train(
        "full", hyperparameters={**own, "rate": "0.5", "depth": '"3"'},
        InputDataConfig=[jobs.channel("train", jobs.uri("train/"), ContentType="text/csv")],
        algorithm={"MetricDefinitions": definitions},
        Tags=[{"Key": "team", "Value": "a"}],
    )  # fmt: skip
    assert arn.endswith(":training-job/full")
    found = jobs.trained("full")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Completed", "Completed"), found
    assert found["ModelArtifacts"]["S3ModelArtifacts"] == jobs.uri("trained/full/output/model.tar.gz")
    model = json.loads(unpacked(jobs.get("trained/full/output/model.tar.gz"))["model.json"])
    assert model == {
        "args": [0.5, 3], "rows": "1,2\n", "channels": ["train"], "hps": {"rate": 0.5, "depth": "3"}, "job": "full",
        "helper": "a module beside it",
        "data": {"train": {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated",
                           "RecordWrapperType": "None", "ContentType": "text/csv"}},
    }  # fmt: skip
    assert unpacked(jobs.get("trained/full/output/output.tar.gz")) == {"plot.txt": b"a plot"}
    steps = [each["Status"] for each in found["SecondaryStatusTransitions"]]
    assert steps == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all("EndTime" in each for each in found["SecondaryStatusTransitions"])
    assert found["TrainingTimeInSeconds"] >= 0
    assert [(each["MetricName"], each["Value"]) for each in found["FinalMetricDataList"]] == [("loss", 0.25)]
    assert jobs.log("TrainingJobs", "full") == ["epoch=1 loss=0.75", "epoch=2 loss=0.25;"]
    assert found["FinalMetricDataList"][0]["Timestamp"] <= found["TrainingEndTime"]
    told = jobs.kedge.client("cloudwatch").get_metric_statistics(
        Namespace="/aws/sagemaker/TrainingJobs", MetricName="loss", Period=3600, Statistics=["Sum", "SampleCount"],
        Dimensions=[{"Name": "TrainingJobName", "Value": "full"}],
        StartTime=found["TrainingStartTime"] - timedelta(hours=1), EndTime=found["TrainingEndTime"],
    )["Datapoints"]  # fmt: skip
    assert sum(each["Sum"] for each in told) == 1.0
    assert sum(each["SampleCount"] for each in told) == 2
    assert jobs.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]


def test_a_script_that_fails_leaves_no_model(jobs: Programs):
    jobs.train("raises", "raise ValueError('no convergence')")
    found = jobs.trained("raises")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Failed", "Failed")
    assert "ValueError: no convergence" in found["FailureReason"]
    assert jobs.keys("trained/raises/") == []


def test_what_is_stopped_or_out_of_time_keeps_its_model(jobs: Programs):
    script = """
import os, pathlib, time
pathlib.Path(os.environ["SM_MODEL_DIR"], "part.txt").write_text("half")
print("loss=0.5", flush=True)
pathlib.Path("/opt/ml/checkpoints/1.ckpt").write_text("one")
time.sleep(300)
"""
    loss = {"MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]}
    jobs.train("stopped", script, algorithm=loss, CheckpointConfig={"S3Uri": jobs.uri("checkpoints")})
    until(lambda: jobs.keys("checkpoints/"), "the checkpoint", 40)
    jobs.sagemaker.stop_training_job(TrainingJobName="stopped")
    found = jobs.trained("stopped")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert [each["Value"] for each in found["FinalMetricDataList"]] == [0.5]
    assert unpacked(jobs.get("trained/stopped/output/model.tar.gz")) == {"part.txt": b"half"}
    again = "import os, pathlib, sys; sys.exit(pathlib.Path('/opt/ml/checkpoints/1.ckpt').read_text() != 'one')"
    jobs.train(
        "resumed", again, CheckpointConfig={"S3Uri": jobs.uri("checkpoints")}, output={"CompressionType": "NONE"}
    )
    assert jobs.trained("resumed")["TrainingJobStatus"] == "Completed"
    jobs.train("slow", script.replace("/opt/ml/checkpoints/1.ckpt", "/tmp/1"), most_s=1)
    found = jobs.trained("slow")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert jobs.keys("trained/slow/") == ["output/model.tar.gz"]


def test_a_command_may_take_the_place_of_script_mode(jobs: Programs):
    shell = ["/bin/sh", "-c", "cat /opt/ml/input/config/hyperparameters.json > /opt/ml/model/seen.json; echo $0 $1"]
    jobs.train(
        "command", hyperparameters={"a": "1"}, output={"CompressionType": "NONE"},
        algorithm={"ContainerEntrypoint": shell, "ContainerArguments": ["first", "second"]},
    )  # fmt: skip
    found = jobs.trained("command")
    assert found["TrainingJobStatus"] == "Completed", found
    assert jobs.get("trained/command/output/model/seen.json") == b'{"a": "1"}'
    assert jobs.log("TrainingJobs", "command") == ["first second"]


def test_refusals_are_those_that_clients_know(jobs: Programs):
    create = jobs.sagemaker.create_training_job
    for more, says in (
        ({}, "script mode only"),
        ({"script": "pass", "InputDataConfig": [jobs.channel("train", jobs.uri("x"), InputMode="Pipe")]}, "is Pipe"),
        ({"script": "pass", "algorithm": {"TrainingImage": "nobody/knows:1"}}, "Known repositories"),
    ):
        with pytest.raises(ClientError, match=says):
            create(**jobs.training("other", **more))
    for call in (jobs.sagemaker.describe_training_job, jobs.sagemaker.stop_training_job):
        with pytest.raises(ClientError, match="Requested resource not found"):
            call(TrainingJobName="absent")
    jobs.train("once", "pass")
    with pytest.raises(jobs.sagemaker.exceptions.ResourceInUse):
        jobs.train("once", "pass")
    assert jobs.trained("once")["TrainingJobStatus"] == "Completed"
    listed = jobs.sagemaker.list_training_jobs(NameContains="onc", StatusEquals="Completed")["TrainingJobSummaries"]
    assert [(each["TrainingJobName"], each["SecondaryStatus"]) for each in listed] == [("once", "Completed")]
