"""Deadlines of many requests with one timer each per length of time: a timer per request costs more than all the rest.

Requests of one time-out expire in the order in which they came, so only the oldest of each needs a timer.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Expiring(Protocol):
    deadline_s: float
    """On the loop's clock."""
    timeout_s: float

    def expire(self) -> None: ...


class Deadlines:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._by_timeout: dict[float, dict[Expiring, None]] = {}

    def now_s(self) -> float:
        return self._loop.time()

    def add(self, each: Expiring) -> None:
        """Sets its deadline, and calls `expire` once that is over, unless it is removed before."""
        each.deadline_s = self._loop.time() + each.timeout_s
        queue = self._by_timeout.get(each.timeout_s)
        if queue is None:
            queue = self._by_timeout[each.timeout_s] = {}
            self._loop.call_at(each.deadline_s, self._look, each.timeout_s)
        queue[each] = None

    def remove(self, each: Expiring) -> None:
        queue = self._by_timeout.get(each.timeout_s)
        if queue is not None:
            queue.pop(each, None)

    def _look(self, timeout_s: float) -> None:
        """Expire what is over, then look again when the oldest that is left will be."""
        queue = self._by_timeout[timeout_s]
        now_s = self._loop.time()
        while queue:
            oldest = next(iter(queue))
            if oldest.deadline_s > now_s:
                self._loop.call_at(oldest.deadline_s, self._look, timeout_s)
                return
            del queue[oldest]
            oldest.expire()
        del self._by_timeout[timeout_s]
