"""Hands the routing table that follows from the store to the routers, and knows which one they go by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Protocol

from kedge.clock import Clock
from kedge.config import Settings
from kedge.endpoints import routing
from kedge.endpoints.records import COMPONENT, KIND
from kedge.home import Home
from kedge.identity.principals import Directory, tags_of
from kedge.identity.records import AccessKey
from kedge.loop import REST_S, Signal
from kedge.serving.table import RoutingTable
from kedge.store.store import Resource, Store
from kedge.tags.attach import KIND as TAGS

PATIENCE_S = 5.0
"""How long a router that should be there is waited for before what it may still hold counts no more."""

log = logging.getLogger(__name__)


class Push(Protocol):
    """What serving/push.py offers."""

    async def publish(self, table: RoutingTable, /) -> None:
        """Send it to every connected router; back when each has answered, or after a second."""

    @property
    def routers(self) -> int:
        """How many are connected."""


class Publisher:
    def __init__(
        self,
        store: Store,
        push: Push,
        settings: Settings,
        home: Home,
        clock: Clock,
        changed: Signal,
        keys: Callable[[], Iterable[AccessKey]],
        directory: Callable[[], Directory] = Directory,
    ) -> None:
        """keys, directory: who may sign and what they may do; both may block."""
        self._directory = directory
        self._store, self._push, self._settings, self._home = store, push, settings, home
        self._clock, self._changed, self._keys = clock, changed, keys
        self._turn = asyncio.Lock()
        self._newest: RoutingTable | None = None
        self._content = b""
        """Of the newest, but for its version."""
        self._newest_at_s = 0.0
        self.has_serverless = False
        """Whether the newest table has a serverless variant."""
        self._in_force: RoutingTable | None = None
        self._not_yet: dict[int, frozenset[str]] = {}
        """Instances of each table that was published and may not have reached every router, by version."""

    async def step(self) -> float | None:
        """Publish what has changed; wake those who wait for a table to be in force. Callers take turns."""
        async with self._turn:
            await self._step()
            return REST_S if self._in_force is self._newest and not self._store.is_shared else None

    async def _step(self) -> None:
        table = await asyncio.to_thread(self._build)
        content = routing.content(table)
        if self._newest is None or content != self._content:
            self._newest, self._content, self._newest_at_s = table, content, self._clock.monotonic_s()
            self._not_yet[table.version] = routing.instances_of(table)
            self.has_serverless = any(v.most_concurrent for each in table.endpoints for v in each.variants)
        elif self._in_force is self._newest:
            return
        # Publishing the same table again waits for the answers of routers that have connected since.
        await self._push.publish(self._newest)
        waited_s = self._clock.monotonic_s() - self._newest_at_s
        if self._push.routers >= self._settings.routers or waited_s >= PATIENCE_S:
            self._in_force = self._newest
            self._not_yet = {self._newest.version: routing.instances_of(self._newest)}
            self._changed.notify()

    def serves(self, resource: Resource) -> bool:
        """Whether every router goes by what this very state of the endpoint says."""
        if self._in_force is None:
            return False
        wanted = routing.route(resource, self._settings, self._socket)
        scope = resource.scope
        name = routing.place_of(resource, "").endpoint
        return self._in_force.find(scope.account, scope.region, name) == wanted

    def routed(self, tasks: Collection[str]) -> frozenset[str]:
        """Those of `tasks` that some router may send requests to; all of them until the first table is in force."""
        if self._in_force is None:
            return frozenset(tasks)
        return frozenset().union(*self._not_yet.values())

    def _build(self) -> RoutingTable:
        tagged = [
            *self._store.list(None, TAGS, name_contains=":endpoint/").items,
            *self._store.list(None, TAGS, name_contains=f":{COMPONENT}/").items,
        ]
        table = routing.build(
            [*self._store.list(None, KIND).items, *self._store.list(None, COMPONENT).items],
            self._keys(),
            self._settings,
            self._next_version(),
            seal_key=self._home.seal_key,
            default_scope=(self._home.account, self._home.region),
            socket=self._socket,
        )
        tags = {each.name: tags_of(each.document["Tags"]) for each in tagged}
        return replace(table, directory=self._directory().invoking(), tags=tags)

    def _next_version(self) -> int:
        """Grows over restarts of this process and when the wall clock is set back: routers refuse an older table."""
        if self._newest is not None:
            before = self._newest.version
        else:
            try:
                before = routing.version_of(self._home.routing_file.read_bytes())
            except OSError:
                before = 0
        return max(before + 1, int(self._clock.now().timestamp() * 1000))

    def _socket(self, task_id: str) -> str:
        return str(self._home.instance_socket(task_id))
