"""What is stored of an inference experiment, and how it looks to its readers. PURE.

The document holds the request's members under their wire names, times as seconds since 1970, and beside them what the
experiment remembers: which endpoint it is, which endpoint configs it made, and what is being done to the endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from kedge.endpoints.records import Endpoint, Fleet, shortened
from kedge.endpoints.records import Status as EndpointStatus

KIND = "inference-experiment"
DEFAULT_DAYS = 7
GIVEN = (
    "Name", "Type", "Description", "RoleArn", "EndpointName", "ModelVariants", "DataStorageConfig", "ShadowModeConfig",
)  # fmt: skip
CHANGEABLE = ("Description", "ModelVariants", "DataStorageConfig", "ShadowModeConfig")
"""By UpdateInferenceExperiment, besides the schedule."""
RETAIN, REMOVE, PROMOTE = "Retain", "Remove", "Promote"

Document = dict[str, Any]


class Status(StrEnum):
    """Source: botocore's InferenceExperimentStatus."""

    CREATING = "Creating"
    CREATED = "Created"
    UPDATING = "Updating"
    STARTING = "Starting"
    STOPPING = "Stopping"
    RUNNING = "Running"
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"

    @property
    def is_over(self) -> bool:
        return self in (Status.COMPLETED, Status.CANCELLED)


@dataclass(frozen=True)
class Stop:
    """How an experiment is to end."""

    actions: Mapping[str, str]
    """Of each of its variants: RETAIN, REMOVE or PROMOTE."""
    variants: tuple[Mapping[str, Any], ...] = ()
    """ModelVariantConfigs of the variants that stay, where they are to change."""
    state: str = Status.COMPLETED.value
    reason: str = ""


def source_of(document: Mapping[str, Any]) -> str:
    """Name of the variant that answers."""
    name: str = document["ShadowModeConfig"]["SourceModelVariantName"]
    return name


def shadow_of(document: Mapping[str, Any]) -> str:
    name: str = document["ShadowModeConfig"]["ShadowModelVariants"][0]["ShadowModelVariantName"]
    return name


def percent_of(document: Mapping[str, Any]) -> int:
    """Of the requests, that are copied."""
    percent: int = document["ShadowModeConfig"]["ShadowModelVariants"][0]["SamplingPercentage"]
    return percent


def model_variant(document: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    return next((each for each in document["ModelVariants"] if each["VariantName"] == name), None)


def hardware_of(variant: Mapping[str, Any]) -> Mapping[str, Any]:
    """InstanceType and InstanceCount of a ModelVariantConfig."""
    found: Mapping[str, Any] = variant["InfrastructureConfig"]["RealTimeInferenceConfig"]
    return found


def stop_of(document: Mapping[str, Any]) -> Stop:
    """As it was asked for; what a scheduled end does where nobody did: the shadow goes, production stays."""
    given = document.get("Stop")
    if given is None:
        return Stop({source_of(document): RETAIN, shadow_of(document): REMOVE})
    return Stop(given["actions"], tuple(given["variants"]), given["state"], given["reason"])


def staying(document: Mapping[str, Any], stop: Stop) -> tuple[str, ...]:
    """Names of the variants that the endpoint has afterwards."""
    source, shadow = source_of(document), shadow_of(document)
    action = stop.actions.get(shadow, REMOVE)
    return (shadow,) if action == PROMOTE else (source,) if action == REMOVE else (source, shadow)


def with_reason(document: Mapping[str, Any], reason: str) -> Document:
    kept = {name: value for name, value in document.items() if name != "StatusReason"}
    return {**kept, "StatusReason": shortened(reason)} if reason else kept


def schedule(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _moment(document[name]) for name in ("StartTime", "EndTime") if name in document}


def summary(document: Mapping[str, Any], status: str, created_at: datetime, modified_at: datetime) -> dict[str, Any]:
    """An InferenceExperimentSummary."""
    shown = {
        name: document[name] for name in ("Name", "Type", "Description", "RoleArn", "StatusReason") if name in document
    }
    shown |= {"Schedule": schedule(document), "Status": status}
    shown |= {"CreationTime": created_at, "LastModifiedTime": modified_at}
    if "CompletionTime" in document:
        shown["CompletionTime"] = _moment(document["CompletionTime"])
    return shown


def description(
    document: Mapping[str, Any],
    status: Status,
    created_at: datetime,
    modified_at: datetime,
    endpoint: tuple[Endpoint, EndpointStatus] | None,
) -> dict[str, Any]:
    """DescribeInferenceExperiment's answer but for its ARN. endpoint: None when it is not there (any more)."""
    shown = summary(document, status.value, created_at, modified_at)
    metadata: dict[str, Any] = {"EndpointName": document["EndpointName"]}
    if endpoint is not None:
        metadata |= {"EndpointConfigName": endpoint[0].config, "EndpointStatus": endpoint[1].value}
        if endpoint[0].failure_reason:
            metadata["FailureReason"] = endpoint[0].failure_reason
    shown["EndpointMetadata"] = metadata
    shown["ModelVariants"] = [
        {**each, "Status": _variant_status(each["VariantName"], status, endpoint)} for each in document["ModelVariants"]
    ]
    shown["ShadowModeConfig"] = document["ShadowModeConfig"]
    if "DataStorageConfig" in document:
        shown["DataStorageConfig"] = document["DataStorageConfig"]
    return shown


def _variant_status(name: str, status: Status, endpoint: tuple[Endpoint, EndpointStatus] | None) -> str:
    live, pending = (endpoint[0].live, endpoint[0].pending) if endpoint is not None else (None, None)
    is_live = _has(live, name)
    if pending is not None and status is not Status.STOPPING and _has(pending, name):
        return "Updating" if is_live else "Creating"
    if status is Status.STOPPING and is_live and pending is not None and not _has(pending, name):
        return "Deleting"
    if is_live:
        return "InService"
    return "Deleted" if status.is_over else "Creating"


def _has(fleet: Fleet | None, name: str) -> bool:
    return fleet is not None and fleet.variant(name) is not None


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
