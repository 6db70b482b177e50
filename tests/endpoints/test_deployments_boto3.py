"""Guarded deployments as an unmodified boto3 asks for them, on a running server."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.endpoints.test_deployment_config import canary, rolling, routed
from tests.endpoints.test_hosting_boto3 import Hosting

ECHO = """
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    return data, content_type
"""
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"BlueGreenUpdatePolicy": routed("ALL_AT_ONCE"), **rolling(10)}, "gives both"),
    (canary(60), "CanarySize is 60 % of the instances; it has to be 50 % at most"),
    (canary(10, wait_s=3601), "Member must have value less than or equal to 3600"),
    (canary(10, MaximumExecutionTimeoutInSeconds=28801), "Member must have value less than or equal to 28800"),
    (canary(10, wait_s=600, MaximumExecutionTimeoutInSeconds=600), "the waits of the deployment alone take 600 s"),
    (
        {**canary(10), "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "none"}]}},
        'the alarm "none", which is not',
    ),
    (
        {**canary(10), "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "rings"}]}},
        r'"rings" .* is in state ALARM',
    ),
    (
        {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": f"a{n}"} for n in range(11)]}},
        "length less than or equal to 10",
    ),
]


@pytest.fixture
def hosting(kedge: Any) -> Hosting:
    return Hosting(kedge)


def test_a_canary_is_refused_watched_and_taken_back(hosting: Hosting):
    sagemaker, cloudwatch = hosting.sagemaker, hosting.kedge.client("cloudwatch")
    hosting.script("echo", ECHO)
    for name in ("old", "new"):
        hosting.config(name, v=("echo", 1.0, 1))
    for name in ("rings", "quiet"):
        cloudwatch.put_metric_alarm(
            AlarmName=name, Namespace="app", MetricName=name, Statistic="Sum", Period=10, EvaluationPeriods=1,
            Threshold=1.0, ComparisonOperator="GreaterThanThreshold", TreatMissingData="ignore",
        )  # fmt: skip
    cloudwatch.set_alarm_state(AlarmName="rings", StateValue="ALARM", StateReason="a test")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="old", DeploymentConfig=canary(50))
    hosting.wait("in_service", "e")
    assert sagemaker.describe_endpoint(EndpointName="e")["LastDeploymentConfig"] == canary(50)

    def update(**more: Any) -> None:
        sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="new", **more)

    for policy, says in REFUSED:
        with pytest.raises(ClientError, match=says) as caught:
            update(DeploymentConfig=policy)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert hosting.status("e") == "InService"

    guarded = {**canary(50, wait_s=600), "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "quiet"}]}}
    update(DeploymentConfig=guarded)
    for refused in (
        update,
        lambda: sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="e", DesiredWeightsAndCapacities=[{"VariantName": "v", "DesiredWeight": 2.0}]
        ),
    ):
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            refused()
    shown = sagemaker.describe_endpoint(EndpointName="e")
    assert (shown["EndpointStatus"], shown["EndpointConfigName"]) == ("Updating", "old")
    assert shown["PendingDeploymentSummary"]["EndpointConfigName"] == "new"
    cloudwatch.set_alarm_state(AlarmName="quiet", StateValue="ALARM", StateReason="it is worse")
    hosting.wait("in_service", "e")
    shown = sagemaker.describe_endpoint(EndpointName="e")
    assert shown["EndpointConfigName"] == "old"
    assert shown["FailureReason"] == 'The alarm "quiet" is in state ALARM: it is worse'

    with pytest.raises(ClientError, match=r'"quiet" .* is in state ALARM already'):
        update(RetainDeploymentConfig=True)
    update()
    assert "FailureReason" not in sagemaker.describe_endpoint(EndpointName="e")
    hosting.wait("in_service", "e")
    assert sagemaker.describe_endpoint(EndpointName="e")["EndpointConfigName"] == "new"
