"""How an endpoint looks to its readers: DescribeEndpoint, events. PURE."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from kedge import arn
from kedge.endpoints import shifting
from kedge.endpoints.capture import summary
from kedge.endpoints.records import Container, Endpoint, Fleet, Status, Variant

SOURCE = "aws.sagemaker"
STATE_CHANGE = "SageMaker Endpoint State Change"
DEPLOYMENT_CHANGE = "SageMaker Endpoint Deployment State Change"
MAX_MESSAGE_CHARS = 1024

Warn = Callable[[Container], str]
"""What an operator should know of how a container is served, as a sentence; "" when there is nothing."""

FleetVariant = tuple[int, str]
"""The fleet's number and the variant's name."""
_COMPILED = re.compile(r"compiled \((?P<engine>\S+)\)")


def silent(_: Container) -> str:
    return ""


def description(
    endpoint: Endpoint,
    status: Status,
    endpoint_arn: str,
    created_at: datetime,
    modified_at: datetime,
    warn: Warn = silent,
    tags: Mapping[FleetVariant, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """DescribeEndpoint's answer. While a new fleet comes up, ProductionVariants goes on showing the one that serves.

    tags: whether the model itself serves, as Served.tags has it.
    """
    shown: dict[str, Any] = {
        "EndpointName": endpoint.name,
        "EndpointArn": endpoint_arn,
        "EndpointConfigName": endpoint.config,
        "EndpointStatus": status.value,
        "CreationTime": created_at,
        "LastModifiedTime": modified_at,
    }
    if endpoint.live is not None:
        say = partial(_live_status, warn, endpoint, status)
        shown["ProductionVariants"] = [_variant(v, endpoint.live, say, tags) for v in endpoint.live.production]
        if endpoint.live.shadow:
            shown["ShadowProductionVariants"] = [_variant(v, endpoint.live, say, tags) for v in endpoint.live.shadows]
        shown |= endpoint.live.echo
        if endpoint.live.capture is not None:
            shown["DataCaptureConfig"] = summary(endpoint.live.capture, status)
    if endpoint.pending is not None and status in (Status.CREATING, Status.UPDATING):
        pending, say_pending = endpoint.pending, partial(_pending_status, endpoint)
        summary_of_pending: dict[str, Any] = {
            "EndpointConfigName": pending.config,
            "ProductionVariants": [_variant(v, pending, say_pending, tags) for v in pending.production],
            "StartTime": datetime.fromtimestamp(pending.created_at_s, UTC),
        }
        if pending.shadow:
            summary_of_pending["ShadowProductionVariants"] = [
                _variant(v, pending, say_pending, tags) for v in pending.shadows
            ]
        shown["PendingDeploymentSummary"] = summary_of_pending
    if endpoint.failure_reason:
        shown["FailureReason"] = endpoint.failure_reason
    if endpoint.deployment is not None:
        shown["LastDeploymentConfig"] = endpoint.deployment
    return shown


def state_change(
    endpoint: Endpoint,
    status: Status,
    endpoint_arn: str,
    created_at: datetime,
    modified_at: datetime,
    tags: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Detail of the EventBridge event. Unlike the API it spells states UPPER_SNAKE and times in epoch milliseconds."""
    shown = _without_times(description(endpoint, status, endpoint_arn, created_at, modified_at))
    return {
        **shown,
        "EndpointStatus": status.upper_snake,
        "Tags": {tag["Key"]: tag["Value"] for tag in tags},
        "CreationTime": _milliseconds(created_at),
        "LastModifiedTime": _milliseconds(modified_at),
    }


def image_tag(serves: str) -> str:
    """serves: of a TaskStatus. "" for what is being compiled, and where nothing was said."""
    if compiled := _COMPILED.fullmatch(serves):
        return f"compiled-{compiled['engine']}"
    return "original" if serves.startswith("original") else ""


def resolved_image(runtime: str, tag: str) -> str:
    """What answers for an image, as a ResolvedImage."""
    return f"kedge/{runtime}:{tag}" if tag else f"kedge/{runtime}"


def arn_of(region: str, account: str, name: str) -> str:
    return arn.sagemaker(region, account, "endpoint", name)


