"""Whether a PutMetricAlarm or PutCompositeAlarm request is one that can be kept; what is kept of it. PURE.

Everything refused here is a ValidationError of CloudWatch, except where two ways of naming what to watch are mixed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kedge import arn
from kedge.alarms import rule
from kedge.alarms.evaluate import BAND, checked_treatment
from kedge.alarms.queries import check_queries
from kedge.errors import ValidationFailed
from kedge.metrics import documents, statistics
from kedge.metrics.errors import InvalidFormat, InvalidParameterCombination
from kedge.metrics.statistics import StatisticUnknown

MAX_BYTES = 120 * 1024
DAY_S, WEEK_S = 86_400, 604_800
MAX_ACTION_PERIOD_S = 86_400
"""Of a suppressor's wait and extension."""
MAX_DATA_DEPTH = 100
"""Of a StateReasonData: it is read again wherever history tells of the state."""

_OF_ONE_METRIC = ("MetricName", "Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic")
_TARGETS = (
    "aiops",
    "application-autoscaling",
    "autoscaling",
    "automate",
    "lambda",
    "sns",
    "ssm",
    "ssm-incidents",
    "swf",
)
_SCALING, _MACHINES = ("application-autoscaling", "autoscaling"), ("automate", "swf")
_ACTIONS = ("OKActions", "AlarmActions", "InsufficientDataActions")


