"""Drives one execution from job to job to its end.

A job is made in the transaction that says so, so whoever comes after a kill finds either both or none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from kedge.clock import Clock
from kedge.endpoints.records import shortened
from kedge.errors import ConcurrentChange, ServiceError
from kedge.jobs import creating, processing_plan
from kedge.jobs.machine import JobMachine
from kedge.jobs.program_records import PROCESSING, ProgramJob
from kedge.jobs.records import Status as JobStatus
from kedge.monitoring.nothing import NO_DATA
from kedge.monitors import course, finding, plan
from kedge.monitors.alerting import keep, over, past_of
from kedge.monitors.describing import announce
from kedge.monitors.finding import Impossible, Place, Unready
from kedge.monitors.monitor import Monitor
from kedge.monitors.plan import ANALYSIS, MERGE
from kedge.monitors.records import SCHEDULE, Execution, Schedule, Status
from kedge.monitors.retraining import asking
from kedge.monitors.windows import folder, hours
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Author, Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction

Held = tuple[str, int]
"""What guards a transaction."""
Step = Callable[[Resource, Execution, Held], Awaitable[None]]
_SERVERS_FAULT = 500
"""Statuses from here on may be others the next time."""

log = logging.getLogger(__name__)


def author(now: datetime) -> Author:
    return Author("kedge:monitors", "", now)


class Driving:
    def __init__(self, store: Store, objects: Objects, clock: Clock, machine: JobMachine) -> None:
        self._store, self._objects, self._clock, self._machine = store, objects, clock, machine

    async def give_up(self, resource: Resource, held: Held) -> None:
        """What nobody foresaw went wrong, and is in the server's log."""
        reason = "InternalServerError: an internal failure; the server's log has it."
        await self._end(resource, Execution.of(resource.document), held, Status.FAILED, reason)

    async def advance(self, resource: Resource, held: Held) -> None:
        execution, status = Execution.of(resource.document), Status(resource.status)
        if not execution.job:
            if status is Status.STOPPING:
                await self._end(resource, execution, held, Status.STOPPED)
            else:
                await self._try(resource, execution, held, self._first)
            return
        job = await asyncio.to_thread(self._store.get, resource.scope, PROCESSING, execution.job)
        if job is None:
            await self._end(resource, execution, held, Status.FAILED, "InternalServerError: Its job is gone.")
            return
        record = ProgramJob.of(job.document)
        said = record.outcome.exit_message if record.outcome else ""
        after = course.after(execution.stage, JobStatus(job.status), said, record.failure_reason)
        if after is None:
            if status is Status.STOPPING and job.status == JobStatus.IN_PROGRESS:
                await asyncio.to_thread(self._stop, job, held)
        elif status is Status.STOPPING:
            await self._end(resource, execution, held, Status.STOPPED)
        elif after.status is not None:
            await self._end(resource, execution, held, after.status, after.reason, counts=after.has_data)
        else:
            await self._try(resource, execution, held, self._second)

    async def _try(self, resource: Resource, execution: Execution, held: Held, step: Step) -> None:
        try:
            await step(resource, execution, held)
        except Unready as waits:
            log.debug("execution %s: %s", resource.name, waits)
        except Impossible as problem:
            await self._end(resource, execution, held, Status.FAILED, str(problem), counts=problem.has_data)
        except ServiceError as error:
            if isinstance(error, ConcurrentChange) or error.status >= _SERVERS_FAULT:
                raise
            await self._end(resource, execution, held, Status.FAILED, f"ClientError: {error.message}")

    async def _first(self, resource: Resource, execution: Execution, held: Held) -> None:
        """Its first job: a merge where labels have to be joined, else the analysis. Raises Unready, Impossible."""
        monitor, scope, window = Monitor(**execution.monitor), resource.scope, execution.window
        objects = AccountObjects(self._objects, scope.account)
        baseline = await asyncio.to_thread(finding.baseline, self._store, scope, monitor)
        place = await asyncio.to_thread(finding.captures, self._store, scope, monitor)
        look = finding.merged if monitor.of.merges and execution.is_again else finding.captured
        sources = await look(objects, monitor, place, window.hours)
        if not sources:
            raise Impossible(NO_DATA, has_data=False)
        if monitor.of.merges and not execution.is_again:
            await self._merge(resource, execution, monitor, place, held)
            return
        past = await asyncio.to_thread(past_of, self._store, scope, execution.schedule)
        baseline = baseline._replace(state=await finding.state(objects, monitor, execution, past))
        request = plan.analysis_job(
            monitor, execution, sources, baseline, place.uri, self._longest_s(monitor, execution)
        )
        await asyncio.to_thread(self._run, resource, execution, ANALYSIS, request, held)

    async def _merge(
        self, resource: Resource, execution: Execution, monitor: Monitor, place: Place, held: Held
    ) -> None:
        """Of the window, and of the time before for which labels may have come meanwhile. Raises Impossible."""
        objects = AccountObjects(self._objects, resource.scope.account)
        since, end = execution.window.start - monitor.late, execution.window.end
        truth = await finding.labels(objects, monitor, resource.scope, place.endpoint, since, self._clock.now())
        captured = await finding.captured(objects, monitor, place, hours(since, end))
        request = plan.merge_job(monitor, execution, captured, truth, self._longest_s(monitor, execution))
        await asyncio.to_thread(self._run, resource, execution, MERGE, request, held)

    async def _second(self, resource: Resource, execution: Execution, held: Held) -> None:
        """The analysis of what was merged; windows before, for which labels came only now, come after it."""
        monitor, scope, window = Monitor(**execution.monitor), resource.scope, execution.window
        objects = AccountObjects(self._objects, scope.account)
        baseline = await asyncio.to_thread(finding.baseline, self._store, scope, monitor)
        place = await asyncio.to_thread(finding.captures, self._store, scope, monitor)
        times = hours(window.start - monitor.late, window.end)
        found = await finding.merged(objects, monitor, place, times)
        marks = await finding.marks(objects, found)
        await asyncio.to_thread(self._note_merged, scope, execution, marks, held)
        own = {folder(hour) for hour in window.hours}
        sources = [each for each in found if each.hour in own]
        if not sources:
            raise Impossible(f"{NO_DATA}: no captured record of the window has a label yet.", has_data=False)
        request = plan.analysis_job(
            monitor, execution, sources, baseline, place.uri, self._longest_s(monitor, execution)
        )
        await asyncio.to_thread(self._run, resource, execution, ANALYSIS, request, held)

    def _run(self, resource: Resource, execution: Execution, stage: str, request: dict[str, Any], held: Held) -> None:
        """Makes the processing job. Raises ValidationFailed, ResourceLimitExceeded."""
        image = request["AppSpecification"]["ImageUri"]
        runs = self._machine.runs(image)
        kept = processing_plan.checked(request, runs)
        size = creating.size_of(request["ProcessingResources"]["ClusterConfig"]["InstanceType"], self._machine.sizes)
        name = request["ProcessingJobName"]
        with self._store.transaction(author(self._clock.now()), lease=held) as tx:
            creating.create(
                tx, resource.scope, PROCESSING, name, kept, (runs, size), self._machine.capacity(), self._clock.now(),
                schedule=execution.schedule_arn,
            )  # fmt: skip
            tx.update(resource, replace(execution, stage=stage, job=name).document(), Status.IN_PROGRESS)

    def _stop(self, job: Resource, held: Held) -> None:
        with self._store.transaction(author(self._clock.now()), lease=held) as tx:
            creating.stop(tx, job, "processing job")

    def _note_merged(self, scope: Scope, execution: Execution, marks: Mapping[str, str], held: Held) -> None:
        with self._store.transaction(author(self._clock.now()), lease=held) as tx:
            found = self._own(tx, scope, execution)
            if found is None:
                return
            schedule, past = Schedule.of(found.document), past_of(tx, scope, execution.schedule)
            changed = [hour for hour in _hours(marks) if past.merged.get(folder(hour)) != marks[folder(hour)]]
            again = course.looked_again(schedule, past, changed, execution.window)
            keep(tx, scope, schedule.name, replace(past, merged=dict(marks)))
            tx.observe(found, replace(schedule, again=again).document())

    async def _end(
        self,
        resource: Resource,
        execution: Execution,
        held: Held,
        status: Status,
        reason: str = "",
        *,
        counts: bool = True,
    ) -> None:
        await asyncio.to_thread(self._finish, resource, execution, held, status, reason, counts)

    def _finish(
        self, resource: Resource, execution: Execution, held: Held, status: Status, reason: str, counts: bool
    ) -> None:
        with self._store.transaction(author(self._clock.now()), lease=held) as tx:
            tx.update(resource, replace(execution, failure_reason=shortened(reason)).document(), status)
            found = self._own(tx, resource.scope, execution)
            if found is not None:
                schedule = Schedule.of(found.document)
                after = over(tx, found, schedule, execution, status, self._clock.now(), counts=counts)
                announce(tx, tx.observe(found, after.document()))
                asking.on_alert(tx, resource.scope, after, execution, status, self._clock.now())

    def _own(self, tx: Transaction, scope: Scope, execution: Execution) -> Resource | None:
        """The execution's schedule; None when it is gone, or another one has its name."""
        found = tx.get(scope, SCHEDULE, execution.schedule.lower())
        return found if found is not None and found.document["uid"] == execution.schedule_uid else None

    def _longest_s(self, monitor: Monitor, execution: Execution) -> int:
        return plan.longest_s(monitor, execution.end_s - execution.start_s)


def _hours(marks: Mapping[str, str]) -> list[datetime]:
    return [datetime.strptime(f"{each}+0000", "%Y/%m/%d/%H%z") for each in marks]
