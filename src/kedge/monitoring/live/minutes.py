"""Captured records, or sketches of them, as counts of cells, for each minute and column; they add up to windows.

What a minute costs does not depend on its records: a row of at most 66 numbers for each column.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from kedge.monitoring.drift import cells
from kedge.monitoring.drift.baseline import Column
from kedge.monitoring.drift.cells import Floats
from kedge.monitoring.live import sketch
from kedge.monitoring.live.sketch import Minute
from kedge.monitoring.profiles.tally import text_of
from kedge.monitoring.reading.captured import Reader
from kedge.monitoring.reading.pieces import Notes, Piece, Values

MINUTE_S = 60
_TIME = re.compile(rb'"inferenceTime":\s*"(\d{4}-\d\d-\d\dT\d\d:\d\d)')
"""Within a record's data the quotes are escaped, so no body can pass for it."""
NO_TIME = "A record has no inferenceTime"


class Minutes:
    """columns: of the baseline. names: of all that it has, in the order in which rows without names have them.

    every: minutes of one row of counts, whose place is the first of them.
    """

    def __init__(self, columns: Mapping[str, Column], names: Sequence[str], every: int = 1) -> None:
        self.columns: Mapping[str, Column] = columns
        self.names, self._every = names, every
        self.notes = Notes()
        self._counts: dict[int, dict[str, Floats]] = {}

    def add(self, lines: Iterable[bytes], file: str) -> None:
        """Captured records. What cannot be read is left out, and counted in `notes`."""
        found, odd = by_minute(lines)
        if odd:
            self.notes.leave_out(NO_TIME, odd)
        for minute, of_it in found.items():
            reader = Reader(self.notes, names=self.names)
            for pieces in (reader.read(io.BytesIO(b"\n".join(of_it)), file), reader.rest()):
                for piece in pieces:
                    self._count(minute, piece)

    def add_sketch(self, minute: Minute) -> None:
        mine = self._of(minute.minute)
        for name, row in sketch.counts(minute, self.columns, self.names).items():
            mine[name] += row

    def forget(self, before: int) -> None:
        """before: minutes since 1970."""
        for minute in [each for each in self._counts if each < before]:
            del self._counts[minute]

    def forget_from(self, minute: int) -> None:
        """That one and those after it."""
        for each in [each for each in self._counts if each >= minute]:
            del self._counts[each]

    def windows(self, first: int, count: int, length: int) -> dict[str, Floats]:
        """Of each column rows of counts, of windows of `length` minutes, the first of which begins at `first`."""
        found = {name: np.zeros((count, column.cells.count + 1)) for name, column in self.columns.items()}
        for minute, counts in self._counts.items():
            place = (minute - first) // length
            if 0 <= place < count:
                for name, row in counts.items():
                    found[name][place] += row
        return found

    def _of(self, minute: int) -> dict[str, Floats]:
        minute -= minute % self._every
        found = self._counts.get(minute)
        if found is None:
            empty = {name: np.zeros(column.cells.count + 1) for name, column in self.columns.items()}
            found = self._counts[minute] = empty
        return found

    def _count(self, minute: int, piece: Piece) -> None:
        mine = self._of(minute)
        for name, column in self.columns.items():
            values = piece.columns.get(name)
            if values is None:
                mine[name][-1] += piece.rows
            else:
                mine[name] += counted(column, values)


def counted(column: Column, values: Values) -> Floats:
    """One row of counts. A text where the baseline has numbers is as good as missing."""
    series = values.series
    if isinstance(column.cells, cells.Numeric):
        return cells.counted(column.cells, series.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy())
    each = series.drop_nulls().alias("level").value_counts(name="rows")
    levels = {_level(key): float(count) for key, count in each.iter_rows()}
    return cells.tallied(column.cells, levels, float(series.null_count()))


def _level(value: object) -> str:
    """As statistics.json has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return text_of(float(value)) if isinstance(value, int | float) else str(value)


def by_minute(lines: Iterable[bytes]) -> tuple[dict[int, list[bytes]], int]:
    """(captured records by their minute since 1970, how many say no time)."""
    found: dict[int, list[bytes]] = {}
    known: dict[bytes, int] = {}
    odd = 0
    for line in lines:
        at = _TIME.search(line)
        if at is None:
            odd += bool(line.strip())
            continue
        text = at[1]
        if text not in known:
            known[text] = int(np.datetime64(text.decode(), "m").astype(np.int64))
        found.setdefault(known[text], []).append(line)
    return found, odd
