"""What `kedge experiment` compares variants by, and how it is read from the metrics of each of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from kedge.cli.failures import Failed
from kedge.experiments import means, quantiles, shares
from kedge.experiments.interval import UNKNOWN, Interval
from kedge.experiments.shares import Share
from kedge.metrics.sketch import ERROR

DAY_S = 86_400
_PLATFORM = "AWS/SageMaker"
_ERRORS = {"errors": "InvocationModelErrors", "4xx": "Invocation4XXErrors", "5xx": "Invocation5XXErrors"}
_TOGETHER: Mapping[str, Callable[[Sequence[float]], float]] = {"Minimum": min, "Maximum": max}
"""What several series are together; all other statistics that are read are added."""
_PERCENTILES_AT_ONCE = 10
"""As many as GetMetricStatistics takes."""
_MS = 1e-3
"""Latencies are kept in microseconds."""
_USE = "errors, 4xx, 5xx, latency, latency:p99, slower:250 (ms), NAMESPACE/METRIC or share:NAMESPACE/METRIC"


@dataclass(frozen=True)
class Outcome:
    text: str
    """As it was asked for."""
    kind: Literal["share", "quantile", "mean"]
    namespace: str
    metric: str
    lower_is_better: bool
    unit: str = ""
    """% of a share, ms of a latency."""
    scale: float = 1.0
    """From the metric's unit to the outcome's."""
    quantile: float = 0.0
    slower_than: float | None = None
    """In the metric's unit: the outcome is the share of what is above it."""

    @property
    def is_error(self) -> bool:
        """Whether it is counted among Invocations, whose sum is right also where idle minutes add a 0."""
        return self.metric in _ERRORS.values() and self.namespace == _PLATFORM

    @property
    def method(self) -> str:
        if self.kind == "share":
            return "mixture of sub-Bernoulli bets, exact (Howard, Ramdas, McAuliffe, Sekhon 2020)"
        if self.kind == "quantile":
            return "confidence sequences of the quantiles, distribution-free (Howard, Ramdas 2022)"
        return "asymptotic confidence sequence over periods (Waudby-Smith et al. 2021)"


FEEDBACK = Outcome("feedback", "share", "", "feedback", lower_is_better=False, unit="%", scale=100.0)
"""What became of requests, from 0 to 1, told by inference id."""


class Window(NamedTuple):
    start_s: int
    end_s: int
    """Not a whole period, perhaps: the last one is going on."""
    period_s: int
    """The shortest in which everything since the start can still be read."""

    @property
    def whole_s(self) -> int:
        """One period that holds all of it."""
        return max(1, math.ceil((self.end_s - self.start_s) / self.period_s)) * self.period_s


def parse(text: str, *, by_minute: bool, better: str | None) -> Outcome:
    """better: lower or higher; None is what goes without saying. Raises UsageError."""
    kind, sign, rest = text.partition(":")
    found: Outcome | None = None
    if text in _ERRORS:
        found = Outcome(text, "share", _PLATFORM, _ERRORS[text], lower_is_better=True, unit="%", scale=100.0)
    elif kind == "latency" and (not sign or re.fullmatch(r"p\d{1,2}(\.\d{1,3})?", rest)):
        at = float(rest[1:] or 50) / 100 if sign else 0.5
        if at > 0:
            found = Outcome(text, "quantile", _PLATFORM, "ModelLatency", True, "ms", _MS, quantile=at)
    elif kind == "slower" and re.fullmatch(r"\d{1,7}(\.\d{1,3})?(ms)?", rest):
        above_us = float(rest.removesuffix("ms")) / _MS
        found = Outcome(text, "share", _PLATFORM, "ModelLatency", True, "%", 100.0, slower_than=above_us)
    elif "/" in text:
        of_share = kind == "share" and bool(sign)
        namespace, _, metric = (rest if of_share else text).rpartition("/")
        if namespace and metric:
            found = Outcome(text, "share" if of_share else "mean", namespace, metric, lower_is_better=False)
            if of_share:
                found = replace(found, unit="%", scale=100.0)
    if found is None:
        raise click.UsageError(f'"{text}" is no outcome; it is one of {_USE}.')
    if better is not None:
        found = replace(found, lower_is_better=better == "lower")
    return replace(found, kind="mean") if by_minute else found


def feedback(*, by_minute: bool, better: str | None) -> Outcome:
    """Raises UsageError."""
    if by_minute:
        raise click.UsageError("Feedback has no minutes: leave out --by-minute.")
    return FEEDBACK if better is None else replace(FEEDBACK, lower_is_better=better == "lower")


def window(since_s: float, now_s: float) -> Window:
    """From the first whole period on, so that nothing from before the start is in it."""
    age_s = now_s - since_s
    period_s = 60 if age_s < 14 * DAY_S else 300 if age_s < 62 * DAY_S else 3600
    start_s = math.ceil(since_s / period_s) * period_s
    return Window(start_s, max(start_s, math.floor(now_s)) + 1, period_s)


@dataclass(frozen=True)
class Compared:
    """One variant beside the control. Numbers are in the outcome's unit."""

    variant: str
    interval: Interval


