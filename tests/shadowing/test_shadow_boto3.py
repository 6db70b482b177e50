"""Shadow variants from end to end: an unmodified boto3, real models that raise, hang, die and answer otherwise."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.endpoints.test_capture_boto3 import until

CODE = """
import json, os, time
def model_fn(model_dir):
    return None
def transform_fn(model, body, content_type, accept):
    asked = json.loads(body)
    what = os.environ.get("WHAT", "same")
    if what == "raises":
        raise ValueError("the shadow cannot")
    if what == "hangs":
        time.sleep(3600)
    if what == "slow":
        time.sleep(0.3)
    if what == "dies":
        os._exit(1)
    x = asked["x"] + (0.5 if what == "other" else 0)
    label = "high" if x >= 5 else "low"
    return json.dumps({"label": label, "score": x}), "application/json"
"""


class Shadowing:
    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.sagemaker, self.runtime = kedge.client("sagemaker"), kedge.client("sagemaker-runtime")
        self.cloudwatch, self.s3 = kedge.client("cloudwatch"), kedge.client("s3")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(CODE)
            archive.addfile(member, io.BytesIO(CODE.encode()))
        self.s3.put_object(Bucket=kedge.bucket, Key="model.tar.gz", Body=packed.getvalue())
        for what in ("same", "other", "raises", "hangs", "slow", "dies"):
            self.sagemaker.create_model(
                ModelName=what,
                PrimaryContainer={
                    "Image": "kedge/script:1",
                    "ModelDataUrl": f"s3://{kedge.bucket}/model.tar.gz",
                    "Environment": {"WHAT": what, "SAGEMAKER_MODEL_SERVER_TIMEOUT": "2"},
                },
                ExecutionRoleArn=kedge.role_arn,
            )

    def variant(self, name: str, model: str, weight: float = 1.0) -> dict[str, Any]:
        return {
            "VariantName": name,
            "ModelName": model,
            "InitialVariantWeight": weight,
            "InitialInstanceCount": 1,
            "InstanceType": "ml.t2.medium",
        }

    def config(self, name: str, shadow: str, weight: float = 1.0, **more: Any) -> None:
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[self.variant("live", "same")],
            ShadowProductionVariants=[self.variant("shadow", shadow, weight)],
            **more,
        )

    def create(self, shadow: str, name: str = "Shadowed", weight: float = 1.0, **more: Any) -> str:
        self.config(name, shadow, weight, **more)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        self.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
        return name

    def invoke(self, count: int, name: str = "Shadowed") -> float:
        """The longest that an answer took, in seconds. All are right and production's."""
        longest_s = 0.0
        for at in range(count):
            x = at % 10
            began = time.monotonic()
            answer = self.runtime.invoke_endpoint(
                EndpointName=name, ContentType="application/json", Body=json.dumps({"x": x})
            )
            said = json.loads(answer["Body"].read())
            longest_s = max(longest_s, time.monotonic() - began)
            assert answer["InvokedProductionVariant"] == "live"
            assert said == {"label": "high" if x >= 5 else "low", "score": x}
        return longest_s

    def read(
        self, metric: str, statistic: str = "Sum", variant: str = "shadow", namespace: str = "Kedge", name: str = ""
    ) -> float | None:
        """Of the last minutes; None while there is nothing."""
        now = datetime.now(UTC)
        points = self.cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[
                {"Name": "EndpointName", "Value": name or "Shadowed"},
                {"Name": "VariantName", "Value": variant},
            ],
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=1),
            Period=3600,
            Statistics=[statistic],
        )["Datapoints"]
        found: float | None = sum(each[statistic] for each in points) / len(points) if points else None
        return found if statistic != "Sum" or found is None else sum(each["Sum"] for each in points)

    def invocations(self, variant: str) -> float:
        return self.read("Invocations", variant=variant, namespace="AWS/SageMaker") or 0.0

    def errors(self) -> float:
        return self.read("InvocationModelErrors", namespace="AWS/SageMaker") or 0.0


@pytest.fixture
def shadowing(kedge: Any) -> Shadowing:
    return Shadowing(kedge)


