"""What a schedule and an execution of it do next. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kedge.jobs.records import Status as JobStatus
from kedge.monitoring.nothing import NO_DATA
from kedge.monitors import plan
from kedge.monitors.records import Past, Schedule, ScheduleStatus, Seen, Status, time
from kedge.monitors.timetable import SETTLE
from kedge.monitors.windows import BadWindow, Window

MOST_SEEN = 200
"""Windows of a schedule that are remembered: the alert looks at 100, late labels at those of some days."""
NO_MORE_TIMES = "The schedule has no time left at which it would be due."
TOLD = (Status.COMPLETED.value, Status.VIOLATED.value)
"""Executions that end so have had their metrics published."""
BAD = (Status.VIOLATED, Status.FAILED)
"""What the alert counts."""


@dataclass(frozen=True)
class Begin:
    """An execution is due. schedule: as it is from now on."""

    schedule: Schedule
    scheduled: datetime
    window: Window | None
    problem: str = ""
    """Why there is no window."""
    is_again: bool = False
    is_told: bool = False
    """The metrics of its window were published by a look before."""


@dataclass(frozen=True)
class Wait:
    seconds: float


def step(schedule: Schedule, status: ScheduleStatus, now: datetime) -> Begin | Wait | None:
    """None: nothing happens until somebody asks. One execution at a time: what is due meanwhile waits its turn."""
    if schedule.current or status is ScheduleStatus.FAILED:
        return None
    if schedule.again and status is ScheduleStatus.SCHEDULED:
        first, *rest = schedule.again
        found = Window(time(first.start_s), time(first.end_s))
        rest_of = replace(schedule, again=tuple(rest))
        return Begin(rest_of, time(first.scheduled_s), found, is_again=True, is_told=first.status in TOLD)
    if schedule.asked_s is not None:
        return _begin(replace(schedule, asked_s=None), time(schedule.asked_s), now, asked=True)
    if status is not ScheduleStatus.SCHEDULED:
        return None
    seen_to = time(schedule.seen_to_s)
    missed = schedule.timetable.missed(seen_to, now)
    if missed:
        return _begin(replace(schedule, seen_to_s=missed[0].timestamp()), missed[0], now)
    following = schedule.timetable.following(max(seen_to, now))
    return None if following is None else Wait((following - now).total_seconds())


def _begin(schedule: Schedule, scheduled: datetime, now: datetime, *, asked: bool = False) -> Begin | Wait:
    try:
        found = schedule.timetable.asked(scheduled) if asked else schedule.timetable.window(scheduled)
    except BadWindow as error:
        return Begin(schedule, scheduled, None, f"ClientError: The window cannot be used: {error}.")
    settled = found.end + SETTLE
    return Wait((settled - now).total_seconds()) if settled > now else Begin(schedule, scheduled, found)


def settled(schedule: Schedule, now: datetime) -> tuple[Schedule, ScheduleStatus]:
    """One that may begin executions: Scheduled, or Failed where no time of it will ever come (again)."""
    times = schedule.timetable
    if times.is_once or times.following(max(time(schedule.seen_to_s), now)) is not None:
        return replace(schedule, failure_reason=""), ScheduleStatus.SCHEDULED
    return replace(schedule, failure_reason=NO_MORE_TIMES), ScheduleStatus.FAILED


@dataclass(frozen=True)
class After:
    """What becomes of an execution whose job has ended. status: None where the analysis comes next."""

    status: Status | None
    reason: str = ""
    has_data: bool = True
    """False where its window held nothing, though the hours did in which it lies."""


def after(stage: str, status: JobStatus, exit_message: str, reason: str) -> After | None:
    """None: the job goes on."""
    if status.goes_on:
        return None
    if status is JobStatus.STOPPED:
        return After(Status.STOPPED)
    if status is JobStatus.FAILED:
        if exit_message.startswith(NO_DATA):
            return After(Status.FAILED, exit_message, has_data=False)
        return After(Status.FAILED, reason)
    if stage == plan.MERGE:
        return After(None)
    violated = exit_message.startswith(Status.VIOLATED.value)
    return After(Status.VIOLATED if violated else Status.COMPLETED)


def ended(past: Past, found: Seen) -> Past:
    """With a window that was looked at; a later look at the same takes the place of the first."""
    key = (found.scheduled_s, found.start_s, found.end_s)
    others = [each for each in past.seen if (each.scheduled_s, each.start_s, each.end_s) != key]
    seen = sorted((*others, found), key=lambda each: each.scheduled_s)[-MOST_SEEN:]
    return replace(past, seen=tuple(seen))


def alert_status(seen: Sequence[Seen], datapoints: int, period: int) -> str:
    """InAlert when of the last executions so many were bad, also while there are fewer than `period`.

    Source: "View and edit alerts" of the Model Dashboard. Of a model an execution without captured data, or without
    labels, says nothing.
    """
    counted = [each for each in seen if each.counts][-period:]
    return "InAlert" if sum(each.status in BAD for each in counted) >= datapoints else "OK"


def looked_again(schedule: Schedule, past: Past, changed: Sequence[datetime], current: Window) -> tuple[Seen, ...]:
    """Windows seen before, to which merged records of these hours belong. current: is looked at anyway."""
    found = list(schedule.again)
    for each in past.seen:
        window = Window(time(each.start_s), time(each.end_s))
        if window != current and each not in found and set(window.hours) & set(changed):
            found.append(each)
    return tuple(found)
