"""Topics: make, describe, list and delete them; their attributes and tags."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.identity.errors import MalformedPolicyDocument
from kedge.identity.named import missing
from kedge.identity.policy_documents import statements
from kedge.store.records import Resource
from kedge.store.transaction import Transaction
from kedge.tags import attach
from kedge.topics import attributes, delivery_policy, permissions, records
from kedge.topics.errors import InvalidParameter, NotFound, ResourceNotFound, TagLimitExceeded
from kedge.topics.requests import Request, Result, author, following, page, topic_named

_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")


def create_topic(call: Call, request: Request) -> Result:
    """A topic that is there already, with these very attributes and tags, is answered like a new one."""
    name = request["Name"]
    given = _given(call, request.get("Attributes") or {})
    if name.endswith(".fifo"):
        raise InvalidParameter("Topic Name Reason: FIFO topics are not offered here, and only their names end in .fifo")
    if not _NAME.match(name):
        raise InvalidParameter("Topic Name")
    if request.get("DataProtectionPolicy"):
        raise InvalidParameter("DataProtectionPolicy Reason: messages are not inspected here; leave it out")
    own_arn = records.topic_arn(call.scope, name)
    tags = _tags(request.get("Tags") or [])
    with call.store.transaction(author(call)) as tx:
        found = tx.get(call.scope, records.TOPIC, name)
        if found is None:
            tx.insert(call.scope, records.TOPIC, name, {"Attributes": given, "Deleted": 0})
            attach.write(tx, call.scope, own_arn, tags)
        else:
            _check_same(tx, found, request, given, tags)
    return {"TopicArn": own_arn}


def delete_topic(call: Call, request: Request) -> Result:
    """With its subscriptions and what waits for them. One that is not there is deleted already."""
    with call.store.transaction(author(call)) as tx:
        try:
            topic = topic_named(call, request["TopicArn"], tx)
        except NotFound:
            return {}
        for subscription in tx.list(topic.scope, records.SUBSCRIPTION, status=topic.name).items:
            tx.empty(records.QUEUE, records.subscription_arn(subscription))
            tx.delete(subscription)
        attach.write(tx, topic.scope, records.topic_arn(topic.scope, topic.name), [])
        tx.delete(topic)
    return {}


def list_topics(call: Call, request: Request) -> Result:
    found = page(call, call.scope, records.TOPIC, request)
    return {
        "Topics": [{"TopicArn": records.topic_arn(each.scope, each.name)} for each in found.items],
        **following(found),
    }


def get_topic_attributes(call: Call, request: Request) -> Result:
    topic = topic_named(call, request["TopicArn"], call.store)
    given = topic.document["Attributes"]
    listed = call.store.list(topic.scope, records.SUBSCRIPTION, status=topic.name).items
    states = [each.document["State"] for each in listed]
    return {
        "Attributes": {
            "DisplayName": "",
            **given,
            "TopicArn": records.topic_arn(topic.scope, topic.name),
            "Owner": topic.scope.account,
            "Policy": records.policy(topic),
            "EffectiveDeliveryPolicy": delivery_policy.effective_of_topic(given.get("DeliveryPolicy")),
            "SubscriptionsConfirmed": str(states.count(records.CONFIRMED)),
            "SubscriptionsPending": str(states.count(records.PENDING)),
            "SubscriptionsDeleted": str(topic.document["Deleted"]),
        }
    }


def set_topic_attributes(call: Call, request: Request) -> Result:
    name, value = request["AttributeName"], request.get("AttributeValue", "")
    topic_named(call, request["TopicArn"], call.store)
    if name == "Policy" and value:
        _check_named(call, value)
    with call.store.transaction(author(call)) as tx:
        topic = topic_named(call, request["TopicArn"], tx)
        try:
            after = attributes.set_topic(topic.document["Attributes"], name, value)
        except attributes.Refused as error:
            raise InvalidParameter(str(error)) from None
        tx.update(topic, {**topic.document, "Attributes": after})
    return {}


# Permissions


def add_permission(call: Call, request: Request) -> Result:
    with call.store.transaction(author(call)) as tx:
        topic = topic_named(call, request["TopicArn"], tx)
        own_arn = records.topic_arn(topic.scope, topic.name)
        accounts, actions = request["AWSAccountId"], request["ActionName"]
        _set_policy(tx, topic, permissions.added(records.policy(topic), request["Label"], accounts, actions, own_arn))
    return {}


def remove_permission(call: Call, request: Request) -> Result:
    with call.store.transaction(author(call)) as tx:
        topic = topic_named(call, request["TopicArn"], tx)
        _set_policy(tx, topic, permissions.removed(records.policy(topic), request["Label"]))
    return {}


def _set_policy(tx: Transaction, topic: Resource, policy: str) -> None:
    try:
        after = attributes.set_topic(topic.document["Attributes"], "Policy", policy)
    except attributes.Refused as error:
        raise InvalidParameter(str(error)) from None
    tx.update(topic, {**topic.document, "Attributes": after})


# Tags


def tag_resource(call: Call, request: Request) -> Result:
    with call.store.transaction(author(call)) as tx:
        topic = _tagged(call, request, tx)
        own_arn = records.topic_arn(topic.scope, topic.name)
        attach.write(tx, topic.scope, own_arn, _merged(attach.read(tx, topic.scope, own_arn), request["Tags"]))
    return {}


def untag_resource(call: Call, request: Request) -> Result:
    with call.store.transaction(author(call)) as tx:
        topic = _tagged(call, request, tx)
        own_arn = records.topic_arn(topic.scope, topic.name)
        left = attach.without(attach.read(tx, topic.scope, own_arn), request["TagKeys"])
        attach.write(tx, topic.scope, own_arn, left)
    return {}


def list_tags_for_resource(call: Call, request: Request) -> Result:
    topic = _tagged(call, request, None)
    return {"Tags": attach.read(call.store, topic.scope, records.topic_arn(topic.scope, topic.name))}


def _tagged(call: Call, request: Request, tx: Transaction | None) -> Resource:
    try:
        return topic_named(call, request["ResourceArn"], tx or call.store, "ResourceArn")
    except NotFound:
        raise ResourceNotFound("Resource does not exist") from None


def _tags(given: Sequence[attach.Tag]) -> list[dict[str, str]]:
    if len({tag["Key"] for tag in given}) < len(given):
        raise InvalidParameter("Duplicated keys are not allowed.")
    return _merged([], given)


def _merged(before: Sequence[attach.Tag], given: Sequence[attach.Tag]) -> list[dict[str, str]]:
    if len({tag["Key"] for tag in (*before, *given)}) > attach.MAX_TAGS:
        raise TagLimitExceeded(f"Could not complete request: tag quota of per resource exceeded ({attach.MAX_TAGS}).")
    try:
        return attach.merged(before, given)
    except ValidationFailed as error:
        raise InvalidParameter(f"Tags Reason: {error}") from None


def _given(call: Call, given: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in given.items():
        try:
            found = attributes.set_topic(found, name, value)
        except attributes.Refused as error:
            raise InvalidParameter(f"Attributes Reason: {error}") from None
        except InvalidParameter:
            raise InvalidParameter(f"Attributes Reason: Unknown attribute {name[:100]}") from None
    if "Policy" in found:
        _check_named(call, found["Policy"])
    return found


def _check_same(
    tx: Transaction,
    topic: Resource,
    request: Request,
    given: Mapping[str, str],
    tags: Sequence[attach.Tag],
) -> None:
    before = topic.document["Attributes"]
    if any(before.get(name) != value for name, value in given.items()):
        raise InvalidParameter("Attributes Reason: Topic already exists with different attributes")
    if request.get("Tags"):
        there = attach.read(tx, topic.scope, records.topic_arn(topic.scope, topic.name))
        if any(tag not in there for tag in tags):
            raise InvalidParameter("Tags Reason: Topic already exists with different tags")


def _check_named(call: Call, policy: str) -> None:
    """A policy that names a user or role that is not there would let in who is called so later."""
    try:
        absent = missing(call.store, call.caller.account, statements(policy))
    except MalformedPolicyDocument as error:
        raise InvalidParameter(f"Policy Error: {error}") from None
    if absent is not None:
        raise InvalidParameter(f"Policy Error: PrincipalNotFound: {absent}")


OPERATIONS = {
    "sns.CreateTopic": create_topic,
    "sns.DeleteTopic": delete_topic,
    "sns.ListTopics": list_topics,
    "sns.GetTopicAttributes": get_topic_attributes,
    "sns.SetTopicAttributes": set_topic_attributes,
    "sns.AddPermission": add_permission,
    "sns.RemovePermission": remove_permission,
    "sns.TagResource": tag_resource,
    "sns.UntagResource": untag_resource,
    "sns.ListTagsForResource": list_tags_for_resource,
}
