"""Tags of scalable targets."""

from __future__ import annotations

from collections.abc import Mapping

from kedge.autoscaling.errors import ResourceNotFound, TooManyTags
from kedge.autoscaling.records import TARGET, Target, target_arn
from kedge.autoscaling.requests import Handler, Request, Result, author
from kedge.call import Call
from kedge.store.store import Store
from kedge.store.transaction import Transaction
from kedge.tags.attach import MAX_TAGS, merged, read, without, write


def as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tag_resource(call: Call, request: Request) -> Result:
    name, tags = request["ResourceARN"], as_list(request["Tags"])
    with call.store.transaction(author(call)) as tx:
        _check(call, tx, name)
        before = read(tx, call.scope, name)
        if len({tag["Key"] for tag in (*before, *tags)}) > MAX_TAGS:
            raise TooManyTags(f"A scalable target has at most {MAX_TAGS} tags.", ResourceName=name)
        write(tx, call.scope, name, merged(before, tags))
    return {}


def untag_resource(call: Call, request: Request) -> Result:
    name = request["ResourceARN"]
    with call.store.transaction(author(call)) as tx:
        _check(call, tx, name)
        write(tx, call.scope, name, without(read(tx, call.scope, name), request["TagKeys"]))
    return {}


def list_tags_for_resource(call: Call, request: Request) -> Result:
    name = request["ResourceARN"]
    _check(call, call.store, name)
    return {"Tags": {tag["Key"]: tag["Value"] for tag in read(call.store, call.scope, name)}}


def _check(call: Call, store: Store | Transaction, name: str) -> None:
    """Raises ResourceNotFound unless it is a scalable target of the caller."""
    ids = {target_arn(each.scope, Target.of(each.document).id) for each in store.list(call.scope, TARGET).items}
    if name not in ids:
        raise ResourceNotFound(f"There is no scalable target {name}.", ResourceName=name)


OPERATIONS: dict[str, Handler] = {
    "application-autoscaling.TagResource": tag_resource,
    "application-autoscaling.UntagResource": untag_resource,
    "application-autoscaling.ListTagsForResource": list_tags_for_resource,
}
