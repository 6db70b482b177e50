"""How often each value occurs, with a bounded number of entries: exact while few differ, then the frequent ones. PURE.

Keys are texts, or floats for numbers. Beyond `capacity` different values the counts are those of Misra and Gries: of
the values that are kept none is counted too often, none by more than `lost` too seldom, and what is not kept occurs at
most `lost` times, which is at most n / (capacity + 1). Merging keeps that. Sources: Misra and Gries, "Finding repeated
elements", 1982; Agarwal et al., "Mergeable summaries", 2013. The number of different values is then estimated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kedge.monitoring.profiles.distinct import Distinct, Hashes, hashes_of_numbers

Key = float | str
Counts = NDArray[np.int64]
CAPACITY = 2048


class Tally:
    __slots__ = ("_distinct", "capacity", "counts", "lost")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.counts: dict[Key, int] = {}
        self.lost = 0
        self.capacity = capacity
        self._distinct: Distinct | None = None

    @property
    def exact(self) -> bool:
        return self._distinct is None

    def distinct(self) -> float:
        return float(len(self.counts)) if self._distinct is None else self._distinct.estimate()

    def top(self, number: int) -> list[tuple[Key, int]]:
        """The most frequent ones, first the most frequent; equal counts by the value as text."""
        order = sorted(self.counts.items(), key=lambda each: (-each[1], text_of(each[0])))
        return order[:number]

    def add(
        self, counts: Counts, keys: Callable[[NDArray[np.intp] | None], Sequence[Key]], hashes: Callable[[], Hashes]
    ) -> None:
        """counts: of different values. keys: gives those at the positions, or all; hashes: gives those of all."""
        if len(counts) > self.capacity:
            self.estimate()
        if self._distinct is not None:
            self._distinct.add(hashes())
        where = None
        if len(counts) > self.capacity:
            cut = _nth_largest(counts, self.capacity + 1)
            where = np.flatnonzero(counts > cut)
            counts = counts[where] - cut
            self.lost += cut
        mine = self.counts
        for key, count in zip(keys(where), counts.tolist(), strict=True):
            mine[key] = mine.get(key, 0) + count
        self._shrink()

    def merge(self, other: Tally) -> None:
        if other._distinct is not None:
            self.estimate().merge(other._distinct)
        elif self._distinct is not None:
            self._distinct.add(_hashes(other.counts))
        self.lost += other.lost
        mine = self.counts
        for key, count in other.counts.items():
            mine[key] = mine.get(key, 0) + count
        self._shrink()

    def _shrink(self) -> None:
        if len(self.counts) <= self.capacity:
            return
        self.estimate()
        counts = np.fromiter(self.counts.values(), dtype=np.int64, count=len(self.counts))
        cut = _nth_largest(counts, self.capacity + 1)
        self.counts = {key: count - cut for key, count in self.counts.items() if count > cut}
        self.lost += cut

    def estimate(self) -> Distinct:
        """From now on the number of different values is an estimate."""
        if self._distinct is None:
            self._distinct = Distinct()
            self._distinct.add(_hashes(self.counts))
        return self._distinct


def text_of(key: Key) -> str:
    if isinstance(key, str):
        return key
    return str(int(key)) if key.is_integer() and abs(key) < 1e15 else repr(key)


def hashes_of_texts(texts: pl.Series) -> Hashes:
    """Stable within one version of polars: they stay in this process, and are in no file."""
    found: Hashes = texts.hash().to_numpy()
    return found


def _hashes(keys: dict[Key, int]) -> Hashes:
    numbers = np.array([key for key in keys if not isinstance(key, str)], dtype=np.float64)
    texts = pl.Series([key for key in keys if isinstance(key, str)], dtype=pl.String)
    return np.concatenate((hashes_of_numbers(numbers), hashes_of_texts(texts)))


def _nth_largest(counts: Counts, n: int) -> int:
    """Of more than n."""
    most = int(counts.max())
    if most > 16 * len(counts):
        return int(np.partition(counts, -n)[-n])
    at_least = np.cumsum(
        np.bincount(counts, minlength=most + 1)[::-1]
    )  # how many are `most` or more, one less or more ...
    return most - int(np.searchsorted(at_least, n))
