"""An endpoint whose requests are captured, and monitors of it, on a running server.

Files of captured records and of labels are put where capture and users put them, hours back, so nothing waits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.async_inference.conftest import until
from tests.jobs.conftest import Jobs

ANALYZER = "156813124566.dkr.ecr.us-east-1.amazonaws.com/sagemaker-model-monitor-analyzer"
CLARIFY = "205585389593.dkr.ecr.us-east-1.amazonaws.com/sagemaker-clarify-processing:1.0"
OVER = ("Completed", "CompletedWithViolations", "Failed", "Stopped")
AT = "/opt/ml/processing/input/endpoint"


EARLIER, LATER = (9, 5), (5, 2)
"""Windows in hours back from now, with what came at back(6) and at back(3), also once another hour has begun."""


class Monitors(Jobs):
    endpoint = "scores"

    def __init__(self, kedge: Any) -> None:
        super().__init__(kedge)
        self._hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)

    def back(self, hours: int) -> datetime:
        """The beginning of the hour so many hours before this was made."""
        return self._hour - timedelta(hours=hours)

    def serve(self, name: str, script: str) -> None:
        """An endpoint of that name, which captures everything."""
        self.model(name, script)
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": "ml.t2.medium",
            "InitialInstanceCount": 1,
        }
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[variant],
            DataCaptureConfig={
                "EnableCapture": True,
                "InitialSamplingPercentage": 100,
                "DestinationS3Uri": self.uri("captured"),
                "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
                "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
            },
        )
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        self.sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def get(self, key: str) -> Any:
        return json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def get_lines(self, prefix: str) -> list[Any]:
        """Of all objects below, which are JSON Lines."""
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        bodies = [self.s3.get_object(Bucket=self.bucket, Key=each["Key"])["Body"].read() for each in listed]
        return [json.loads(line) for body in bodies for line in body.splitlines()]

    def capture(self, hour: datetime, rows: Sequence[tuple[str, str]], name: str = "", part: str = "a") -> None:
        """Of that hour, as capture writes it. rows: what was asked and what was answered, as CSV."""
        endpoint = name or self.endpoint
        lines = []
        for number, (asked, answered) in enumerate(rows):
            sides = {
                side: {"observedContentType": "text/csv", "mode": mode, "data": data, "encoding": "CSV"}
                for side, mode, data in (("endpointInput", "INPUT", asked), ("endpointOutput", "OUTPUT", answered))
            }
            meta = {
                "eventId": f"{hour:%d%H}-{part}-{number}",
                "inferenceTime": f"{hour:%Y-%m-%dT%H:%M:%SZ}",
            }
            lines.append(json.dumps({"captureData": sides, "eventMetadata": meta, "eventVersion": "0"}))
        self.put(f"captured/{endpoint}/AllTraffic/{hour:%Y/%m/%d/%H}/00-00-000-{part}.jsonl", "\n".join(lines).encode())

    def label(self, came: datetime, hour: datetime, labels: dict[int, str], where: str, part: str = "a") -> None:
        """labels: by the number of the captured record of `hour`."""
        lines = [
            json.dumps(
                {
                    "groundTruthData": {"data": label, "encoding": "CSV"},
                    "eventMetadata": {"eventId": f"{hour:%d%H}-{part}-{number}"},
                    "eventVersion": "0",
                }
            )
            for number, label in labels.items()
        ]
        self.put(f"{where}/{came:%Y/%m/%d/%H}/{hour:%d%H}{part}.jsonl", "\n".join(lines).encode())

    def definition(self, kind: str, name: str, **more: Any) -> dict[str, Any]:
        """The request of a job definition."""
        source = {"EndpointName": self.endpoint, "LocalPath": AT, **more.pop("source", {})}
        given = {"EndpointInput": source, **more.pop("job", {})}
        output = {"S3Uri": self.uri(f"reports/{name}"), "LocalPath": "/opt/ml/processing/output"}
        image = CLARIFY if kind in ("ModelBias", "ModelExplainability") else ANALYZER
        cluster = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1, **more.pop("cluster", {})}
        request = {
            "JobDefinitionName": name,
            f"{kind}AppSpecification": {"ImageUri": image, **more.pop("app", {})},
            f"{kind}JobInput": given,
            f"{kind}JobOutputConfig": {
                "MonitoringOutputs": [{"S3Output": {**output, "S3UploadMode": "Continuous", **more.pop("output", {})}}]
            },
            "JobResources": {"ClusterConfig": cluster},
            "RoleArn": self.kedge.role_arn,
        }
        if baseline := more.pop("baseline", None):
            request[f"{kind}BaselineConfig"] = {f"{key}Resource": {"S3Uri": uri} for key, uri in baseline.items()}
        return {**request, **more}

    def define(self, kind: str, name: str, **more: Any) -> str:
        call = getattr(self.sagemaker, f"create_{SNAKE[kind]}_job_definition")
        arn: str = call(**self.definition(kind, name, **more))["JobDefinitionArn"]
        return arn

    def schedule(self, kind: str, name: str, expression: str = "", hours: tuple[int, int] = (0, 0), **more: Any) -> str:
        """A schedule of the definition of the same name. hours: back from now, of one that runs once."""
        config = {"MonitoringJobDefinitionName": name, "MonitoringType": kind}
        if hours != (0, 0):
            start, end = hours
            config["ScheduleConfig"] = {
                "ScheduleExpression": "NOW",
                "DataAnalysisStartTime": f"-PT{start}H",
                "DataAnalysisEndTime": f"-PT{end}H",
            }
        elif expression:
            config["ScheduleConfig"] = {"ScheduleExpression": expression}
        arn: str = self.sagemaker.create_monitoring_schedule(
            MonitoringScheduleName=name, MonitoringScheduleConfig={**config, **more.pop("config", {})}, **more
        )["MonitoringScheduleArn"]
        return arn

    def executions(self, name: str, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.sagemaker.list_monitoring_executions(
            MonitoringScheduleName=name, SortBy="CreationTime", SortOrder="Ascending", MaxResults=100, **more
        )["MonitoringExecutionSummaries"]
        return found

    def ended(self, name: str, number: int = 1, within_s: float = 60) -> dict[str, Any]:
        """The execution of that number, once it is over."""

        def look() -> dict[str, Any] | None:
            found = self.executions(name)
            over = len(found) >= number and found[number - 1]["MonitoringExecutionStatus"] in OVER
            return found[number - 1] if over else None

        found: dict[str, Any] = until(look, f"execution {number} of {name}", within_s)
        return found

    def job(self, execution: dict[str, Any]) -> dict[str, Any]:
        name = execution["ProcessingJobArn"].rpartition("/")[2]
        found: dict[str, Any] = self.sagemaker.describe_processing_job(ProcessingJobName=name)
        return found

    def report(self, execution: dict[str, Any], file: str) -> Any:
        """A file that its job has left."""
        (output,) = self.job(execution)["ProcessingOutputConfig"]["Outputs"]
        return self.get(f"{output['S3Output']['S3Uri'].removeprefix(self.uri(''))}/{file}")

    def refused(self, call: str, **request: Any) -> tuple[str, str]:
        with pytest.raises(ClientError) as caught:
            getattr(self.sagemaker, call)(**request)
        error = caught.value.response["Error"]
        return error["Code"], error["Message"]


SNAKE = {
    "DataQuality": "data_quality",
    "ModelQuality": "model_quality",
    "ModelBias": "model_bias",
    "ModelExplainability": "model_explainability",
}


SCRIPT = """
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    data = data.decode() if isinstance(data, bytes) else data
    rows = [[float(x) for x in line.split(",")] for line in data.strip().splitlines()]
    return "\\n".join(str(1 / (1 + 2.718281828 ** -(2 * row[0] - row[1]))) for row in rows), "text/csv"
"""


@pytest.fixture(scope="module")
def monitors(kedge_server: Any) -> Monitors:
    """With the endpoint "scores"; one server for the module, emptied once."""
    kedge_server.reset()
    made = Monitors(kedge_server)
    made.serve(made.endpoint, SCRIPT)
    return made
