"""Puts a message into the queue of each subscription that wants it, in the transaction of who publishes.

A queue holds at most MOST_WAITING entries. Of a subscriber that is so far behind the newest messages are not kept; the
log says so. All others get theirs.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable

from kedge.events.records import Action, Outcome
from kedge.identity.policy import BrokenPolicy, Identity, Resource, evaluate, parsed
from kedge.store.records import Resource as Stored
from kedge.store.transaction import Transaction
from kedge.topics import filter_policy, message, records
from kedge.topics.errors import InvalidParameter, InvalidValue
from kedge.topics.message import Message

MOST_WAITING = 10_000

log = logging.getLogger(__name__)


def publish(tx: Transaction, topic: Stored, what: Message) -> None:
    """After the commit it will be delivered."""
    found = [
        each
        for each in tx.list(topic.scope, records.SUBSCRIPTION, status=topic.name).items
        if each.document["State"] == records.CONFIRMED and _wants(each, what)
    ]
    for protocol in sorted({each.document["Protocol"] for each in found}):
        queues = [records.subscription_arn(each) for each in found if each.document["Protocol"] == protocol]
        body = message.waiting(what, what.text_for(protocol))
        tx.put(records.QUEUE, list(_with_room(tx, queues)), body)


def carry_out(tx: Transaction, action: Action) -> Outcome:
    """An action whose target is a topic: its message is published."""
    try:
        scope, name, rest = records.parse_arn(action.target_arn, "TopicArn")
    except InvalidParameter as error:
        return Outcome(False, f"{error.message}: {action.target_arn}")
    topic = None if rest else tx.get(scope, records.TOPIC, name)
    if topic is None:
        return Outcome(False, f"Topic does not exist: {action.target_arn}")
    if not _may_publish(topic, action):
        return Outcome(False, f"The policy of {action.target_arn} does not let {action.source_arn or 'it'} publish.")
    identity = str(uuid.uuid4())
    # Names of alarms are longer than a subject may be: what does not fit is left out.
    subject = " ".join(action.subject.split())[: message.LONGEST_SUBJECT]
    request = {"Message": action.message, **({"Subject": subject} if subject else {})}
    try:
        publish(tx, topic, message.checked(request, identity, action.target_arn, action.at))
    except (InvalidParameter, InvalidValue) as error:
        return Outcome(False, error.message)
    return Outcome(True, reference=identity)


def _wants(subscription: Stored, what: Message) -> bool:
    given = subscription.document["Attributes"]
    policy = given.get("FilterPolicy")
    if not policy:
        return True
    scope = given.get("FilterPolicyScope", filter_policy.ATTRIBUTES)
    text = what.text_for(subscription.document["Protocol"])
    return filter_policy.matches(json.loads(policy), scope, what.attributes, text)


def _with_room(tx: Transaction, queues: Iterable[str]) -> Iterable[str]:
    for queue in queues:
        if tx.waiting(records.QUEUE, queue) < MOST_WAITING:
            yield queue
        else:
            log.warning("%s: %d messages wait already; a new one is not kept", queue, MOST_WAITING)


def _may_publish(topic: Stored, action: Action) -> bool:
    """A service acts for an account: the topic's policy has to let in that service, or everybody for that account."""
    try:
        policy = parsed(records.policy(topic))
    except BrokenPolicy:
        return False
    resource = Resource(records.topic_arn(topic.scope, topic.name), topic.scope.account, policy, needs_policy=True)
    context = {
        "aws:sourceowner": (action.account,),
        "aws:sourceaccount": (action.account,),
        "aws:sourcearn": (action.source_arn,),
    }
    service = action.source_arn.split(":")[2] if action.source_arn.count(":") > 4 else ""
    asked = (Identity("", "", service=f"{service}.amazonaws.com"), Identity("", ""))
    decisions = [evaluate(each, "sns:Publish", resource, context) for each in asked]
    return any(each.allowed for each in decisions) and not any(each.explicit for each in decisions)
