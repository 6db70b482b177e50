"""Processing and training jobs of scripts, on a running server."""

from __future__ import annotations

import io
import tarfile
from typing import Any

from tests.async_inference.conftest import until

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
OVER = ("Completed", "Failed", "Stopped")


class Programs:
    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker, self.s3, self.logs = (kedge.client(name) for name in ("sagemaker", "s3", "logs"))
        self.bucket: str = kedge.bucket

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def put(self, key: str, body: bytes | str) -> str:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body.encode() if isinstance(body, str) else body)
        return self.uri(key)

    def get(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body

    def keys(self, prefix: str) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return [each["Key"].removeprefix(prefix) for each in listed]

    def processing(self, name: str, script: str = "", **more: Any) -> dict[str, Any]:
        """The request of a job that runs the script with `python3`."""
        inputs = more.pop("inputs", [])
        if script:
            inputs = [*inputs, self.input("code", self.put(f"code/{name}/script.py", script))]
        words = ["python3", "/opt/ml/processing/code/script.py"]
        specification = {"ImageUri": IMAGE, "ContainerEntrypoint": words, **more.pop("app", {})}
        cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1, **more.pop("cluster", {})}
        return {
            "ProcessingJobName": name,
            "ProcessingResources": {"ClusterConfig": cluster},
            "AppSpecification": specification,
            "RoleArn": self.kedge.role_arn,
            "ProcessingInputs": inputs,
            "ProcessingOutputConfig": {"Outputs": more.pop("outputs", [])},
            **more,
        }

    def input(self, name: str, uri: str, **more: Any) -> dict[str, Any]:
        given = {"S3Uri": uri, "LocalPath": f"/opt/ml/processing/{name}", "S3DataType": "S3Prefix"}
        return {"InputName": name, "S3Input": {**given, "S3InputMode": "File", **more}}

    def output(self, name: str, prefix: str, mode: str = "EndOfJob") -> dict[str, Any]:
        given = {"S3Uri": self.uri(prefix), "LocalPath": f"/opt/ml/processing/{name}", "S3UploadMode": mode}
        return {"OutputName": name, "S3Output": given}

    def process(self, name: str, script: str = "", **more: Any) -> str:
        arn: str = self.sagemaker.create_processing_job(**self.processing(name, script, **more))["ProcessingJobArn"]
        return arn

    def processed(self, name: str, within_s: float = 60) -> dict[str, Any]:
        """The job once it has ended."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.sagemaker.describe_processing_job(ProcessingJobName=name)
            return found if found["ProcessingJobStatus"] in OVER else None

        found: dict[str, Any] = until(look, f"the end of {name}", within_s)
        return found

    def source(self, name: str, **files: str) -> str:
        """A sourcedir.tar.gz of scripts, by their names without .py."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for module, text in files.items():
                member = tarfile.TarInfo(f"{module}.py")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        return self.put(f"source/{name}/sourcedir.tar.gz", buffer.getvalue())

    def training(self, name: str, script: str = "", **more: Any) -> dict[str, Any]:
        """The request of a job that runs the script as SageMaker's estimators have it run."""
        hyperparameters = more.pop("hyperparameters", {})
        if script:
            own = {
                "sagemaker_program": '"train.py"',
                "sagemaker_submit_directory": f'"{self.source(name, train=script)}"',
            }
            hyperparameters = {**own, **hyperparameters}
        return {
            "TrainingJobName": name,
            "AlgorithmSpecification": {
                "TrainingImage": IMAGE,
                "TrainingInputMode": "File",
                **more.pop("algorithm", {}),
            },
            "RoleArn": self.kedge.role_arn,
            "OutputDataConfig": {"S3OutputPath": self.uri("trained"), **more.pop("output", {})},
            "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": more.pop("most_s", 600)},
            "HyperParameters": hyperparameters,
            **more,
        }

    def train(self, name: str, script: str = "", **more: Any) -> str:
        arn: str = self.sagemaker.create_training_job(**self.training(name, script, **more))["TrainingJobArn"]
        return arn

    def trained(self, name: str, within_s: float = 60) -> dict[str, Any]:
        """The job once it has ended."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
            return found if found["TrainingJobStatus"] in OVER else None

        found: dict[str, Any] = until(look, f"the end of {name}", within_s)
        return found

    def channel(self, name: str, uri: str, **more: Any) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated"}
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **more}

    def log(self, group: str, name: str) -> list[str]:
        """What the job wrote."""
        group = f"/aws/sagemaker/{group}"
        streams = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
        assert [each["logStreamName"].split("/")[1].rsplit("-", 1)[0] for each in streams] == ["algo-1"]
        found = self.logs.get_log_events(
            logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True
        )
        return [each["message"] for each in found["events"]]
