"""Target tracking: what a policy may ask for, the alarms that it has, and the capacity that follows. PURE.

Two alarms watch the metric of a policy: one that is high for three periods, one that is low for fifteen minutes.
Source: "Target tracking scaling policies" in the Application Auto Scaling user guide; the alarms' numbers are those
that AWS makes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kedge.autoscaling.records import FAST_COPY_METRIC, FAST_METRIC
from kedge.autoscaling.resource import COPIES, INSTANCES, PROVISIONED, Scalable
from kedge.errors import ValidationFailed

HIGH, LOW = "high", "low"
SUFFIX = {HIGH: "AlarmHigh", LOW: "AlarmLow"}
LOW_SHARE = 0.9
"""The low alarm watches for less than this share of the target."""
HIGH_PERIODS, LOW_PERIODS = 3, 15
PERIOD_S, FAST_PERIOD_S = 60, 10
SMALLEST, LARGEST = 2.0**-360, 2.0**360
"""TargetValue."""

PER_INSTANCE = "SageMakerVariantInvocationsPerInstance"
PER_COPY = "SageMakerInferenceComponentInvocationsPerCopy"
PROVISIONED_UTILIZATION = "SageMakerVariantProvisionedConcurrencyUtilization"
PREDEFINED: Mapping[str, Mapping[str, tuple[str, str, int]]] = {
    INSTANCES: {
        PER_INSTANCE: ("InvocationsPerInstance", "Sum", PERIOD_S),
        FAST_METRIC: ("ConcurrentRequestsPerModel", "Maximum", FAST_PERIOD_S),
    },
    PROVISIONED: {
        PROVISIONED_UTILIZATION: ("ServerlessProvisionedConcurrencyUtilization", "Average", PERIOD_S),
    },
    COPIES: {
        PER_COPY: ("InvocationsPerCopy", "Sum", PERIOD_S),
        FAST_COPY_METRIC: ("ConcurrentRequestsPerCopy", "Maximum", FAST_PERIOD_S),
    },
}
"""By dimension: PredefinedMetricType -> (metric of AWS/SageMaker, statistic, period of the high alarm)."""


def check(config: Mapping[str, Any], dimension: str) -> None:
    """config: a TargetTrackingScalingPolicyConfiguration. Raises ValidationFailed."""
    target = config["TargetValue"]
    if not SMALLEST <= target <= LARGEST:
        raise ValidationFailed(f"TargetValue is {target:g}; it has to be {SMALLEST:.6e} to {LARGEST:.6e}.")
    for member in ("ScaleOutCooldown", "ScaleInCooldown"):
        if config.get(member, 0) < 0:
            raise ValidationFailed(f"{member} is {config[member]} seconds; it must not be below 0.")
    predefined = config.get("PredefinedMetricSpecification")
    customized = config.get("CustomizedMetricSpecification")
    if (predefined is None) == (customized is None):
        raise ValidationFailed(
            "Exactly one of PredefinedMetricSpecification and CustomizedMetricSpecification has to be given."
        )
    if predefined is not None:
        _check_predefined(predefined, dimension)
    elif customized is not None:
        _check_customized(customized)


def _check_predefined(given: Mapping[str, Any], dimension: str) -> None:
    kind = given["PredefinedMetricType"]
    if "ResourceLabel" in given:
        raise ValidationFailed(f"ResourceLabel cannot be given with {kind}: the metric is that of what is scaled.")
    known = PREDEFINED[dimension]
    if kind not in known:
        raise ValidationFailed(
            f"PredefinedMetricType is {kind}; for {dimension} it has to be {' or '.join(sorted(known))}."
        )


def _check_customized(given: Mapping[str, Any]) -> None:
    of_one = ("MetricName", "Namespace", "Statistic")
    if "Metrics" in given:
        mixed = [name for name in (*of_one, "Dimensions", "Unit") if given.get(name)]
        if mixed:
            raise ValidationFailed(f"{mixed[0]} cannot be given together with Metrics.")
        return
    missing = [name for name in of_one if not given.get(name)]
    if missing:
        raise ValidationFailed(f"{missing[0]} of CustomizedMetricSpecification has to be given, or Metrics.")


def alarms(config: Mapping[str, Any], scalable: Scalable, policy_arn: str, names: Mapping[str, str]) -> dict[str, Any]:
    """The requests of PutMetricAlarm for a checked config, by HIGH and LOW. names: of the alarms."""
    target = float(config["TargetValue"])
    watched, period_s = _watched(config, scalable)
    shared = {
        **watched,
        "ActionsEnabled": True,
        "AlarmDescription": f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy_arn}.",
        "AlarmActions": [policy_arn],
    }
    # Minutes, whatever the metric: an idle variant has a sample in each.
    return {
        HIGH: {
            **_with_period(shared, period_s),
            "AlarmName": names[HIGH],
            "EvaluationPeriods": HIGH_PERIODS,
            "Threshold": target,
            "ComparisonOperator": "GreaterThanThreshold",
        },
        LOW: {
            **_with_period(shared, PERIOD_S),
            "AlarmName": names[LOW],
            "EvaluationPeriods": LOW_PERIODS,
            "Threshold": LOW_SHARE * target,
            "ComparisonOperator": "LessThanThreshold",
        },
    }


def _watched(config: Mapping[str, Any], scalable: Scalable) -> tuple[dict[str, Any], int]:
    """(what is watched, without a period; the period of the high alarm)"""
    predefined = config.get("PredefinedMetricSpecification")
    if predefined is not None:
        name, statistic, period_s = PREDEFINED[scalable.dimension][predefined["PredefinedMetricType"]]
        dimensions = {"EndpointName": scalable.endpoint, "VariantName": scalable.variant}
        if scalable.component:
            dimensions = {"InferenceComponentName": scalable.component}
        return {
            "Namespace": "AWS/SageMaker",
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
            "Statistic": statistic,
        }, period_s
    given = config["CustomizedMetricSpecification"]
    if "Metrics" in given:
        return {"Metrics": list(given["Metrics"])}, PERIOD_S
    members = ("Namespace", "MetricName", "Dimensions", "Statistic", "Unit")
    return {name: given[name] for name in members if name in given}, PERIOD_S


def _with_period(watched: Mapping[str, Any], period_s: int) -> dict[str, Any]:
    if "Metrics" not in watched:
        return {**watched, "Period": period_s}
    metrics = []
    for query in watched["Metrics"]:
        if "MetricStat" in query:
            metrics.append({**query, "MetricStat": {**query["MetricStat"], "Period": period_s}})
        else:
            metrics.append({**query, "Period": period_s} if _stands_alone(query, watched["Metrics"]) else dict(query))
    return {**watched, "Metrics": metrics}


def _stands_alone(query: Mapping[str, Any], queries: Sequence[Mapping[str, Any]]) -> bool:
    """No metric is there whose period it could have."""
    return "Expression" in query and not any("MetricStat" in each for each in queries)


def out(config: Mapping[str, Any], capacity: int, value: float) -> int:
    """The capacity by which the metric, which was `value` with `capacity`, is at its target."""
    return math.ceil(capacity * value / float(config["TargetValue"]) - 1e-9)


def into(config: Mapping[str, Any], capacity: int, values: Sequence[float]) -> int:
    """The same after a long time below the target: as the highest of the values needs it."""
    return max(0, out(config, capacity, max(values)))
