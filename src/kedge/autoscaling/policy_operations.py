"""Scaling policies: by what a target is scaled."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kedge.autoscaling import owned_alarms, resource, steps, tracking
from kedge.autoscaling.errors import LimitExceeded, ObjectNotFound
from kedge.autoscaling.records import POLICY, STEP, TRACKING, Policy, policy_arn, policy_described
from kedge.autoscaling.removal import remove_policy
from kedge.autoscaling.requests import Handler, Request, Result, author, page, require, target_of
from kedge.autoscaling.resource import Scalable
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.store.records import Resource
from kedge.store.transaction import Transaction

MOST_POLICIES = 50
"""Of a target."""
CONFIGS = {
    STEP: "StepScalingPolicyConfiguration",
    TRACKING: "TargetTrackingScalingPolicyConfiguration",
    "PredictiveScaling": "PredictiveScalingPolicyConfiguration",
}


def put_scaling_policy(call: Call, request: Request) -> Result:
    scalable = resource.of(request)
    require(call, scalable)
    with call.store.transaction(author(call)) as tx:
        target_of(call, tx, scalable)
        name = f"{scalable.key}|{request['PolicyName']}"
        found = tx.get(call.scope, POLICY, name)
        before = None if found is None else Policy.of(found.document)
        kind, config = _config(request, before, scalable)
        if before is None:
            if len(tx.list(call.scope, POLICY, name_prefix=f"{scalable.key}|").items) >= MOST_POLICIES:
                raise LimitExceeded(f"The scalable target has {MOST_POLICIES} scaling policies already.")
            before = _new(request, scalable, kind)
        policy = replace(before, config=config, asked={})
        if kind == TRACKING:
            owned_alarms.write(call, tx, policy)
        if found is None:
            written = tx.insert(call.scope, POLICY, name, policy.document())
        else:
            written = tx.update(found, policy.document())
    (alarms,) = owned_alarms.shown(call.store, [written]) if kind == TRACKING else [[]]
    return {"PolicyARN": policy_arn(call.scope, policy), "Alarms": alarms}


def _new(request: Request, scalable: Scalable, kind: str) -> Policy:
    ids = (str(uuid.uuid4()), str(uuid.uuid4()))
    alarms = owned_alarms.names(scalable.id, ids) if kind == TRACKING else {}
    return Policy(request["PolicyName"], scalable.id, scalable.dimension, kind, {}, str(uuid.uuid4()), alarms)


def _config(request: Request, before: Policy | None, scalable: Scalable) -> tuple[str, Mapping[str, Any]]:
    """(type, its checked configuration). Raises ValidationFailed."""
    kind = request.get("PolicyType", None if before is None else before.type)
    if kind is None:
        raise ValidationFailed(f"PolicyType has to be given for a new policy: {TRACKING} or {STEP}.")
    if kind == "PredictiveScaling":
        raise ValidationFailed("PolicyType is PredictiveScaling, which what SageMaker serves does not have.")
    if before is not None and before.type != kind:
        raise ValidationFailed(f"PolicyType is {kind}; the policy {before.name} is of type {before.type}.")
    member = CONFIGS[kind]
    for other in CONFIGS.values():
        if other != member and other in request:
            raise ValidationFailed(f"{other} cannot be given for a policy of type {kind}.")
    if member not in request:
        raise ValidationFailed(f"{member} has to be given for a policy of type {kind}.")
    config = request[member]
    if kind == STEP:
        steps.check(config)
    else:
        tracking.check(config, scalable.dimension)
    return kind, config


def delete_scaling_policy(call: Call, request: Request) -> Result:
    scalable = resource.of(request)
    require(call, scalable)
    with call.store.transaction(author(call)) as tx:
        remove_policy(tx, _found(call, tx, scalable, request["PolicyName"]))
    return {}


def _found(call: Call, tx: Transaction, scalable: Scalable, name: str) -> Resource:
    found = tx.get(call.scope, POLICY, f"{scalable.key}|{name}")
    if found is None:
        raise ObjectNotFound(f"No scaling policy found for {scalable.said()}, scaling policy name: {name}")
    return found


def describe_scaling_policies(call: Call, request: Request) -> Result:
    names = set(request.get("PolicyNames") or ())
    found, following = page(
        call, request, POLICY, resource.prefix(request), lambda each: not names or each.document["name"] in names
    )
    alarms = owned_alarms.shown(call.store, found)
    return {"ScalingPolicies": [policy_described(*each) for each in zip(found, alarms, strict=True)], **following}


OPERATIONS: dict[str, Handler] = {
    "application-autoscaling.PutScalingPolicy": put_scaling_policy,
    "application-autoscaling.DeleteScalingPolicy": delete_scaling_policy,
    "application-autoscaling.DescribeScalingPolicies": describe_scaling_policies,
}
