"""What to do next for an experiment. PURE.

`step` compares what the record says with the endpoint and says one thing to do, or nothing yet. It remembers nothing:
each step is one transaction, on the endpoint and on the record together, so a crash at any moment leaves either what
was or what follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kedge.endpoints.records import Endpoint
from kedge.endpoints.records import Status as EndpointStatus
from kedge.inference_experiments.records import RETAIN, Status, shadow_of, stop_of


@dataclass(frozen=True)
class Become:
    """Another state, and nothing else."""

    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Begin:
    """Give the endpoint the config with the shadow."""


@dataclass(frozen=True)
class Change:
    """Give the endpoint the config with what UpdateInferenceExperiment changed."""


@dataclass(frozen=True)
class End:
    """Give the endpoint the config that it is left with."""


@dataclass(frozen=True)
class Settle:
    """What was changed runs, or was taken back with that reason."""

    reason: str = ""


Action = Become | Begin | Change | End | Settle


def step(
    document: Mapping[str, Any],
    status: Status,
    endpoint: tuple[Endpoint, EndpointStatus] | None,
    now_s: float,
) -> Action | None:
    """endpoint: None when it is gone, also when another one has its name."""
    if status.is_over:
        return None
    if status is Status.CREATING:
        return Become(Status.CREATED)
    if endpoint is None or endpoint[1] in (EndpointStatus.DELETING, EndpointStatus.FAILED):
        name = document["EndpointName"]
        return Become(Status.CANCELLED, f'Endpoint "{name}" is not there any more, or has failed or is being deleted.')
    record, endpoint_status = endpoint
    if status is Status.CREATED:
        is_due = now_s >= document["StartTime"]
        return Become(Status.STARTING) if is_due else None
    if status is Status.STOPPING and not document["Config"]:
        stop = stop_of(document)  # it never began
        return Become(Status(stop.state), stop.reason)
    if endpoint_status is not EndpointStatus.IN_SERVICE:
        return None
    if document["Asked"]:
        return _arrived(document, status, record)
    if status is Status.STARTING:
        return Begin()
    if record.config != document["Config"]:
        reason = f'Endpoint "{record.name}" was updated to the endpoint config "{record.config}" by somebody else.'
        return Become(Status.CANCELLED, reason)
    if status is Status.UPDATING:
        return Change()
    if status is Status.STOPPING:
        stop = stop_of(document)
        untouched = stop.actions.get(shadow_of(document)) == RETAIN and not stop.variants
        return Become(Status(stop.state), stop.reason) if untouched else End()
    return Become(Status.STOPPING) if now_s >= document["EndTime"] else None


def _arrived(document: Mapping[str, Any], status: Status, record: Endpoint) -> Action:
    """The update that was asked of the endpoint is over, one way or the other."""
    arrived = record.config == document["Asked"]
    reason = "" if arrived else record.failure_reason or f'The endpoint went back to "{record.config}".'
    if status is Status.STARTING:
        return Become(Status.RUNNING) if arrived else Become(Status.CANCELLED, reason)
    if status is Status.UPDATING:
        return Settle(reason)
    stop = stop_of(document)
    return Become(Status(stop.state), stop.reason) if arrived else Become(Status.CANCELLED, reason)


def due_in_s(document: Mapping[str, Any], status: Status, now_s: float) -> float | None:
    """When the clock alone brings the next step; None when something else has to happen."""
    at_s = {Status.CREATED: document["StartTime"], Status.RUNNING: document["EndTime"]}.get(status)
    return None if at_s is None else max(0.0, at_s - now_s)
