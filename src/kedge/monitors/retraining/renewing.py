"""Gives the data quality monitors of an endpoint new baselines, after a retraining's model was promoted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from kedge import arn
from kedge.clock import Clock
from kedge.errors import ServiceError, ValidationFailed
from kedge.jobs import images
from kedge.jobs.program_records import PROCESSING, ProgramJob
from kedge.jobs.records import Status as JobStatus
from kedge.monitors import finding, plan
from kedge.monitors.defining import monitor_of
from kedge.monitors.finding import Impossible, Unready
from kedge.monitors.kinds import DATA_QUALITY
from kedge.monitors.monitor import Monitor
from kedge.monitors.plan import BOTH_SIDES, WITH_LABEL, Source
from kedge.monitors.records import SCHEDULE, Schedule, ScheduleStatus, time
from kedge.monitors.retraining import looking, renewal, requests
from kedge.monitors.retraining.course import ends
from kedge.monitors.retraining.records import Phase, Run
from kedge.monitors.retraining.renewal import LABELLED, Define, MakeBaseline, Renewal, Seen, Wait
from kedge.monitors.windows import Window
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.store.records import Resource, Scope
from kedge.store.store import Store
from kedge.tags.attach import read as read_tags

Do = Callable[[str, Run, Scope, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""(operation, run, whose, request): in the role of the run. Raises ServiceError."""
MOST = 20
"""Monitors that are given new baselines by one retraining."""
_SOON = timedelta(seconds=5)


