"""Rows of named values, gathered into pieces of columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from kedge.monitoring.reading.flattening import Row, names_of
from kedge.monitoring.reading.pieces import MOST_COLUMNS, Piece, Unreadable, Values

PIECE_ROWS = 32_768
_MOST_VALUES = 2_000_000
"""Of a piece: rows with thousands of columns make smaller ones."""


def pieces(rows: Iterable[Row], names: Sequence[str] | None) -> Iterator[Piece]:
    """names: of the baseline, for columns that have no name of their own. Raises Unreadable for too many columns."""
    held: list[Row] = []
    keys: dict[str | int, None] = {}
    seen: set[str] = set()
    last: Any = None
    most = PIECE_ROWS
    for row in rows:
        held.append(row)
        if row.keys() != last:
            keys.update(dict.fromkeys(row))
            last = row.keys()
            most = most_rows(len(keys))
        if len(held) >= most:
            yield _piece(held, keys, names, seen)
            held, keys, last = [], {}, None
    if held:
        yield _piece(held, keys, names, seen)


def most_rows(columns: int) -> int:
    """Of a piece with so many columns."""
    return max(1, min(PIECE_ROWS, _MOST_VALUES // max(columns, 1)))


def _piece(rows: list[Row], keys: Iterable[str | int], names: Sequence[str] | None, seen: set[str]) -> Piece:
    called = names_of(list(keys), names)
    seen.update(called.values())
    if len(seen) > MOST_COLUMNS:
        raise Unreadable(
            f"The records have more than {MOST_COLUMNS} different names, such as {sorted(seen)[0]!r}: are values used "
            "as names? A record preprocessor script can choose those that are columns."
        )
    return Piece(len(rows), {called[key]: values([row.get(key) for row in rows]) for key in keys})


def values(column: list[Any]) -> Values:
    """Of texts, numbers, booleans and None. A mixture is read as texts: each value is judged as it is written."""
    types = list(map(type, column))
    found = set(types) - {type(None)}
    try:
        if found == {int}:
            return Values(pl.Series(column, dtype=pl.Int64))
        if found and found <= {int, float}:
            return Values(pl.Series(column, dtype=pl.Float64, strict=False), types.count(int))
        if found == {bool}:
            return Values(pl.Series(column, dtype=pl.Boolean))
    except (TypeError, OverflowError):  # an integer of more than 64 bits
        pass
    if found <= {str}:
        return Values(pl.Series(column, dtype=pl.String))
    return Values(pl.Series([_text(each) for each in column], dtype=pl.String))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
