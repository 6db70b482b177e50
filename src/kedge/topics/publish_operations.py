"""Publish and PublishBatch. What they have answered for is delivered, whatever is killed then."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from kedge.call import Call
from kedge.topics import message, records
from kedge.topics.errors import (
    BatchTooLong,
    EmptyBatch,
    IdsNotDistinct,
    InvalidEntryId,
    InvalidParameter,
    TooManyEntries,
)
from kedge.topics.publishing import publish
from kedge.topics.requests import Request, Result, author, topic_named

MOST_ENTRIES = 10
_ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")


def publish_message(call: Call, request: Request) -> Result:
    what = message.checked(request, str(uuid.uuid4()), _target(request), call.now)
    with call.store.transaction(author(call)) as tx:
        publish(tx, topic_named(call, what.topic_arn, tx, _parameter(request)), what)
    return {"MessageId": what.id}


def publish_batch(call: Call, request: Request) -> Result:
    """All entries or, where one is refused, none."""
    entries = request["PublishBatchRequestEntries"]
    topic_named(call, request["TopicArn"], call.store)
    _check_batch(entries)
    found = [message.checked(each, str(uuid.uuid4()), request["TopicArn"], call.now) for each in entries]
    with call.store.transaction(author(call)) as tx:
        topic = topic_named(call, request["TopicArn"], tx)
        for what in found:
            publish(tx, topic, what)
    done = [{"Id": each["Id"], "MessageId": what.id} for each, what in zip(entries, found, strict=True)]
    return {"Successful": done, "Failed": []}


def _target(request: Request) -> str:
    """The ARN of the topic. Raises InvalidParameter."""
    given = [name for name in ("TopicArn", "TargetArn", "PhoneNumber") if name in request]
    if not given:
        raise InvalidParameter("TopicArn or TargetArn Reason: no value for required parameter")
    if len(given) > 1:
        raise InvalidParameter(f"{given[1]} Reason: only one of TopicArn, TargetArn and PhoneNumber can be given")
    if "PhoneNumber" in request:
        raise InvalidParameter("PhoneNumber Reason: text messages to phones are not offered here")
    target = str(request[given[0]])
    if given[0] == "TargetArn" and ":endpoint/" in target:
        raise InvalidParameter("TargetArn Reason: No endpoint found for the target arn specified")
    records.parse_arn(target, given[0])
    return target


def _parameter(request: Request) -> str:
    return "TopicArn" if "TopicArn" in request else "TargetArn"


def _check_batch(entries: list[Mapping[str, Any]]) -> None:
    if not entries:
        raise EmptyBatch("The batch request doesn't contain any entries.")
    if len(entries) > MOST_ENTRIES:
        raise TooManyEntries("The batch request contains more entries than permissible.")
    for each in entries:
        if not _ENTRY_ID.match(each["Id"]):
            raise InvalidEntryId(
                "The Id of a batch entry in a batch request doesn't abide by the specification: up to 80 letters, "
                f'digits, "-" and "_". This one is "{each["Id"][:100]}".'
            )
    if len({each["Id"] for each in entries}) < len(entries):
        raise IdsNotDistinct("Two or more batch entries in the request have the same Id.")
    if sum(message.size(each) for each in entries) > message.LARGEST_BYTES:
        raise BatchTooLong("The length of all the messages put together is more than the limit.")


OPERATIONS = {"sns.Publish": publish_message, "sns.PublishBatch": publish_batch}
