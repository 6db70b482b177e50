"""Anomaly detectors as they are kept: what each watches, how it is to be trained, and what it has learned. PURE.

In the resource store, by (account, region):

    anomaly-detector  by id  {"Watches", "Configuration", "Characteristics", "FittedAt"}; the status is its state
    anomaly-model     by id  {"Models": [...]}, without history; there once it was trained

`Watches` is {"Single": {Namespace, MetricName, Dimensions, Stat}} or {"Math": [queries]}, in one order, so that what
watches the same has the same id. Times in documents are seconds since 1970.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from kedge.metrics.anomaly import Habits, Model
from kedge.metrics.math import Expression, MathRefused, Series, Value, Window, evaluate, order, parse
from kedge.store.records import Document, Resource

DETECTOR, MODEL = "anomaly-detector", "anomaly-model"
PENDING, INSUFFICIENT, TRAINED = "PENDING_TRAINING", "TRAINED_INSUFFICIENT_DATA", "TRAINED"
SINGLE, MATH = "SINGLE_METRIC", "METRIC_MATH"
MOST_EXCLUDED = 10
MOST_QUERIES = 10
PERIODS_S = (60, 300, 3600)
"""A model for each, as sums, maxima and percentiles of longer periods are other values."""
REFIT_S = 3600.0
RETRY_S = 300.0
"""Where there was too little data, or none at all."""

_NOT_FOR_DETECTORS = {"METRICS", "SEARCH", "ANOMALY_DETECTION_BAND"}
Query = Mapping[str, Any]


class DetectorRefused(ValueError):
    """The message says what of the request is wrong."""


def of_metric(given: Mapping[str, Any]) -> Document:
    """What a detector of one metric watches, from the members of a request that has all of them."""
    dimensions = sorted((each["Name"], each["Value"]) for each in given.get("Dimensions") or ())
    return {
        "Single": {
            "Namespace": given["Namespace"],
            "MetricName": given["MetricName"],
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions],
            "Stat": given["Stat"],
        }
    }


def of_math(queries: Sequence[Query]) -> Document:
    """What a detector of an expression watches. Raises DetectorRefused."""
    if not 1 <= len(queries) <= MOST_QUERIES:
        raise DetectorRefused(f"MetricDataQueries holds {len(queries)} queries; it has to hold 1 to {MOST_QUERIES}.")
    ids = [query["Id"] for query in queries]
    if len(set(ids)) < len(ids):
        raise DetectorRefused("MetricDataQueries holds an Id more than once.")
    for query in queries:
        if ("MetricStat" in query) == ("Expression" in query):
            raise DetectorRefused(f'The query "{query["Id"]}" has to have MetricStat or Expression, and not both.')
    returned = [query for query in queries if query.get("ReturnData", True)]
    if len(returned) != 1 or "Expression" not in returned[0]:
        raise DetectorRefused("Exactly one query, an Expression, has to have ReturnData true.")
    periods = {query["MetricStat"]["Period"] for query in queries if "MetricStat" in query}
    if len(periods) != 1 or min(periods) % 60:
        raise DetectorRefused("The metrics of MetricDataQueries have to have the same Period, a multiple of 60.")
    try:
        expressions = {query["Id"]: parse(query["Expression"]) for query in queries if "Expression" in query}
        unfit = sorted(name for each in expressions.values() for name in each.functions & _NOT_FOR_DETECTORS)
        if unfit:
            raise DetectorRefused(f"An anomaly detector's expression cannot use {unfit[0]}.")
        _check_types(expressions, returned[0]["Id"], [name for name in ids if name not in expressions])
    except MathRefused as refused:
        raise DetectorRefused(str(refused)) from None
    return {"Math": [_query(query) for query in sorted(queries, key=lambda query: str(query["Id"]))]}


def _check_types(expressions: Mapping[str, Expression], returned: str, metrics: Sequence[str]) -> None:
    """Types do not depend on points, so series without any show what would be refused. Raises MathRefused."""
    known: dict[str, Value] = {name: Series(name, 60, {}) for name in metrics}
    for name in order(expressions, metrics):
        known[name] = evaluate(expressions[name], known, Window(0, 0, 60), lambda *asked: [])
    if not isinstance(known[returned], Series):
        raise MathRefused(f'"{returned}" has to be one time series.')


def _query(query: Query) -> Document:
    kept = {name: query[name] for name in ("Id", "Expression", "Period") if name in query}
    kept["ReturnData"] = query.get("ReturnData", True)
    if "MetricStat" in query:
        given = query["MetricStat"]
        metric = given["Metric"]
        dimensions = sorted((each["Name"], each["Value"]) for each in metric.get("Dimensions") or ())
        kept["MetricStat"] = {
            **{name: given[name] for name in ("Period", "Stat", "Unit") if name in given},
            "Metric": {
                "Namespace": metric["Namespace"],
                "MetricName": metric["MetricName"],
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions],
            },
        }
    return kept


def id_of(watches: Document) -> str:
    """The same for what watches the same, whatever the configuration. An expression's own Period changes nothing."""
    same = watches
    if "Math" in watches:
        same = {"Math": [{n: v for n, v in query.items() if n != "Period"} for query in watches["Math"]]}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:32]


