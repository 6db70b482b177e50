"""The load on a worker alone: a client that speaks kedge.serving.frames over its Unix socket, N requests at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.serving.checking import SHARE, Check
from benchmarks.serving.load import Load, Sent
from kedge.serving import frames
from kedge.serving.frames import Kind

_TIMEOUT_S = 30.0
_READ_BYTES = 1 << 18


def payloads(content_type: str, bodies: Iterable[bytes]) -> list[bytes]:
    """The payload of a REQUEST for each body; the frame's own header needs the stream, and is put before it later."""
    head = {"content_type": content_type, "request_id": "00000000-0000-4000-8000-000000000000", "timeout_ms": 60_000}
    return [frames.with_head(Kind.REQUEST, 0, head, body)[frames.HEADER_BYTES :] for body in bodies]


def over_frames(path: Path, made: list[bytes], at_once: int, check: Check) -> Load:
    """made: of `payloads`. Answers are compared after the time is up."""
    return lambda seconds: _Conversation(path, made, at_once).run(seconds, check)


class _Conversation:
    """Every answer sends the next request on the same turn. Requests are small, so a blocking socket never fills up."""

    def __init__(self, path: Path, made: list[bytes], at_once: int) -> None:
        self._path, self._made, self._at_once = path, made, at_once
        self._next = 0
        self._sent_s: dict[int, float] = {}
        self._latencies_s: list[float] = []
        self._kept: list[tuple[int, bytes]] = []
        self._errors = 0

    def run(self, seconds: float, check: Check) -> Sent:
        decoder = frames.Decoder()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(str(self._path))
            connection.sendall(frames.with_head(Kind.HELLO, 0, {"version": frames.VERSION}))
            start = time.perf_counter()
            end = start + seconds
            connection.sendall(self._requests(self._at_once))
            while self._sent_s:
                data = connection.recv(_READ_BYTES)
                if not data:
                    self._errors += len(self._sent_s)
                    break
                answered = sum(self._take(each) for each in decoder.feed(data))
                if answered and time.perf_counter() < end:
                    connection.sendall(self._requests(answered))
            elapsed_s = time.perf_counter() - start
        wrong = sum(not check(number, body) for number, body in self._kept)
        ordered = sorted(self._latencies_s) or [0.0]
        return Sent(
            requests=len(self._latencies_s),
            seconds=elapsed_s,
            p50_ms=ordered[len(ordered) // 2] * 1000,
            p99_ms=ordered[len(ordered) * 99 // 100] * 1000,
            max_ms=ordered[-1] * 1000,
            errors=self._errors + wrong,
            checked=len(self._kept),
        )

    def _requests(self, count: int) -> bytes:
        now, out = time.perf_counter(), []
        for _ in range(count):
            payload = self._made[self._next % len(self._made)]
            self._next += 1
            self._sent_s[self._next] = now
            out.append(frames.frame(Kind.REQUEST, self._next, payload, frames.LAST))
        return b"".join(out)

    def _take(self, frame: frames.Frame) -> int:
        """1 when this ends a request."""
        if frame.kind not in (Kind.RESPONSE, Kind.ERROR) or frame.stream not in self._sent_s:
            return 0
        self._latencies_s.append(time.perf_counter() - self._sent_s.pop(frame.stream))
        if frame.kind is Kind.ERROR or not frame.flags & frames.LAST:
            self._errors += 1
        elif frame.stream % SHARE == 1:
            self._kept.append(((frame.stream - 1) % len(self._made), frame.head()[1]))
        return 1
