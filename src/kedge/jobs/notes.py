"""What driving a job writes: into its record, whatever else has changed there, and into its log."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Any

from kedge.clock import Clock
from kedge.errors import ServiceError
from kedge.logs.platform import PlatformLog
from kedge.loop import Lease
from kedge.store.records import Author, LeaseLost, Resource, Scope
from kedge.store.store import Store

Change = Callable[[dict[str, Any]], dict[str, Any]]
"""From a job's document to the next one."""

log = logging.getLogger(__name__)


class Notes:
    def __init__(self, store: Store, clock: Clock, lease: Lease, platform_log: PlatformLog) -> None:
        self.store, self._clock, self._lease, self._log = store, clock, lease, platform_log

    def note(self, resource: Resource, change: Change) -> None:
        """Writes no history. Blocks. Raises LeaseLost."""
        with self.store.transaction(self.author(), lease=self.held()) as tx:
            now = tx.get(resource.scope, resource.kind, resource.name)
            if now is not None and now.id == resource.id:
                tx.observe(now, change(now.document))

    async def say(self, scope: Scope, group: str, stream: str, said: str) -> None:
        """A line of the platform's own."""
        try:
            await asyncio.to_thread(self._log.write, scope, group, stream, [said])
        except (ServiceError, sqlite3.Error) as error:
            log.warning("a line of %s is lost: %s", stream, error)

    def held(self) -> tuple[str, int]:
        """What guards a transaction. Raises LeaseLost."""
        held = self._lease.held
        if held is None:
            raise LeaseLost("the lease of jobs ran out")
        return held

    def author(self) -> Author:
        return Author("kedge:jobs", "", self._clock.now())
