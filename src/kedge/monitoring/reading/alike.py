"""Captured JSON whose records are all of one shape, as those of an endpoint mostly are, read together. PURE.

A block of lines is parsed as one document, and so is what all of its records hold; columns are then taken out of all
rows at once. It says the same as reading record by record, in less time, or nothing: whatever is unlike the block's
first record, such as a line that is no JSON, is for the reader that takes one record at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from kedge.monitoring.reading.flattening import answer_name

_PLAIN = {str, int, float, bool, type(None)}


class Columns(NamedTuple):
    rows: int
    columns: dict[str, list[Any]]


class _Unlike(Exception):
    pass


def taken(
    lines: Sequence[bytes], given: str, answers: Sequence[str], start: str, end: str, time: str = ""
) -> Columns | None:
    """None: the records are not of one shape, or not of a plain one.

    given: the input's name, empty if it is not asked for; answers: names of the answer, of which the last counts.
    time: a column to add, of inferenceTime.
    """
    try:
        return _taken(lines, given, answers, start, end, time)
    except (_Unlike, orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None


def _taken(lines: Sequence[bytes], given: str, answers: Sequence[str], start: str, end: str, time: str) -> Columns:
    _look(orjson.loads(lines[0]))
    records = _objects(orjson.loads(b"[%b]" % b",".join(lines)), len(lines))
    if start or end:
        times = map(itemgetter("inferenceTime"), map(itemgetter("eventMetadata"), records))
        records = [
            record
            for record, at in zip(records, times, strict=True)
            if not at or (at >= start and (not end or at < end))
        ]
    held = _objects(list(map(itemgetter("captureData"), records)), len(records))
    if not held:
        return Columns(0, {})
    of_all = _keys(held)
    names = [*[name for name in answers if name in of_all][-1:], *[name for name in (given,) if name in of_all]]
    sides = [list(map(itemgetter(name), held)) for name in names]
    if {encoding for side in sides for encoding in map(itemgetter("encoding"), side)} != {"JSON"}:
        raise _Unlike
    found = _json([list(map(itemgetter("data"), side)) for side in sides], answered=len(names) == 2)
    if time:
        found.columns[time] = list(map(itemgetter("inferenceTime"), map(itemgetter("eventMetadata"), records)))
    return found


def _look(record: Any) -> None:
    """Raises _Unlike early, where the first record is of no plain shape: no block is parsed for nothing."""
    for side in record["captureData"].values():
        if side["encoding"] != "JSON" or "[" in side["data"] or side["data"].count("{") != 1:
            raise _Unlike


def _json(sides: list[list[str]], *, answered: bool) -> Columns:
    """sides: the answer's and the input's, or one of them."""
    rows = [_objects(orjson.loads(f"[{','.join(side)}]"), len(side)) for side in sides]
    keys = [_keys(side) for side in rows]
    columns: dict[str, list[Any]] = {}
    for place, (side, of_all) in enumerate(zip(rows, keys, strict=True)):
        others = keys[1] if answered and not place else ()
        for key in of_all:
            column = list(map(itemgetter(key), side))
            if not _PLAIN.issuperset(map(type, column)):
                raise _Unlike
            columns[answer_name(key, others)] = column
    return Columns(len(rows[0]), columns)


def _objects(found: Any, number: int) -> list[dict[str, Any]]:
    if len(found) != number or set(map(type, found)) - {dict}:
        raise _Unlike
    objects: list[dict[str, Any]] = found
    return objects


def _keys(objects: list[dict[str, Any]]) -> list[str]:
    """Those that all have; raises KeyError (when they are taken) or _Unlike where one has others."""
    keys = list(objects[0])
    if set(map(len, objects)) != {len(keys)}:
        raise _Unlike
    return keys