def metric_alarm(request: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of the request. Raises ValidationFailed, InvalidParameterCombination."""
    _check_common(request)
    for member in ("EvaluationCriteria", "EvaluationInterval"):
        if member in request:
            raise ValidationFailed(f"{member}: alarms on PromQL queries are not supported by Kedge.")
    for member in ("EvaluationPeriods", "ComparisonOperator"):
        if member not in request:
            raise ValidationFailed(
                f"1 validation error detected: Value null at '{member[0].lower() + member[1:]}' failed to satisfy "
                "constraint: Member must not be null"
            )
    _check_threshold(request)
    if "Metrics" in request:
        mixed = [member for member in _OF_ONE_METRIC if request.get(member)]
        if mixed:
            raise InvalidParameterCombination(f"{mixed[0]} cannot be given together with Metrics.")
        period_s = check_queries(request)
        _check_targets(request, _MACHINES, "an alarm on metric math cannot act on EC2 instances")
    else:
        period_s = _check_one_metric(request)
    _check_numbers(request, period_s)
    if "TreatMissingData" in request:
        checked_treatment(request["TreatMissingData"])
    _check_window(request.get("EvaluationWindow"), period_s)
    kept = {
        "ActionsEnabled": True,
        **{name: [] for name in _ACTIONS},
        **({} if "Metrics" in request else {"Dimensions": []}),
        **{name: value for name, value in request.items() if name != "Tags"},
    }
    if len(json.dumps(kept)) > MAX_BYTES:
        raise ValidationFailed(f"The alarm takes more than {MAX_BYTES} bytes.")
    return kept


def composite_alarm(request: Mapping[str, Any]) -> tuple[dict[str, Any], rule.Rule]:
    """What is kept of the request, and its rule. Raises ValidationFailed."""
    _check_common(request)
    _check_targets(request, _SCALING, "a composite alarm has no Auto Scaling actions")
    _check_targets(request, _MACHINES, "a composite alarm cannot act on EC2 instances")
    parsed = rule.parse(request["AlarmRule"])
    periods = ("ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod")
    given = [member for member in ("ActionsSuppressor", *periods) if member in request]
    if 0 < len(given) < 3:
        missing = next(member for member in ("ActionsSuppressor", *periods) if member not in request)
        raise ValidationFailed(f"{missing} has to be given together with {given[0]}.")
    for member in periods:
        if member in request and not 0 <= request[member] <= MAX_ACTION_PERIOD_S:
            raise ValidationFailed(f"{member} is {request[member]}; it has to be 0 to {MAX_ACTION_PERIOD_S} seconds.")
    kept = {
        "ActionsEnabled": True,
        **{name: [] for name in _ACTIONS},
        **{name: value for name, value in request.items() if name != "Tags"},
    }
    return kept, parsed


def check_reason_data(text: str) -> None:
    """StateReasonData of SetAlarmState. Raises InvalidFormat for what other readers of the history could not read."""
    try:
        level = [documents.parse(text)]
        json.dumps(level, allow_nan=False)  # 1e999 is read as a number that JSON cannot write
    except (ValueError, RecursionError) as error:
        raise InvalidFormat(f"StateReasonData is not JSON: {error}.") from None
    for _ in range(MAX_DATA_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return
    raise InvalidFormat(f"StateReasonData is nested more than {MAX_DATA_DEPTH} levels deep.")


def _inside(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _check_common(request: Mapping[str, Any]) -> None:
    name = request["AlarmName"]
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise ValidationFailed("AlarmName must not contain control characters.")
    for member in ("ActionConfiguration",):
        if member in request:
            raise ValidationFailed(f"{member} is not supported by Kedge: tags are not sent along with notifications.")
    for member in _ACTIONS:
        for target in request.get(member, ()):
            service = _service(target)
            if service not in _TARGETS:
                raise ValidationFailed(f"Invalid arn syntax: {target}")
            if service in ("ssm", "ssm-incidents") and member != "AlarmActions":
                raise ValidationFailed(f"{target} can be an action of the ALARM state only.")


def _service(target: str) -> str:
    try:
        return arn.parse(target).service
    except ValueError:
        return ""


def _check_targets(request: Mapping[str, Any], services: Sequence[str], why: str) -> None:
    for member in _ACTIONS:
        for target in request.get(member, ()):
            if _service(target) in services:
                raise ValidationFailed(f"Invalid action {target}: {why}.")


def _check_one_metric(request: Mapping[str, Any]) -> int:
    """The period in seconds."""
    if "MetricName" not in request:
        raise ValidationFailed("One of MetricName and Metrics has to be given.")
    for member in ("Namespace", "Period"):
        if member not in request:
            raise ValidationFailed(f"{member} is required with MetricName.")
    if ("Statistic" in request) == ("ExtendedStatistic" in request):
        raise ValidationFailed("Exactly one of Statistic and ExtendedStatistic has to be given.")
    if "ExtendedStatistic" in request:
        check_extended(request["ExtendedStatistic"])
    option = request.get("EvaluateLowSampleCountPercentile", "evaluate")
    if option not in ("evaluate", "ignore"):
        raise ValidationFailed(
            f"Option {option} is not supported. Supported options for parameter EvaluateLowSampleCountPercentile are "
            "evaluate and ignore."
        )
    names = [each["Name"] for each in request.get("Dimensions", ())]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValidationFailed(f"The dimension {twice} is given more than once.")
    return int(request["Period"])


def check_extended(text: str) -> None:
    """Raises ValidationFailed."""
    problem = ValidationFailed(f"The value {text} for parameter ExtendedStatistic is not supported.")
    try:
        parsed = statistics.parse(text)
    except StatisticUnknown:
        raise problem from None
    if not parsed.needs_values:
        raise problem
    if parsed.percent and "(" in text and any(not 10 <= each <= 90 for each in (parsed.low, parsed.high) if each):
        raise ValidationFailed(f"{problem.message} An alarm's bounds in percent have to be from 10 to 90.")


def _check_numbers(request: Mapping[str, Any], period_s: int) -> None:
    n = request["EvaluationPeriods"]
    if period_s not in (10, 20, 30) and period_s % 60 != 0:
        raise ValidationFailed(f"Period is {period_s}; it has to be 10, 20, 30 or a multiple of 60 seconds.")
    if request.get("DatapointsToAlarm", n) > n:
        raise ValidationFailed(
            f"DatapointsToAlarm is {request['DatapointsToAlarm']}; it must not be greater than EvaluationPeriods ({n})."
        )
    limit_s, limit = (DAY_S, "a day") if period_s < 3600 else (WEEK_S, "a week")
    if period_s * n > limit_s:
        raise ValidationFailed(
            f"Metrics cannot be checked across more than {limit} (EvaluationPeriods * Period must be <= {limit_s})."
        )


def _check_threshold(request: Mapping[str, Any]) -> None:
    operator = request["ComparisonOperator"]
    if operator in BAND:
        if "ThresholdMetricId" not in request or "Metrics" not in request:
            raise ValidationFailed(
                f"{operator} compares with a band: ThresholdMetricId has to name the ANOMALY_DETECTION_BAND in Metrics."
            )
        if "Threshold" in request:
            raise ValidationFailed("Threshold cannot be given together with ThresholdMetricId.")
        _check_targets(request, _SCALING, "an alarm on an anomaly detection band has no Auto Scaling actions")
    elif "ThresholdMetricId" in request:
        raise ValidationFailed(f"ThresholdMetricId cannot be given with {operator}, which compares with Threshold.")
    elif "Threshold" not in request:
        raise ValidationFailed(f"Threshold is required with {operator}.")


def _check_window(window: Mapping[str, Any] | None, period_s: int) -> None:
    if window is None:
        return
    if len(window) != 1:
        raise ValidationFailed("EvaluationWindow: exactly one of SlidingWindow and WallClockWindow has to be given.")
    if "WallClockWindow" in window:
        zone = window["WallClockWindow"].get("Timezone", "UTC")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValidationFailed(
                f"Timezone {zone} is not known; it has to be a name such as Europe/Berlin."
            ) from None
        if DAY_S % period_s and period_s != WEEK_S:
            raise ValidationFailed(
                f"Period is {period_s}; with a WallClockWindow it has to divide a day, or be a week ({WEEK_S})."
            )
