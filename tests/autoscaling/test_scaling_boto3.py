"""Application Auto Scaling asked by boto3: what can be registered, put, described, deleted, and what is refused."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError
from sklearn.linear_model import LinearRegression

VARIANT, DIMENSION = "endpoint/e/variant/AllTraffic", "sagemaker:variant:DesiredInstanceCount"
PLACE = {"ServiceNamespace": "sagemaker", "ResourceId": VARIANT, "ScalableDimension": DIMENSION}
SPACE = {"ServiceNamespace": "sagemaker"}
TRACKING = {
    "TargetValue": 100.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
}
AT_ONCE = {"ScaleInCooldown": 0, "ScaleOutCooldown": 0}
STEP = {
    "AdjustmentType": "ChangeInCapacity",
    "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
    "Cooldown": 0,
}


class Scaling:
    """The clients, and an endpoint `e` that is there for all tests."""

    def __init__(self, kedge: Any) -> None:
        self.kedge = kedge
        self.autoscaling = kedge.client("application-autoscaling")
        self.cloudwatch = kedge.client("cloudwatch")
        self.sagemaker = kedge.client("sagemaker")

    def register(self, low: int = 1, high: int = 4, **more: Any) -> str:
        asked = {**PLACE, "MinCapacity": low, "MaxCapacity": high, **more}
        arn: str = self.autoscaling.register_scalable_target(**asked)["ScalableTargetARN"]
        return arn

    def put(self, name: str = "p", config: dict[str, Any] = TRACKING, **more: Any) -> dict[str, Any]:
        kind = "StepScaling" if "AdjustmentType" in config else "TargetTrackingScaling"
        answer: dict[str, Any] = self.autoscaling.put_scaling_policy(
            PolicyName=name, PolicyType=kind, **{f"{kind}PolicyConfiguration": config}, **{**PLACE, **more}
        )
        return answer

    def alarms(self) -> dict[str, dict[str, Any]]:
        return {each["AlarmName"]: each for each in self.cloudwatch.describe_alarms()["MetricAlarms"]}

    def activities(self, **more: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.autoscaling.describe_scaling_activities(**SPACE, **more)["ScalingActivities"]
        return found

    def variant(self) -> dict[str, Any]:
        described = self.sagemaker.describe_endpoint(EndpointName="e")
        (found,) = described["ProductionVariants"]
        return {"status": described["EndpointStatus"], **found}

    def count(self) -> int:
        return int(self.variant()["CurrentInstanceCount"])

    def rest(self) -> None:
        soon(lambda: self.variant()["status"], "InService")

    def clear(self, count: int = 1) -> None:
        for each in self.autoscaling.describe_scalable_targets(**SPACE)["ScalableTargets"]:
            place = {name: each[name] for name in PLACE}
            self.autoscaling.deregister_scalable_target(**place)
        self.rest()
        if self.count() != count:
            self.resize(count)
        names = list(self.alarms())
        if names:
            self.cloudwatch.delete_alarms(AlarmNames=names)

    def resize(self, count: int) -> None:
        wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": count}]
        self.sagemaker.update_endpoint_weights_and_capacities(EndpointName="e", DesiredWeightsAndCapacities=wanted)
        self.rest()


def soon(read: Callable[[], Any], want: Any, within_s: float = 15.0) -> None:
    end_s = time.monotonic() + within_s
    while (got := read()) != want:
        assert time.monotonic() < end_s, got
        time.sleep(0.05)


@pytest.fixture(scope="module")
def served(kedge_server: Any) -> Scaling:
    kedge_server.reset()
    kedge_server.deploy(LinearRegression().fit(np.eye(2), [0, 1]), "e")
    return Scaling(kedge_server)


@pytest.fixture
def scaling(served: Scaling) -> Iterator[Scaling]:
    yield served
    served.clear()


def refused(code: str, says: str, call: Callable[..., Any], **asked: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**asked)
    error = caught.value.response["Error"]
    assert error["Code"] == code
    assert says in error["Message"], error["Message"]


def test_a_target_is_registered_changed_described_and_deregistered(scaling):
    arn = scaling.register(1, 4, Tags={"team": "a"})
    assert arn.startswith("arn:aws:application-autoscaling:us-east-1:")
    (shown,) = scaling.autoscaling.describe_scalable_targets(**SPACE, ResourceIds=[VARIANT])["ScalableTargets"]
    assert {name: shown[name] for name in PLACE} == PLACE
    assert (shown["MinCapacity"], shown["MaxCapacity"], shown["ScalableTargetARN"]) == (1, 4, arn)
    assert shown["RoleARN"].endswith("AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint")
    assert not any(shown["SuspendedState"].values())

    suspended = {"DynamicScalingInSuspended": True}
    assert scaling.autoscaling.register_scalable_target(**PLACE, MaxCapacity=5, SuspendedState=suspended)[
        "ScalableTargetARN"
    ] == arn  # fmt: skip
    (shown,) = scaling.autoscaling.describe_scalable_targets(**SPACE)["ScalableTargets"]
    assert (shown["MinCapacity"], shown["MaxCapacity"]) == (1, 5)
    assert shown["SuspendedState"] == {
        "DynamicScalingInSuspended": True, "DynamicScalingOutSuspended": False, "ScheduledScalingSuspended": False
    }  # fmt: skip

    tags = scaling.autoscaling
    tags.tag_resource(ResourceARN=arn, Tags={"cost": "b"})
    tags.untag_resource(ResourceARN=arn, TagKeys=["team"])
    assert tags.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"cost": "b"}
    many = {f"k{n}": "v" for n in range(50)}
    refused("TooManyTagsException", "at most 50", tags.tag_resource, ResourceARN=arn, Tags=many)

    scaling.autoscaling.deregister_scalable_target(**PLACE)
    assert scaling.autoscaling.describe_scalable_targets(**SPACE)["ScalableTargets"] == []
    refused("ResourceNotFoundException", arn, tags.list_tags_for_resource, ResourceARN=arn)
    refused("ObjectNotFoundException", "No scalable target registered for service namespace: sagemaker",
            scaling.autoscaling.deregister_scalable_target, **PLACE)  # fmt: skip


def test_capacity_outside_the_bounds_is_moved_inside(scaling):
    scaling.register(2, 3)
    soon(scaling.count, 2)
    soon(lambda: scaling.activities()[0]["StatusCode"], "Successful")
    (activity,) = scaling.activities(ResourceId=VARIANT)
    assert activity["Description"] == "Setting desired instance count to 2."
    assert activity["Cause"] == "minimum capacity was set to 2 and maximum capacity to 3"
    assert activity["StatusMessage"].startswith("Successfully set desired instance count to 2.")
    assert activity["StartTime"] <= activity["EndTime"]
    scaling.register(1, 1)
    soon(scaling.count, 1)
    assert scaling.activities()[0]["Description"] == "Setting desired instance count to 1."


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"ServiceNamespace": "ecs"}, 'ServiceNamespace is "ecs"'),
        ({"ScalableDimension": "sagemaker:variant:DesiredProvisionedConcurrency"}, "provisioned concurrency"),
        ({"ScalableDimension": "sagemaker:inference-component:DesiredCopyCount"}, "inference-component/NAME"),
        ({"ScalableDimension": "ecs:service:DesiredCount"}, "it has to be sagemaker:variant"),
        ({"ResourceId": "endpoint/e"}, "endpoint/NAME/variant/NAME"),
        ({"ResourceId": "endpoint/none/variant/v"}, "Could not find endpoint"),
        ({"ResourceId": "endpoint/e/variant/other"}, 'no variant "other"'),
        ({"MinCapacity": -1}, "MinCapacity is -1"),
        ({"MinCapacity": 5}, "Maximum capacity cannot be less than minimum capacity"),
    ],
)
def test_what_cannot_be_registered(scaling, changed, says):
    asked = {**PLACE, "MinCapacity": 1, "MaxCapacity": 2, **changed}
    refused("ValidationException", says, scaling.autoscaling.register_scalable_target, **asked)


def test_a_new_target_needs_both_bounds(scaling):
    call = scaling.autoscaling.register_scalable_target
    refused("ValidationException", "MaxCapacity has to be given", call, **PLACE, MinCapacity=1)


def test_a_tracking_policy_has_alarms_which_come_and_go_with_it(scaling):
    scaling.register()
    answer = scaling.put()
    assert answer["PolicyARN"].endswith(":resource/sagemaker/endpoint/e/variant/AllTraffic:policyName/p")
    high, low = [each["AlarmName"] for each in answer["Alarms"]]
    assert high.startswith("TargetTracking-endpoint/e/variant/AllTraffic-AlarmHigh-")
    assert low.startswith("TargetTracking-endpoint/e/variant/AllTraffic-AlarmLow-")
    alarms = scaling.alarms()
    assert set(alarms) == {high, low}
    assert alarms[high]["AlarmActions"] == alarms[low]["AlarmActions"] == [answer["PolicyARN"]]
    assert (alarms[high]["Threshold"], alarms[low]["Threshold"]) == (100.0, 90.0)
    assert (alarms[high]["EvaluationPeriods"], alarms[low]["EvaluationPeriods"]) == (3, 15)

    changed = scaling.put(config={**TRACKING, "TargetValue": 50.0})
    assert changed == {**answer, "ResponseMetadata": changed["ResponseMetadata"]}
    assert scaling.alarms()[high]["Threshold"] == 50.0
    (shown,) = scaling.autoscaling.describe_scaling_policies(**SPACE, PolicyNames=["p", "q"])["ScalingPolicies"]
    assert shown["PolicyARN"] == answer["PolicyARN"]
    assert shown["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 50.0
    assert [each["AlarmName"] for each in shown["Alarms"]] == [high, low]

    scaling.autoscaling.delete_scaling_policy(PolicyName="p", **PLACE)
    assert scaling.alarms() == {}
    refused("ObjectNotFoundException", "scaling policy name: p", scaling.autoscaling.delete_scaling_policy,
            PolicyName="p", **PLACE)  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "PolicyType has to be given"),
        ({"PolicyType": "PredictiveScaling"}, "PredictiveScaling, which"),
        ({"PolicyType": "StepScaling"}, "StepScalingPolicyConfiguration has to be given"),
        (
            {"PolicyType": "StepScaling", "TargetTrackingScalingPolicyConfiguration": TRACKING},
            "cannot be given for a policy of type StepScaling",
        ),
        (
            {
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": 1.0,
                    "CustomizedMetricSpecification": {"Metrics": [{"Id": "e1", "Expression": "SUM("}]},
                },
            },
            "cannot be watched",
        ),
    ],
)
def test_what_cannot_be_a_policy(scaling, asked, says):
    scaling.register()
    put = scaling.autoscaling.put_scaling_policy
    refused("ValidationException", says, put, PolicyName="p", **PLACE, **asked)
    assert scaling.alarms() == {}, "a refused policy leaves no alarm"


def test_a_policy_needs_a_target_and_keeps_its_type(scaling):
    tracked = {"PolicyType": "TargetTrackingScaling", "TargetTrackingScalingPolicyConfiguration": TRACKING}
    put = scaling.autoscaling.put_scaling_policy
    refused("ObjectNotFoundException", "No scalable target", put, PolicyName="p", **PLACE, **tracked)
    scaling.register()
    scaling.put("p", STEP)
    refused("ValidationException", "is of type StepScaling", put, PolicyName="p", **PLACE, **tracked)


def test_lists_come_in_pages_and_tokens_belong_to_their_list(scaling):
    scaling.register()
    for n in range(5):
        scaling.put(f"p{n}", STEP)
    paginator = scaling.autoscaling.get_paginator("describe_scaling_policies")
    pages = paginator.paginate(**SPACE, PaginationConfig={"PageSize": 2})
    found = [[each["PolicyName"] for each in page["ScalingPolicies"]] for page in pages]
    assert found == [["p0", "p1"], ["p2", "p3"], ["p4"]]
    describe = scaling.autoscaling.describe_scaling_policies
    token = describe(**SPACE, MaxResults=2)["NextToken"]
    refused("InvalidNextTokenException", "NextToken", describe, **SPACE, PolicyNames=["p0"], NextToken=token)
    refused("InvalidNextTokenException", "NextToken", describe, **SPACE, NextToken="x")
    refused("ValidationException", "MaxResults is 51", describe, **SPACE, MaxResults=51)
    refused("ValidationException", "without a ResourceId", describe, **SPACE, ScalableDimension=DIMENSION)
    assert describe(ServiceNamespace="sagemaker", ResourceId="endpoint/E/variant/AllTraffic")["ScalingPolicies"]
    for n in range(5, 50):
        scaling.put(f"p{n}", STEP)
    refused("LimitExceededException", "50 scaling policies", scaling.put, name="p50", config=STEP)


def test_a_users_alarm_asks_for_a_step_policy(scaling):
    scaling.register()
    policy = scaling.put("p", STEP)["PolicyARN"]
    at = datetime.now(UTC) - timedelta(seconds=15)
    data = {"MetricName": "queue", "Timestamp": at, "Value": 7.0, "StorageResolution": 1}
    scaling.cloudwatch.put_metric_data(Namespace="app", MetricData=[data])
    scaling.cloudwatch.put_metric_alarm(
        AlarmName="long queue", Namespace="app", MetricName="queue", Statistic="Sum", Period=10, EvaluationPeriods=1,
        Threshold=5.0, ComparisonOperator="GreaterThanThreshold", AlarmActions=[policy],
    )  # fmt: skip
    soon(scaling.count, 2)
    newest = scaling.activities(ResourceId=VARIANT)[0]
    assert newest["Cause"] == "monitor alarm long queue in state ALARM triggered policy p"
    lines = scaling.cloudwatch.describe_alarm_history(AlarmName="long queue", HistoryItemType="Action")
    assert lines["AlarmHistoryItems"][0]["HistorySummary"] == f"Successfully executed action {policy}"
    (shown,) = scaling.autoscaling.describe_scaling_policies(**SPACE)["ScalingPolicies"]
    assert [each["AlarmName"] for each in shown["Alarms"]] == ["long queue"]


def test_a_tracked_metric_that_is_high_scales_out_and_that_is_low_in(scaling):
    """A metric of one's own, whose minutes lie in the past."""
    scaling.register(1, 4)
    now = datetime.now(UTC).replace(second=0, microsecond=0)

    def measure(value: float) -> None:
        data = [{"MetricName": "load", "Timestamp": now - timedelta(minutes=n), "Value": value} for n in range(1, 20)]
        scaling.cloudwatch.put_metric_data(Namespace=f"app {value}", MetricData=data)

    def config(value: float) -> dict[str, Any]:
        metric = {"Namespace": f"app {value}", "MetricName": "load", "Statistic": "Average"}
        return {"TargetValue": 10.0, "CustomizedMetricSpecification": metric, **AT_ONCE}

    measure(25.0)
    scaling.put("p", config(25.0))
    soon(scaling.count, 3)
    newest = scaling.activities()[0]
    assert "-AlarmHigh-" in newest["Cause"]
    assert newest["Cause"].endswith("in state ALARM triggered policy p")
    scaling.rest()
    soon(lambda: scaling.activities()[0]["StatusCode"], "Successful")
    scaling.autoscaling.delete_scaling_policy(PolicyName="p", **PLACE)
    measure(2.0)
    scaling.put("q", {**config(2.0), "DisableScaleIn": True})
    scaling.put("r", config(2.0))
    soon(scaling.count, 1)
    assert scaling.activities()[0]["Cause"].endswith("triggered policy r")


