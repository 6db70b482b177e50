"""What the queries of GetMetricData are refused for before anything is read. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kedge.errors import ValidationFailed
from kedge.metrics import insights, labels, math, statistics
from kedge.metrics.labels import LabelRefused
from kedge.metrics.math import MathRefused
from kedge.metrics.series import is_period
from kedge.metrics.statistics import StatisticUnknown

MOST_QUERIES = 500
LONGEST_EXPRESSION = 2048
PERIODS = "1, 5, 10, 20, 30 or a multiple of 60"
_ID = re.compile(r"[a-z][a-zA-Z0-9_]{0,254}", re.ASCII)


def check(queries: Sequence[Mapping[str, Any]], account: str) -> None:
    """Raises ValidationFailed."""
    if not queries:
        raise ValidationFailed("The parameter MetricDataQueries must not be empty.")
    if len(queries) > MOST_QUERIES:
        raise ValidationFailed(f"The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}.")
    seen = set()
    for number, query in enumerate(queries, 1):
        at, name = f"MetricDataQueries.member.{number}", query["Id"]
        if _ID.fullmatch(name) is None:
            raise ValidationFailed(
                f'The value "{name}" for parameter {at}.Id is invalid: it must be a lowercase letter, then letters, '
                "digits and underscores."
            )
        if name in seen:
            raise ValidationFailed(f'The values for parameter id in MetricDataQueries must be unique; "{name}" is not.')
        seen.add(name)
        _check(query, at, account)
    if not any(query.get("ReturnData", True) for query in queries):
        raise ValidationFailed("At least one of the MetricDataQueries must have ReturnData true.")
    if sum(_is_insights(query) for query in queries) > 1:
        raise ValidationFailed("Only one of the MetricDataQueries may be a Metrics Insights query.")


def check_period(period_s: int, at: str) -> None:
    if not is_period(period_s):
        raise ValidationFailed(f"The parameter {at} must be {PERIODS}; it is {period_s}.")


def has_expression(queries: Sequence[Mapping[str, Any]]) -> bool:
    return any("Expression" in query for query in queries)


def _check(query: Mapping[str, Any], at: str, account: str) -> None:
    if ("MetricStat" in query) == ("Expression" in query):
        raise ValidationFailed(f"Exactly one of the parameters {at}.MetricStat and {at}.Expression must be specified.")
    if query.get("AccountId", account) != account:
        raise ValidationFailed(
            f"The value {query['AccountId']} for parameter {at}.AccountId is invalid: metrics of other accounts are "
            "not shared here."
        )
    if "Period" in query:
        check_period(query["Period"], f"{at}.Period")
    try:
        if query.get("Label"):
            labels.check(query["Label"])
        if "Expression" in query:
            _check_expression(query["Expression"], at)
        else:
            _check_stat(query["MetricStat"], f"{at}.MetricStat")
    except LabelRefused as refused:
        raise ValidationFailed(str(refused)) from None
    except StatisticUnknown:
        raise ValidationFailed(
            f"The value {query['MetricStat']['Stat']} for parameter Stat is not supported."
        ) from None
    except MathRefused as refused:
        raise ValidationFailed(f"Error in expression '{query['Id']}': {refused}") from None


def _check_expression(text: str, at: str) -> None:
    if len(text) > LONGEST_EXPRESSION:
        raise ValidationFailed(f"The parameter {at}.Expression must be at most {LONGEST_EXPRESSION} characters long.")
    if not insights.is_query(text):
        math.parse(text)


def _check_stat(asked: Mapping[str, Any], at: str) -> None:
    for name in ("Namespace", "MetricName"):
        if not asked["Metric"].get(name):
            raise ValidationFailed(f"The parameter {at}.Metric.{name} is required.")
    check_period(asked["Period"], f"{at}.Period")
    statistics.parse(asked["Stat"])


def _is_insights(query: Mapping[str, Any]) -> bool:
    return insights.is_query(query.get("Expression", ""))
