"""analysis.json of bias, which is also a baseline's constraints, and constraint_violations.json: version 1.0. PURE.

Keys are AWS's; `standard_deviation` and `confidence_interval` of a metric are ours. Sources: the documented files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from scipy.stats import norm

from kedge.monitoring.bias.analysis import FacetResult, Result
from kedge.monitoring.bias.formulas import NAMES, POST_TRAINING, PRE_TRAINING

BLOCKS = {PRE_TRAINING: "pre_training_bias_metrics", POST_TRAINING: "post_training_bias_metrics"}
CHECK = "bias_drift_check"
SIGNIFICANCE = 0.05
"""How likely a window is to violate anything that did not change."""
LARGEST = 2.348543e108
"""What AWS publishes in the place of infinity."""
_SLACK = 1e-12


class Violation(NamedTuple):
    facet: str
    facet_value: str
    metric_name: str
    constraint_check_type: str
    description: str


class Bound(NamedTuple):
    """deviation: of the baseline's value; 0 in a file that AWS wrote, which has none."""

    value: float
    deviation: float = 0.0


Baseline = dict[tuple[str, str, str], Bound]
"""By facet, its value or threshold, and metric."""


def analysis(label: str, positive: str, stages: dict[str, Sequence[FacetResult]]) -> dict[str, Any]:
    """positive: the values of the label that are, or the interval."""
    found: dict[str, Any] = {"version": "1.0"}
    for stage, results in stages.items():
        facets: dict[str, list[Any]] = {}
        for each in results:
            metrics = [_metric(result) for result in each.results]
            facets.setdefault(each.facet, []).append(
                {"value_or_threshold": each.value_or_threshold, "metrics": metrics}
            )
        found[BLOCKS[stage]] = {"label": label, "label_value_or_threshold": positive, "facets": facets}
    return found


def _metric(result: Result) -> dict[str, Any]:
    held: dict[str, Any] = {
        "name": result.measure.name,
        "description": result.measure.description,
        "value": _number(result.value),
    }
    if result.error:
        held["error"] = result.error
    if result.interval:
        held["standard_deviation"] = result.deviation
        held["confidence_interval"] = list(result.interval)
    return held


def _number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "Infinity" if value > 0 else "-Infinity"


def read(document: Any) -> Baseline:
    """Raises ValueError with what is wrong."""
    blocks = [document.get(each) for each in BLOCKS.values()] if isinstance(document, dict) else []
    if not any(blocks):
        raise ValueError(
            f"The baseline constraints have neither {' nor '.join(BLOCKS.values())}; give an analysis.json."
        )
    found: Baseline = {}
    try:
        for block in blocks:
            for facet, parts in (block or {}).get("facets", {}).items():
                for part in parts:
                    for metric in part["metrics"]:
                        if metric.get("value") is not None:
                            key = (facet, _of_facet(str(part["value_or_threshold"])), str(metric["name"]))
                            found[key] = Bound(float(metric["value"]), float(metric.get("standard_deviation") or 0))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The baseline constraints cannot be read: {error!r}") from None
    return found


def violations(results: Sequence[FacetResult], baseline: Baseline, *, strict: bool = False) -> Iterator[Violation]:
    """What is farther from fair than the baseline was, by more than chance explains. strict: by any amount.

    Chance is that of the window and of the baseline, at 5 % over all measures that are compared (Bonferroni).
    """
    compared = [
        (each, result, bound)
        for each in results
        for result in each.results
        if (bound := baseline.get((each.facet, _of_facet(each.value_or_threshold), result.measure.name)))
        and result.value is not None
    ]
    deviations = 0.0 if strict else float(norm.isf(SIGNIFICANCE / 2 / max(len(compared), 1)))
    for each, result, bound in compared:
        if _is_worse(result, bound, deviations):
            yield Violation(
                each.facet,
                each.value_or_threshold,
                result.measure.name,
                CHECK,
                f"Metric value {result.value} doesn't meet the baseline constraint requirement {bound.value}",
            )


def _is_worse(result: Result, bound: Bound, deviations: float) -> bool:
    """By more than so many deviations of the two."""
    assert result.value is not None
    low, high = allowed(result.measure.name, bound.value)
    slack = max(deviations * math.hypot(result.deviation or 0.0, bound.deviation), _SLACK)
    return result.value < low - slack or result.value > high + slack


def allowed(name: str, bound: float) -> tuple[float, float]:
    """As far from fair as the baseline was, on both sides; of a ratio as far by factor."""
    if NAMES[name].fair == 1.0:
        other = 1 / bound if bound else math.inf
        return min(bound, other), max(bound, other)
    return -abs(bound), abs(bound)


def series(label: str, positive: str, stages: dict[str, Sequence[FacetResult]]) -> Iterator[dict[str, Any]]:
    """Metrics for CloudWatch: name, value, and the dimensions that bias has beside those of its schedule."""
    for stage, results in stages.items():
        for each in results:
            for result in each.results:
                if result.value is None:
                    continue
                dimensions = {
                    "BiasStage": stage,
                    "Label": label,
                    "LabelValue": positive,
                    "Facet": each.facet,
                    "FacetValue": each.value_or_threshold,
                }
                yield {
                    "MetricName": f"bias_metric_{result.measure.name}",
                    "Value": min(max(result.value, -LARGEST), LARGEST),
                    "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                }


def _of_facet(told: str) -> str:
    """An interval is known by its threshold: its other end is the largest value that there happens to be."""
    if not (told.startswith("(") and told.endswith("]")):
        return told
    try:
        return f"above {float(told[1:].partition(',')[0])}"
    except ValueError:
        return told
