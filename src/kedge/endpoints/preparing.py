"""Fetches the model data of fleets on the side: a large one holds up nobody.

What was found out is written into the endpoint's record, whatever else has changed there meanwhile. Downloads under way
are the only thing in memory; after a restart the plan asks for them again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from kedge.clock import Clock
from kedge.endpoints.records import Endpoint, Fleet
from kedge.home import Home
from kedge.models import artifact
from kedge.models.artifact import ArtifactError, Fetching
from kedge.models.records import Source
from kedge.objects.files import Objects
from kedge.store.store import Author, LeaseLost, Resource, Store

DOWNLOADS = 4
"""Model archives that are fetched at once; others wait their turn."""
DOWNLOAD_TIMEOUT_S = 3600.0

log = logging.getLogger(__name__)


class Preparation:
    def __init__(
        self, store: Store, objects: Objects, home: Home, clock: Clock, hold: Callable[[str], None], *, durable: bool
    ) -> None:
        """hold: leave the endpoint of this uid alone for a while, since something failed that is to be tried again."""
        self._store, self._objects, self._home, self._clock = store, objects, home, clock
        self._hold, self._durable = hold, durable
        self._threads = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="artifact")
        self._downloads: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._closed = False

    @property
    def is_busy(self) -> bool:
        return bool(self._downloads)

    def begin(self, resource: Resource, endpoint: Endpoint, number: int, held: tuple[str, int]) -> None:
        """Nothing where it is under way already."""
        key = (endpoint.uid, number)
        fleet = endpoint.fleet(number)
        if key in self._downloads or fleet is None:
            return
        download = asyncio.create_task(self._download(resource, fleet, held), name=f"download {endpoint.name}")
        self._downloads[key] = download
        download.add_done_callback(lambda _: self._downloads.pop(key))

    async def settle(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._downloads.values())

    async def close(self) -> None:
        """What was half-fetched is fetched again by the next process."""
        self._closed = True
        downloads = list(self._downloads.values())
        for download in downloads:
            download.cancel()
        await asyncio.gather(*downloads, return_exceptions=True)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def fetching(self, account: str) -> Fetching:
        return Fetching(
            self._objects,
            self._home.artifacts,
            account,
            monotonic_s=self._clock.monotonic_s,
            go_on=lambda: not self._closed,
            durable=self._durable,
        )

    async def collect(self, in_use: set[str]) -> None:
        """Free the cache of all other model data. Nothing may be fetched meanwhile."""
        if gone := await asyncio.to_thread(artifact.collect, self._home.artifacts, in_use):
            self._threads.submit(artifact.remove, gone)

    async def _download(self, resource: Resource, fleet: Fleet, held: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        try:
            try:
                hashes = await loop.run_in_executor(self._threads, self._fetch, resource.scope.account, fleet)
            except ArtifactError as error:
                problem = str(error)
                log.warning("endpoint %s: %s", resource.name, problem)
                self._hold_live(resource, fleet)
                await asyncio.to_thread(self._note, resource, lambda e: e.with_problem(fleet.number, problem), held)
            else:
                await asyncio.to_thread(self._note, resource, lambda e: e.prepared(fleet.number, hashes), held)
        except LeaseLost as lost:
            log.info("endpoint %s: %s; who has it now prepares the model data", resource.name, lost)
        except Exception:
            log.exception("endpoint %s: model data could not be prepared; it is tried again later", resource.name)
            self._hold(resource.document["uid"])

    def _hold_live(self, resource: Resource, fleet: Fleet) -> None:
        """A fleet that serves cannot fail for its model data: what it misses is looked for again after a while."""
        live = resource.document["live"]
        if live is not None and live["number"] == fleet.number:
            self._hold(resource.document["uid"])

    def _fetch(self, account: str, fleet: Fleet) -> Mapping[tuple[str, str], str]:
        """The hash of each container's model data, by variant and container; of equal sources only once.

        Raises ArtifactError.
        """
        fetching = self.fetching(account)
        hashes: dict[tuple[Source, ...], str] = {}
        found = {}
        for variant in fleet.variants:
            for container in variant.containers:
                if container.models and not container.needs:
                    continue
                if container.needs not in hashes:
                    timeout_s = variant.download_timeout_s or DOWNLOAD_TIMEOUT_S
                    hashes[container.needs] = fetching.fetch(container.needs, timeout_s).sha256
                found[variant.name, container.name] = hashes[container.needs]
        return found

    def _note(self, resource: Resource, change: Callable[[Endpoint], Endpoint], held: tuple[str, int]) -> None:
        """Write what was found out into the record, whatever else has changed in it, if it still is this endpoint's."""
        with self._store.transaction(Author("kedge:endpoints", "", self._clock.now()), lease=held) as tx:
            now = tx.get(resource.scope, resource.kind, resource.name)
            if now is not None and now.document["uid"] == resource.document["uid"]:
                tx.observe(now, change(Endpoint.of(now.document)).document())
