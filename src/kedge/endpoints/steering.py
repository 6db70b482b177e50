"""Kedge's own way into a deployment, of an endpoint or of an inference component: look at it, hurry it, call it back.

AWS has no such calls.

A call writes what is asked into the endpoint's record, as every operation does; the plan follows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from kedge import arn
from kedge.call import Call
from kedge.endpoints import guards, past, shifting
from kedge.endpoints.descriptions import description
from kedge.endpoints.events import announce_deployment
from kedge.endpoints.mixing import mixed
from kedge.endpoints.records import COMPONENT, KIND, Endpoint, Fleet, Status
from kedge.errors import ValidationFailed
from kedge.store.store import Author, Resource, Store, Transaction

PATH = "/kedge/deployment"
PROMOTE, ROLL_BACK = "Promote", "RollBack"

Answer = dict[str, Any]
_MEMBERS = {KIND: "EndpointName", COMPONENT: "InferenceComponentName"}
"""What names a thing of each kind."""
_ACTIONS = {KIND: "Endpoint", COMPONENT: "InferenceComponent"}
_TITLES = {KIND: "endpoint", COMPONENT: "inference component"}
_GONE: Mapping[str, Any] = {
    "EndpointStatus": "Deleted",
    "EndpointConfigName": "",
    "FailureReason": "",
    "Fleets": [],
    "Alarms": [],
    "TrafficSince": 0.0,
    "PreviousEndpointConfigName": "",
}


@dataclass(frozen=True)
class _Named:
    """What is looked at or steered."""

    kind: str
    name: str

    def arn(self, call: Call) -> str:
        return arn.sagemaker(call.scope.region, call.scope.account, self.kind, self.name)

    def require(self, call: Call, verb: str) -> None:
        """Raises AccessDenied."""
        call.require(call, f"sagemaker:{verb}{_ACTIONS[self.kind]}", self.arn(call), {})

    def found(self, store: Store | Transaction, call: Call) -> Resource:
        """Raises ValidationFailed."""
        resource = store.get(call.scope, self.kind, self.name.lower())
        if resource is None:
            raise ValidationFailed(f'Could not find {_TITLES[self.kind]} "{self.arn(call)}".')
        return resource


def steer(call: Call, body: bytes) -> Answer:
    """body: JSON, {"EndpointName": ..., "Action": "Promote" or "RollBack"}. Needs sagemaker:UpdateEndpoint.

    Or InferenceComponentName, and sagemaker:UpdateInferenceComponent. Raises ValidationFailed for what is not asked so,
    and where no deployment is under way for which it makes sense.
    """
    named, action = _asked(body)
    named.require(call, "Update")
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        resource = named.found(tx, call)
        endpoint = Endpoint.of(resource.document)
        _check(endpoint, resource, action)
        if action == PROMOTE:
            changed = shifting.hurried(endpoint)
        else:
            reason = f"{call.caller.arn} asked to take the deployment back."
            changed = shifting.recalled(endpoint, reason, call.now.timestamp())
        if changed != endpoint:
            updated = tx.update(resource, changed.document())
            if named.kind == KIND:  # AWS has no events of inference components
                announce_deployment(tx, updated)
    return {f"{_ACTIONS[named.kind]}Arn": named.arn(call)}


def picture(call: Call, asked: Mapping[str, str], ready: frozenset[str]) -> Answer:
    """How the endpoint's fleets, alarms and deployments are now; of a deleted one, what is known of its deployments.

    asked: EndpointName, and sagemaker:DescribeEndpoint is needed; or InferenceComponentName, of which nothing is kept
    once a deployment is over.

    ready: ids of the instances that could answer. Times are seconds since 1970; TrafficSince is when the traffic began
    to be divided as it is. Raises ValidationFailed.
    """
    named = _named(asked)
    named.require(call, "Describe")
    lines = past.lines(call.store, call.scope, named.name.lower()) if named.kind == KIND else []
    if lines and call.store.get(call.scope, KIND, named.name.lower()) is None:
        return {**_GONE, "EndpointName": named.name, "Deployments": lines}
    resource = named.found(call.store, call)
    endpoint = Endpoint.of(resource.document)
    shown: Answer = {
        _MEMBERS[named.kind]: endpoint.name,
        f"{_ACTIONS[named.kind]}Status": resource.status,
        "EndpointConfigName": endpoint.config,
        "FailureReason": endpoint.failure_reason,
        "Fleets": _fleets(endpoint, resource, ready),
        "Alarms": [],
        "TrafficSince": endpoint.divided_at_s or resource.modified_at.timestamp(),
        "Deployments": lines,
        "PreviousEndpointConfigName": past.served_before(lines, endpoint),
    }
    if endpoint.pending is not None and resource.status in (Status.CREATING, Status.UPDATING):
        shown["Deployment"] = past.line(endpoint, endpoint.pending)
        if endpoint.shift is not None:
            shown["Deployment"]["StepsInAll"] = shifting.steps_of(endpoint)
            shown["Alarms"] = [
                {"AlarmName": alarm, "StateValue": guards.state_of(call.store, call.scope, alarm) or "DELETED"}
                for alarm in shifting.policy_of(endpoint).alarms
            ]
            if endpoint.shift.baking_since_s is not None:
                shown["Deployment"]["BakeEndTime"] = endpoint.shift.baking_since_s + shifting.bake_s(endpoint)
    return shown


def _asked(body: bytes) -> tuple[_Named, str]:
    try:
        given = json.loads(body)
        action = given["Action"]
        named = _named(given)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValidationFailed('The body has to be {"EndpointName": NAME, "Action": ACTION}.') from None
    if action not in (PROMOTE, ROLL_BACK):
        raise ValidationFailed(f'Action is {json.dumps(action)}; it has to be "{PROMOTE}" or "{ROLL_BACK}".')
    return named, action


def _named(given: Mapping[str, Any]) -> _Named:
    """Raises ValidationFailed."""
    found = [(kind, given[member]) for kind, member in _MEMBERS.items() if given.get(member)]
    if len(found) != 1:
        raise ValidationFailed(f"Exactly one of {' and '.join(_MEMBERS.values())} has to be given.")
    (kind, name) = found[0]
    if not isinstance(name, str):
        raise ValidationFailed(f"{_MEMBERS[kind]} is {json.dumps(name)}; it has to be a text.")
    return _Named(kind, name)


def _check(endpoint: Endpoint, resource: Resource, action: str) -> None:
    shift, name = endpoint.shift, endpoint.name
    if resource.status != Status.UPDATING or endpoint.pending is None:
        raise ValidationFailed(f'No deployment of "{name}" is under way; its status is {resource.status}.')
    if shift is not None and shift.accepted:
        raise ValidationFailed(f'The deployment of "{name}" is accepted already: its old fleet is being stopped.')
    if shift is not None and (shift.back or shift.recalled):
        raise ValidationFailed(f'The deployment of "{name}" is going back already: {shift.back or shift.recalled}')
    if action == PROMOTE and shift is None:
        raise ValidationFailed(f'The update of "{name}" was given no DeploymentConfig: nothing of it bakes.')


def _fleets(endpoint: Endpoint, resource: Resource, ready: frozenset[str]) -> list[Answer]:
    """The old ones first."""
    shares = _shares(endpoint)
    said = _said(endpoint, resource)
    return [
        {
            "EndpointConfigName": fleet.config,
            "IsPending": fleet is endpoint.pending,
            "Variants": [
                {
                    "VariantName": variant.name,
                    "ModelName": variant.model,
                    "ReadyInstanceCount": _ready(endpoint, fleet, variant.name, ready),
                    "WantedInstanceCount": variant.wanted_count,
                    "DesiredInstanceCount": variant.desired_count,
                    "Share": float(shares.get((fleet.number, variant.name), 0)),
                    "Status": said.get((fleet is endpoint.pending, variant.name), ""),
                }
                for variant in fleet.variants
            ],
        }
        for fleet in endpoint.present
    ]


def _ready(endpoint: Endpoint, fleet: Fleet, variant: str, ready: frozenset[str]) -> int:
    return sum(
        each.id in ready and each.fleet == fleet.number and each.variant.name == variant for each in endpoint.members()
    )


def _shares(endpoint: Endpoint) -> dict[tuple[int, str], Fraction]:
    """(fleet, variant) -> part of the endpoint's requests."""
    if endpoint.live is None:
        return {}
    found: dict[tuple[int, str], Fraction] = {}
    variants = mixed(endpoint)
    total = sum((each.weight for each in variants), Fraction(0)) or Fraction(1)
    for each in variants:
        of_old = each.weight / total * (1 - each.share)
        counts = [max(1, variant.current_count) for _, variant in each.parts]
        for (fleet, _), count in zip(each.parts, counts, strict=True):
            found[fleet.number, each.name] = of_old * count / sum(counts)
        if each.new is not None:
            found[each.new[0].number, each.name] = each.weight / total * each.share
    return found


def _said(endpoint: Endpoint, resource: Resource) -> dict[tuple[bool, str], str]:
    """(is pending, variant) -> what DescribeEndpoint says of it."""
    shown = description(endpoint, Status(resource.status), "", resource.created_at, resource.modified_at)
    return {
        (is_pending, variant["VariantName"]): f"{each['Status']}: {each['StatusMessage']}"
        for is_pending, place in ((False, shown), (True, shown.get("PendingDeploymentSummary", {})))
        for member in ("ProductionVariants", "ShadowProductionVariants")
        for variant in place.get(member, [])
        for each in variant.get("VariantStatus", [])
    }
