"""Whether a retraining begins, and what it does next. PURE.

`begun` and `step` remember nothing: they compare a record with what there is and say one thing to do, or nothing yet.
What is made has names that follow from the record, so each step can be taken again after a crash at any moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kedge.jobs.records import Status as JobStatus
from kedge.monitors.retraining.records import BEGUN, Phase, Run
from kedge.monitors.retraining.settings import ANY, CONCEPT, RENEW, Settings

DAY_S = 86400.0
DEPLOY_WITHIN_S = DAY_S
"""For so long an endpoint that others are changing is waited for."""
DECIDE_WITHIN_S = 900.0
"""For so long a data quality monitor's look at the same time is waited for."""
UNWATCHED = "quality moved, inputs unwatched"
"""What the verdict is without a data quality monitor that looked at the same time."""


@dataclass(frozen=True)
class Earlier:
    """A retraining of the same schedule."""

    name: str
    phase: Phase
    began_s: float
    ended_s: float
    promoted_s: float
    """When its model had all requests for good."""


@dataclass(frozen=True)
class Judged:
    """Which drift it is, by what, and what to do about it."""

    kind: str
    evidence: str
    advice: str = ""


@dataclass(frozen=True)
class Become:
    """Another phase, and nothing else."""

    phase: Phase
    reason: str = ""


@dataclass(frozen=True)
class Prepare:
    pass


@dataclass(frozen=True)
class StopPreparing:
    pass


@dataclass(frozen=True)
class Train:
    pass


@dataclass(frozen=True)
class StopTraining:
    pass


@dataclass(frozen=True)
class Register:
    pass


@dataclass(frozen=True)
class Deploy:
    pass


Action = Become | Prepare | StopPreparing | Train | StopTraining | Register | Deploy


def refusal(run: Run, settings: Settings, earlier: Sequence[Earlier], judged: Judged, now_s: float) -> str:
    """Why this one does not begin; "" where it does. What somebody asks for by hand waits for no cool-down."""
    for each in earlier:
        if each.phase.goes_on and each.phase is not Phase.DECIDING:
            return f"The retraining {each.name} goes on; a monitor has one at a time."
    if run.asked_by:
        return ""
    begun = [each for each in earlier if each.phase in BEGUN]
    for each in begun:
        if each.phase is Phase.PROMOTED and run.start_s < each.promoted_s:
            return f"The window began before the model of {each.name} served all requests: it tells of the one before."
    for each in begun:
        left_s = each.ended_s + settings.cool_down_s - now_s
        if left_s > 0:
            return f"The cool-down after {each.name} lasts for another {left_s:.0f} s."
    today = sum(each.began_s > now_s - DAY_S for each in begun)
    if today >= settings.most_a_day:
        return f"{today} retrainings have begun within a day, of at most {settings.most_a_day}."
    if judged.kind not in (CONCEPT, UNWATCHED) and settings.on != ANY:
        return f"The verdict is {judged.kind}. {judged.advice}"
    return ""


@dataclass(frozen=True)
class Job:
    status: JobStatus
    reason: str = ""
    metrics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Serving:
    """What the endpoint of a run does."""

    status: str
    config: str
    pending: str = ""
    """Config of the fleet that is coming."""
    reason: str = ""
    """FailureReason."""


@dataclass(frozen=True)
class Seen:
    schedule: bool = True
    """It is there, and no other one of its name."""
    endpoint: Serving | None = None
    """None where it is gone, or another one has its name."""
    rows: Job | None = None
    """That makes CSV of what was labelled."""
    job: Job | None = None
    approval: str | None = None
    """ModelApprovalStatus; None where there is no package."""
    outcome: str = ""
    """What became of the deployment of the run's endpoint config; "" where none has ended."""
    outcome_reason: str = ""
    served_s: float = 0.0
    """Since when the deployed config has all requests; 0 where that is not known."""


def step(run: Run, phase: Phase, settings: Settings, seen: Seen, now_s: float) -> Action | None:
    """Of a run that has begun. None: something has to happen, or the time to come, before the next step."""
    why = ends(run, seen)
    match phase:
        case Phase.PREPARING:
            return _preparing(seen.rows, why)
        case Phase.TRAINING:
            return _training(settings, seen.job, why)
        case Phase.REGISTERING:
            if why:
                return Become(Phase.STOPPED, why)
            return Register() if settings.group else Become(Phase.DEPLOYING)
        case Phase.APPROVING:
            return Become(Phase.STOPPED, why) if why else _approving(run, settings, seen.approval, now_s)
        case Phase.DEPLOYING:
            return _deploying(run, settings, seen, why, now_s)
    return None