class Renewing:
    def __init__(self, store: Store, objects: Objects, clock: Clock, do: Do) -> None:
        self._store, self._objects, self._clock, self._do = store, objects, clock, do

    async def advanced(self, scope: Scope, run: Run, now_s: float) -> Run | float | None:
        """The run as it is from now on; or for how long there is nothing to do, None: until something happens.

        Raises ServiceError for what may be otherwise the next time, and Unready.
        """
        going = renewal.going(run)
        if going is None:
            return run
        seen = await asyncio.to_thread(looking.seen, self._store, scope, run, Phase.RENEWING)
        if why := ends(run, seen):
            return await self._ended(scope, run, why)
        try:
            action = renewal.step(going, run, await self._seen(scope, run, going), now_s)
            match action:
                case Wait(seconds):
                    return seconds
                case MakeBaseline():
                    await self._make(scope, run, going)
                case Define():
                    await self._define(scope, run, going)
                case Renewal():
                    return _with(run, action)
        except Impossible as problem:
            return _with(run, going.kept(str(problem)))
        except ServiceError as error:
            if error.status >= looking.SERVERS_FAULT:
                raise
            return _with(run, going.kept(error.message))
        return 0.0

    async def _ended(self, scope: Scope, run: Run, why: str) -> Run:
        """The model serves; the baselines that are not made yet stay as they are."""
        for each in renewal.renewals(run):
            if each.status:
                continue
            name = renewal.job_name(run, each)
            job = await asyncio.to_thread(self._store.get, scope, PROCESSING, name.lower())
            if job is not None and job.status == JobStatus.IN_PROGRESS:
                await self._do("StopProcessingJob", run, scope, {"ProcessingJobName": name})
            run = _with(run, each.kept(why))
        return run

    def watching(self, scope: Scope, run: Run) -> list[Mapping[str, Any]]:
        """For Run.baselines: each data quality monitor of the endpoint that has a baseline, and Kedge's program."""
        found: list[Renewal] = []
        for resource in self._store.list(scope, SCHEDULE).items:
            schedule = Schedule.of(resource.document)
            if schedule.kind != DATA_QUALITY.type or schedule.endpoint.lower() != run.endpoint.lower():
                continue
            try:
                monitor = monitor_of(self._store, scope, schedule.config)
                before = finding.baseline(self._store, scope, monitor)
            except (ValidationFailed, Unready, Impossible):
                continue  # its own executions say why it has none
            own = not monitor.entrypoint and images.repository(monitor.image) in images.MODULES
            if before.constraints and own and len(found) < MOST:
                each = Renewal(len(found), schedule.name, schedule.uid, before.constraints)
                once = schedule.timetable.is_once
                found.append(each.kept("The schedule runs once; it has run.") if once else each)
        return [each.document() for each in found]

    def _monitor(self, scope: Scope, each: Renewal) -> tuple[Resource, Monitor] | None:
        found = self._store.get(scope, SCHEDULE, each.schedule.lower())
        if found is None or found.document["uid"] != each.schedule_uid:
            return None
        return found, monitor_of(self._store, scope, found.document["config"])

    async def _seen(self, scope: Scope, run: Run, each: Renewal) -> Seen:
        found = await asyncio.to_thread(self._monitor, scope, each)
        if found is None:
            return Seen(None)
        resource, monitor = found
        before = await asyncio.to_thread(finding.baseline, self._store, scope, monitor)
        job = await asyncio.to_thread(self._store.get, scope, PROCESSING, renewal.job_name(run, each).lower())
        seen = Seen(monitor, before.constraints, self._is_due(resource))
        if job is None:
            return seen
        status, reason = JobStatus(job.status), ProgramJob.of(job.document).failure_reason
        rows = 0
        if status is JobStatus.COMPLETED:
            at = renewal.made_at(monitor, run, each, renewal.STATISTICS)
            text = await AccountObjects(self._objects, scope.account).read(at, looking.LARGEST_REPORT_BYTES)
            rows = int(json.loads(text)["dataset"]["item_count"])
        return replace(seen, job=status, job_reason=reason, rows=rows)

    def _is_due(self, resource: Resource) -> bool:
        """An update makes times up to now as good as done."""
        schedule, now = Schedule.of(resource.document), self._clock.now()
        if resource.status != ScheduleStatus.SCHEDULED:
            return schedule.asked_s is not None
        times = schedule.timetable
        following = times.following(now)
        soon = following is not None and following - now < _SOON
        return soon or schedule.asked_s is not None or bool(times.missed(time(schedule.seen_to_s), now))

    async def _make(self, scope: Scope, run: Run, each: Renewal) -> None:
        """Raises Impossible."""
        found = await asyncio.to_thread(self._monitor, scope, each)
        assert found is not None, "it was there"
        _, monitor = found
        if each.source == LABELLED:
            sources, sides, span_s = [Source(run.data, "", manifest=True)], WITH_LABEL, run.span_s
        else:
            span_s, sides = (run.served_s, run.since_s), BOTH_SIDES
            place = await asyncio.to_thread(finding.captures, self._store, scope, monitor)
            objects = AccountObjects(self._objects, scope.account)
            sources = await finding.captured(objects, monitor, place, Window(time(span_s[0]), time(span_s[1])).hours)
        window = Window(time(span_s[0]), time(span_s[1]))
        if not sources:
            raise Impossible("Of captured records: nothing was captured while the new model had all requests.")
        request = plan.baseline_job(
            monitor, renewal.job_name(run, each), sources, sides, window, each.constraints,
            renewal.made_at(monitor, run, each),
        )  # fmt: skip
        await self._do("CreateProcessingJob", run, scope, {**request, "Tags": requests.tagged((), run)})

    async def _define(self, scope: Scope, run: Run, each: Renewal) -> None:
        found = await asyncio.to_thread(self._monitor, scope, each)
        assert found is not None, "it was there"
        resource, monitor = found
        if monitor.definition:
            await self._definition(scope, run, each, monitor)
        update = renewal.update(resource.document["config"], monitor, run, each)
        await self._do("UpdateMonitoringSchedule", run, scope, update)

    async def _definition(self, scope: Scope, run: Run, each: Renewal, monitor: Monitor) -> None:
        kind = monitor.of.resource
        name = renewal.definition_name(run, each)
        if await asyncio.to_thread(self._store.get, scope, kind, name.lower()) is not None:
            return
        live = await asyncio.to_thread(self._store.get, scope, kind, monitor.definition.lower())
        assert live is not None, "it was found just now"
        named = arn.sagemaker(scope.region, scope.account, kind, live.document["JobDefinitionName"])
        tags = requests.tagged(await asyncio.to_thread(read_tags, self._store, scope, named), run)
        request = renewal.definition(live.document, monitor, run, each, tags)
        await self._do(f"Create{monitor.kind}JobDefinition", run, scope, request)


def _with(run: Run, changed: Renewal) -> Run:
    documents = list(run.baselines)
    documents[changed.number] = changed.document()
    return replace(run, baselines=tuple(documents))
