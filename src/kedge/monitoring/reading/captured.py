"""Captured records: one JSON object a line, each with the input and the answer of one request, of one row or of many.

What both sides hold is joined row by row, the answer's columns first, whatever the two content types are. Where both
are CSV the rows are joined as text and read at CSV's speed. Plain JSON is read many records at a time (`alike`).
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import orjson

from kedge.monitoring.reading import alike, rows
from kedge.monitoring.reading.csv_table import Table
from kedge.monitoring.reading.csv_text import positional
from kedge.monitoring.reading.flattening import Row, flattened, joined, rows_within
from kedge.monitoring.reading.pieces import PIECE_BYTES, Notes, Piece

INPUT = "endpointInput"
OUTPUTS = ("endpointOutput", "batchTransformOutput")
LABEL = "groundTruthData"
"""As a side, of merged records: the label in the answer's place, as a training set has it."""
BOTH = (INPUT, OUTPUTS[0])

_CSV_TYPES = ("text/csv", "text/x-csv", "application/csv")
_LINES_TYPES = ("application/jsonlines", "application/x-jsonlines", "application/x-ndjson", "application/jsonl")


_NOT_PLAIN = set(',"\r\n')
_BLOCK_BYTES = 1 << 20
"""Of records that are read together."""


class Odd(Exception):
    """Why a record is left out."""


@dataclass
class Reader:
    """One a job. sides: which of `captureData` there are to be read; names: of the baseline's columns, in order.

    start, end: inferenceTime, as text; a record from another time is none of this window's. time: a column to add, of
    the inferenceTime of each row's record.
    """

    notes: Notes
    sides: Sequence[str] = BOTH
    names: Sequence[str] | None = None
    start: str = ""
    end: str = ""
    time: str = ""
    _texts: dict[int, bytearray] = field(default_factory=dict)
    """Number of fields to joined rows of CSV."""
    _tables: dict[int, Table] = field(default_factory=dict)
    _rows: list[Row] = field(default_factory=list)
    _held: alike.Columns = field(default_factory=lambda: alike.Columns(0, {}))
    """Of records that were read together."""

    def read(self, stream: IO[bytes], file: str) -> Iterator[Piece]:
        given = INPUT if INPUT in self.sides else ""
        answers = [side for side in OUTPUTS if side in self.sides]
        before = 0
        while lines := stream.readlines(_BLOCK_BYTES):
            found = None
            if LABEL not in self.sides:
                found = alike.taken(lines, given, answers, self.start, self.end, self.time)
            if found is not None:
                yield from self._add_columns(found)
            else:
                yield from self._columns_so_far()
                self._add_each(lines, file, before)
            before += len(lines)
            yield from self._full(file)

    def _add_columns(self, found: alike.Columns) -> Iterator[Piece]:
        if not found.rows:
            return
        yield from self._rows_so_far()  # what came before has the first columns
        if list(self._held.columns) != list(found.columns):
            yield from self._columns_so_far()
            self._held = found
            return
        for held, more in zip(self._held.columns.values(), found.columns.values(), strict=True):
            held += more
        self._held = alike.Columns(self._held.rows + found.rows, self._held.columns)
        if self._held.rows >= rows.most_rows(len(found.columns)):
            yield from self._columns_so_far()

    def _columns_so_far(self) -> Iterator[Piece]:
        if self._held.rows:
            yield Piece(self._held.rows, {name: rows.values(each) for name, each in self._held.columns.items()})
        self._held = alike.Columns(0, {})

    def _rows_so_far(self) -> Iterator[Piece]:
        if self._rows:
            yield from rows.pieces(self._rows, self.names)
            self._rows = []

    def _add_each(self, lines: list[bytes], file: str, before: int) -> None:
        for number, line in enumerate(lines, before + 1):
            if len(line) < 3 and not line.strip():
                continue
            try:
                self._add(parsed(line))
            except Odd as odd:
                self.notes.leave_out(f"{odd} (first in {file}, line {number})" if not self.notes.left_out else str(odd))

    def rest(self) -> Iterator[Piece]:
        """After the last file."""
        for width in sorted(self._texts):
            yield self._table(width, "captured CSV")
        self._texts = {}
        yield from self._columns_so_far()
        yield from self._rows_so_far()

    def _full(self, file: str) -> Iterator[Piece]:
        for width, text in list(self._texts.items()):
            if len(text) > PIECE_BYTES:
                yield self._table(width, file)
                del self._texts[width]
        if len(self._rows) >= rows.PIECE_ROWS:
            yield from self._rows_so_far()

    def _table(self, width: int, file: str) -> Piece:
        table = self._tables.get(width)
        if table is None:
            names = [*positional(width - 1, self.names), self.time] if self.time else positional(width, self.names)
            table = self._tables[width] = Table(names, self.notes)
        return table.piece(bytes(self._texts[width]), file)

    def _add(self, record: Any) -> None:
        if record.__class__ is not dict or record.get("captureData").__class__ is not dict:
            raise Odd("A line is no captured record: it has no captureData")
        if (self.start or self.end) and not is_within(record, self.start, self.end):
            return
        data = record["captureData"]
        given = data.get(INPUT) if INPUT in self.sides else None
        answer = None
        for side in OUTPUTS:
            if side in self.sides and side in data:
                answer = data[side]
        if LABEL in self.sides:
            answer = record.get(LABEL)
        if given is None and answer is None:
            raise Odd(f"A record holds none of {', '.join(self.sides)}")
        at = _time_of(record) if self.time else ""
        texts = [self._csv_of(side) for side in (answer, given) if side is not None]
        if all(text is not None for text in texts):
            self._add_csv([text for text in texts if text is not None], at)
        else:
            rows_of_it = rows_of(answer, given)
            if self.time:
                for row in rows_of_it:
                    row[self.time] = at or None
            self._rows.extend(rows_of_it)

    def _csv_of(self, side: Any) -> str | None:
        """Its text, if it is CSV of one plain line."""
        if side.__class__ is not dict or side.get("encoding") != "CSV":
            return None
        text = side.get("data")
        if text.__class__ is not str:
            raise Odd("The data of a record is no text")
        text = text.rstrip("\r\n")
        return None if "\n" in text or '"' in text or not text else text

    def _add_csv(self, texts: list[str], at: str) -> None:
        line = ",".join([*texts, at] if self.time else texts)
        width = line.count(",")
        held = self._texts.get(width + 1)
        if held is None:
            held = self._texts[width + 1] = bytearray()
        held += line.encode()
        held += b"\n"


