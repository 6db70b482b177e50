"""Tags of what CloudWatch has: alarms and dashboards, by their ARN."""

from __future__ import annotations

from kedge import arn
from kedge.alarms.records import find
from kedge.alarms.requests import Handler, Request, Result, author
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.metrics.errors import InvalidParameterValue, ResourceNotFound
from kedge.store.records import Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction
from kedge.tags import attach

DASHBOARD = "dashboard"
"""Kind of a dashboard; an account has its dashboards in no region."""


def tag_resource(call: Call, request: Request) -> Result:
    with call.store.transaction(author(call)) as tx:
        scope, name = _existing(call, tx, request["ResourceARN"])
        try:
            tags = attach.merged(attach.read(tx, scope, name), request["Tags"])
        except ValidationFailed as error:
            raise InvalidParameterValue(error.message) from None
        attach.write(tx, scope, name, tags)
    return {}


def untag_resource(call: Call, request: Request) -> Result:
    with call.store.transaction(author(call)) as tx:
        scope, name = _existing(call, tx, request["ResourceARN"])
        attach.write(tx, scope, name, attach.without(attach.read(tx, scope, name), request["TagKeys"]))
    return {}


def list_tags_for_resource(call: Call, request: Request) -> Result:
    scope, name = _existing(call, call.store, request["ResourceARN"])
    return {"Tags": attach.read(call.store, scope, name)}


def _existing(call: Call, store: Store | Transaction, text: str) -> tuple[Scope, str]:
    """Whose the resource is, and the ARN that its tags are kept under. Raises ResourceNotFound."""
    try:
        named = arn.parse(text)
    except ValueError as error:
        raise InvalidParameterValue(f"{error}.") from None
    scope = Scope(named.account, named.region)
    if named.service == "cloudwatch" and named.account == call.caller.account:
        alarm, dashboard = named.resource.removeprefix("alarm:"), named.resource.removeprefix("dashboard/")
        if alarm != named.resource and named.region == call.scope.region and find(store, scope, alarm) is not None:
            return scope, text
        if dashboard != named.resource and not named.region and store.get(scope, DASHBOARD, dashboard) is not None:
            return scope, text
    raise ResourceNotFound(f"There is no resource {text}.")


OPERATIONS: dict[str, Handler] = {
    "cloudwatch.TagResource": tag_resource,
    "cloudwatch.UntagResource": untag_resource,
    "cloudwatch.ListTagsForResource": list_tags_for_resource,
}
