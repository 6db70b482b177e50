"""What a decision becomes: the endpoint's new size, the activity that tells of it, the target's cooldowns, in one
transaction."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from kedge.autoscaling.known import capacity_of
from kedge.autoscaling.policy import AT_MAXIMUM, AT_MINIMUM, Wish
from kedge.autoscaling.records import ACTIVITY, Activity, Target
from kedge.autoscaling.resource import WORDS
from kedge.autoscaling.scaled import scale, variant_of
from kedge.endpoints.records import Endpoint, Status
from kedge.endpoints.scaling import Room
from kedge.store.records import Resource
from kedge.store.transaction import Transaction

IN_PROGRESS, SUCCESSFUL, FAILED, OVERRIDDEN, UNFULFILLED = (
    "InProgress", "Successful", "Failed", "Overridden", "Unfulfilled",
)  # fmt: skip
ANOTHER = "The desired {} was changed by another request."
RETRY_S = 30.0
"""After a change that failed, until the next one that nobody asks for."""


def begin(
    tx: Transaction,
    found: Resource,
    current: int,
    wanted: int,
    cause: str,
    wish: Wish | None,
    now: datetime,
    room: Room,
    *,
    held_s: float = 0.0,
) -> None:
    """Scale. found: the target as it is in `tx`. wish: of the policy that has caused it, if one has. held_s: how long
    nothing is to be taken away, where none has.

    Raises Unscalable, ResourceLimitExceeded, ConcurrentChange.
    """
    target, now_s = Target.of(found.document), now.timestamp()
    scale(tx, found.scope, target.scalable, wanted, room)
    # Another request came before its end was seen.
    _end_running(tx, found, target, OVERRIDDEN, ANOTHER.format(WORDS[target.dimension]), now)
    activity = _activity(target, wanted, cause, now_s)
    tx.insert(found.scope, ACTIVITY, f"{found.name}|{activity.id}", activity.document(), IN_PROGRESS)
    running = replace(target, running=activity.id, wanted=wanted, owed="", not_before_s=0.0)
    if wish is not None:
        running = _cooling(running, current, wanted, wish, now_s)
    elif held_s:
        running = replace(running, in_at_s=now_s, in_cooldown_s=held_s)
    tx.observe(found, running.document())


def _cooling(target: Target, current: int, wanted: int, wish: Wish, now_s: float) -> Target:
    if wanted < current:
        return replace(target, in_at_s=now_s, in_cooldown_s=wish.in_cooldown_s)
    if now_s < target.out_at_s + target.out_cooldown_s:
        return replace(target, in_cooldown_s=0.0)  # what is added now counts with what began it
    return replace(target, out_at_s=now_s, out_base=current, out_cooldown_s=wish.out_cooldown_s, in_cooldown_s=0.0)


def finish(tx: Transaction, found: Resource, endpoint: Resource, now: datetime) -> None:
    """The change has ended: the activity says how. endpoint: not in transition any more."""
    target = Target.of(found.document)
    status, message = _end(target, Endpoint.of(endpoint.document), endpoint.status)
    _end_running(tx, found, target, status, message, now)
    not_before_s = now.timestamp() + RETRY_S if status == FAILED else 0.0
    tx.observe(found, replace(target, running="", not_before_s=not_before_s).document())


def _end_running(tx: Transaction, found: Resource, target: Target, status: str, message: str, now: datetime) -> None:
    running = tx.get(found.scope, ACTIVITY, f"{found.name}|{target.running}") if target.running else None
    if running is not None:
        ended = replace(Activity.of(running.document), end_s=now.timestamp(), message=message)
        tx.observe(running, ended.document(), status)


def _end(target: Target, endpoint: Endpoint, status: str) -> tuple[str, str]:
    what = WORDS[target.dimension]
    variant = variant_of(endpoint, target.scalable)
    if status == Status.IN_SERVICE and variant is not None and capacity_of(variant, target.dimension) == target.wanted:
        return SUCCESSFUL, (
            f"Successfully set desired {what} to {target.wanted}. Change successfully fulfilled by sagemaker."
        )
    if status == Status.FAILED or endpoint.failure_reason:
        return FAILED, f"Failed to set desired {what} to {target.wanted}. Reason: {endpoint.failure_reason}"
    return OVERRIDDEN, ANOTHER.format(what)


def fail(
    tx: Transaction, found: Resource, wanted: int, cause: str, reason: str, now: datetime, *, holds_up: bool = True
) -> None:
    """A change could not even begin. What failed in the same way before is told once, with the newest time.

    holds_up: whether the next change waits for RETRY_S.
    """
    target, now_s = Target.of(found.document), now.timestamp()
    message = f"Failed to set desired {WORDS[target.dimension]} to {wanted}. Reason: {reason}"
    tell(tx, found, FAILED, replace(_activity(target, wanted, cause, now_s), end_s=now_s, message=message))
    if holds_up:
        tx.observe(found, replace(target, not_before_s=now_s + RETRY_S).document())


def not_scaled(tx: Transaction, found: Resource, current: int, code: str, cause: str, now: datetime) -> None:
    """A policy was asked for and nothing was changed. code: of a NotScaledReason."""
    target, now_s = Target.of(found.document), now.timestamp()
    reason: dict[str, Any] = {"Code": code, "CurrentCapacity": current}
    if code == AT_MAXIMUM:
        reason["MaxCapacity"] = target.maximum
    if code == AT_MINIMUM:
        reason["MinCapacity"] = target.minimum
    activity = Activity(
        uuid.uuid4().hex, target.resource_id, target.dimension, "Attempting to scale due to alarm triggered", cause,
        now_s, now_s, not_scaled=(reason,),
    )  # fmt: skip
    tell(tx, found, UNFULFILLED, activity)


def tell(tx: Transaction, found: Resource, status: str, activity: Activity) -> None:
    """Write an activity that has ended, or move the end of the newest one when it says the same."""
    newest = tx.list(
        found.scope, ACTIVITY, name_prefix=f"{found.name}|", sort_by="created_at", descending=True, limit=1
    ).items
    for before in newest:
        said = Activity.of(before.document)
        if before.status == status and _gist(said) == _gist(activity):
            tx.observe(before, replace(said, end_s=activity.end_s).document())
            return
    tx.insert(found.scope, ACTIVITY, f"{found.name}|{activity.id}", activity.document(), status)


def _gist(activity: Activity) -> tuple[str, str, str, tuple[Mapping[str, Any], ...]]:
    return activity.description, activity.cause, activity.message, activity.not_scaled


def _activity(target: Target, wanted: int, cause: str, now_s: float) -> Activity:
    return Activity(
        uuid.uuid4().hex,
        target.resource_id,
        target.dimension,
        f"Setting desired {WORDS[target.dimension]} to {wanted}.",
        cause,
        now_s,
    )