def test_copies_comparisons_and_an_alarm(shadowing: Shadowing):
    shadowing.create("other")
    [shown] = shadowing.sagemaker.describe_endpoint(EndpointName="Shadowed")["ShadowProductionVariants"]
    assert (shown["VariantName"], shown["CurrentInstanceCount"]) == ("shadow", 1)
    shadowing.invoke(200)
    until(lambda: shadowing.read("ShadowMatches", "SampleCount") == 200)
    assert shadowing.read("ShadowMatches", "Average") == 0.0
    # Its scores are higher by 0.5, which moves none of them from 4 to 5.
    assert shadowing.read("ShadowLabelMatches", "Average") == 1.0
    assert shadowing.read("ShadowNumericDifference", "Average") == 0.5
    assert shadowing.read("ShadowNumericDifference", "Maximum") == 0.5
    assert shadowing.read("ShadowLatencyDifference", "SampleCount") == 200
    until(lambda: shadowing.invocations("shadow") == 200)
    assert shadowing.invocations("live") == 200
    assert shadowing.errors() == 0
    assert shadowing.read("ShadowCopies") == 200
    distance = until(lambda: shadowing.invoke(5) and shadowing.read("ShadowDistributionDistance", "Maximum"))
    assert distance > 0.25
    shown_by_cli = kedge_shadow(shadowing.kedge, "Shadowed")
    assert "100% of the requests are copied" in shown_by_cli
    assert "same label             100.00%" in shown_by_cli
    assert "numbers differ by      0.500000 on average, 0.500000 at most" in shown_by_cli
    told = json.loads(kedge_shadow(shadowing.kedge, "Shadowed", "--json"))
    assert (told["shadow"]["compared"], told["production"]["variant"]) == (told["production"]["invocations"], "live")
    shadowing.config("raising", "raises")
    shadowing.sagemaker.update_endpoint(EndpointName="Shadowed", EndpointConfigName="raising")
    shadowing.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="Shadowed")
    shadowing.invoke(20)
    until(lambda: shadowing.errors() >= 20)
    assert shadowing.read("Invocation5XXErrors", namespace="AWS/SageMaker") >= 20


def kedge_shadow(kedge: Any, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kedge", "shadow", *arguments, "--data", str(kedge.data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_share_of_the_requests(shadowing: Shadowing):
    shadowing.create("same", weight=0.25)
    shadowing.invoke(100)
    until(lambda: shadowing.read("ShadowMatches", "SampleCount") == 25)
    assert shadowing.read("ShadowMatches", "Average") == 1.0
    assert shadowing.read("ShadowNumericDifference", "Maximum") == 0.0
    assert shadowing.invocations("live") == 100


def test_an_alarm_on_agreement(shadowing: Shadowing):
    shadowing.create("raises")
    shadowing.cloudwatch.put_metric_alarm(
        AlarmName="disagrees",
        Namespace="Kedge",
        MetricName="ShadowMatches",
        Dimensions=[{"Name": "EndpointName", "Value": "Shadowed"}, {"Name": "VariantName", "Value": "shadow"}],
        Statistic="Average",
        Period=10,
        EvaluationPeriods=1,
        Threshold=0.95,
        ComparisonOperator="LessThanThreshold",
    )

    def state() -> str:
        found: str = shadowing.cloudwatch.describe_alarms(AlarmNames=["disagrees"])["MetricAlarms"][0]["StateValue"]
        return found

    until(lambda: shadowing.invoke(5) and state() == "ALARM")


@pytest.mark.parametrize("what", ["hangs", "dies", "slow"])
def test_a_shadow_never_changes_production(shadowing: Shadowing, what: str):
    shadowing.create(what)
    shadowing.invoke(3)
    longest_s = shadowing.invoke(60)
    assert longest_s < 1.5, "a shadow's time-out is 2 s, and each slow answer takes 0.3 s"
    until(lambda: (shadowing.read("ShadowMatches", "SampleCount") or 0) > 0)
    shadowing.invoke(10)


def test_a_killed_shadow_comes_back(shadowing: Shadowing):
    shadowing.create("same")

    def compared() -> float:
        shadowing.invoke(1)
        return shadowing.read("ShadowMatches", "SampleCount") or 0

    until(lambda: compared() >= 3)
    os.kill(worker_of(shadowing.kedge, "shadow"), signal.SIGKILL)
    shadowing.invoke(20)
    before = compared()
    until(lambda: compared() > before + 3)


def worker_of(kedge: Any, variant: str) -> int:
    """The process of the variant's instance."""
    for record in (kedge.data_dir / "tasks").glob("*/record.json"):
        told = json.loads(record.read_text())
        if told["spec"]["labels"].get("variant") == variant:
            found: int = told["process"]["pid"]
            return found
    raise AssertionError(f"no instance of {variant}")


def test_what_the_shadow_answers_is_captured(shadowing: Shadowing):
    captured = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": f"s3://{shadowing.kedge.bucket}/captured",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }
    shadowing.create("other", DataCaptureConfig=captured)
    shadowing.invoke(2)

    def records(variant: str) -> dict[str, Any]:
        found = shadowing.s3.list_objects_v2(Bucket=shadowing.kedge.bucket, Prefix=f"captured/Shadowed/{variant}/")
        lines = [
            json.loads(line)
            for each in found.get("Contents", [])
            for line in shadowing.s3.get_object(Bucket=shadowing.kedge.bucket, Key=each["Key"])["Body"]
            .read()
            .splitlines()
        ]
        return {each["eventMetadata"]["eventId"]: each["captureData"]["endpointOutput"]["data"] for each in lines}

    shadows = until(lambda: len(records("shadow")) == 2 and records("shadow"))
    assert until(lambda: len(records("live")) == 2 and records("live")).keys() == shadows.keys()
    assert sorted(json.loads(each)["score"] for each in shadows.values()) == [0.5, 1.5]
