"""The baseline of a data quality monitor after the model was trained again: of what it is made anew, and how. PURE.

A new baseline is a new job definition, or inline one, and the schedule is updated to it: nothing that was there is
changed. Each step can be taken again after a crash, for names follow from the run and the monitor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kedge.jobs.records import Status as JobStatus
from kedge.monitors.monitor import Monitor
from kedge.monitors.retraining.records import Run
from kedge.objects import address

LABELLED, BAKING = "labelled records", "captured records"
"""What it trained on, labels in the place of answers; and what was captured while the candidate had all requests."""
RENEWED, KEPT = "Renewed", "Kept"
LEAST_ROWS = 200
"""A baseline of fewer tells too little of a column."""
SETTLE_S = 12.0
"""A captured record is in its file 10 s after it came."""
CONSTRAINTS, STATISTICS = "constraints.json", "statistics.json"

Request = dict[str, Any]


@dataclass(frozen=True)
class Renewal:
    """Of one monitor. number: among those of its run."""

    number: int
    schedule: str
    schedule_uid: str
    constraints: str
    """Of the baseline before, an address."""
    source: str = LABELLED
    status: str = ""
    """RENEWED or KEPT; "" while it goes on."""
    reason: str = ""
    """Why it is kept, or why it is not made of labelled records."""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    def kept(self, reason: str) -> Renewal:
        said = f"{self.reason} {reason}".strip() if reason != self.reason else reason
        return replace(self, status=KEPT, reason=said[:1024])


@dataclass(frozen=True)
class Seen:
    monitor: Monitor | None
    """As its schedule has it now; None where it is gone, or another one has its name."""
    constraints: str = ""
    """Of its baseline now, an address."""
    is_due: bool = False
    """An execution is about to begin, which an update would pass over."""
    job: JobStatus | None = None
    job_reason: str = ""
    rows: int = 0
    """Of the baseline that the job has made."""


@dataclass(frozen=True)
class MakeBaseline:
    pass


@dataclass(frozen=True)
class Define:
    """The job definition with the new baseline, and the schedule's update to it."""


@dataclass(frozen=True)
class Wait:
    """seconds: None where something has to happen."""

    seconds: float | None = None


Action = MakeBaseline | Define | Wait | Renewal


def renewals(run: Run) -> list[Renewal]:
    return [Renewal(**each) for each in run.baselines]


def going(run: Run) -> Renewal | None:
    """The one that is next; None where all are over."""
    return next((each for each in renewals(run) if not each.status), None)


def step(renewal: Renewal, run: Run, seen: Seen, now_s: float) -> Action:
    """A Renewal: what it is from now on."""
    monitor = seen.monitor
    if monitor is None:
        return renewal.kept("The monitoring schedule was deleted.")
    if monitor.constraints == made_at(monitor, run, renewal, CONSTRAINTS):
        return replace(renewal, status=RENEWED)
    if seen.constraints != renewal.constraints:
        return renewal.kept("It was given another baseline meanwhile.")
    if seen.job is None:
        if renewal.source == LABELLED and monitor.preprocessor:
            return replace(renewal, source=BAKING, reason="Its preprocessing script reads answers.")
        settles_s = run.since_s + SETTLE_S - now_s
        if renewal.source == BAKING and settles_s > 0:
            return Wait(settles_s)
        return MakeBaseline()
    if seen.job.goes_on:
        return Wait()
    problem = ""
    if seen.job is not JobStatus.COMPLETED:
        problem = f"Of {renewal.source}: {seen.job_reason or seen.job.value}"
    elif seen.rows < LEAST_ROWS:
        problem = f"Of {renewal.source}: there are {seen.rows} rows; a baseline needs {LEAST_ROWS}."
    if problem:
        return _without(renewal, problem)
    return Wait(1.0) if seen.is_due else Define()


def _without(renewal: Renewal, problem: str) -> Renewal:
    """After a job that has made no baseline."""
    if renewal.source == LABELLED:
        return replace(renewal, source=BAKING, reason=problem[:512])
    return renewal.kept(problem)


def made_at(monitor: Monitor, run: Run, renewal: Renewal, file: str = "") -> str:
    """Address of the files of a new baseline."""
    folder = "labelled" if renewal.source == LABELLED else "captured"
    return address.below(monitor.output["S3Uri"], "retraining", run.made, "baselines", renewal.schedule, folder, file)


def job_name(run: Run, renewal: Renewal) -> str:
    """At most 63 characters."""
    tail = "labelled" if renewal.source == LABELLED else "captured"
    return f"{renewal.schedule[:28].rstrip('-')}-baseline-{run.uid[:8]}-{renewal.number}-{tail}"


def definition_name(run: Run, renewal: Renewal) -> str:
    """At most 63 characters."""
    return f"{renewal.schedule[:38].rstrip('-')}-baseline-{run.uid[:12]}"


def baseline_config(monitor: Monitor, run: Run, renewal: Renewal) -> Request:
    return {
        "BaseliningJobName": job_name(run, renewal),
        "ConstraintsResource": {"S3Uri": made_at(monitor, run, renewal, CONSTRAINTS)},
        "StatisticsResource": {"S3Uri": made_at(monitor, run, renewal, STATISTICS)},
    }


def definition(
    live: Mapping[str, Any], monitor: Monitor, run: Run, renewal: Renewal, tags: Sequence[Mapping[str, str]]
) -> Request:
    """CreateDataQualityJobDefinition. live: the one before. tags: of the new one."""
    kept = {member: value for member, value in live.items() if member not in ("JobDefinitionArn", "CreationTime")}
    return {
        **kept,
        "JobDefinitionName": definition_name(run, renewal),
        f"{monitor.kind}BaselineConfig": baseline_config(monitor, run, renewal),
        "Tags": list(tags),
    }


def update(config: Mapping[str, Any], monitor: Monitor, run: Run, renewal: Renewal) -> Request:
    """UpdateMonitoringSchedule. config: the schedule's MonitoringScheduleConfig."""
    if monitor.definition:
        changed: Mapping[str, Any] = {"MonitoringJobDefinitionName": definition_name(run, renewal)}
    else:
        inline = {**config["MonitoringJobDefinition"], "BaselineConfig": baseline_config(monitor, run, renewal)}
        changed = {"MonitoringJobDefinition": inline}
    return {"MonitoringScheduleName": renewal.schedule, "MonitoringScheduleConfig": {**config, **changed}}
