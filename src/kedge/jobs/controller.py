"""Drives jobs of every kind: one task for each that goes on; what it has done is in the store and in the outputs.

What jobs run is stopped when they have ended, by comparing what runs with what jobs there are; so a control process
that was killed leaves nothing behind. How a job is carried out is its kind's to say (Work).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from kedge.clock import Clock
from kedge.compute.base import Engine, TaskState
from kedge.endpoints.records import shortened
from kedge.errors import ServiceError
from kedge.jobs.admitting import Admitting
from kedge.jobs.announcing import announce
from kedge.jobs.failing import JobFailed
from kedge.jobs.notes import Notes
from kedge.jobs.records import Status
from kedge.loop import Lease, Signal, rest_s, with_lease
from kedge.store.records import LeaseLost, Resource
from kedge.store.store import Store

RETRY_S = 1.0
ENDING = (TaskState.STOPPING, TaskState.STOPPED)

log = logging.getLogger(__name__)


class Work(Protocol):
    """How jobs of one kind are carried out. Every step may be taken again after a kill."""

    @property
    def kind(self) -> str:
        """Of the resources."""

    @property
    def label(self) -> str:
        """The label of their tasks that says for which job they are."""

    def is_due(self, resource: Resource) -> bool:
        """Whether it may begin; one that waits for room may not."""

    def tasks(self, resource: Resource) -> Collection[str]:
        """Ids of what it runs, or is about to."""

    def artifacts(self, resource: Resource) -> frozenset[str]:
        """Hashes of the model data that it needs, as its record says."""

    def fetched(self) -> frozenset[str]:
        """Of model data that is there and that no record may name yet."""

    async def carry_out(self, resource: Resource) -> tuple[Status, str]:
        """To its end: (status, FailureReason). Raises JobFailed, ServiceError, LeaseLost."""

    async def wind_down(self, resource: Resource) -> tuple[Status, str]:
        """The end of a job that is to be stopped; nobody carries it out any more."""

    async def over(self, resource: Resource, status: Status, reason: str) -> None:
        """Before its end is written down."""

    def ended(self, document: Mapping[str, Any], status: Status, reason: str, at_s: float) -> dict[str, Any]:
        """The document of a job that has ended."""

    async def tidy(self, going: Collection[str]) -> None:
        """Removes what jobs have left, those with these uids excepted."""

    def close(self) -> None: ...


class JobController:
    def __init__(
        self,
        store: Store,
        engine: Engine,
        clock: Clock,
        lease: Lease,
        wake: Signal,
        notes: Notes,
        admitting: Admitting,
        works: Sequence[Work],
    ) -> None:
        """wake: notified after every commit."""
        self._store, self._engine, self._clock, self._lease, self._wake = store, engine, clock, lease, wake
        self._notes, self._admitting = notes, admitting
        self._works = {work.kind: work for work in works}
        self._driving: dict[str, asyncio.Task[None]] = {}
        """By uid."""
        self._stopping: set[str] = set()
        self._is_clean = False
        """No instance of a job is there, and none can come without a job."""
        self._artifacts: frozenset[str] = frozenset()
        self._closed = False

    def artifacts(self) -> frozenset[str]:
        """Hashes of the model data that jobs need."""
        return self._artifacts.union(*(work.fetched() for work in self._works.values()))

    async def close(self) -> None:
        self._closed = True
        for work in self._works.values():
            work.close()
        tasks = list(self._driving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def step(self) -> float | None:
        return await with_lease(self._lease, self._pass)

    async def _pass(self, _held: tuple[str, int]) -> float | None:
        going = await asyncio.to_thread(self._going)
        if any(not self._works[each.kind].is_due(each) for each in going):
            await asyncio.to_thread(self._admitting.step, going)
            going = await asyncio.to_thread(self._going)
        jobs = {resource.document["uid"]: resource for resource in going}
        self._artifacts = frozenset().union(*(self._works[each.kind].artifacts(each) for each in going))
        for uid, resource in jobs.items():
            work, stops = self._works[resource.kind], resource.status == Status.STOPPING
            if uid not in self._driving:
                if stops:
                    self._stopping.add(uid)
                if stops or work.is_due(resource):
                    self._driving[uid] = asyncio.create_task(self._drive(resource, work), name=f"job {resource.name}")
            elif stops and uid not in self._stopping:
                self._stopping.add(uid)
                self._driving[uid].cancel()
        for uid in self._driving.keys() - jobs.keys():
            self._driving[uid].cancel()  # it has just ended, or everything was dropped
        if going or not self._is_clean:
            await self._stop_others({id_ for each in going for id_ in self._works[each.kind].tasks(each)})
            for work in self._works.values():
                await work.tidy(jobs)
        return None if going else rest_s(self._store)

    async def _stop_others(self, wanted: Collection[str]) -> None:
        """What jobs ran that have ended."""
        labels = {work.label for work in self._works.values()}
        others = [
            task for task in await self._engine.observe() if labels & task.labels.keys() and task.id not in wanted
        ]
        for task in others:
            if task.state not in ENDING:
                await self._engine.stop(task.id)
        self._is_clean = not wanted and not others

    def _going(self) -> list[Resource]:
        """In the order of their coming."""
        found: list[Resource] = []
        for kind in self._works:
            for status in (Status.IN_PROGRESS, Status.STOPPING):
                found += self._store.list(None, kind, status=status).items
        return sorted(found, key=lambda each: (each.created_at, each.id))

    async def _drive(self, resource: Resource, work: Work) -> None:
        """To its end; what fails for want of the store is tried again by the next pass."""
        uid = resource.document["uid"]
        try:
            status, reason = await self._to_its_end(resource, work)
            await work.over(resource, status, reason)
            await asyncio.to_thread(self._finish, resource, work, status, reason)
        except LeaseLost as lost:
            log.info("job %s: %s; who has it now drives it", resource.name, lost)
        except ServiceError as error:
            log.warning("job %s: %s; it goes on in %g s", resource.name, error, RETRY_S)
            await self._clock.sleep(RETRY_S)
        finally:
            del self._driving[uid]
            self._stopping.discard(uid)
            self._wake.notify()

    async def _to_its_end(self, resource: Resource, work: Work) -> tuple[Status, str]:
        uid = resource.document["uid"]
        if uid not in self._stopping:
            try:
                return await self._outcome(resource, work)
            except asyncio.CancelledError:
                if self._closed or uid not in self._stopping:
                    raise
        return await self._outcome(resource, work, stopping=True)

    async def _outcome(self, resource: Resource, work: Work, *, stopping: bool = False) -> tuple[Status, str]:
        try:
            return await (work.wind_down(resource) if stopping else work.carry_out(resource))
        except JobFailed as failed:
            return Status.FAILED, str(failed)
        except (ServiceError, LeaseLost):
            raise
        except Exception:
            log.exception("job %s failed", resource.name)
            return Status.FAILED, "InternalServerError: an internal failure; the server's log has it."

    def _finish(self, resource: Resource, work: Work, status: Status, reason: str) -> None:
        with self._store.transaction(self._notes.author(), lease=self._notes.held()) as tx:
            found = tx.get(resource.scope, resource.kind, resource.name)
            if found is None or found.id != resource.id or not Status(found.status).goes_on:
                return
            at_s = self._clock.now().timestamp()
            announce(tx, tx.update(found, work.ended(found.document, status, shortened(reason), at_s), status))