def test_at_the_maximum_the_reason_is_told(scaling):
    scaling.register(1, 1)
    policy = scaling.put("p", STEP)["PolicyARN"]
    scaling.cloudwatch.put_metric_alarm(
        AlarmName="busy", Namespace="app", MetricName="none", Statistic="Sum", Period=10, EvaluationPeriods=1,
        Threshold=5.0, ComparisonOperator="GreaterThanThreshold", AlarmActions=[policy],
    )  # fmt: skip
    at = datetime.now(UTC) - timedelta(seconds=15)
    data = {"MetricName": "none", "Timestamp": at, "Value": 7.0, "StorageResolution": 1}
    scaling.cloudwatch.put_metric_data(Namespace="app", MetricData=[data])

    def codes() -> list[str]:
        newest = scaling.activities(IncludeNotScaledActivities=True)[0]
        return [each["Code"] for each in newest.get("NotScaledReasons", ())]

    soon(codes, ["AlreadyAtMaxCapacity"])
    assert not any(each.get("NotScaledReasons") for each in scaling.activities())


def put_soon(scaling: Scaling, name: str, action: dict[str, int]) -> None:
    """Two seconds from now, or later where this machine takes as long to ask: what is past by then is refused."""
    for ahead_s in (2, 4, 8, 16):
        at = datetime.now(UTC) + timedelta(seconds=ahead_s)
        with contextlib.suppress(scaling.autoscaling.exceptions.ValidationException):
            scaling.autoscaling.put_scheduled_action(
                ScheduledActionName=name, Schedule=f"at({at:%Y-%m-%dT%H:%M:%S})", ScalableTargetAction=action, **PLACE
            )
            return
    raise AssertionError("no time was to come")


