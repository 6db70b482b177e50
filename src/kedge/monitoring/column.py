"""What is known of one column after any number of rows, in bounded memory; two merge into that of both. PURE.

Numbers go into moments, a quantile sketch and the tally; other values into the tally alone. So what a column says does
not depend on how its rows were cut into pieces, beyond the stated errors of sketch and tally. An infinite number is
present, and is left out of moments and sketch.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kedge.monitoring import kinds, moments
from kedge.monitoring.distinct import hashes_of_numbers
from kedge.monitoring.kinds import Kinds
from kedge.monitoring.kll import Floats, Kll
from kedge.monitoring.moments import Moments
from kedge.monitoring.tally import CAPACITY, Key, Tally, hashes_of_texts

_NARROW = 1 << 16
"""Integers of such a range are counted rather than sorted."""


class Column:
    __slots__ = ("endless", "kinds", "moments", "sketch", "tally")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.kinds = Kinds()
        self.moments = Moments()
        """Of the finite numbers, as `sketch`."""
        self.sketch = Kll()
        self.tally = Tally(capacity)
        self.endless = 0
        """Infinite numbers."""

    @property
    def present(self) -> int:
        return self.kinds.present

    def merge(self, other: Column) -> None:
        self.kinds.add(other.kinds)
        self.moments = moments.merged(self.moments, other.moments)
        self.sketch.merge(other.sketch)
        self.tally.merge(other.tally)
        self.endless += other.endless

    def add(self, values: pl.Series, integral: int = 0) -> None:
        """values: texts, numbers or booleans; null is missing, as is what is not a number.

        integral: of floats, how many were written as integers.
        """
        values = values.drop_nulls()
        if values.dtype == pl.Boolean:
            true = int(values.sum())
            self._add_kinds(boolean=len(values))
            self._tally_texts(pl.Series(["true", "false"]), np.array([true, len(values) - true]))
        elif values.dtype.is_integer():
            self._add_integers(values.cast(pl.Int64, strict=False).drop_nulls().to_numpy())
        elif values.dtype.is_numeric():
            self._add_numbers(values.cast(pl.Float64).to_numpy(), integral)
        elif not self._add_numeric_texts(values):
            self._add_texts(values)

    def _add_kinds(self, fractional: int = 0, integral: int = 0, boolean: int = 0, text: int = 0) -> None:
        self.kinds.add(Kinds(fractional, integral, boolean, text))

    def _add_integers(self, values: NDArray[np.int64]) -> None:
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        if high - low >= min(_NARROW, len(values)):
            self._add_numbers(values.astype(np.float64), len(values))
            return
        counts = np.bincount(values - low)
        found = np.flatnonzero(counts)
        ordered = np.repeat((found + low).astype(np.float64), counts[found])
        self._add_kinds(integral=len(ordered))
        self.moments = moments.merged(self.moments, moments.of(ordered))
        self._count(ordered, 0)

    def _add_numeric_texts(self, values: pl.Series) -> bool:
        """Whether they were all numbers; else nothing was added."""
        numbers = values.cast(pl.Float64, strict=False)
        if numbers.null_count():
            return False
        self._add_numbers(numbers.to_numpy(), integral_in(values))
        return True

    def _add_numbers(self, values: Floats, integral: int) -> None:
        """What is not a number is missing."""
        finite = np.isfinite(values)
        if not finite.all():
            self.endless += int(np.isinf(values).sum())
            nothing = int(np.isnan(values).sum())
            self._add_kinds(fractional=len(values) - nothing - integral, integral=integral)
            values = values[finite]
        else:
            self._add_kinds(fractional=len(values) - integral, integral=integral)
        if not len(values):
            return
        self.moments = moments.merged(self.moments, moments.of(values))
        if self.tally.exact or self.kinds.text:
            self._count(np.sort(values), 0)
            return
        some, rest, height = self.sketch.thinned(values)
        self._count(np.sort(some), height)
        self._count(np.sort(rest), 0)

    def _count(self, values: Floats, height: int) -> None:
        """values: sorted, each of which stands for 2^height."""
        if not len(values):
            return
        self.sketch.extend(values, height)
        starts = np.flatnonzero(values[1:] != values[:-1]) + 1
        starts = np.concatenate((np.zeros(1, dtype=starts.dtype), starts))
        uniques = values[starts]

        def keys(where: NDArray[np.intp] | None) -> list[Key]:
            found: list[Key] = (uniques if where is None else uniques[where]).tolist()
            return found

        self.tally.add(np.diff(starts, append=len(values)) << height, keys, lambda: hashes_of_numbers(uniques))

    def _add_texts(self, values: pl.Series) -> None:
        counted = values.alias("value").value_counts(name="count")
        texts, counts = counted["value"], counted["count"].cast(pl.Int64).to_numpy()
        stripped = texts.str.strip_chars()
        numbers = stripped.cast(pl.Float64, strict=False)
        numeric = numbers.is_not_null().to_numpy()
        if numeric.any():
            among = stripped.filter(pl.Series(numeric))
            integral = counts[numeric][is_integer(among)].sum()
            self._add_numbers(np.repeat(numbers.drop_nulls().to_numpy(), counts[numeric]), int(integral))
            texts, counts = texts.filter(pl.Series(~numeric)), counts[~numeric]
        if len(texts):
            boolean = int(counts[texts.is_in(kinds.BOOLEANS).to_numpy()].sum())
            self._add_kinds(boolean=boolean, text=int(counts.sum()) - boolean)
            self._tally_texts(texts, counts)

    def _tally_texts(self, texts: pl.Series, counts: NDArray[np.int64]) -> None:
        if not counts.all():
            texts, counts = texts.filter(pl.Series(counts > 0)), counts[counts > 0]

        def keys(where: NDArray[np.intp] | None) -> list[Key]:
            found: list[Key] = (texts if where is None else texts.gather(where)).to_list()
            return found

        self.tally.add(counts, keys, lambda: hashes_of_texts(texts))


def integral_in(numbers: pl.Series) -> int:
    """How many of these texts, which are all numbers, are integers."""
    found = len(numbers) - numbers.cast(pl.Int64, strict=False).null_count()
    return found if found == len(numbers) else int(is_integer(numbers).sum())


def is_integer(texts: pl.Series) -> NDArray[np.bool_]:
    return texts.str.contains(kinds.INTEGER_PATTERN).to_numpy()