Said = tuple[str, str, float | None]
"""A VariantStatus: status, message, and since when, in seconds since 1970; None since the fleet was made."""


def _variant(
    variant: Variant, fleet: Fleet, say: Callable[[Variant], Said | None], tags: Mapping[FleetVariant, str]
) -> dict[str, Any]:
    since = datetime.fromtimestamp(fleet.created_at_s, UTC)
    shown: dict[str, Any] = {
        "VariantName": variant.name,
        "CurrentWeight": variant.current_weight,
        "DesiredWeight": variant.desired_weight,
        "CurrentInstanceCount": variant.current_count,
        "DesiredInstanceCount": variant.desired_count,
        **variant.echo,
    }
    for member, config in (
        ("CurrentServerlessConfig", variant.current_serverless),
        ("DesiredServerlessConfig", variant.serverless),
    ):
        if config:
            shown[member] = dict(config)
    if images := [each for each in variant.containers if each.runtime]:
        tag = tags.get((fleet.number, variant.name), "")
        shown["DeployedImages"] = [
            {
                "SpecifiedImage": each.image,
                "ResolvedImage": resolved_image(each.runtime, tag),
                "ResolutionTime": since,
            }
            for each in images
        ]
    if said := say(variant):
        word, message, at_s = said
        at = since if at_s is None else datetime.fromtimestamp(at_s, UTC)
        shown["VariantStatus"] = [{"Status": word, "StatusMessage": message, "StartTime": at}]
    return shown


def _live_status(warn: Warn, endpoint: Endpoint, status: Status, variant: Variant) -> Said | None:
    shift = endpoint.shift
    if status is Status.DELETING:
        return "Deleting", f"Terminating {variant.current_count} instance(s).", None
    if shift is not None and shift.retired and not shift.back:
        gone = variant.desired_count - variant.current_count
        return "Deleting", f"Terminating {gone} instance(s).", shift.retired[-1]
    if variant.wanted_count > variant.current_count:
        return "Updating", f"Scaling out desired instance count to {variant.wanted_count}.", None
    if warnings := [said for each in variant.containers if (said := warn(each))]:
        # AWS has no word for a variant that serves with a warning; of its five this one says that traffic reaches it.
        return "ActivatingTraffic", f"Warning: {' '.join(dict.fromkeys(warnings))}"[:MAX_MESSAGE_CHARS], None
    return None


def _pending_status(endpoint: Endpoint, variant: Variant) -> Said:
    shift = endpoint.shift
    if shift is not None and shift.back:
        return "Deleting", f"Terminating {variant.current_count} instance(s).", None
    if shift is not None and shift.trying_since_s is not None and not shift.steps:
        source = endpoint.pending.trial.get("kedge:trial", "") if endpoint.pending is not None else ""
        return "Baking", f"Trying the new fleet with requests ({source}) before any traffic.", shift.trying_since_s
    in_batches = shift is not None and len(shift.retired) == len(shift.steps) and not shift.accepted
    if shift is None or not shift.steps or (in_batches and variant.wanted_count > variant.current_count):
        return "Creating", f"Launching {variant.wanted_count - variant.current_count} instance(s).", None
    is_last = len(shift.steps) >= shifting.steps_of(endpoint)
    capacity = f"{'full' if is_last else 'canary'} capacity of {variant.current_count} instance(s)."
    if shift.baking_since_s is None:
        return "ActivatingTraffic", f"Activating traffic on {capacity}", shift.steps[-1]
    waits_last = is_last and shifting.policy_of(endpoint).kind != shifting.ROLLING
    if shift.hurried:
        return (
            "Baking",
            f"Going on without a bake, as was asked, with traffic enabled on {capacity}",
            shift.baking_since_s,
        )
    name = "TerminationWaitInSeconds" if waits_last else "WaitIntervalInSeconds"
    bake = f"Baking for {shifting.bake_s(endpoint):g} seconds ({name}) with traffic enabled on {capacity}"
    return "Baking", bake, shift.baking_since_s


def _without_times(value: Any) -> Any:
    """JSON for the event: every further time as epoch milliseconds too."""
    if isinstance(value, Mapping):
        return {key: _without_times(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_times(each) for each in value]
    return _milliseconds(value) if isinstance(value, datetime) else value


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