def document(watches: Document, configuration: Mapping[str, Any], characteristics: Mapping[str, Any]) -> Document:
    """Raises DetectorRefused."""
    ranges = configuration.get("ExcludedTimeRanges") or []
    if len(ranges) > MOST_EXCLUDED:
        raise DetectorRefused(f"ExcludedTimeRanges holds {len(ranges)} ranges; it can hold {MOST_EXCLUDED} at most.")
    for each in ranges:
        if each["StartTime"] >= each["EndTime"]:
            raise DetectorRefused(f"An excluded range begins at {each['StartTime']} and has to end after that.")
    zone(configuration.get("MetricTimezone", "UTC"))
    excluded = [[each["StartTime"].timestamp(), each["EndTime"].timestamp()] for each in ranges]
    return {
        "Watches": watches,
        "Configuration": {
            **{name: value for name, value in configuration.items() if name != "ExcludedTimeRanges"},
            "ExcludedTimeRanges": excluded,
        },
        "Characteristics": dict(characteristics),
        "FittedAt": 0.0,
    }


def zone(name: str) -> ZoneInfo:
    """Raises DetectorRefused."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # an unknown name, one that is a path, one of a folder
        raise DetectorRefused(
            f'MetricTimezone "{name}" is no name of the tz database, such as Europe/Berlin.'
        ) from None


def habits(detector: Document) -> Habits:
    configuration = detector["Configuration"]
    return Habits(
        zone(configuration.get("MetricTimezone", "UTC")),
        [(start, end) for start, end in configuration["ExcludedTimeRanges"]],
        configuration.get("AdaptationSpeed", "NORMAL"),
        configuration.get("OutlierFilteringStrength", "MODERATE"),
        bool(detector["Characteristics"].get("PeriodicSpikes")),
    )


def periods_s(watches: Document) -> tuple[int, ...]:
    """Of the values that a detector learns from."""
    if "Single" in watches:
        return PERIODS_S
    return (next(query["MetricStat"]["Period"] for query in watches["Math"] if "MetricStat" in query),)


def queries(watches: Document, period_s: int) -> list[Query]:
    """What GetMetricData would be asked for to get the values of this period."""
    if "Math" in watches:
        return list(watches["Math"])
    single = watches["Single"]
    metric = {name: single[name] for name in ("Namespace", "MetricName", "Dimensions")}
    return [{"Id": "m1", "MetricStat": {"Metric": metric, "Period": period_s, "Stat": single["Stat"]}}]


def type_of(watches: Document) -> str:
    return SINGLE if "Single" in watches else MATH


def is_due(detector: Resource, now_s: float) -> bool:
    """Whether it has to be trained, for the first time or again."""
    pause_s = RETRY_S if detector.status == INSUFFICIENT else REFIT_S
    return detector.status == PENDING or bool(now_s - detector.document["FittedAt"] >= pause_s)


def nearest(models: Sequence[Model], period_s: int) -> Model | None:
    """The one whose values are most like those of this period."""
    return min(models, key=lambda model: abs(model.period_s - period_s), default=None)


def shown(detector: Resource) -> dict[str, Any]:
    """As DescribeAnomalyDetectors answers."""
    watches, configuration = detector.document["Watches"], detector.document["Configuration"]
    ranges = [{"StartTime": _when(start), "EndTime": _when(end)} for start, end in configuration["ExcludedTimeRanges"]]
    found: dict[str, Any] = {
        "AnomalyDetectorId": detector.name,
        "Configuration": {**configuration, "ExcludedTimeRanges": ranges},
        "StateValue": detector.status,
    }
    if detector.document["Characteristics"]:
        found["MetricCharacteristics"] = detector.document["Characteristics"]
    if "Single" in watches:
        single = watches["Single"]
        return {**found, **single, "SingleMetricAnomalyDetector": {"AccountId": detector.scope.account, **single}}
    return {**found, "MetricMathAnomalyDetector": {"MetricDataQueries": watches["Math"]}}


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