def due_in_s(run: Run, phase: Phase, settings: Settings, now_s: float) -> float | None:
    """When the clock alone brings the next step."""
    within_s = {Phase.APPROVING: settings.approve_within_s, Phase.DEPLOYING: DEPLOY_WITHIN_S}.get(phase)
    return None if within_s is None else max(0.0, run.since_s + within_s - now_s)


def ends(run: Run, seen: Seen) -> str:
    """Why a run is to end before its time; "" where it is not."""
    if run.stop:
        return run.stop
    if not seen.schedule:
        return f'The monitoring schedule "{run.schedule}" was deleted.'
    if seen.endpoint is None or seen.endpoint.status == "Deleting":
        return f'The endpoint "{run.endpoint}" was deleted.'
    return ""


def _preparing(job: Job | None, why: str) -> Action | None:
    if job is None or not job.status.goes_on:
        if why:
            return Become(Phase.STOPPED, why)
        if job is None:
            return Prepare()
        if job.status is JobStatus.COMPLETED:
            return Become(Phase.TRAINING)
        return Become(Phase.FAILED, f"No CSV was made of the labelled records. {job.reason}".strip())
    return StopPreparing() if why and job.status is JobStatus.IN_PROGRESS else None


def _training(settings: Settings, job: Job | None, why: str) -> Action | None:
    """why: it is to end."""
    if job is None:
        return Become(Phase.STOPPED, why) if why else Train()
    if why:
        if not job.status.goes_on:
            return Become(Phase.STOPPED, why)
        return StopTraining() if job.status is JobStatus.IN_PROGRESS else None
    if job.status.goes_on:
        return None
    if job.status is not JobStatus.COMPLETED:
        return Become(Phase.FAILED, f"The training job is {job.status.value}. {job.reason}".strip())
    for limit in settings.limits:
        value = (job.metrics or {}).get(limit.metric)
        if value is None:
            told = ", ".join(sorted(job.metrics or {})) or "none"
            return Become(Phase.FAILED, f"The training job told no metric {limit.metric}; it told: {told}.")
        if not limit.holds(value):
            return Become(Phase.FAILED, f"The new model has {limit.metric} {value:g}; it has to be {limit}.")
    return Become(Phase.REGISTERING)


def _approving(run: Run, settings: Settings, approval: str | None, now_s: float) -> Action | None:
    if approval is None:
        return Become(Phase.FAILED, f"The model package {run.package} was deleted.")
    if approval == "Approved":
        return Become(Phase.DEPLOYING)
    if approval == "Rejected":
        return Become(Phase.REJECTED, f"The model package {run.package} was rejected.")
    if now_s - run.since_s >= settings.approve_within_s:
        return Become(
            Phase.FAILED, f"Nobody approved the model package {run.package} within {settings.approve_within_s:g} s."
        )
    return None


def _deploying(run: Run, settings: Settings, seen: Seen, why: str, now_s: float) -> Action | None:
    promoted = Become(Phase.RENEWING if settings.baselines == RENEW and not why else Phase.PROMOTED)
    if seen.outcome == "Succeeded":
        return promoted
    if seen.outcome:
        return Become(Phase.ROLLED_BACK, seen.outcome_reason or f"The deployment ended: {seen.outcome}.")
    endpoint = seen.endpoint
    if endpoint is None:
        return Become(Phase.STOPPED, why)
    if endpoint.pending == run.made:
        return Become(Phase.STOPPED, f"{why} The deployment that is under way goes on.") if why else None
    if endpoint.config == run.made:
        return promoted
    if why:
        return Become(Phase.STOPPED, why)
    if endpoint.status in ("Failed", "UpdateRollbackFailed"):
        return Become(Phase.FAILED, f'The endpoint "{run.endpoint}" is {endpoint.status}: {endpoint.reason}')
    if endpoint.status == "InService":
        return Deploy()
    if now_s - run.since_s >= DEPLOY_WITHIN_S:
        return Become(
            Phase.FAILED, f'The endpoint "{run.endpoint}" was {endpoint.status} for {DEPLOY_WITHIN_S / 3600:g} hours.'
        )
    return None


def metrics_of(told: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """told: ProgramJob.metrics."""
    return {str(each["MetricName"]): float(each["Value"]) for each in told}
