"""CBOR (RFC 8949) as Smithy RPC v2 uses it: bytes <-> None, bool, int, float, str, bytes, list and dict.

Read is everything that a client may write: numbers and floats of any width, definite and indefinite lengths, tags. A
tag does not change its value, save for big numbers; that a number is a time is for the shape to say. Written is the
short form: definite lengths, floats of 64 bits, a time as tag 1.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from kedge.errors import SerializationFailed
from kedge.wire.shapes import MAX_DEPTH

MAX_ITEMS = 1_000_000
"""Data items of one request. The largest that a service here takes, 10,000 log events, has some 60,000."""

MAX_BIG_NUMBER_BYTES = 64

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE = 31
_BREAK = object()
_SIMPLE_VALUES = {20: False, 21: True, 22: None, 23: None}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_EPOCH_TIME, _BIG_NUMBER, _BIG_NEGATIVE = 1, 2, 3


@dataclass(frozen=True)
class EpochTime:
    """Seconds since 1970, written as tag 1."""

    seconds: int | float


def parse_cbor(body: bytes) -> Any:
    """The one data item that a body is. Raises SerializationFailed."""
    reader = _Reader(body)
    value = reader.item(0)
    if value is _BREAK:
        raise _wrong("a break stands outside of an indefinite length", 0)
    if reader.at != len(body):
        raise _wrong("there is more behind its end", reader.at)
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data
        self._items_left = MAX_ITEMS

    def item(self, depth: int) -> Any:
        """The next data item, _BREAK for the end of an indefinite length."""
        if depth > MAX_DEPTH:
            raise SerializationFailed(f"The body is nested more than {MAX_DEPTH} levels deep")
        self._items_left -= 1
        if self._items_left < 0:
            raise SerializationFailed(f"The body has more than {MAX_ITEMS} data items")
        start = self.at
        head = self._take(1)[0]
        major, info = head >> 5, head & 0x1F
        if major == _SIMPLE:
            return self._simple(info, start)
        if info == _INDEFINITE:
            return self._indefinite(major, depth, start)
        number = self._argument(info, start)
        match major:
            case 0:
                return number
            case 1:
                return -1 - number
            case 2:
                return self._take(number)
            case 3:
                return self._text(number, start)
            case 4:
                self._check_room(number, 1, start)
                return [self._value(depth + 1) for _ in range(number)]
            case 5:
                self._check_room(number, 2, start)
                return self._map(number, depth, start)
        return self._tagged(number, depth, start)

    def _argument(self, info: int, start: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise _wrong(f"{info} says nothing about a length", start)
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self.at:
            raise _wrong("it is cut short", self.at)
        self.at += count
        return self._data[self.at - count : self.at]

    def _check_room(self, count: int, least_bytes: int, start: int) -> None:
        """What is said to come needs bytes that are there, so no list is begun that the body cannot fill."""
        if count * least_bytes > len(self._data) - self.at:
            raise _wrong("it is cut short", start)

    def _value(self, depth: int) -> Any:
        start = self.at
        value = self.item(depth)
        if value is _BREAK:
            raise _wrong("a break stands outside of an indefinite length", start)
        return value

    def _text(self, count: int, start: int) -> str:
        try:
            return self._take(count).decode()
        except UnicodeDecodeError:
            raise SerializationFailed(f"The text at byte {start} is not UTF-8") from None

    def _simple(self, info: int, start: int) -> Any:
        if info == _INDEFINITE:
            return _BREAK
        if info in _SIMPLE_VALUES:
            return _SIMPLE_VALUES[info]
        if info in _FLOATS:
            return _FLOATS[info].unpack(self._take(_FLOATS[info].size))[0]
        raise _wrong(f"there is no simple value {info}", start)

    def _indefinite(self, major: int, depth: int, start: int) -> Any:
        if major in (_BYTES, _TEXT):
            return self._chunks(major, depth, start)
        if major == _ARRAY:
            found = []
            while (value := self.item(depth + 1)) is not _BREAK:
                found.append(value)
            return found
        if major == _MAP:
            return self._map(None, depth, start)
        raise _wrong("only strings, lists and maps can have an indefinite length", start)

    def _chunks(self, major: int, depth: int, start: int) -> Any:
        """The parts of a string, each of which is a string of the same kind and of definite length."""
        chunks: list[Any] = []
        while True:
            nested = self._data[self.at : self.at + 1] == bytes([major << 5 | _INDEFINITE])
            chunk = None if nested else self.item(depth + 1)
            if chunk is _BREAK:
                break
            if not isinstance(chunk, bytes if major == _BYTES else str):
                raise _wrong("a string has a part that is no string of its kind", start)
            chunks.append(chunk)
        return b"".join(chunks) if major == _BYTES else "".join(chunks)

    def _map(self, count: int | None, depth: int, start: int) -> dict[str, Any]:
        """count: of its entries, None for an indefinite length."""
        found: dict[str, Any] = {}
        while count is None or count > 0:
            name = self.item(depth + 1)
            if name is _BREAK and count is None:
                break
            if not isinstance(name, str):
                raise _wrong("a map has a key that is no text", start)
            if name in found:
                raise SerializationFailed(f'The name "{name[:100]}" stands twice in one map')
            found[name] = self._value(depth + 1)
            count = None if count is None else count - 1
        return found

    def _tagged(self, tag: int, depth: int, start: int) -> Any:
        value = self._value(depth + 1)
        if tag == _EPOCH_TIME and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _wrong("a time is no number", start)
        if tag in (_BIG_NUMBER, _BIG_NEGATIVE):
            if not isinstance(value, bytes) or len(value) > MAX_BIG_NUMBER_BYTES:
                raise _wrong(f"a big number is not in at most {MAX_BIG_NUMBER_BYTES} bytes", start)
            number = int.from_bytes(value, "big")
            return number if tag == _BIG_NUMBER else -1 - number
        return value


def _wrong(what: str, at: int) -> SerializationFailed:
    return SerializationFailed(f"The body is not CBOR: {what}, at byte {at}")


def cbor_bytes(value: Any) -> bytes:
    """Raises TypeError for what CBOR does not have here, OverflowError for a number of more than 64 bits."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


def _write(value: Any, out: bytearray) -> None:
    match value:
        case None:
            out.append(0xF6)
        case bool():
            out.append(0xF5 if value else 0xF4)
        case int():
            _head(_UNSIGNED, value, out) if value >= 0 else _head(_NEGATIVE, -1 - value, out)
        case float():
            out.append(0xFB)
            out += _FLOATS[27].pack(value)
        case str():
            text = value.encode(errors="replace")
            _head(_TEXT, len(text), out)
            out += text
        case bytes():
            _head(_BYTES, len(value), out)
            out += value
        case list():
            _head(_ARRAY, len(value), out)
            for item in value:
                _write(item, out)
        case dict():
            _head(_MAP, len(value), out)
            for name, item in value.items():
                _write(name, out)
                _write(item, out)
        case EpochTime():
            _head(_TAG, _EPOCH_TIME, out)
            _write(value.seconds, out)
        case _:
            raise TypeError(f"CBOR has no {type(value).__name__}")


def _head(major: int, number: int, out: bytearray) -> None:
    if number < 24:
        out.append(major << 5 | number)
        return
    width = next((power for power in range(4) if number < 1 << (8 << power)), None)
    if width is None:
        raise OverflowError(f"{number} does not fit 64 bits")
    out.append(major << 5 | 24 + width)
    out += number.to_bytes(1 << width, "big")
