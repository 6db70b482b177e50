"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig.

A config is stored as it was given and never changes. Only CreateEndpoint and UpdateEndpoint find out whether it can be
put to work. It may be deleted while an endpoint uses it: the endpoint holds a copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.async_inference import config as asynchronous
from kedge.call import Call
from kedge.documents import Kind
from kedge.endpoints import capture, changing, explaining, serverless, trial
from kedge.endpoints.fleets import check_weight
from kedge.endpoints.records import CONFIG_KIND
from kedge.errors import ValidationFailed
from kedge.store.store import Transaction

STORED = (
    "EndpointConfigName",
    "ProductionVariants",
    "DataCaptureConfig",
    "KmsKeyId",
    "AsyncInferenceConfig",
    "ExplainerConfig",
    "ShadowProductionVariants",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
    "MetricsConfig",
    "CrossRegionTrafficConfig",
)

PREFIX_AWARE = "PREFIX_AWARE"


def checked(request: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a request, with defaults filled in. Raises ValidationFailed. PURE."""
    production, shadow = request["ProductionVariants"], request.get("ShadowProductionVariants", [])
    names: set[str] = set()
    for variant in [*production, *shadow]:
        name = variant["VariantName"]
        if name in names:
            raise ValidationFailed(f'The variant name "{name}" was non-unique within the request.')
        names.add(name)
        _check_capacity(variant)
        _check_routing(variant)
        check_weight(name, variant.get("InitialVariantWeight", 1.0))
    if shadow and (len(production), len(shadow)) != (1, 1):
        raise ValidationFailed(
            f"With shadow variants there is exactly one production and one shadow variant; {len(production)} and "
            f"{len(shadow)} are given."
        )
    if shadow:
        _check_shadowed(request)
    serverless.check_config(request)
    _check_rooms(request)
    capture.check(request.get("DataCaptureConfig"), request.get("Tags", []))
    trial.of_tags(request.get("Tags", []))
    asynchronous.check(request.get(asynchronous.MEMBER))
    explaining.check(request)
    document = {member: request[member] for member in STORED if member in request}
    for member in ("ProductionVariants", "ShadowProductionVariants"):
        if member in document:
            document[member] = [{"InitialVariantWeight": 1.0, **variant} for variant in document[member]]
    return document


def models_of(call: Call, tx: Transaction, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """As changing.models_of, of the caller's. Raises ValidationFailed also for one that cannot be served as asked."""
    models = changing.models_of(tx, call.scope, config)
    serverless.check_models(config, models)
    return models


def _check_rooms(request: Mapping[str, Any]) -> None:
    """Variants without a model, on which inference components are to run. Raises ValidationFailed."""
    variants = request["ProductionVariants"]
    rooms = [variant["VariantName"] for variant in variants if not variant.get("ModelName")]
    for variant in variants:
        if variant["VariantName"] not in rooms and _is_managed(variant):
            raise ValidationFailed("ManagedInstanceScaling is only supported for inference component endpoints.")
    if not rooms:
        return
    if len(rooms) < len(variants):
        raise ValidationFailed(
            f"Variant {rooms[0]} has no ModelName, while others have one; for inference components no variant has one."
        )
    if "ExecutionRoleArn" not in request:
        raise ValidationFailed(
            f"Variant {rooms[0]} has no ModelName, so that inference components can run on it; then the "
            "ExecutionRoleArn has to be given."
        )
    if trial.of_tags(request.get("Tags", [])):
        raise ValidationFailed("Tags ask for a trial, but the variants have no ModelName: nothing there can be tried.")
    for member in ("ShadowProductionVariants", "AsyncInferenceConfig"):
        if member in request:
            raise ValidationFailed(
                f"{member} is given, but the variants have no ModelName; inference components have none."
            )
    for variant in variants:
        if "InstanceType" not in variant:
            raise ValidationFailed(
                f"Variant {variant['VariantName']} has no ModelName; inference components need an InstanceType."
            )
        _check_managed(variant)


def _is_managed(variant: Mapping[str, Any]) -> bool:
    return bool(variant.get("ManagedInstanceScaling", {}).get("Status") == "ENABLED")


def _check_managed(variant: Mapping[str, Any]) -> None:
    given = variant.get("ManagedInstanceScaling", {})
    least, most = given.get("MinInstanceCount"), given.get("MaxInstanceCount")
    if least is not None and most is not None and least > most:
        raise ValidationFailed(
            f"ManagedInstanceScaling of variant {variant['VariantName']} has MinInstanceCount {least} and "
            f"MaxInstanceCount {most}; the first must not be above the second."
        )
    initial = variant["InitialInstanceCount"]
    if _is_managed(variant) and most is not None and initial > most:
        raise ValidationFailed(
            f"Variant {variant['VariantName']} has InitialInstanceCount {initial}, which is above MaxInstanceCount "
            f"{most} of its ManagedInstanceScaling."
        )


def _check_shadowed(request: Mapping[str, Any]) -> None:
    """What SageMaker does not shadow. Raises ValidationFailed."""
    if "AsyncInferenceConfig" in request:
        raise ValidationFailed(
            "AsyncInferenceConfig is given with ShadowProductionVariants; one of the two is allowed."
        )
    for variant in [*request["ProductionVariants"], *request["ShadowProductionVariants"]]:
        if serverless.MEMBER in variant:
            raise ValidationFailed(
                f"Variant {variant['VariantName']} gives ServerlessConfig; with shadow variants every variant has an "
                "InstanceType."
            )


def _check_routing(variant: Mapping[str, Any]) -> None:
    """Raises ValidationFailed."""
    given = variant.get("RoutingConfig", {})
    strategy, prefixes = given.get("RoutingStrategy"), given.get("PrefixAwareRoutingConfig")
    lead = f"RoutingConfig of variant {variant['VariantName']}"
    if strategy != PREFIX_AWARE and prefixes is not None:
        raise ValidationFailed(
            f"{lead} gives PrefixAwareRoutingConfig with the RoutingStrategy {strategy}; it belongs to {PREFIX_AWARE}."
        )
    if strategy == PREFIX_AWARE:
        for member in ("PrefixLength", "ConcurrencyThreshold"):
            if member not in (prefixes or {}):
                raise ValidationFailed(f"{lead} has the RoutingStrategy {PREFIX_AWARE}, which needs {member}.")


def _check_capacity(variant: Mapping[str, Any]) -> None:
    name = variant["VariantName"]
    if serverless.MEMBER in variant:
        serverless.check_variant(variant)
        return
    if "InstanceType" in variant and "InstancePools" in variant:
        raise ValidationFailed(f"Variant {name} gives InstanceType and InstancePools; one of the two is allowed.")
    if "InstanceType" not in variant and "InstancePools" not in variant:
        raise ValidationFailed(f"Variant {name} gives neither InstanceType nor ServerlessConfig; one is needed.")
    if "InitialInstanceCount" not in variant:
        raise ValidationFailed(f"Variant {name} gives InstanceType without InitialInstanceCount, which is needed.")


CONFIG = Kind(CONFIG_KIND, "endpoint configuration", "EndpointConfig", checked, models_of)
OPERATIONS = CONFIG.operations()