@dataclass(frozen=True)
class Analysis:
    samples: Mapping[str, float]
    """By variant: values of the metric."""
    estimates: Mapping[str, float]
    """By variant; nan where there are no samples."""
    compared: Sequence[Compared]


class Reader:
    """The metrics of an endpoint's variants, by GetMetricData."""

    def __init__(self, cloudwatch: Any, endpoint: str, variants: Sequence[str], window: Window) -> None:
        self._cloudwatch = cloudwatch
        self._endpoint = endpoint
        self._variants = list(variants)
        self._window = window

    def whole(self, asked: Iterable[tuple[str, str, str]]) -> list[dict[str, float]]:
        """asked: (namespace, metric, statistic). Of each, by variant, the value over all of the window, if any."""
        found = self._read([(*each, variant) for each in asked for variant in self._variants], self._window.whole_s)
        return self._by_variant([next(iter(points.values()), None) for points in found])

    def percentiles(self, metric: tuple[str, str], variant: str, percents: Sequence[str]) -> list[float]:
        """Over all of the window; nan where there is nothing. Few calls: each one puts all values together."""
        window, found = self._window, list[float]()
        for at in range(0, len(percents), _PERCENTILES_AT_ONCE):
            asked = percents[at : at + _PERCENTILES_AT_ONCE]
            points = self._cloudwatch.get_metric_statistics(
                Namespace=metric[0],
                MetricName=metric[1],
                Dimensions=self._dimensions(variant),
                StartTime=datetime.fromtimestamp(window.start_s, UTC),
                EndTime=datetime.fromtimestamp(window.end_s, UTC),
                Period=window.whole_s,
                ExtendedStatistics=asked,
            )["Datapoints"]
            values = points[0]["ExtendedStatistics"] if points else {}
            found += [values.get(each, math.nan) for each in asked]
        return found

    def by_period(self, asked: Iterable[tuple[str, str, str]]) -> list[dict[str, NDArray[np.float64]]]:
        """Of each, by variant, one number for each whole period; 0 where there is none."""
        window = self._window
        times = range(window.start_s, window.end_s - window.period_s + 1, window.period_s)
        found = self._read([(*each, variant) for each in asked for variant in self._variants], window.period_s)
        arrays = [np.array([points.get(at, 0.0) for at in times], dtype=np.float64) for points in found]
        count = len(self._variants)
        return [dict(zip(self._variants, arrays[at : at + count], strict=True)) for at in range(0, len(arrays), count)]

    def _by_variant(self, values: Sequence[float | None]) -> list[dict[str, float]]:
        count = len(self._variants)
        return [
            {v: x for v, x in zip(self._variants, values[at : at + count], strict=True) if x is not None}
            for at in range(0, len(values), count)
        ]

    def _read(self, asked: Sequence[tuple[str, str, str, str]], period_s: int) -> list[dict[int, float]]:
        queries = [
            {
                "Id": f"q{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": metric,
                        "Dimensions": self._dimensions(variant),
                    },
                    "Period": period_s,
                    "Stat": statistic,
                },
            }
            for number, (namespace, metric, statistic, variant) in enumerate(asked)
        ]
        found: list[dict[int, float]] = [{} for _ in asked]
        for page in self._cloudwatch.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries,
            StartTime=datetime.fromtimestamp(self._window.start_s, UTC),
            EndTime=datetime.fromtimestamp(self._window.end_s, UTC),
        ):
            for result in page["MetricDataResults"]:
                number = int(result["Id"][1:])
                points, together = found[number], _TOGETHER.get(asked[number][2], math.fsum)
                for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                    # A metric of several units has a series of each under one id.
                    at_s = int(at.timestamp())
                    points[at_s] = together([points[at_s], value]) if at_s in points else value
        return found

    def _dimensions(self, variant: str) -> list[dict[str, str]]:
        return [{"Name": "EndpointName", "Value": self._endpoint}, {"Name": "VariantName", "Value": variant}]


def analyse(reader: Reader, outcome: Outcome, control: str, weights: Mapping[str, float], alpha: float) -> Analysis:
    """alpha: over all pairs, to which it is given in equal parts. weights: of the endpoint, by variant."""
    others = [name for name in weights if name != control]
    each_alpha = alpha / len(others)
    if outcome.kind == "share":
        return by_shares(_shares(reader, outcome), outcome, control, weights, each_alpha)
    if outcome.kind == "quantile":
        return _by_quantiles(reader, outcome, control, weights, each_alpha)
    return _by_means(reader, outcome, control, others, each_alpha)


def _split(weights: Mapping[str, float], control: str, other: str) -> float:
    """The control's part of what both get."""
    if not weights[control] or not weights[other]:
        return 0.5
    return weights[control] / (weights[control] + weights[other])


