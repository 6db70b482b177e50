"""What the store and S3 say for a retraining: the verdict, labelled records, the template, and how far it has come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kedge.endpoints import past
from kedge.endpoints.records import KIND as ENDPOINT
from kedge.endpoints.records import Endpoint
from kedge.errors import ServiceError, ValidationFailed
from kedge.jobs.program_records import PROCESSING, TRAINING, ProgramJob
from kedge.jobs.records import Status as JobStatus
from kedge.monitoring.drift import verdict
from kedge.monitoring.drift.verdict import Evidence
from kedge.monitors import finding, plan
from kedge.monitors.alerting import past_of
from kedge.monitors.finding import LOOKED, Place, Unready
from kedge.monitors.kinds import DATA_QUALITY
from kedge.monitors.monitor import Monitor
from kedge.monitors.records import EXECUTION, SCHEDULE, Execution, Schedule, Status, at_of, prefix_of, time
from kedge.monitors.retraining import course
from kedge.monitors.retraining.course import UNWATCHED, Earlier, Job, Judged, Seen, Serving
from kedge.monitors.retraining.records import KIND, Phase, Run
from kedge.monitors.retraining.settings import Settings
from kedge.monitors.windows import hours, text
from kedge.objects import address
from kedge.objects.of_account import AccountObjects
from kedge.registry.lookup import found_package
from kedge.store.records import Resource, Scope
from kedge.store.store import Store

VIOLATIONS, DRIFT = "constraint_violations.json", "kedge_drift.json"
LARGEST_TEMPLATE_BYTES, LARGEST_REPORT_BYTES = 1 << 20, 16 << 20
MOST_FILES = 100_000
SERVERS_FAULT = 500
"""Statuses from here on may be others the next time."""


def schedule_of(store: Store, scope: Scope, run: Run) -> Resource | None:
    """None when it is gone, or another one has its name."""
    found = store.get(scope, SCHEDULE, run.schedule.lower())
    return found if found is not None and found.document["uid"] == run.schedule_uid else None


def endpoint_of(store: Store, scope: Scope, run: Run) -> Resource | None:
    """None when it is gone, or another one has its name."""
    found = store.get(scope, ENDPOINT, run.endpoint.lower())
    return found if found is not None and found.document["uid"] == run.endpoint_uid else None


def earlier(store: Store, scope: Scope, run: Run) -> list[Earlier]:
    """The other retrainings of its schedule."""
    found = []
    for each in store.list(scope, KIND, name_prefix=prefix_of(run.schedule)).items:
        other, phase = Run.of(each.document), Phase(each.status)
        if other.uid != run.uid and other.schedule_uid == run.schedule_uid:
            began_s = next((s["at_s"] for s in other.steps if s["phase"] == Phase.TRAINING), other.asked_at_s)
            found.append(Earlier(other.made, phase, began_s, other.since_s, other.promoted_s))
    return found


def seen(store: Store, scope: Scope, run: Run, phase: Phase) -> Seen:
    """How far it has come. Blocks."""
    resource = endpoint_of(store, scope, run)
    endpoint, outcome, reason, served_s = None, "", "", 0.0
    if resource is not None:
        record = Endpoint.of(resource.document)
        coming = record.pending.config if record.pending is not None else ""
        config = record.live.config if record.live is not None else ""
        endpoint = Serving(resource.status, config, coming, record.failure_reason)
        if phase is Phase.DEPLOYING:
            for line in past.lines(store, scope, resource.name):
                if line["To"] == run.made and line["Uid"] == run.endpoint_uid:
                    outcome, reason = line["Outcome"], line["Reason"]
                    served_s = float([line["EndTime"], *line["Steps"]][-1])
                    break
    return Seen(
        schedule=schedule_of(store, scope, run) is not None,
        endpoint=endpoint,
        rows=_job(store, scope, PROCESSING, run.preparing),
        job=_job(store, scope, TRAINING, run.made),
        approval=_approval(store, scope, run),
        outcome=outcome,
        outcome_reason=reason,
        served_s=served_s,
    )


def _job(store: Store, scope: Scope, kind: str, name: str) -> Job | None:
    found = store.get(scope, kind, name.lower())
    if found is None:
        return None
    record = ProgramJob.of(found.document)
    return Job(JobStatus(found.status), record.failure_reason, course.metrics_of(record.metrics))


def _approval(store: Store, scope: Scope, run: Run) -> str | None:
    if not run.package:
        return None
    try:
        _, found = found_package(store, scope, run.package)
    except ValidationFailed:
        return None
    return str(found.document.get("ModelApprovalStatus", ""))


async def judged(store: Store, objects: AccountObjects, scope: Scope, run: Run, *, in_time: bool) -> Judged:
    """Data drift or concept drift, by what the endpoint's monitors found of the same time.

    in_time: a data quality monitor that is looking is waited for. Raises Unready.
    """
    quality = Evidence([], None)
    if (own := store.get(scope, EXECUTION, run.execution)) is not None:
        quality = verdict.of_violations(await _violations(objects, own))
    inputs = _inputs(store, scope, run, in_time=in_time)
    if inputs is None:
        said = f"inputs: nobody watches them; quality: {', '.join(quality.moved) or 'not known'}"
        return Judged(UNWATCHED, said)
    drift = await _report(objects, inputs, DRIFT) or {}
    moved = verdict.in_this_window(await _violations(objects, inputs), drift)
    found = verdict.decided(verdict.of_violations(moved), quality)
    return Judged(found.kind, found.evidence, found.advice)


def _inputs(store: Store, scope: Scope, run: Run, *, in_time: bool) -> Resource | None:
    """The newest execution of the endpoint's data quality monitors that looked at the window, or past it."""
    newest: Resource | None = None
    for each in store.list(scope, SCHEDULE).items:
        schedule = Schedule.of(each.document)
        if schedule.kind != DATA_QUALITY.type or schedule.endpoint.lower() != run.endpoint.lower():
            continue
        going = store.get(scope, EXECUTION, schedule.current) if schedule.current else None
        if in_time and going is not None and Execution.of(going.document).end_s > run.start_s:
            raise Unready(f"the data quality monitor {schedule.name} looks at it")
        for window in reversed(past_of(store, scope, schedule.name).seen):
            if window.status not in LOOKED or window.end_s <= run.start_s:
                continue
            prefix = at_of(schedule.name, window.scheduled_s)
            found = [e for e in store.list(scope, EXECUTION, name_prefix=prefix).items if Status(e.status) in LOOKED]
            if found and (newest is None or found[-1].created_at > newest.created_at):
                newest = found[-1]
            break
    return newest


