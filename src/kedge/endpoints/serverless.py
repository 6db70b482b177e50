"""Serverless variants: what a ServerlessConfig asks for, and what of SageMaker it excludes. PURE.

A variant with a ServerlessConfig has as many instances as its concurrent invocations need, none when it is idle, and
at the least its ProvisionedConcurrency. An instance has the config's memory, and cores in proportion to it. Source:
"Deploy models with Amazon SageMaker Serverless Inference"; a core for 1,769 MB is what AWS Lambda gives, on which it
is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kedge.endpoints.records import Endpoint, Fleet, Status, Variant
from kedge.errors import ResourceLimitExceeded, ValidationFailed
from kedge.models.records import servable

MEMBER = "ServerlessConfig"
MEMORY, MOST, PROVISIONED = "MemorySizeInMB", "MaxConcurrency", "ProvisionedConcurrency"
TYPE = "serverless"
"""In the place of an InstanceType."""
BODY_LIMIT_BYTES = 4 * 1024 * 1024
_MB_PER_CORE = 1769
_MIB = 1024**2
_EXCLUDED = ("InstanceType", "InitialInstanceCount", "InstancePools", "ManagedInstanceScaling")

Config = Mapping[str, int]
"""A ServerlessConfig."""


def check_variant(variant: Mapping[str, Any]) -> None:
    """variant: a ProductionVariant with a ServerlessConfig. Raises ValidationFailed."""
    name, given = variant["VariantName"], variant[MEMBER]
    for member in _EXCLUDED:
        if member in variant:
            raise ValidationFailed(f"Variant {name} gives {MEMBER} and {member}; one of the two is allowed.")
    if given[MEMORY] % 1024:
        raise ValidationFailed(f"Variant {name} asks for {MEMORY} {given[MEMORY]}; it is a multiple of 1024.")
    check_concurrency(name, given)


def check_concurrency(variant: str, given: Config) -> None:
    """Raises ValidationFailed."""
    if given.get(PROVISIONED, 0) > given[MOST]:
        raise ValidationFailed(
            f"Variant {variant} asks for {PROVISIONED} {given[PROVISIONED]}; it is at most {MOST}, which is "
            f"{given[MOST]}."
        )


def check_config(request: Mapping[str, Any]) -> None:
    """request: of CreateEndpointConfig. Raises ValidationFailed for what SageMaker does not do without servers."""
    production = request["ProductionVariants"]
    serverless = [each["VariantName"] for each in production if MEMBER in each]
    if not serverless:
        return
    lead = f"Variant {serverless[0]} gives {MEMBER}"
    if len(production) > 1:
        raise ValidationFailed(
            f"{lead}; a serverless endpoint has exactly one production variant, and {len(production)} are given."
        )
    if "AsyncInferenceConfig" in request:
        raise ValidationFailed(f"{lead}; AsyncInferenceConfig is not supported for serverless endpoints.")
    capture = request.get("DataCaptureConfig")
    if capture is not None and capture.get("EnableCapture", True):
        raise ValidationFailed(f"{lead}; data capture (DataCaptureConfig) is not supported for serverless endpoints.")
    for member in ("VpcConfig", "EnableNetworkIsolation"):
        if request.get(member):
            raise ValidationFailed(f"{lead}; {member} is not supported for serverless endpoints.")


def check_models(config: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
    """config, models: stored documents; models by name. Raises ValidationFailed, as check_config."""
    for variant in config["ProductionVariants"]:
        name = variant.get("ModelName", "")
        if MEMBER in variant and name and (problem := _excluded(models[name])):
            raise ValidationFailed(
                f'Model "{name}" of variant {variant["VariantName"]} {problem}, which is not supported for serverless '
                "endpoints."
            )


def _excluded(model: Mapping[str, Any]) -> str:
    served = servable(model)
    if len(served.containers) > 1:
        return "has several containers"
    if any(each.models for each in served.containers):
        return "loads models by name (Mode MultiModel)"
    if served.network_isolation:
        return "has EnableNetworkIsolation"
    return "has a VpcConfig" if model.get("VpcConfig") else ""


def check_update(before: Fleet, after: Fleet) -> None:
    """Raises ValidationFailed: instances do not become serverless; the other way is allowed."""
    if any(each.serverless for each in after.production) and not any(each.serverless for each in before.production):
        raise ValidationFailed(
            f"An endpoint with instances cannot be converted to a serverless endpoint, as endpoint configuration "
            f'"{after.config}" asks for; create another endpoint with it.'
        )


@dataclass(frozen=True)
class Share:
    """What an instance has of the machine."""

    cores: float
    memory_bytes: int
    gpus: int = 0

    @classmethod
    def of(cls, config: Config) -> Share:
        return cls(round(config[MEMORY] / _MB_PER_CORE, 2), config[MEMORY] * _MIB)


def provisioned(variant: Variant) -> int:
    """Instances that it always has."""
    return variant.serverless.get(PROVISIONED, 0)


def at_first(config: Config) -> int:
    """Instances of a new fleet: one at least, so that a model that cannot be loaded is found out."""
    return max(1, config.get(PROVISIONED, 0))


def updated(variant: Variant, change: Config) -> Variant:
    """With the members of a ServerlessUpdateConfig. Raises ValidationFailed, ResourceLimitExceeded."""
    config = {**variant.serverless, **change}
    if PROVISIONED in change and MOST not in change and config[PROVISIONED] > config[MOST]:
        # What asks for this alone may be a policy, whose activity then says so.
        raise ResourceLimitExceeded(
            f"{PROVISIONED} {config[PROVISIONED]} was asked for of variant {variant.name}; it is at most {MOST}, which "
            f"is {config[MOST]}."
        )
    check_concurrency(variant.name, config)
    return replace(variant, serverless=config, desired_count=max(variant.desired_count, config.get(PROVISIONED, 0)))


def may_follow(endpoint: Endpoint, status: Status) -> bool:
    """Whether its instances may come with its load now.

    An update keeps none from waking until it moves traffic by the instances that each side has.
    """
    if status is Status.UPDATING:
        shift = endpoint.shift
        return endpoint.pending is not None and (shift is None or not shift.steps)
    return status is Status.IN_SERVICE


def may_sleep(status: Status) -> bool:
    """Whether they may go: while there is an update they are what it goes back to."""
    return status is Status.IN_SERVICE