def _shares(reader: Reader, outcome: Outcome) -> dict[str, Share]:
    metric = outcome.namespace, outcome.metric
    if outcome.slower_than is not None:
        faster, counts = reader.whole([(*metric, f"PR(:{outcome.slower_than:.0f})"), (*metric, "SampleCount")])
        return {v: Share(n, round(n * (1 - faster.get(v, 100.0) / 100))) for v, n in counts.items()}
    if outcome.is_error:
        totals, counts = reader.whole([(*metric, "Sum"), (_PLATFORM, "Invocations", "Sum")])
        return {v: Share(n, min(n, totals.get(v, 0.0))) for v, n in counts.items()}
    totals, counts, lowest, highest = reader.whole(
        (*metric, each) for each in ("Sum", "SampleCount", "Minimum", "Maximum")
    )
    for variant, low in lowest.items():
        high = highest.get(variant, low)
        if low < 0 or high > 1:
            raise Failed(
                f"{outcome.metric} of {variant} has values from {low:g} to {high:g}; those of a share are from 0 to 1. "
                f"Compare its mean by --outcome {outcome.namespace}/{outcome.metric}."
            )
    return {v: Share(n, min(n, totals.get(v, 0.0))) for v, n in counts.items()}


def by_shares(
    seen: Mapping[str, Share], outcome: Outcome, control: str, weights: Mapping[str, float], alpha: float
) -> Analysis:
    nothing = Share(0.0, 0.0)
    compared = []
    for other in weights:
        if other == control:
            continue
        split = _split(weights, control, other)
        found = shares.difference(seen.get(control, nothing), seen.get(other, nothing), split, alpha)
        compared.append(Compared(other, _scaled(found, outcome.scale)))
    return Analysis(
        {v: seen.get(v, nothing).count for v in weights},
        {v: seen.get(v, nothing).estimate * outcome.scale for v in weights},
        compared,
    )


def _by_quantiles(
    reader: Reader, outcome: Outcome, control: str, weights: Mapping[str, float], alpha: float
) -> Analysis:
    (found,) = reader.whole([(outcome.namespace, outcome.metric, "SampleCount")])
    counts = {each: int(found.get(each, 0)) for each in weights}
    within = {
        other: quantiles.boxes(counts[control], counts[other], outcome.quantile, _split(weights, control, other), alpha)
        for other in weights
        if other != control
    }
    ranks = {other: {each for box in boxes for each in box[2:]} for other, boxes in within.items()}
    ranks[control] = {each for boxes in within.values() for box in boxes for each in box[:2]}
    known = {each: _Values(reader, outcome, each, counts[each], sorted(ranks[each])) for each in weights}
    compared = []
    for other, boxes in within.items():
        estimate = known[other].estimate - known[control].estimate
        # What is read may be off by the sketch's error, in either direction.
        smallest, largest = 1 / (1 + ERROR), 1 / (1 - ERROR)
        low = quantiles.difference(estimate, boxes, known[control].scaled(largest), known[other].scaled(smallest)).low
        high = quantiles.difference(estimate, boxes, known[control].scaled(smallest), known[other].scaled(largest)).high
        compared.append(Compared(other, _scaled(Interval(estimate, low, high), outcome.scale)))
    return Analysis(
        {v: float(counts[v]) for v in weights},
        {v: known[v].estimate * outcome.scale for v in weights},
        compared,
    )


class _Values:
    """Of one variant: the quantile's estimate, and the values at ranks, counted from 1."""

    def __init__(self, reader: Reader, outcome: Outcome, variant: str, count: int, ranks: Sequence[int]) -> None:
        self.estimate = math.nan
        self._at: dict[int, float] = {0: 0.0, count + 1: math.inf}  # no latency is below 0
        if not count:
            return
        asked = [each for each in ranks if 1 <= each <= count]
        percents = [100 * outcome.quantile, *(100 * (each - 1) / max(1, count - 1) for each in asked)]
        metric = outcome.namespace, outcome.metric
        self.estimate, *values = reader.percentiles(metric, variant, [f"p{each:.10f}" for each in percents])
        self._at.update(zip(asked, values, strict=True))

    def scaled(self, by: float) -> dict[int, float]:
        return {rank: value * by for rank, value in self._at.items()}


def _by_means(reader: Reader, outcome: Outcome, control: str, others: Sequence[str], alpha: float) -> Analysis:
    metric = outcome.namespace, outcome.metric
    counted = (_PLATFORM, "Invocations", "Sum") if outcome.is_error else (*metric, "SampleCount")
    totalled = "Sum" if outcome.slower_than is None else f"PR(:{outcome.slower_than:.0f})"
    totals, counts = reader.by_period([(*metric, totalled), counted])
    if outcome.slower_than is not None:
        totals = {v: counts[v] * (1 - totals[v] / 100) for v in totals}
    compared = []
    for other in others:
        found = means.difference(counts[control], totals[control], counts[other], totals[other], alpha)
        compared.append(Compared(other, _scaled(found, outcome.scale)))
    names = (control, *others)
    samples = {v: float(counts[v].sum()) for v in names}
    estimates = {v: float(totals[v].sum()) / samples[v] * outcome.scale if samples[v] else math.nan for v in names}
    return Analysis(samples, estimates, compared)


def _scaled(interval: Interval, scale: float) -> Interval:
    return UNKNOWN if interval is UNKNOWN else Interval(*(each * scale for each in interval))
