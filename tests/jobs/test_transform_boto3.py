"""Batch transform from end to end: an unmodified boto3 against a running server, with real instances."""

from __future__ import annotations

import gzip
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.async_inference.conftest import until
from tests.jobs.conftest import Jobs


def refused(call: Any, **request: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_every_object_of_a_prefix_becomes_one(jobs: Jobs):
    jobs.put("many/a.csv", b"1,2\n3,4\n")
    jobs.put("many/deep/b.csv", b"5,6\n")
    jobs.put("many/", b"")
    arn = jobs.start(
        "many", "many/", instances=2, input={"SplitType": "Line"}, MaxConcurrentTransforms=2,
        output={"AssembleWith": "Line", "Accept": "text/csv"}, Tags=[{"Key": "team", "Value": "a"}],
    )  # fmt: skip
    assert arn.endswith(":transform-job/many")
    found = jobs.ended("many")
    assert found["TransformJobStatus"] == "Completed", found
    assert jobs.outputs("many") == {"a.csv.out": b"3.0\n7.0\n", "deep/b.csv.out": b"11.0\n"}
    assert found["CreationTime"] <= found["TransformStartTime"] <= found["TransformEndTime"]
    assert (found["ModelName"], found["MaxConcurrentTransforms"]) == ("sums", 2)
    assert jobs.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    logs = jobs.kedge.client("logs")

    def streams() -> list[str]:
        found = logs.describe_log_streams(logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix="many/")
        return [each["logStreamName"] for each in found["logStreams"]]

    assert any(name.endswith("/data-log") for name in until(streams, "the log"))
    until(lambda: not [each for each in _tasks(jobs) if each], "the end of its instances")


def _tasks(jobs: Jobs) -> list[str]:
    return [path.name for path in (jobs.kedge.data_dir / "tasks").iterdir() if (path / "record.json").exists()]


def test_single_records_compressed_input_and_variables(jobs: Jobs):
    jobs.put("packed/a.gz", gzip.compress(b"1,1\n2,2\n") + gzip.compress(b"environment\n"))
    jobs.start(
        "packed", "packed/a.gz", input={"SplitType": "Line", "CompressionType": "Gzip"},
        output={"AssembleWith": "Line"}, BatchStrategy="SingleRecord", Environment={"COLOUR": "blue"},
    )  # fmt: skip
    assert jobs.ended("packed")["TransformJobStatus"] == "Completed"
    assert jobs.outputs("packed") == {"a.gz.out": b"2.0\n4.0\nSINGLE_RECORD blue\n"}


SERVER = """#!/usr/bin/env python
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        hints = b'{"MaxConcurrentTransforms": 3, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}'
        self.answer(hints if self.path == "/execution-parameters" else b"")

    def do_POST(self):
        self.answer(b"<" + self.rfile.read(int(self.headers["Content-Length"])) + b">")

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
http.server.ThreadingHTTPServer(("", port), Handler).serve_forever()
"""
HINTING = """
def execution_parameters_fn():
    return {"MaxConcurrentTransforms": 3, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    return "<" + data + ">", accept
"""


@pytest.mark.parametrize(
    ("name", "image", "file", "code"),
    [
        ("asks-a-server", "kedge/server:1", "code/serve", SERVER),
        ("asks-a-script", "kedge/script:1", "code/inference.py", HINTING),
    ],
)
def test_a_container_says_how_batches_are_sent(jobs: Jobs, name: str, image: str, file: str, code: str):
    jobs.model(name, code, image=image, file=file)
    jobs.put(f"{name}/a.csv", b"1\n2\n3\n")
    jobs.start(name, f"{name}/", model=name, input={"SplitType": "Line"}, output={"AssembleWith": "Line"})
    assert jobs.ended(name)["TransformJobStatus"] == "Completed", jobs.describe(name)
    assert jobs.outputs(name) == {"a.csv.out": b"<1>\n<2>\n<3>\n"}
    logs = jobs.kedge.client("logs")

    def says() -> bool:
        found = logs.filter_log_events(logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix=f"{name}/")
        said = "MaxConcurrentTransforms=3, MaxPayloadInMB=2, BatchStrategy=SINGLE_RECORD"
        return any(said in each["message"] for each in found["events"])

    until(says, "how it is sent")
    assert "MaxConcurrentTransforms" not in jobs.describe(name), "the request did not say so"


def test_answers_are_joined_with_their_records_in_order(jobs: Jobs):
    rows = [f"{n},{n % 7},{n % 3}" for n in range(4000)]
    jobs.put("joined/rows.csv", "\n".join(rows).encode())
    jobs.start(
        "joined", "joined", input={"SplitType": "Line"}, output={"AssembleWith": "Line", "Accept": "text/csv"},
        MaxConcurrentTransforms=4,
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    )  # fmt: skip
    assert jobs.ended("joined")["TransformJobStatus"] == "Completed"
    wanted = "".join(f"{n},{float(n % 7 + n % 3)}\n" for n in range(4000))
    assert jobs.outputs("joined")["rows.csv.out"].decode() == wanted


def test_a_manifest_and_the_key_of_the_output(jobs: Jobs):
    key = jobs.kedge.client("kms").create_key()["KeyMetadata"]["Arn"]
    jobs.put("listed/x.csv", b"1,1")
    jobs.put("listed/y.csv", b"2,2")
    jobs.put("manifest.json", json.dumps([{"prefix": f"s3://{jobs.bucket}/listed/"}, "y.csv"]).encode())
    capture = {"DestinationS3Uri": f"s3://{jobs.bucket}/captured", "GenerateInferenceId": True}
    output = {"KmsKeyId": key, "Accept": "text/csv"}
    jobs.start("listed", "manifest.json", kind="ManifestFile", output=output, DataCaptureConfig=capture)
    assert jobs.ended("listed")["TransformJobStatus"] == "Completed"
    ((name, body),) = jobs.outputs("listed").items()
    answer, inference, at = body.decode().rstrip("\n").split(",")
    assert (name, answer) == ("y.csv.out", "4.0")
    assert str(uuid.UUID(inference)) == inference
    assert at == jobs.describe("listed")["TransformStartTime"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert jobs.s3.head_object(Bucket=jobs.bucket, Key="out/listed/y.csv.out")["SSEKMSKeyId"] == key
    keys = [each["Key"] for each in jobs.s3.list_objects_v2(Bucket=jobs.bucket, Prefix="captured/")["Contents"]]
    assert [key.split("/")[1] for key in keys] == ["input", "output"]
    manifest = json.loads(jobs.s3.get_object(Bucket=jobs.bucket, Key=keys[1])["Body"].read())
    assert manifest == [{"prefix": f"s3://{jobs.bucket}/"}, "out/listed/y.csv.out"]


@pytest.mark.parametrize(
    ("name", "body", "more", "says"),
    [
        ("bad-row", b"boom", {"ModelClientConfig": {"InvocationsMaxRetries": 1}}, "this row is bad"),
        ("late", b"sleep", {"model": "slow", "ModelClientConfig": {"InvocationsTimeoutInSeconds": 1,
                                                                  "InvocationsMaxRetries": 0}}, "within 1 s"),
        ("large", b"1" * 1_200_000, {"MaxPayloadInMB": 1}, "MaxPayloadInMB"),
        ("not-packed", b"1,1", {"input": {"CompressionType": "Gzip"}}, "not compressed by gzip"),
    ],
)  # fmt: skip
def test_what_fails_says_why(jobs: Jobs, name: str, body: bytes, more: dict[str, Any], says: str):
    if more.get("model") == "slow":
        jobs.model("slow", NAP_S="2.5")
    jobs.put(f"{name}/a.csv", body)
    jobs.start(name, f"{name}/", **more)
    found = jobs.ended(name)
    assert found["TransformJobStatus"] == "Failed"
    assert says in found["FailureReason"]
    assert jobs.outputs(name) == {}


def test_a_prefix_without_objects_and_a_model_that_cannot_start(jobs: Jobs):
    jobs.start("nothing", "nothing-here/")
    assert "No S3 objects found" in jobs.ended("nothing")["FailureReason"]
    jobs.model("broken", "def model_fn(model_dir):\n    raise RuntimeError('no such weights')\n")
    jobs.put("one/a.csv", b"1,1")
    jobs.start("broken", "one/", model="broken")
    assert "no such weights" in jobs.ended("broken")["FailureReason"]


def test_a_job_is_stopped(jobs: Jobs):
    jobs.model("napping", NAP_S="0.3")
    for n in range(30):
        jobs.put(f"naps/{n:02}", b"sleep")
    jobs.start("naps", "naps/", model="napping")
    until(lambda: jobs.outputs("naps"), "the first output")
    jobs.sagemaker.stop_transform_job(TransformJobName="naps")
    assert jobs.describe("naps")["TransformJobStatus"] in ("Stopping", "Stopped")
    assert jobs.ended("naps")["TransformJobStatus"] == "Stopped"
    assert 0 < len(jobs.outputs("naps")) < 30
    code, message = refused(jobs.sagemaker.stop_transform_job, TransformJobName="naps")
    assert (code, "in status Stopped" in message) == ("ValidationException", True)


def test_refusals_are_those_that_clients_know(jobs: Jobs):
    jobs.put("once/a.csv", b"1,1")
    jobs.start("once", "once/")
    create = jobs.sagemaker.create_transform_job
    assert refused(create, **jobs.request("once", "once/"))[0] == "ResourceInUse"
    assert refused(jobs.sagemaker.describe_transform_job, TransformJobName="absent")[0] == "ResourceNotFound"
    assert refused(jobs.sagemaker.stop_transform_job, TransformJobName="absent")[0] == "ResourceNotFound"
    code, message = refused(create, **jobs.request("other", "once/", model="no-such-model"))
    assert (code, "Could not find model" in message) == ("ValidationException", True)
    code, message = refused(create, **jobs.request("other", "once/", instances=100_000))
    assert (code, "for transform job usage" in message) == ("ResourceLimitExceeded", True)
    assert jobs.ended("once")["TransformJobStatus"] == "Completed"


def test_jobs_are_listed(jobs: Jobs):
    jobs.put("listing/a.csv", b"1,1")
    for n in range(3):
        jobs.start(f"listing-{n}", "listing/" if n else "no-such-place/")
    for n in range(3):
        jobs.ended(f"listing-{n}")
    pages = jobs.sagemaker.get_paginator("list_transform_jobs").paginate(
        NameContains="listing-", SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 2}
    )
    found = [each for page in pages for each in page["TransformJobSummaries"]]
    assert [each["TransformJobName"] for each in found] == ["listing-2", "listing-1", "listing-0"]
    assert found[0]["TransformEndTime"] <= datetime.now(UTC)
    assert "No S3 objects" in found[2]["FailureReason"]
    failed = jobs.sagemaker.list_transform_jobs(NameContains="listing-", StatusEquals="Failed")
    assert [each["TransformJobName"] for each in failed["TransformJobSummaries"]] == ["listing-0"]
