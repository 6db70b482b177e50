"""application/x-recordio-protobuf: SageMaker's binary format of rows. PURE.

A file of RecordIO frames, each one a protobuf message:

    Record  { map<string, Value> features = 1; ... }
    Value   { Float32Tensor float32_tensor = 2; Float64Tensor float64_tensor = 3; Int32Tensor int32_tensor = 7; }
    Tensor  { repeated values = 1; repeated uint64 keys = 2; repeated uint64 shape = 3; }    packed or not

The row is the feature "values". keys make it sparse: what is not there is missing. Labels and metadata are not read.
Source: SageMaker's guide, "Common data formats for training"; the protobuf wire format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from kedge.serving.runtimes import joining
from kedge.serving.runtimes.base import BadInput

_MAGIC = 0xCED7230A
_FEATURE = "values"
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_TYPES = {2: "<f4", 3: "<f8"}
_INT32 = 7
Part = tuple[int, int, Any]
"""(field number, wire type, value)"""


def rows(body: bytes, width: int) -> np.ndarray[Any, Any]:
    """Shape (records, width); width 0 takes that of the widest record. Raises BadInput and TooLarge."""
    table = []
    for number, record in enumerate(_frames(body), 1):
        try:
            table.append(_row(record))
        except (ValueError, IndexError, struct.error, UnicodeDecodeError, OverflowError) as error:
            raise BadInput(f"Record {number} is no protobuf message of SageMaker's: {error}.") from error
    if not table:
        raise BadInput("The body holds no records.")
    return joining.dense(table, width)


def _frames(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        if len(body) - at < 8:
            raise BadInput(f"The RecordIO frame at byte {at} is cut off.")
        magic, head = struct.unpack_from("<II", body, at)
        flag, length = head >> 29, head & 0x1FFFFFFF
        if magic != _MAGIC or flag:
            raise BadInput(f"There is no whole RecordIO frame at byte {at}.")
        if at + 8 + length > len(body):
            raise BadInput(f"The RecordIO frame at byte {at} is cut off.")
        yield body[at + 8 : at + 8 + length]
        at += 8 + (length + 3) // 4 * 4


def _row(record: bytes) -> dict[int, float]:
    """Column to value."""
    for number, kind, entry in _parts(record):
        if (number, kind) != (1, _BYTES):
            continue
        fields = {field: value for field, wire, value in _parts(entry) if wire == _BYTES}
        if fields.get(1, b"").decode() == _FEATURE:
            return _tensor(fields.get(2, b""))
    raise ValueError('it has no feature "values"')


def _tensor(value: bytes) -> dict[int, float]:
    for number, kind, tensor in _parts(value):
        if kind != _BYTES or number not in (*_TYPES, _INT32):
            continue
        values: list[float] = []
        keys: list[int] = []
        for field, wire, content in _parts(tensor):
            if field == 1:
                values.extend(_numbers(number, wire, content))
            elif field == 2:
                keys.extend(_varints(content) if wire == _BYTES else [content])
        if keys and len(keys) != len(values):
            raise ValueError(f"it has {len(keys)} keys and {len(values)} values")
        return dict(zip(keys, values, strict=True)) if keys else dict(enumerate(values))
    raise ValueError("its values are no tensor of numbers")


def _numbers(tensor: int, wire: int, content: Any) -> list[float]:
    if tensor == _INT32:
        found = _varints(content) if wire == _BYTES else [content]
        return [
            float((value & 0xFFFFFFFF) - (1 << 32) if value & 0x80000000 else value & 0xFFFFFFFF) for value in found
        ]
    data: list[float] = np.frombuffer(content, _TYPES[tensor]).astype(float).tolist()
    return data


def _parts(message: bytes) -> Iterator[Part]:
    """Each field. The value is an int for a varint, else bytes. Raises ValueError."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value: Any
            value, at = _varint(message, at)
        elif kind in (_EIGHT, _FOUR, _BYTES):
            length = 8 if kind == _EIGHT else 4
            if kind == _BYTES:
                length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("it is cut off")
            value, at = message[at : at + length], at + length
        else:
            raise ValueError(f"it has a field of wire type {kind}")
        yield number, kind, value


def _varints(content: bytes) -> list[int]:
    found, at = [], 0
    while at < len(content):
        value, at = _varint(content, at)
        found.append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("it holds a number of more than 64 bits")
