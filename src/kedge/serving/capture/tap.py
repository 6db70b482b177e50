"""The router's half of data capture: takes a sample of what is answered, and hands it on without ever waiting.

A record that is taken waits in a queue for WRITE_AFTER_S at most; then all that wait are written to the socket of the
capture process together, since one write costs more than taking ten records. While the process is away, or reads too
slowly, they wait on; a record for which the queue has no room is dropped. What was written and not acknowledged when
the connection ends counts as dropped too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast

from kedge.serving.capture import frames
from kedge.serving.capture.records import Source, is_sampled
from kedge.serving.meter import Captured, VariantPlace

QUEUE_BYTES = 32 * 1024 * 1024
"""Of one router, while the capture process is away or behind."""
RECORD_BYTES = 512
"""What a queued record takes besides its bodies."""
WRITE_AFTER_S = 0.005
RECONNECT_S = 0.25
CLOSE_WITHIN_S = 2.0
_WRITE_BYTES = 1024 * 1024
"""Written at once; more waits until the socket has taken this."""

log = logging.getLogger(__name__)


class Feed:
    """A variant as it was captured from one routing table on: what a record in the queue refers to."""

    __slots__ = ("number", "source", "stream")

    def __init__(self, stream: Stream, source: Source) -> None:
        self.stream = stream
        self.source = source
        self.number = 0
        """On the connection there is; 0 before it was announced."""


class Stream:
    """What is taken of one variant. Called for each of its answers."""

    __slots__ = (
        "_draw",
        "_percent",
        "_tap",
        "acknowledged",
        "dropped",
        "feed",
        "problem",
        "sent",
        "taken",
        "told",
        "withheld",
    )

    def __init__(self, tap: Tap, source: Source, draw: Callable[[], float]) -> None:
        self._tap = tap
        self._draw = draw
        self.taken = 0
        """Sampled, since the router started."""
        self.dropped = 0
        """Of these, those that will not be written."""
        self.withheld = 0
        """Bodies that were left out because a rule could not be applied to them."""
        self.told = (0, 0, 0)
        """Of these three counts, what was metered."""
        self.problem = ""
        """Why the capture process cannot deliver at present."""
        self.sent = self.acknowledged = 0
        """Records, on the connection there is."""
        self.become(source)

    def __call__(
        self, request_id: str, headers: Mapping[str, str], request: bytes, content_type: str, answer: bytes
    ) -> None:
        """request, answer: the bodies. headers: of the request."""
        if is_sampled(self._percent, self._draw()):
            self.taken += 1
            self._tap.put(self.feed, request_id, headers, request, content_type, answer)

    def draws(self) -> bool:
        """Whether the next answer, which comes part by part, is to be kept for `keep`."""
        return is_sampled(self._percent, self._draw())

    def keep(
        self, request_id: str, headers: Mapping[str, str], request: bytes, content_type: str, answer: bytes | None
    ) -> None:
        """One that was drawn. answer: None where it was too large to be kept: a dropped record."""
        self.taken += 1
        if answer is None:
            self.dropped += 1
        else:
            self._tap.put(self.feed, request_id, headers, request, content_type, answer)

    def become(self, source: Source) -> None:
        """It is captured so from now on."""
        self.feed = Feed(self, source)
        self._percent = source.capture.percent


_Record = tuple[Feed, str, Mapping[str, str], bytes, str, bytes, float]


class Tap:
    """One for each router. Everything happens on the loop's thread."""

    def __init__(self, socket_path: Path, draw: Callable[[], float], queue_bytes: int = QUEUE_BYTES) -> None:
        self._path = socket_path
        self._draw = draw
        self._queue_bytes = queue_bytes
        self._streams: dict[tuple[str, str, str, str], Stream] = {}
        self._announced: dict[int, Feed] = {}
        self._next_number = 1
        self._queue: deque[_Record] = deque()
        self._held_bytes = 0
        self._is_due = False
        self._connection: _Connection | None = None
        self.lost: Callable[[], None] = lambda: None
        """Called when records turn out to be dropped, or bodies withheld, after the answers that they are of."""

    def stream(self, source: Source) -> Stream:
        """The one of this variant, whose counts go on whatever is captured of it."""
        key = (source.account, source.region, source.endpoint, source.variant)
        found = self._streams.get(key)
        if found is None:
            found = self._streams[key] = Stream(self, source, self._draw)
        elif found.feed.source != source:
            found.become(source)
        return found

    def keep(self, endpoints: Collection[tuple[str, str, str]]) -> None:
        """Forget the counts of all other (account, region, name); what is queued of them is still written."""
        for key in [each for each in self._streams if each[:3] not in endpoints]:
            del self._streams[key]

    def put(
        self,
        feed: Feed,
        request_id: str,
        headers: Mapping[str, str],
        request: bytes,
        content_type: str,
        answer: bytes,
    ) -> None:
        """Queue it, or drop it."""
        capture = feed.source.capture
        if not capture.input:
            request = b""
        if not capture.output:
            answer = b""
        size = len(request) + len(answer) + RECORD_BYTES
        if self._held_bytes + size > self._queue_bytes:
            feed.stream.dropped += 1
            return
        self._held_bytes += size
        self._queue.append((feed, request_id, headers, request, content_type, answer, time.time()))
        if not self._is_due and self._connection is not None:
            self._is_due = True
            asyncio.get_running_loop().call_later(WRITE_AFTER_S, self._write)

    async def run(self) -> None:
        """Stay connected to whichever capture process there is, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, connection = await loop.create_unix_connection(lambda: _Connection(self), str(self._path))
            except OSError:
                pass  # away, or not there yet; the queue is bounded
            else:
                await connection.ended.wait()
            await asyncio.sleep(RECONNECT_S)

    async def close(self) -> None:
        """Hand on what is queued, as far as that takes no longer than CLOSE_WITHIN_S."""
        if self._connection is not None:
            self._write()
            try:
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await self._connection.finish(lambda: not self._queue)
            except TimeoutError:
                log.warning("%d captured records were not handed on in time", len(self._queue))

    def summary(self) -> dict[str, Any]:
        """For /kedge/health: says nothing of whose endpoints there are."""
        return {
            "connected": self._connection is not None,
            "queued_bytes": self._held_bytes,
            "taken": sum(stream.taken for stream in self._streams.values()),
            "dropped": sum(stream.dropped for stream in self._streams.values()),
        }

    def counted(self) -> list[Captured]:
        """What is new since this was asked last; what became of the last records of all is told after later ones."""
        found = []
        for key, stream in self._streams.items():
            now = (stream.taken, stream.dropped, stream.withheld)
            if now != stream.told:
                new = (after - before for after, before in zip(now, stream.told, strict=True))
                found.append(Captured(VariantPlace(*key), *new))
                stream.told = now
        return found

    def variants(self) -> list[dict[str, Any]]:
        """Each variant of which something is captured."""
        return [
            {
                "account": account,
                "region": region,
                "endpoint": endpoint,
                "variant": variant,
                "taken": stream.taken,
                "dropped": stream.dropped,
                "withheld": stream.withheld,
                "problem": stream.problem,
            }
            for (account, region, endpoint, variant), stream in self._streams.items()
        ]

    # What the connection says.

    def connected(self, connection: _Connection) -> None:
        self._connection = connection
        self._write()

    def disconnected(self) -> None:
        self._connection = None
        for feed in self._announced.values():
            feed.number = 0
            stream = feed.stream
            if stream.sent > stream.acknowledged:
                self.lost()
            stream.dropped += stream.sent - stream.acknowledged
            stream.sent = stream.acknowledged = 0
        self._announced.clear()

    def acknowledged(self, counts: Mapping[str, Mapping[str, Any]]) -> None:
        """counts: of streams by their numbers, what has become of their records since the last such message."""
        for number, each in counts.items():
            stream = self._announced[int(number)].stream
            stream.dropped += int(each["dropped"])
            stream.acknowledged += int(each["spooled"]) + int(each["dropped"])
            stream.withheld += int(each["withheld"])
            stream.problem = str(each["problem"])
            if each["dropped"] or each["withheld"]:
                self.lost()

    def can_write(self) -> None:
        self._write()

    def _write(self) -> None:
        self._is_due = False
        queue, connection = self._queue, self._connection
        while queue and connection is not None and connection.takes:
            parts: list[bytes] = []
            size = 0
            while queue and size < _WRITE_BYTES:
                feed, request_id, headers, request, content_type, answer, at_s = queue.popleft()
                if not feed.number:
                    self._announce(feed, parts)
                parts.append(
                    frames.record_head(
                        feed.number,
                        at_s,
                        request_id,
                        headers.get("x-amzn-sagemaker-inference-id", ""),
                        headers.get("x-amzn-sagemaker-custom-attributes", ""),
                        headers.get("content-type", ""),
                        content_type,
                        len(request),
                        len(answer),
                    )
                )
                if request:
                    parts.append(request)
                if answer:
                    parts.append(answer)
                feed.stream.sent += 1
                size += len(request) + len(answer) + RECORD_BYTES
            self._held_bytes -= size
            connection.write(parts)

    def _announce(self, feed: Feed, parts: list[bytes]) -> None:
        feed.number = self._next_number
        self._next_number += 1
        self._announced[feed.number] = feed
        parts.append(frames.announce(feed.number, feed.source))


class _Connection(asyncio.Protocol):
    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._transport: asyncio.Transport | None = None
        self._line = b""
        self._ends = False
        self.takes = False
        self.ended = asyncio.Event()
        self._drained = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BYTES)
        self.takes = True
        self._tap.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.takes = False
        self.ended.set()
        self._drained.set()
        self._tap.disconnected()

    def pause_writing(self) -> None:
        self.takes = False

    def resume_writing(self) -> None:
        self.takes = not self._ends
        self._drained.set()
        self._tap.can_write()

    def data_received(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self._tap.acknowledged(message["streams"])
            if message["ends"]:
                # It takes no more; what it has been sent it reads to the end.
                self.takes, self._ends = False, True
                if self._transport is not None:
                    self._transport.write_eof()

    def write(self, parts: list[bytes]) -> None:
        assert self._transport is not None
        self._transport.write(b"".join(parts))

    async def finish(self, done: Callable[[], bool]) -> None:
        """Until everything was written, and the other side has said that it has it."""
        while not done() and not self.ended.is_set():
            self._drained.clear()
            await self._drained.wait()
        if self._transport is not None and not self.ended.is_set():
            self._transport.write_eof()
        await self.ended.wait()
