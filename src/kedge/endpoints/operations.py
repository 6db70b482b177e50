"""CreateEndpoint and what follows it: each call writes what is wanted, and the controller brings it about."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.compute.base import Capacity
from kedge.endpoints import changing, configs, deployment_config, ending, guards, past, scaling, serverless, shifting
from kedge.endpoints.descriptions import Warn, arn_of, description, silent
from kedge.endpoints.events import announce, announce_deployment
from kedge.endpoints.fleets import Kinds, coming, retained
from kedge.endpoints.records import KIND, Endpoint, Fleet, Status
from kedge.endpoints.served import Served
from kedge.endpoints.waiter import is_waiter
from kedge.errors import ValidationFailed
from kedge.inference_components import fitting
from kedge.store.store import Author, Resource, Transaction
from kedge.tags.attach import attach

HOLD_S = 5.0
"""How long a waiter's DescribeEndpoint may be held. botocore reads for 60 s; its waiter sleeps for 30 s between."""

Answer = dict[str, Any]
Operation = Callable[[Call, Any], Answer | Awaitable[Answer]]


@dataclass(frozen=True)
class Machine:
    """What fleets are built from, and how much of it there is."""

    kinds: Kinds
    capacity: Callable[[], Capacity]
    warn: Warn = silent
    """For DescribeEndpoint."""
    served: Served = field(default_factory=Served)
    """As `warn`."""


