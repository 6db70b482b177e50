"""What instances use, from the supervisor into the metric store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor

from kedge.compute.used import PERIOD_S, Sample
from kedge.metrics import platform
from kedge.metrics.intake import Store


class Instances:
    def __init__(
        self,
        store: Store,
        executor: Executor,
        usage: Callable[[str, int], Awaitable[Sequence[Sample]]],
        taken: Callable[[Sample], None],
    ) -> None:
        """usage: the samples after this one, or all that there are. taken: told of each that was new."""
        self._store, self._executor, self._usage, self._taken = store, executor, usage, taken
        self._last: tuple[str, int] = ("", 0)
        """Forgotten with the process; the store knows by itself what it has taken."""

    async def step(self) -> float:
        loop = asyncio.get_running_loop()
        for sample in await self._usage(*self._last):
            data = list(platform.instances(sample))
            if await loop.run_in_executor(self._executor, self._store.take, sample.boot, sample.sequence, data):
                self._taken(sample)
            self._last = (sample.boot, sample.sequence)
        return PERIOD_S
