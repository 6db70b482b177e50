"""What the operations of CloudWatch Logs share: the group that a request names, its author, tokens of pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kedge import arn
from kedge.call import Call
from kedge.errors import InvalidParameter, ValidationFailed
from kedge.listing import opened, sealed
from kedge.logs.errors import no_group
from kedge.logs.records import KIND, Group, as_ms
from kedge.logs.store import LogStore
from kedge.store.records import Author, Document, Resource
from kedge.store.transaction import Transaction

Request = Mapping[str, Any]
Result = dict[str, Any]
Handler = Callable[[LogStore, Call, Request], Result]

TOKEN_LIVES_MS = 86_400_000


def author(call: Call) -> Author:
    return Author(call.caller.arn, call.request_id, call.now)


def group_of(call: Call, request: Request) -> Group:
    """By logGroupName or by logGroupIdentifier. Raises InvalidParameter, NotFound."""
    name, identifier = request.get("logGroupName"), request.get("logGroupIdentifier")
    if (name is None) == (identifier is None):
        raise InvalidParameter("Exactly one of logGroupName and logGroupIdentifier has to be given.")
    found = call.store.get(call.scope, KIND, name if name is not None else named_by(call, str(identifier)))
    if found is None:
        raise no_group()
    return Group.of(found)


def named_by(call: Call, identifier: str) -> str:
    """The name of a group that is given by name or by ARN, with or without ":*". Raises InvalidParameter, NotFound."""
    if not identifier.startswith("arn:"):
        return identifier
    try:
        parsed = arn.parse(identifier)
    except ValueError as error:
        raise InvalidParameter(f"{error}.") from None
    kind, _, name = parsed.resource.removesuffix(":*").partition(":")
    if parsed.service != "logs" or kind != "log-group" or not name or ":" in name:
        raise InvalidParameter(f'"{identifier}" is not the ARN of a log group.')
    if (parsed.account, parsed.region) != (call.scope.account, call.scope.region):
        raise no_group()
    return name


@contextmanager
def changing(call: Call, name: str) -> Iterator[tuple[Transaction, Resource]]:
    """One transaction on a group. Raises NotFound."""
    with call.store.transaction(author(call)) as tx:
        found = tx.get(call.scope, KIND, name)
        if found is None:
            raise no_group()
        yield tx, found


def change(call: Call, name: str, **fields: object) -> None:
    """Set these fields of a group's document; None removes one. Raises NotFound."""
    with changing(call, name) as (tx, group):
        document: Document = {**group.document, **fields}
        tx.update(group, {key: value for key, value in document.items() if value is not None})


def next_token(call: Call, place: object, *question: object) -> Result:
    """{"nextToken": ...} for a page that begins at this place; {} for None. Good for a day, for the same question."""
    if place is None:
        return {}
    return {"nextToken": sealed(json.dumps([as_ms(call.now), place]), _asked(call, question))}


def place_of(call: Call, token: str | None, *question: object) -> Any:
    """What `next_token` was given; None without a token. Raises InvalidParameter."""
    if token is None:
        return None
    try:
        given_ms, place = json.loads(opened(token, _asked(call, question)))
    except ValidationFailed:
        raise InvalidParameter("The specified nextToken is invalid.") from None
    if as_ms(call.now) > given_ms + TOKEN_LIVES_MS:
        raise InvalidParameter("The specified nextToken has expired: tokens are good for 24 hours.")
    return place


def _asked(call: Call, question: tuple[object, ...]) -> str:
    return json.dumps([call.scope.account, call.scope.region, *question])