def test_scheduled_actions(scaling):
    scaling.register()
    actions = scaling.autoscaling
    put_soon(scaling, "soon", {"MinCapacity": 2})
    actions.put_scheduled_action(
        ScheduledActionName="mornings", Schedule="cron(0 8 ? * MON-FRI *)", Timezone="Europe/Berlin",
        ScalableTargetAction={"MinCapacity": 3, "MaxCapacity": 9}, StartTime=datetime(2030, 1, 1, tzinfo=UTC), **PLACE,
    )  # fmt: skip
    listed = actions.describe_scheduled_actions(**SPACE)["ScheduledActions"]
    shown = {each["ScheduledActionName"]: each for each in listed}
    assert set(shown) == {"soon", "mornings"}
    mornings = shown["mornings"]
    assert mornings["Timezone"] == "Europe/Berlin"
    assert mornings["ScalableTargetAction"] == {"MinCapacity": 3, "MaxCapacity": 9}
    assert mornings["StartTime"] == datetime(2030, 1, 1, tzinfo=UTC)
    assert mornings["ScheduledActionARN"].endswith(":scheduledActionName/mornings")
    soon(scaling.count, 2, 60)
    (target,) = actions.describe_scalable_targets(**SPACE)["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 4)
    assert "scheduled action name soon was triggered" in scaling.activities()[0]["Cause"]
    actions.delete_scheduled_action(ScheduledActionName="soon", **PLACE)
    refused("ObjectNotFoundException", "scheduled action name: soon", actions.delete_scheduled_action,
            ScheduledActionName="soon", **PLACE)  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"Schedule": "rate(1 day)"}, "ScalableTargetAction has to give"),
        ({"ScalableTargetAction": {"MinCapacity": 1}}, "Schedule has to be given"),
        ({"Schedule": "now", "ScalableTargetAction": {"MinCapacity": 1}}, "it has to be at("),
        ({"Schedule": "at(2020-01-01T00:00:00)", "ScalableTargetAction": {"MinCapacity": 1}}, "no time to come"),
        ({"Schedule": "rate(1 day)", "ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 2}}, "Maximum capacity"),
        ({"Schedule": "rate(1 day)", "Timezone": "x", "ScalableTargetAction": {"MinCapacity": 3}}, "Timezone is x"),
        ({"Schedule": "rate(999999999 days)", "ScalableTargetAction": {"MinCapacity": 1}}, "no time to come"),
        (
            {
                "Schedule": "rate(1 day)",
                "StartTime": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
                "ScalableTargetAction": {"MinCapacity": 1},
            },
            "no time to come",
        ),
    ],
)
def test_what_cannot_be_scheduled(scaling, asked, says):
    scaling.register()
    put = scaling.autoscaling.put_scheduled_action
    refused("ValidationException", says, put, ScheduledActionName="a", **PLACE, **asked)


