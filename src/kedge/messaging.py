"""What the control process tells others: topics and the actions of alarms, built in one place for app.py."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

from kedge.alarms import transition
from kedge.autoscaling import asking
from kedge.clock import Clock
from kedge.config import Settings
from kedge.events import delivery
from kedge.events.delivery import Deliveries
from kedge.home import Home
from kedge.loop import Signal, run
from kedge.store.lease import Lease
from kedge.store.store import Store
from kedge.topics import addresses, publishing
from kedge.topics import controller as topic_controller
from kedge.topics import operations as topic_operations
from kedge.topics.controller import Courier
from kedge.topics.outgoing import Outgoing
from kedge.topics.signing import Signer
from kedge.wire.gateway import Operation


class Messaging:
    def __init__(self, settings: Settings, home: Home, store: Store, clock: Clock, lease: Lease) -> None:
        self._store, self._clock = store, clock
        self.signer = Signer(home.topics, home.seal_key)
        self._put = Signal()
        """Notified after something was put into a queue of the store."""
        store.on_put(self._put.notify)
        lease.on_taken(self._put.notify)
        self._deliveries = Deliveries(
            store,
            clock,
            lease,
            {"sns": publishing.carry_out, "autoscaling": asking.carry_out},
            {"cloudwatch": transition.told},
        )
        outgoing = Outgoing(addresses.parse(settings.subscriber_addresses), settings.subscriber_ca)
        self._courier = Courier(store, clock, lease, self.signer, outgoing, self._put)

    def operations(self) -> dict[str, Operation]:
        return dict(topic_operations.OPERATIONS)

    def start(self, url: str) -> None:
        """Before `loops`, in the loop that will run them. url: of the API port, as subscribers reach it."""
        self._put.attach(asyncio.get_running_loop())
        self._courier.server = url

    def loops(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What happens by itself, by name."""
        yield "actions", run("actions", self._deliveries.step, self._put, self._clock)
        yield "topics", run("topics", self._courier.step, self._put, self._clock)
        period_s = topic_controller.EXPIRY_PERIOD_S
        yield "old topics", run("old topics", self._forget_old, Signal(), self._clock, period_s=period_s)

    async def close(self) -> None:
        await self._courier.close()

    async def _forget_old(self) -> None:
        now = self._clock.now()
        await asyncio.to_thread(topic_controller.expire, self._store, now)
        await asyncio.to_thread(delivery.prune_failed, self._store, now)
