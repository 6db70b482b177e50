"""The instances of one job: started, waited for, and lent out, as many requests at once as each may have."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kedge.compute.base import Engine, TaskSpec, TaskState, TaskStatus
from kedge.compute.batch_hints import Hints, hints_of
from kedge.errors import ResourceLimitExceeded
from kedge.jobs.failing import JobFailed

LOOK_S = 0.1


class Instances:
    def __init__(self, engine: Engine, specs: Sequence[TaskSpec]) -> None:
        self._engine, self._specs = engine, {spec.id: spec for spec in specs}
        self._sockets: dict[str, str] = {}
        self._free: asyncio.Queue[str] = asyncio.Queue()
        self.slots = 0

    async def start(self) -> Hints:
        """Until all of them are ready. Returns how the model wants batches to be sent. Raises JobFailed."""
        for spec in self._specs.values():
            await self._start(spec)
        for id_ in self._specs:
            await self.until_ready(id_)
        first = await self._task(next(iter(self._specs)))
        return hints_of(first.batch) if first is not None else {}

    def open(self, concurrency: int) -> None:
        """So many requests at once may go to each."""
        self.slots = concurrency * len(self._specs)
        for _ in range(concurrency):
            for id_ in self._specs:
                self._free.put_nowait(id_)

    async def _start(self, spec: TaskSpec) -> None:
        try:
            await self._engine.start(spec)
        except ResourceLimitExceeded as error:
            raise JobFailed(error.message) from error

    async def until_ready(self, instance: str) -> None:
        """Raises JobFailed when it will not be."""
        while True:
            task = await self._task(instance)
            if task is None:
                await self._start(self._specs[instance])
            elif task.state is TaskState.READY:
                self._sockets[instance] = task.socket
                return
            elif task.state is TaskState.FAILED:
                raise JobFailed(f"The model cannot be started. {task.reason}")
            await asyncio.sleep(LOOK_S)

    async def take(self) -> str:
        """One that has room; give it back."""
        return await self._free.get()

    def give_back(self, instance: str) -> None:
        self._free.put_nowait(instance)

    def socket(self, instance: str) -> str:
        return self._sockets[instance]

    async def _task(self, instance: str) -> TaskStatus | None:
        return next((task for task in await self._engine.observe() if task.id == instance), None)
