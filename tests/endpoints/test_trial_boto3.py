"""A new fleet that is tried before any client's request reaches it, on a running server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.endpoints.test_hosting_boto3 import Hosting

SCRIPT = """
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    {act}
    return {answer}, "text/csv"
"""


@pytest.fixture
def hosting(kedge: Any) -> Hosting:
    hosting = Hosting(kedge)
    for name, act, answer in (
        ("echo", "pass", "data"),
        ("twice", "pass", "str(2 * float(data))"),
        ("broken", "raise ValueError('no such column')", "data"),
    ):
        hosting.script(name, SCRIPT.format(act=act, answer=answer))
    body = "\n".join(str(number + 0.5) for number in range(120))
    hosting.s3.put_object(Bucket=kedge.bucket, Key="trial/given.jsonl", Body=body.encode())
    return hosting


def config(hosting: Hosting, name: str, model: str, source: str, **settings: str) -> None:
    tags = {"kedge:trial": source, **{f"kedge:trial-{key.replace('_', '-')}": each for key, each in settings.items()}}
    hosting.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": "v",
                "ModelName": model,
                "InitialInstanceCount": 1,
                "InstanceType": "ml.t2.medium",
            }
        ],
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )


def updated(hosting: Hosting, name: str, **more: Any) -> dict[str, Any]:
    hosting.sagemaker.update_endpoint(EndpointName="e", EndpointConfigName=name, **more)
    hosting.wait("in_service", "e")
    shown: dict[str, Any] = hosting.sagemaker.describe_endpoint(EndpointName="e")
    return shown


def report(hosting: Hosting) -> dict[str, Any]:
    found = hosting.kedge._server.ask("GET", "/kedge/deployment", {"EndpointName": "e"})
    trial: dict[str, Any] = found["Deployments"][0]["Trial"]
    return trial


def test_given_requests(hosting: Hosting):
    given = f"s3://{hosting.kedge.bucket}/trial/"
    hosting.config("old", v=("echo", 1.0, 1))
    hosting.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="old")
    with pytest.raises(ClientError, match='rate" is "fast"; it has to be a number'):
        config(hosting, "refused", "echo", given, rate="fast")
    config(hosting, "broken", "broken", given, rate="200", count="20")
    config(hosting, "other", "twice", given, rate="200", min_agreement="0.9")
    config(hosting, "far", "twice", given, rate="200", count="120", max_distance="0.25")
    config(hosting, "nothing", "echo", f"s3://{hosting.kedge.bucket}/none/")
    config(hosting, "alike", "echo", given, rate="100", count="120", min_agreement="1", max_p99="30000")
    hosting.wait("in_service", "e")
    for name, says in (
        ("broken", "20 of 20 requests failed; at most 0.00% may. The first: "),
        ("other", "0.00% of"),
        ("far", "from the present fleet's; at most 0.25 is allowed"),
        ("nothing", "holds no request"),
    ):
        shown = updated(hosting, name)
        assert shown["EndpointConfigName"] == "old"
        assert says in shown["FailureReason"]
    shown = updated(hosting, "alike")
    assert shown["EndpointConfigName"] == "alike", shown
    found = report(hosting)
    assert (found["Passed"], found["Requests"], found["Errors"]) == (True, 120, 0)
    assert (found["Compared"], found["Agreement"]) == (120, 1.0)
    assert found["Distance"] < 0.25


def test_captured_and_synthetic_requests(hosting: Hosting):
    bucket = hosting.kedge.bucket
    hosting.sagemaker.create_endpoint_config(
        EndpointConfigName="old",
        ProductionVariants=[
            {"VariantName": "v", "ModelName": "echo", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
        ],
        DataCaptureConfig={
            "EnableCapture": True, "InitialSamplingPercentage": 100, "DestinationS3Uri": f"s3://{bucket}/captured",
            "CaptureOptions": [{"CaptureMode": "Input"}], "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
    )  # fmt: skip
    hosting.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="old")
    record = {
        "captureData": {"endpointInput": {"observedContentType": "text/csv", "data": "7.5", "encoding": "CSV"}},
        "eventMetadata": {}, "eventVersion": "0",
    }  # fmt: skip
    key = "captured/e/v/2026/01/01/00/00-00-000-x.jsonl"
    hosting.s3.put_object(Bucket=bucket, Key=key, Body=(json.dumps(record) + "\n").encode() * 5)
    config(hosting, "broken", "broken", "captured", rate="100")
    config(hosting, "synthetic", "echo", "synthetic", rate="100")
    hosting.put("probed.tar.gz", {})
    uri = hosting.put(
        "probed.tar.gz",
        {"code/inference.py": SCRIPT.format(act="pass", answer="data").encode(), "probe/request.csv": b"1.5,20,red"},
    )
    container = {"Image": "kedge/script:1", "ModelDataUrl": uri}
    hosting.sagemaker.create_model(
        ModelName="probed", PrimaryContainer=container, ExecutionRoleArn=hosting.kedge.role_arn
    )
    config(hosting, "probed", "probed", "synthetic", rate="100", count="40", min_agreement="1")
    hosting.wait("in_service", "e")
    assert "5 of 5 requests failed" in updated(hosting, "broken")["FailureReason"]
    assert "has no probe/request" in updated(hosting, "synthetic")["FailureReason"]
    shown = updated(hosting, "probed")
    assert shown["EndpointConfigName"] == "probed", shown
    found = report(hosting)
    assert (found["Passed"], found["Requests"], found["Agreement"]) == (True, 40, 1.0)
