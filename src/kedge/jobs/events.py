"""How a transform job looks to its readers: DescribeTransformJob, and the event of each change of its state. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from kedge import arn
from kedge.jobs.records import KIND, TransformJob
from kedge.store.records import Resource, Scope

SOURCE = "aws.sagemaker"
STATE_CHANGE = "SageMaker Transform Job State Change"


def arn_of(scope: Scope, name: str) -> str:
    return arn.sagemaker(scope.region, scope.account, KIND, name)


def description(resource: Resource) -> dict[str, Any]:
    job = TransformJob.of(resource.document)
    shown: dict[str, Any] = {
        **job.request,
        "TransformJobArn": arn_of(resource.scope, job.name),
        "TransformJobStatus": resource.status,
        "CreationTime": resource.created_at,
    }
    if job.started_at_s is not None:
        shown["TransformStartTime"] = datetime.fromtimestamp(job.started_at_s, UTC)
    if job.ended_at_s is not None:
        shown["TransformEndTime"] = datetime.fromtimestamp(job.ended_at_s, UTC)
    if job.failure_reason:
        shown["FailureReason"] = job.failure_reason
    return shown


def state_change(resource: Resource, tags: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Detail of the event; times are in milliseconds since 1970."""
    shown = {
        name: round(value.timestamp() * 1000) if isinstance(value, datetime) else value
        for name, value in description(resource).items()
    }
    return {**shown, "Tags": {tag["Key"]: tag["Value"] for tag in tags}}
