"""Target tracking: what is refused, which alarms follow, which capacity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.alarms import validation
from kedge.autoscaling import tracking
from kedge.autoscaling.resource import INSTANCES, parse
from kedge.errors import ValidationFailed

SCALABLE = parse("endpoint/e/variant/v", INSTANCES)
ARN = "arn:aws:autoscaling:us-east-1:0:scalingPolicy:x"
NAMES = {"high": "h", "low": "l"}
PREDEFINED = {"PredefinedMetricSpecification": {"PredefinedMetricType": tracking.PER_INSTANCE}}
ONE = {"MetricName": "m", "Namespace": "n", "Statistic": "Average"}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"TargetValue": 0.0, **PREDEFINED}, "TargetValue is 0"),
        ({"TargetValue": 2.0**361, **PREDEFINED}, "TargetValue is"),
        ({"TargetValue": 1.0}, "Exactly one of"),
        ({"TargetValue": 1.0, **PREDEFINED, "CustomizedMetricSpecification": ONE}, "Exactly one of"),
        ({"TargetValue": 1.0, **PREDEFINED, "ScaleInCooldown": -1}, "ScaleInCooldown is -1"),
        (
            {
                "TargetValue": 1.0,
                "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
            },
            "DesiredInstanceCount it has to be",
        ),
        (
            {
                "TargetValue": 1.0,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "SageMakerVariantProvisionedConcurrencyUtilization"
                },
            },
            "DesiredInstanceCount it has to be",
        ),
        (
            {
                "TargetValue": 1.0,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": tracking.PER_INSTANCE,
                    "ResourceLabel": "x",
                },
            },
            "ResourceLabel cannot be given",
        ),
        ({"TargetValue": 1.0, "CustomizedMetricSpecification": {"MetricName": "m"}}, "Namespace of Customized"),
        ({"TargetValue": 1.0, "CustomizedMetricSpecification": {**ONE, "Metrics": []}}, "together with Metrics"),
    ],
)  # fmt: skip
def test_what_is_refused(config, says):
    with pytest.raises(ValidationFailed, match=says):
        tracking.check(config, INSTANCES)


def test_the_alarms_of_invocations_per_instance():
    made = tracking.alarms({"TargetValue": 100.0, **PREDEFINED}, SCALABLE, ARN, NAMES)
    shown = {
        kind: [each[key] for key in ("AlarmName", "Period", "EvaluationPeriods", "ComparisonOperator", "Threshold")]
        for kind, each in made.items()
    }
    assert shown == {
        "high": ["h", 60, 3, "GreaterThanThreshold", 100.0],
        "low": ["l", 60, 15, "LessThanThreshold", 90.0],
    }
    for each in made.values():
        assert each["AlarmActions"] == [ARN]
        assert each["Dimensions"] == [{"Name": "EndpointName", "Value": "e"}, {"Name": "VariantName", "Value": "v"}]
        assert (each["Namespace"], each["MetricName"], each["Statistic"]) == (
            "AWS/SageMaker", "InvocationsPerInstance", "Sum"
        )  # fmt: skip
        validation.metric_alarm(each)


def test_the_alarms_of_metric_math_get_a_period():
    stat = {"Metric": {"Namespace": "n", "MetricName": "m"}, "Stat": "Sum"}
    metrics = [
        {"Id": "m1", "MetricStat": stat, "ReturnData": False},
        {"Id": "e1", "Expression": "m1 / 2"},
    ]
    config = {"TargetValue": 1.0, "CustomizedMetricSpecification": {"Metrics": metrics}}
    tracking.check(config, INSTANCES)
    for each in tracking.alarms(config, SCALABLE, ARN, NAMES).values():
        validation.metric_alarm(each)
        assert each["Metrics"][0]["MetricStat"]["Period"] == 60


@pytest.mark.parametrize(
    ("capacity", "value", "want"), [(1, 150.0, 2), (2, 100.0, 2), (2, 100.1, 3), (3, 400.0, 12), (5, 0.0, 0)]
)
def test_the_capacity_is_proportional(capacity, value, want):
    assert tracking.out({"TargetValue": 100.0}, capacity, value) == want


def test_in_goes_as_far_as_the_highest_value_allows():
    assert tracking.into({"TargetValue": 100.0}, 10, [10.0, 55.0, 20.0]) == 6


@given(st.integers(1, 100), st.floats(0.01, 1e6), st.floats(0.1, 1e6))
def test_at_the_capacity_that_follows_the_metric_is_at_its_target(capacity, value, target):
    found = tracking.out({"TargetValue": target}, capacity, value)
    load = capacity * value
    assert (found - 1) * target * (1 - 1e-6) < load <= found * target * (1 + 1e-6)
