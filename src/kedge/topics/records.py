"""What a topic and a subscription are, and where the store keeps them. PURE.

In the resource store, by (account, region):

    topic         by name      {"Attributes": {...}, "Deleted": how many subscriptions have gone}
    subscription  by TOPIC:ID  what `new_subscription` makes, filed under its topic: the status is the topic's name, by
                               which the store has an index

What waits for a subscription is in the store's queue of kind `QUEUE` that is named by the subscription's ARN.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from kedge import arn
from kedge.store.records import Document, Resource, Scope
from kedge.topics.errors import InvalidParameter

TOPIC, SUBSCRIPTION, QUEUE = "topic", "subscription", "notification"

PENDING, CONFIRMED, CANCELLED = "pending", "confirmed", "cancelled"
"""Cancelled: by its own UnsubscribeURL; it can be restored as long as its token is valid."""
TOKEN_LIFE = timedelta(days=2)
"""Of a confirmation token, and of a subscription that nobody confirms. Source: Subscribe in the SNS reference."""

_OPEN_TO_OWNER = (
    "GetTopicAttributes", "SetTopicAttributes", "AddPermission", "RemovePermission", "DeleteTopic", "Subscribe",
    "ListSubscriptionsByTopic", "Publish",
)  # fmt: skip


def topic_arn(scope: Scope, name: str) -> str:
    return str(arn.Arn("sns", scope.region, scope.account, name))


def parse_arn(text: str, parameter: str) -> tuple[Scope, str, str]:
    """(whose, topic, id of a subscription or ""). Raises InvalidParameter."""
    parts = text.split(":")
    if len(parts) < 6:
        raise InvalidParameter(f"{parameter} Reason: An ARN must have at least 6 elements, not {len(parts)}")
    if parts[0] != "arn" or parts[2] != "sns" or len(parts) > 7 or not all(parts[3:]):
        raise InvalidParameter(parameter)
    return Scope(parts[4], parts[3]), parts[5], parts[6] if len(parts) == 7 else ""


def default_policy(scope: Scope, name: str) -> str:
    """What a topic without a policy of its own has: services may act for the account; nobody else gets in by it."""
    statement = {
        "Sid": "__default_statement_ID",
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": [f"SNS:{action}" for action in _OPEN_TO_OWNER],
        "Resource": topic_arn(scope, name),
        "Condition": {"StringEquals": {"AWS:SourceOwner": scope.account}},
    }
    return json.dumps({"Version": "2008-10-17", "Id": "__default_policy_ID", "Statement": [statement]})


def policy(topic: Resource) -> str:
    given: str | None = topic.document["Attributes"].get("Policy")
    return given or default_policy(topic.scope, topic.name)


def new_subscription(
    topic: Resource, protocol: str, endpoint: str, owner: str, principal: str, token: str, now: datetime
) -> Document:
    return {
        "Topic": topic.name,
        "Protocol": protocol,
        "Endpoint": endpoint,
        "Owner": owner,
        "Principal": principal,
        "State": PENDING,
        "Token": token,
        "TokenUntil": (now + TOKEN_LIFE).timestamp(),
        "Authenticated": False,
        "AuthenticateOnUnsubscribe": False,
        "Attributes": {},
    }


def subscription_arn(subscription: Resource) -> str:
    return topic_arn(subscription.scope, subscription.name)


def is_expired(subscription: Document, now: datetime) -> bool:
    """Nobody can confirm or restore it any more."""
    return subscription["State"] != CONFIRMED and bool(now.timestamp() >= subscription["TokenUntil"])


def shown(subscription: Resource) -> dict[str, Any]:
    """As lists show it."""
    found = subscription.document
    confirmed = found["State"] == CONFIRMED
    return {
        "SubscriptionArn": subscription_arn(subscription) if confirmed else "PendingConfirmation",
        "Owner": found["Owner"],
        "Protocol": found["Protocol"],
        "Endpoint": without_password(found["Endpoint"]),
        "TopicArn": topic_arn(subscription.scope, found["Topic"]),
    }


def without_password(endpoint: str) -> str:
    """http://user:****@host/ of an address with credentials."""
    scheme, separator, rest = endpoint.partition("://")
    authority, slash, path = rest.partition("/")
    credentials, at, host = authority.rpartition("@")
    if not at:
        return endpoint
    return f"{scheme}{separator}{credentials.partition(':')[0]}:****@{host}{slash}{path}"
