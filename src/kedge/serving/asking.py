"""The asking half of one connection that speaks kedge.serving.frames: requests out, answers back, many at once.

A router asks an instance by it, and an instance of several containers asks each of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
from collections import deque
from functools import lru_cache
from typing import Any, Protocol, cast

from kedge.serving import frames
from kedge.serving.frames import Frame, FrameError, Kind

log = logging.getLogger(__name__)

_HIGH_WATER_BYTES = 4 * frames.PART_BYTES
_CREDIT_BYTES = frames.WINDOW_BYTES // 4
MAX_LARGE_BYTES = 128 * 1024 * 1024
"""Of bodies that go in parts, so much is at the other end at a time; the rest waits here, in the order of coming."""
_HELLO = frames.with_head(Kind.HELLO, 0, {"version": frames.VERSION})
_NOT_SENT = {"kind": "busy", "ending": True}
"""What becomes of a request of which nothing had been sent when the other end went."""
_U32 = struct.Struct("<I")
_STREAMS = 2**32


class Waiting(Protocol):
    """Who sent a request and waits for what becomes of it; exactly one of these is called, unless it cancels.

    Before that, `told` and `begun` may be.
    """

    def begun(self) -> None:
        """The model begins with it; said only where the request has asked for that."""

    def told(self, samples: object) -> None:
        """What the other end has measured, as frames.py has it; not checked."""

    def answered(self, head: dict[str, Any], body: bytes) -> None: ...

    def failed(self, head: dict[str, Any]) -> None:
        """The worker answered with ERROR."""

    def overran(self) -> None:
        """The answer is larger than it may be."""

    def lost(self) -> None:
        """The instance was gone before it answered."""


class Streaming(Waiting, Protocol):
    """Who takes an answer part by part. It gives credit for what it has taken; `answered` gets the last part."""

    def part(self, head: dict[str, Any], part: bytes) -> None:
        """A part after which the answer goes on. head: of the whole answer, the same every time."""


def encoded_head(fields: tuple[tuple[str, str], ...], request_id: str, deadline_ms: int, timeout_ms: int) -> bytes:
    """A REQUEST's head with its length before it.

    fields: content_type, accept, custom_attributes, inference_id, as far as the client sent them. deadline_ms: how long
    the router still waits for the answer. timeout_ms: the endpoint's whole time-out; a model that makes no progress for
    that long is hung.
    """
    start, name, end = _head_start(fields), request_id.encode(), _head_end(deadline_ms, timeout_ms)
    return b"".join((_U32.pack(len(start) + len(name) + len(end)), start, name, end))


@lru_cache(1024)
def _head_start(fields: tuple[tuple[str, str], ...]) -> bytes:
    """Up to the id. Clients send the same few fields over and over."""
    text = json.dumps(dict(fields), separators=(",", ":")).encode()
    return text[:-1] + (b',"request_id":"' if fields else b'"request_id":"')


@lru_cache(1024)
def _head_end(deadline_ms: int, timeout_ms: int) -> bytes:
    """What comes after the id. Most requests are sent on as soon as they are there: with all of their time left."""
    return b'","deadline_ms":%d,"timeout_ms":%d}' % (deadline_ms, timeout_ms)


class Owner(Protocol):
    """Whose connection it is."""

    @property
    def instance_id(self) -> str:
        """Who has to be at the other end."""

    def now_connected(self, wire: Wire) -> None: ...

    def now_ready(self) -> None:
        """The other end has greeted: its model is loaded."""

    def now_ending(self) -> None:
        """The other end takes no more requests, at least until `now_ready`."""

    def now_refused(self, why: str) -> None:
        """The other end takes no further connection, and closes this one."""

    def now_lost(self) -> None:
        """The connection is gone; those who wait are told next."""


class _Stream:
    __slots__ = (
        "answer",
        "credited",
        "head",
        "large_bytes",
        "limit_bytes",
        "opening",
        "received",
        "streaming",
        "unsent",
        "waiting",
        "window",
    )

    def __init__(self, waiting: Waiting, limit_bytes: int, streaming: Streaming | None) -> None:
        self.waiting = waiting
        self.streaming = streaming
        """The same, when it takes parts."""
        self.limit_bytes = limit_bytes
        self.unsent: memoryview | None = None
        self.opening: bytes | None = None
        """The REQUEST's head, while nothing of a large body is sent."""
        self.large_bytes = 0
        """Of a large body that the other end may hold."""
        self.window = frames.WINDOW_BYTES
        self.head: dict[str, Any] | None = None
        self.answer: bytearray | None = None
        self.received = 0
        self.credited = 0


