"""Parquet: columns have types there, so a column of doubles is fractional whatever its values are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from kedge.monitoring.reading import rows
from kedge.monitoring.reading.flattening import flattened
from kedge.monitoring.reading.pieces import PIECE_ROWS, Piece, Unreadable, Values

_MOST_VALUES = 4_000_000
"""Of a piece."""


def read(path: Path) -> Iterator[Piece]:
    """Raises Unreadable for a file that is no Parquet."""
    try:
        frames = pl.scan_parquet(path)
        width = len(frames.collect_schema())
        most = max(1, min(PIECE_ROWS, _MOST_VALUES // max(width, 1)))
        for frame in frames.collect_batches(chunk_size=most, maintain_order=True):
            yield _piece(frame.rechunk())
    except (PolarsError, OSError) as error:
        raise Unreadable(f"{path.name} cannot be read as Parquet: {error}") from None


def _piece(frame: pl.DataFrame) -> Piece:
    columns: dict[str, Values] = {}
    for series in frame.get_columns():
        if series.dtype.is_nested():
            found = [flattened({series.name: each}) for each in series.to_list()]
            for part in dict.fromkeys(key for row in found for key in row):
                columns[str(part)] = rows.values([row.get(part) for row in found])
        else:
            columns[series.name] = Values(_plain(series))
    return Piece(frame.height, columns)


def _plain(series: pl.Series) -> pl.Series:
    kind = series.dtype
    if kind == pl.Boolean or kind == pl.String or kind.is_numeric():
        return series
    if kind == pl.Binary:
        return series.bin.encode("hex")
    return series.cast(pl.String)
