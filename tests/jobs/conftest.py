"""A model and what jobs are made of it, on a running server."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest

from tests.async_inference.conftest import until

SCRIPT = """
import os, time
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    data = data.encode() if isinstance(data, str) else data
    if b"boom" in data:
        raise ValueError("this row is bad")
    if b"sleep" in data:
        time.sleep(float(os.environ.get("NAP_S", "0.05")))
    if b"environment" in data:
        return os.environ["SAGEMAKER_BATCH_STRATEGY"] + " " + os.environ["COLOUR"], "text/csv"
    lines = data.decode().split("\\n")
    return "\\n".join(str(sum(float(x) for x in line.split(","))) if line[:1].isdigit() else line.upper()
                      for line in lines), accept or "text/csv"
"""


class Jobs:
    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker, self.s3 = kedge.client("sagemaker"), kedge.client("s3")
        self.bucket: str = kedge.bucket

    def model(
        self,
        name: str,
        script: str = SCRIPT,
        image: str = "kedge/script:1",
        file: str = "code/inference.py",
        **environment: str,
    ) -> None:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo(file)
            member.mode = 0o755
            member.size = len(script.encode())
            archive.addfile(member, io.BytesIO(script.encode()))
        self.put(f"models/{name}.tar.gz", buffer.getvalue())
        container = {"Image": image, "ModelDataUrl": f"s3://{self.bucket}/models/{name}.tar.gz"}
        self.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={**container, "Environment": environment},
            ExecutionRoleArn=self.kedge.role_arn,
        )

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def request(self, name: str, source: str, **more: Any) -> dict[str, Any]:
        kind = more.pop("kind", "S3Prefix")
        given = {"S3DataSource": {"S3DataType": kind, "S3Uri": f"s3://{self.bucket}/{source}"}}
        return {
            "TransformJobName": name,
            "ModelName": more.pop("model", "sums"),
            "TransformInput": {"DataSource": given, "ContentType": "text/csv", **more.pop("input", {})},
            "TransformOutput": {"S3OutputPath": f"s3://{self.bucket}/out/{name}", **more.pop("output", {})},
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": more.pop("instances", 1)},
            **more,
        }

    def start(self, name: str, source: str, **more: Any) -> str:
        arn: str = self.sagemaker.create_transform_job(**self.request(name, source, **more))["TransformJobArn"]
        return arn

    def describe(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.sagemaker.describe_transform_job(TransformJobName=name)
        return found

    def ended(self, name: str) -> dict[str, Any]:
        """The job once it is Completed, Failed or Stopped."""

        def look() -> dict[str, Any] | None:
            found = self.describe(name)
            return found if found["TransformJobStatus"] in ("Completed", "Failed", "Stopped") else None

        found: dict[str, Any] = until(look, f"the end of {name}", 40)
        return found

    def outputs(self, name: str) -> dict[str, bytes]:
        prefix = f"out/{name}/"
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return {
            each["Key"].removeprefix(prefix): self.s3.get_object(Bucket=self.bucket, Key=each["Key"])["Body"].read()
            for each in listed
        }


@pytest.fixture(scope="module")
def jobs(kedge_server: Any) -> Jobs:
    """With the model "sums"; one server for the module, emptied once."""
    kedge_server.reset()
    made = Jobs(kedge_server)
    made.model("sums", COLOUR="red")
    return made
