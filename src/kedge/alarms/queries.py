"""The Metrics of an alarm on metric math: whether they can be watched, and what of them is. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kedge.alarms.evaluate import BAND
from kedge.errors import ValidationFailed
from kedge.metrics import math, statistics
from kedge.metrics.math import MathRefused
from kedge.metrics.statistics import StatisticUnknown

MAX_METRICS = 10
_ID = re.compile(r"[a-z][a-zA-Z0-9_]*", re.ASCII)
_INSIGHTS = re.compile(r"\s*SELECT\s", re.IGNORECASE)


def watched(config: Mapping[str, Any]) -> str:
    """The id of the query whose values are compared."""
    band = config.get("ThresholdMetricId")
    return next(str(each["Id"]) for each in config["Metrics"] if each.get("ReturnData", True) and each["Id"] != band)


def check_queries(request: Mapping[str, Any]) -> int:
    """The period in seconds. Raises ValidationFailed."""
    queries: Sequence[Mapping[str, Any]] = request["Metrics"]
    if not queries:
        raise ValidationFailed("Metrics must not be empty.")
    for query in queries:
        _check_query(query)
    ids = [query["Id"] for query in queries]
    twice = next((each for each in ids if ids.count(each) > 1), None)
    if twice is not None:
        raise ValidationFailed(f'The id "{twice}" stands at more than one of the Metrics.')
    metrics = [query for query in queries if "MetricStat" in query]
    if len(metrics) > MAX_METRICS:
        raise ValidationFailed(f"Metrics has {len(metrics)} metrics; an alarm watches at most {MAX_METRICS}.")
    _check_expressions(queries)
    _check_returned(request, queries)
    return _period(queries)


def _check_query(query: Mapping[str, Any]) -> None:
    its_id = query["Id"]
    if _ID.fullmatch(its_id) is None:
        raise ValidationFailed(
            f'The id "{its_id}" is not valid: it has to be a small letter, then letters, digits and _.'
        )
    if ("MetricStat" in query) == ("Expression" in query):
        raise ValidationFailed(f'Exactly one of MetricStat and Expression has to be given for "{its_id}".')
    if "AccountId" in query:
        raise ValidationFailed(
            f'AccountId of "{its_id}": alarms on metrics of other accounts are not supported by Kedge.'
        )
    if "MetricStat" in query:
        metric = query["MetricStat"]["Metric"]
        if "MetricName" not in metric or "Namespace" not in metric:
            raise ValidationFailed(f'The metric of "{its_id}" needs a Namespace and a MetricName.')
        try:
            statistics.parse(query["MetricStat"]["Stat"])
        except StatisticUnknown as error:
            raise ValidationFailed(f'Stat of "{its_id}": {error}.') from None


def _check_expressions(queries: Sequence[Mapping[str, Any]]) -> None:
    expressions = {}
    for query in queries:
        if "Expression" not in query:
            continue
        its_id, text = query["Id"], query["Expression"]
        if _INSIGHTS.match(text):
            raise ValidationFailed(f'"{its_id}": alarms on Metrics Insights queries are not supported by Kedge.')
        try:
            expression = math.parse(text)
        except MathRefused as error:
            raise ValidationFailed(f"Error in expression '{its_id}': {error}") from None
        if not expression.is_for_alarms:
            raise ValidationFailed(f"Error in expression '{its_id}': SEARCH is not supported on Metric Alarms.")
        expressions[its_id] = expression
    try:
        math.order(expressions, [query["Id"] for query in queries if "MetricStat" in query])
    except MathRefused as error:
        raise ValidationFailed(str(error)) from None


def _check_returned(request: Mapping[str, Any], queries: Sequence[Mapping[str, Any]]) -> None:
    returned = [query["Id"] for query in queries if query.get("ReturnData", True)]
    if request["ComparisonOperator"] not in BAND:
        if len(returned) != 1:
            raise ValidationFailed(
                f"ReturnData is true for {len(returned)} of the Metrics; it has to be for the one that is watched."
            )
        return
    band = request.get("ThresholdMetricId")
    found = next((query for query in queries if query["Id"] == band), None)
    if found is None or "ANOMALY_DETECTION_BAND" not in found.get("Expression", ""):
        raise ValidationFailed(f'ThresholdMetricId "{band}" is not the id of an ANOMALY_DETECTION_BAND in Metrics.')
    if sorted(returned) != sorted({*returned, band}) or len(returned) != 2:
        raise ValidationFailed(
            "ReturnData has to be true for exactly two of the Metrics: what is watched, and the band that "
            "ThresholdMetricId names."
        )


def _period(queries: Sequence[Mapping[str, Any]]) -> int:
    periods = {int(query["MetricStat"]["Period"]) for query in queries if "MetricStat" in query}
    periods = periods or {int(query["Period"]) for query in queries if "Period" in query}
    if len(periods) > 1:
        raise ValidationFailed(f"All metrics of an alarm have the same period; these have {sorted(periods)}.")
    if not periods:
        raise ValidationFailed("Period has to be given for an expression that names no metric.")
    return periods.pop()
