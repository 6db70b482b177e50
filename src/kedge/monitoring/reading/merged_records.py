"""Captured and merged records as columns: what attributes name in a request, in its answer and in its label.

An attribute is a position ("0") of CSV or of a JSON list, or JMESPath of JSON, also with JSONPath's "$." before it.
What gives a list is of as many rows. Sources: the documented attributes of EndpointInput; jmespath.org.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jmespath
import orjson
from jmespath.exceptions import JMESPathError

from kedge.monitoring.reading import captured, files
from kedge.monitoring.reading.captured import Odd
from kedge.monitoring.reading.pieces import Notes

_CSV_TYPES = ("text/csv", "text/x-csv", "application/csv")


def records(source: Path, notes: Notes, start: str = "", end: str = "") -> Iterator[dict[str, Any]]:
    """Of all files below; those of another time are none of the window's."""
    for path in files.files(source):
        with files.opened(path) as stream:
            for line in stream:
                if not line.strip():
                    continue
                try:
                    held = captured.parsed(line)
                except Odd as odd:
                    notes.leave_out(str(odd))
                    continue
                if not isinstance(held, dict) or not isinstance(held.get("captureData"), dict):
                    notes.leave_out("a line is no captured record: it has no captureData")
                elif captured.is_within(held, start, end):
                    yield held


def side(record: dict[str, Any], names: Sequence[str]) -> Any:
    """The first of these sides that was captured. Raises Odd."""
    for name in names:
        found = record["captureData"].get(name)
        if found is not None:
            return found
    raise Odd(f"a record holds none of {', '.join(names)}")


def values(held: Any, attribute: str | None, what: str) -> list[Any]:
    """One value for each row of a side or label. attribute: None takes the only one that a row has. Raises Odd."""
    document = parsed(held)
    if isinstance(document, Table):
        return [_of_row(row, attribute, what) for row in document]
    if attribute is None:
        return [_only(each, what) for each in (document if isinstance(document, list) else [document])]
    if attribute.isdigit():
        rows = document if isinstance(document, list) and document and isinstance(document[0], list) else [document]
        return [_of_row(row if isinstance(row, list) else [row], attribute, what) for row in rows]
    found = search(attribute, document)
    if found is None:
        raise Odd(f"{what}: nothing is at {attribute!r}")
    return found if isinstance(found, list) else [found]


def rows(held: Any, attribute: str | None) -> list[Any]:
    """The rows of a side: lists of fields of CSV; of JSON what the attribute finds, lists or objects. Raises Odd."""
    document = parsed(held)
    if isinstance(document, Table):
        return list(document)
    if attribute:
        document = search(attribute, document)
    elif isinstance(document, dict) and len(document) == 1 and isinstance(next(iter(document.values())), list):
        document = next(iter(document.values()))
    if not isinstance(document, list | dict) or not document:
        raise Odd(f"a record has no features at {attribute!r}")
    return document if isinstance(document, list) and isinstance(document[0], list | dict) else [document]


class Table(list[list[str]]):
    """Rows of CSV."""


def parsed(held: Any) -> Any:
    """The document of a side: a Table of CSV; of JSON Lines a list. Raises Odd."""
    if not isinstance(held, dict) or not isinstance(held.get("data"), str):
        raise Odd("the data of a record is no text")
    data, encoding = held["data"], held.get("encoding", "CSV")
    mime = str(held.get("observedContentType", "")).partition(";")[0].strip().lower()
    if encoding == "BASE64":
        try:
            data = base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError):
            raise Odd(f"data of the content type {mime or 'unknown'} in BASE64 is no text in UTF-8") from None
        encoding = "CSV" if mime in _CSV_TYPES else "JSON"
    if encoding == "CSV":
        return Table(row for row in csv.reader(io.StringIO(data, newline="")) if row)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return [captured.parsed(line.encode()) for line in data.splitlines() if line.strip()]


def search(attribute: str, document: Any) -> Any:
    try:
        return jmespath.search(attribute.removeprefix("$."), document)
    except JMESPathError as error:
        raise Odd(f"{attribute!r} is no JMESPath: {str(error).splitlines()[0]}") from None


def _of_row(row: list[Any], attribute: str | None, what: str) -> Any:
    if attribute is None:
        return _only(row, what)
    if not attribute.isdigit():
        raise Odd(f"{what}: {attribute!r} names no column of CSV; give a position, from 0 on")
    if int(attribute) >= len(row):
        raise Odd(f"{what}: there is no column {attribute}, only {len(row)}")
    return row[int(attribute)]


def _only(row: Any, what: str) -> Any:
    inner = list(row.values()) if isinstance(row, dict) else row if isinstance(row, list) else [row]
    if len(inner) != 1 or isinstance(inner[0], list | dict):
        raise Odd(f"{what}: a row has {len(inner)} values, and no attribute says which")
    return inner[0]
