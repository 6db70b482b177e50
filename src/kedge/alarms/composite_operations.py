"""Composite alarms: PutCompositeAlarm, and who is whose child."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kedge import arn
from kedge.alarms import rule, suppression, validation
from kedge.alarms.records import COMPOSITE, Alarm, find, name_in
from kedge.alarms.requests import Handler, Request, Result, author, put
from kedge.alarms.transition import act
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.metrics.errors import AlarmLimitExceeded
from kedge.store.records import Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction

MOST_PARENTS = 150
"""Composites that name one and the same alarm."""


def put_composite_alarm(call: Call, request: Request) -> Result:
    config, parsed = validation.composite_alarm(request)
    children = [_own_name(call.scope, each) for each in rule.children(parsed)]
    with call.store.transaction(author(call)) as tx:
        before = tx.get(call.scope, COMPOSITE, request["AlarmName"])
        _check_children(tx, call.scope, request["AlarmName"], children)
        if "ActionsSuppressor" in config:
            _check_suppressor(tx, call.scope, config)
        after = put(call, tx, COMPOSITE, config, request.get("Tags", []))
        if before is not None and _suppressor_name(before) != _suppressor_name(after):
            _drop(tx, after, call)
    return {}


def children_of(resource: Resource) -> list[str]:
    """Names of the alarms that a composite's rule names."""
    text = resource.document["config"]["AlarmRule"]
    return list(dict.fromkeys(name_in(each) for each in rule.children(rule.parsed(text))))


def parents_of(store: Store | Transaction, scope: Scope, name: str) -> Iterator[Resource]:
    """The composites whose rule names the alarm."""
    for each in store.list(scope, COMPOSITE).items:
        if name in children_of(each):
            yield each


def _own_name(scope: Scope, reference: str) -> str:
    """Raises ValidationFailed for an alarm of another account or region."""
    name = name_in(reference)
    if name != reference:
        named = arn.parse(reference)
        if (named.account, named.region) != (scope.account, scope.region):
            raise ValidationFailed(f"{reference} is not an alarm of this account and region.")
    return name


def _check_children(tx: Transaction, scope: Scope, name: str, children: list[str]) -> None:
    missing = [child for child in children if child != name and find(tx, scope, child) is None]
    if missing or (name in children and find(tx, scope, name) is None):
        shown = ", ".join(missing or [name])
        raise ValidationFailed(f"Could not save the composite alarm as alarms [{shown}] in the alarm rule do not exist")
    counts: dict[str, int] = {}
    for other in tx.list(scope, COMPOSITE).items:
        if other.name != name:
            for child in children_of(other):
                counts[child] = counts.get(child, 0) + 1
    full = next((child for child in children if counts.get(child, 0) >= MOST_PARENTS), None)
    if full is not None:
        raise AlarmLimitExceeded(
            f"The alarm {full} is in the rules of {MOST_PARENTS} composite alarms, which is the most."
        )


def _check_suppressor(tx: Transaction, scope: Scope, config: Mapping[str, Any]) -> None:
    name = _own_name(scope, config["ActionsSuppressor"])
    if name == config["AlarmName"]:
        raise ValidationFailed("ActionsSuppressor: an alarm cannot suppress its own actions.")
    if find(tx, scope, name) is None:
        raise ValidationFailed(f"ActionsSuppressor: there is no alarm named {name}.")


def _suppressor_name(resource: Resource) -> str:
    return name_in(resource.document["config"].get("ActionsSuppressor", ""))


def _drop(tx: Transaction, resource: Resource, call: Call) -> None:
    """Another suppressor, or none: the timers of the old one are gone."""
    alarm = Alarm.of(resource.document)
    state, runs = suppression.dropped(alarm.suppression)
    after = tx.observe(resource, {**resource.document, "suppression": state.document()})
    if runs:
        act(tx, after, alarm.owed_from, call.now)


OPERATIONS: dict[str, Handler] = {"cloudwatch.PutCompositeAlarm": put_composite_alarm}
