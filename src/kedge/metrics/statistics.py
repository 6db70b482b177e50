"""The statistics that a metric can be asked for, by CloudWatch's names. PURE.

    SampleCount Sum Average Minimum Maximum
    p99.9                                   the value at that percentile
    tm99  TM(10%:90%)  TM(150:1000)  IQM    mean of the values inside the bounds; IQM is TM(25%:75%)
    tc99  TC(...)   ts99  TS(...)           how many values are inside, and their sum
    wm99  WM(...)                           mean after moving what is outside to the bound
    PR(:300)                                which percentage of the values is inside

tm99 is TM(:99%); one side of a range may be empty.

What AWS leaves open is decided so. A percentile lies between two values in proportion to its place between their ranks,
as numpy's `percentile` by default. Bounds in percent trim by rank, and a value that lies across a bound counts with the
part of it that is inside: four values under IQM are the two in the middle, and so is the mean of two values the IQM of
both. Absolute bounds exclude the lower and include the upper. Negative values are as good as others.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from kedge.metrics.series import Summary

BASIC = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")

_PERCENT = r"(?:100(?:\.0{0,10})?|\d{1,2}(?:\.\d{0,10})?)"
_NUMBER = r"-?\d+(?:\.\d{0,10})?(?:[Ee][+-]?\d+)?"
_SHORT = re.compile(rf"(p|tm|tc|ts|wm)({_PERCENT})", re.ASCII)
_RANGE = re.compile(rf"(TM|TC|TS|WM|PR)\((?:({_PERCENT})%)?:(?:({_PERCENT})%)?\)", re.ASCII)
_ABSOLUTE = re.compile(rf"(TM|TC|TS|WM|PR)\(({_NUMBER})?:({_NUMBER})?\)", re.ASCII)


class StatisticUnknown(ValueError):
    """The text names no statistic; the message says so."""


@dataclass(frozen=True)
class Statistic:
    """kind: one of BASIC, or p, TM, TC, TS, WM, PR. low, high: the bounds, in percent of the ranks where `percent` says
    so, else values; None is open. A percentile is in `high`."""

    text: str
    kind: str
    low: float | None = None
    high: float | None = None
    percent: bool = False

    @property
    def needs_values(self) -> bool:
        """Whether a statistic set, which has no values, leaves this unknown."""
        return self.kind not in BASIC


def parse(text: str) -> Statistic:
    """Raises StatisticUnknown."""
    if text in BASIC:
        return Statistic(text, text)
    if text == "IQM":
        return Statistic(text, "TM", 25.0, 75.0, percent=True)
    if short := _SHORT.fullmatch(text):
        kind, percent = short[1], float(short[2])
        return _sound(Statistic(text, kind if kind == "p" else kind.upper(), None, percent, percent=True))
    if ranged := _RANGE.fullmatch(text):
        return _sound(Statistic(text, ranged[1], _number(ranged[2]), _number(ranged[3]), percent=True))
    if absolute := _ABSOLUTE.fullmatch(text):
        return _sound(Statistic(text, absolute[1], _number(absolute[2]), _number(absolute[3])))
    raise StatisticUnknown(f"{text!r} is no statistic")


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _sound(read: Statistic) -> Statistic:
    if read.kind == "p":
        return read
    if read.low is None and read.high is None:
        raise StatisticUnknown(f"{read.text!r} is no statistic: one of its bounds has to be given")
    if read.kind == "PR" and read.percent:
        raise StatisticUnknown(f"{read.text!r} is no statistic: the bounds of PR are values, without %")
    ends = (0.0, 100.0) if read.percent else (float("-inf"), float("inf"))
    low, high = ends[0] if read.low is None else read.low, ends[1] if read.high is None else read.high
    if low >= high:
        raise StatisticUnknown(f"{read.text!r} is no statistic: there is nothing between its bounds")
    return read


def value(statistic: Statistic, summary: Summary) -> float | None:
    """None: the period does not say, because its values are not known or none is inside the bounds."""
    if not summary.count:
        return None
    if statistic.kind in BASIC:
        return _BASIC[statistic.kind](summary)
    sketch = summary.sketch
    if sketch is None:
        return None
    ordered = Ordered(sketch.weighted(), summary.smallest, summary.largest)
    if statistic.kind == "p":
        assert statistic.high is not None
        return ordered.percentile(statistic.high)
    if statistic.kind == "WM":
        return ordered.winsorized_mean(statistic)
    count, total = ordered.inside(statistic)
    return _INSIDE[statistic.kind](count, total, ordered.count)


_BASIC: Mapping[str, Callable[[Summary], float]] = {
    "SampleCount": lambda summary: summary.count,
    "Average": lambda summary: summary.total / summary.count,
    "Sum": lambda summary: summary.total,
    "Minimum": lambda summary: summary.smallest,
    "Maximum": lambda summary: summary.largest,
}

_INSIDE: Mapping[str, Callable[[float, float, float], float | None]] = {
    "TM": lambda count, total, _of: total / count if count > 0 else None,
    "TC": lambda count, _total, _of: count,
    "TS": lambda _count, total, _of: total,
    "PR": lambda count, _total, of: 100 * count / of,
}


class Ordered:
    """Values in ascending order with their counts. A bucket's value that lies outside of what was seen is moved in."""

    def __init__(self, weighted: list[tuple[float, float]], smallest: float, largest: float) -> None:
        self.values = [min(max(each, smallest), largest) for each, _ in weighted]
        self.counts = [count for _, count in weighted]
        self.up_to = list(accumulate(self.counts))
        self.count = self.up_to[-1]
        self._smallest, self._largest = smallest, largest

    def percentile(self, percent: float) -> float:
        """percent: 0 to 100."""
        if percent <= 0:
            return self._smallest
        if percent >= 100:
            return self._largest
        place = max(0.0, (self.count - 1) * percent / 100)
        rank = float(int(place))
        below, above = self._at(rank), self._at(rank + 1)
        return below + (above - below) * (place - rank)

    def _at(self, rank: float) -> float:
        """The value of this rank; the smallest has rank 0."""
        return self.values[min(bisect_right(self.up_to, rank), len(self.values) - 1)]

    def inside(self, statistic: Statistic) -> tuple[float, float]:
        """(count, sum) of the values inside the bounds."""
        if not statistic.percent:
            low, high = statistic.low, statistic.high
            kept = [
                (each, count)
                for each, count in zip(self.values, self.counts, strict=True)
                if (low is None or each > low) and (high is None or each <= high)
            ]
        else:
            first = self.count * (statistic.low or 0.0) / 100
            last = self.count * (100.0 if statistic.high is None else statistic.high) / 100
            kept = [
                (each, min(end, last) - max(end - count, first))
                for each, count, end in zip(self.values, self.counts, self.up_to, strict=True)
                if end > first and end - count < last
            ]
        return sum(count for _, count in kept), sum(each * count for each, count in kept)

    def winsorized_mean(self, statistic: Statistic) -> float:
        low, high = statistic.low, statistic.high
        if statistic.percent:
            low = None if low is None else self.percentile(low)
            high = None if high is None else self.percentile(high)
        low, high = self._smallest if low is None else low, self._largest if high is None else high
        moved = (min(max(each, low), high) * count for each, count in zip(self.values, self.counts, strict=True))
        return sum(moved) / self.count
