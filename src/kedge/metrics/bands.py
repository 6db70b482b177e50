"""What ANOMALY_DETECTION_BAND gives: the band of the detector that watches the series, from what it has learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kedge.metrics import detectors
from kedge.metrics.anomaly import Model
from kedge.metrics.detectors import DETECTOR, MODEL, PENDING, DetectorRefused
from kedge.metrics.insights import is_query
from kedge.metrics.math import MathRefused, Series, Value, Window, parse, syntax
from kedge.store.records import Document, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction

_GROWS_WITH_PERIOD = ("Sum", "SampleCount")


def band_of(
    store: Store, scope: Scope, queries: Sequence[Mapping[str, Any]], known: Mapping[str, Value], window: Window
) -> Callable[[Series, float], list[Series]]:
    """For `math.evaluate`, of one request: its queries, and what they have given so far.

    The bands of a series that no trained detector watches have no points. Raises MathRefused, when it is called, for
    what can have no detector: neither a metric nor the id of an expression.
    """

    def band(series: Series, deviations: float) -> list[Series]:
        found = store.get(scope, DETECTOR, detectors.id_of(_watched(series, queries, known)))
        kept = None if found is None else store.get(scope, MODEL, found.name)
        models = [] if kept is None else [Model.from_json(each) for each in kept.document["Models"]]
        model = detectors.nearest(models, series.period_s)
        if found is None or model is None:
            return _series(series, {}, {})
        zone = detectors.habits(found.document).zone
        factor = series.period_s / model.period_s if series.stat in _GROWS_WITH_PERIOD else 1.0
        lower, upper = {}, {}
        for at in window.times(series.period_s):
            low, high = model.band(at, zone, deviations)
            lower[at], upper[at] = low * factor, high * factor
        return _series(series, lower, upper)

    return band


def make_detectors(tx: Transaction, scope: Scope, queries: Sequence[Mapping[str, Any]]) -> None:
    """What every ANOMALY_DETECTION_BAND of these queries needs, unless it is there: AWS does so for an alarm's.

    Raises MathRefused for a band of what can have no detector.
    """
    for query in queries:
        for name in _banded(query.get("Expression", "")):
            watches = _of_query(name, {each["Id"]: each for each in queries})
            of = detectors.id_of(watches)
            if tx.get(scope, DETECTOR, of) is None:
                tx.insert(scope, DETECTOR, of, detectors.document(watches, {}, {}), PENDING)


def _banded(expression: str) -> list[str]:
    """The ids that the bands of an expression are around."""
    if not expression or is_query(expression):
        return []
    calls = [node for node, _ in syntax.walk(parse(expression).root) if isinstance(node, syntax.Call)]
    bands = [call.arguments[0] for call in calls if call.function == "ANOMALY_DETECTION_BAND"]
    if not all(isinstance(of, syntax.Name) for of in bands):
        raise MathRefused("ANOMALY_DETECTION_BAND takes a metric or the id of an expression.")
    return [of.name for of in bands if isinstance(of, syntax.Name)]


def _series(of: Series, lower: dict[int, float], upper: dict[int, float]) -> list[Series]:
    return [
        of.with_points(points)._replace(label=f"{of.label} {end}") for end, points in (("High", upper), ("Low", lower))
    ]


def _watched(series: Series, queries: Sequence[Mapping[str, Any]], known: Mapping[str, Value]) -> Document:
    """What a detector of this series would watch."""
    metric = series.metric
    if metric is not None and not series.derived:
        dimensions = [{"Name": name, "Value": value} for name, value in metric.dimensions]
        return detectors.of_metric(
            {"Namespace": metric.namespace, "MetricName": metric.name, "Dimensions": dimensions, "Stat": series.stat}
        )
    name = next((name for name, value in known.items() if value is series), None)
    if name is None:
        raise MathRefused("ANOMALY_DETECTION_BAND takes a metric or the id of an expression.")
    return _of_query(name, {query["Id"]: query for query in queries})


def _of_query(name: str, queries: Mapping[str, Mapping[str, Any]]) -> Document:
    if name not in queries:
        raise MathRefused(f'"{name}" is the id of no query.')
    stat = queries[name].get("MetricStat")
    if stat is not None:
        return detectors.of_metric({**stat["Metric"], "Stat": stat["Stat"]})
    try:
        return detectors.of_math([{**query, "ReturnData": query["Id"] == name} for query in _needed(name, queries)])
    except DetectorRefused as refused:
        raise MathRefused(f'ANOMALY_DETECTION_BAND of "{name}": {refused}') from None


def _needed(name: str, queries: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The query of this id and those that it refers to, directly or not."""
    found: dict[str, Mapping[str, Any]] = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found[each] = queries[each]
            waiting.extend(parse(queries[each]["Expression"]).ids if "Expression" in queries[each] else ())
    return list(found.values())
