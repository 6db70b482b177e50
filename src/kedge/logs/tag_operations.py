"""Tags of log groups, by the newer operations (an ARN) and the older ones (a name)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kedge.call import Call
from kedge.errors import InvalidParameter, ValidationFailed
from kedge.logs.errors import TooManyTags
from kedge.logs.records import Group
from kedge.logs.requests import Handler, Request, Result, changing, group_of, named_by
from kedge.logs.store import LogStore
from kedge.store.transaction import Transaction
from kedge.tags import attach as tags


def attach(call: Call, tx: Transaction, group: Group, given: Mapping[str, str]) -> None:
    """Of a group that is being made, or further ones. Raises InvalidParameter, TooManyTags."""
    pairs = [{"Key": key, "Value": value} for key, value in given.items()]
    before = tags.read(tx, call.scope, group.arn)
    if len({tag["Key"] for tag in before} | given.keys()) > tags.MAX_TAGS:
        raise TooManyTags(f"A log group has at most {tags.MAX_TAGS} tags.", resourceName=group.arn)
    try:
        tags.write(tx, call.scope, group.arn, tags.merged(before, pairs))
    except ValidationFailed as error:
        raise InvalidParameter(error.message) from None


def detach(call: Call, tx: Transaction, group: Group) -> None:
    tags.detach(tx, call.scope, group.arn)


def _tag(name_of: Callable[[Call, Request], str]) -> Handler:
    def tag(logs: LogStore, call: Call, request: Request) -> Result:
        with changing(call, name_of(call, request)) as (tx, found):
            attach(call, tx, Group.of(found), request["tags"])
        return {}

    return tag


def _untag(name_of: Callable[[Call, Request], str], keys: str) -> Handler:
    def untag(logs: LogStore, call: Call, request: Request) -> Result:
        with changing(call, name_of(call, request)) as (tx, found):
            arn = Group.of(found).arn
            tags.write(tx, call.scope, arn, tags.without(tags.read(tx, call.scope, arn), request[keys]))
        return {}

    return untag


def _list(name_of: Callable[[Call, Request], str]) -> Handler:
    def list_tags(logs: LogStore, call: Call, request: Request) -> Result:
        group = group_of(call, {"logGroupName": name_of(call, request)})
        return {"tags": _as_map(tags.read(call.store, call.scope, group.arn))}

    return list_tags


def _by_arn(call: Call, request: Request) -> str:
    arn = request["resourceArn"]
    if not arn.startswith("arn:"):
        raise InvalidParameter(f"resourceArn '{arn}' is not an ARN; a log group's ends in :log-group:NAME.")
    return named_by(call, arn)


def _by_name(call: Call, request: Request) -> str:
    return str(request["logGroupName"])


def _as_map(pairs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in pairs}


OPERATIONS: dict[str, Handler] = {
    "logs.TagResource": _tag(_by_arn),
    "logs.UntagResource": _untag(_by_arn, "tagKeys"),
    "logs.ListTagsForResource": _list(_by_arn),
    "logs.TagLogGroup": _tag(_by_name),
    "logs.UntagLogGroup": _untag(_by_name, "tags"),
    "logs.ListTagsLogGroup": _list(_by_name),
}
