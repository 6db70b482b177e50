"""What the SNS operations share: the topic or subscription that a request names, and pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.store.records import Author, Page, Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction
from kedge.topics import records
from kedge.topics.errors import InvalidParameter, NotFound

Request = Mapping[str, Any]
Result = dict[str, Any]

PAGE = 100
"""Items on a page of any list of SNS."""


def author(call: Call) -> Author:
    return Author(call.caller.arn or "nobody", call.request_id, call.now)


def topic_named(call: Call, text: str, store: Store | Transaction, parameter: str = "TopicArn") -> Resource:
    """Raises InvalidParameter, NotFound."""
    scope, name, rest = records.parse_arn(text, parameter)
    if rest or scope.region != call.caller.region:
        raise InvalidParameter(parameter)
    found = store.get(scope, records.TOPIC, name)
    if found is None:
        raise NotFound("Topic does not exist")
    return found


def subscription_named(call: Call, text: str, store: Store | Transaction) -> Resource:
    """Raises InvalidParameter, NotFound."""
    scope, name, rest = records.parse_arn(text, "SubscriptionArn")
    if not rest:
        raise InvalidParameter("SubscriptionArn Reason: An ARN must have at least 7 elements, not 6")
    found = store.get(scope, records.SUBSCRIPTION, f"{name}:{rest}")
    if found is None or found.document["State"] == records.CANCELLED:
        raise NotFound("Subscription does not exist")
    return found


def own_subscription(call: Call, text: str, store: Store | Transaction) -> Resource:
    """One of the caller's account. Raises InvalidParameter, NotFound."""
    found = subscription_named(call, text, store)
    if call.caller.account not in (found.document["Owner"], found.scope.account):
        raise NotFound("Subscription does not exist")
    return found


def page(call: Call, scope: Scope, kind: str, request: Request, status: str = "") -> Page:
    """Raises InvalidParameter."""
    try:
        return call.store.list(scope, kind, status=status, limit=PAGE, after=request.get("NextToken") or None)
    except ValidationFailed:
        raise InvalidParameter("NextToken Reason: it is not one that this list has given") from None


def following(found: Page) -> Result:
    return {} if found.next is None else {"NextToken": found.next}
