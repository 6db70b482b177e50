"""A quantile sketch: any number of values in some fifty kilobytes; two merge into the sketch of both. PURE.

Values stand in levels; one at level i stands for 2^i values, and all weights together are exactly the count. A level
that is over its capacity is sorted, and every second value goes one level up. The top level holds SIZE values and each
one below it SHRINK times as many as the one above. Up to SIZE values nothing is lost. A rank is then wrong by about
0.1 % of the count, seldom by 0.3 %. Source: Karnin, Lang and Liberty, "Optimal quantile approximation in streams",
2016; the capacities are those of Deequ's, whose levels statistics.json holds. What their sampler does is `thinned`: it
takes from short sorted runs rather than any value by chance, which errs less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIZE = 2048
SHRINK = 0.64
NOISE = 0.0005
_RUN, _HIGHEST = 256, 3
"""The longest run that is sorted without moving values through memory, and what is worth to be taken of it."""
_LEAST = 8
"""A compaction of fewer values than that would save nothing and still cost its error."""
_NONE: Floats = np.empty(0)


class Kll:
    __slots__ = ("_coin", "_noise", "count", "levels")

    def __init__(self) -> None:
        self.count = 0
        self.levels: list[Floats] = [_NONE]
        self._coin = 0x9E3779B97F4A7C15
        self._noise = 0.0
        """Variance of a rank from what was thinned, at most."""

    @classmethod
    def of_levels(cls, levels: Sequence[Sequence[float]]) -> Kll:
        """As statistics.json has them, in any order within a level. Raises ValueError for what is no finite number."""
        made = cls()
        made.levels = [np.asarray(level, dtype=np.float64).reshape(-1) for level in levels] or [_NONE]
        if not all(np.isfinite(level).all() for level in made.levels):
            raise ValueError("A sketch holds a value that is not a finite number.")
        made.count = sum(len(level) << height for height, level in enumerate(made.levels))
        return made

    def extend(self, values: Floats, height: int = 0) -> None:
        """values: finite and sorted, which stand for 2^height each; the more at once, the quicker and the closer.

        Of many every 2^h-th goes straight h levels up, which is what compacting them h times would do.
        """
        self.count += len(values) << height
        rise = max(0, math.ceil(math.log2(len(values) / SIZE))) if len(values) else 0
        step = 1 << rise
        whole = len(values) // step * step
        self._put(height + rise, values[self._random(step) : whole : step])
        self._put(height, values[whole:])
        self._compress()

    def thinned(self, values: Floats) -> tuple[Floats, Floats, int]:
        """(some, rest, height): of each sorted run every 2^height-th value, which stands for so many; what is left.

        values: in the order in which they came. As few as keep the standard deviation of a rank below NOISE of the
        count; as long as there are few values it is all of them. A rank that a run has j values below is off by
        j mod 2^height of chance, whose variance is at most a quarter of 4^height.
        """
        count, runs, height = self.count + len(values), len(values) // _RUN, 0
        while height < _HIGHEST and self._noise + runs * 4.0**height <= (NOISE * count) ** 2:
            height += 1
        if not height or not runs:
            return values, _NONE, 0
        step = 1 << height
        self._noise += runs * 4.0 ** (height - 1)
        ordered = np.sort(values[: runs * _RUN].reshape(runs, _RUN), axis=1).reshape(runs, _RUN // step, step)
        first = np.random.default_rng(self._random(1 << 32)).integers(0, step, runs)
        return ordered[np.arange(runs), :, first].reshape(-1), values[runs * _RUN :], height

    def merge(self, other: Kll) -> None:
        self.count += other.count
        self._noise += other._noise
        for height, level in enumerate(other.levels):
            self._put(height, level)
        self._compress()

    def weighted(self) -> tuple[Floats, NDArray[np.int64]]:
        """(values, weights), sorted by value; the weights add up to the count."""
        values = np.concatenate(self.levels)
        weights = np.repeat(2 ** np.arange(len(self.levels), dtype=np.int64), [len(level) for level in self.levels])
        order = np.argsort(values, kind="stable")
        return values[order], weights[order]

    def shares(self, at: Floats, side: str = "right") -> Floats:
        """The share of values up to each of `at`; below it where side is "left". Raises ValueError without values."""
        if not self.count:
            raise ValueError("An empty sketch has no shares.")
        values, weights = self.weighted()
        below = np.concatenate(([0], np.cumsum(weights)))
        where = np.searchsorted(values, at, side="left" if side == "left" else "right")
        return np.asarray(below[where] / self.count, dtype=np.float64)

    def _compress(self) -> None:
        while sum(map(len, self.levels)) > sum(self._capacities()):
            for height, capacity in enumerate(self._capacities()):
                if len(self.levels[height]) > capacity:
                    self._compact(height)
                    break

    def _capacities(self) -> list[int]:
        top = len(self.levels) - 1
        return [max(_LEAST, math.ceil(SIZE * SHRINK ** (top - height))) for height in range(top + 1)]

    def _compact(self, height: int) -> None:
        level = np.sort(self.levels[height])
        first = self._random(2)
        # Of an odd number one stays, at either end in turns, so that no value's weight is lost.
        odd = len(level) % 2
        kept = level[-1:] if first else level[:1]
        paired = level[:-1] if odd and first else level[odd:]
        self.levels[height] = kept.copy() if odd else _NONE
        self._put(height + 1, paired[first::2])

    def _put(self, height: int, values: Floats) -> None:
        self.levels += [_NONE] * (height + 1 - len(self.levels))
        self.levels[height] = np.concatenate((self.levels[height], values))

    def _random(self, below: int) -> int:
        """below: a power of two. The same for the same calls, so that a profile can be had again."""
        self._coin = (self._coin * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self._coin >> 32) % below


def buckets(sketch: Kll, low: float, high: float, number: int = 10) -> list[tuple[float, float, float]]:
    """(lower, upper, count), of equal width from low to high, half-open, the last one closed; counts by the sketch."""
    edges = np.linspace(low, high, number + 1)
    below = sketch.shares(edges, "left") * sketch.count
    below[-1] = sketch.count
    below[0] = 0.0
    return [(float(edges[i]), float(edges[i + 1]), float(below[i + 1] - below[i])) for i in range(number)]
