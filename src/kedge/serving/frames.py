"""Frames between a router (or anyone who wants an answer) and a worker, over a Unix socket. Sans-IO.

A frame is a 12-byte header and a payload: length of the payload (u32), stream (u32), kind (u8), flags (u8), zero (u16),
little-endian. Streams are numbered by the router from 1; stream 0 is the connection itself. Many streams share one
connection; a body over PART_BYTES is cut into parts, so that a large one does not block the small ones behind it.

    worker -> router   HELLO     {"version": 1, "instance": ID, "joinable": BOOL, ...}: sent when the model is ready
    router -> worker   HELLO     {"version": 1}
    router -> worker   REQUEST   head + first part of the body
    both               CHUNK     a further part of the body
    both               END       no further part follows (flag LAST on the last part does the same)
    worker -> router   RESPONSE  head + first part of the answer's body
    worker -> router   ERROR     head only: {"status": 500, "message": TEXT, "kind": KIND, ...}: ends the stream, also
                                 after some of an answer that the model gives part by part
    router -> worker   CANCEL    nobody waits for this stream any more; the worker answers nothing on it
    both               CREDIT    u32: the receiver takes that many more body bytes on this stream
    worker -> router   BEGUN     the model begins with this stream; only where its REQUEST has "tells": "begun", and
                                 the worker's HELLO "tells_begun": true
    both               PING      answered by a PING with flag ACK and the same payload

An ERROR's kind says whose fault it is: "input" (the client's) and "model" are the model's answer; "busy" was not run
and may be sent elsewhere, and with "ending" true the instance takes no more, with "held_up" true none until it sends
another HELLO, because the model is at something that takes long; "lost" was given to a process of the instance that has
ended; "target" names a model that is not there; "loading" names one that is not loaded yet.
"container" is the one of several that failed. In place of a HELLO, on stream 0, it says why the worker takes no
further connection.

The head of a RESPONSE or an ERROR may have "told": [[container, metric, value], ...], samples of what an instance of
several containers or models measures; container is "" for what is not one container's.

The head of a RESPONSE may have "new_session" and "closed_session": what the model says of a session.

A head is a u32 length and that many bytes of JSON. A sender may have WINDOW_BYTES of body unacknowledged on a stream
(PARTS_WINDOW_BYTES of an answer that was asked for in parts); after that it waits for CREDIT. The version is agreed in
the hello: a side that cannot speak the other's closes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

VERSION = 1
IN_PARTS = "parts"
"""What a REQUEST's "answer" says when parts are wanted as soon as the model gives them, not only in the end."""
TELLS_BEGUN = (("tells", "begun"),)
"""In the fields of a REQUEST that wants a BEGUN."""
PART_BYTES = 256 * 1024
WINDOW_BYTES = 4 * 1024 * 1024
PARTS_WINDOW_BYTES = 1024 * 1024
"""Less, since parts may be so small that what is around them takes several times as much."""
MAX_HEAD_BYTES = 64 * 1024
MAX_PAYLOAD_BYTES = PART_BYTES + MAX_HEAD_BYTES + 4

_HEADER = struct.Struct("<IIBBH")
_U32 = struct.Struct("<I")
HEADER_BYTES = _HEADER.size


class Kind(IntEnum):
    HELLO = 1
    REQUEST = 2
    RESPONSE = 3
    CHUNK = 4
    END = 5
    CANCEL = 6
    ERROR = 7
    CREDIT = 8
    PING = 9
    BEGUN = 10


LAST = 1
"""Flag: this part is the body's last."""
ACK = 2
"""Flag on PING: this is the answer."""
VARIES = 4
"""Flag on RESPONSE: the head is like no other, so that nothing is gained by remembering it."""

Told = tuple[str, str, float]
"""(container, metric, value)"""
EXPLANATIONS = "enable_explanations"
"""What a REQUEST says of which records are to be explained, for an instance with an explainer."""
NEW_SESSION, CLOSED_SESSION = "new_session", "closed_session"
Session = Sequence[tuple[str, str]]
"""What a model says of a session: by NEW_SESSION an id with its end, by CLOSED_SESSION an id."""

_KINDS = {int(kind): kind for kind in Kind}
_REQUEST: Final = int(Kind.REQUEST)
RESPONSE: Final = int(Kind.RESPONSE)
"""A member of an enumeration is looked up anew each time; this one is compared with for each answer."""


Raw = tuple[int, int, int, bytes]
"""Kind, stream, flags and payload of a frame."""


class FrameError(Exception):
    """The peer does not speak this protocol; the connection cannot go on."""


