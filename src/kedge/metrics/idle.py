"""Samples of 0 for the minutes in which a variant was not invoked, so that an alarm sees no traffic, not no data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from kedge.clock import Clock
from kedge.metrics import platform
from kedge.metrics.platform import Served
from kedge.metrics.series import Datum, Metric, Summary

GRACE_S = 3.0
"""After the end of a minute, for the last report on it to come."""
SETTLING_S = 10.0
"""After the start of the control process, for what routers have kept meanwhile to come."""
LONGEST_AWAY_S = 900
"""What routers have kept of a longer absence of the control process they may have given up, too."""


class Store(Protocol):
    """What metrics/store.py offers; both block."""

    def put(self, data: Sequence[Datum]) -> None: ...
    def read(
        self, metric: Metric, unit: str | None, period_s: int, start_s: int, end_s: int
    ) -> list[tuple[str, dict[int, Summary]]]: ...


class Idle:
    def __init__(self, store: Store, clock: Clock, executor: Executor, served: Callable[[], Iterable[Served]]) -> None:
        """served: every variant that takes requests now; may block."""
        self._store, self._clock, self._executor, self._served = store, clock, executor, served
        self._began_s = clock.monotonic_s()
        self._until = 0
        """Minutes that began before it are told; 0 after the start, which changes nothing but what is looked at."""

    async def step(self) -> float:
        """Tell the minutes that are over. A minute that was told before is seen in the store, and not told again."""
        waited_s = self._clock.monotonic_s() - self._began_s
        if waited_s < SETTLING_S:
            return SETTLING_S - waited_s
        now_s = self._clock.now().timestamp()
        end = int((now_s - GRACE_S) // 60) * 60
        start = max(self._until, end - LONGEST_AWAY_S)
        if start < end:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._fill, start, end)
            self._until = end
        return max(0.0, end + 60 + GRACE_S - now_s) + 0.01

    def _fill(self, start: int, end: int) -> None:
        data: list[Datum] = []
        for place, config, since_s, asynchronous, serverless in self._served():
            if asynchronous:
                continue
            first = max(start, int(since_s // 60) * 60)
            if first >= end:
                continue
            found = self._store.read(platform.invocations(place), platform.NONE, 60, first, end)
            known = {minute for _, points in found for minute in points}
            for minute in range(first, end, 60):
                if minute not in known:
                    data += platform.idle(place, minute, config, serverless)
        if data:
            self._store.put(data)
