"""What the operations on alarms share: changes with what they bring with them, and pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from kedge.alarms import history, messages
from kedge.alarms.records import METRIC, Alarm, arn_of, find, seconds
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.listing import opened, sealed
from kedge.metrics.errors import InvalidNextToken, InvalidParameterValue
from kedge.store.records import Author, Resource
from kedge.store.transaction import Transaction
from kedge.tags import attach

Request = Mapping[str, Any]
Result = dict[str, Any]
Handler = Callable[[Call, Request], Result]


def author(call: Call) -> Author:
    return Author(call.caller.arn, call.request_id, call.now)


def put(call: Call, tx: Transaction, kind: str, config: Mapping[str, Any], tags: list[dict[str, str]]) -> Resource:
    """A new alarm, or the old one with another configuration; its state stays. Tags are of a new one only."""
    name = config["AlarmName"]
    before = find(tx, call.scope, name)
    now_s = seconds(call.now)
    if before is None:
        alarm = Alarm(config, now_s, updated_at_s=now_s, transitioned_at_s=now_s, created_at_s=now_s)
        after = tx.insert(call.scope, kind, name, alarm.document(), "INSUFFICIENT_DATA")
        attach_tags(call, tx, name, tags)
        tell(tx, after, "create")
        return after
    if before.kind != kind:
        raise ValidationFailed(
            f"There is a {'metric' if before.kind == METRIC else 'composite'} alarm named {name} already; "
            "alarms of all kinds share their names."
        )
    alarm = Alarm.of({**before.document, "config": config, "configured_at_s": now_s, "seen": None, "evaluation": ""})
    after = tx.update(before, alarm.document())
    tell(tx, after, "update", before)
    return after


def attach_tags(call: Call, tx: Transaction, name: str, tags: list[dict[str, str]]) -> None:
    try:
        attach.attach(tx, call.scope, arn_of(call.scope, name), tags)
    except ValidationFailed as error:
        raise InvalidParameterValue(error.message) from None


def tell(tx: Transaction, resource: Resource, operation: str, before: Resource | None = None) -> None:
    """A configuration was changed: history and event."""
    history.configured(tx, resource, operation)
    detail = messages.configuration_change(operation, resource, before)
    tx.emit(messages.SOURCE, messages.CONFIGURATION_CHANGE, detail, resource.scope)


def question(call: Call, request: Request) -> str:
    """What a token of a page belongs to."""
    asked = {name: str(value) for name, value in request.items() if name not in ("NextToken", "MaxRecords")}
    whole = [call.scope.account, call.scope.region, sorted(asked.items())]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:32]


def place(call: Call, request: Request) -> str | None:
    """Where the last page ended. Raises InvalidNextToken."""
    if not request.get("NextToken"):
        return None
    try:
        return opened(request["NextToken"], question(call, request))
    except ValidationFailed as error:
        raise InvalidNextToken(error.message) from None


def following(call: Call, request: Request, at: str | None) -> Result:
    return {} if at is None else {"NextToken": sealed(at, question(call, request))}
