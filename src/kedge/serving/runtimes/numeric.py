"""The quick way for bodies and predictions that hold nothing but numbers: whatever else gives None. PURE.

What comes out is what `payload` makes of the same bytes the slow way, value by value: a test compares the two on every
kind of input. So anything that could be read in two ways is left to the slow way, which also has the words for what is
wrong. Plain tables are read by C where it is built (`tables.c`), the rest by orjson, which writes too. The numbers of
both are rounded as float() and repr() round them, at a tenth of their cost.

By orjson CSV is read as JSON, once it is known to hold digits, separators and nothing else: the two write such numbers
alike, but for what JSON refuses (`+1`, `.5`, `01`) and for `-0`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from kedge import core

if core.found(core.NATIVE).compiled:
    from kedge.serving.runtimes import tables
else:
    tables = None  # type: ignore[assignment]

Array = np.ndarray[Any, Any]

_OF_NUMBERS = b"0123456789+-.eE \t"
_KNOWN = {float, int, bool, type(None)}
_WIDEST_BYTES = 8
"""Of a number that Python's float and int hold; a long double is not among them."""


def from_json(body: bytes, columns: Sequence[str] | None) -> Array | None:
    """Rows of numbers, one row, or objects of numbers by column; also below "instances"."""
    if tables is not None and (found := tables.from_json(body)) is not None:
        return _of_table(*found)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(data) is dict:
        data = data.get("instances", [data])
    return _array(data, columns)


def _of_table(numbers: bytearray, rows: int) -> Array:
    array = np.frombuffer(numbers)
    return array.reshape(rows, -1) if rows else array


def from_json_lines(body: bytes, columns: Sequence[str] | None) -> Array | None:
    if tables is not None and (found := tables.from_json_lines(body)) is not None:
        return _of_table(*found)
    try:
        data = [orjson.loads(line) for line in body.split(b"\n") if line.strip()]
    except orjson.JSONDecodeError:
        return None
    return _array(data, columns)


def from_csv(body: bytes, columns: Sequence[str] | None) -> Array | None:
    """Lines with equal counts of numbers; between two commas may be nothing, which is NaN."""
    if tables is not None and (found := tables.from_csv(body)) is not None:
        return _of_table(*found)
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n")
    # Empty lines are no rows.
    body = body.strip(b"\n")
    separators = body.translate(None, _OF_NUMBERS) + b"\n"
    width = separators.find(b"\n") + 1
    count = len(separators) // width
    if separators != (b"," * (width - 1) + b"\n") * count:
        return None
    flat = body.replace(b"\n", b",")
    array = _from_list(flat)
    if array is None and body:
        if b"\n\n" in body:
            return None
        array = _from_list(_with_nulls(flat))
    if array is None or array.size != width * count:
        return None
    # JSON's -0 is a whole number, which has no sign. The search is dear, and zeros are few.
    if not array.all() and any(zero in flat + b"," for zero in (b"-0,", b"-0 ", b"-0\t")):
        return None
    return array.reshape(count, width)


def _from_list(flat: bytes) -> Array | None:
    try:
        return _numbers(orjson.loads(b"[" + flat + b"]"))
    except orjson.JSONDecodeError:
        return None


def _with_nulls(flat: bytes) -> bytes:
    """In each place between commas, and at the ends, where nothing is."""
    # Twice: of three commas in a row the middle one belongs to two gaps.
    return (b"," + flat + b",").replace(b",,", b",null,").replace(b",,", b",null,")[1:-1]


def to_json(prediction: Array) -> bytes | None:
    """As json.dumps writes it, but for exponents: 1e-7, not 1e-07."""
    text = _text(prediction)
    return None if text is None else text.replace(b",", b", ")


def to_csv(prediction: Array) -> bytes | None:
    text = _text(prediction) if 1 <= prediction.ndim <= 2 and prediction.size else None
    if text is None:
        return None
    if prediction.ndim == 1:
        return text[1:-1].replace(b",", b"\n") + b"\n"
    return text[2:-2].replace(b"],[", b"\n") + b"\n"


def _text(prediction: Array) -> bytes | None:
    if prediction.dtype.kind not in "fiu" or prediction.dtype.itemsize > _WIDEST_BYTES:
        return None
    # By way of Python's own numbers: of a float32 they have all the digits, as ever.
    text = orjson.dumps(prediction.tolist())
    # NaN and the infinities become null there, and nothing else has this letter.
    return None if b"n" in text else text


def _array(data: Any, columns: Sequence[str] | None) -> Array | None:
    if type(data) is not list or not data:
        return None
    first = data[0]
    if type(first) is dict and columns is not None:
        rows = _in_order(data, columns)
        if rows is None:
            return None
        data, first = rows, rows[0]
    if type(first) is not list:
        return _numbers(data)
    width = len(first)
    if len(data) == 1:
        flat = first
    else:
        if set(map(type, data)) != {list} or set(map(len, data)) != {width}:
            return None
        flat = list(chain.from_iterable(data))
    array = _numbers(flat)
    return None if array is None else array.reshape(len(data), width)


def _in_order(data: Sequence[Any], columns: Sequence[str]) -> list[list[Any]] | None:
    count = len(columns)
    if any(type(row) is not dict or len(row) != count for row in data):
        return None
    try:
        return [[row[name] for name in columns] for row in data]
    except KeyError:
        return None


def _numbers(values: list[Any]) -> Array | None:
    """Of floats, whole numbers and booleans, where null is NaN; None when anything else is among them, or nothing."""
    array = np.empty(len(values))
    try:
        # Takes no text for a number, as numpy does, and costs half of it.
        struct.pack_into(f"{len(values)}d", array.data, 0, *values)
    except struct.error:
        if not set(map(type, values)) <= _KNOWN:
            return None
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            return None
    except OverflowError:
        return None
    return array if len(values) else None
