"""A message: whether it may be published, and what a subscriber gets of it. PURE.

Sources: Publish in the SNS reference, "HTTP/HTTPS headers" and "HTTP/HTTPS notification JSON format" in the developer
guide; texts of refusals, members and their order as the service was recorded.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from kedge.store.records import Document
from kedge.topics.errors import InvalidParameter, InvalidValue

LARGEST_BYTES = 256 * 1024
LONGEST_SUBJECT = 100
AGENT = "Amazon Simple Notification Service Agent"

NOTIFICATION, CONFIRMATION, CANCELLATION = "Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"

_SIGNED: Mapping[str, Sequence[str]] = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    CANCELLATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
"""Members that a signature covers, in this order. Source: "Verifying the signatures of Amazon SNS messages"."""
_ATTRIBUTE = re.compile(r"(?!(?:aws|amazon)\.|\.)[A-Za-z0-9_.-]{1,256}(?<!\.)\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Message:
    """As it was published."""

    id: str
    topic_arn: str
    texts: Mapping[str, str]
    """By protocol, and "default" for every other."""
    at: datetime
    subject: str | None = None
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """{name: {"Type": ..., "Value": ...}}; bytes as base64."""

    def text_for(self, protocol: str) -> str:
        return self.texts.get(protocol, self.texts["default"])


def checked(request: Mapping[str, Any], message_id: str, topic_arn: str, now: datetime) -> Message:
    """Of Publish, or of an entry of PublishBatch. Raises InvalidParameter, InvalidValue."""
    text = request["Message"]
    if not text:
        raise InvalidParameter("Empty message")
    subject = request.get("Subject")
    if subject is not None and (
        not 0 < len(subject) <= LONGEST_SUBJECT or any(ord(c) < 32 or ord(c) == 127 for c in subject)
    ):
        raise InvalidParameter("Subject")
    if request.get("MessageDeduplicationId"):
        raise InvalidParameter(
            "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid "
            "for this topic type"
        )
    given = request.get("MessageAttributes") or {}
    attributes = {name: _attribute(name, each) for name, each in given.items()}
    if size(request) > LARGEST_BYTES:
        raise InvalidParameter("Message too long")
    texts = _texts(text, request.get("MessageStructure"))
    if not all(_is_unicode(each) for each in (*texts.values(), subject or "")):
        raise InvalidParameter("Message Reason: it holds half of a surrogate pair, which is no character")
    return Message(message_id, topic_arn, texts, now, subject, attributes)


def size(request: Mapping[str, Any]) -> int:
    """Bytes that count towards the limit: of the text, and of names, types and values of attributes."""
    count = len(request["Message"].encode(errors="replace"))
    for name, each in (request.get("MessageAttributes") or {}).items():
        value = each.get("BinaryValue") or each.get("StringValue", "").encode(errors="replace")
        count += len(name.encode(errors="replace")) + len(each["DataType"]) + len(value)
    return count


def _texts(text: str, structure: str | None) -> Mapping[str, str]:
    if structure is None:
        return {"default": text}
    if structure != "json":
        raise InvalidParameter(f'MessageStructure Reason: it is "{structure[:64]}"; json is taken')
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidParameter("Message Structure - JSON message body failed to parse") from None
    if not isinstance(found, dict) or not isinstance(found.get("default"), str):
        raise InvalidParameter("Message Structure - No default entry in JSON message body")
    return {name: found[name] for name in ("default", "http", "https") if isinstance(found.get(name), str)}


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _attribute(name: str, given: Mapping[str, Any]) -> dict[str, str]:
    if not _ATTRIBUTE.match(name) or ".." in name:
        raise InvalidValue(
            f"The message attribute name '{name[:256]}' is not valid: letters, digits, '_', '-' and '.' are, up to 256 "
            "of them, without the prefixes AWS. and Amazon., and no '.' first, last or next to another."
        )
    kind = given["DataType"]
    base = kind.partition(".")[0]
    if base not in ("String", "Number", "Binary"):
        raise InvalidValue(
            f"The message attribute '{name}' has an invalid message attribute type, the set of supported type prefixes "
            "is Binary, Number, and String."
        )
    value = given.get("BinaryValue") if base == "Binary" else given.get("StringValue")
    if not value:
        raise InvalidValue(
            f"The message attribute '{name}' must contain non-empty message attribute value for message attribute "
            f"type '{kind}'."
        )
    if base == "Binary":
        return {"Type": kind, "Value": base64.b64encode(value).decode()}
    if base == "Number":
        try:
            float(value)
        except ValueError:
            raise InvalidValue(f"Could not cast message attribute '{name}' value to number.") from None
    return {"Type": kind, "Value": str(value)}


# What waits in a queue


def waiting(message: Message, text: str) -> Document:
    """A notification. text: for the protocol of the queues that it goes into."""
    return {
        "Type": NOTIFICATION,
        "MessageId": message.id,
        "Subject": message.subject,
        "Message": text,
        "Timestamp": iso(message.at),
        "Attributes": {name: dict(each) for name, each in message.attributes.items()},
    }


def handshake(kind: str, message_id: str, topic_arn: str, subscription_arn: str, token: str, now: datetime) -> Document:
    """A message that asks to confirm a subscription, or tells of a cancelled one."""
    text = (
        f"You have chosen to subscribe to the topic {topic_arn}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message."
        if kind == CONFIRMATION
        else f"You have chosen to deactivate subscription {subscription_arn}.\n"
        "To cancel this operation and restore the subscription, visit the SubscribeURL included in this message."
    )
    return {"Type": kind, "MessageId": message_id, "Message": text, "Timestamp": iso(now), "Token": token}


# What is sent


def envelope(found: Document, topic_arn: str, subscription_arn: str, server: str) -> dict[str, Any]:
    """The JSON that is sent, without its signature. server: the URL of this server as a subscriber reaches it."""
    body: dict[str, Any] = {"Type": found["Type"], "MessageId": found["MessageId"]}
    if found["Type"] != NOTIFICATION:
        body["Token"] = found["Token"]
    body["TopicArn"] = topic_arn
    if found.get("Subject") is not None:
        body["Subject"] = found["Subject"]
    body["Message"] = found["Message"]
    if found["Type"] == NOTIFICATION:
        link = {"Action": "Unsubscribe", "SubscriptionArn": subscription_arn}
    else:
        link = {"Action": "ConfirmSubscription", "TopicArn": topic_arn, "Token": found["Token"]}
    url = f"{server}/?{urlencode(link, safe=':')}"
    body["UnsubscribeURL" if found["Type"] == NOTIFICATION else "SubscribeURL"] = url
    body["Timestamp"] = found["Timestamp"]
    if found.get("Attributes"):
        body["MessageAttributes"] = found["Attributes"]
    return body


def to_sign(body: Mapping[str, Any]) -> bytes:
    """The text that a signature covers."""
    return "".join(f"{name}\n{body[name]}\n" for name in _SIGNED[body["Type"]] if name in body).encode()


def headers(body: Mapping[str, Any], subscription_arn: str, content_type: str, *, raw: bool) -> dict[str, str]:
    found = {
        "x-amz-sns-message-type": body["Type"],
        "x-amz-sns-message-id": body["MessageId"],
        "x-amz-sns-topic-arn": body["TopicArn"],
    }
    if body["Type"] != CONFIRMATION:
        found["x-amz-sns-subscription-arn"] = subscription_arn
    if raw:
        found["x-amz-sns-rawdelivery"] = "true"
    return {**found, "Content-Type": content_type, "User-Agent": AGENT}


def iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"
