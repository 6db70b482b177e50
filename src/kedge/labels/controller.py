"""Files the labels that have come: a file for each endpoint every few seconds, as SageMaker lays ground truth out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from kedge.clock import Clock
from kedge.errors import ServiceError
from kedge.labels.records import QUEUE, default_bucket, file_of, prefix_of
from kedge.loop import Lease, with_lease
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Author, Entry, Scope
from kedge.store.store import Store

AUTHOR = "kedge:labels"
PERIOD_S = 5.0
"""Labels that came meanwhile share a file."""
MOST_ENTRIES = 1000
"""Of a file."""
MOST_QUEUES = 1000

log = logging.getLogger(__name__)


class Filing:
    def __init__(self, store: Store, objects: Objects, clock: Clock, lease: Lease) -> None:
        self._store, self._objects, self._clock, self._lease = store, objects, clock, lease

    async def step(self) -> float | None:
        """File what is there. Returns after how many seconds to look again."""
        return await with_lease(self._lease, self._pass)

    async def _pass(self, held: tuple[str, int]) -> float:
        now, more = self._clock.now(), False
        for queue in await asyncio.to_thread(self._store.due_queues, QUEUE, now, MOST_QUEUES):
            entries = await asyncio.to_thread(self._store.due, QUEUE, queue, now, MOST_ENTRIES)
            try:
                await self._file(queue, entries, held)
                more = more or len(entries) == MOST_ENTRIES
            except ServiceError as error:
                log.warning("labels of %s cannot be filed; they are tried again: %s", queue, error)
        return 0.0 if more else PERIOD_S

    async def _file(self, queue: str, entries: Sequence[Entry], held: tuple[str, int]) -> None:
        account, region, _ = queue.split("/", 2)
        scope = Scope(account, region)
        file = file_of(entries)
        await self._objects.run(self._objects.create_bucket, default_bucket(scope), account, region)
        prefix = prefix_of(scope, entries[0].body["EndpointName"])
        await AccountObjects(self._objects, account).put(f"{prefix}/{file.key}", file.body, "application/jsonlines")
        await asyncio.to_thread(self._forget, file.entries, held)

    def _forget(self, entries: Sequence[Entry], held: tuple[str, int]) -> None:
        with self._store.transaction(Author(AUTHOR, "", self._clock.now()), lease=held) as tx:
            for entry in entries:
                tx.forget(entry)
