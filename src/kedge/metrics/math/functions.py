"""Every function of metric math. PURE.

Where AWS says nothing: MIN, MAX and STDDEV over an array look at the series that have a point at that time (AVG, as
documented, counts the others as 0); STDDEV is that of a population; FILL with REPEAT leaves what lies before the first
point, and LINEAR also what lies behind the last one; functions of one value also take a number.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

from kedge.metrics.math.operators import pointwise
from kedge.metrics.math.values import ARRAY, SCALAR, SERIES, MathRefused, Series, Value, Window, finite, type_of

MOST_POINTS = 2_000_000
"""Of all series of a request. Functions that make a point for every period could make any number of them."""


class Reach:
    """What an expression can get at beside its own text.

    known: by id, the metrics that were read and the expressions that were evaluated. search: (query, statistic, period
    in seconds or None for the expression's own) -> what SEARCH returns. band: (series, number of standard deviations)
    -> upper and lower band; None where there are none.
    """

    def __init__(
        self,
        known: Mapping[str, Value],
        window: Window,
        search: Callable[[str, str, int | None], list[Series]],
        band: Callable[[Series, float], list[Series]] | None,
    ) -> None:
        self.known, self.window, self.search, self.band = known, window, search, band
        self._count = 0

    def times(self, period_s: int, series: int = 1) -> range:
        """Of every period of the window, for so many series. Raises MathRefused where that is too much."""
        times = self.window.times(period_s)
        if not self._count:
            self._count = sum(map(_points_of, self.known.values()))
        self._count += len(times) * series
        if self._count > MOST_POINTS:
            raise MathRefused(
                f"The request would make {self._count} datapoints; it can make {MOST_POINTS}. Take a longer period, a "
                "shorter range, or fewer series."
            )
        return times


def _points_of(value: Value) -> int:
    if isinstance(value, list):
        return sum(len(series.points) for series in value)
    return len(value.points) if isinstance(value, Series) else 0


class Parameter(NamedTuple):
    """takes: names of types. words: what may stand there in bare capitals. A text is written in quotes."""

    takes: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    text: bool = False
    optional: bool = False

    def __str__(self) -> str:
        quoted = ("'text'",) if self.text else ()
        return " | ".join((*self.takes, *self.words, *quoted))


class Function(NamedTuple):
    parameters: tuple[Parameter, ...]
    apply: Callable[..., Value]
    """(reach, *arguments): values, words and texts."""


def _each(function: Callable[[float], float]) -> Function:
    return Function((_ANY,), lambda reach, value: pointwise(function, value))


def _along(function: Callable[[Series], Series]) -> Function:
    """A function of a whole series, and of each series of an array."""

    def apply(reach: Reach, value: Series | list[Series]) -> Value:
        return [function(series) for series in value] if isinstance(value, list) else function(value)

    return Function((_SERIES_OR_ARRAY,), apply)


def _over(summary: Callable[[Sequence[float]], float], *, absent_is_0: bool = False) -> Function:
    """Of one series a number; of an array, at each time, the summary over the series."""

    def apply(reach: Reach, value: Series | list[Series]) -> Value:
        if isinstance(value, Series):
            return summary(list(value.points.values()))
        points: dict[int, list[float]] = {}
        for series in value:
            for at, number in series.points.items():
                points.setdefault(at, []).append(number)
        missing = len(value) if absent_is_0 else 0
        each = ((at, summary(here + [0.0] * (missing - len(here)))) for at, here in sorted(points.items()))
        return Series("", _shortest(value, reach), finite(each), derived=True)

    return Function((_SERIES_OR_ARRAY,), apply)


def _shortest(array: list[Series], reach: Reach) -> int:
    return min((series.period_s for series in array), default=reach.window.period_s)


def _average(values: Sequence[float]) -> float:
    return _sum(values) / len(values) if values else math.nan


def _sum(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.nan


def _deviation(values: Sequence[float]) -> float:
    mean = _average(values)
    try:
        return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values)) if values else math.nan
    except OverflowError:
        return math.nan


def _steps(series: Series, step: Callable[[int, float, int, float], float]) -> Series:
    """step(time before, value before, time, value) at every point but the first."""
    points = sorted(series.points.items())
    pairs = pairwise(points)
    return series.with_points(finite((now, step(then, old, now, new)) for (then, old), (now, new) in pairs))


def _running_sum(series: Series) -> Series:
    total, sums = 0.0, {}
    for at, value in sorted(series.points.items()):
        total += value
        sums[at] = total
    return series.with_points(finite(sums.items()))


def _fill(reach: Reach, value: Series | list[Series], filler: float | Series | str) -> Value:
    if isinstance(value, list):
        return [_filled(reach, series, filler) for series in value]
    return _filled(reach, value, filler)


def _filled(reach: Reach, series: Series, filler: float | Series | str) -> Series:
    times = reach.times(series.period_s)
    points = series.points
    if filler == "REPEAT":
        return series.with_points(_repeated(points, times))
    if filler == "LINEAR":
        return series.with_points(points | _straight(points, times))
    if isinstance(filler, Series):
        found = filler.points
        return series.with_points(points | {at: found[at] for at in times if at in found and at not in points})
    assert not isinstance(filler, str)
    return series.with_points(points | finite((at, filler) for at in times if at not in points))


def _repeated(points: Mapping[int, float], times: Iterable[int]) -> dict[int, float]:
    filled: dict[int, float] = {}
    last = None
    for at in sorted({*points, *times}):
        last = points.get(at, last)
        if last is not None:
            filled[at] = last
    return filled


def _straight(points: Mapping[int, float], times: Iterable[int]) -> dict[int, float]:
    known = sorted(points)
    filled = {}
    for at in times:
        behind = bisect_left(known, at)
        if at in points or not 0 < behind < len(known):
            continue
        before, after = known[behind - 1], known[behind]
        share = (at - before) / (after - before)
        filled[at] = points[before] * (1 - share) + points[after] * share
    return filled


def _if(reach: Reach, condition: float | Series, then: float | Series, other: float | Series | None = None) -> Value:
    if isinstance(condition, Series):
        points = ((at, _branch(at, truth, then, other)) for at, truth in sorted(condition.points.items()))
        periods = [part.period_s for part in (condition, then, other) if isinstance(part, Series)]
        return Series("", min(periods), finite(points), derived=True)
    chosen = math.nan if math.isnan(condition) else then if condition else other
    if not isinstance(chosen, Series) and (isinstance(then, Series) or isinstance(other, Series)):
        return _constant(reach, math.nan if chosen is None else chosen)  # one type, whatever the condition is
    return math.nan if chosen is None else chosen


def _branch(at: int, truth: float, then: float | Series, other: float | Series | None) -> float:
    """Where the condition holds, what is missing is 0; where it does not hold, it is missing."""
    if truth:
        return then.points.get(at, 0.0) if isinstance(then, Series) else then
    if isinstance(other, Series):
        return other.points.get(at, math.nan)
    return math.nan if other is None else other


def _constant(reach: Reach, value: float) -> Series:
    window = reach.window
    times = reach.times(window.period_s)
    return Series("", window.period_s, finite((at, value) for at in times), derived=True)


def _calendar(field: Callable[[datetime], int]) -> Function:
    """Of every period of the window, whether the series has a point there or not. UTC."""

    def apply(reach: Reach, series: Series) -> Series:
        times = reach.times(series.period_s)
        return series.with_points({at: float(field(datetime.fromtimestamp(at, UTC))) for at in times})

    return Function((_SERIES,), apply)


def _period(reach: Reach, series: Series) -> float:
    if series.derived:
        raise MathRefused("PERIOD takes a metric, not the result of an expression.")
    return float(series.period_s)


def _metrics(reach: Reach, part: str = "") -> list[Series]:
    read = ((name, value) for name, value in reach.known.items() if isinstance(value, Series) and not value.derived)
    return [series for name, series in read if part in name]


def _first(reach: Reach, array: list[Series]) -> Series:
    return array[0] if array else Series("", reach.window.period_s, {}, derived=True)


def _last(reach: Reach, array: list[Series]) -> Series:
    return _first(reach, array[-1:])


def _slice(reach: Reach, array: list[Series], start: float, end: float | None = None) -> list[Series]:
    return array[_whole("SLICE", start) : None if end is None else _whole("SLICE", end)]


def _sort(reach: Reach, array: list[Series], by: str, order: str, limit: float | None = None) -> list[Series]:
    """Series without points come last in either order."""
    summary = _SUMMARIES[by]
    empty = [series for series in array if not series.points]
    filled = [series for series in array if series.points]
    filled.sort(key=lambda series: summary(list(series.points.values())), reverse=order == "DESC")
    return (filled + empty)[: None if limit is None else _whole("SORT", limit)]


def _whole(function: str, number: float) -> int:
    if not (math.isfinite(number) and number >= 0 and number == int(number)):
        raise MathRefused(f"{function} counts in whole numbers from 0; {number:g} is none.")
    return int(number)


def _search(reach: Reach, query: str, stat: str, period_s: float | None = None) -> list[Series]:
    return reach.search(query, stat, None if period_s is None else _whole("SEARCH", period_s))


def _band(reach: Reach, series: Series, deviations: float = 2.0) -> list[Series]:
    if reach.band is None:
        raise MathRefused("ANOMALY_DETECTION_BAND cannot be used here.")
    if not deviations > 0:
        raise MathRefused(f"ANOMALY_DETECTION_BAND takes a number of standard deviations above 0, not {deviations:g}.")
    reach.times(series.period_s, 2)
    return reach.band(series, deviations)


_ANY = Parameter((SCALAR, SERIES, ARRAY))
_SERIES = Parameter((SERIES,))
_ARRAY = Parameter((ARRAY,))
_SERIES_OR_ARRAY = Parameter((SERIES, ARRAY))
_SCALAR = Parameter((SCALAR,))
_SCALAR_OR_SERIES = Parameter((SCALAR, SERIES))
_TEXT = Parameter(text=True)


def _optional(parameter: Parameter) -> Parameter:
    return Parameter(parameter.takes, parameter.words, parameter.text, optional=True)


_SUMMARIES: dict[str, Callable[[Sequence[float]], float]] = {
    "AVG": _average,
    "MIN": lambda values: min(values, default=math.nan),
    "MAX": lambda values: max(values, default=math.nan),
    "SUM": _sum,
}

FUNCTIONS: dict[str, Function] = {
    "ABS": _each(abs),
    "CEIL": _each(math.ceil),
    "FLOOR": _each(math.floor),
    "LOG": _each(math.log),
    "LOG10": _each(math.log10),
    "AVG": _over(_average, absent_is_0=True),
    "MIN": _over(_SUMMARIES["MIN"]),
    "MAX": _over(_SUMMARIES["MAX"]),
    "SUM": _over(_sum),
    "STDDEV": _over(_deviation),
    "DATAPOINT_COUNT": _over(lambda values: float(len(values))),
    "DIFF": _along(lambda series: _steps(series, lambda then, old, now, new: new - old)),
    "DIFF_TIME": _along(lambda series: _steps(series, lambda then, old, now, new: float(now - then))),
    "RATE": _along(lambda series: _steps(series, lambda then, old, now, new: (new - old) / (now - then))),
    "RUNNING_SUM": _along(_running_sum),
    "FILL": Function((_SERIES_OR_ARRAY, Parameter((SCALAR, SERIES), ("REPEAT", "LINEAR"))), _fill),
    "IF": Function((_SCALAR_OR_SERIES, _SCALAR_OR_SERIES, _optional(_SCALAR_OR_SERIES)), _if),
    "FIRST": Function((_ARRAY,), _first),
    "LAST": Function((_ARRAY,), _last),
    "SLICE": Function((_ARRAY, _SCALAR, _optional(_SCALAR)), _slice),
    "SORT": Function(
        (_ARRAY, Parameter(words=tuple(_SUMMARIES)), Parameter(words=("ASC", "DESC")), _optional(_SCALAR)), _sort
    ),
    "REMOVE_EMPTY": Function((_ARRAY,), lambda reach, array: [series for series in array if series.points]),
    "METRIC_COUNT": Function((_ARRAY,), lambda reach, array: float(len(array))),
    "METRICS": Function((_optional(_TEXT),), _metrics),
    "PERIOD": Function((_SERIES,), _period),
    "TIME_SERIES": Function((_SCALAR,), _constant),
    "MINUTE": _calendar(lambda at: at.minute),
    "HOUR": _calendar(lambda at: at.hour),
    "DAY": _calendar(lambda at: at.isoweekday()),
    "DATE": _calendar(lambda at: at.day),
    "MONTH": _calendar(lambda at: at.month),
    "YEAR": _calendar(lambda at: at.year),
    "EPOCH": _calendar(lambda at: int(at.timestamp())),
    "SEARCH": Function((_TEXT, _TEXT, _optional(_SCALAR)), _search),
    "ANOMALY_DETECTION_BAND": Function((_SERIES, _optional(_SCALAR)), _band),
}

ABSENT = frozenset({"SERVICE_QUOTA", "INSIGHT_RULE_METRIC", "LAMBDA", "DB_PERF_INSIGHTS"})
"""Functions of CloudWatch that read what is not here."""


def fitting(function: str, number: int, parameter: Parameter, value: Any) -> Any:
    """The argument, where its type is one that the parameter takes; raises MathRefused. number: from 1."""
    if isinstance(value, str) or type_of(value) in parameter.takes:
        return value
    hint = "; write [...] around it" if parameter.takes == (ARRAY,) and isinstance(value, Series) else ""
    raise MathRefused(
        f"Unsupported operand type(s) for {function}: argument {number} is {type_of(value)}, it has to be "
        f"{parameter}{hint}."
    )
