"""One InvokeEndpointWithResponseStream: as `invocation.py` until the first part of the answer is there, then its own.

Until then everything is as for an answer that comes whole: choosing, waiting, trying again, the time-out, the errors.
After it the status is said, so what goes wrong is told by the last event of the stream. Parts go to the client as the
model gives them. The instance may send more as soon as the client's connection takes more: a client that reads slowly
is waited for by the model, not by the router's memory.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kedge import errors
from kedge.serving import answers, frames
from kedge.serving.asking import encoded_head
from kedge.serving.capture.tap import Stream
from kedge.serving.deadlines import Deadlines
from kedge.serving.fleet import Fleet, Route
from kedge.serving.inbound import Inbound
from kedge.serving.invocation import Invocation, answer_lines
from kedge.serving.meter import FIRST_CHUNK, FIRST_CHUNK_MODEL, FIRST_CHUNK_OVERHEAD, MID_STREAM_ERRORS
from kedge.serving.reports import Reporter
from kedge.serving.upstream import Upstream
from kedge.wire import eventstream

MAX_KEPT_BYTES = 6 * 1024 * 1024
"""Of one answer, for data capture and shadows: a record of more is dropped, and counted; a copy is not made."""
_CREDIT_BYTES = frames.PARTS_WINDOW_BYTES // 8
_ACCEPT = "x-amzn-sagemaker-accept"
_SESSION = "x-amzn-sagemaker-session-id"
_PART = eventstream.Framed("PayloadPart", "application/octet-stream")
_IN_PARTS = (("answer", frames.IN_PARTS),)


class StreamingInvocation(Invocation):
    def __init__(
        self,
        inbound: Inbound,
        route: Route,
        fleet: Fleet,
        deadlines: Deadlines,
        reporter: Reporter,
        request_id: str,
    ) -> None:
        super().__init__(inbound, route, fleet, deadlines, reporter, request_id)
        self._limit_s = max(route.endpoint.stream_timeout_s, route.endpoint.timeout_s)
        """Until the last part."""
        self._first_s = 0.0
        """When the first part was there; 0 before that."""
        self._end_timer: asyncio.TimerHandle | None = None
        self._owed_bytes = 0
        """Taken by the client and not credited yet, or waiting for the client."""
        self._is_slow = False
        self._capture: Stream | None = None
        self._is_copied = False
        """To a shadow, when it is whole."""
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        """For the two."""

    def start(self) -> None:
        headers = self._inbound.headers
        if headers.get(_SESSION) == "NEW_SESSION":
            raise errors.RuntimeValidationError(
                "1 validation error detected: Value 'NEW_SESSION' at 'sessionId' failed to satisfy constraint: Member "
                "must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*$"
            )
        # Accept itself would be of the events, were it sent.
        headers.pop("accept", None)
        if _ACCEPT in headers:
            headers["accept"] = headers[_ACCEPT]
        super().start()

    def send_to(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._sent_s = self._reporter.now_s()
        if self._is_cold:
            self._tell_setup(upstream)
        left_ms = max(1, int((self.deadline_s - self._deadlines.now_s()) * 1000))
        timeout_ms = max(1, int(self.timeout_s * 1000))
        head = encoded_head(self._fields_for(upstream) + _IN_PARTS, self._request_id, left_ms, timeout_ms)
        limit_bytes = self._route.endpoint.body_limit_bytes
        self._stream = upstream.send(self, head, self._inbound.body, limit_bytes, self)

    # What becomes of it.

    def part(self, head: dict[str, Any], part: bytes) -> None:
        """As asking.Streaming has it."""
        if not self._first_s:
            upstream, stream = self._upstream, self._stream
            if not self._begin(head, part):
                if upstream is not None:
                    upstream.cancel(stream)
                return
        self._give(part)
        self._owed_bytes += len(part)
        if not self._is_slow:
            self._credit()

    def answered(self, head: dict[str, Any], body: bytes) -> None:
        if not self._first_s and not self._begin(head, body):
            return
        if body:
            self._give(body)
        content_type = str(head.get("content_type") or "")
        whole = b"".join(self._kept) if self._kept_bytes <= MAX_KEPT_BYTES else None
        if self._capture is not None:
            self._capture.keep(self._request_id, self._inbound.headers, self._inbound.body, content_type, whole)
        self._finish(200, b"")
        if self._is_copied and whole is not None and self._pool is not None and self._pool.mirror is not None:
            self._copy(200, content_type, whole)

    def failed(self, head: dict[str, Any]) -> None:
        if not self._first_s:
            super().failed(head)
            return
        status = head.get("status", 500)
        said = str(head.get("message", "")).encode(errors="replace").decode()
        lost = head.get("kind") == "lost"
        self._break_off(
            0 if lost or not isinstance(status, int) or not 400 <= status <= 599 else status,
            f"The model broke off its answer: {said}" if said else "The model broke off its answer.",
        )

    def lost(self) -> None:
        if self._first_s:
            self._break_off(0, "The instance ended before its answer was whole.")
        else:
            super().lost()

    def _begin(self, head: dict[str, Any], part: bytes) -> bool:
        """Say the status and the headers. False when the model's answer is none that can be passed on."""
        status = head.get("status", 200)
        if not isinstance(status, int) or not 200 <= status < 300:
            self._model_failed(status, part.decode("utf-8", "replace"))
            return False
        try:
            content_type, attributes = str(head.get("content_type") or ""), str(head.get("custom_attributes") or "")
            lines = answer_lines(content_type, self._variant, attributes, streamed=True) + self._session_lines(head)
        except ValueError as error:
            self._model_lost(answers.model_error(self._route.endpoint, self._stream_name, 500, str(error)))
            return False
        self._first_s = now_s = self._reporter.now_s()
        self._deadlines.remove(self)
        pool = self._pool
        assert pool is not None
        pool.begin(self, now_s, self._began_s)
        if pool.capture is not None and pool.capture.draws():
            self._capture = pool.capture
        self._is_copied = pool.mirror is not None
        inbound = self._inbound
        inbound.drained, inbound.cut = self._drained, self._cut
        left_s = max(0.0, self._limit_s - (now_s - self._began_s))
        self._end_timer = asyncio.get_running_loop().call_later(left_s, self._overlong)
        inbound.begin(b"%sx-amzn-RequestId: %s\r\n" % (lines, self._request_id.encode()))
        return True

    def _give(self, part: bytes) -> None:
        if self._capture is not None or self._is_copied:
            self._kept_bytes += len(part)
            if self._kept_bytes <= MAX_KEPT_BYTES:
                self._kept.append(part)
            else:
                self._kept.clear()
        if not self._inbound.write(_PART(part)):
            self._is_slow = True

    def _credit(self) -> None:
        upstream = self._upstream
        if upstream is not None and self._owed_bytes >= _CREDIT_BYTES:
            upstream.credit(self._stream, self._owed_bytes)
            self._owed_bytes = 0

    def _drained(self) -> None:
        self._is_slow = False
        self._credit()

    def _overlong(self) -> None:
        if self._upstream is not None:
            self._upstream.cancel(self._stream)
        text = f"The model did not finish its answer within {self._limit_s:g} s."
        self._finish(0, answers.stream_error("ModelInvocationTimeExceeded", text))

    def _abandon(self) -> None:
        if not self._first_s:
            super()._abandon()
            return
        # The model has answered as far as it was let: an invocation like others.
        if self._upstream is not None:
            self._upstream.cancel(self._stream)
        self._finish(200, b"")

    def _cut(self) -> None:
        """The router ends."""
        if self._upstream is not None:
            self._upstream.cancel(self._stream)
        self._finish(200, answers.stream_failure())

    def _break_off(self, status: int, text: str) -> None:
        self._finish(status, answers.stream_error("StreamBroken", text))

    def _finish(self, status: int, last_event: bytes) -> None:
        """After the first part. status: as for `_end`. last_event: what it ends with, when that is an error."""
        timer, self._end_timer = self._end_timer, None
        if timer is not None:
            timer.cancel()
        self._measure(failed=bool(last_event))
        self._end(status)
        inbound = self._inbound
        inbound.drained = inbound.cut = None
        if last_event:
            inbound.write(last_event)
        inbound.finish()

    def _measure(self, *, failed: bool) -> None:
        upstream = self._upstream
        if upstream is None:
            return
        tell, place = self._reporter.measure, upstream.place
        tell(place, "", FIRST_CHUNK, (self._first_s - self._began_s) * 1e6)
        tell(place, "", FIRST_CHUNK_MODEL, (self._first_s - self._sent_s) * 1e6)
        tell(place, "", FIRST_CHUNK_OVERHEAD, (self._sent_s - self._began_s) * 1e6)
        tell(place, "", MID_STREAM_ERRORS, float(failed))
