"""Attributes of topics and of subscriptions: which there are, and which values they take. PURE.

What AWS has and Kedge has not is refused by its name, rather than kept and ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from kedge.identity.errors import MalformedPolicyDocument
from kedge.identity.policy_documents import checked_resource_policy
from kedge.topics import delivery_policy, filter_policy
from kedge.topics.errors import InvalidParameter

LARGEST_POLICY_BYTES = 30_720

Attributes = Mapping[str, str]
"""As they are kept: by name, without those that have no value."""

_FIFO = "FIFO topics are not offered here; leave it out"
_NO_STATUS = "the status of deliveries is not logged here; leave it out"
_TOPIC_REFUSED = {
    "FifoTopic": _FIFO,
    "ContentBasedDeduplication": _FIFO,
    "FifoThroughputScope": _FIFO,
    "ArchivePolicy": _FIFO,
    "KmsMasterKeyId": "messages that wait are not encrypted here; leave it out",
    "DataProtectionPolicy": "messages are not inspected here; leave it out",
}
_SUBSCRIPTION_REFUSED = {
    "RedrivePolicy": "a dead-letter queue is a queue of SQS, which is not offered here; leave it out",
    "SubscriptionRoleArn": "deliveries to Firehose are not offered here; leave it out",
    "ReplayPolicy": _FIFO,
}


class Refused(ValueError):
    """In AWS's words; the caller puts before them what its operation has there."""


def set_topic(before: Attributes, name: str, value: str) -> dict[str, str]:
    """The attributes with this one. Raises Refused, InvalidParameter for a name that there is not."""
    if name == "FifoTopic" and value == "false":
        return dict(before)
    if name in _TOPIC_REFUSED or name.endswith(("FeedbackRoleArn", "FeedbackSampleRate")):
        raise Refused(f"{name}: {_TOPIC_REFUSED.get(name, _NO_STATUS)}")
    check = _TOPIC.get(name)
    if check is None:
        raise InvalidParameter("AttributeName")
    return _with(before, name, check(value) if value else "")


def set_subscription(before: Attributes, name: str, value: str) -> dict[str, str]:
    """Raises Refused, InvalidParameter for a name that there is not."""
    if name in _SUBSCRIPTION_REFUSED:
        raise Refused(f"{name}: {_SUBSCRIPTION_REFUSED[name]}")
    if name == "RawMessageDelivery":
        if value.lower() not in ("true", "false"):
            raise Refused(f"RawMessageDelivery: Invalid value [{value}]. Must be true or false.")
        return _with(before, name, value.lower())
    if name == "FilterPolicyScope":
        if value not in (filter_policy.ATTRIBUTES, filter_policy.BODY):
            raise Refused(
                f"FilterPolicyScope: Invalid value [{value}]. Please use either MessageBody or MessageAttributes"
            )
        _check_filter(before.get("FilterPolicy", ""), value)
        return _with(before, name, value)
    if name == "FilterPolicy":
        return _with(before, name, _check_filter(value, before.get("FilterPolicyScope", filter_policy.ATTRIBUTES)))
    if name == "DeliveryPolicy":
        return _with(before, name, _subscription_delivery(value, before) if value else "")
    raise InvalidParameter("AttributeName")


def all_subscription(given: Attributes) -> dict[str, str]:
    """Those of a new subscription; what others depend on comes first. Raises as `set_subscription`."""
    found: dict[str, str] = {}
    for name in sorted(given, key=lambda name: name not in ("RawMessageDelivery", "FilterPolicyScope")):
        found = set_subscription(found, name, given[name])
    return found


def _with(before: Attributes, name: str, value: str) -> dict[str, str]:
    after = {**before, name: value}
    if not value:
        del after[name]
    return after


def _display_name(value: str) -> str:
    if len(value) > 100 or not value.isprintable():
        raise Refused("DisplayName: it has at most 100 characters, without control characters")
    return value


def _signature_version(value: str) -> str:
    if value not in ("1", "2"):
        raise Refused(f"SignatureVersion: Invalid value [{value}]. Must be 1 or 2.")
    return value


def _tracing(value: str) -> str:
    if value != "PassThrough":
        raise Refused(f"TracingConfig: Invalid value [{value}]. PassThrough is taken: nothing is traced here.")
    return value


def _topic_policy(value: str) -> str:
    if len(value.encode(errors="replace")) > LARGEST_POLICY_BYTES:
        raise Refused(f"Policy Error: the policy has more than {LARGEST_POLICY_BYTES} bytes")
    try:
        checked_resource_policy(value)
    except MalformedPolicyDocument as error:
        raise Refused(f"Policy Error: {error}") from None
    return value


def _topic_delivery(value: str) -> str:
    try:
        http = delivery_policy.checked_topic(value)
    except delivery_policy.PolicyRefused as error:
        raise Refused(f"DeliveryPolicy: {error}") from None
    return json.dumps({"http": {"disableSubscriptionOverrides": False, **http}})


def _subscription_delivery(value: str, before: Attributes) -> str:
    raw = before.get("RawMessageDelivery") == "true"
    try:
        return json.dumps(delivery_policy.checked_subscription(value, raw=raw))
    except delivery_policy.PolicyRefused as error:
        raise Refused(f"DeliveryPolicy: {error}") from None


def _check_filter(value: str, scope: str) -> str:
    """The policy as it is kept: "" for none."""
    if not value:
        return ""
    try:
        return value if filter_policy.checked(value, scope) else ""
    except filter_policy.NestingRefused as error:
        raise InvalidParameter(str(error)) from None
    except filter_policy.PolicyRefused as error:
        raise Refused(f"FilterPolicy: {error}") from None


_TOPIC: Mapping[str, Callable[[str], str]] = {
    "DisplayName": _display_name,
    "Policy": _topic_policy,
    "DeliveryPolicy": _topic_delivery,
    "SignatureVersion": _signature_version,
    "TracingConfig": _tracing,
}
