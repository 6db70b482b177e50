"""A distribution in little space: exact while it is small, then within half a percent; mergeable without loss. PURE.

Up to MOST_EXACT distinct values it is a map from value to count. Beyond that, values are counted in buckets whose edges
grow by a constant factor, so that any value stands for its whole bucket with a relative error of at most ERROR. Two
sketches merge into what one sketch of all their values would be, in any order, which is what roll-ups and several
routers need. Source of the buckets: Masson, Rim and Lee, "DDSketch", 2019; with one for 0 and a side for negatives.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

MOST_EXACT = 200
ERROR = 0.005
_GAMMA = (1 + ERROR) / (1 - ERROR)
_SCALE = 1 / math.log(_GAMMA)
_MIDDLE = 2 / (1 + _GAMMA)
_ZERO = 0
_OFFSET = 1_000_000
"""Bucket numbers: OFFSET + n above 0, -OFFSET - n below, 0 for 0; so they sort as their values do."""

HEAD = struct.Struct("<Bdddd")
"""How bytes begin: form, count, total, smallest, largest."""
LISTED, EXACT, BUCKETS = 3, 4, 5
"""Forms: a list of values; values with counts; numbers of buckets with counts. Other forms are a summary's."""
_ZIPPED_FROM_BYTES = 256
_COUNTED_FROM = 16
"""Values in a list. Whenever it doubles from there, equal values are counted, in case that many are equal."""


