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
from collections.abc import Iterator
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

    def feed(self, data: bytes) -> Iterator[Announced | Forget | tuple[int, Taken]]:
        """Raises BadFrame, and then nothing more can be read. What is returned has to be read to its end."""
        held = self._held
        held += data
        at = 0
        view = memoryview(held)
        try:
            while len(held) - at >= _LENGTH_BYTES:
                (length,) = _LENGTH.unpack_from(held, at)
                if not 1 <= length <= MAX_FRAME_BYTES:
                    raise BadFrame(f"a frame of {length} bytes")
                if len(held) - at - _LENGTH_BYTES < length:
                    break
                start = at + _LENGTH_BYTES
                at = start + length
                yield _frame(view[start:at])
        finally:
            view.release()
            del held[:at]


def _frame(frame: memoryview) -> Announced | Forget | tuple[int, Taken]:
    try:
        if frame[0] == RECORD:
            return _record(frame)
        if frame[0] == FORGET:
            return Forget()
        if frame[0] == ANNOUNCE:
            return Announced(_NUMBER.unpack_from(frame, 1)[0], Source.of(json.loads(bytes(frame[1 + _NUMBER.size :]))))
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise BadFrame(f"a frame that cannot be read: {error!r}") from error
    finally:
        frame.release()
    raise BadFrame("a frame of a kind that is not known")


def _record(frame: memoryview) -> tuple[int, Taken]:
    number, at_s, *lengths = _RECORD_REST.unpack_from(frame, 1)
    at = 1 + _RECORD_REST.size
    if at + sum(lengths) != len(frame):
        raise BadFrame("a record whose lengths do not add up")
    parts = []
    for length in lengths:
        parts.append(bytes(frame[at : at + length]))
        at += length
    event_id, inference_id, attributes, input_type, output_type = (part.decode("ascii") for part in parts[:5])
    return number, Taken(at_s, event_id, inference_id, attributes, input_type, output_type, parts[5], parts[6])
