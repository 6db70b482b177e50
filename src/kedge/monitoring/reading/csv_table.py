"""Blocks of CSV with the same columns, as pieces; each as numbers where it can be.

A value's kind is a matter of how it is written: 1 is integral, 1.0 is fractional. So the first block is read as texts.
A column that held nothing but integers, or nothing but fractions, is read as such from then on, several times as fast,
until a block holds something else; then it is read as texts for good.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import polars as pl
from polars.exceptions import PolarsError

from kedge.monitoring.profiles.column import FIRST, casts, integral_in
from kedge.monitoring.reading.pieces import MOST_COLUMNS, Notes, Piece, Unreadable, Values

_TEXT = pl.String()
_UNKNOWN = pl.Null()
"""Nothing but missing values yet."""


class Table:
    """names: of its columns, each different."""

    def __init__(self, names: Sequence[str], notes: Notes) -> None:
        self._names = list(names)
        self._notes = notes
        self._types: list[pl.DataType] = [_UNKNOWN] * len(self._names)

    def piece(self, block: bytes, file: str) -> Piece:
        """block: whole records. Raises Unreadable if they are not UTF-8."""
        frame = self._read(block, [_TEXT if each == _UNKNOWN else each for each in self._types])
        if frame is None:  # a column is not what it was, or a record has a field too many
            frame = self._as_texts(block, file)
        frame = self._learned(frame)
        if b'"' in block and b'""' in block:  # a quoted field without anything in it is missing too
            frame = frame.with_columns(pl.col(pl.String).replace("", None))
        columns = frame.get_columns()
        return Piece(frame.height, {name: Values(each) for name, each in zip(self._names, columns, strict=True)})

    def _read(self, block: bytes, types: Sequence[pl.DataType]) -> pl.DataFrame | None:
        if block.count(b",", 0, block.find(b"\n")) > MOST_COLUMNS:  # polars would name each field of the first line
            return None
        schema = {str(place): each for place, each in enumerate(types)}
        try:
            return pl.read_csv(block, has_header=False, schema=schema, missing_columns="insert")
        except PolarsError:
            return None

    def _as_texts(self, block: bytes, file: str) -> pl.DataFrame:
        texts = [_TEXT] * len(self._names)
        frame = self._read(block, texts)
        if frame is None:
            frame = self._read(self._mended(block, file), texts)
        if frame is None:
            raise Unreadable(f"{file} cannot be read as CSV.")
        return frame

    def _mended(self, block: bytes, file: str) -> bytes:
        """Without the records that have too many fields. Raises Unreadable if it is not UTF-8."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        for row in csv.reader(self._bounded(text(block, file), file)):
            if len(row) <= len(self._names):
                writer.writerow(row)
            else:
                self._notes.leave_out(f"{file}: a row has {len(row)} fields, and not {len(self._names)}")
        return out.getvalue().encode()

    def _bounded(self, block: str, file: str) -> Iterator[str]:
        """Its lines, but for those of so many fields that reading them would take all memory there is."""
        quotes = 0
        for line in io.StringIO(block, newline=""):
            if quotes % 2 == 0 and '"' not in line and line.count(",") >= MOST_COLUMNS:
                self._notes.leave_out(f"{file}: a row has more than {MOST_COLUMNS} fields")
                continue
            quotes += line.count('"')
            yield line

    def _learned(self, frame: pl.DataFrame) -> pl.DataFrame:
        columns = []
        for place, column in enumerate(frame.get_columns()):
            known = self._types[place]
            found = _as_written(column) if column.dtype == _TEXT != known else column
            if found.dtype not in (_UNKNOWN, known):
                self._types[place] = found.dtype if known == _UNKNOWN else _TEXT
            columns.append(found)
        return pl.DataFrame(columns)


def text(block: bytes, file: str) -> str:
    """Raises Unreadable."""
    try:
        return block.decode()
    except UnicodeDecodeError as error:
        line = block.count(b"\n", 0, error.start) + 1
        raise Unreadable(
            f"{file} is not UTF-8: byte 0x{block[error.start]:02x} in line {line} of a part of it. Write it as UTF-8."
        ) from None


def _as_written(texts: pl.Series) -> pl.Series:
    """As integers or as fractions if it holds nothing else; nothing at all is of no type."""
    present = len(texts) - texts.null_count()
    if not present:
        return texts.cast(_UNKNOWN)
    for kind in (pl.Int64(), pl.Float64()):
        if not casts(texts.head(FIRST), kind):
            continue
        numbers = texts.cast(kind, strict=False)
        if numbers.null_count() == texts.null_count():
            return texts if kind == pl.Float64 and integral_in(texts.drop_nulls()) else numbers
    return texts
