"""The worker's half of one connection that speaks kedge.serving.frames. Sans-IO.

Bytes of the router go into `receive`, which gives the requests that are whole; outcomes go into `answer`, and
`outgoing` gives the bytes to send. A body that is coming in is credited as it is taken; one that goes out waits for
the router's credit, and large ones take turns part by part while small ones pass them. An answer that the model gives
part by part goes out by `part` as far as there is credit; nothing of it is kept here beyond that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kedge.serving import frames
from kedge.serving.frames import Frame, FrameError, Kind
from kedge.serving.runtimes.base import Answer, Busy, Invocation, InvocationError, TooLarge

MAX_BODY_BYTES = 100 * 1024 * 1024
"""Of a request, where the hello names no other number."""
MAX_BACKLOG_BYTES = 256 * 1024 * 1024
"""Of answers that one router has not taken; further ones become a 503."""
MAX_PARTIAL = 1024
"""Requests of one router whose bodies are still coming."""
MAX_MESSAGE_CHARACTERS = 2048
"""AWS's limit of a ModelError's message."""
_CREDIT_STEP_BYTES = frames.WINDOW_BYTES // 4
_FIELDS = (
    *("content_type", "accept", "custom_attributes", "inference_id", "target_model", "request_id"),
    frames.EXPLANATIONS,
)
_CONTAINER = "target_container"
_ANSWER = "answer"
_TEXTS = frozenset((*_FIELDS, _CONTAINER, _ANSWER))
_TIMES = frozenset(("deadline_ms", "timeout_ms"))


class Arrived(NamedTuple):
    """A whole request. The router waits for deadline_ms more; None is for as long as it takes.

    timeout_ms is the endpoint's whole time-out; None, from a router that does not tell it, is without one.
    """

    stream: int
    request: Invocation
    deadline_ms: float | None
    timeout_ms: float | None = None
    container: str = ""
    """The one of several containers that it is for, if it names one."""
    in_parts: bool = False
    """The answer is wanted part by part, as the model gives it."""
    tells_begun: bool = False
    """The router wants to know when the model begins with it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An ERROR with all that its head can say; `kind` is one of kedge.serving.frames."""

    status: int
    message: str
    kind: str
    container: str = ""
    """Which of several containers failed."""
    ending: bool = False
    """The instance is about to end, and nothing of this request was run."""
    held_up: bool = False
    """The instance is at something that takes long, and nothing of this request was run; HELLO says that it goes on."""


_ENDING = Failure(Busy.status, "The instance is ending.", Busy.kind, ending=True)
_HELD_UP = Failure(Busy.status, "The instance is at a request that takes long.", Busy.kind, held_up=True)


def refusal(why: str) -> bytes:
    """All that is said on a connection that is not taken."""
    return _error(0, Failure(Busy.status, why, Busy.kind))


class Cancelled(NamedTuple):
    """Nobody waits for this request any more."""

    stream: int


class Credited(NamedTuple):
    """More of an answer that is given part by part may be sent."""

    stream: int


Event = Arrived | Cancelled | Credited


@dataclass(slots=True)
class _Partial:
    head: dict[str, Any]
    parts: list[bytes]
    size: int
    uncredited: int


class _Sending:
    __slots__ = ("body", "flags", "head", "window")

    def __init__(self, head: bytes, body: memoryview, flags: int) -> None:
        self.head: bytes | None = head
        """None once it is sent."""
        self.flags = flags
        """Those that go with it."""
        self.body = body
        self.window = frames.WINDOW_BYTES


class Peer:
    """Not safe for several threads at once."""

    def __init__(self, hello: Mapping[str, Any], room: Callable[[], int]) -> None:
        """hello: its max_body_bytes is kept to. room: how many more bytes of requests the worker can hold now."""
        self._max_body_bytes = int(hello.get("max_body_bytes", MAX_BODY_BYTES))
        self._decoder = frames.Decoder()
        self._room = room
        self._greeted = False
        self._partial: dict[int, _Partial] = {}
        self._waiting: set[int] = set()
        self._sending: dict[int, _Sending] = {}
        self._windows: dict[int, int] = {}
        """Of answers that are given part by part and have begun: how many bytes may be sent."""
        self._in_parts: set[int] = set()
        """Streams of `_waiting` whose answers are wanted so."""
        self._sending_bytes = 0
        self._hello = frames.with_head(Kind.HELLO, 0, {"version": frames.VERSION, **hello})
        self._small: list[bytes] = [self._hello]
        self._small_bytes = len(self._hello)
        self._is_held_up = False
        self.partial_bytes = 0
        self.closing = False
        """No further request is taken; the router is told to ask another instance."""

    @property
    def waiting(self) -> frozenset[int]:
        """Streams whose requests are whole and not answered."""
        return frozenset(self._waiting)

    @property
    def quiet(self) -> bool:
        """Nothing is half received, unanswered or unsent."""
        return not (self._partial or self._waiting or self._sending or self._small)

    @property
    def has_outgoing(self) -> bool:
        """Whether `outgoing` has something now."""
        return bool(self._small) or any(each.window > 0 for each in self._sending.values())

    @property
    def backlog_bytes(self) -> int:
        return self._small_bytes + self._sending_bytes

    def receive(self, data: bytes) -> list[Event]:
        """Raises FrameError when the peer does not speak the protocol: close the connection."""
        events: list[Event] = []
        for frame in self._decoder.feed(data):
            if not self._greeted:
                self._greet(frame)
            elif frame.kind is Kind.REQUEST:
                self._request(frame, events)
            elif frame.kind in (Kind.CHUNK, Kind.END):
                self._part(frame, events)
            elif frame.kind is Kind.CANCEL:
                self._cancel(frame.stream, events)
            elif frame.kind is Kind.CREDIT:
                if sending := self._sending.get(frame.stream):
                    sending.window += frame.credit()
                elif frame.stream in self._windows:
                    self._windows[frame.stream] += frame.credit()
                    events.append(Credited(frame.stream))
            elif frame.kind is Kind.PING:
                if not frame.flags & frames.ACK:
                    self._put(frames.frame(Kind.PING, frame.stream, frame.payload, frames.ACK))
            else:
                raise FrameError(f"a router does not send {frame.kind.name}")
        return events

    def awaits(self, stream: int) -> bool:
        """Whether somebody still waits for (the rest of) this answer."""
        return stream in self._waiting

    def part(self, stream: int, head: bytes, part: bytes, flags: int = 0) -> bool:
        """Send a part of an answer that goes on: `answer` or `end` comes after it. False while there is no credit.

        head, flags: of frames.response_head, or told_head; they go with the first part. part: at most PART_BYTES.
        Only while it is awaited.
        """
        window = self._windows.get(stream)
        if window is None:
            self._put(frames.frame(Kind.RESPONSE, stream, head + part, flags))
            window = frames.PARTS_WINDOW_BYTES if stream in self._in_parts else frames.WINDOW_BYTES
        elif window < len(part):
            return False
        else:
            self._put(frames.frame(Kind.CHUNK, stream, part))
        self._windows[stream] = window - len(part)
        return True

    def begun(self, stream: int) -> None:
        """The model begins with it, which its router wants to know."""
        if stream in self._waiting:
            self._put(frames.frame(Kind.BEGUN, stream))

    def end(self, stream: int) -> None:
        """After the last part."""
        if stream in self._waiting:
            self._waiting.remove(stream)
            self._windows.pop(stream, None)
            self._in_parts.discard(stream)
            self._put(frames.frame(Kind.END, stream))

    def answer(
        self, stream: int, outcome: Answer | InvocationError | Failure, told: Sequence[frames.Told] = ()
    ) -> None:
        """Ends the stream; after parts of it only an error can. A stream that was cancelled takes no answer."""
        if stream not in self._waiting:
            return
        self._waiting.remove(stream)
        if self._windows:
            self._windows.pop(stream, None)
        if self._in_parts:
            self._in_parts.discard(stream)
        if type(outcome) is Answer and self.backlog_bytes + len(outcome.body) > MAX_BACKLOG_BYTES:
            outcome = Busy(f"Answers of more than {MAX_BACKLOG_BYTES} bytes wait for this router to take them.")
        if not isinstance(outcome, Answer):
            self._put(_error(stream, outcome, told))
            return
        body, content_type, attributes, status, session = outcome
        if len(body) <= frames.PART_BYTES:
            if told or session:
                head = frames.told_head(status, content_type, attributes, told, session)
                self._put(frames.frame(Kind.RESPONSE, stream, head + body, frames.LAST | frames.VARIES))
            else:
                self._put(frames.response(stream, status, content_type, attributes, body))
        else:
            if told or session:
                head = frames.told_head(status, content_type, attributes, told, session)
            else:
                head = frames.response_head(status, content_type, attributes)
            self._sending[stream] = _Sending(head, memoryview(body), frames.VARIES if told else 0)
            self._sending_bytes += len(body)

    def give_back(self, streams: Iterable[int]) -> None:
        """The instance ends: these were not run, nor will be what is still coming in, nor anything from now on."""
        self.closing = True
        for stream in [*streams, *self._partial]:
            self._waiting.discard(stream)
            self._forget(stream)
            self._put(_error(stream, _ENDING))

    def hold_up(self, streams: Iterable[int]) -> None:
        """These were not run, and it will be long until they would: the router knows better, until `go_on`."""
        for stream in streams:
            self.answer(stream, _HELD_UP)
            self._is_held_up = True

    def go_on(self) -> None:
        """Tell the router, if it was told of the contrary."""
        if self._is_held_up:
            self._is_held_up = False
            self._put(self._hello)

    def outgoing(self, limit_bytes: int = 4 * frames.PART_BYTES) -> bytes:
        """What may be sent now: every small frame, then parts of large answers up to about limit_bytes."""
        parts, self._small = self._small, []
        size, self._small_bytes = self._small_bytes, 0
        sent = True
        while sent and size < limit_bytes:
            sent = False
            for stream in [stream for stream, each in self._sending.items() if each.window > 0]:
                part = self._next_part(stream)
                parts.append(part)
                size += len(part)
                sent = True
                if size >= limit_bytes:
                    break
        return b"".join(parts)

    def _next_part(self, stream: int) -> bytes:
        # Taken out and put back at the end, so that the streams take turns.
        sending = self._sending.pop(stream)
        count = min(frames.PART_BYTES, sending.window, len(sending.body))
        part, sending.body = bytes(sending.body[:count]), sending.body[count:]
        sending.window -= count
        self._sending_bytes -= count
        head, sending.head = sending.head, None
        if len(sending.body):
            self._sending[stream] = sending
        flags = 0 if len(sending.body) else frames.LAST
        if head is not None:
            return frames.frame(Kind.RESPONSE, stream, head + part, flags | sending.flags)
        return frames.frame(Kind.CHUNK, stream, part, flags)

    def _put(self, data: bytes) -> None:
        self._small.append(data)
        self._small_bytes += len(data)

    def _greet(self, frame: Frame) -> None:
        if frame.kind is not Kind.HELLO:
            raise FrameError(f"{frame.kind.name} before HELLO")
        head, _ = frame.head()
        if head.get("version") != frames.VERSION:
            raise FrameError(f"version {head.get('version')!r}; this is {frames.VERSION}")
        self._greeted = True

    def _request(self, frame: Frame, events: list[Event]) -> None:
        head, body = frame.head()
        stream = frame.stream
        if stream == 0 or stream in self._partial or stream in self._waiting or stream in self._sending:
            raise FrameError(f"REQUEST on stream {stream}, which is in use")
        for name, value in head.items():
            kind = type(value)
            if name in _TIMES:
                if kind is not int and kind is not float and value is not None:
                    raise FrameError(f"REQUEST with a {name} that is no number")
            elif kind is not str and name in _TEXTS:
                raise FrameError("REQUEST with a field that is no text")
        if self.closing:
            self._put(_error(stream, _ENDING))
        elif len(body) > self._room() or len(self._partial) >= MAX_PARTIAL:
            self._put(_error(stream, Busy("The instance holds as many requests as it can.")))
        elif frame.flags & frames.LAST:
            self._arrived(stream, head, body, events)
        else:
            self._partial[stream] = _Partial(head, [body], len(body), len(body))
            self.partial_bytes += len(body)

    def _part(self, frame: Frame, events: list[Event]) -> None:
        partial = self._partial.get(frame.stream)
        if partial is None:  # refused or cancelled while its parts were under way
            return
        size = len(frame.payload)
        refusal: InvocationError | None = None
        if partial.size + size > self._max_body_bytes:
            refusal = TooLarge(f"The body is larger than {self._max_body_bytes} bytes.")
        elif size > self._room():
            refusal = Busy("The instance holds as many requests as it can.")
        if refusal is not None:
            self._forget(frame.stream)
            self._put(_error(frame.stream, refusal))
            return
        partial.parts.append(frame.payload)
        partial.size += size
        self.partial_bytes += size
        if frame.kind is Kind.END or frame.flags & frames.LAST:
            self._forget(frame.stream)
            self._arrived(frame.stream, partial.head, b"".join(partial.parts), events)
            return
        partial.uncredited += size
        if partial.uncredited >= _CREDIT_STEP_BYTES:
            self._put(frames.credit(frame.stream, partial.uncredited))
            partial.uncredited = 0

    def _arrived(self, stream: int, head: dict[str, Any], body: bytes, events: list[Event]) -> None:
        self._waiting.add(stream)
        get = head.get
        request = Invocation(
            body,
            get("content_type", ""),
            get("accept", ""),
            get("custom_attributes", ""),
            get("inference_id", ""),
            get("target_model", ""),
            get("request_id", ""),
            get("session_id", ""),
            get(frames.EXPLANATIONS, ""),
        )
        in_parts = get(_ANSWER) == frames.IN_PARTS
        if in_parts:
            self._in_parts.add(stream)
        tells_begun = get("tells") == "begun"
        container = get(_CONTAINER, "")
        events.append(Arrived(stream, request, get("deadline_ms"), get("timeout_ms"), container, in_parts, tells_begun))

    def _cancel(self, stream: int, events: list[Event]) -> None:
        self._forget(stream)
        self._windows.pop(stream, None)
        self._in_parts.discard(stream)
        if sending := self._sending.pop(stream, None):
            self._sending_bytes -= len(sending.body)
        if stream in self._waiting:
            self._waiting.remove(stream)
            events.append(Cancelled(stream))

    def _forget(self, stream: int) -> None:
        if partial := self._partial.pop(stream, None):
            self.partial_bytes -= partial.size


def _error(stream: int, error: InvocationError | Failure, told: Sequence[frames.Told] = ()) -> bytes:
    head: dict[str, Any] = {
        "status": error.status,
        "message": error.message[:MAX_MESSAGE_CHARACTERS],
        "kind": error.kind,
    }
    if told:
        head["told"] = told
    if isinstance(error, Failure):
        head |= {"container": error.container} if error.container else {}
        head |= {"ending": True} if error.ending else {}
        head |= {"held_up": True} if error.held_up else {}
    return frames.with_head(Kind.ERROR, stream, head)
