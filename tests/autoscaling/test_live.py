"""Capacity that follows real requests to real instances: out within seconds, in without a lost answer, from zero."""

from __future__ import annotations

import io
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.config import Config

from tests.autoscaling.test_scaling_boto3 import PLACE, SPACE, soon

SCRIPT = """
import time

def model_fn(folder):
    return None

def predict_fn(data, model):
    time.sleep(float(data[0]))
    return data

def input_fn(body, content_type):
    return [body.decode() if isinstance(body, bytes) else body]

def output_fn(prediction, accept):
    return str(prediction[0])
"""
FAST = "SageMakerVariantConcurrentRequestsPerModelHighResolution"


class Live:
    def __init__(self, kedge: Any) -> None:
        self.autoscaling = kedge.client("application-autoscaling")
        self.sagemaker = kedge.client("sagemaker")
        config = Config(retries={"total_max_attempts": 1}, max_pool_connections=50)
        self.runtime = kedge.client("sagemaker-runtime", config=config)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            member = tarfile.TarInfo("code/inference.py")
            member.size = len(SCRIPT)
            archive.addfile(member, io.BytesIO(SCRIPT.encode()))
        kedge.client("s3").put_object(Bucket=kedge.bucket, Key="slow.tar.gz", Body=buffer.getvalue())
        url = f"s3://{kedge.bucket}/slow.tar.gz"
        container = {"Image": "kedge/script:1", "ModelDataUrl": url}
        self.sagemaker.create_model(ModelName="slow", PrimaryContainer=container, ExecutionRoleArn=kedge.role_arn)
        variant = {"VariantName": "AllTraffic", "ModelName": "slow", "InstanceType": "ml.t3.medium"}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName="slow", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        self.sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="slow")
        soon(self.status, "InService", 30)

    def status(self) -> str:
        return str(self.sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"])

    def count(self) -> int:
        described = self.sagemaker.describe_endpoint(EndpointName="e")
        (found,) = described["ProductionVariants"]
        return int(found["CurrentInstanceCount"]) if described["EndpointStatus"] == "InService" else -1

    def resize(self, count: int) -> None:
        wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": count}]
        self.sagemaker.update_endpoint_weights_and_capacities(EndpointName="e", DesiredWeightsAndCapacities=wanted)
        soon(self.count, count, 30)

    def invoke(self, seconds: float) -> str:
        answer = self.runtime.invoke_endpoint(EndpointName="e", ContentType="text/plain", Body=str(seconds).encode())
        return str(answer["Body"].read().decode())

    def register(self, low: int, high: int) -> None:
        self.autoscaling.register_scalable_target(**PLACE, MinCapacity=low, MaxCapacity=high)

    def follow(self, target: float) -> None:
        self.autoscaling.put_scaling_policy(
            **PLACE, PolicyName="fast", PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": target, "PredefinedMetricSpecification": {"PredefinedMetricType": FAST},
                "ScaleInCooldown": 0, "ScaleOutCooldown": 0,
            },
        )  # fmt: skip

    @contextmanager
    def load(self, clients: int, seconds: float = 0.1) -> Iterator[list[Exception]]:
        """So many clients, each with one request at a time. Gives what failed."""
        stop, failed = threading.Event(), []

        def ask() -> None:
            while not stop.is_set():
                try:
                    assert self.invoke(seconds) == str(seconds)
                except Exception as error:  # noqa: BLE001 (each one is what the test looks for)
                    failed.append(error)

        with ThreadPoolExecutor(clients) as threads:
            for _ in range(clients):
                threads.submit(ask)
            try:
                yield failed
            finally:
                stop.set()


@pytest.fixture(scope="module")
def served(kedge_server: Any) -> Live:
    kedge_server.reset()
    return Live(kedge_server)


@pytest.fixture
def live(served: Live) -> Iterator[Live]:
    yield served
    for each in served.autoscaling.describe_scalable_targets(**SPACE)["ScalableTargets"]:
        served.autoscaling.deregister_scalable_target(**{name: each[name] for name in PLACE})
    soon(served.status, "InService", 30)
    if served.count() != 1:
        served.resize(1)


def test_an_instance_that_leaves_answers_what_it_has(live):
    live.resize(2)
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(live.invoke, 1.0) for _ in range(8)]
        time.sleep(0.3)  # all of them are with an instance, or wait behind one that is
        live.resize(1)
        assert [each.result() for each in answers] == ["1.0"] * 8


def test_a_variant_without_instances_wakes_on_a_request_and_answers_it(live):
    live.resize(0)
    with ThreadPoolExecutor(5) as threads:
        assert list(threads.map(live.invoke, [0.01] * 5)) == ["0.01"] * 5
    soon(live.count, 1, 30)
    live.register(0, 2)
    live.resize(0)
    assert live.invoke(0.0) == "0.0"
    soon(live.count, 1, 30)
    newest = live.autoscaling.describe_scaling_activities(**SPACE)["ScalingActivities"][0]
    assert newest["Cause"] == "a request waits for the variant, which has no instance"


def test_a_step_of_load_brings_instances_within_seconds_and_no_request_fails(live):
    live.register(1, 4)
    live.follow(2.0)
    with live.load(1):
        time.sleep(1)  # a second of calm load
        with live.load(10) as failed:
            soon(lambda: live.count() >= 4, True, 30)
            time.sleep(0.5)
    assert failed == []
    newest = live.autoscaling.describe_scaling_activities(**SPACE)["ScalingActivities"][0]
    assert newest["Cause"].startswith("policy fast follows concurrent requests: ")
