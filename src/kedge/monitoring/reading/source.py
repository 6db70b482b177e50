"""A job's data set, whatever its format, as pieces."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kedge.monitoring.reading import captured, csv_text, files, parquet, rows, scripts
from kedge.monitoring.reading.flattening import Row, rows_within
from kedge.monitoring.reading.pieces import Notes, Piece, Unreadable

CSV, JSON, CAPTURED, MERGED, PARQUET = "csv", "json", "sagemakerCaptureJson", "sagemakerMergeJson", "parquet"
FORMATS = (CSV, JSON, CAPTURED, MERGED, PARQUET)
_WHOLE_JSON_BYTES = 512 << 20


@dataclass(frozen=True)
class Format:
    name: str
    header: bool = False
    lines: bool = True
    sides: tuple[str, ...] = captured.BOTH


@dataclass(frozen=True)
class Source:
    """names: the baseline's columns in order, for data that have none. start, end: of the window, empty for all.

    time: a column to add to captured records, of when each was; a script's rows have no such.
    """

    path: Path
    format: Format
    names: Sequence[str] | None = None
    script: Path | None = None
    start: str = ""
    end: str = ""
    time: str = ""


def format_of(text: str) -> Format:
    """Of the variable dataset_format. Raises Unreadable for another text than AWS's."""
    try:
        held: Any = json.loads(text)
        ((name, options),) = held.items()
    except (ValueError, AttributeError):
        raise Unreadable(
            f'dataset_format is {text!r}; it has to be JSON with one format, such as {{"csv": {{"header": true}}}}.'
        ) from None
    known = {each.lower(): each for each in FORMATS}.get(str(name).lower())
    if known is None or not isinstance(options, dict | None):
        raise Unreadable(f"dataset_format names {name!r}; the formats are {', '.join(FORMATS)}.")
    given = {str(key).lower(): value for key, value in (options or {}).items()}
    sides = given.get("captureindexnames") or captured.BOTH
    return Format(
        known, bool(given.get("header")), given.get("lines", given.get("line", True)) is not False, tuple(sides)
    )


def pieces(source: Source, notes: Notes, fetch: files.Fetch) -> Iterator[Piece]:
    """Raises Unreadable and ScriptFailed."""
    if not source.path.exists():
        raise Unreadable(f"dataset_source is {source.path}, which is not there.")
    paths = files.resolved(files.files(source.path), fetch)
    if source.format.name == PARQUET:
        if source.script:
            made = scripts.rows(source.script, _parquet_rows(paths))
            return rows.pieces(made, source.names)
        return itertools.chain.from_iterable(map(parquet.read, paths))
    if source.script:
        return rows.pieces(scripts.rows(source.script, _records(source, paths, notes)), source.names)
    if source.format.name == CSV:
        return _csv(source, paths, notes)
    if source.format.name == JSON:
        return rows.pieces(_json(source, paths, notes), source.names)
    return _captured(source, paths, notes)


def _csv(source: Source, paths: Iterable[Path], notes: Notes) -> Iterator[Piece]:
    for path in paths:
        with files.opened(path) as stream:
            yield from csv_text.read(stream, path.name, header=source.format.header, names=source.names, notes=notes)


def _captured(source: Source, paths: Iterable[Path], notes: Notes) -> Iterator[Piece]:
    reader = captured.Reader(notes, source.format.sides, source.names, source.start, source.end, source.time)
    for path in paths:
        with files.opened(path) as stream:
            yield from reader.read(stream, path.name)
    yield from reader.rest()


def _json(source: Source, paths: Iterable[Path], notes: Notes) -> Iterator[Row]:
    for path in paths:
        with files.opened(path) as stream:
            for value in _values(source, stream, path, notes):
                yield from rows_within(value)


def _values(source: Source, stream: IO[bytes], path: Path, notes: Notes) -> Iterator[Any]:
    if not source.format.lines:
        text = stream.read(_WHOLE_JSON_BYTES + 1)
        if len(text) > _WHOLE_JSON_BYTES:
            raise Unreadable(f"{path.name} is larger than {_WHOLE_JSON_BYTES >> 20} MiB; write it as JSON Lines.")
        lines: Iterable[bytes] = [text]
    else:
        lines = stream
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield captured.parsed(line)
            except captured.Odd as odd:
                notes.leave_out(f"{path.name}: {odd}" if notes.left_out else f"{path.name}, line {number}: {odd}")


def _records(source: Source, paths: Iterable[Path], notes: Notes) -> Iterator[Any]:
    """What a script is given: a captured record, a line of CSV as text, or a value of JSON."""
    for path in paths:
        with files.opened(path) as stream:
            if source.format.name == CSV:
                for number, line in enumerate(stream):
                    if line.strip() and (number or not source.format.header):
                        yield line.decode(errors="replace").rstrip("\r\n")
            elif source.format.name == JSON:
                yield from _values(source, stream, path, notes)
            else:
                for held in _values(source, stream, path, notes):
                    if isinstance(held, dict) and captured.is_within(held, source.start, source.end):
                        yield scripts.InferenceRecord(held)


def _parquet_rows(paths: Iterable[Path]) -> Iterator[Row]:
    for path in paths:
        for piece in parquet.read(path):
            columns = {name: values.series.to_list() for name, values in piece.columns.items()}
            for place in range(piece.rows):
                yield {name: column[place] for name, column in columns.items()}


__all__ = ["CAPTURED", "CSV", "JSON", "MERGED", "PARQUET", "Format", "Source", "format_of", "pieces"]
