"""Rows of a baseline that are kept as they came, in order: how its columns behave in time is learned of them. PURE.

All rows up to MOST, and of more the first ones of each piece, and of fewer pieces, so that rows that stood together
still do and any number of pieces takes the same memory. Where rows have times, and these are of enough hours, runs of
rows that are spread over all of them instead (`spread_rows`). Texts are kept as hashes, which tell levels apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kedge.monitoring.drift.cells import Cells, Floats, Numeric
from kedge.monitoring.drift.spread_rows import MOST, MOST_VALUES, Column, SpreadRows
from kedge.monitoring.profiles.tally import hashes_of_texts, text_of
from kedge.monitoring.reading.pieces import Piece

HOUR_S = 3600.0
LEAST_HOURS = 20
"""Of fewer, rows are taken as without times."""
_FIRST = 64
_SHORTEST = 1_024
"""Rows that a piece keeps at least; then every second piece goes."""
_MS_FROM = 1e11
"""A number of this size is a time in milliseconds."""


@dataclass(frozen=True)
class Stretch:
    """start: how many rows came before it. times_s: since 1970, NaN where a row has none; None without a column."""

    start: int
    rows: int
    columns: dict[str, Column]
    times_s: Floats | None = None


class KeptRows:
    def __init__(self, time: str = "") -> None:
        """time: the column that says when each row was, if there is one; it is no feature."""
        self.time = time
        self._spread = SpreadRows(time, kept, seconds) if time else None
        self._stretches: list[Stretch] = []
        self._seen = self._pieces = 0
        self._longest = MOST
        self._every = 1

    @property
    def stretches(self) -> list[Stretch]:
        parts = self._spread.parts if self._spread else []
        times = [part.times_s for part in parts if part.times_s is not None]
        if not times or len(np.unique(np.floor(np.concatenate(times) / HOUR_S))) < LEAST_HOURS:
            return self._stretches
        return [Stretch(int(part.places[0]), len(part.places), part.columns, part.times_s) for part in parts]

    def add(self, piece: Piece) -> None:
        """Takes the times out of it: no feature is told of them."""
        self._add_first(piece)
        if self._spread:
            self._spread.add(piece)
            piece.columns.pop(self.time, None)

    def _add_first(self, piece: Piece) -> None:
        start, number = self._seen, self._pieces
        self._seen += piece.rows
        self._pieces += 1
        rows = min(piece.rows, self._longest, max(1, MOST_VALUES // max(len(piece.columns), 1)))
        if number % self._every or not rows:
            return
        heads = {name: values.series.head(rows) for name, values in piece.columns.items()}
        when = heads.pop(self.time, None)
        columns = {name: kept(head) for name, head in heads.items()}
        self._stretches.append(Stretch(start, rows, columns, None if when is None else seconds(when)))
        while len(self._stretches) > 1 and self._held() > MOST:
            self._thin()

    def _held(self) -> float:
        """Rows, or what so many values are of them."""
        values = sum(each.rows * len(each.columns) for each in self._stretches)
        return max(sum(each.rows for each in self._stretches), values / MOST_VALUES * MOST)

    def _thin(self) -> None:
        longest = max(each.rows for each in self._stretches)
        if longest >= 2 * _SHORTEST:
            self._longest = longest // 2
            self._stretches = [_headed(each, self._longest) for each in self._stretches]
        else:
            self._stretches = self._stretches[::2]
            self._every *= 2


def _headed(stretch: Stretch, rows: int) -> Stretch:
    if stretch.rows <= rows:
        return stretch
    times = None if stretch.times_s is None else stretch.times_s[:rows].copy()
    return Stretch(stretch.start, rows, {name: each[:rows].copy() for name, each in stretch.columns.items()}, times)


def kept(series: pl.Series) -> Column:
    """Numbers if it holds nothing else."""
    numbers = numbers_of(series)
    return hashes_of(series.cast(pl.String)) if numbers is None else numbers


def hashes_of(texts: pl.Series) -> NDArray[np.uint64]:
    found = hashes_of_texts(texts).copy()
    found[texts.is_null().to_numpy()] = 0
    return found


def numbers_of(series: pl.Series) -> Floats | None:
    """None: there are texts or booleans in it."""
    if series.dtype == pl.Boolean:
        return None
    if series.dtype == pl.String:
        for part in (series.head(_FIRST), series):  # texts mostly show at once
            numbers = part.str.strip_chars().cast(pl.Float64, strict=False)
            if numbers.null_count() > part.null_count():
                return None
        series = numbers
    return np.array(series.cast(pl.Float64).to_numpy(), dtype=np.float64)


def texts_of(series: pl.Series) -> pl.Series:
    """As a tally names them."""
    if series.dtype.is_numeric():
        names = [None if each is None else text_of(float(each)) for each in series.to_list()]
        return pl.Series(names, dtype=pl.String)
    return series.cast(pl.String)


def seconds(series: pl.Series) -> Floats | None:
    """Of numbers, seconds or milliseconds since 1970, or of ISO 8601; None where no row has a time."""
    numbers = numbers_of(series)
    if numbers is None:
        texts = series.cast(pl.String).str.replace("Z$", "+00:00")
        times = texts.str.to_datetime(time_unit="ms", time_zone="UTC", strict=False)
        numbers = np.array(times.dt.epoch("ms").cast(pl.Float64).to_numpy(), dtype=np.float64)
    if np.isnan(numbers).all():
        return None
    return np.where(np.abs(numbers) >= _MS_FROM, numbers / 1000, numbers)


def places(cells: Cells, column: Column) -> NDArray[np.int64]:
    """The cell of each row; the one behind the last for those without a value."""
    if isinstance(cells, Numeric):
        if column.dtype != np.float64:
            return np.full(len(column), cells.count)
        return cells.places(np.asarray(column, dtype=np.float64))
    hashes = as_texts(column)
    found = np.full(len(hashes), len(cells.levels))
    for place, each in enumerate(hashes_of(pl.Series(list(cells.levels), dtype=pl.String))):
        found[hashes == each] = place
    found[hashes == 0] = cells.count
    return found


def as_texts(column: Column) -> NDArray[np.uint64]:
    """Hashes of what a tally calls the numbers, where it holds some."""
    if column.dtype == np.uint64:
        return np.asarray(column, dtype=np.uint64)
    uniques, place = np.unique(column, return_inverse=True)
    texts = [None if np.isnan(each) else text_of(each) for each in uniques.tolist()]
    return hashes_of(pl.Series(texts, dtype=pl.String))[place]
