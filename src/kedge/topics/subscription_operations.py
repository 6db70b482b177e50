"""Subscriptions: ask for one, confirm it, look at it, change it and end it.

A subscriber confirms by visiting the SubscribeURL of the message that it gets first, which nobody has to sign, or hands
the token to someone who calls ConfirmSubscription. Its UnsubscribeURL need not be signed either: whoever ends a
subscription so is sent a message with which to restore it.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from kedge.call import Call
from kedge.store.records import Resource
from kedge.store.transaction import Transaction
from kedge.topics import addresses, attributes, delivery_policy, message, records
from kedge.topics.errors import InvalidParameter, InvalidToken, NotAuthorized, SubscriptionLimitExceeded
from kedge.topics.requests import (
    Request,
    Result,
    author,
    following,
    own_subscription,
    page,
    topic_named,
)

PROTOCOLS = ("http", "https")
_ELSEWHERE = frozenset({"application", "email", "email-json", "firehose", "lambda", "sms", "sqs"})
TOKEN_CHARS = 256
LONGEST_ENDPOINT = 2048
MOST_SUBSCRIPTIONS = 10_000
"""Of one topic: each message is put into so many queues in one transaction."""


def subscribe(call: Call, request: Request) -> Result:
    protocol, endpoint = request["Protocol"], request.get("Endpoint", "")
    _check_endpoint(call, protocol, endpoint)
    given = _given(request.get("Attributes") or {})
    with call.store.transaction(author(call)) as tx:
        topic = topic_named(call, request["TopicArn"], tx)
        listed = tx.list(topic.scope, records.SUBSCRIPTION, status=topic.name).items
        subscription = next(
            (
                each
                for each in listed
                if (each.document["Protocol"], each.document["Endpoint"]) == (protocol, endpoint)
                and each.document["State"] != records.CANCELLED
            ),
            None,
        )
        if subscription is None:
            if len(listed) >= MOST_SUBSCRIPTIONS:
                raise SubscriptionLimitExceeded(f"A topic has at most {MOST_SUBSCRIPTIONS} subscriptions here.")
            subscription = _insert(call, tx, topic, protocol, endpoint, given)
        else:
            there = subscription.document["Attributes"]
            if any(there.get(name) != value for name, value in given.items()):
                raise InvalidParameter("Attributes Reason: Subscription already exists with different attributes")
            if subscription.document["State"] == records.PENDING:
                subscription = _renewed(tx, subscription, call.now)
        own_arn = records.subscription_arn(subscription)
        is_pending = subscription.document["State"] == records.PENDING
        if is_pending:
            _send(tx, subscription, message.CONFIRMATION, call.now)
    shown = own_arn if request.get("ReturnSubscriptionArn") or not is_pending else "pending confirmation"
    return {"SubscriptionArn": shown}


def confirm_subscription(call: Call, request: Request) -> Result:
    """By anybody who has the token, signed or not."""
    token = request["Token"]
    scope, name, rest = records.parse_arn(request["TopicArn"], "TopicArn")
    if rest:
        raise InvalidParameter("Topic")
    if len(token) != TOKEN_CHARS or not set(token) <= set("0123456789abcdef"):
        raise InvalidToken("Invalid token")
    with call.store.transaction(author(call)) as tx:
        found = tx.get(scope, records.SUBSCRIPTION, f"{name}:{uuid.UUID(hex=token[:32])}")
        if found is None or not secrets.compare_digest(found.document["Token"], token):
            raise InvalidParameter("Token")
        if records.is_expired(found.document, call.now):
            raise InvalidParameter("Token Reason: it has expired; subscribe again to get another")
        if found.document["State"] != records.CONFIRMED:
            signed = not call.caller.is_anonymous
            wants = str(request.get("AuthenticateOnUnsubscribe", "")).lower() == "true"
            confirmed = {"State": records.CONFIRMED, "Authenticated": signed}
            confirmed |= {"AuthenticateOnUnsubscribe": wants and signed}
            found = tx.update(found, {**found.document, **confirmed})
    return {"SubscriptionArn": records.subscription_arn(found)}


def unsubscribe(call: Call, request: Request) -> Result:
    """One that is not there has ended already."""
    text = request["SubscriptionArn"]
    if not text:
        raise InvalidParameter("SubscriptionArn Reason: no value for required parameter")
    scope, name, rest = records.parse_arn(text, "SubscriptionArn")
    if not rest:
        raise InvalidParameter("SubscriptionId")
    with call.store.transaction(author(call)) as tx:
        found = tx.get(scope, records.SUBSCRIPTION, f"{name}:{rest}")
        if found is None or found.document["State"] == records.CANCELLED:
            return {}
        if call.caller.is_anonymous:
            _cancel(tx, found, call.now)
            return {}
        if call.caller.account not in (found.document["Owner"], scope.account):
            raise NotAuthorized(f"{text} belongs to another account.")
        tx.empty(records.QUEUE, records.subscription_arn(found))
        tx.delete(found)
        _count_deleted(tx, found)
    return {}


def list_subscriptions(call: Call, request: Request) -> Result:
    found = page(call, call.scope, records.SUBSCRIPTION, request)
    return {"Subscriptions": _shown(found.items), **following(found)}


def list_subscriptions_by_topic(call: Call, request: Request) -> Result:
    topic = topic_named(call, request["TopicArn"], call.store)
    found = page(call, topic.scope, records.SUBSCRIPTION, request, status=topic.name)
    return {"Subscriptions": _shown(found.items), **following(found)}


def get_subscription_attributes(call: Call, request: Request) -> Result:
    found = own_subscription(call, request["SubscriptionArn"], call.store)
    document = found.document
    topic = call.store.get(found.scope, records.TOPIC, document["Topic"])
    of_topic = topic.document["Attributes"].get("DeliveryPolicy") if topic is not None else None
    own = document["Attributes"]
    scope = {"FilterPolicyScope": "MessageAttributes"} if "FilterPolicy" in own else {}
    return {
        "Attributes": {
            **scope,
            "RawMessageDelivery": "false",
            **own,
            "SubscriptionArn": records.subscription_arn(found),
            "TopicArn": records.topic_arn(found.scope, document["Topic"]),
            "Protocol": document["Protocol"],
            "Endpoint": records.without_password(document["Endpoint"]),
            "Owner": document["Owner"],
            "SubscriptionPrincipal": document["Principal"],
            "PendingConfirmation": "true" if document["State"] == records.PENDING else "false",
            "ConfirmationWasAuthenticated": "true" if document["Authenticated"] else "false",
            "EffectiveDeliveryPolicy": delivery_policy.effective_of_subscription(of_topic, own.get("DeliveryPolicy")),
        }
    }


def set_subscription_attributes(call: Call, request: Request) -> Result:
    name, value = request["AttributeName"], request.get("AttributeValue", "")
    with call.store.transaction(author(call)) as tx:
        found = own_subscription(call, request["SubscriptionArn"], tx)
        try:
            after = attributes.set_subscription(found.document["Attributes"], name, value)
        except attributes.Refused as error:
            raise InvalidParameter(str(error)) from None
        tx.update(found, {**found.document, "Attributes": after})
    return {}


def _given(given: Mapping[str, str]) -> dict[str, str]:
    try:
        return attributes.all_subscription(given)
    except attributes.Refused as error:
        raise InvalidParameter(f"Attributes Reason: {error}") from None


def _check_endpoint(call: Call, protocol: str, endpoint: str) -> None:
    """Raises InvalidParameter. What a name leads to is checked at each delivery: it may be another then."""
    if protocol in _ELSEWHERE:
        raise InvalidParameter(f"Protocol Reason: {protocol} is not offered here: http and https are")
    if protocol not in PROTOCOLS:
        raise InvalidParameter(f"Amazon SNS does not support this protocol string: {protocol[:64]}")
    if not endpoint:
        raise InvalidParameter("Endpoint Reason: no value for required parameter")
    if not endpoint.startswith(f"{protocol}://"):
        raise InvalidParameter("Endpoint must match the specified protocol")
    try:
        parts = urlsplit(endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or port == 0 or len(endpoint) > LONGEST_ENDPOINT or not endpoint.isascii() or not _is_plain(endpoint):
        raise InvalidParameter(f"Endpoint Reason: it has to be a URL of at most {LONGEST_ENDPOINT} characters")
    if addresses.is_address(host) and not addresses.parse(call.settings.subscriber_addresses)(host):
        raise InvalidParameter(
            f"Endpoint Reason: {host} may not be reached from here; KEDGE_SUBSCRIBER_ADDRESSES says what may be"
        )


def _is_plain(url: str) -> bool:
    """No blank and no control character: it becomes part of a request's head."""
    return all("!" <= character <= "~" for character in url)


