"""Kedge's own way into a deployment: look at it, hurry it, call it back. AWS has no such calls.

A call writes what is asked into the endpoint's record, as every operation does; the plan follows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from kedge.call import Call
from kedge.endpoints import guards, past, shifting
from kedge.endpoints.descriptions import arn_of, description
from kedge.endpoints.events import announce_deployment
from kedge.endpoints.mixing import mixed
from kedge.endpoints.records import KIND, Endpoint, Fleet, Status
from kedge.errors import ValidationFailed
from kedge.store.store import Author, Resource, Store, Transaction

PATH = "/kedge/deployment"
PROMOTE, ROLL_BACK = "Promote", "RollBack"

Answer = dict[str, Any]
_GONE: Mapping[str, Any] = {
    "EndpointStatus": "Deleted",
    "EndpointConfigName": "",
    "FailureReason": "",
    "Fleets": [],
    "Alarms": [],
    "TrafficSince": 0.0,
    "PreviousEndpointConfigName": "",
}


def steer(call: Call, body: bytes) -> Answer:
    """body: JSON, {"EndpointName": ..., "Action": "Promote" or "RollBack"}. Needs sagemaker:UpdateEndpoint.

    Raises ValidationFailed for what is not asked so, and where no deployment is under way for which it makes sense.
    """
    name, action = _asked(body)
    endpoint_arn = arn_of(call.scope.region, call.scope.account, name)
    call.require(call, "sagemaker:UpdateEndpoint", endpoint_arn, {})
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        resource = _found(tx, call, name)
        endpoint = Endpoint.of(resource.document)
        _check(endpoint, resource, action)
        if action == PROMOTE:
            changed = shifting.hurried(endpoint)
        else:
            reason = f"{call.caller.arn} asked to take the deployment back."
            changed = shifting.recalled(endpoint, reason, call.now.timestamp())
        if changed != endpoint:
            announce_deployment(tx, tx.update(resource, changed.document()))
    return {"EndpointArn": endpoint_arn}


def picture(call: Call, name: str, ready: frozenset[str]) -> Answer:
    """How the endpoint's fleets, alarms and deployments are now; of a deleted one, what is known of its deployments.

    Needs sagemaker:DescribeEndpoint.

    ready: ids of the instances that could answer. Times are seconds since 1970; TrafficSince is when the traffic began
    to be divided as it is. Raises ValidationFailed.
    """
    call.require(call, "sagemaker:DescribeEndpoint", arn_of(call.scope.region, call.scope.account, name), {})
    lines = past.lines(call.store, call.scope, name.lower())
    if lines and call.store.get(call.scope, KIND, name.lower()) is None:
        return {**_GONE, "EndpointName": name, "Deployments": lines}
    resource = _found(call.store, call, name)
    endpoint = Endpoint.of(resource.document)
    shown: Answer = {
        "EndpointName": endpoint.name,
        "EndpointStatus": resource.status,
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


def _asked(body: bytes) -> tuple[str, str]:
    try:
        given = json.loads(body)
        name, action = given["EndpointName"], given["Action"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValidationFailed('The body has to be {"EndpointName": NAME, "Action": ACTION}.') from None
    if not isinstance(name, str):
        raise ValidationFailed(f"EndpointName is {json.dumps(name)}; it has to be a text.")
    if action not in (PROMOTE, ROLL_BACK):
        raise ValidationFailed(f'Action is {json.dumps(action)}; it has to be "{PROMOTE}" or "{ROLL_BACK}".')
    return name, action


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


def _found(store: Store | Transaction, call: Call, name: str) -> Resource:
    resource = store.get(call.scope, KIND, name.lower())
    if resource is None:
        raise ValidationFailed(f'Could not find endpoint "{arn_of(call.scope.region, call.scope.account, name)}".')
    return resource