def test_an_update_must_not_take_away_what_is_scaled(scaling):
    scaling.register()
    sagemaker = scaling.sagemaker
    name = sagemaker.describe_endpoint(EndpointName="e")["EndpointConfigName"]
    (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
    for config, changed, says in (
        ("renamed", {"VariantName": "other"}, "has no such variant"),
        ("resized", {"InstanceType": "ml.t3.large"}, "from ml.t3.medium to ml.t3.large"),
    ):
        sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[{**variant, **changed}])
        refused("ValidationException", says, sagemaker.update_endpoint, EndpointName="e", EndpointConfigName=config)
        sagemaker.delete_endpoint_config(EndpointConfigName=config)
    sagemaker.update_endpoint(EndpointName="e", EndpointConfigName=name)
    scaling.rest()


def test_who_may_not_scale_an_endpoint_may_not_have_it_scaled(scaling):
    iam = scaling.kedge.client("iam")
    iam.create_user(UserName="scaler")
    allow = {"Effect": "Allow", "Action": "application-autoscaling:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName="scaler", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="scaler")["AccessKey"]
    theirs = scaling.kedge.client(
        "application-autoscaling", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
    )
    assert theirs.describe_scalable_targets(**SPACE)["ScalableTargets"] == []
    refused("AccessDeniedException", "sagemaker:UpdateEndpointWeightsAndCapacities", theirs.register_scalable_target,
            **PLACE, MinCapacity=1, MaxCapacity=2)  # fmt: skip


def test_a_deleted_endpoint_takes_its_target_along(scaling):
    """Last: the endpoint goes."""
    scaling.register()
    scaling.put()
    scaling.sagemaker.delete_endpoint(EndpointName="e")
    soon(lambda: scaling.autoscaling.describe_scalable_targets(**SPACE)["ScalableTargets"], [])
    soon(scaling.alarms, {})
    assert scaling.autoscaling.describe_scaling_policies(**SPACE)["ScalingPolicies"] == []
    scaling.kedge.deploy(LinearRegression().fit(np.eye(2), [0, 1]), "e")
