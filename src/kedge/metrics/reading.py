"""Queries of GetMetricData in, series out: metrics read from the store, expressions computed over them.

Where AWS leaves it open: without a unit, the data of each unit is a series of its own, and an expression computes with
all of them together; an expression without a period has that of the shortest metric of the request, or 300 s; what has
no label is called by its metric's name, or by its id when it is an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, timezone
from itertools import islice
from typing import Any

from kedge.errors import ValidationFailed
from kedge.metrics import insights, labels, math, search, statistics
from kedge.metrics.labels import LabelRefused, Surroundings
from kedge.metrics.math import Expression, MathRefused, Series, Value, Window
from kedge.metrics.series import Metric, Summary, metric, rounded_start
from kedge.metrics.statistics import Statistic
from kedge.metrics.store import MetricStore

DEFAULT_PERIOD_S = 300
MOST_READ = 1_000_000
"""Kept datapoints that are held at once, of a request whose expressions need all of them: some 300 MB. A day of 500
metrics is 720,000."""
MOST_READ_IN_PAGE = 400_000
"""Kept datapoints behind which a page ends that could go on: long periods are put together from many of them."""

Query = Mapping[str, Any]
"""A MetricDataQuery, which `queries.check` has found sound."""
Periods = dict[int, Summary]
Band = Callable[[Series, float], list[Series]]


@dataclass(frozen=True)
class Result:
    id: str
    series: Series
    """With the label as it is to be shown."""


class _Allowance:
    """How much a request has read, whichever of its queries, searches and units it was for."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self, count: int) -> None:
        """Raises ValidationFailed."""
        self.taken += count
        if self.taken > MOST_READ:
            raise ValidationFailed(
                f"The request would read more than {MOST_READ} datapoints at once. Take a longer period, a shorter "
                "range, or fewer metrics."
            )


