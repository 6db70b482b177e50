"""A request on its way through the containers of an instance: from one to the next, and its answer back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kedge.serving import frames
from kedge.serving.asking import encoded_head
from kedge.serving.line import Line
from kedge.serving.meter import CONTAINER_LATENCY
from kedge.serving.places import Place, Running
from kedge.serving.runtimes.base import Answer, Busy
from kedge.serving.streams import MAX_BODY_BYTES, Arrived, Failure

if TYPE_CHECKING:
    from kedge.serving.composition import Front

_NO_BOUND_MS = 7 * 24 * 3600 * 1000
"""For a request whose sender gave none."""
_CREDIT_BYTES = frames.PARTS_WINDOW_BYTES // 8


class _Whole:
    """The end of an answer that came in parts."""


_WHOLE = _Whole()


class Flow:
    """One request on its way through the containers; `Waiting` for the one that has it."""

    __slots__ = (
        "_arrived",
        "_body",
        "_content_type",
        "_flags",
        "_front",
        "_head",
        "_last",
        "_line",
        "_part",
        "_place",
        "_route",
        "_sent_s",
        "_stream",
        "_taken_bytes",
        "_told",
        "_unsent",
        "deadline_s",
        "done",
    )

    def __init__(self, front: Front, line: Line, arrived: Arrived, route: Sequence[Place], deadline_s: float | None):
        self._front, self._line, self._arrived, self._route = front, line, arrived, route
        self._place = 0
        self._body = arrived.request.body
        self._content_type = arrived.request.content_type
        self._part: Running | None = None
        self._stream = 0
        self._sent_s = 0.0
        self._told: list[frames.Told] = []
        """What was measured on the way."""
        self._flags = 0
        self._head = b""
        """Of an answer that comes in parts, once it has begun."""
        self._unsent: deque[bytes] = deque()
        """Parts of it for which the router has given no credit."""
        self._taken_bytes = 0
        """Of the parts that were sent: the container gets credit for them."""
        self._last: Failure | _Whole | None = None
        """What comes after the last part, once that is known."""
        self.deadline_s = deadline_s
        """On the loop's clock."""
        self.done = False

    @property
    def stream(self) -> int:
        return self._arrived.stream

    @property
    def size(self) -> int:
        return len(self._arrived.request.body)

    @property
    def target_model(self) -> str:
        return self._arrived.request.target_model

    @property
    def place(self) -> Place:
        return self._route[self._place]

    def begin(self) -> None:
        self.place.submit(self)

    def send_to(self, part: Running) -> None:
        request = self._arrived.request
        # Only the last container answers the client; what comes before it chooses what the next one reads.
        is_last = self._place == len(self._route) - 1
        streaming = self if is_last and self._arrived.in_parts else None
        given = {
            "content_type": self._content_type,
            "accept": request.accept if is_last else "",
            "custom_attributes": request.custom_attributes,
            "inference_id": request.inference_id,
            "target_model": request.target_model,
            "session_id": request.session_id,
            frames.EXPLANATIONS: request.enable_explanations,
            "answer": frames.IN_PARTS if streaming is not None else "",
        }
        fields = tuple((name, value) for name, value in given.items() if value)
        left_ms, timeout_ms = self._left_ms(), self._arrived.timeout_ms
        head = encoded_head(
            fields, request.request_id, left_ms, _NO_BOUND_MS if timeout_ms is None else max(1, int(timeout_ms))
        )
        self._part = part
        self._sent_s = self._front.now_s()
        self._stream = part.send(self, head, self._body, MAX_BODY_BYTES, streaming)

    def _left_ms(self) -> int:
        if self.deadline_s is None:
            return _NO_BOUND_MS
        return max(0, int((self.deadline_s - self._front.now_s()) * 1000))

    def tell(self, name: str, value: float) -> None:
        """A sample of the request; one of each name is enough, also when it has come to the place again."""
        if all(told[1] != name or told[0] for told in self._told):
            self._told.append(("", name, value))

    # What becomes of it.

    def begun(self) -> None:
        """It is never asked for."""

    def told(self, samples: object) -> None:
        """A container has nothing to tell that this process does not see itself."""

    def _took(self) -> None:
        """The container has answered, in one way or another."""
        if self._front.has_several and not self._head:
            took_us = (self._front.now_s() - self._sent_s) * 1e6
            self._told.append((self.place.name, CONTAINER_LATENCY, took_us))

    def part(self, head: dict[str, Any], part: bytes) -> None:
        """As asking.Streaming has it."""
        status = head.get("status", 200)
        if not isinstance(status, int) or not 200 <= status < 300:
            running, stream = self._part, self._stream
            self.answered(head, part)
            if running is not None:
                running.cancel(stream)
            return
        if not self._head:
            content_type, attributes = str(head.get("content_type") or ""), str(head.get("custom_attributes") or "")
            self._took()
            told, session = self._all_told(), _session_of(head)
            if told or session:
                self._head = frames.told_head(status, content_type, attributes, told, session)
                self._flags = frames.VARIES
            else:
                self._head = frames.response_head(status, content_type, attributes)
        self._unsent.append(part)
        self.go_on()

    def go_on(self) -> None:
        """Send what there is credit for, and give credit for it."""
        while self._unsent and self._line.part(self.stream, self._head, self._unsent[0], self._flags):
            self._taken_bytes += len(self._unsent.popleft())
        if self._part is not None and self._taken_bytes >= _CREDIT_BYTES:
            self._part.credit(self._stream, self._taken_bytes)
            self._taken_bytes = 0
        if self._last is not None and not self._unsent:
            self._finish(self._last)

    def answered(self, head: dict[str, Any], body: bytes) -> None:
        if self._head:
            self._leave()
            if body:
                self._unsent.append(body)
            self._last = _WHOLE
            self.go_on()
            return
        self._took()
        self._leave()
        status = head.get("status", 200)
        content_type, attributes = str(head.get("content_type") or ""), str(head.get("custom_attributes") or "")
        if not isinstance(status, int) or not 200 <= status < 300:
            code = status if isinstance(status, int) else 500
            self.fail(Failure(code, body[:2048].decode(errors="replace"), "model", self.place.name))
        elif self._place == len(self._route) - 1:
            self._finish(Answer(body, content_type, attributes, status, _session_of(head)))
        else:
            more_bytes, self._place = len(body) - len(self._body), self._place + 1
            if more_bytes > max(0, self._front.room()):
                message = f"The instance has no room for the {len(body)} bytes that the container before answered."
                self.fail(Failure(Busy.status, message, "model", self.place.name))
                return
            self._front.holds(more_bytes)
            self._body, self._content_type = body, content_type
            self.place.submit(self)

    def failed(self, head: dict[str, Any]) -> None:
        self._leave()
        if head.get("ending"):
            self.place.submit(self)
            return
        self._took()
        status, kind = head.get("status", 500), str(head.get("kind", "model"))
        self.fail(Failure(status, str(head.get("message", "")), kind, self.place.name))

    def overran(self) -> None:
        self._took()
        self._leave()
        self.fail(Failure(500, f"The answer has more than {MAX_BODY_BYTES} bytes.", "model", self.place.name))

    def lost(self) -> None:
        self._took()
        self._leave()
        self.fail(Failure(503, f"Container {self.place.name} ended before it answered.", "lost", self.place.name))

    def fail(self, failure: Failure) -> None:
        if self._head:
            self._last = failure
            self.go_on()
        else:
            self._finish(failure)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._part is not None:
            self._part.cancel(self._stream)
            self._leave()
        else:
            self.place.forget(self)
        self._end()

    def _leave(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            self.place.left(self, part)

    def _finish(self, outcome: Answer | Failure | _Whole) -> None:
        if not self.done:
            self._end()
            if isinstance(outcome, _Whole):
                self._line.end(self.stream)
            else:
                self._line.answer(self.stream, outcome, self._all_told())

    def _all_told(self) -> list[frames.Told]:
        """And what was measured of no request in particular since the answer before."""
        told, self._told = self._told, []
        return told + self._front.take_told()

    def _end(self) -> None:
        self.done = True
        self._front.ended(self, self._line, len(self._body))


def _session_of(head: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the container says of a session."""
    return tuple((name, str(head[name])) for name in (frames.NEW_SESSION, frames.CLOSED_SESSION) if head.get(name))
