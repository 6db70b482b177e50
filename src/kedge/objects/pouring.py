"""A body that comes as fast as it can be stored: one thread receives, encrypts and writes it while others hash it.

All in one thread and past the event loop, since handing each piece over costs more than there is to do with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

from kedge.objects.bodies import NewBody
from kedge.objects.hashing import Lane
from kedge.wire.checksums import Checksum

BUFFER_BYTES = 1024 * 1024
BUFFERS = 4
"""Of one thread, whatever body it works at."""
TURN_BYTES = 32 * 1024 * 1024
"""Then a body that waits may have the thread."""


class Pouring(Protocol):
    """wire.streams.Pouring."""

    @property
    def length(self) -> int: ...

    @property
    def digests(self) -> Sequence[Checksum]: ...

    async def more(self) -> bool: ...

    def take(self, buffer: memoryview, /) -> Sequence[memoryview]: ...


class Buffers(threading.local):
    """Those of the calling thread."""

    def __init__(self) -> None:
        self.views = [memoryview(bytearray(BUFFER_BYTES)) for _ in range(BUFFERS)]


def pour(body: Pouring, into: NewBody, buffers: Buffers, others_wait: Callable[[], bool]) -> None:
    """Store what comes, until nothing more comes at once, or the thread's turn is over and others wait."""
    views = buffers.views
    with into.lock:
        lanes = [Lane(into.hashing, digest) for digest in (*into.digests, *body.digests)]
        try:
            for number in count():
                if number >= TURN_BYTES // BUFFER_BYTES and others_wait():
                    break
                for lane in lanes:
                    lane.wait(most=BUFFERS - 1)  # what this buffer held has been hashed
                pieces = body.take(views[number % BUFFERS])
                if not pieces:
                    break
                for lane in lanes:
                    lane.add(pieces)
                into.put(pieces)
        finally:
            for lane in lanes:
                lane.wait()  # the buffers are the next body's