async def _violations(objects: AccountObjects, resource: Resource) -> list[Mapping[str, Any]]:
    found = await _report(objects, resource, VIOLATIONS)
    return list(found["violations"]) if found else []


async def _report(objects: AccountObjects, resource: Resource, file: str) -> Mapping[str, Any] | None:
    """Of an execution; None where it has left no such file."""
    execution = Execution.of(resource.document)
    monitor = Monitor(**execution.monitor)
    reports = plan.report_uri(monitor, execution.schedule, execution.scheduled, execution.apart)
    uri = address.below(reports, file)
    if await objects.head(uri) is None:
        return None
    found: Mapping[str, Any] = json.loads(await objects.read(uri, LARGEST_REPORT_BYTES))
    return found


async def labelled(
    store: Store, objects: AccountObjects, scope: Scope, monitor: Monitor, run: Run
) -> tuple[str, list[str]]:
    """(bucket, keys) of the merged records of the hours of its time. Raises finding.Impossible, ValidationFailed."""
    place: Place = finding.captures(store, scope, monitor)
    start_s, end_s = run.span_s
    times = hours(time(start_s), time(end_s))
    sources = await finding.merged(objects, monitor, place, times)
    bucket, _ = address.parse(plan.merged_uri(monitor))
    keys = [key for source in sources for key in await objects.keys(f"{source.uri}/")]
    if not keys:
        raise ValidationFailed(
            f"There is no labelled record from {text(time(start_s))} to {text(time(end_s))} below "
            f"{plan.merged_uri(monitor)}."
        )
    return bucket, keys[-MOST_FILES:]


async def template(store: Store, objects: AccountObjects, scope: Scope, settings: Settings) -> Mapping[str, Any]:
    """A CreateTrainingJob request. Raises ValidationFailed, and what S3 says of the address."""
    named = settings.template
    if not named.startswith("s3://"):
        found = store.get(scope, TRAINING, named.lower())
        if found is None:
            raise ValidationFailed(f'The tag kedge:retrain names the training job "{named}", which is not there.')
        request: Mapping[str, Any] = found.document["request"]
        return request
    try:
        given = json.loads(await objects.read(named, LARGEST_TEMPLATE_BYTES))
    except ServiceError as error:
        if error.status >= SERVERS_FAULT:
            raise
        raise ValidationFailed(f"The template {named} cannot be read: {error.message}") from None
    except (ValueError, RecursionError) as error:
        raise ValidationFailed(f"The template {named} is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValidationFailed(f"The template {named} has to be a JSON object: a CreateTrainingJob request.")
    return given