class Sketch:
    __slots__ = ("_buckets", "_exact", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self.count = 0.0
        self.total = 0.0
        self.smallest = math.inf
        self.largest = -math.inf
        self._exact: dict[float, float] | None = {}
        self._buckets: dict[int, float] = {}

    @classmethod
    def of(cls, values: Sequence[float]) -> Sketch:
        made = cls()
        made.extend(values)
        return made

    def extend(self, values: Sequence[float]) -> None:
        """As `add` for each of them, at a fraction of its cost."""
        if not values:
            return
        self.count += len(values)
        self.total = sum(values, self.total)
        self.smallest = min(self.smallest, min(values))
        self.largest = max(self.largest, max(values))
        if self._exact is not None:
            exact = self._exact
            for value, seen in Counter(values).items():
                exact[value] = exact.get(value, 0.0) + seen
            if len(exact) > MOST_EXACT:
                self._coarsen(exact)
            return
        buckets = self._buckets
        if self.smallest > 0:
            log, ceil, scale, offset = math.log, math.ceil, _SCALE, _OFFSET
            numbers = [offset + ceil(log(value) * scale) for value in values]
        else:
            numbers = list(map(_number, values))
        for number, seen in Counter(numbers).items():
            buckets[number] = buckets.get(number, 0.0) + seen

    def add(self, value: float, count: float = 1.0) -> None:
        """value: finite. count: above 0, how often it was seen."""
        self.count += count
        self.total += value * count
        if value < self.smallest:
            self.smallest = value
        if value > self.largest:
            self.largest = value
        exact = self._exact
        if exact is None:
            self._count(value, count)
        elif value in exact:
            exact[value] += count
        else:
            exact[value] = count
            if len(exact) > MOST_EXACT:
                self._coarsen(exact)

    def merge(self, other: Sketch) -> None:
        """`other` stays as it is."""
        if other._exact is not None:
            # Their exact sums: adding value by value would round differently than the other side did.
            count, total = self.count + other.count, self.total + other.total
            for value, seen in other._exact.items():
                self.add(value, seen)
            self.count, self.total = count, total
            return
        if self._exact is not None:
            self._coarsen(self._exact)
        for number, seen in other._buckets.items():
            self._buckets[number] = self._buckets.get(number, 0.0) + seen
        self.count += other.count
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    def quantile(self, share: float) -> float:
        """The smallest value that at least `share` of all values do not exceed: 0 is the smallest, 1 the largest.

        Exact while the sketch is, else within ERROR of it. Raises ValueError when nothing was added.
        """
        if not self.count:
            raise ValueError("the sketch is empty")
        rank, seen = share * self.count, 0.0
        for value, count in self.weighted():
            seen += count
            if seen >= rank and seen > 0:
                return min(max(value, self.smallest), self.largest)
        return self.largest

    def weighted(self) -> list[tuple[float, float]]:
        """(value, count) in ascending order; the values of a sketch that is not exact are those of its buckets."""
        if self._exact is not None:
            return sorted(self._exact.items())
        return [(_value(number), count) for number, count in sorted(self._buckets.items())]

    @property
    def is_exact(self) -> bool:
        return self._exact is not None

    def as_json(self) -> list[Any]:
        """[count, total, smallest, largest, exact?, keys, counts]; [] when nothing was added."""
        if not self.count:
            return []
        counted: dict[Any, float] = self._buckets if self._exact is None else self._exact
        return [
            self.count, self.total, self.smallest, self.largest, self.is_exact, list(counted), list(counted.values())
        ]  # fmt: skip

    @classmethod
    def from_json(cls, fields: list[Any]) -> Sketch:
        """Raises ValueError or TypeError for what `as_json` has not made."""
        made = cls()
        if fields:
            made.count, made.total, made.smallest, made.largest, exact, keys, counts = fields
            counted = dict(zip(keys, counts, strict=True))
            if exact:
                made._exact = {float(value): count for value, count in counted.items()}
            else:
                made._exact, made._buckets = None, {int(number): count for number, count in counted.items()}
        return made

    def as_bytes(self) -> bytes:
        """HEAD and what the form asks for, little-endian; keys in ascending order. Not for an empty one."""
        ordered = sorted(self._buckets.items() if self._exact is None else self._exact.items())
        counts = [count for _, count in ordered]
        if self._exact is not None:
            form = EXACT
            values = [value for value, _ in ordered]
            if self.count <= MOST_EXACT and self.count * 8 <= len(values) * 12 and _are_whole(counts):
                values = [value for value, count in ordered for _ in range(int(count))]
                return HEAD.pack(LISTED, self.count, self.total, self.smallest, self.largest) + _doubles(values)
            keys = _narrow(values)
        else:
            form, numbers = BUCKETS, [number for number, _ in ordered]
            keys = struct.pack("<i", numbers[0]) + _narrow([after - at for at, after in pairwise(numbers)])
        body = keys + _narrow(counts)
        head = HEAD.pack(form, self.count, self.total, self.smallest, self.largest)
        return head + (b"z" + zlib.compress(body, 1) if len(body) >= _ZIPPED_FROM_BYTES else b"-" + body)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Of what `as_bytes` made."""
        made = cls()
        form, made.count, made.total, made.smallest, made.largest = HEAD.unpack_from(data)
        if form == LISTED:
            each = struct.unpack_from(f"<{(len(data) - HEAD.size) // 8}d", data, HEAD.size)
            made._exact = {value: float(seen) for value, seen in Counter(each).items()}
            return made
        body = data[HEAD.size + 1 :]
        if data[HEAD.size : HEAD.size + 1] == b"z":
            body = zlib.decompress(body)
        if form == EXACT:
            values, at = _wide(body, 0)
            made._exact = dict(zip(values, _wide(body, at)[0], strict=True))
            return made
        steps, at = _wide(body, 4)
        numbers = accumulate(map(int, steps), initial=struct.unpack_from("<i", body)[0])
        made._exact, made._buckets = None, dict(zip(numbers, _wide(body, at)[0], strict=True))
        return made

    def _count(self, value: float, count: float) -> None:
        number = _number(value)
        self._buckets[number] = self._buckets.get(number, 0.0) + count

    def _coarsen(self, exact: dict[float, float]) -> None:
        self._exact = None
        for value, count in exact.items():
            self._count(value, count)


def joined(one: bytes, other: bytes) -> bytes | None:
    """What two lists are together, without looking at each value; None when it is time to count them, or no lists."""
    form, count, total, smallest, largest = HEAD.unpack_from(one)
    also_form, also_count, also_total, also_smallest, also_largest = HEAD.unpack_from(other)
    most = max(_COUNTED_FROM - 1, 1 << int(max(count, also_count)).bit_length())
    if form != LISTED or also_form != LISTED or count + also_count >= min(most, MOST_EXACT):
        return None
    if smallest == also_largest == also_smallest == largest:
        return None
    head = HEAD.pack(
        LISTED, count + also_count, total + also_total, min(smallest, also_smallest), max(largest, also_largest)
    )
    return head + one[HEAD.size :] + other[HEAD.size :]


def listed(value: float) -> bytes:
    """One value as a list."""
    return HEAD.pack(LISTED, 1.0, value, value, value) + _double(value)


_double = struct.Struct("<d").pack


def _doubles(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def _narrow(numbers: Sequence[float]) -> bytes:
    """Kind of the numbers, how many, and the numbers: in few bytes when all are small and whole."""
    kind = "d"
    if _are_whole(numbers) and min(numbers, default=0) >= 0:
        most = max(numbers, default=0)
        kind = "B" if most < 1 << 8 else "H" if most < 1 << 16 else "I"
    packed = struct.pack(f"<{len(numbers)}{kind}", *(numbers if kind == "d" else map(int, numbers)))
    return kind.encode() + struct.pack("<I", len(numbers)) + packed


def _wide(data: bytes, at: int) -> tuple[list[float], int]:
    """The numbers, as floats, and where they end."""
    kind, (count,) = chr(data[at]), struct.unpack_from("<I", data, at + 1)
    form = f"<{count}{kind}"
    return list(map(float, struct.unpack_from(form, data, at + 5))), at + 5 + struct.calcsize(form)


def _are_whole(counts: Sequence[float]) -> bool:
    return all(count < 1 << 32 and count == int(count) for count in counts)


def _number(value: float) -> int:
    if value > 0:
        return _OFFSET + math.ceil(math.log(value) * _SCALE)
    if value < 0:
        return -_OFFSET - math.ceil(math.log(-value) * _SCALE)
    return _ZERO


def _value(number: int) -> float:
    """In the middle of the bucket, in the sense that no value of it is further than ERROR away."""
    if number == _ZERO:
        return 0.0
    power = math.exp((abs(number) - _OFFSET) / _SCALE)
    return math.copysign(power * _MIDDLE, number)
