"""What metric math computes with: numbers, series and arrays of series. PURE."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from kedge.metrics.series import Metric


class MathRefused(ValueError):
    """An expression that cannot be computed; the message says where and what would be right.

    The message does not name the query: who knows its id writes `Error in expression 'e1': ` before it, as AWS does.
    """


class Window(NamedTuple):
    """What is computed: periods begin at start_s, the last one before end_s. Seconds since 1970."""

    start_s: int
    end_s: int
    period_s: int

    def times(self, period_s: int) -> range:
        return range(self.start_s, self.end_s, period_s)


class Series(NamedTuple):
    """points: by the start of their period, in seconds since 1970; finite.

    A series of one metric says which and with what statistic, and keeps both through functions of that series alone.
    """

    label: str
    period_s: int
    points: dict[int, float]
    metric: Metric | None = None
    stat: str = ""
    derived: bool = False
    """True for what an expression made: PERIOD and METRICS take only what was read."""

    def with_points(self, points: dict[int, float]) -> Series:
        return self._replace(points=points, derived=True)


Value = float | Series | list[Series]
"""A number that cannot be computed (the average of nothing) is NaN; points that it takes part in are dropped."""

SCALAR, SERIES, ARRAY = "Scalar", "TimeSeries", "Array[TimeSeries]"


def type_of(value: Value) -> str:
    """As AWS names it."""
    if isinstance(value, Series):
        return SERIES
    return ARRAY if isinstance(value, list) else SCALAR


def finite(points: Iterable[tuple[int, float]]) -> dict[int, float]:
    """A point without a value is no point."""
    return {at: value for at, value in points if math.isfinite(value)}