@dataclass(frozen=True)
class Reader:
    """What one request is answered from."""

    store: MetricStore
    account: str
    region: str
    start_s: float
    end_s: float
    now_s: float
    zone: timezone = field(default=UTC)
    band: Callable[[Sequence[Query], Mapping[str, Value], Window], Band] | None = None
    """(queries, what they have given so far, window) to what ANOMALY_DETECTION_BAND computes; None where it cannot."""
    _allowance: _Allowance = field(default_factory=_Allowance)

    def each(self, queries: Sequence[Query], first: int = 0) -> Iterator[tuple[int, list[Result]]]:
        """(number of the query, its results) from the query `first` on, of those whose data is asked for.

        Metrics alone are read one by one as they are asked for, so that who stops has read no more than it took; and
        they end early once much was read. Raises as `read`."""
        if any("Expression" in query for query in queries):
            results: dict[str, list[Result]] = {}
            for result in self.read(queries):
                results.setdefault(result.id, []).append(result)
            yield from ((n, results.get(query["Id"], [])) for n, query in enumerate(queries) if n >= first)
            return
        for number, query in enumerate(queries[first:], first):
            if self._allowance.taken > MOST_READ_IN_PAGE:
                return
            yield number, self.read([query]) if query.get("ReturnData", True) else []

    def read(self, queries: Sequence[Query]) -> list[Result]:
        """Of the queries whose data is asked for, in their order. Raises ValidationFailed, ServiceUnavailable."""
        found: dict[str, list[Series]] = {}
        known: dict[str, Value] = {}
        for query in queries:
            if "MetricStat" in query:
                found[query["Id"]], known[query["Id"]] = self._of_metric(query["MetricStat"])
        expressions = {query["Id"]: query for query in queries if "Expression" in query}
        parsed = {
            name: math.parse(query["Expression"])
            for name, query in expressions.items()
            if not insights.is_query(query["Expression"])
        }
        for name, query in expressions.items():
            if name not in parsed:
                known[name] = self._of_insights(query)
        for name in _ordered(parsed, list(known)):
            known[name] = self._of_expression(name, parsed[name], expressions[name], queries, known)
        for name, query in expressions.items():
            if query.get("ReturnData", True):
                found[name] = _returned(name, known[name])
        return [
            Result(query["Id"], self._labelled(query, series))
            for query in queries
            if query.get("ReturnData", True)
            for series in found[query["Id"]]
        ]

    def _of_metric(self, asked: Mapping[str, Any]) -> tuple[list[Series], Series]:
        """By unit, and all units together."""
        named = asked["Metric"]
        dimensions = [(each["Name"], each["Value"]) for each in named.get("Dimensions") or ()]
        of = metric(self.account, self.region, named["Namespace"], named["MetricName"], dimensions)
        statistic, period_s = statistics.parse(asked["Stat"]), int(asked["Period"])
        by_unit = self.periods(of, asked.get("Unit"), period_s)
        if len(by_unit) < 2:
            one = _series(of.name, of, statistic, period_s, by_unit[0][1] if by_unit else {})
            return [one], one
        separate = [_series(f"{of.name} ({unit})", of, statistic, period_s, found) for unit, found in by_unit]
        return separate, _series(of.name, of, statistic, period_s, _together([found for _, found in by_unit]))

    def periods(self, of: Metric, unit: str | None, period_s: int) -> list[tuple[str, Periods]]:
        start_s = rounded_start(self.start_s, period_s, self.now_s)
        return self.store.read(of, unit, period_s, start_s, _end(self.end_s), self._allowance.take)

    def _of_expression(
        self, name: str, expression: Expression, query: Query, queries: Sequence[Query], known: Mapping[str, Value]
    ) -> Value:
        periods_s = [int(each["MetricStat"]["Period"]) for each in queries if "MetricStat" in each]
        period_s = int(query.get("Period") or min(periods_s, default=DEFAULT_PERIOD_S))
        window = Window(rounded_start(self.start_s, period_s, self.now_s), _end(self.end_s), period_s)
        in_order = {each["Id"]: known[each["Id"]] for each in queries if each["Id"] in known}
        band = None if self.band is None else self.band(queries, in_order, window)
        try:
            return math.evaluate(expression, in_order, window, self._searching(period_s), band)
        except MathRefused as refused:
            raise ValidationFailed(f"Error in expression '{name}': {refused}") from None

    def _searching(self, default_period_s: int) -> Callable[[str, str, int | None], list[Series]]:
        def find(text: str, stat: str, period_s: int | None) -> list[Series]:
            wanted, period_s = search.parse(text), period_s or default_period_s
            try:
                statistic = statistics.parse(stat)
            except statistics.StatisticUnknown as unknown:
                raise MathRefused(f"{unknown}.") from None
            active_s = self.now_s - search.ACTIVE_S
            listed = self.store.metrics(
                self.account, self.region, wanted.namespace, wanted.metric_name, active_since_s=active_s
            )
            found = list(islice(filter(wanted.matches, listed), search.MOST_SERIES))
            made = []
            for each in found:
                together = _together([periods for _, periods in self.periods(each, None, period_s)])
                made.append(_series(_distinct(each, found), each, statistic, period_s, together))
            return made

        return find

    def _of_insights(self, query: Query) -> list[Series]:
        name, period_s = query["Id"], int(query.get("Period") or DEFAULT_PERIOD_S)
        try:
            wanted = insights.parse(query["Expression"])
        except MathRefused as refused:
            raise ValidationFailed(f"Error in expression '{name}': {refused}") from None
        listed = self.store.metrics(self.account, self.region, wanted.namespace, wanted.metric_name)
        found = list(islice(filter(wanted.matches, listed), insights.MOST_SCANNED))
        read = ((each, _together([periods for _, periods in self.periods(each, None, period_s)])) for each in found)
        return insights.evaluate(wanted, read, period_s)

    def _labelled(self, query: Query, series: Series) -> Series:
        template = query.get("Label")
        if not template:
            return series
        around = Surroundings(self.now_s, self.account, self.region, self.zone)
        try:
            return series._replace(label=labels.written(template, series, around))
        except LabelRefused as refused:
            raise ValidationFailed(str(refused)) from None


def _ordered(expressions: Mapping[str, Expression], known: Sequence[str]) -> list[str]:
    try:
        return math.order(expressions, known)
    except MathRefused as refused:
        raise ValidationFailed(str(refused)) from None


def _returned(name: str, value: Value) -> list[Series]:
    """One series is called by the id of its expression; of several each has its own label, if it has one."""
    try:
        found = math.returned(value)
    except MathRefused as refused:
        raise ValidationFailed(f"Error in expression '{name}': {refused}") from None
    alone = isinstance(value, Series)
    return [series._replace(label=name) if alone or not series.label else series for series in found]


def _series(label: str, of: Metric, statistic: Statistic, period_s: int, periods: Periods) -> Series:
    values = ((at_s, statistics.value(statistic, known)) for at_s, known in sorted(periods.items()))
    points = {at_s: value for at_s, value in values if value is not None}
    return Series(label, period_s, points, of, statistic.text)


def _together(parts: Sequence[Periods]) -> Periods:
    """`parts` are used up."""
    if not parts:
        return {}
    whole, *others = parts
    for each in others:
        for at_s, known in each.items():
            if at_s in whole:
                whole[at_s].merge(known)
            else:
                whole[at_s] = known
    return whole


def _distinct(of: Metric, among: Sequence[Metric]) -> str:
    """A name that tells it from the others: the values of its dimensions, and its name where those differ."""
    values = [value for _, value in of.dimensions]
    named = [of.name] if not values or any(each.name != of.name for each in among) else []
    return " ".join([*values, *named])


def _end(end_s: float) -> int:
    """The first whole second that is not before it."""
    return int(-(-end_s // 1))
