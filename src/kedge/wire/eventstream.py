"""application/vnd.amazon.eventstream: one message of headers and a payload, framed and with checksums. PURE.

    total length (4)  headers length (4)  CRC of these 8 (4)
    headers: name length (1) name  type (1)  value
    payload
    CRC of all before (4)

Numbers are big-endian, the CRC is CRC-32. It imports nothing heavy, because a router streams answers with it.
Source: Smithy's "Amazon Event Stream specification".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

MEDIA_TYPE = "application/vnd.amazon.eventstream"

MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
MAX_HEADERS_BYTES = 128 * 1024

Header = str | bytes | bool | int | datetime | UUID
"""An int is written with 32 bits where it fits, else with 64."""

_LENGTHS = struct.Struct(">II")
_TRUE, _FALSE, _INT, _LONG, _BYTES, _TEXT, _TIME, _UUID = 0, 1, 4, 5, 6, 7, 8, 9


def message(headers: Mapping[str, Header], payload: bytes) -> bytes:
    """Raises ValueError for what the format cannot hold."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    if len(head) > MAX_HEADERS_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"an event of {len(head)} bytes of headers and {len(payload)} bytes of payload is too large")
    prelude = (len(head) + len(payload) + 16).to_bytes(4, "big") + len(head).to_bytes(4, "big")
    framed = prelude + zlib.crc32(prelude).to_bytes(4, "big") + head + payload
    return framed + zlib.crc32(framed).to_bytes(4, "big")


class Framed:
    """Events of one kind that differ in nothing but their payload: what is the same for all is made once."""

    def __init__(self, event_type: str, content_type: str) -> None:
        named = {":message-type": "event", ":event-type": event_type, ":content-type": content_type}
        self._head = b"".join(_header(name, value) for name, value in named.items())

    def __call__(self, payload: bytes) -> bytes:
        """payload: at most MAX_PAYLOAD_BYTES."""
        head = self._head
        prelude = _LENGTHS.pack(len(head) + len(payload) + 16, len(head))
        start = b"%s%s%s" % (prelude, zlib.crc32(prelude).to_bytes(4, "big"), head)
        return b"%s%s%s" % (start, payload, zlib.crc32(payload, zlib.crc32(start)).to_bytes(4, "big"))


def event(event_type: str, content_type: str, payload: bytes, headers: Mapping[str, Header] | None = None) -> bytes:
    """A modelled event. headers: members that travel as headers."""
    named: dict[str, Header] = {":message-type": "event", ":event-type": event_type}
    if content_type:
        named[":content-type"] = content_type
    return message({**named, **(headers or {})}, payload)


def exception(exception_type: str, content_type: str, payload: bytes) -> bytes:
    """A modelled error, after which nothing follows. exception_type: the member's name in the stream's shape."""
    return message(
        {":message-type": "exception", ":exception-type": exception_type, ":content-type": content_type}, payload
    )


def error(code: str, text: str) -> bytes:
    """An error that the stream's shape does not know, after which nothing follows."""
    return message({":message-type": "error", ":error-code": code, ":error-message": _cut(text)}, b"")


def _cut(text: str) -> str:
    """As much of a text as a header can hold."""
    return text.encode(errors="replace")[:32_767].decode(errors="ignore")


def _header(name: str, value: Header) -> bytes:
    raw = name.encode()
    if not 1 <= len(raw) <= 255:
        raise ValueError(f"the name of a header has 1 to 255 bytes, not {len(raw)}")
    return bytes([len(raw)]) + raw + _value(name, value)


def _value(name: str, value: Header) -> bytes:
    match value:
        case bool():
            return bytes([_TRUE if value else _FALSE])
        case int() if -(1 << 31) <= value < 1 << 31:
            return bytes([_INT]) + value.to_bytes(4, "big", signed=True)
        case int() if -(1 << 63) <= value < 1 << 63:
            return bytes([_LONG]) + value.to_bytes(8, "big", signed=True)
        case bytes() if len(value) <= 32_767:
            return bytes([_BYTES]) + len(value).to_bytes(2, "big") + value
        case str() if len(raw := value.encode(errors="replace")) <= 32_767:
            return bytes([_TEXT]) + len(raw).to_bytes(2, "big") + raw
        case datetime():
            return bytes([_TIME]) + round(value.timestamp() * 1000).to_bytes(8, "big", signed=True)
        case UUID():
            return bytes([_UUID]) + value.bytes
    raise ValueError(f"the header {name} cannot hold {type(value).__name__} of this size")
