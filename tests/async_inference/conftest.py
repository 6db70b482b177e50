"""An asynchronous endpoint on a running server, as a client sees it."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

SCRIPT = """
import os, time
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept, context):
    if context.custom_attributes == "type":
        accept = content_type
    data = data.encode() if isinstance(data, str) else data
    if data.startswith(b"boom"):
        raise ValueError("this row is bad")
    if data.startswith(b"sleep "):
        time.sleep(float(data.split()[1]))
    if data == b"die":
        os._exit(3)
    return data.upper(), accept or content_type or "application/octet-stream"
"""
TIMEOUT_S = 20.0


def until(found: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """The first true answer. An error of the client is taken as not yet."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            if answer := found():
                return answer
        except (ClientError, BotoCoreError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {timeout_s} s")


class Async:
    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker, self.runtime, self.s3 = (
            kedge.client(each) for each in ("sagemaker", "sagemaker-runtime", "s3")
        )

    @property
    def bucket(self) -> str:
        return str(self.kedge.bucket)

    def model(self, name: str, script: str = SCRIPT) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(script.encode())
            archive.addfile(member, io.BytesIO(script.encode()))
        self.s3.put_object(Bucket=self.bucket, Key=f"models/{name}.tar.gz", Body=buffer.getvalue())
        self.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={"Image": "kedge/script:1", "ModelDataUrl": f"s3://{self.bucket}/models/{name}.tar.gz"},
            ExecutionRoleArn=self.kedge.role_arn,
        )

    def config(
        self,
        name: str,
        model: str,
        *,
        instances: int = 1,
        concurrency: int = 2,
        more: dict[str, Any] | None = None,
        **output: Any,
    ) -> None:
        """more: members of the config; output: of its OutputConfig."""
        given = {"S3OutputPath": f"s3://{self.bucket}/out", "S3FailurePath": f"s3://{self.bucket}/failed", **output}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "v",
                    "ModelName": model,
                    "InitialInstanceCount": instances,
                    "InstanceType": "ml.t2.medium",
                }
            ],
            AsyncInferenceConfig={
                "OutputConfig": {name: value for name, value in given.items() if value},
                "ClientConfig": {"MaxConcurrentInvocationsPerInstance": concurrency},
            },
            **(more or {}),
        )

    def endpoint(self, name: str, config: str = "") -> None:
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config or name)
        self.sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )

    def invoke(self, endpoint: str, body: bytes = b"", **more: Any) -> dict[str, Any]:
        given = {"Body": body} if body else {}
        answer: dict[str, Any] = self.runtime.invoke_endpoint_async(EndpointName=endpoint, **given, **more)
        return answer

    def put(self, key: str, body: bytes) -> str:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def get(self, uri: str) -> dict[str, Any]:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        found: dict[str, Any] = self.s3.get_object(Bucket=bucket, Key=key)
        return found

    def read(self, uri: str) -> bytes:
        """Once it is there."""
        body: bytes = until(lambda: self.get(uri), uri)["Body"].read()
        return body

    def log(self, endpoint: str) -> list[str]:
        logs = self.kedge.client("logs")
        events = logs.filter_log_events(logGroupName=f"/aws/sagemaker/Endpoints/{endpoint}")["events"]
        return [each["message"] for each in events if each["logStreamName"].endswith("/data-log")]

    def total(self, endpoint: str, name: str, variant: str = "v") -> float:
        dimensions = [{"Name": "EndpointName", "Value": endpoint}]
        if variant:
            dimensions.append({"Name": "VariantName", "Value": variant})
        now = time.time()
        points = self.kedge.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker", MetricName=name, Dimensions=dimensions, StartTime=now - 600, EndTime=now + 60,
            Period=60, Statistics=["Sum"],
        )["Datapoints"]  # fmt: skip
        return float(sum(each["Sum"] for each in points)) if points else -1.0

    def delete(self, endpoint: str) -> None:
        self.sagemaker.delete_endpoint(EndpointName=endpoint)
        self.gone(endpoint)

    def gone(self, endpoint: str) -> None:
        self.sagemaker.get_waiter("endpoint_deleted").wait(
            EndpointName=endpoint, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )


@pytest.fixture(scope="module")
def hosted(kedge_server: Any) -> Async:
    """With the endpoint "upper", which answers in capitals; one server for the module, emptied once."""
    kedge_server.reset()
    made = Async(kedge_server)
    made.model("upper")
    made.config("upper", "upper")
    made.endpoint("upper")
    return made
