"""What a metric is and what is known of it in one period; the rule by which a reader's start is rounded. PURE.

Times are seconds since 1970 in UTC. A period is named by its start, which belongs to it; its end does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kedge.metrics.sketch import HEAD, Sketch

HOUR_S, DAY_S = 3600, 86400
_SET, _SAME = 1, 2
"""Forms of a summary that is kept without a sketch: values not known; all values the same."""

SHORT_PERIODS_S = (1, 5, 10, 20, 30)
"""Below a minute; any other period is a multiple of 60 s."""


class Metric(NamedTuple):
    """Identity of a metric, without its unit. Data of different dimensions never meet: nothing rolls up over them."""

    account: str
    region: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    """(name, value), sorted by name."""


def metric(account: str, region: str, namespace: str, name: str, dimensions: Sequence[tuple[str, str]] = ()) -> Metric:
    """With the dimensions in order, as an identity needs them."""
    return Metric(account, region, namespace, name, tuple(sorted(dimensions)))


class Summary:
    """What is known of the values of one period: count, total, smallest, largest, and the values themselves.

    Of a statistic set the values are not known, unless they are all the same; a summary that took one in has no sketch
    any more, because a percentile over a part of the values would be a wrong one. Merging is exact, in any order. The
    sketch is made when it is asked for: most readers want a sum or an average.
    """

    __slots__ = ("_parts", "count", "largest", "smallest", "total")

    def __init__(
        self, count: float, total: float, smallest: float, largest: float, parts: list[Part] | None = None
    ) -> None:
        """parts: what the sketch is made of, and this summary's own list; None when the values are not known."""
        self.count = count
        self.total = total
        self.smallest = smallest
        self.largest = largest
        self._parts = parts

    @classmethod
    def one(cls, value: float) -> Summary:
        return cls(1.0, value, value, value, [(value, 1.0)])

    @classmethod
    def of(cls, values: Sequence[float], counts: Sequence[float] | None = None) -> Summary:
        """values: finite, at least one. counts: as many, above 0; each 1 when None."""
        if counts is None:
            parts: list[Part] = [(value, 1.0) for value in values]
            return cls(float(len(values)), math.fsum(values), min(values), max(values), parts)
        total = math.fsum(value * count for value, count in zip(values, counts, strict=True))
        return cls(math.fsum(counts), total, min(values), max(values), list(zip(values, counts, strict=True)))

    @classmethod
    def of_set(cls, count: float, total: float, smallest: float, largest: float) -> Summary:
        """A statistic set. Where smallest is largest and total is smallest * count, the values are known after all."""
        known = smallest == largest and math.isclose(total, smallest * count, rel_tol=1e-12)
        return cls(count, total, smallest, largest, [(smallest, count)] if known else None)

    @classmethod
    def of_sketch(cls, sketch: Sketch) -> Summary:
        """sketch: not empty; not changed afterwards, by anyone."""
        return cls(sketch.count, sketch.total, sketch.smallest, sketch.largest, [sketch])

    def merge(self, other: Summary) -> None:
        """`other` stays as it is."""
        self.count += other.count
        self.total += other.total
        if other.smallest < self.smallest:
            self.smallest = other.smallest
        if other.largest > self.largest:
            self.largest = other.largest
        if self._parts is not None:
            if other._parts is None:
                self._parts = None
            else:
                self._parts.extend(other._parts)

    @classmethod
    def unpacked(cls, data: float | bytes) -> Summary:
        """Of what `packed` made."""
        if isinstance(data, float):
            return cls(1.0, data, data, data, [(data, 1.0)])
        form, count, total, smallest, largest = HEAD.unpack_from(data)
        if form == _SET:
            return cls(count, total, smallest, largest)
        return cls(count, total, smallest, largest, [(smallest, count)] if form == _SAME else [data])

    def packed(self) -> float | bytes:
        """To be kept: one value as the number that it is, all else as bytes that begin as a sketch's do."""
        same = self.smallest == self.largest and self._parts is not None
        if same and self.count == 1:
            return self.smallest
        if same or self._parts is None:
            return HEAD.pack(_SAME if same else _SET, self.count, self.total, self.smallest, self.largest)
        if len(self._parts) == 1 and isinstance(self._parts[0], bytes):
            return self._parts[0]
        sketch = self.sketch
        assert sketch is not None
        return sketch.as_bytes()

    @property
    def has_values(self) -> bool:
        """Whether there is a sketch."""
        return self._parts is not None

    @property
    def sketch(self) -> Sketch | None:
        """Of all values; not to be changed."""
        if self._parts is None:
            return None
        if len(self._parts) == 1 and not isinstance(self._parts[0], tuple):
            made = _unpacked(self._parts[0])
        else:
            made = Sketch()
            for part in self._parts:
                if isinstance(part, tuple):
                    made.add(*part)
                else:
                    made.merge(_unpacked(part))
            made.total = self.total
        self._parts = [made]
        return made


Part = Sketch | bytes | tuple[float, float]
"""Values, as a sketch or its bytes, or one value and how often it was seen."""


def _unpacked(part: Sketch | bytes) -> Sketch:
    return part if isinstance(part, Sketch) else Sketch.from_bytes(part)


@dataclass(frozen=True, slots=True)
class Datum:
    """What happened to one metric at one time."""

    metric: Metric
    unit: str
    at_s: float
    resolution_s: int
    """1 or 60, the shortest period in which it can be read."""
    summary: Summary
    """Of its values; not changed afterwards."""


def rounded_start(start_s: float, period_s: int, now_s: float) -> int:
    """Where the first period of an answer begins, by CloudWatch's rule.

    Down to the minute, or to the period where that is shorter; older than 15 days to 5 minutes, than 63 days to the
    hour: what is kept of that time is no finer.
    """
    age_s = now_s - start_s
    step_s = period_s if period_s < 60 else 60
    if age_s > 63 * DAY_S:
        step_s = HOUR_S
    elif age_s > 15 * DAY_S:
        step_s = 300
    return math.floor(start_s / step_s) * step_s


def is_period(period_s: int) -> bool:
    return period_s in SHORT_PERIODS_S or (period_s > 0 and period_s % 60 == 0)
