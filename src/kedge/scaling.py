"""What the control process scales by itself: Application Auto Scaling, built in one place for app.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from kedge.alarms.watched import Read
from kedge.autoscaling import operations as scaling_operations
from kedge.autoscaling.concurrency import Recent
from kedge.autoscaling.controller import PRUNE_PERIOD_S, Controller
from kedge.clock import Clock
from kedge.endpoints.scaling import Room
from kedge.loop import Lease, Signal, run
from kedge.store.store import Store
from kedge.wire.gateway import Operation


class Scaling:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease: Lease,
        read: Read,
        recent: Recent,
        room: Room,
        heard: Callable[[], bool],
        serverless_idle_s: float,
        has_serverless: Callable[[], bool],
    ) -> None:
        """As the controller's."""
        self._clock = clock
        self._controller = Controller(store, read, recent, clock, lease, room, heard, serverless_idle_s, has_serverless)

    def operations(self) -> dict[str, Operation]:
        return dict(scaling_operations.OPERATIONS)

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What happens by itself, by name."""
        yield "autoscaling", self._controller.run()
        yield "old activities", run("old activities", self._prune, Signal(), self._clock, period_s=PRUNE_PERIOD_S)

    async def _prune(self) -> None:
        await asyncio.to_thread(self._controller.prune)
