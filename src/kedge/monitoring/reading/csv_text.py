"""CSV files: cut into blocks of whole records, whose columns have the names of the header, or of the baseline."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import IO

from kedge.monitoring.reading import csv_table
from kedge.monitoring.reading.csv_table import Table
from kedge.monitoring.reading.pieces import LONGEST_RECORD_BYTES, MOST_COLUMNS, PIECE_BYTES, Notes, Piece, Unreadable

_QUOTE = b'"'
_FIRST_BYTES = 1 << 20
"""Of them `csv_table` learns the types, which takes several times as long as reading by them."""
_MOST_LINES = 262_144
"""Of a block: more of a narrow file would take as much memory again, each value being of its own."""
_MARK = b"\xef\xbb\xbf"
"""Of UTF-8 at the start of a file, as spreadsheets write it."""


def read(stream: IO[bytes], file: str, *, header: bool, names: Sequence[str] | None, notes: Notes) -> Iterator[Piece]:
    """names: of the columns of a file without a header; else they are `_c0` and so on.

    Raises Unreadable for a file that is no CSV in UTF-8.
    """
    table: Table | None = None
    for block in blocks(stream, file):
        if table is None:
            block = block.removeprefix(_MARK).lstrip(b"\r\n")
            if not block:
                continue
            end = _end_of_first(block)
            first = _first(block[:end], file)
            table = Table(_distinct(first) if header else positional(len(first), names), notes)
            if header:
                block = block[end:]
        if block:
            yield table.piece(block, file)


def blocks(stream: IO[bytes], file: str, size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Whole records each, in about `size` bytes: a line's end within quotes ends none."""
    held, some = b"", min(size, _FIRST_BYTES)
    while more := _lines(stream, some):
        if some < size:
            some = min(size, _MOST_LINES * len(more) // (more.count(b"\n") + 1))
        block = held + more if held else more
        end = _end_of_last(block)
        if end == 0 and len(block) > LONGEST_RECORD_BYTES:
            raise Unreadable(
                f"{file} has no end of a line outside of quotes within {LONGEST_RECORD_BYTES >> 20} MiB: it is no CSV."
            )
        held = block[end:]
        if end:
            yield block[:end]
    if held:
        yield held


def _lines(stream: IO[bytes], size: int) -> bytes:
    """The next `size` bytes; of a plain file as many more as the line has, so that the block is copied only once."""
    if not isinstance(stream, io.BufferedReader):
        return stream.read(size)
    start = stream.tell()
    stream.seek(start + size)
    stream.readline(LONGEST_RECORD_BYTES)
    stop = stream.tell()
    stream.seek(start)
    return stream.read(stop - start)


def record(block: bytes, file: str) -> list[str]:
    """The fields of one record. Raises Unreadable if it is none in UTF-8."""
    try:
        return next(csv.reader(io.StringIO(csv_table.text(block, file), newline="")), [])
    except csv.Error as error:
        raise Unreadable(f"{file} cannot be read as CSV: {error}") from None


def _first(line: bytes, file: str) -> list[str]:
    """The fields of the record that says how many columns there are."""
    commas = line.count(b",")
    found = record(line, file) if commas < MOST_COLUMNS or _QUOTE in line else []
    number = len(found) or commas + 1
    if number > MOST_COLUMNS:
        raise Unreadable(f"{file} has {number} columns in its first line; more than {MOST_COLUMNS} are not read.")
    return found


def positional(number: int, names: Sequence[str] | None) -> list[str]:
    """The given names, then the ones that Spark gives."""
    return [*(names or ())[:number], *(f"_c{place}" for place in range(len(names or ()), number))]


def _distinct(names: Sequence[str]) -> list[str]:
    """A name that occurs again, or is empty, gets its position, as `_c3`."""
    found: list[str] = []
    seen: set[str] = set()
    for place, name in enumerate(names):
        called = name if name and name not in seen else f"{name}_c{place}"
        seen.add(called)
        found.append(called)
    return found


def _end_of_last(block: bytes) -> int:
    """Where the last whole record ends, 0 if none does. An escaped quote is two: within their number is odd."""
    end = block.rfind(b"\n") + 1
    if _QUOTE not in block:
        return end
    inside = block.count(_QUOTE, 0, end) % 2
    while end and inside:
        before = block.rfind(b"\n", 0, end - 1) + 1
        inside = (inside + block.count(_QUOTE, before, end)) % 2
        end = before
    return end


def _end_of_first(block: bytes) -> int:
    end = 0
    while True:
        end = block.find(b"\n", end) + 1
        if not end:
            return len(block)
        if block.count(_QUOTE, 0, end) % 2 == 0:
            return end
