"""What is stored of a transform job. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from kedge.endpoints.records import Variant, instance_id, variant_of

KIND = "transform-job"
LABEL = "transform_job"
"""The label of a task that says which job it is for."""


class Status(StrEnum):
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"

    @property
    def goes_on(self) -> bool:
        return self in (Status.IN_PROGRESS, Status.STOPPING)


@dataclass(frozen=True)
class TransformJob:
    name: str
    uid: str
    request: Mapping[str, Any]
    """Members of CreateTransformJob that Describe repeats."""
    variant: Variant
    """Its instances: the model's containers as they were when the job was made."""
    started_at_s: float | None = None
    """When its instances were ready; seconds since 1970."""
    ended_at_s: float | None = None
    failure_reason: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> TransformJob:
        """Of this release or an earlier one."""
        names = {each.name for each in fields(cls)}
        given = {name: value for name, value in document.items() if name in names}
        return cls(**{**given, "variant": variant_of(document["variant"])})

    @property
    def instances(self) -> tuple[str, ...]:
        return tuple(instance_id(self.uid, 0, LABEL, at) for at in range(self.variant.desired_count))
