"""What is stored of monitoring schedules and of their executions. PURE. Times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from kedge.monitors.timetable import Timetable
from kedge.monitors.windows import Window

SCHEDULE, EXECUTION, ALERT_CHANGE = "monitoring-schedule", "monitoring-execution", "monitoring-alert-change"
"""Kinds of resources. Names of executions and of changes begin with their schedule's, and go on with their time."""
PAST = "monitoring-past"
"""A kind, too: named as its schedule, and apart from it, for schedules are read at each change of anything."""


OFFSETS = ("StartTimeOffset", "EndTimeOffset")
"""Members of a monitor's input."""


class ScheduleStatus(StrEnum):
    """Never Pending: nothing has to be made ready."""

    SCHEDULED = "Scheduled"
    STOPPED = "Stopped"
    FAILED = "Failed"


class Status(StrEnum):
    """Of an execution."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    VIOLATED = "CompletedWithViolations"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"

    @property
    def goes_on(self) -> bool:
        return self in (Status.PENDING, Status.IN_PROGRESS, Status.STOPPING)


GOING = tuple(each for each in Status if each.goes_on)


@dataclass(frozen=True)
class Seen:
    """A window that an execution has ended for."""

    scheduled_s: float
    start_s: float
    end_s: float
    status: str
    counts: bool = True
    """For the alert: not, where there was no captured data to look at, or no label yet."""
    apart: str = ""
    """As its execution's."""


@dataclass(frozen=True)
class Past:
    """What a schedule has looked at."""

    seen: Sequence[Seen] = ()
    """Oldest first."""
    merged: Mapping[str, str] = field(default_factory=dict)
    """By hour: what the merged records of it were when they were looked at last."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Past:
        return cls(_windows(document["seen"]), document["merged"])


@dataclass(frozen=True)
class Schedule:
    name: str
    uid: str
    config: Mapping[str, Any]
    """MonitoringScheduleConfig as it was given."""
    kind: str
    """MonitoringType."""
    expression: str
    """What it follows, also where none was given."""
    endpoint: str = ""
    """"" for a batch transform's."""
    offsets: Mapping[str, str] = field(default_factory=dict)
    """What its monitor says of the window, where ScheduleConfig says nothing."""
    seen_to_s: float = 0.0
    """Scheduled times up to this one are done, or never will be."""
    asked_s: float | None = None
    """When somebody asked for an execution that has not begun yet."""
    current: str = ""
    """Name of the execution that goes on."""
    last: str = ""
    """Of the newest execution."""
    failure_reason: str = ""
    again: Sequence[Seen] = ()
    """Windows for which labels came later: they are looked at once more."""
    datapoints_to_alert: int = 1
    evaluation_period: int = 1
    alert_status: str = "OK"
    alert_changed_s: float = 0.0

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Schedule:
        """Of this release or an earlier one."""
        given = _known(cls, document)
        return cls(**{**given, "again": _windows(given.get("again", ()))})

    @property
    def timetable(self) -> Timetable:
        times = self.config.get("ScheduleConfig", {})
        said = [times.get(member, "") for member in ("DataAnalysisStartTime", "DataAnalysisEndTime")]
        start, end = said if any(said) else (self.offsets.get(member, "") for member in OFFSETS)
        return Timetable(self.expression, start, end)

    @property
    def definition(self) -> str:
        """Name of its job definition; "" where it has one of its own."""
        return str(self.config.get("MonitoringJobDefinitionName", ""))


@dataclass(frozen=True)
class Execution:
    uid: str
    schedule: str
    schedule_arn: str
    schedule_uid: str
    kind: str
    monitor: Mapping[str, Any]
    """kedge.monitors.monitor.Monitor as it was when this began."""
    scheduled_s: float
    start_s: float
    end_s: float
    stage: str = ""
    """What its job does: "merge" or "analysis"."""
    job: str = ""
    """Name of the processing job of this stage."""
    is_again: bool = False
    """For labels that came later: what was merged is there."""
    is_told: bool = False
    """Metrics of its window were published before: a second time they would be mixed with the first."""
    apart: str = ""
    """The folder of its reports, where another execution of the schedule has those of the same minute."""
    failure_reason: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Execution:
        return cls(**_known(cls, document))

    @property
    def name(self) -> str:
        return f"{at_of(self.schedule, self.scheduled_s)}{self.uid}"

    @property
    def scheduled(self) -> datetime:
        return time(self.scheduled_s)

    @property
    def window(self) -> Window:
        return Window(time(self.start_s), time(self.end_s))


def prefix_of(schedule: str) -> str:
    """Of the names of what belongs to a schedule."""
    return f"{schedule.lower()}/"


def at_of(schedule: str, scheduled_s: float) -> str:
    """Of the names of executions of that time."""
    return f"{prefix_of(schedule)}{round(scheduled_s):012d}/"


def minute_of(schedule: str, scheduled_s: float) -> list[str]:
    """Prefixes that the names of all executions of the same minute have, and others of some minutes around it."""
    minute = int(scheduled_s // 60)
    return [f"{prefix_of(schedule)}{each:010d}" for each in sorted({minute * 60 // 100, (minute + 1) * 60 // 100})]


def time(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _windows(given: Sequence[Mapping[str, Any]]) -> tuple[Seen, ...]:
    return tuple(Seen(**each) for each in given)


def _known(cls: Any, document: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(cls)}
    return {name: value for name, value in document.items() if name in names}
