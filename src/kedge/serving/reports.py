"""What routers have counted, on its way to control: both halves of the Unix socket between them.

A message is a u32 length (little-endian) and a frame of `meter.py`; control answers each with {"boot", "sequence"} once
it has taken it. A router keeps what is not acknowledged, at most BACKLOG frames, and sends it again, in order, to the
next control process; what waits for longer than a moment is on disk, too, for the router that comes after this one
(kept.py), and what is no report yet in a journal (journal.py). A request waits for none of it, and an idle router sends
nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kedge.clock import Clock
from kedge.errors import ServiceError
from kedge.serving.kept import Kept, Report
from kedge.serving.meter import (
    MAX_FRAME_BYTES,
    Captured,
    Concurrent,
    Frame,
    FrameRefused,
    Meter,
    Place,
    Told,
    decode,
    samples_of,
)
from kedge.serving.push import MAX_ANSWER_BYTES, MessageTooLarge, listen, message, read_message

BACKLOG = 900
"""Frames, of a second each, that a router keeps while control is away."""
KEPT_AFTER_S = 0.1
"""A report that control takes at once is never written."""
RECONNECT_S = 0.5
MAX_ROUTERS = 64

log = logging.getLogger(__name__)


class Reporter:
    """A router's half. `arrival`, `invocation` and `refusal` are called from the loop's thread, for every request."""

    def __init__(
        self,
        clock: Clock,
        boot: str,
        concurrent: Callable[[], Sequence[Concurrent]] = tuple,
        captured: Callable[[], Sequence[Captured]] = tuple,
        kept: Kept | None = None,
        told: Callable[[], Sequence[Told]] = tuple,
    ) -> None:
        """boot: of this process, and of no other. concurrent: what there is to do now. captured, told: since it was
        asked last. kept: None keeps in memory."""
        self._clock = clock
        self._meter = Meter(boot)
        self._concurrent, self._captured, self._told = concurrent, captured, told
        self._kept = kept
        former = kept.read(BACKLOG) if kept is not None else []
        self._journal = kept.journal(boot) if kept is not None else None
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Report] = deque(former)
        """Not acknowledged yet: what former routers left, then what this one has counted."""
        self._sent = 0
        """How many of them are on their way."""
        self._news = asyncio.Event()
        self._all_told = asyncio.Event()
        self._connected = False
        self._second = 0
        self._roll_is_due = False
        self.dropped = 0
        """Frames that were lost because control was away for too long."""

    now_s = staticmethod(time.monotonic)
    """For the spans of time that `invocation` is told, finer than the loop's own clock."""

    def wall_s(self) -> float:
        """Seconds since 1970."""
        return self._clock.now().timestamp()

    def arrival(self) -> None:
        """A request was taken on; how many there are is told at the end of each second, until there is none."""
        if not self._roll_is_due:
            self._begin_second()

    def news(self) -> None:
        """There is something to tell of data capture at the end of this second, also when no request comes."""
        if not self._roll_is_due:
            self._begin_second()

    def invocation(self, place: Place, status: int, instances: int, model_s: float, overhead_s: float) -> None:
        """As Meter.invocation, in seconds."""
        if not self._roll_is_due:
            self._begin_second()
        model_us, overhead_us = model_s * 1e6, overhead_s * 1e6
        journal = self._journal
        if journal is not None and not journal.invocation(place, status, instances, model_us, overhead_us):
            self._cut()
            journal.invocation(place, status, instances, model_us, overhead_us)
        self._meter.invocation(place, status, instances, model_us, overhead_us)

    def measure(self, place: Place, container: str, name: str, value: float) -> None:
        """As Meter.measure."""
        if not self._roll_is_due:
            self._begin_second()
        self._meter.measure(place, container, name, value)

    def samples(self, place: Place, containers: set[str], told: object) -> None:
        """Of what an instance has told. containers, told: as for samples_of."""
        for container, name, value in samples_of(told, containers):
            self.measure(place, container, name, value)

    def refusal(self, place: Place, code: str) -> None:
        """As Meter.refusal."""
        if not self._roll_is_due:
            self._begin_second()
        journal = self._journal
        if journal is not None and not journal.refusal(place, code):
            self._cut()
            journal.refusal(place, code)
        self._meter.refusal(place, code)

    def _begin_second(self) -> None:
        now_s = self._clock.now().timestamp()
        self._second = int(now_s)
        self._roll_is_due = True
        if self._journal is not None:
            self._journal.begin(self._second, self._meter.sequence + 1)
        self._loop.call_later(1 - now_s % 1, self.roll)

    def roll(self) -> None:
        """The second is over: what it held is to be sent."""
        self._roll_is_due = False
        concurrent, captured, told = self._concurrent(), self._captured(), self._told()
        if self._meter.is_empty and not concurrent and not captured and not told:
            return
        frame = self._meter.roll(self._second, concurrent, captured, told)
        sequence = self._meter.sequence
        if concurrent:
            self._begin_second()
        self._tell(sequence, frame)

    def wake(self) -> None:
        """A request waits for a variant without an instance: control hears it at once, and every second after."""
        self._cut(self._concurrent())

    def _cut(self, concurrent: Sequence[Concurrent] | None = None) -> None:
        """What was counted of this second until now is a report by itself, because the journal is full, or in haste."""
        frame = self._meter.roll(self._second, concurrent)
        if self._journal is not None:
            self._journal.begin(self._second, self._meter.sequence + 1)
        self._tell(self._meter.sequence, frame)

    def _tell(self, sequence: int, frame: bytes) -> None:
        report = Report(self._meter.boot, sequence, frame)
        self._waiting.append(report)
        if len(self._waiting) > BACKLOG:
            self._forget_first()
            self.dropped += 1
        self._news.set()
        if self._kept is not None:
            self._loop.call_later(KEPT_AFTER_S, self._keep, report)

    def _keep(self, report: Report) -> None:
        if self._kept is not None and report in self._waiting:
            self._kept.add(report)

    def _forget_first(self) -> None:
        report = self._waiting.popleft()
        self._sent = max(0, self._sent - 1)
        if self._journal is not None and report.boot == self._meter.boot:
            self._journal.forget(report.sequence)
        if self._kept is not None:
            self._kept.remove(report)

    @property
    def waiting(self) -> int:
        """Frames that are not acknowledged yet."""
        return len(self._waiting)

    async def run(self, path: Path) -> None:
        """Bring it to control for ever. path: the socket that control listens on."""
        while True:
            await self._wait_for_news()
            try:
                reader, writer = await asyncio.open_unix_connection(path)
            except OSError:
                pass  # control is away
            else:
                await self._follow(reader, writer)
            await asyncio.sleep(RECONNECT_S)

    async def drain(self, grace_s: float) -> None:
        """Before the end: send what has been counted, and wait at most grace_s until control has it, if it is there."""
        self.roll()
        if self._connected and self._waiting:
            self._all_told.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_told.wait(), grace_s)
        for report in self._waiting:
            self._keep(report)

    async def _wait_for_news(self) -> None:
        while not self._waiting:
            self._news.clear()
            await self._news.wait()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sent = 0
        self._connected = True
        acknowledging = asyncio.create_task(self._acknowledge(reader))
        try:
            await self._send(writer, acknowledging)
        except ConnectionError:
            pass  # control went away; what it has not acknowledged is sent again
        finally:
            self._connected = False
            acknowledging.cancel()
            await asyncio.gather(acknowledging, return_exceptions=True)
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, acknowledging: asyncio.Task[None]) -> None:
        while not acknowledging.done():
            while self._sent < len(self._waiting):
                report = self._waiting[self._sent]
                self._sent += 1
                writer.write(message(report.frame))
                await writer.drain()
            self._news.clear()
            news = asyncio.ensure_future(self._news.wait())
            await asyncio.wait((news, acknowledging), return_when=asyncio.FIRST_COMPLETED)
            news.cancel()

    async def _acknowledge(self, reader: asyncio.StreamReader) -> None:
        try:
            while (data := await read_message(reader, MAX_ANSWER_BYTES)) is not None:
                answer = json.loads(data)
                if reason := answer.get("refused"):
                    # Of another release: sending it again would hold up all that come after it.
                    log.error("control refuses a report: %s", reason)
                    self.dropped += 1
                    if self._sent:
                        self._forget_first()
                elif self._sent and self._waiting[0].is_called(answer["boot"], answer["sequence"]):
                    self._forget_first()
                if not self._waiting:
                    self._all_told.set()
        except (MessageTooLarge, ValueError, KeyError, TypeError) as error:
            log.warning("control's answer to a report cannot be read: %s", error)


