"""An endpoint for inference components on a running server, asked by boto3."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable
from typing import Any

from botocore.config import Config

NOT_RETRIED = Config(retries={"total_max_attempts": 1})
SAYS = """
import os
import uuid

def model_fn(folder):
    return {"says": os.environ["SAYS"], "copy": uuid.uuid4().hex}

def predict_fn(data, model):
    return model
"""


class Fleet:
    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker = kedge.client("sagemaker")
        self.runtime = kedge.client("sagemaker-runtime", config=NOT_RETRIED)
        self.s3 = kedge.client("s3")
        for name in ("one", "two", "three"):
            self.model(name)

    def model(self, name: str, code: str = SAYS) -> None:
        """A model that says its name."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(code)
            archive.addfile(member, io.BytesIO(code.encode()))
        self.s3.put_object(Bucket=self.kedge.bucket, Key=f"{name}.tar.gz", Body=buffer.getvalue())
        container = {
            "Image": "kedge/script:1",
            "ModelDataUrl": f"s3://{self.kedge.bucket}/{name}.tar.gz",
            "Environment": {"SAYS": name},
        }
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=self.kedge.role_arn)

    def config(self, name: str, count: int = 1, **of_variant: Any) -> None:
        variant = {
            "VariantName": "v",
            "InstanceType": "ml.t2.medium",
            "InitialInstanceCount": count,
            "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
            **of_variant,
        }
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant], ExecutionRoleArn=self.kedge.role_arn
        )

    def create(self, count: int = 1, **of_variant: Any) -> None:
        """Endpoint `e` with so many instances: 2 cores and 4 GiB each."""
        self.config("c", count, **of_variant)
        self.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        self.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e")

    def component(self, name: str, copies: int = 1, cores: float = 0.5, model: str = "", **given: Any) -> None:
        self.sagemaker.create_inference_component(
            InferenceComponentName=name,
            EndpointName="e",
            VariantName="v",
            Specification=self.specification(model or name, cores, **given),
            RuntimeConfig={"CopyCount": copies},
        )

    def specification(self, model: str, cores: float = 0.5, memory: int = 256, **given: Any) -> dict[str, Any]:
        needs = {"NumberOfCpuCoresRequired": cores, "MinMemoryRequiredInMb": memory}
        return {"ModelName": model, "ComputeResourceRequirements": needs, **given}

    def up(self, name: str, copies: int = 1, cores: float = 0.5, **given: Any) -> None:
        self.component(name, copies, cores, **given)
        self.rest(name)

    def describe(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_inference_component(InferenceComponentName=name)
        return found

    def rest(self, name: str, status: str = "InService") -> dict[str, Any]:
        """Once it is not in transition any more."""
        moving = ("Creating", "Updating")
        soon(lambda: self.describe(name)["InferenceComponentStatus"] not in moving, True)
        described = self.describe(name)
        assert described["InferenceComponentStatus"] == status, described
        return described

    def copies(self, name: str) -> int:
        return int(self.describe(name)["RuntimeConfig"]["CurrentCopyCount"])

    def instances(self) -> int:
        (variant,) = self.sagemaker.describe_endpoint(EndpointName="e")["ProductionVariants"]
        return int(variant["CurrentInstanceCount"])

    def invoke(self, name: str | None, **more: Any) -> dict[str, Any]:
        named = {} if name is None else {"InferenceComponentName": name}
        answer = self.runtime.invoke_endpoint(
            EndpointName="e", Body=b"[1]", ContentType="application/json", **named, **more
        )
        found: dict[str, Any] = json.loads(answer["Body"].read())
        return found

    def delete(self, name: str) -> None:
        self.sagemaker.delete_inference_component(InferenceComponentName=name)

    def names(self, **asked: Any) -> list[str]:
        found = self.sagemaker.list_inference_components(**asked)["InferenceComponents"]
        return [each["InferenceComponentName"] for each in found]

    def clear(self) -> None:
        for name in self.names(MaxResults=100):
            self.delete(name)
        soon(self.names, [])
        for each in self.sagemaker.list_endpoints()["Endpoints"]:
            self.sagemaker.delete_endpoint(EndpointName=each["EndpointName"])
        soon(lambda: self.sagemaker.list_endpoints()["Endpoints"], [])
        for each in self.sagemaker.list_endpoint_configs()["EndpointConfigs"]:
            self.sagemaker.delete_endpoint_config(EndpointConfigName=each["EndpointConfigName"])


def soon(ask: Callable[[], Any], wanted: Any, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while (found := ask()) != wanted:
        assert time.monotonic() < end, f"{found!r} is not {wanted!r}"
        time.sleep(0.02)