class Frame(NamedTuple):
    kind: Kind
    stream: int
    flags: int
    payload: bytes

    @classmethod
    def of(cls, raw: Raw) -> Frame:
        return cls(_KINDS[raw[0]], raw[1], raw[2], raw[3])

    def head(self) -> tuple[dict[str, Any], bytes]:
        """(head, first part of the body) of a REQUEST, RESPONSE, ERROR or HELLO."""
        if len(self.payload) < 4:
            raise FrameError(f"{self.kind.name} without a head")
        (length,) = _U32.unpack_from(self.payload)
        if length > MAX_HEAD_BYTES or 4 + length > len(self.payload):
            raise FrameError(f"{self.kind.name} with a head of {length} bytes")
        try:
            head = orjson.loads(self.payload[4 : 4 + length])
        except ValueError as error:
            raise FrameError(f"{self.kind.name} with a head that is not JSON") from error
        if not isinstance(head, dict):
            raise FrameError(f"{self.kind.name} with a head that is no object")
        return head, self.payload[4 + length :]

    def credit(self) -> int:
        if len(self.payload) != 4:
            raise FrameError("CREDIT without a number")
        return int(_U32.unpack(self.payload)[0])


def frame(kind: Kind, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return _HEADER.pack(len(payload), stream, kind, flags, 0) + payload


def request(stream: int, head: bytes, body: bytes) -> tuple[bytes, bytes, bytes]:
    """A whole REQUEST in one frame, in parts to be joined. head: with its length. body: at most PART_BYTES long."""
    return _HEADER.pack(len(head) + len(body), stream, _REQUEST, LAST, 0), head, body


def with_head(kind: Kind, stream: int, head: dict[str, Any], part: bytes = b"", flags: int = 0) -> bytes:
    """One frame with a head. `part` is at most PART_BYTES long."""
    text = _encoded(head)
    return _HEADER.pack(len(text) + len(part), stream, kind, flags, 0) + text + part


def response(stream: int, status: int, content_type: str, custom_attributes: str, body: bytes) -> bytes:
    """A whole RESPONSE in one frame. `body` is at most PART_BYTES long."""
    head = response_head(status, content_type, custom_attributes)
    return _HEADER.pack(len(head) + len(body), stream, Kind.RESPONSE, LAST, 0) + head + body


def told_head(
    status: int, content_type: str, custom_attributes: str, told: Sequence[Told], session: Session = ()
) -> bytes:
    """As response_head, with samples and what became of a session; goes with the flag VARIES."""
    head: dict[str, Any] = {"status": status, "content_type": content_type, **dict(session)}
    if told:
        head["told"] = told
    if custom_attributes:
        head["custom_attributes"] = custom_attributes
    return _encoded(head)


@lru_cache(1024)
def response_head(status: int, content_type: str, custom_attributes: str) -> bytes:
    """With its length before it. A model's answers mostly have the same."""
    head: dict[str, Any] = {"status": status, "content_type": content_type}
    if custom_attributes:
        head["custom_attributes"] = custom_attributes
    return _encoded(head)


def _encoded(head: dict[str, Any]) -> bytes:
    try:
        text = orjson.dumps(head)
    except TypeError:
        # An exception's text, and a script's header, may hold what is no character.
        text = orjson.dumps({name: _clean(value) for name, value in head.items()})
    return _U32.pack(len(text)) + text


def _clean(value: object) -> object:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def credit(stream: int, count: int) -> bytes:
    return frame(Kind.CREDIT, stream, _U32.pack(count))


def message(kind: Kind, stream: int, head: dict[str, Any], body: bytes) -> Iterator[bytes]:
    """The frames of a whole REQUEST or RESPONSE. The caller minds the window when the body is larger than that."""
    if len(body) <= PART_BYTES:
        yield with_head(kind, stream, head, body, LAST)
        return
    yield with_head(kind, stream, head, body[:PART_BYTES])
    view = memoryview(body)
    for start in range(PART_BYTES, len(body), PART_BYTES):
        part = view[start : start + PART_BYTES]
        yield frame(Kind.CHUNK, stream, bytes(part), LAST if start + PART_BYTES >= len(body) else 0)


class Decoder:
    """Bytes in, frames out. Holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._rest = b""
        self._parts: list[bytes] = []
        """What came after `_rest`, while the frame that it begins is not whole."""
        self._missing = 0
        """Bytes until it is."""

    def feed(self, data: bytes) -> list[Frame]:
        """Raises FrameError for a frame that cannot be: the connection is to be closed."""
        return [Frame.of(each) for each in self.raw(data)]

    def raw(self, data: bytes) -> list[Raw]:
        """As `feed`, for who has no need of an object for each."""
        if self._missing > len(data):
            self._missing -= len(data)
            self._parts.append(data)
            return []
        if self._rest:
            data = b"".join((self._rest, *self._parts, data))
            self._parts.clear()
        at, end = 0, len(data)
        found: list[Raw] = []
        self._missing = 0
        while end - at >= HEADER_BYTES:
            length, stream, number, flags, zero = _HEADER.unpack_from(data, at)
            if number not in _KINDS or zero or length > MAX_PAYLOAD_BYTES:
                raise FrameError(f"no frame: kind {number}, length {length}")
            start = at + HEADER_BYTES
            if end - start < length:
                self._missing = length - (end - start)
                break
            at = start + length
            found.append((number, stream, flags, data[start:at]))
        self._rest = data[at:]
        return found
