"""CreateInferenceComponent and what follows it: each call writes what is wanted, and the controller brings it about.

A component is stored as an endpoint is, with the host on whose instances its copies run; the controller of endpoints
drives it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from kedge import arn, listing
from kedge.call import Call
from kedge.endpoints import deployment_config, guards, shifting
from kedge.endpoints.descriptions import resolved_image
from kedge.endpoints.fleets import Kinds
from kedge.endpoints.records import COMPONENT, KIND, Endpoint, Fleet, Host, Status, Variant
from kedge.endpoints.served import Served
from kedge.errors import ValidationFailed
from kedge.inference_components import copies, fitting, specification
from kedge.inference_components.placement import fits, size_of, taken_by
from kedge.store.store import Author, Resource, Store, Transaction
from kedge.tags.attach import attach

Answer = dict[str, Any]
Operation = Callable[[Call, Any], Answer]


def create_inference_component(kinds: Kinds, call: Call, request: Mapping[str, Any]) -> Answer:
    name, given = request["InferenceComponentName"], _specification(request)
    if given is None:
        raise ValidationFailed("Specification is missing; it says what to serve, and what each copy takes.")
    specification.check(given)
    if "RuntimeConfig" not in request:
        raise ValidationFailed("RuntimeConfig is missing; its CopyCount says how many copies there are to be.")
    with _transaction(call) as tx:
        if tx.get(call.scope, COMPONENT, name.lower()) is not None:
            raise ValidationFailed(f'Cannot create already existing inference component "{_arn(call, name)}".')
        found = tx.get(call.scope, KIND, request["EndpointName"].lower())
        host, room = _room(call, found, request["EndpointName"], request.get("VariantName"))
        count = request["RuntimeConfig"]["CopyCount"]
        fleet = _fleet(kinds, call, tx, 1, name, given, count, host, room)
        component = Endpoint(
            name=name,
            uid=uuid.uuid4().hex,
            config=fleet.config,
            pending=fleet,
            host=Host(host.name, host.uid, room.name),
        )
        tx.insert(call.scope, COMPONENT, name.lower(), component.document(), Status.CREATING)
        attach(tx, call.scope, _arn(call, name), request.get("Tags", []))
    return {"InferenceComponentArn": _arn(call, name)}


def update_inference_component(kinds: Kinds, call: Call, request: Mapping[str, Any]) -> Answer:
    """A new Specification is a deployment: new copies take over from the old ones. A CopyCount alone scales."""
    given, policy = _specification(request), request.get("DeploymentConfig")
    count = request.get("RuntimeConfig", {}).get("CopyCount")
    if given is None and count is None:
        raise ValidationFailed("Neither Specification nor RuntimeConfig is given, so there is nothing to update.")
    if given is None and policy is not None:
        raise ValidationFailed("DeploymentConfig is given without a Specification; it says how a new one is deployed.")
    with _transaction(call) as tx:
        resource, component = _changeable(call, tx, request["InferenceComponentName"])
        assert component.live is not None, "a component in service has a fleet"
        assert component.host is not None
        if given is None:
            assert count is not None
            copies.resized(tx, resource, count)
            return {"InferenceComponentArn": _arn(call, resource.name)}
        whole = specification.merged(component.live.echo["Specification"], given)
        specification.check(whole)
        found = tx.get(call.scope, KIND, component.host.endpoint.lower())
        host, room = _room(call, found, component.host.endpoint, component.host.variant)
        before = component.live.variants[0].desired_count
        count = before if count is None else count
        fleet = _fleet(kinds, call, tx, component.fleets + 1, component.name, whole, count, host, room)
        deployment_config.check(policy, component.live, fleet)
        deployment_config.check_alarms(policy, partial(guards.state_of, tx, call.scope))
        changed = replace(
            component,
            pending=fleet,
            fleets=fleet.number,
            failure_reason="",
            deployment=policy or component.deployment,
        )
        steps = _steps(policy, _most_at_once(tx, call, host, room, fleet))
        tx.update(resource, shifting.begun(changed, steps, call.now.timestamp()).document(), Status.UPDATING)
    return {"InferenceComponentArn": _arn(call, resource.name)}


def update_inference_component_runtime_config(call: Call, request: Mapping[str, Any]) -> Answer:
    with _transaction(call) as tx:
        resource, _ = _changeable(call, tx, request["InferenceComponentName"])
        copies.resized(tx, resource, request["DesiredRuntimeConfig"]["CopyCount"])
    return {"InferenceComponentArn": _arn(call, resource.name)}


def describe_inference_component(served: Served, call: Call, request: Mapping[str, Any]) -> Answer:
    resource = _found(call, call.store, request["InferenceComponentName"])
    component = Endpoint.of(resource.document)
    shown = {
        **_summary(call, resource),
        "Specification": _described(component, served),
        "RuntimeConfig": copies.runtime_config(component),
    }
    if component.failure_reason:
        shown["FailureReason"] = component.failure_reason
    if component.deployment is not None:
        shown["LastDeploymentConfig"] = component.deployment
    return shown


def list_inference_components(call: Call, request: Mapping[str, Any]) -> Answer:
    wanted = {"endpoint": request.get("EndpointNameEquals"), "variant": request.get("VariantNameEquals")}

    def is_asked_for(resource: Resource) -> bool:
        host = resource.document["host"]
        return all(value is None or host[name] == value for name, value in wanted.items())

    found, following = listing.resources(call, COMPONENT, request, fits=is_asked_for)
    return {"InferenceComponents": [_summary(call, each) for each in found], **following}


def delete_inference_component(call: Call, request: Mapping[str, Any]) -> Answer:
    """In every state, unlike SageMaker's: what is under way ends."""
    with _transaction(call) as tx:
        resource = _found(call, tx, request["InferenceComponentName"])
        if resource.status != Status.DELETING:
            tx.update(resource, resource.document, Status.DELETING)
    return {}


