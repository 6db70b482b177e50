"""Copies that are scaled, and what is measured of them: boto3 against a running server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.inference_components.fleet import Fleet, soon

PLACE = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "inference-component/slow",
    "ScalableDimension": "sagemaker:inference-component:DesiredCopyCount",
}
FAST = "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
PER_COPY = "SageMakerInferenceComponentInvocationsPerCopy"
SLOW = """
import time

def model_fn(folder):
    return {"says": "slow"}

def predict_fn(data, model):
    time.sleep(0.2)
    return model
"""


@pytest.fixture
def scaling(fleet: Fleet) -> Iterator[Any]:
    client = fleet.kedge.client("application-autoscaling")
    yield client
    for each in client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]:
        client.deregister_scalable_target(**{name: each[name] for name in PLACE})


def register(client: Any, low: int, high: int) -> str:
    arn: str = client.register_scalable_target(**PLACE, MinCapacity=low, MaxCapacity=high)["ScalableTargetARN"]
    return arn


def track(client: Any, kind: str, target: float = 1.0) -> dict[str, Any]:
    answer: dict[str, Any] = client.put_scaling_policy(
        **PLACE,
        PolicyName=kind,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": target,
            "PredefinedMetricSpecification": {"PredefinedMetricType": kind},
            "ScaleInCooldown": 0,
            "ScaleOutCooldown": 0,
        },
    )
    return answer


def test_copies_follow_the_requests_and_the_bounds(fleet: Fleet, scaling: Any):
    fleet.create(ManagedInstanceScaling={"Status": "ENABLED", "MinInstanceCount": 1, "MaxInstanceCount": 2})
    if "slow" not in [each["ModelName"] for each in fleet.sagemaker.list_models()["Models"]]:
        fleet.model("slow", SLOW)
    fleet.up("slow", cores=1.0)
    arn = register(scaling, 1, 3)
    assert ":scalable-target/" in arn
    track(scaling, FAST)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            fleet.invoke("slow")

    clients = [threading.Thread(target=ask) for _ in range(6)]
    for client in clients:
        client.start()
    try:
        soon(lambda: fleet.copies("slow"), 3)
    finally:
        over.set()
        for client in clients:
            client.join()
    assert fleet.instances() == 2
    newest = scaling.describe_scaling_activities(**PLACE)["ScalingActivities"][0]
    assert newest["Description"] == "Setting desired copy count to 3."
    assert "per copy" in newest["Cause"]
    scaling.delete_scaling_policy(**PLACE, PolicyName=FAST)
    register(scaling, 1, 1)
    soon(lambda: fleet.copies("slow"), 1)
    soon(
        lambda: scaling.describe_scaling_activities(**PLACE)["ScalingActivities"][0].get("StatusMessage"),
        "Successfully set desired copy count to 1. Change successfully fulfilled by sagemaker.",
    )
    fleet.rest("slow")
    fleet.delete("slow")
    soon(lambda: scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"], [])


def test_policies_of_a_component_watch_its_own_metrics(fleet: Fleet, scaling: Any):
    fleet.create()
    fleet.component("slow", model="one")
    register(scaling, 0, 3)
    alarms = track(scaling, PER_COPY, 100.0)["Alarms"]
    assert [each["AlarmName"].rpartition("-Alarm")[0] for each in alarms] == 2 * [
        "TargetTracking-inference-component/slow"
    ]
    cloudwatch = fleet.kedge.client("cloudwatch")
    high = cloudwatch.describe_alarms(AlarmNames=[alarms[0]["AlarmName"]])["MetricAlarms"][0]
    assert (high["MetricName"], high["Statistic"]) == ("InvocationsPerCopy", "Sum")
    assert high["Dimensions"] == [{"Name": "InferenceComponentName", "Value": "slow"}]
    (shown,) = scaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId="inference-component/slow")[
        "ScalingPolicies"
    ]
    assert shown["ResourceId"] == "inference-component/slow"
    with pytest.raises(ClientError, match="DesiredCopyCount it has to be"):
        track(scaling, "SageMakerVariantInvocationsPerInstance")
    with pytest.raises(ClientError, match="Could not find inference component"):
        scaling.register_scalable_target(
            **{**PLACE, "ResourceId": "inference-component/nobody"}, MinCapacity=1, MaxCapacity=2
        )


def test_requests_are_measured_by_component_and_by_variant(fleet: Fleet):
    fleet.create()
    fleet.up("one", copies=2)
    fleet.up("two")
    cloudwatch = fleet.kedge.client("cloudwatch")
    now = datetime.now(UTC)

    def total(metric: str, **dimensions: str) -> float:
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=10),
            Period=1200,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(each["Sum"] for each in points))

    before = total("Invocations", EndpointName="e", VariantName="v")
    for name in ("one", "one", "two"):
        fleet.invoke(name)
    soon(lambda: total("Invocations", InferenceComponentName="one"), 2.0)
    soon(lambda: total("Invocations", EndpointName="e", VariantName="v") - before, 3.0)
    assert total("Invocations", InferenceComponentName="two") == 1.0
    assert total("InvocationsPerCopy", InferenceComponentName="one") == 1.0
    assert total("ModelLatency", InferenceComponentName="two") > 0
    assert total("InvocationsPerInstance", EndpointName="e", VariantName="v") == 0.0
    soon(lambda: total("ConcurrentRequestsPerCopy", InferenceComponentName="one") >= 0, True)
    names = {
        each["MetricName"]
        for each in cloudwatch.list_metrics(
            Namespace="AWS/SageMaker", Dimensions=[{"Name": "InferenceComponentName", "Value": "one"}]
        )["Metrics"]
    }
    assert {"Invocations", "Invocation4XXErrors", "InvocationsPerCopy", "ModelLatency", "OverheadLatency"} <= names
    assert "InvocationsPerInstance" not in names
