"""Scalable targets: which variants are scaled, between which bounds."""

from __future__ import annotations

import secrets
from dataclasses import replace

from kedge.autoscaling import resource, tag_operations
from kedge.autoscaling.errors import LimitExceeded
from kedge.autoscaling.records import TARGET, Target, suspended, target_arn, target_described
from kedge.autoscaling.removal import deregister
from kedge.autoscaling.requests import (
    Handler,
    Request,
    Result,
    author,
    endpoint_of,
    page,
    require,
    target_of,
)
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.tags.attach import attach

MOST_TARGETS = 5000
"""Of an account and region."""


def register_scalable_target(call: Call, request: Request) -> Result:
    scalable = resource.of(request)
    require(call, scalable)
    with call.store.transaction(author(call)) as tx:
        endpoint = endpoint_of(call, tx, scalable)
        found = tx.get(call.scope, TARGET, scalable.key)
        before = None if found is None else Target.of(found.document)
        if found is not None and before is not None and before.uid != endpoint.uid:
            deregister(tx, found)  # of an endpoint that had the same name
            found = before = None
        if before is None:
            missing = [name for name in ("MinCapacity", "MaxCapacity") if name not in request]
            if missing:
                raise ValidationFailed(f"{missing[0]} has to be given: the scalable target is not registered yet.")
            before = Target(scalable.id, scalable.dimension, 0, 0, secrets.token_hex(17), endpoint.uid)
        minimum = request.get("MinCapacity", before.minimum)
        maximum = request.get("MaxCapacity", before.maximum)
        check_bounds(minimum, maximum)
        if minimum < 1 and scalable.dimension == resource.PROVISIONED:
            raise ValidationFailed(f"MinCapacity is {minimum}; of provisioned concurrency it is at least 1.")
        changed = replace(
            before,
            minimum=minimum,
            maximum=maximum,
            suspended=suspended(request.get("SuspendedState", {}), before.suspended),
            owed=_cause(before, minimum, maximum),
            not_before_s=0.0,
        )
        arn = target_arn(call.scope, changed.id)
        if found is not None:
            if request.get("Tags"):
                raise ValidationFailed("Tags are for a new scalable target; TagResource changes those of one.")
            tx.update(found, changed.document())
        else:
            if len(tx.list(call.scope, TARGET, limit=MOST_TARGETS).items) >= MOST_TARGETS:
                raise LimitExceeded(f"There are {MOST_TARGETS} scalable targets already.")
            tx.insert(call.scope, TARGET, scalable.key, changed.document())
            attach(tx, call.scope, arn, tag_operations.as_list(request.get("Tags", {})))
    return {"ScalableTargetARN": arn}


def check_bounds(minimum: int, maximum: int) -> None:
    """Raises ValidationFailed."""
    if minimum < 0:
        raise ValidationFailed(f"MinCapacity is {minimum}; it must not be below 0.")
    if maximum < minimum:
        raise ValidationFailed(
            f"Maximum capacity cannot be less than minimum capacity: MaxCapacity is {maximum}, MinCapacity {minimum}."
        )


def _cause(before: Target, minimum: int, maximum: int) -> str:
    if (minimum, maximum) == (before.minimum, before.maximum):
        return before.owed
    return f"minimum capacity was set to {minimum} and maximum capacity to {maximum}"


def deregister_scalable_target(call: Call, request: Request) -> Result:
    scalable = resource.of(request)
    require(call, scalable)
    with call.store.transaction(author(call)) as tx:
        deregister(tx, target_of(call, tx, scalable))
    return {}


def describe_scalable_targets(call: Call, request: Request) -> Result:
    resource.check_namespace(request)
    dimension, ids = request.get("ScalableDimension"), request.get("ResourceIds")
    if dimension is not None:
        resource.check_dimension(dimension)
        if not ids:
            raise ValidationFailed("ScalableDimension is given without ResourceIds; both have to be given, or none.")
    keys = {key for each in ids for key in resource.keys(each, dimension)} if ids else None
    found, following = page(call, request, TARGET, "", lambda each: keys is None or each.name in keys)
    return {"ScalableTargets": [target_described(each) for each in found], **following}


OPERATIONS: dict[str, Handler] = {
    "application-autoscaling.RegisterScalableTarget": register_scalable_target,
    "application-autoscaling.DeregisterScalableTarget": deregister_scalable_target,
    "application-autoscaling.DescribeScalableTargets": describe_scalable_targets,
}