def _specification(request: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "Specifications" in request:
        raise ValidationFailed("Specifications is for variants of several instance types, which Kedge has not.")
    found: Mapping[str, Any] | None = request.get("Specification")
    return found


def _room(call: Call, found: Resource | None, name: str, variant: str | None) -> tuple[Endpoint, Variant]:
    """The endpoint, and its variant on which copies are to run. Raises ValidationFailed."""
    endpoint_arn = arn.sagemaker(call.scope.region, call.scope.account, KIND, name)
    if found is None:
        raise ValidationFailed(f'Could not find endpoint "{endpoint_arn}".')
    if found.status in (Status.DELETING, Status.FAILED):
        raise ValidationFailed(
            f'Endpoint "{endpoint_arn}" has status {found.status}; it can have no inference components.'
        )
    host = Endpoint.of(found.document)
    fleet = host.live or host.pending
    assert fleet is not None, "an endpoint that has not failed has a fleet"
    if variant is None and len(fleet.variants) > 1:
        names = ", ".join(each.name for each in fleet.variants)
        raise ValidationFailed(f'VariantName is missing; endpoint "{endpoint_arn}" has the variants {names}.')
    room = fleet.variants[0] if variant is None else fleet.variant(variant)
    if room is None:
        raise ValidationFailed(f'Endpoint "{endpoint_arn}" has no variant "{variant}".')
    if not room.is_room:
        raise ValidationFailed(
            f'Variant {room.name} of endpoint "{endpoint_arn}" serves model "{room.model}"; inference components run '
            "on variants whose config names no model."
        )
    return host, room


def _fleet(
    kinds: Kinds,
    call: Call,
    tx: Transaction,
    number: int,
    name: str,
    given: Mapping[str, Any],
    count: int,
    host: Endpoint,
    room: Variant,
) -> Fleet:
    model = specification.model_of(name, given)
    if model is None:
        found = tx.get(call.scope, "model", given["ModelName"].lower())
        if found is None:
            model_arn = arn.sagemaker(call.scope.region, call.scope.account, "model", given["ModelName"])
            raise ValidationFailed(f'Could not find model "{model_arn}".')
        model = found.document
    fleet = host.live or host.pending
    assert fleet is not None
    return specification.new_fleet(number, name, given, model, count, fleet, room, kinds, call.now.timestamp())


def _most_at_once(tx: Transaction, call: Call, host: Endpoint, room: Variant, fleet: Fleet) -> int:
    """How many copies of a new fleet start before old ones go: all where there is room for them, else one."""
    others = [Endpoint.of(each.document) for each in fitting.of_host(tx, call.scope, host.uid)]
    there = [taken for each in others for taken in fitting.taken(each, room.name)]
    (variant,) = fleet.variants
    more = [taken_by(variant)] * variant.desired_count
    return max(1, variant.desired_count) if fits([*there, *more], size_of(room), room.desired_count) else 1


def _steps(policy: Mapping[str, Any] | None, at_once: int) -> Mapping[str, Any]:
    """The DeploymentConfig to go by. Back it goes in no larger steps than forth, since there is room for those."""
    if policy is None:
        size = {"Type": "COPY_COUNT", "Value": at_once}
        return {
            "RollingUpdatePolicy": {
                "MaximumBatchSize": size,
                "RollbackMaximumBatchSize": size,
                "WaitIntervalInSeconds": 0,
            }
        }
    rolling = policy["RollingUpdatePolicy"]
    return {**policy, "RollingUpdatePolicy": {"RollbackMaximumBatchSize": rolling["MaximumBatchSize"], **rolling}}


def _described(component: Endpoint, served: Served) -> Answer:
    """Of what serves; before anything does, of what is to."""
    fleet = component.live or component.pending
    assert fleet is not None
    given = dict(fleet.echo["Specification"])
    if container := given.get("Container"):
        shown = {name: container[name] for name in ("ArtifactUrl", "Environment") if name in container}
        at = datetime.fromtimestamp(fleet.created_at_s, UTC)
        runtimes = [each.runtime for each in fleet.variants[0].containers if each.runtime]
        tag = served.tags(component.uid).get((fleet.number, fleet.variants[0].name), "")
        shown["DeployedImage"] = {
            "SpecifiedImage": container["Image"],
            **({"ResolvedImage": resolved_image(runtimes[0], tag), "ResolutionTime": at} if runtimes else {}),
        }
        given["Container"] = shown
    return given


def _summary(call: Call, resource: Resource) -> Answer:
    host = resource.document["host"]
    return {
        "InferenceComponentName": resource.document["name"],
        "InferenceComponentArn": _arn(call, resource.name),
        "EndpointName": host["endpoint"],
        "EndpointArn": arn.sagemaker(call.scope.region, call.scope.account, KIND, host["endpoint"]),
        "VariantName": host["variant"],
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.modified_at,
        "InferenceComponentStatus": resource.status,
    }


def _changeable(call: Call, tx: Transaction, name: str) -> tuple[Resource, Endpoint]:
    resource = _found(call, tx, name)
    if Status(resource.status).in_transition:
        raise ValidationFailed(f'Cannot update in-progress inference component "{_arn(call, name)}".')
    if resource.status == Status.FAILED:
        raise ValidationFailed(
            f'Cannot update inference component "{_arn(call, name)}" with status "Failed"; it can only be deleted.'
        )
    return resource, Endpoint.of(resource.document)


def _found(call: Call, store: Store | Transaction, name: str) -> Resource:
    resource = store.get(call.scope, COMPONENT, name.lower())
    if resource is None:
        raise ValidationFailed(f'Could not find inference component "{_arn(call, name)}".')
    return resource


def _transaction(call: Call) -> AbstractContextManager[Transaction]:
    return call.store.transaction(Author(call.caller.arn, call.request_id, call.now))


def _arn(call: Call, name: str) -> str:
    return copies.arn_of(call.scope, name)


def operations(kinds: Kinds, served: Served) -> Mapping[str, Operation]:
    return {
        "sagemaker.CreateInferenceComponent": partial(create_inference_component, kinds),
        "sagemaker.UpdateInferenceComponent": partial(update_inference_component, kinds),
        "sagemaker.UpdateInferenceComponentRuntimeConfig": update_inference_component_runtime_config,
        "sagemaker.DescribeInferenceComponent": partial(describe_inference_component, served),
        "sagemaker.ListInferenceComponents": list_inference_components,
        "sagemaker.DeleteInferenceComponent": delete_inference_component,
    }
