"""Digests of a body, worked out by other threads while the same bytes are written: it takes as long as all the rest."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor

from kedge.wire.checksums import Checksum
from kedge.wire.http import Buffer


class Lane:
    """One digest: it sees what is added in order, a step of some thread at a time."""

    def __init__(self, threads: Executor, digest: Checksum) -> None:
        """threads: none of them may wait for a lane."""
        self._threads = threads
        self._digest = digest
        self._waiting: deque[Sequence[Buffer]] = deque()
        """The first one is being worked on."""
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def add(self, data: Sequence[Buffer]) -> None:
        with self._changed:
            self._waiting.append(data)
            if len(self._waiting) == 1:
                self._threads.submit(self._step)

    def wait(self, most: int = 0) -> None:
        """Until at most so many of what was added are still needed. Raises what went wrong."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) <= most)
            if self._error is not None:
                raise self._error

    def _step(self) -> None:
        try:
            for each in self._waiting[0]:
                self._digest.update(each)
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it)
            self._error = error
        with self._changed:
            self._waiting.popleft()
            if self._waiting:
                self._threads.submit(self._step)
            self._changed.notify_all()