def create_endpoint(machine: Machine, call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["EndpointName"]
    endpoint_arn = _arn(call, name)
    with _transaction(call) as tx:
        if tx.get(call.scope, KIND, name.lower()) is not None:
            raise ValidationFailed(f'Cannot create already existing endpoint "{endpoint_arn}".')
        fleet = _fleet(machine, call, tx, 1, request["EndpointConfigName"])
        deployment_config.check(request.get("DeploymentConfig"), None, fleet)
        endpoint = Endpoint(
            name=name,
            uid=uuid.uuid4().hex,
            config=fleet.config,
            pending=fleet,
            deployment=request.get("DeploymentConfig"),
        )
        scaling.check_room(tx, fleet, coming(endpoint), machine.capacity)
        made = tx.insert(call.scope, KIND, name.lower(), endpoint.document(), Status.CREATING)
        attach(tx, call.scope, endpoint_arn, request.get("Tags", []))
        announce(tx, made)
    return {"EndpointArn": endpoint_arn}


def update_endpoint(machine: Machine, call: Call, request: Mapping[str, Any]) -> Answer:
    with _transaction(call) as tx:
        resource, endpoint = _changeable(call, tx, request["EndpointName"], also=Status.UPDATE_ROLLBACK_FAILED)
        assert endpoint.live is not None, "an endpoint in service has a fleet"
        policy = request.get("DeploymentConfig")
        if request.get("RetainDeploymentConfig"):
            policy = endpoint.deployment if policy is None else policy
        fleet = _fleet(machine, call, tx, endpoint.fleets + 1, request["EndpointConfigName"])
        serverless.check_update(endpoint.live, fleet)
        if request.get("RetainAllVariantProperties"):
            excluded = request.get("ExcludeRetainedVariantProperties", [])
            fleet = retained(fleet, endpoint.live, {each["VariantPropertyType"] for each in excluded})
        if fleet.trial and fleet.config == past.served_before(
            past.lines(call.store, call.scope, resource.name), endpoint
        ):
            fleet = replace(fleet, trial={})  # the way back may not depend on what the present fleet answers
        if policy and any(variant.is_room for variant in fleet.variants):
            raise ValidationFailed(
                "DeploymentConfig is given for variants without a model: no traffic moves between their instances. "
                "UpdateInferenceComponent takes one for each component."
            )
        deployment_config.check(policy, endpoint.live, fleet)
        deployment_config.check_alarms(policy, partial(guards.state_of, tx, call.scope))
        scaling.check_scaled_in(tx, resource, fleet)
        if misfit := fitting.misfit(tx, resource, fleet):
            raise ValidationFailed(misfit)
        changed = replace(
            endpoint, pending=fleet, fleets=fleet.number, failure_reason="", deployment=policy or endpoint.deployment
        )
        if policy or fleet.trial:
            changed = shifting.begun(changed, policy or {}, call.now.timestamp())
        scaling.check_room(tx, fleet, coming(changed), machine.capacity)
        updated = tx.update(resource, changed.document(), Status.UPDATING)
        announce(tx, updated)
        if policy:
            announce_deployment(tx, updated)
    return {"EndpointArn": _arn(call, resource.name)}


def update_weights_and_capacities(machine: Machine, call: Call, request: Mapping[str, Any]) -> Answer:
    with _transaction(call) as tx:
        resource, endpoint = _changeable(call, tx, request["EndpointName"])
        wanted = _wanted(endpoint, request["DesiredWeightsAndCapacities"])
        if misfit := fitting.misfit(tx, resource, scaling.resized(endpoint, wanted)):
            raise ValidationFailed(misfit)
        scaling.resize(tx, resource, wanted, machine.capacity)
    return {"EndpointArn": _arn(call, resource.name)}


async def describe_endpoint(machine: Machine, call: Call, request: Mapping[str, Any]) -> Answer:
    """A waiter that finds the endpoint in transition is answered when that ends, or after HOLD_S."""
    clock = asyncio.get_running_loop().time
    end = clock() + HOLD_S
    held = is_waiter(call.user_agent)
    while True:
        seen = call.changed.count
        resource = await asyncio.to_thread(call.store.get, call.scope, KIND, request["EndpointName"].lower())
        if resource is None:
            raise _missing(call, request["EndpointName"])
        left_s = end - clock()
        if not held or not Status(resource.status).in_transition or left_s <= 0:
            return _description(machine, resource)
        await call.changed.changed_since(seen, left_s)


def list_endpoints(call: Call, request: Mapping[str, Any]) -> Answer:
    endpoints, following = listing.resources(call, KIND, request)
    return {"Endpoints": [_summary(call, endpoint) for endpoint in endpoints], **following}


def delete_endpoint(call: Call, request: Mapping[str, Any]) -> Answer:
    """In every state, unlike SageMaker's: what is under way ends. Its inference components have to go first."""
    with _transaction(call) as tx:
        resource = _found(call, tx, request["EndpointName"])
        components = fitting.of_host(tx, resource.scope, resource.document["uid"])
        if left := [each.document["name"] for each in components if each.status != Status.DELETING]:
            raise ValidationFailed(
                f'Cannot delete endpoint "{_arn(call, resource.name)}": it has the inference components '
                f"{', '.join(left)}, which have to be deleted first."
            )
        ending.end(tx, resource)
    return {}


def _fleet(machine: Machine, call: Call, tx: Transaction, number: int, config_name: str) -> Fleet:
    return changing.fleet_of(tx, call.scope, number, config_name, machine.kinds, call.now.timestamp())


def _wanted(endpoint: Endpoint, given: list[Mapping[str, Any]]) -> dict[str, scaling.Size]:
    """What W&C asks for, by variant. Raises ValidationFailed."""
    assert endpoint.live is not None
    wanted: dict[str, scaling.Size] = {}
    for each in given:
        name = each["VariantName"]
        if name in wanted:
            raise ValidationFailed(f'The variant name "{name}" was non-unique within the request.')
        change = each.get("ServerlessUpdateConfig", {})
        wanted[name] = scaling.Size(each.get("DesiredInstanceCount"), each.get("DesiredWeight"), change)
        variant = endpoint.live.variant(name)
        if change and variant is not None and not variant.serverless:
            raise ValidationFailed(f'The variant "{name}" is not serverless; ServerlessUpdateConfig cannot be used.')
        if "DesiredInstanceCount" in each and variant is not None and variant.serverless:
            raise ValidationFailed(f'The variant "{name}" is serverless; DesiredInstanceCount cannot be used.')
    unknown = [name for name in wanted if endpoint.live.variant(name) is None]
    if unknown:
        names = ", ".join(unknown)
        raise ValidationFailed(
            f'The variant name(s) "{names}" is/are not present within endpoint configuration "{endpoint.config}".'
        )
    return wanted


def _transaction(call: Call) -> AbstractContextManager[Transaction]:
    return call.store.transaction(Author(call.caller.arn, call.request_id, call.now))


def _found(call: Call, tx: Transaction, name: str) -> Resource:
    resource = tx.get(call.scope, KIND, name.lower())
    if resource is None:
        raise _missing(call, name)
    return resource


def _changeable(call: Call, tx: Transaction, name: str, also: Status | None = None) -> tuple[Resource, Endpoint]:
    """also: a state besides InService in which the change is allowed."""
    resource = _found(call, tx, name)
    status = Status(resource.status)
    if status.in_transition:
        raise _in_progress(call, resource)
    if status is Status.UPDATE_ROLLBACK_FAILED and also is not status:
        raise ValidationFailed(
            f'Cannot update endpoint "{_arn(call, resource.name)}" with status "{status}"; UpdateEndpoint repairs it.'
        )
    if status is Status.FAILED:
        raise ValidationFailed(
            f'Cannot update endpoint "{_arn(call, resource.name)}" with status "Failed"; it can only be deleted.'
        )
    return resource, Endpoint.of(resource.document)


def _description(machine: Machine, resource: Resource) -> Answer:
    return description(
        Endpoint.of(resource.document),
        Status(resource.status),
        arn_of(resource.scope.region, resource.scope.account, resource.name),
        resource.created_at,
        resource.modified_at,
        machine.warn,
        machine.served.tags(resource.document["uid"]),
    )


def _summary(call: Call, resource: Resource) -> Answer:
    return {
        "EndpointName": resource.document["name"],
        "EndpointArn": _arn(call, resource.name),
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.modified_at,
        "EndpointStatus": resource.status,
    }


def _arn(call: Call, name: str) -> str:
    return arn_of(call.scope.region, call.scope.account, name)


def _missing(call: Call, name: str) -> ValidationFailed:
    return ValidationFailed(f'Could not find endpoint "{_arn(call, name)}".')


def _in_progress(call: Call, resource: Resource) -> ValidationFailed:
    return ValidationFailed(f'Cannot update in-progress endpoint "{_arn(call, resource.name)}".')


def operations(machine: Machine) -> Mapping[str, Operation]:
    return {
        **configs.OPERATIONS,
        "sagemaker.CreateEndpoint": partial(create_endpoint, machine),
        "sagemaker.UpdateEndpoint": partial(update_endpoint, machine),
        "sagemaker.UpdateEndpointWeightsAndCapacities": partial(update_weights_and_capacities, machine),
        "sagemaker.DescribeEndpoint": partial(describe_endpoint, machine),
        "sagemaker.ListEndpoints": list_endpoints,
        "sagemaker.DeleteEndpoint": delete_endpoint,
    }
