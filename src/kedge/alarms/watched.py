"""What a metric alarm watches, made ready: which periods to read, and what their values are. PURE.

Expressions are computed here and not by metrics/reading.py, which begins its periods where GetMetricData would: the
windows of an alarm slide, those of 30 s by 10 s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from kedge.alarms import queries, wall_clock
from kedge.alarms.evaluate import Datapoint, Watch, aligned_end, evaluation_range
from kedge.alarms.reasons import Source
from kedge.alarms.records import Alarm
from kedge.metrics import math, statistics
from kedge.metrics.math import MathRefused, Series, Window
from kedge.metrics.series import Metric, Summary, metric
from kedge.metrics.statistics import Statistic
from kedge.store.records import Resource, Scope

Read = Callable[[Metric, str | None, int, int, int], Sequence[tuple[str, Mapping[int, Summary]]]]
"""(metric, unit or None for all, period, start, end) to the summaries of each unit, by the start of their period."""
Band = Callable[[Series, float], list[Series]]
"""(series, standard deviations) to the upper and the lower band."""
Bands = Callable[[Scope, Sequence[Mapping[str, Any]], Mapping[str, math.Value], Window], Band]
"""What bands are to an alarm: (whose it is, its queries, what they have given so far, the periods)."""


@dataclass(frozen=True)
class Stat:
    """One metric and what is asked of it."""

    metric: Metric
    statistic: Statistic
    unit: str | None

    def read(self, read: Read, period_s: int, start_s: int, end_s: int) -> Mapping[int, Summary]:
        """Without a unit all units count, together: AWS leaves open what it does then."""
        found = read(self.metric, self.unit, period_s, start_s, end_s)
        if len(found) == 1:
            return found[0][1]
        merged: dict[int, Summary] = {}
        for _, summaries in found:
            for at, summary in summaries.items():
                if at in merged:
                    merged[at].merge(summary)
                else:
                    merged[at] = summary
        return merged


@dataclass(frozen=True)
class Watched:
    resource: Resource
    alarm: Alarm
    watch: Watch
    period_s: int
    source: Source
    stat: Stat | None
    """None for metric math."""
    zone: ZoneInfo | None = None
    """Periods begin where the clock of this zone says, instead of sliding along."""

    @classmethod
    def of(cls, resource: Resource) -> Watched:
        alarm = Alarm.of(resource.document)
        config = alarm.config
        stat, name = None, ""
        if "MetricName" in config:
            name = config.get("Statistic") or config["ExtendedStatistic"]
            stat = _stat(resource.scope, config, name, config.get("Unit"))
        window = config.get("EvaluationWindow", {})
        zone = ZoneInfo(window["WallClockWindow"].get("Timezone", "UTC")) if "WallClockWindow" in window else None
        source = Source(alarm.period_s, name, config.get("Unit", ""))
        return cls(resource, alarm, alarm.watch(), alarm.period_s, source, stat, zone)

    def end_s(self, now_s: float, settle_s: float) -> int:
        """Where the newest period to look at ends."""
        if self.zone is None:
            return aligned_end(now_s, self.period_s, settle_s)
        return wall_clock.edges(now_s - settle_s, self.period_s, self.zone, 1)[0]

    def datapoints(self, read: Read, end_s: int, bands: Bands | None = None) -> list[Datapoint]:
        """One for each period of the evaluation range, oldest first. Raises MathRefused."""
        count = evaluation_range(self.watch.evaluation_periods)
        if self.zone is None:
            edges: Sequence[int] = range(end_s - self.period_s * count, end_s + 1, self.period_s)
        else:
            edges = wall_clock.edges(end_s, self.period_s, self.zone, count + 1)
        if self.stat is None:
            return self._computed(read, edges, bands)
        found = self._read(self.stat, read, edges)
        return [_datapoint(self.stat.statistic, at, found.get(at)) for at in edges[:-1]]

    def check(self) -> None:
        """Raises MathRefused for expressions that no data make one time series of, and a band for an alarm on one."""
        if self.stat is None:
            self._computed(_ones, range(0, 3 * self.period_s + 1, self.period_s), _any_bands)

    def _read(self, stat: Stat, read: Read, edges: Sequence[int]) -> Mapping[int, Summary]:
        """edges: where the periods begin, and where the last one ends. Those of a day on which the clock is changed
        are longer or shorter than the others, and are read by themselves."""
        if edges[-1] - edges[0] == self.period_s * (len(edges) - 1):
            return stat.read(read, self.period_s, edges[0], edges[-1])
        found: dict[int, Summary] = {}
        for start_s, end_s in pairwise(edges):
            found |= stat.read(read, end_s - start_s, start_s, end_s)
        return found

    def _computed(self, read: Read, edges: Sequence[int], bands: Bands | None) -> list[Datapoint]:
        known: dict[str, math.Value] = {}
        config = self.alarm.config
        expressions = {}
        for query in config["Metrics"]:
            if "Expression" in query:
                expressions[query["Id"]] = math.parse(query["Expression"])
            else:
                known[query["Id"]] = self._series(read, query, edges)
        window = Window(edges[0], edges[-1], self.period_s)
        band = None if bands is None else bands(self.resource.scope, config["Metrics"], known, window)
        for its_id in math.order(expressions, list(known)):
            known[its_id] = math.evaluate(expressions[its_id], known, window, _no_search, band)
        values = _one(known[queries.watched(config)])
        lower: Mapping[int, float] = {}
        upper: Mapping[int, float] = {}
        if self.alarm.has_band:
            upper, lower = (each.points for each in _band(known[config["ThresholdMetricId"]]))
        return [Datapoint(at, values.get(at), None, lower.get(at), upper.get(at)) for at in edges[:-1]]

    def _series(self, read: Read, query: Mapping[str, Any], edges: Sequence[int]) -> Series:
        asked = query["MetricStat"]
        stat = _stat(self.resource.scope, asked["Metric"], asked["Stat"], asked.get("Unit"))
        found = self._read(stat, read, edges)
        values = ((at, statistics.value(stat.statistic, summary)) for at, summary in found.items())
        points = {at: value for at, value in values if value is not None}
        return Series(query.get("Label", query["Id"]), self.period_s, points, stat.metric, asked["Stat"])


def _stat(scope: Scope, named: Mapping[str, Any], statistic: str, unit: str | None) -> Stat:
    dimensions = [(each["Name"], each["Value"]) for each in named.get("Dimensions", ())]
    found = metric(scope.account, scope.region, named["Namespace"], named["MetricName"], dimensions)
    return Stat(found, statistics.parse(statistic), unit)


def _datapoint(statistic: Statistic, at: int, summary: Summary | None) -> Datapoint:
    if summary is None:
        return Datapoint(at)
    return Datapoint(at, statistics.value(statistic, summary), summary.count)


def _one(value: math.Value) -> Mapping[int, float]:
    found = math.returned(value)
    if len(found) != 1:
        raise MathRefused(f"An alarm watches one time series; the expression returns {len(found)}.")
    return found[0].points


def _band(value: math.Value) -> list[Series]:
    """Upper and lower."""
    found = math.returned(value)
    if len(found) != 2:
        raise MathRefused(f"A band is two time series; the expression returns {len(found)}.")
    return found


def _ones(
    _metric: Metric, _unit: str | None, period_s: int, start_s: int, end_s: int
) -> list[tuple[str, dict[int, Summary]]]:
    """A value for every period, whatever the metric."""
    return [("", {at: Summary.one(1.0) for at in range(start_s, end_s, period_s)})]


def _any_bands(
    _scope: Scope, _queries: Sequence[Mapping[str, Any]], _known: Mapping[str, math.Value], _window: Window
) -> Band:
    return lambda series, _deviations: [series, series]


def _no_search(_query: str, _statistic: str, _period_s: int | None) -> list[Series]:
    raise MathRefused("SEARCH is not supported on Metric Alarms.")