def rows_of(answer: Any, given: Any) -> list[Row]:
    """Of one record; a side that was not captured is None. Raises Odd."""
    flat = [flat_row(side) for side in (answer, given) if side is not None]
    if None not in flat:
        return [joined(flat[0], flat[1]) if len(flat) == 2 else flat[0]]  # type: ignore[arg-type,list-item]
    inputs = sides_rows(given) if given is not None else None
    outputs = sides_rows(answer, len(inputs) if inputs else None) if answer is not None else None
    if inputs is None or outputs is None:
        return outputs if inputs is None else inputs  # type: ignore[return-value]
    if len(inputs) != len(outputs):
        # A JSON input may be one row that holds a list of as many items as the answer has.
        inputs = sides_rows(given, len(outputs))
    if len(inputs) != len(outputs):
        raise Odd(f"A record has {len(inputs)} rows of input and {len(outputs)} of output")
    return list(map(joined, outputs, inputs))


def _time_of(record: dict[str, Any]) -> str:
    """ "" without one; it goes into CSV as it is."""
    meta = record.get("eventMetadata")
    at = meta.get("inferenceTime") if isinstance(meta, dict) else None
    return at if isinstance(at, str) and not set(at) & _NOT_PLAIN else ""


def is_within(record: dict[str, Any], start: str, end: str) -> bool:
    """Whether its time, if it has one, is from start on and before end; each may be empty."""
    meta = record.get("eventMetadata")
    at = str(meta.get("inferenceTime", "")) if isinstance(meta, dict) else ""
    return not at or (at >= start and (not end or at < end))


def parsed(line: bytes | str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(line)  # it knows NaN and Infinity, as Python writes them
        except UnicodeDecodeError:
            raise Odd("A line is not UTF-8") from None
        except (ValueError, RecursionError):
            raise Odd(f"A line is no JSON: {error}") from None


def flat_row(side: Any) -> Row | None:
    """Of JSON that is one object of plain values, as most is; None: it may be anything else."""
    if side.__class__ is not dict or side.get("encoding") != "JSON":
        return None
    data = side.get("data")
    if data.__class__ is not str or "[" in data or data.count("{") != 1:
        return None
    found = parsed(data)
    return found if found.__class__ is dict else None


def sides_rows(side: Any, expected: int | None = None) -> list[Row]:
    if side.__class__ is not dict or side.get("data").__class__ is not str:
        raise Odd("The data of a record is no text")
    data, encoding = side["data"], side.get("encoding")
    mime = str(side.get("observedContentType", "")).partition(";")[0].strip().lower()
    if encoding == "BASE64":
        try:
            data = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise Odd(f"Data of the content type {mime or 'unknown'} in BASE64 is no text in UTF-8") from None
        if mime not in _CSV_TYPES and "json" not in mime:
            raise Odd(
                f"Data of the content type {mime or 'unknown'} is neither CSV nor JSON; a record preprocessor script "
                "can read it"
            )
    if encoding == "CSV" or (encoding != "JSON" and mime in _CSV_TYPES):
        return [
            dict(enumerate(each or None for each in row)) for row in csv.reader(io.StringIO(data, newline="")) if row
        ]
    if mime in _LINES_TYPES:
        return _lines(data, expected)
    try:
        return rows_within(parsed(data), expected)
    except Odd:
        return _lines(data, expected)


def _lines(data: str, expected: int | None) -> list[Row]:
    """Each of several lines is a row; a single one may hold more."""
    found = [parsed(line) for line in data.splitlines() if line.strip()]
    if not found:
        raise Odd("The data of a record is empty")
    return rows_within(found[0], expected) if len(found) == 1 else [flattened(each) for each in found]
