"""The bounded queue between the thread that speaks to routers and the thread that runs the model."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from kedge.serving.runtimes.base import Invocation

MAX_REQUESTS = 1024
MAX_BYTES = 256 * 1024 * 1024
MAX_BATCH_BYTES = 64 * 1024 * 1024

Source = TypeVar("Source", bound=Hashable)


class Job(NamedTuple, Generic[Source]):
    source: Source
    """Whom to answer."""
    stream: int
    request: Invocation
    deadline_s: float | None
    """On the monotonic clock; nobody waits for it after that."""
    timeout_s: float = math.inf
    """How long the model may be at its batch without any progress."""
    tells_begun: bool = False
    """Its router wants to know when the model begins with it."""


class Work(Generic[Source]):
    """Whatever arrives while the model is busy waits here and is taken as one batch. Safe for several threads."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._queue: OrderedDict[tuple[Source, int], Job[Source]] = OrderedDict()
        self._bytes = 0
        self._in_hand = 0
        self._closed = False
        self._draining = False

    @property
    def room_bytes(self) -> int:
        """How many more bytes of requests fit. Never locks: an estimate a moment old is as good."""
        return self._max_bytes - self._bytes

    @property
    def has_waiting(self) -> bool:
        """Whether something is queued. Never locks, either."""
        return bool(self._queue)

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or in hand."""
        with self._changed:
            return not self._queue and not self._in_hand

    def add(self, jobs: Sequence[Job[Source]]) -> list[Job[Source]]:
        """Those that do not fit come back."""
        refused = []
        with self._changed:
            for job in jobs:
                if len(self._queue) >= MAX_REQUESTS or self._bytes + len(job.request.body) > self._max_bytes:
                    refused.append(job)
                    continue
                self._queue[job.source, job.stream] = job
                self._bytes += len(job.request.body)
            self._changed.notify()
        return refused

    def cancel(self, source: Source, stream: int) -> None:
        """Forget the request if the model has not begun with it."""
        with self._changed:
            if job := self._queue.pop((source, stream), None):
                self._bytes -= len(job.request.body)

    def take(self, count: int) -> list[Job[Source]] | None:
        """Wait for work; the oldest requests, at most count and MAX_BATCH_BYTES of them. None once it is closed."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            jobs: list[Job[Source]] = []
            size = 0
            while self._queue and len(jobs) < count:
                size += len(next(iter(self._queue.values())).request.body)
                if jobs and size > MAX_BATCH_BYTES:
                    break
                jobs.append(self._queue.popitem(last=False)[1])
            # Counted until they are answered: what the model holds is held.
            self._in_hand = len(jobs)
            return jobs

    def clear(self) -> list[Job[Source]]:
        """Everything that the model has not begun with."""
        with self._changed:
            jobs = list(self._queue.values())
            self._queue.clear()
            self._bytes -= sum(len(job.request.body) for job in jobs)
            return jobs

    def done(self, jobs: Sequence[Job[Source]]) -> bool:
        """The batch is answered. True when somebody waits for the work to end."""
        with self._changed:
            self._in_hand = 0
            self._bytes -= sum(len(job.request.body) for job in jobs)
            return self._draining

    def drained(self) -> bool:
        """Whether nothing is queued or in hand; if not, `done` will tell from now on."""
        with self._changed:
            self._draining = True
            return not self._queue and not self._in_hand

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
