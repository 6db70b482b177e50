"""An alarm comes into another state: all that follows, in the transaction of the change.

The new state, a line of history, the event, and an action for each ARN that the state names. A crash leaves all of it
or nothing, so an action is neither lost nor made twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from kedge.alarms import history, messages, suppression
from kedge.alarms.evaluate import State
from kedge.alarms.records import COMPOSITE, Alarm, arn_of, find, name_in, seconds
from kedge.events.records import Action, Outcome, write
from kedge.store.records import Resource, Scope
from kedge.store.transaction import Transaction

REPEATED = ("autoscaling", "application-autoscaling")
"""Services whose actions are told once a minute for as long as the state lasts."""
REPEAT_S = 60.0


def set_state(
    tx: Transaction,
    resource: Resource,
    state: State,
    reason: str,
    reason_data: str,
    now: datetime,
    alarm: Alarm | None = None,
) -> Resource:
    """The alarm with its new state. resource: as it is in `tx`; alarm: its document, where more of it changes."""
    before = messages.Said.of(resource)
    at_s = seconds(now)
    alarm = replace(
        alarm or Alarm.of(resource.document),
        reason=reason,
        reason_data=reason_data,
        updated_at_s=at_s,
        evaluation="",
    )
    if state == resource.status:
        return tx.observe(resource, alarm.document())
    alarm = replace(alarm, transitioned_at_s=at_s, repeated_at_s=at_s)
    runs = True
    if resource.kind == COMPOSITE:
        suppressor = alarm.suppressor(_suppressor(tx, resource, alarm))
        if suppressor is not None:
            held, runs = suppression.changed(suppressor, at_s)
            alarm = replace(alarm, suppression=held, suppressed_at_s=at_s, owed_from=before.value)
    after = tx.observe(resource, alarm.document(), state)
    history.transitioned(tx, after, before)
    tx.emit(messages.SOURCE, messages.STATE_CHANGE, messages.state_change(after, before), after.scope)
    if runs:
        act(tx, after, before.value, now)
    return after


def act(tx: Transaction, resource: Resource, before: str, now: datetime, targets: Sequence[str] | None = None) -> None:
    """Write the actions of the state that the alarm is in. targets: some of them only."""
    alarm = Alarm.of(resource.document)
    if not alarm.actions_enabled:
        return
    region = region_name(resource.scope.region)
    for target in alarm.actions(State(resource.status)) if targets is None else targets:
        write(
            tx,
            Action(
                _identity(resource, target, now),
                resource.scope.account,
                resource.scope.region,
                target,
                messages.subject(resource, region),
                messages.notification(resource, before, region),
                at=now,
                source_arn=arn_of(resource.scope, resource.name),
            ),
        )


def told(tx: Transaction, action: Action, outcome: Outcome) -> None:
    """An action of an alarm has ended; its history says how. An alarm that was deleted meanwhile has no more to say."""
    resource = find(tx, Scope(action.account, action.region), name_in(action.source_arn))
    if resource is not None:
        history.acted(tx, resource, action.target_arn, "" if outcome.succeeded else outcome.reason)


def repeats(alarm: Alarm) -> bool:
    """Whether one of its states has targets that are told again and again."""
    return any(_is_repeated(target) for state in State for target in alarm.actions(state))


def repeated(alarm: Alarm, state: State, now_s: float) -> list[str]:
    """The targets that are to be told now that the state lasts."""
    if not alarm.actions_enabled or now_s - alarm.repeated_at_s < REPEAT_S:
        return []
    return [target for target in alarm.actions(state) if _is_repeated(target)]


def _is_repeated(target: str) -> bool:
    return target.split(":")[2] in REPEATED


def _suppressor(tx: Transaction, resource: Resource, alarm: Alarm) -> Resource | None:
    name = alarm.config.get("ActionsSuppressor")
    return None if name is None else find(tx, resource.scope, name_in(name))


def _identity(resource: Resource, target: str, now: datetime) -> str:
    """The same for the same change of the same alarm: `id` and `version` never come twice."""
    text = f"{resource.kind}/{resource.id}/{resource.version}/{target}/{now.isoformat()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@lru_cache(256)
def region_name(region: str) -> str:
    """US East (N. Virginia) for us-east-1; a region that AWS does not have is called by its code."""
    from botocore.loaders import create_loader

    for partition in create_loader().load_data("partitions")["partitions"]:
        if region in partition["regions"]:
            return str(partition["regions"][region].get("description", region))
    return region
