"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig.

A config is stored as it was given and never changes. Only CreateEndpoint and UpdateEndpoint find out whether it can be
put to work. It may be deleted while an endpoint uses it: the endpoint holds a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kedge import arn, listing
from kedge.call import Call
from kedge.endpoints.records import CONFIG_KIND
from kedge.errors import ValidationFailed
from kedge.store.store import AlreadyExists, Author, Resource, Transaction
from kedge.tags.attach import attach, detach

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


def create_endpoint_config(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    document = checked(request)
    name = request["EndpointConfigName"]
    config_arn = config_arn_of(call, name)
    try:
        with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
            tx.insert(call.scope, CONFIG_KIND, name.lower(), document)
            models_of(call, tx, document)
            attach(tx, call.scope, config_arn, request.get("Tags", []))
    except AlreadyExists:
        raise ValidationFailed(f'Cannot create already existing endpoint configuration "{config_arn}".') from None
    return {"EndpointConfigArn": config_arn}


def describe_endpoint_config(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    config = call.store.get(call.scope, CONFIG_KIND, request["EndpointConfigName"].lower())
    if config is None:
        raise missing_config(call, request["EndpointConfigName"])
    return {
        **config.document,
        "EndpointConfigArn": config_arn_of(call, config.name),
        "CreationTime": config.created_at,
    }


def list_endpoint_configs(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    configs, following = listing.resources(call, CONFIG_KIND, request)
    return {"EndpointConfigs": [_summary(call, config) for config in configs], **following}


def delete_endpoint_config(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    name = request["EndpointConfigName"]
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        config = tx.get(call.scope, CONFIG_KIND, name.lower())
        if config is None:
            raise missing_config(call, name)
        tx.delete(config)
        detach(tx, call.scope, config_arn_of(call, name))
    return {}


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
    if shadow and (len(production), len(shadow)) != (1, 1):
        raise ValidationFailed(
            f"With shadow variants there is exactly one production and one shadow variant; {len(production)} and "
            f"{len(shadow)} are given."
        )
    document = {member: request[member] for member in STORED if member in request}
    for member in ("ProductionVariants", "ShadowProductionVariants"):
        if member in document:
            document[member] = [{"InitialVariantWeight": 1.0, **variant} for variant in document[member]]
    return document


def models_of(call: Call, tx: Transaction, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The documents of all models that a config names, by the name it uses. Raises ValidationFailed."""
    found = {}
    for variant in [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]:
        if name := variant.get("ModelName"):
            model = tx.get(call.scope, "model", name.lower())
            if model is None:
                model_arn = arn.sagemaker(call.scope.region, call.scope.account, "model", name)
                raise ValidationFailed(f'Could not find model "{model_arn}".')
            found[name] = model.document
    return found


def config_arn_of(call: Call, name: str) -> str:
    return arn.sagemaker(call.scope.region, call.scope.account, CONFIG_KIND, name)


def missing_config(call: Call, name: str) -> ValidationFailed:
    return ValidationFailed(f'Could not find endpoint configuration "{config_arn_of(call, name)}".')


def _check_capacity(variant: Mapping[str, Any]) -> None:
    name = variant["VariantName"]
    serverless = variant.get("ServerlessConfig")
    if serverless:
        for member in ("InstanceType", "InitialInstanceCount", "InstancePools"):
            if member in variant:
                raise ValidationFailed(
                    f"Variant {name} gives ServerlessConfig and {member}; one of the two is allowed."
                )
        memory, most = serverless["MemorySizeInMB"], serverless["MaxConcurrency"]
        if memory % 1024:
            raise ValidationFailed(f"Variant {name} asks for MemorySizeInMB {memory}; it is a multiple of 1024.")
        if serverless.get("ProvisionedConcurrency", 0) > most:
            raise ValidationFailed(
                f"Variant {name} asks for ProvisionedConcurrency {serverless['ProvisionedConcurrency']}; it is at most "
                f"MaxConcurrency, which is {most}."
            )
        return
    if "InstanceType" in variant and "InstancePools" in variant:
        raise ValidationFailed(f"Variant {name} gives InstanceType and InstancePools; one of the two is allowed.")
    if "InstanceType" not in variant and "InstancePools" not in variant:
        raise ValidationFailed(f"Variant {name} gives neither InstanceType nor ServerlessConfig; one is needed.")
    if "InitialInstanceCount" not in variant:
        raise ValidationFailed(f"Variant {name} gives InstanceType without InitialInstanceCount, which is needed.")


def _summary(call: Call, config: Resource) -> dict[str, Any]:
    name = config.document["EndpointConfigName"]
    return {
        "EndpointConfigName": name,
        "EndpointConfigArn": config_arn_of(call, name),
        "CreationTime": config.created_at,
    }


OPERATIONS: Mapping[str, Callable[[Call, Any], dict[str, Any]]] = {
    "sagemaker.CreateEndpointConfig": create_endpoint_config,
    "sagemaker.DescribeEndpointConfig": describe_endpoint_config,
    "sagemaker.ListEndpointConfigs": list_endpoint_configs,
    "sagemaker.DeleteEndpointConfig": delete_endpoint_config,
}
