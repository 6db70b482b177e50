"""A window's counts of each segment: of the rows with each value of a chosen column, piece after piece. PURE."""

from __future__ import annotations

import numpy as np
import polars as pl

from kedge.monitoring.drift.cells import Floats, Numeric, counted, tallied
from kedge.monitoring.drift.kept_rows import numbers_of, texts_of
from kedge.monitoring.drift.known import Known
from kedge.monitoring.reading.pieces import Piece


class Segments:
    """counts: by segment and column, shaped as the baseline's."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self.counts: dict[str, dict[str, Floats]] = {
            value: {name: np.zeros(column.cells.count + 1) for name, column in columns.items()}
            for value, columns in known.segments.items()
        }

    def add(self, piece: Piece) -> None:
        by = piece.columns.get(self._known.by)
        if by is None:
            return
        texts = texts_of(by.series)
        for value, columns in self._known.segments.items():
            where = (texts == value).fill_null(value=False)
            rows = int(where.sum())
            if not rows:
                continue
            for name, column in columns.items():
                row = self.counts[value][name]
                held = piece.columns.get(name)
                if held is None:
                    row[-1] += rows
                elif isinstance(column.cells, Numeric):
                    numbers = numbers_of(held.series.filter(where))
                    if numbers is None:
                        texts_there = held.series.filter(where).cast(pl.String).str.strip_chars()
                        numbers = np.array(texts_there.cast(pl.Float64, strict=False).to_numpy(), dtype=np.float64)
                    row += counted(column.cells, numbers)
                else:
                    levels = texts_of(held.series.filter(where))
                    each = levels.drop_nulls().alias("level").value_counts(name="rows")
                    known = dict(zip(each["level"].to_list(), each["rows"].to_list(), strict=True))
                    row += tallied(column.cells, known, levels.null_count())
