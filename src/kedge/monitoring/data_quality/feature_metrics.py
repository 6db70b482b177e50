"""The metrics of a data quality monitor, as a job hands them over: a line of JSON for each datapoint. PURE.

Source: the documented contract of containers, files in /opt/ml/output/metrics/cloudwatch. `Namespace` is ours beside
its keys; who publishes a file without it knows the namespace by the kind of monitor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kedge.monitoring.data_quality.constraints import Constraints
from kedge.monitoring.data_quality.violations import Judgement

if TYPE_CHECKING:
    from kedge.monitoring.profiles.profile import Profile

ENDPOINT_NAMESPACE = "aws/sagemaker/Endpoints/data-metrics"
BATCH_NAMESPACE = "aws/sagemaker/ModelMonitoring/data-metrics"
_LONGEST_NAME = 255
_LARGEST = 2.0**360
"""CloudWatch takes no value beyond."""


def dimensions(environment: Mapping[str, str]) -> list[dict[str, str]]:
    """By what the job's environment says of its endpoint and schedule; a batch transform has no endpoint."""
    named = (
        ("Endpoint", environment.get("sagemaker_endpoint_name")),
        ("MonitoringSchedule", environment.get("sagemaker_monitoring_schedule_name")),
    )
    return [{"Name": name, "Value": value} for name, value in named if value]


def metrics(
    profile: Profile, judgement: Judgement, constraints: Constraints | None, environment: Mapping[str, str], at: str
) -> Iterator[dict[str, Any]]:
    """at: the start of the window, as text."""
    common = {
        "Namespace": ENDPOINT_NAMESPACE if environment.get("sagemaker_endpoint_name") else BATCH_NAMESPACE,
        "Timestamp": at,
        "Dimensions": dimensions(environment),
    }
    for name, column in profile.columns.items():
        constraint = constraints.features.get(name) if constraints else None
        settings = constraint.settings if constraint else constraints.settings if constraints else None
        if settings and not settings.emit_metrics:
            continue
        found = column.moments
        if found.count and max(abs(found.low), abs(found.high), abs(found.total)) <= _LARGEST:
            values = {"SampleCount": found.count, "Sum": found.total, "Minimum": found.low, "Maximum": found.high}
            yield from _named(f"feature_data_{name}", {"StatisticValues": values}, common)
        yield from _named(f"feature_non_null_{name}", {"Value": column.present / profile.rows}, common)
        if name in judgement.drifts:
            yield from _named(f"feature_baseline_drift_{name}", {"Value": judgement.drifts[name].value}, common)


def _named(name: str, value: dict[str, Any], common: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if len(name) <= _LONGEST_NAME:
        yield {"MetricName": name, **common, **value, "Unit": "None"}
