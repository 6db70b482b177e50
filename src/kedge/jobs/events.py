"""How a job looks to its readers: in Describe, and in the event of each change of its state. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kedge import arn
from kedge.jobs import training_plan
from kedge.jobs.program_records import PROCESSING, SAYS, TRAINING, ProgramJob, Stage
from kedge.jobs.records import KIND, TransformJob
from kedge.store.records import Resource, Scope

SOURCE = "aws.sagemaker"
STATE_CHANGES = {
    KIND: "SageMaker Transform Job State Change",
    PROCESSING: "SageMaker Processing Job State Change",
    TRAINING: "SageMaker Training Job State Change",
}


def arn_of(scope: Scope, name: str, kind: str = KIND) -> str:
    return arn.sagemaker(scope.region, scope.account, kind, name)


def description(resource: Resource) -> dict[str, Any]:
    if resource.kind == PROCESSING:
        return processing_description(resource)
    return training_description(resource) if resource.kind == TRAINING else transform_description(resource)


def transform_description(resource: Resource) -> dict[str, Any]:
    job = TransformJob.of(resource.document)
    shown: dict[str, Any] = {
        **job.request,
        "TransformJobArn": arn_of(resource.scope, job.name),
        "TransformJobStatus": resource.status,
        "CreationTime": resource.created_at,
    }
    if job.started_at_s is not None:
        shown["TransformStartTime"] = _time(job.started_at_s)
    if job.ended_at_s is not None:
        shown["TransformEndTime"] = _time(job.ended_at_s)
    if job.failure_reason:
        shown["FailureReason"] = job.failure_reason
    return shown


def processing_description(resource: Resource) -> dict[str, Any]:
    job = ProgramJob.of(resource.document)
    shown: dict[str, Any] = {
        **job.request,
        "ProcessingJobArn": arn_of(resource.scope, job.name, PROCESSING),
        "ProcessingJobStatus": resource.status,
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.modified_at,
    }
    if job.schedule:
        shown["MonitoringScheduleArn"] = job.schedule
    if job.started_at_s is not None:
        shown["ProcessingStartTime"] = _time(job.started_at_s)
    return {**shown, **processing_end(job)}


def processing_end(job: ProgramJob) -> dict[str, Any]:
    """What a summary says of it, too."""
    shown: dict[str, Any] = {}
    if job.ended_at_s is not None:
        shown["ProcessingEndTime"] = _time(job.ended_at_s)
    if job.outcome is not None and job.outcome.exit_message:
        shown["ExitMessage"] = job.outcome.exit_message
    if job.failure_reason:
        shown["FailureReason"] = job.failure_reason
    return shown


def training_description(resource: Resource) -> dict[str, Any]:
    job = ProgramJob.of(resource.document)
    shown: dict[str, Any] = {
        "StoppingCondition": {},
        **job.request,
        "TrainingJobArn": arn_of(resource.scope, job.name, TRAINING),
        "ModelArtifacts": {"S3ModelArtifacts": training_plan.model_uri(job.request, job.name)},
        "TrainingJobStatus": resource.status,
        "SecondaryStatus": job.stage.value,
        "SecondaryStatusTransitions": _transitions(job),
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.modified_at,
    }
    if job.started_at_s is not None:
        shown["TrainingStartTime"] = _time(job.started_at_s)
    if job.ended_at_s is not None:
        shown["TrainingEndTime"] = _time(job.ended_at_s)
        if job.started_at_s is not None:
            took_s = max(0, round(job.ended_at_s - job.started_at_s))
            shown |= {"TrainingTimeInSeconds": took_s, "BillableTimeInSeconds": took_s}
    if job.metrics:
        shown["FinalMetricDataList"] = [
            {"MetricName": each["MetricName"], "Value": each["Value"], "Timestamp": _time(each["at_s"])}
            for each in job.metrics
        ]
    if job.failure_reason:
        shown["FailureReason"] = job.failure_reason
    return shown


def state_change(resource: Resource, tags: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Detail of the event; times are in milliseconds since 1970."""
    shown: dict[str, Any] = in_ms(description(resource))
    return {**shown, "Tags": {tag["Key"]: tag["Value"] for tag in tags}}


def _transitions(job: ProgramJob) -> list[dict[str, Any]]:
    """Each with the time at which the next one began as its end."""
    found = []
    ends = [each["at_s"] for each in job.stages[1:]]
    ends.append(job.ended_at_s)
    for each, end_s in zip(job.stages, ends, strict=True):
        stage = Stage(each["stage"])
        shown = {"Status": stage.value, "StartTime": _time(each["at_s"]), "StatusMessage": SAYS[stage]}
        found.append(shown if end_s is None else {**shown, "EndTime": _time(end_s)})
    return found


def in_ms(value: Any) -> Any:
    """Times of a description as events have them: milliseconds since 1970."""
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    if isinstance(value, dict):
        return {name: in_ms(each) for name, each in value.items()}
    return [in_ms(each) for each in value] if isinstance(value, list) else value


def _time(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
