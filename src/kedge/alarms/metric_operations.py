"""Metric alarms: PutMetricAlarm, and which alarms watch a metric."""

from __future__ import annotations

from typing import Any

from kedge.alarms import validation
from kedge.alarms.records import METRIC, Alarm, described
from kedge.alarms.requests import Handler, Request, Result, author, put
from kedge.alarms.watched import Watched
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.metrics.bands import make_detectors
from kedge.metrics.errors import InvalidParameterValue
from kedge.metrics.math import MathRefused


def put_metric_alarm(call: Call, request: Request) -> Result:
    config = validation.metric_alarm(request)
    with call.store.transaction(author(call)) as tx:
        after = put(call, tx, METRIC, config, request.get("Tags", []))
        try:
            Watched.of(after).check()
        except MathRefused as error:
            raise ValidationFailed(f"Invalid metrics list: {error}") from error
        try:
            make_detectors(tx, call.scope, request.get("Metrics", []))
        except MathRefused as error:
            raise InvalidParameterValue(str(error)) from error
    return {}


def describe_alarms_for_metric(call: Call, request: Request) -> Result:
    """Alarms on metric math are not among them, as in AWS."""
    found = call.store.list(call.scope, METRIC).items
    return {"MetricAlarms": [described(each) for each in found if _watches(Alarm.of(each.document).config, request)]}


def _watches(config: Any, request: Request) -> bool:
    if any(config.get(name) != request[name] for name in ("MetricName", "Namespace")):
        return False
    if _set(config) != _set(request):
        return False
    asked = ("Statistic", "ExtendedStatistic", "Period", "Unit")
    return all(config.get(name) == request[name] for name in asked if name in request)


def _set(members: Any) -> set[tuple[str, str]]:
    return {(each["Name"], each["Value"]) for each in members.get("Dimensions", ())}


OPERATIONS: dict[str, Handler] = {
    "cloudwatch.PutMetricAlarm": put_metric_alarm,
    "cloudwatch.DescribeAlarmsForMetric": describe_alarms_for_metric,
}
