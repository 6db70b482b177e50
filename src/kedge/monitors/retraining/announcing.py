"""How a retraining looks to its readers: in Kedge's own answers, and in the event of each change of its phase."""

from __future__ import annotations

from typing import Any

from kedge.jobs.events import arn_of as job_arn
from kedge.jobs.program_records import TRAINING
from kedge.monitors.describing import arn_of
from kedge.monitors.retraining import renewal
from kedge.monitors.retraining.records import BEGUN, Phase, Run
from kedge.monitors.retraining.renewal import Renewal
from kedge.store.records import Resource
from kedge.store.transaction import Transaction

SOURCE, STATE_CHANGE = "kedge.monitors", "Kedge Retraining State Change"
"""AWS has none of these; those of its training job, its model package and its deployment come beside them."""


def shown(resource: Resource) -> dict[str, Any]:
    """Times are seconds since 1970."""
    run, phase = Run.of(resource.document), Phase(resource.status)
    found: dict[str, Any] = {
        "MonitoringScheduleName": run.schedule,
        "RetrainingName": run.made,
        "RetrainingStatus": phase.value,
        "CreationTime": run.asked_at_s,
        "LastModifiedTime": run.since_s,
        "WindowStartTime": run.start_s,
        "WindowEndTime": run.end_s,
        "Steps": [{"Status": each["phase"], "StartTime": each["at_s"]} for each in run.steps],
    }
    more = {
        "EndpointName": run.endpoint,
        "AskedBy": run.asked_by,
        "Verdict": run.verdict,
        "Evidence": run.evidence,
        "DataS3Uri": run.data,
        "ModelPackageArn": run.package,
        "Reason": run.reason,
    }
    found |= {member: value for member, value in more.items() if value}
    if run.baselines:
        found["Baselines"] = [_baseline(each, run) for each in renewal.renewals(run)]
    if phase in BEGUN and phase is not Phase.PREPARING:
        found["TrainingJobArn"] = job_arn(resource.scope, run.made, TRAINING)
    return found


def _baseline(each: Renewal, run: Run) -> dict[str, Any]:
    found = {
        "MonitoringScheduleName": each.schedule,
        "BaselineStatus": each.status or "Renewing",
        "ProcessingJobName": renewal.job_name(run, each),
        "MadeOf": each.source,
        "Reason": each.reason,
    }
    left_out = () if each.status != renewal.KEPT else ("ProcessingJobName", "MadeOf")
    return {member: value for member, value in found.items() if value and member not in left_out}


def announce(tx: Transaction, resource: Resource) -> None:
    """resource: as it is after the change."""
    schedule = arn_of(resource.scope, resource.document["schedule"])
    tx.emit(SOURCE, STATE_CHANGE, {**shown(resource), "MonitoringScheduleArn": schedule}, resource.scope)
