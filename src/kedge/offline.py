"""What the control process infers while nobody waits for the answer, built in one place for app.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from random import Random
from typing import Any

from kedge.async_inference import operations as async_operations
from kedge.async_inference.controller import TELL_S, Dispatcher
from kedge.clock import Clock
from kedge.compute.base import Engine
from kedge.logs.platform import PlatformLog
from kedge.loop import Signal, keep, run
from kedge.objects.files import Objects
from kedge.store.lease import Lease
from kedge.store.store import Store
from kedge.telemetry import Telemetry
from kedge.wire.gateway import Operation


class Offline:
    def __init__(
        self,
        store: Store,
        objects: Objects,
        telemetry: Telemetry,
        engine: Engine,
        clock: Clock,
        lease: Callable[[str], Lease],
    ) -> None:
        """lease: of a name, in this process's."""
        self._clock = clock
        self._wake = Signal()
        store.on_put(self._wake.notify)
        store.on_commit(self._wake.notify)
        self._lease = lease("async inference")
        self._dispatcher = Dispatcher(
            store,
            objects,
            telemetry.metrics,
            PlatformLog(telemetry.logs, store, clock),
            engine,
            clock,
            self._lease,
            self._wake,
            Random(os.urandom(16)),
        )

    def operations(self) -> dict[str, Operation]:
        return dict(async_operations.OPERATIONS)

    def busy(self) -> frozenset[str]:
        """Instances that are at work which no router knows of."""
        return self._dispatcher.busy()

    def start(self) -> None:
        """Before `loops`, in the loop that will run them."""
        self._wake.attach(asyncio.get_running_loop())

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What happens by itself, by name."""
        yield "lease of async inference", keep(self._lease, self._wake, self._clock)
        yield "async inference", run("async inference", self._dispatcher.step, self._wake, self._clock)
        yield "backlogs", run("backlogs", self._dispatcher.tell_backlogs, Signal(), self._clock, period_s=TELL_S)

    async def close(self) -> None:
        await self._dispatcher.close()