def _insert(
    call: Call, tx: Transaction, topic: Resource, protocol: str, endpoint: str, given: Mapping[str, str]
) -> Resource:
    identity = uuid.uuid4()
    document = records.new_subscription(
        topic, protocol, endpoint, call.caller.account, call.caller.arn, _new_token(identity), call.now
    )
    document["Attributes"] = dict(given)
    return tx.insert(topic.scope, records.SUBSCRIPTION, f"{topic.name}:{identity}", document, topic.name)


def _new_token(subscription: uuid.UUID) -> str:
    """It begins with the id of the subscription, so that it is found by the token."""
    return subscription.hex + secrets.token_hex((TOKEN_CHARS - 32) // 2)


def _renewed(tx: Transaction, subscription: Resource, now: datetime, **changed: Any) -> Resource:
    identity = uuid.UUID(subscription.name.rpartition(":")[2])
    until = (now + records.TOKEN_LIFE).timestamp()
    return tx.update(
        subscription,
        {**subscription.document, "Token": _new_token(identity), "TokenUntil": until, **changed},
    )


def _cancel(tx: Transaction, subscription: Resource, now: datetime) -> None:
    """By somebody unknown, who has the UnsubscribeURL: the owner of the endpoint can take it back."""
    if subscription.document["AuthenticateOnUnsubscribe"]:
        raise NotAuthorized("This subscription was confirmed so that only signed requests may end it.")
    tx.empty(records.QUEUE, records.subscription_arn(subscription))
    cancelled = _renewed(tx, subscription, now, State=records.CANCELLED)
    _send(tx, cancelled, message.CANCELLATION, now)
    _count_deleted(tx, subscription)


def _send(tx: Transaction, subscription: Resource, kind: str, now: datetime) -> None:
    own_arn = records.subscription_arn(subscription)
    topic = records.topic_arn(subscription.scope, subscription.document["Topic"])
    token = subscription.document["Token"]
    tx.put(records.QUEUE, [own_arn], message.handshake(kind, str(uuid.uuid4()), topic, own_arn, token, now))


def _count_deleted(tx: Transaction, subscription: Resource) -> None:
    topic = tx.get(subscription.scope, records.TOPIC, subscription.document["Topic"])
    if topic is not None:
        tx.observe(topic, {**topic.document, "Deleted": topic.document["Deleted"] + 1})


def _shown(found: list[Resource]) -> list[dict[str, Any]]:
    return [records.shown(each) for each in found if each.document["State"] != records.CANCELLED]


OPERATIONS = {
    "sns.Subscribe": subscribe,
    "sns.ConfirmSubscription": confirm_subscription,
    "sns.Unsubscribe": unsubscribe,
    "sns.ListSubscriptions": list_subscriptions,
    "sns.ListSubscriptionsByTopic": list_subscriptions_by_topic,
    "sns.GetSubscriptionAttributes": get_subscription_attributes,
    "sns.SetSubscriptionAttributes": set_subscription_attributes,
}
