"""How a column's values are counted: in cells that its baseline sets, so that a window is one row of counts. PURE.

A numeric column has cells of about equal shares of the baseline, between quantiles; a value that holds a cell's share
by itself, such as the 0 of a column that is mostly 0, has a cell of its own, and so have the gaps beside it. A
categorical column has a cell for each level of some weight; rare levels share one with those that the baseline never
saw, so a column of ids is one cell and says nothing. Whatever comes after works on counts: windows of any size cost the
same, and a sketch's (value, weight) pairs are as good as rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

MOST = 64
"""Cells of a column whose values are all different; levels of a categorical column are fewer."""
RARE = 0.01
"""A level with a smaller share of the baseline is counted with the other rare ones."""


@dataclass(frozen=True)
class Numeric:
    """uppers: the largest value of each cell but the last, ascending."""

    uppers: Floats

    @property
    def count(self) -> int:
        return len(self.uppers) + 1

    @property
    def middles(self) -> Floats:
        """Of each cell the value in its middle, ascending; of the outer ones their only end."""
        inner: Floats = self.uppers[1:] / 2 + self.uppers[:-1] / 2
        return np.concatenate([self.uppers[:1], inner, self.uppers[-1:]])

    def places(self, values: Floats) -> NDArray[np.int64]:
        """The cell of each value; the one behind the last for those that are missing or not finite."""
        found = np.searchsorted(self.uppers, values, side="left")
        return np.where(np.isfinite(values), found, self.count)


@dataclass(frozen=True)
class Categorical:
    """levels: those with a cell of their own; the last cell is for all others."""

    levels: tuple[str, ...]

    @property
    def count(self) -> int:
        return len(self.levels) + 1


Cells: TypeAlias = Numeric | Categorical


def numeric(values: ArrayLike, weights: ArrayLike | None = None) -> Numeric:
    """The cells of a baseline. weights: how many rows each value stands for, as a sketch says; 1 if not given.

    Raises ValueError where no value is finite.
    """
    found = np.asarray(values, dtype=np.float64)
    each = np.ones(len(found)) if weights is None else np.asarray(weights, dtype=np.float64)
    kept = np.isfinite(found)
    if not each[kept].sum() > 0:
        raise ValueError("The baseline has no finite value; a numeric column needs at least one.")
    distinct, inverse = np.unique(found[kept], return_inverse=True)
    held = np.bincount(inverse, each[kept])
    below = held.cumsum()
    wanted = below[-1] * np.arange(1, MOST) / MOST
    quantiles = distinct[np.minimum(np.searchsorted(below, wanted), len(distinct) - 1)]
    heavy = distinct[held >= below[-1] / MOST]
    uppers = np.unique(np.concatenate([quantiles, heavy, np.nextafter(heavy, -np.inf)]))
    return Numeric(uppers)


def categorical(counts: Mapping[str, float]) -> Categorical:
    """The cells of a baseline. counts: rows of each level, missing values left out.

    Raises ValueError where there is no row.
    """
    total = sum(counts.values())
    if not total > 0:
        raise ValueError("The baseline has no value; a categorical column needs at least one.")
    kept = sorted((level for level, count in counts.items() if count >= RARE * total), key=lambda level: -counts[level])
    return Categorical(tuple(kept[: MOST - 1]))


def counted(cells: Numeric, values: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """One row of counts: of each cell, then of what is missing, NaN or infinite."""
    found = np.asarray(values, dtype=np.float64)
    each = None if weights is None else np.asarray(weights, dtype=np.float64)
    return np.bincount(cells.places(found), each, minlength=cells.count + 1).astype(np.float64)


def tallied(cells: Categorical, counts: Mapping[str, float], missing: float = 0.0) -> Floats:
    """The same of a categorical column. counts: rows of each level."""
    row = np.zeros(cells.count + 1)
    row[-1] = missing
    known = {level: place for place, level in enumerate(cells.levels)}
    for level, count in counts.items():
        row[known.get(level, len(known))] += count
    return row


def blocks(cells: Cells, values: Iterable[object] | ArrayLike, place: NDArray[np.int64], count: int) -> Floats:
    """Rows cut into `count` blocks: shape (count, cells and missing). place: the block of each row.

    values: numbers, or levels of a categorical column, where None is missing.
    """
    if isinstance(cells, Numeric):
        cell = cells.places(np.asarray(values, dtype=np.float64))
    else:
        known = {level: number for number, level in enumerate(cells.levels)}
        levels = values if isinstance(values, list) else list(np.asarray(values, dtype=object))
        cell = np.fromiter(
            (cells.count if each is None else known.get(str(each), len(known)) for each in levels),
            np.int64,
            len(levels),
        )
    wide = cells.count + 1
    return np.bincount(place * wide + cell, minlength=count * wide).reshape(count, wide).astype(np.float64)
