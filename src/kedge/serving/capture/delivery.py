"""From the spool to S3: every segment becomes one object, once, however often it is tried.

A segment is due PERIOD_S after its first record, or as soon as it is large. Its object's key follows from the segment,
and an object that is there already is not put again: so a kill between the put and the removal of the segment makes no
second one. What cannot be delivered (no such bucket, a key that is disabled, a full disk) stays in the spool and is
tried again, ever more rarely, for KEPT_S; then it is dropped. One variant's trouble does not delay another's records.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from kedge.clock import Clock
from kedge.errors import ServiceError
from kedge.serving.capture import record
from kedge.serving.capture.spool import Segment, Spool

PERIOD_S = 8.0
"""With what a put takes, an object is there within 10 s."""
LARGE_BYTES = 8 * 1024 * 1024
KEPT_S = 86_400.0
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 1.0, 60.0
THREADS = 4
"""A put waits for the disk most of its time."""

VariantKey = tuple[str, str, str, str]
Put = Callable[[Segment, str, bytes], bool]
"""(segment, key, body); blocks. Returns False when the object was there already."""

log = logging.getLogger(__name__)


@dataclass
class Trouble:
    """Of one variant whose records cannot be delivered."""

    reason: str
    failures: int
    not_before_s: float


@dataclass
class _Waiting:
    segment: Segment
    since_s: float
    under_way: bool = False


class Delivery:
    def __init__(self, spool: Spool, put: Put, clock: Clock) -> None:
        self._spool, self._put, self._clock = spool, put, clock
        self._large_bytes = min(LARGE_BYTES, spool.limit_bytes // 16)
        """A quarter of what a variant may have in the spool, so that it does not fill before anything is due."""
        self._changed: Callable[[VariantKey], None] = lambda _: None
        self._threads = ThreadPoolExecutor(THREADS, "delivery")
        self._waiting: dict[str, _Waiting] = {}
        self._troubles: dict[VariantKey, Trouble] = {}
        self._wake = asyncio.Event()
        self._puts: set[asyncio.Task[None]] = set()
        self._hurry = False

    def problem(self, variant: VariantKey) -> str:
        """Why its records cannot be delivered; "" while they can."""
        trouble = self._troubles.get(variant)
        return trouble.reason if trouble is not None else ""

    def on_change(self, callback: Callable[[VariantKey], None]) -> None:
        """Call it when `problem` of a variant has become another one."""
        self._changed = callback

    def take_up(self, segments: Iterable[Segment]) -> None:
        """What an earlier process left; due at once."""
        for segment in segments:
            self._waiting[segment.id] = _Waiting(segment, self._clock.monotonic_s() - PERIOD_S)
        self._wake.set()

    def added(self, segment: Segment) -> None:
        """Something was appended to it."""
        if segment.id not in self._waiting:
            self._waiting[segment.id] = _Waiting(segment, self._clock.monotonic_s())
            self._wake.set()
        if segment.bytes >= self._large_bytes:
            self._spool.close(segment)
            self._wake.set()

    async def run(self) -> None:
        """For ever. Sleeps while nothing is due."""
        while True:
            self._wake.clear()
            self._begin_what_is_due()
            pause_s = self._next_due_s() - self._clock.monotonic_s()
            try:
                async with asyncio.timeout(max(0.01, pause_s) if pause_s < KEPT_S else None):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def finish(self, within_s: float) -> None:
        """Deliver all that can be delivered now, whether it is due or not. What remains stays in the spool."""
        self._hurry = True
        for waiting in self._waiting.values():
            self._spool.close(waiting.segment)
        self._begin_what_is_due()
        if self._puts:
            await asyncio.wait(self._puts, timeout=within_s)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def forget(self) -> None:
        """Drop all that waits: its buckets and endpoints are gone."""
        if self._puts:
            await asyncio.wait(self._puts)
        for waiting in list(self._waiting.values()):
            self._spool.remove(waiting.segment)
        self._waiting.clear()
        self._troubles.clear()

    def _due_s(self, waiting: _Waiting) -> float:
        """When it may be put; for ever while it is being put."""
        if waiting.under_way:
            return float("inf")
        segment = waiting.segment
        at_s = waiting.since_s if self._hurry or segment.bytes >= self._large_bytes else waiting.since_s + PERIOD_S
        trouble = self._troubles.get(segment.target.variant_key)
        return at_s if trouble is None or self._hurry else max(at_s, trouble.not_before_s)

    def _next_due_s(self) -> float:
        return min(map(self._due_s, self._waiting.values()), default=float("inf"))

    def _begin_what_is_due(self) -> None:
        now_s = self._clock.monotonic_s()
        tried: set[VariantKey] = set()
        for waiting in list(self._waiting.values()):
            if self._due_s(waiting) > now_s:
                continue
            variant = waiting.segment.target.variant_key
            if variant in self._troubles:  # one of its segments finds out whether the others can go too
                if variant in tried or self._is_tried(variant):
                    continue
                tried.add(variant)
            waiting.under_way = True
            self._spool.close(waiting.segment)
            task = asyncio.create_task(self._deliver(waiting))
            self._puts.add(task)
            task.add_done_callback(self._puts.discard)

    def _is_tried(self, variant: VariantKey) -> bool:
        return any(each.under_way for each in self._waiting.values() if each.segment.target.variant_key == variant)

    async def _deliver(self, waiting: _Waiting) -> None:
        segment = waiting.segment
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self._put_whole, segment)
        except (ServiceError, OSError, sqlite3.Error) as error:
            self._failed(waiting, str(error) or repr(error))
        except Exception:
            log.exception("segment %s could not be delivered", segment.id)
            self._failed(waiting, "an internal error; the log of the capture process says which")
        else:
            self._remove(segment)
            self._healed(segment.target.variant_key)
        waiting.under_way = False
        self._wake.set()

    def _put_whole(self, segment: Segment) -> None:
        target = segment.target
        key = record.object_key(target.prefix, target.endpoint, target.variant, segment.first_at_s, segment.id)
        body = self._spool.read(segment)
        if not body:
            log.warning("segment %s of the spool has no whole record", segment.id)
        elif not self._put(segment, key, body):
            log.info("s3://%s/%s was there already", target.bucket, key)

    def _remove(self, segment: Segment) -> None:
        self._waiting.pop(segment.id, None)
        self._spool.remove(segment)

    def _failed(self, waiting: _Waiting, reason: str) -> None:
        segment, now_s = waiting.segment, self._clock.monotonic_s()
        variant = segment.target.variant_key
        trouble = self._troubles.get(variant)
        if trouble is None or trouble.reason != reason:
            log.error("records of %s/%s cannot be delivered: %s", *variant[2:], reason)
        failures = trouble.failures + 1 if trouble is not None else 1
        pause_s = min(LONGEST_BACK_OFF_S, FIRST_BACK_OFF_S * 2 ** min(failures - 1, 10))
        self._troubles[variant] = Trouble(reason, failures, now_s + pause_s)
        self._changed(variant)
        if self._clock.now().timestamp() - segment.first_at_s >= KEPT_S:
            log.error("segment %s of %s is dropped after %.0f s: %s", segment.id, segment.target, KEPT_S, reason)
            self._remove(segment)

    def _healed(self, variant: VariantKey) -> None:
        if self._troubles.pop(variant, None) is not None:
            log.info("records of %s/%s are delivered again", *variant[2:])
            self._changed(variant)
