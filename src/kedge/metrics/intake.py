"""What routers report, into the metric store: each report once, and never on the control process's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol

from kedge.clock import Clock
from kedge.loop import Signal
from kedge.metrics import platform
from kedge.metrics.series import Datum
from kedge.serving.meter import Concurrent, Frame, VariantPlace

TOGETHER_S = 0.3
"""For how long the reports of other routers on the same second are waited for, where they have to be added up."""

_REST_S = 60.0
"""It is woken when there is something to do."""


class Store(Protocol):
    """What metrics/store.py offers; both block until what was given is committed."""

    def put(self, data: Sequence[Datum]) -> None: ...
    def take(self, boot: str, sequence: int, data: Sequence[Datum]) -> bool: ...


class Intake:
    def __init__(
        self, store: Store, clock: Clock, executor: Executor, taken: Sequence[Callable[[Frame], None]] = ()
    ) -> None:
        """taken: told of each report that was new, on the loop's thread."""
        self._store, self._clock, self._executor, self._taken = store, clock, executor, taken
        self._concurrent: dict[int, tuple[float, dict[VariantPlace, dict[str, Concurrent]]]] = {}
        """By second: when the first report on it came, and what each router has said last."""
        self.wake = Signal()

    async def take(self, frame: Frame) -> None:
        """Stored when this returns. Raises what the store does; then nothing of it is."""
        if not await asyncio.get_running_loop().run_in_executor(self._executor, self._store_report, frame):
            return
        for told in self._taken:
            told(frame)
        if frame.concurrent:
            self._add(frame)

    async def step(self) -> float:
        """Store how much all routers together had to do in the seconds that are complete.

        These are samples; what a killed control process held of them is lost. Where reports of several routers come
        late, and not together, each is a sample of its own.
        """
        now_s = self._clock.monotonic_s()
        complete = [second for second, (came_s, _) in self._concurrent.items() if now_s - came_s >= TOGETHER_S]
        data: list[Datum] = []
        for second in complete:
            for place, said in self._concurrent.pop(second)[1].items():
                told = said.values()
                requests, instances = sum(each.requests for each in told), max(each.instances for each in told)
                data.append(platform.concurrency(place, second, requests, instances))
                most, provisioned = max((each.most, each.provisioned) for each in told)
                if most:
                    peak = sum(max(each.peak, each.requests) for each in told)
                    data += platform.executions(place, second, peak, most, provisioned)
        if data:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._store.put, data)
        return TOGETHER_S if self._concurrent else _REST_S

    def _store_report(self, frame: Frame) -> bool:
        return self._store.take(frame.boot, frame.sequence, list(platform.data_of(frame)))

    def _add(self, frame: Frame) -> None:
        if not self._concurrent:
            self.wake.notify()
        _, counts = self._concurrent.setdefault(frame.second, (self._clock.monotonic_s(), {}))
        for each in frame.concurrent:
            of_place = counts.setdefault(each.place, {})
            before = of_place.get(frame.boot)
            if before is not None and before.peak > each.peak:
                each = each._replace(peak=before.peak)  # a second may be told in two parts
            of_place[frame.boot] = each