class Wire(asyncio.Protocol):
    """One connection, from its start to its end."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._decoder = frames.Decoder()
        self.streams: dict[int, _Stream] = {}
        self._last_stream = 0
        self._out: list[bytes] = []
        self._later: deque[int] = deque()
        """Streams with a large body, for which there is no room at the other end yet."""
        self._large_bytes = 0
        """Of large bodies that have been begun with and not been answered."""
        self._large: deque[int] = deque()
        """Streams that have more body to send and window for it; each sends one part in turn."""
        self._flush_is_due = False
        self._full = False
        self._closes_when_idle = False
        self.greeted = False
        self.joinable = False
        """Whether the other end answers several requests in one batch."""
        self.tells_begun = False
        self.gone: asyncio.Future[None] = self._loop.create_future()

    def send(
        self, waiting: Waiting, head: bytes, body: bytes, limit_bytes: int, streaming: Streaming | None = None
    ) -> int:
        """limit_bytes: of the answer, unless it is taken in parts. streaming: `waiting` again, if it takes parts."""
        stream = _Stream(waiting, limit_bytes, streaming)
        number = self._last_stream
        while True:
            number = number % (_STREAMS - 1) + 1
            if number not in self.streams:
                break
        self._last_stream = number
        self.streams[number] = stream
        if len(body) <= frames.PART_BYTES:
            self._out += frames.request(number, head, body)
        else:
            stream.opening = head
            stream.unsent = memoryview(body)
            self._later.append(number)
            self._begin_large()
        self._schedule()
        return number

    def _begin_large(self) -> None:
        """With as many as there is room for; one always has room."""
        while self._later:
            number = self._later[0]
            stream = self.streams.get(number)
            if stream is not None and stream.unsent is not None and stream.opening is not None:
                size = len(stream.unsent)
                if self._large_bytes and self._large_bytes + size > MAX_LARGE_BYTES:
                    return
                stream.large_bytes = size
                self._large_bytes += size
                first = stream.opening + bytes(stream.unsent[: frames.PART_BYTES])
                self._out.append(frames.frame(Kind.REQUEST, number, first))
                stream.opening = None
                stream.unsent = stream.unsent[frames.PART_BYTES :]
                stream.window -= frames.PART_BYTES
                self._large.append(number)
                self._schedule()
            self._later.popleft()

    def cancel(self, number: int) -> None:
        stream = self.streams.pop(number, None)
        if stream is not None:
            if stream.opening is None:
                self._out.append(frames.frame(Kind.CANCEL, number))
                self._schedule()
            self._left(stream)

    def credit(self, number: int, count: int) -> None:
        """So many bytes of an answer that comes in parts are taken: as many more may be sent."""
        stream = self.streams.get(number)
        if stream is not None:
            stream.credited += count
            self._out.append(frames.credit(number, count))
            self._schedule()

    def close_when_idle(self) -> None:
        self._closes_when_idle = True
        self._close_if_idle()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _close_if_idle(self) -> None:
        if self._closes_when_idle and not self.streams:
            self.close()

    # Out.

    def _schedule(self) -> None:
        # What one turn of the loop sends goes out in one write.
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        transport = self._transport
        if transport is None or transport.is_closing():
            self._out.clear()
            return
        if self._out:
            transport.write(b"".join(self._out))
            self._out.clear()
        while self._large and not self._full:
            number = self._large.popleft()
            stream = self.streams.get(number)
            if stream is None or stream.unsent is None:
                continue
            part = stream.unsent[: min(frames.PART_BYTES, stream.window)]
            if not part:
                continue  # CREDIT brings it back
            stream.unsent = stream.unsent[len(part) :] or None
            stream.window -= len(part)
            flags = 0 if stream.unsent is not None else frames.LAST
            transport.write(frames.frame(Kind.CHUNK, number, bytes(part), flags))
            if stream.unsent is not None:
                self._large.append(number)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._large:
            self._schedule()

    # In.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._transport.write(_HELLO)
        self._owner.now_connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.gone.done():
            self.gone.set_result(None)
        lost, self.streams = self.streams, {}
        # First nothing more is sent here, then those that were here are told.
        self._owner.now_lost()
        for stream in lost.values():
            if stream.opening is not None:
                stream.waiting.failed(_NOT_SENT)
            else:
                stream.waiting.lost()

    def data_received(self, data: bytes) -> None:
        try:
            for each in self._decoder.raw(data):
                kind, number, flags, payload = each
                # What nearly all answers are, whole in one frame, takes the short way.
                if kind != frames.RESPONSE or flags != frames.LAST or not self._answered(number, payload):
                    self._take(Frame.of(each))
        except FrameError as error:
            log.warning("instance %s does not speak the protocol: %s", self._owner.instance_id, error)
            if self._transport is not None:
                self._transport.abort()

    def _answered(self, number: int, payload: bytes) -> bool:
        """Take a whole answer. False where it is anything but usual; then nothing of it is taken."""
        stream = self.streams.get(number)
        if stream is None or stream.head is not None or stream.streaming is not None:
            return False
        if len(payload) > stream.limit_bytes:
            return False
        head, body = _response_head(payload)
        self._end(number).waiting.answered(head, body)
        return True

    def _take(self, frame: Frame) -> None:
        kind, number, flags, payload = frame
        if kind is Kind.HELLO:
            self._greet(frame)
        elif kind is Kind.PING:
            if not flags & frames.ACK:
                self._out.append(frames.frame(Kind.PING, number, payload, frames.ACK))
                self._schedule()
        elif kind is Kind.ERROR and not number:
            self._owner.now_refused(str(frame.head()[0].get("message", "")))
        elif (stream := self.streams.get(number)) is None:
            return  # it was cancelled while the answer was on its way
        elif kind is Kind.RESPONSE:
            if stream.head is not None:
                raise FrameError("a second RESPONSE on one stream")
            if flags & frames.VARIES:
                stream.head, part = frame.head()
                if "told" in stream.head:
                    stream.waiting.told(stream.head["told"])
            else:
                stream.head, part = _response_head(payload)
            self._part(number, stream, part, bool(flags & frames.LAST))
        elif kind is Kind.CHUNK or kind is Kind.END:
            if stream.head is None:
                raise FrameError(f"{kind.name} before RESPONSE")
            self._part(number, stream, payload, kind is Kind.END or bool(flags & frames.LAST))
        elif kind is Kind.ERROR:
            head, _ = frame.head()
            if head.get("ending") or head.get("held_up"):
                self._owner.now_ending()
            if "told" in head:
                stream.waiting.told(head["told"])
            self._end(number).waiting.failed(head)
        elif kind is Kind.BEGUN:
            stream.waiting.begun()
        elif kind is Kind.CREDIT:
            stream.window += frame.credit()
            if stream.unsent is not None and number not in self._large:
                self._large.append(number)
                self._schedule()
        else:
            raise FrameError(f"{kind.name} is not a worker's to send")

    def _greet(self, frame: Frame) -> None:
        head, _ = frame.head()
        mine = self._owner.instance_id
        if head.get("instance") != mine:
            raise FrameError(f"it is instance {head.get('instance')!r}; the table says {mine!r}")
        version = head.get("version")
        if not isinstance(version, int) or not 1 <= version <= frames.VERSION:
            raise FrameError(f"it speaks version {version!r}; 1 to {frames.VERSION} are understood")
        self.joinable = head.get("joinable") is True
        self.tells_begun = head.get("tells_begun") is True
        self.greeted = True
        self._owner.now_ready()

    def _part(self, number: int, stream: _Stream, part: bytes, last: bool) -> None:
        if stream.streaming is not None:
            assert stream.head is not None
            stream.received += len(part)
            if stream.received - stream.credited > frames.WINDOW_BYTES:
                raise FrameError("more of an answer than there is credit for")
            if last:
                self._end(number).waiting.answered(stream.head, part)
            elif part:
                stream.streaming.part(stream.head, part)
            return
        stream.received += len(part)
        if stream.received > stream.limit_bytes:
            if not last:
                self._out.append(frames.frame(Kind.CANCEL, number))
                self._schedule()
            self._end(number).waiting.overran()
            return
        if last:
            assert stream.head is not None
            body = part if stream.answer is None else bytes(stream.answer + part)
            self._end(number).waiting.answered(stream.head, body)
            return
        if stream.answer is None:
            stream.answer = bytearray()
        stream.answer += part
        owed = stream.received - stream.credited
        if owed >= _CREDIT_BYTES:
            stream.credited += owed
            self._out.append(frames.credit(number, owed))
            self._schedule()

    def _end(self, number: int) -> _Stream:
        stream = self.streams.pop(number)
        self._left(stream)
        return stream

    def _left(self, stream: _Stream) -> None:
        if stream.large_bytes:
            self._large_bytes -= stream.large_bytes
            self._begin_large()
        self._close_if_idle()


def _response_head(payload: bytes) -> tuple[dict[str, Any], bytes]:
    if len(payload) >= 4:
        end = 4 + int(_U32.unpack_from(payload)[0])
        if end <= min(len(payload), 512):
            return _short_head(payload[:end]), payload[end:]
    return _response(payload).head()


@lru_cache(1024)
def _short_head(start: bytes) -> dict[str, Any]:
    """A model's answers mostly have the same head. The dictionary is shared: nobody changes it."""
    return _response(start).head()[0]


def _response(payload: bytes) -> Frame:
    return Frame(Kind.RESPONSE, 0, 0, payload)
