"""Begins executions of monitoring schedules when they are due, and has each driven to its end.

Everything is in the store: the schedule names the execution that goes on, the execution its job.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from kedge.clock import Clock
from kedge.endpoints.records import shortened
from kedge.errors import ConcurrentChange, ServiceError, ValidationFailed
from kedge.jobs.machine import JobMachine
from kedge.loop import Lease, rest_s, with_lease
from kedge.monitors import course, plan
from kedge.monitors.alerting import over
from kedge.monitors.course import Begin, Wait
from kedge.monitors.defining import monitor_of
from kedge.monitors.describing import announce, arn_of
from kedge.monitors.driving import Driving, Held, author
from kedge.monitors.records import (
    ALERT_CHANGE,
    EXECUTION,
    GOING,
    SCHEDULE,
    Execution,
    Schedule,
    ScheduleStatus,
    Status,
    minute_of,
)
from kedge.monitors.retraining.records import GOING as RETRAINING_GOES_ON
from kedge.monitors.retraining.records import KIND as RETRAINING
from kedge.monitors.windows import Window
from kedge.objects.files import Objects
from kedge.store.records import Author, LeaseLost, Resource
from kedge.store.store import Store

RETRY_S = 1.0
LOOK_S = 10.0
"""A schedule is looked at so often at least: the clock may have been set."""
KEPT = timedelta(days=90)
"""Executions, changes of alerts, and retrainings."""
PRUNE_S = 3600.0
_FAULTS = (ServiceError, OSError, sqlite3.Error)

log = logging.getLogger(__name__)


class Controller:
    def __init__(self, store: Store, objects: Objects, clock: Clock, lease: Lease, machine: JobMachine) -> None:
        self._store, self._clock, self._lease = store, clock, lease
        self._driving = Driving(store, objects, clock, machine)
        self._pruned_s: float | None = None
        self._quiet: dict[int, tuple[int, float]] = {}
        """By schedule: its version, and until when (monotonic) nothing of that version is due."""

    async def step(self) -> float | None:
        return await with_lease(self._lease, self._pass)

    async def _pass(self, held: Held) -> float:
        due_s = [rest_s(self._store)]
        for resource in await asyncio.to_thread(self._going):
            try:
                await self._driving.advance(resource, held)
            except ConcurrentChange:
                due_s.append(0.0)  # what it is now is seen in the next pass
            except _FAULTS as error:
                log.warning("execution %s: %s; it goes on in %g s", resource.name, error, RETRY_S)
                due_s.append(RETRY_S)
            except LeaseLost:
                raise
            except Exception:
                log.exception("execution %s failed", resource.name)
                await self._driving.give_up(resource, held)
        due_s += await asyncio.to_thread(self._schedules, held)
        await asyncio.to_thread(self._prune, held)
        return min(due_s)

    def _going(self) -> list[Resource]:
        return [each for status in GOING for each in self._store.list(None, EXECUTION, status=status).items]

    def _schedules(self, held: Held) -> list[float]:
        """Seconds until the next ones are due. What nothing has changed of is not worked out at each commit again."""
        found, now_s = [], self._clock.monotonic_s()
        quiet, self._quiet = self._quiet, {}
        for resource in self._store.list(None, SCHEDULE).items:
            version, until_s = quiet.get(resource.id, (0, 0.0))
            if version != resource.version or until_s <= now_s:
                due_s = self._looked_at(resource, held)
                until_s = now_s + min(due_s, LOOK_S)
            self._quiet[resource.id] = resource.version, until_s
            found.append(until_s - now_s)
        return found

    def _looked_at(self, resource: Resource, held: Held) -> float:
        try:
            due_s = self._schedule(resource, held)
            return LOOK_S if due_s is None else due_s
        except ConcurrentChange:
            return 0.0
        except LeaseLost:
            raise
        except Exception:
            log.exception("monitoring schedule %s: what it does next cannot be told", resource.name)
            return LOOK_S

    def _schedule(self, resource: Resource, held: Held) -> float | None:
        now, status = self._clock.now(), ScheduleStatus(resource.status)
        schedule = Schedule.of(resource.document)
        action = course.step(schedule, status, now)
        if isinstance(action, Wait):
            return action.seconds
        if isinstance(action, Begin):
            self._begin(resource, action, held, now)
            return 0.0
        after, becomes = course.settled(schedule, now)
        if status is ScheduleStatus.SCHEDULED and not schedule.current and becomes is not status:
            with self._store.transaction(self._author(), lease=held) as tx:
                announce(tx, tx.update(resource, after.document(), becomes))
        return None

    def _begin(self, resource: Resource, begin: Begin, held: Held, now: datetime) -> None:
        """Its execution is Pending, or has failed at once."""
        schedule, scope = begin.schedule, resource.scope
        kept: Mapping[str, Any] = {"input": {"EndpointName": schedule.endpoint}, "definition": schedule.definition}
        problem = begin.problem
        with self._store.transaction(self._author(), lease=held) as tx:
            try:
                kept = monitor_of(tx, scope, schedule.config).document()
            except ValidationFailed as error:
                problem = f"ClientError: {error.message}"
            window = begin.window or Window(begin.scheduled, begin.scheduled)
            places = minute_of(schedule.name, begin.scheduled.timestamp())
            near = [each for place in places for each in tx.list(scope, EXECUTION, name_prefix=place).items]
            others = [Execution.of(each.document) for each in near]
            execution = Execution(
                uid=uuid.uuid4().hex,
                schedule=schedule.name,
                schedule_arn=arn_of(scope, schedule.name),
                schedule_uid=schedule.uid,
                kind=schedule.kind,
                monitor=kept,
                scheduled_s=begin.scheduled.timestamp(),
                start_s=window.start.timestamp(),
                end_s=window.end.timestamp(),
                is_again=begin.is_again,
                is_told=begin.is_told,
                apart=plan.apart_of(begin.scheduled, others),
                failure_reason=shortened(problem),
            )
            status = Status.FAILED if problem else Status.PENDING
            tx.insert(scope, EXECUTION, execution.name, execution.document(), status)
            current = replace(schedule, current=execution.name, last=execution.name)
            if problem:
                current = over(tx, resource, current, execution, status, now)
            announce(tx, tx.observe(resource, current.document()))

    def _prune(self, held: Held) -> None:
        now_s = self._clock.monotonic_s()
        if self._pruned_s is not None and now_s - self._pruned_s < PRUNE_S:
            return
        self._pruned_s = now_s
        before = self._clock.now() - KEPT
        going = {each.value for each in (*GOING, *RETRAINING_GOES_ON)}
        for kind in (EXECUTION, ALERT_CHANGE, RETRAINING):
            for each in self._store.list(None, kind, modified_before=before).items:
                if each.status not in going:
                    with self._store.transaction(self._author(), lease=held) as tx:
                        tx.delete(each)

    def _author(self) -> Author:
        return author(self._clock.now())
