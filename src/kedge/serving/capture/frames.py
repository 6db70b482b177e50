"""Bytes between a router and the capture process. PURE.

    u32 length of what follows | u8 kind | ...

A router announces each variant once on a connection, under a number, and then sends records of it by that number. The
capture process answers with counts, in JSON, one line each: what it has spooled and dropped, so that the router knows
what was lost when the connection ends.

    FORGET     from the control process, which was reset: drop all that waits, then close the connection
    ANNOUNCE   u32 number | JSON of a Source
    RECORD     u32 number | f64 time | lengths: u8 and four u16 of the texts, two u32 of the bodies | texts | bodies
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass

from kedge.serving.capture.records import Source, Taken

ANNOUNCE, RECORD, FORGET = 1, 2, 3
MAX_FRAME_BYTES = 2**31
_LENGTH = struct.Struct("<I")
_ANNOUNCE = struct.Struct("<IBI")
_RECORD = struct.Struct("<IBIdBHHHHII")
_RECORD_REST = struct.Struct("<IdBHHHHII")
_NUMBER = struct.Struct("<I")
_LENGTH_BYTES = _LENGTH.size
_FORGET = struct.Struct("<IB")


class BadFrame(ValueError):
    """The peer is no router of this release."""


@dataclass(frozen=True, slots=True)
class Announced:
    number: int
    source: Source


class Forget:
    """A frame of that kind."""


def forget() -> bytes:
    return _FORGET.pack(1, FORGET)


def announce(number: int, source: Source) -> bytes:
    text = json.dumps(source.as_dict(), separators=(",", ":")).encode()
    return _ANNOUNCE.pack(1 + 4 + len(text), ANNOUNCE, number) + text


def record_head(
    number: int,
    at_s: float,
    event_id: str,
    inference_id: str,
    attributes: str,
    input_type: str,
    output_type: str,
    input_bytes: int,
    output_bytes: int,
) -> bytes:
    """All of a record but its two bodies, which follow. Texts are ASCII, as the headers that they come from."""
    texts = (event_id + inference_id + attributes + input_type + output_type).encode("ascii")
    return (
        _RECORD.pack(
            _RECORD.size - _LENGTH_BYTES + len(texts) + input_bytes + output_bytes,
            RECORD,
            number,
            at_s,
            len(event_id),
            len(inference_id),
            len(attributes),
            len(input_type),
            len(output_type),
            input_bytes,
            output_bytes,
        )
        + texts
    )


class Decoder:
    """Frames out of the pieces in which they arrive."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._needed = _LENGTH_BYTES
        """How much has to be held before there is anything to decode: a long frame is not looked at piece by piece."""

    def feed(self, data: bytes) -> list[Announced | Forget | tuple[int, Taken]]:
        """Raises BadFrame, and then nothing more can be read."""
        if self._held:
            self._held += data
            if len(self._held) < self._needed:
                return []
            data = bytes(self._held)
            self._held.clear()
        found: list[Announced | Forget | tuple[int, Taken]] = []
        at, end = 0, len(data)
        self._needed = _LENGTH_BYTES
        while end - at >= _LENGTH_BYTES:
            (length,) = _LENGTH.unpack_from(data, at)
            if not 1 <= length <= MAX_FRAME_BYTES:
                raise BadFrame(f"a frame of {length} bytes")
            if end - at - _LENGTH_BYTES < length:
                self._needed = _LENGTH_BYTES + length
                break
            found.append(_frame(data, at + _LENGTH_BYTES, at + _LENGTH_BYTES + length))
            at += _LENGTH_BYTES + length
        self._held += data[at:]
        return found


def _frame(data: bytes, start: int, end: int) -> Announced | Forget | tuple[int, Taken]:
    kind = data[start]
    try:
        if kind == RECORD:
            return _record(data, start + 1, end)
        if kind == ANNOUNCE:
            (number,) = _NUMBER.unpack_from(data[start + 1 : end])
            return Announced(number, Source.of(json.loads(data[start + 1 + _NUMBER.size : end])))
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise BadFrame(f"a frame that cannot be read: {error!r}") from error
    if kind == FORGET:
        return Forget()
    raise BadFrame("a frame of a kind that is not known")


def _record(data: bytes, start: int, end: int) -> tuple[int, Taken]:
    number, at_s, event, inference, attributes, in_type, out_type, in_bytes, out_bytes = _RECORD_REST.unpack_from(
        data, start
    )
    texts = start + _RECORD_REST.size
    inference += event
    attributes += inference
    in_type += attributes
    out_type += in_type
    bodies = texts + out_type
    if bodies + in_bytes + out_bytes != end:
        raise BadFrame("a record whose lengths do not add up")
    text = data[texts:bodies].decode("ascii")
    return number, Taken(
        at_s,
        text[:event],
        text[event:inference],
        text[inference:attributes],
        text[attributes:in_type],
        text[in_type:],
        data[bodies : bodies + in_bytes],
        data[bodies + in_bytes : end],
    )
