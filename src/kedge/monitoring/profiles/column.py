"""What is known of one column after any number of rows, in bounded memory; two merge into that of both. PURE.

Numbers go into moments, a quantile sketch and, until more of them differ than the tally has entries, into the tally;
other values into the tally alone. Should a column of so many different numbers turn out to hold texts as well, the
sketch says which numbers were frequent. So what a column says does not depend on how its rows were cut into pieces,
beyond the stated errors of sketch and tally. An infinite number is present, and is left out of moments and sketch.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kedge.monitoring.profiles import kinds, moments
from kedge.monitoring.profiles.distinct import hashes_of_numbers
from kedge.monitoring.profiles.kinds import Kinds
from kedge.monitoring.profiles.kll import Floats, Kll
from kedge.monitoring.profiles.moments import Moments
from kedge.monitoring.profiles.tally import CAPACITY, Key, Tally, hashes_of_texts

_NARROW = 1 << 16
"""Integers of such a range are counted rather than sorted."""
FIRST = 64
"""Of texts: those that are no numbers mostly show at once."""


class Column:
    __slots__ = ("_sketched", "endless", "kinds", "moments", "sketch", "tally")

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.kinds = Kinds()
        self.moments = Moments()
        """Of the finite numbers, as `sketch`."""
        self.sketch = Kll()
        self.tally = Tally(capacity)
        self.endless = 0
        """Infinite numbers."""
        self._sketched = False
        """Whether the tally knows nothing of the numbers: so many differ, and there is no text beside them."""

    @property
    def present(self) -> int:
        return self.kinds.present

    @property
    def distinct(self) -> tuple[float, bool]:
        """(how many different values there are, whether that is exact); of numbers alone it may be the least."""
        if self._sketched:
            return float(self.tally.capacity + 1), False
        return self.tally.distinct(), self.tally.exact

    def merge(self, other: Column) -> None:
        has_texts = self._has_texts or other._has_texts
        if has_texts:
            self._tally_sketch()
            other = other._tallied()
        self.kinds.add(other.kinds)
        self.moments = moments.merged(self.moments, other.moments)
        self.sketch.merge(other.sketch)
        self.endless += other.endless
        self.tally.merge(other.tally)
        if not has_texts and (self._sketched or other._sketched or not self.tally.exact):
            self._leave_numbers_to_the_sketch()

    def add(self, values: pl.Series, integral: int = 0) -> None:
        """values: texts, numbers or booleans; null is missing, as is what is not a number.

        integral: of floats, how many were written as integers.
        """
        if values.null_count():
            values = values.drop_nulls()
        if values.dtype == pl.Boolean:
            true = int(values.sum())
            self._add_kinds(boolean=len(values))
            self._tally_texts(pl.Series(["true", "false"]), np.array([true, len(values) - true]))
        elif values.dtype.is_integer():
            if values.dtype != pl.Int64:
                values = values.cast(pl.Int64, strict=False).drop_nulls()
            self._add_integers(values.to_numpy())
        elif values.dtype.is_numeric():
            self._add_numbers(values.cast(pl.Float64).to_numpy(), integral)
        elif not self._add_numeric_texts(values):
            self._add_texts(values)

    @property
    def _has_texts(self) -> bool:
        return bool(self.kinds.text or self.kinds.boolean)

    def _add_kinds(self, fractional: int = 0, integral: int = 0, boolean: int = 0, text: int = 0) -> None:
        self.kinds.add(Kinds(fractional, integral, boolean, text))

    def _add_integers(self, values: NDArray[np.int64]) -> None:
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        if self._sketched or high - low >= min(_NARROW, len(values)):
            self._add_numbers(values.astype(np.float64), len(values))
            return
        counts = np.bincount(values - low)
        found = np.flatnonzero(counts)
        counts = counts[found]
        uniques = (found + low).astype(np.float64)
        ordered = np.repeat(uniques, counts)
        self._add_kinds(integral=len(ordered))
        self.moments = moments.merged(self.moments, moments.of(ordered))
        self.sketch.extend(ordered)
        self._tally_numbers(uniques, counts)

    def _add_numeric_texts(self, values: pl.Series) -> bool:
        """Whether they were all numbers; else nothing was added."""
        if not casts(values.head(FIRST), pl.Float64()):
            return False
        numbers = values.cast(pl.Float64, strict=False)
        if numbers.null_count():
            return False
        self._add_numbers(numbers.to_numpy(), integral_in(values))
        return True

    def _add_numbers(self, values: Floats, integral: int) -> None:
        """What is not a number is missing."""
        if len(values) and not (math.isfinite(values.min()) and math.isfinite(values.max())):
            nothing = int(np.isnan(values).sum())
            kept = values[np.isfinite(values)]
            self.endless += len(values) - nothing - len(kept)
            self._add_kinds(fractional=len(values) - nothing - integral, integral=integral)
            values = kept
        else:
            self._add_kinds(fractional=len(values) - integral, integral=integral)
        if not len(values):
            return
        self.moments = moments.merged(self.moments, moments.of(values))
        if not self._sketched:
            self._count(np.sort(values))
            return
        some, rest, height = self.sketch.thinned(values)
        self.sketch.extend(np.sort(some), height)
        self.sketch.extend(np.sort(rest))

    def _count(self, values: Floats) -> None:
        """values: sorted."""
        self.sketch.extend(values)
        starts = np.flatnonzero(values[1:] != values[:-1]) + 1
        starts = np.concatenate((np.zeros(1, dtype=starts.dtype), starts))
        self._tally_numbers(values[starts], np.diff(starts, append=len(values)))

    def _tally_numbers(self, uniques: Floats, counts: NDArray[np.int64]) -> None:
        """uniques: each once."""
        if len(uniques) <= self.tally.capacity or self._has_texts:
            self._tally_numbers_of(uniques, counts)
            if self.tally.exact or self._has_texts:
                return
        self._leave_numbers_to_the_sketch()

    def _tally_numbers_of(self, uniques: Floats, counts: NDArray[np.int64]) -> None:
        def keys(where: NDArray[np.intp] | None) -> list[Key]:
            found: list[Key] = (uniques if where is None else uniques[where]).tolist()
            return found

        self.tally.add(counts, keys, lambda: hashes_of_numbers(uniques))

    def _leave_numbers_to_the_sketch(self) -> None:
        self.tally, self._sketched = Tally(self.tally.capacity), True

    def _tally_sketch(self) -> None:
        """Where texts come to numbers that the tally knows nothing of."""
        if self._sketched:
            self._sketched = False
            values, weights = self.sketch.weighted()
            uniques, place = np.unique(values, return_inverse=True)
            self.tally.estimate()
            self._tally_numbers_of(uniques, np.bincount(place, weights).astype(np.int64))

    def _tallied(self) -> Column:
        """The same, whose tally knows the numbers."""
        made = Column(self.tally.capacity)
        made.kinds, made.moments, made.sketch, made.endless = self.kinds, self.moments, self.sketch, self.endless
        made.tally.merge(self.tally)
        made._sketched = self._sketched
        made._tally_sketch()
        return made

    def _add_texts(self, values: pl.Series) -> None:
        counted = values.alias("value").value_counts(name="count")
        text = pl.col("value")
        counted = counted.with_columns(
            text.str.strip_chars().cast(pl.Float64, strict=False).alias("number"),
            text.is_in(kinds.BOOLEANS).alias("boolean"),
        )
        counts = counted["count"].cast(pl.Int64).to_numpy()
        texts, numbers = counted["value"], counted["number"]
        boolean = counted["boolean"].to_numpy()
        if numbers.null_count() < len(numbers):
            numeric = numbers.is_not_null().to_numpy()
            among = texts.filter(pl.Series(numeric)).str.strip_chars()
            integral = counts[numeric][is_integer(among)].sum()
            self._tally_sketch()
            self._add_numbers(np.repeat(numbers.drop_nulls().to_numpy(), counts[numeric]), int(integral))
            texts, counts, boolean = texts.filter(pl.Series(~numeric)), counts[~numeric], boolean[~numeric]
        if len(texts):
            true_or_false = int(counts[boolean].sum())
            self._add_kinds(boolean=true_or_false, text=int(counts.sum()) - true_or_false)
            self._tally_texts(texts, counts)

    def _tally_texts(self, texts: pl.Series, counts: NDArray[np.int64]) -> None:
        self._tally_sketch()
        if not counts.all():
            texts, counts = texts.filter(pl.Series(counts > 0)), counts[counts > 0]

        def keys(where: NDArray[np.intp] | None) -> list[Key]:
            found: list[Key] = (texts if where is None else texts.gather(where)).to_list()
            return found

        self.tally.add(counts, keys, lambda: hashes_of_texts(texts))


def casts(texts: pl.Series, kind: pl.DataType) -> bool:
    """Whether each of these is a number of that kind."""
    return texts.cast(kind, strict=False).null_count() == texts.null_count()


def integral_in(numbers: pl.Series) -> int:
    """How many of these texts, which are all numbers, are integers."""
    found = len(numbers) - numbers.cast(pl.Int64, strict=False).null_count()
    return found if found == len(numbers) else int(is_integer(numbers).sum())


def is_integer(texts: pl.Series) -> NDArray[np.bool_]:
    return texts.str.contains(kinds.INTEGER_PATTERN).to_numpy()