class ReportServer:
    """Control's half. Each router's frames are taken one after the other, in the order in which they come."""

    def __init__(self, path: Path, take: Callable[[Frame], Awaitable[None]]) -> None:
        """take: stores a frame once, however often it comes; it is acknowledged when that has returned.

        When it raises ServiceError or OSError the router is sent away, and comes again with the same frame.
        """
        self._path = path
        self._take = take
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await listen(self._path, self._accept)

    async def stop(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._serving) >= MAX_ROUTERS:
            writer.close()
            return
        serving = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (data := await read_message(reader, MAX_FRAME_BYTES)) is not None:
                writer.write(message(json.dumps(await self._answer(data)).encode()))
                await writer.drain()
        except MessageTooLarge as error:
            log.error("a router's report is not read: %s", error)
        except ConnectionError:
            pass  # the router went away, and comes again
        except (ServiceError, OSError) as error:
            log.error("a router's report cannot be stored, and is asked for again: %s", error)
        finally:
            writer.close()

    async def _answer(self, data: bytes) -> dict[str, Any]:
        try:
            frame = decode(data)
        except FrameRefused as error:
            log.error("a router's report is refused: %s", error)
            return {"refused": str(error)[:1024]}
        await self._take(frame)
        return {"boot": frame.boot, "sequence": frame.sequence}


class Tally:
    """How many invocations each endpoint has had since control began, each frame once."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self.invocations: dict[tuple[str, str, str, str], int] = {}
        """By (account, region, endpoint, variant)."""

    def take(self, frame: Frame) -> None:
        if frame.sequence <= self._last.get(frame.boot, 0):
            return
        self._last[frame.boot] = frame.sequence
        for cell in frame.cells:
            key = cell.place[:4]
            self.invocations[key] = self.invocations.get(key, 0) + cell.invocations

    @property
    def total(self) -> int:
        return sum(self.invocations.values())
