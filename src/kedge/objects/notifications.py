"""Which messages a change of an object causes, and what they say. PURE.

Two shapes: S3's own event message for topics, queues and functions, and an event for EventBridge.
Sources: "Event message structure" and "EventBridge event message structure" in the S3 user guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus

from kedge.objects.errors import InvalidArgument
from kedge.objects.records import NULL_VERSION, Bucket, Cause

SOURCE = "aws.s3"
TO_TARGET = "S3 Event Notification"
"""detail type of a message for one target: detail["TargetArn"] says which, detail["Message"] is what it is to get."""

TARGETS = {
    "TopicConfigurations": ("TopicArn", "sns"),
    "QueueConfigurations": ("QueueArn", "sqs"),
    "LambdaFunctionConfigurations": ("LambdaFunctionArn", "lambda"),
}
EVENTBRIDGE = "EventBridgeConfiguration"
EVENTS = frozenset(
    {
        *("s3:ObjectCreated:*", "s3:ObjectCreated:Put", "s3:ObjectCreated:Post", "s3:ObjectCreated:Copy"),
        "s3:ObjectCreated:CompleteMultipartUpload",
        *("s3:ObjectRemoved:*", "s3:ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated"),
        *("s3:LifecycleExpiration:*", "s3:LifecycleExpiration:Delete"),
        "s3:LifecycleExpiration:DeleteMarkerCreated",
        *("s3:ObjectTagging:*", "s3:ObjectTagging:Put", "s3:ObjectTagging:Delete"),
    }
)
"""Those that happen here. S3 has more, for what this store does not do: restores, replication, tiers, ACLs."""
_NEVER = re.compile(
    r"s3:(ObjectRestore|Replication|LifecycleTransition|IntelligentTiering|ObjectAcl|ReducedRedundancy)"
)


@dataclass(frozen=True)
class Happening:
    name: str
    """Without the "s3:": ObjectCreated:Put, ..."""
    key: str
    at: datetime
    sequence: int
    cause: Cause
    version: str = NULL_VERSION
    size: int | None = None
    etag: str = ""


@dataclass(frozen=True)
class Message:
    source: str
    detail_type: str
    detail: Mapping[str, Any]


def check(configuration: Mapping[str, Any]) -> None:
    """Raises InvalidArgument."""
    rules = 0
    seen: list[tuple[str, Mapping[str, str]]] = []
    for member, (arn_name, service) in TARGETS.items():
        for rule in configuration.get(member) or ():
            rules += 1
            arn = rule.get(arn_name, "")
            if not re.fullmatch(rf"arn:aws[a-z-]*:{service}:[a-z0-9-]+:\d{{12}}:.+", arn):
                raise _wrong("The ARN is not well formed", arn_name, arn)
            if not rule.get("Events"):
                raise _wrong("A notification configuration names at least one event", "Event", "")
            for event in rule["Events"]:
                if event not in EVENTS and not _NEVER.match(event):
                    raise _wrong("The event is not supported for notifications", "Event", event)
            names = [str(each.get("Name", "")).lower() for each in _filters(rule)]
            if len(names) != len(set(names)) or set(names) - {"prefix", "suffix"}:
                raise _wrong("filter rule name must be either prefix or suffix", "FilterRule.Name", ",".join(names))
            filters = {each["Name"].lower(): each.get("Value", "") for each in _filters(rule)}
            for event in rule["Events"]:
                if any(_overlap(event, filters, *other) for other in seen):
                    raise InvalidArgument(
                        "Configurations overlap. Configurations on the same bucket cannot share a common event type: "
                        f'"{event}".',
                        ArgumentName="Event",
                        ArgumentValue=event,
                    )
            seen += [(event, filters) for event in rule["Events"]]
    if rules > 100:
        raise _wrong("A bucket has at most 100 notification configurations", "NotificationConfiguration", str(rules))


def messages(configuration: str, bucket: Bucket, what: Happening) -> Iterator[Message]:
    """configuration: as JSON; "" sends nothing."""
    if not configuration:
        return
    rules: Mapping[str, Any] = json.loads(configuration)
    for member, (arn_name, _service) in TARGETS.items():
        for rule in rules.get(member) or ():
            if _asks_for(rule, what):
                record = _record(bucket, what, rule.get("Id", ""))
                detail = {"TargetArn": rule[arn_name], "Message": {"Records": [record]}}
                yield Message(SOURCE, TO_TARGET, detail)
    if rules.get(EVENTBRIDGE) is not None:
        event = _bridge_event(bucket, what)
        if event is not None:
            yield event


def topics(configuration: Mapping[str, Any]) -> list[str]:
    """ARNs of the topics that are told something, each once."""
    rules: Sequence[Mapping[str, str]] = configuration.get("TopicConfigurations") or ()
    return list(dict.fromkeys(rule["TopicArn"] for rule in rules))


def test_event(bucket: str, at: datetime, request_id: str) -> dict[str, Any]:
    """What a topic is sent once it was chosen, so that who chose it sees that messages arrive."""
    return {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": _iso(at),
        "Bucket": bucket,
        "RequestId": request_id,
        "HostId": request_id,
    }


def _asks_for(rule: Mapping[str, Any], what: Happening) -> bool:
    full = f"s3:{what.name}"
    if not any(event == full or (event.endswith(":*") and full.startswith(event[:-1])) for event in rule["Events"]):
        return False
    for each in _filters(rule):
        value = each.get("Value", "")
        held = what.key.startswith(value) if each["Name"].lower() == "prefix" else what.key.endswith(value)
        if not held:
            return False
    return True


def _overlap(event: str, filters: Mapping[str, str], other: str, others: Mapping[str, str]) -> bool:
    """Whether one change of one key may be asked for by both; S3 tells it to one place only."""
    wide, narrow = sorted((event, other), key=len)
    if wide != narrow and not (wide.endswith(":*") and narrow.startswith(wide[:-1])):
        return False
    starts, ends = (sorted((filters.get(name, ""), others.get(name, "")), key=len) for name in ("prefix", "suffix"))
    return starts[1].startswith(starts[0]) and ends[1].endswith(ends[0])


def _filters(rule: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return ((rule.get("Filter") or {}).get("Key") or {}).get("FilterRules") or []


def _record(bucket: Bucket, what: Happening, configuration_id: str) -> dict[str, Any]:
    thing: dict[str, Any] = {"key": quote_plus(what.key, safe="/")}
    if what.size is not None:
        thing |= {"size": what.size, "eTag": what.etag}
    if bucket.versioning:
        thing["versionId"] = what.version
    thing["sequencer"] = f"{what.sequence:016X}"
    cause = what.cause
    return {
        "eventVersion": "2.3" if what.name.startswith(("Lifecycle", "ObjectTagging")) else "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": _iso(what.at),
        "eventName": what.name,
        "userIdentity": {"principalId": cause.principal},
        "requestParameters": {"sourceIPAddress": cause.source_ip},
        "responseElements": {"x-amz-request-id": cause.request_id, "x-amz-id-2": cause.request_id},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration_id,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": {"principalId": bucket.account},
                "arn": f"arn:aws:s3:::{bucket.name}",
            },
            "object": thing,
        },
    }


def _bridge_event(bucket: Bucket, what: Happening) -> Message | None:
    kind, _, action = what.name.partition(":")
    thing: dict[str, Any] = {"key": what.key}
    if what.size is not None:
        thing |= {"size": what.size, "etag": what.etag}
    elif what.etag:
        thing["etag"] = what.etag
    if bucket.versioning:
        thing["version-id"] = what.version
    if kind != "ObjectTagging":
        thing["sequencer"] = f"{what.sequence:016X}"
    detail: dict[str, Any] = {
        "version": "0",
        "bucket": {"name": bucket.name},
        "object": thing,
        "request-id": what.cause.request_id,
        "requester": what.cause.account,
    }
    if what.cause.source_ip:
        detail["source-ip-address"] = what.cause.source_ip
    if kind == "ObjectTagging":
        return Message(SOURCE, "Object Tags Added" if action == "Put" else "Object Tags Deleted", detail)
    if kind == "ObjectCreated":
        return Message(SOURCE, "Object Created", {**detail, "reason": what.cause.name})
    deletion = "Delete Marker Created" if action == "DeleteMarkerCreated" else "Permanently Deleted"
    reason = "Lifecycle Expiration" if kind == "LifecycleExpiration" else "DeleteObject"
    if kind == "LifecycleExpiration":
        detail["requester"] = "s3.amazonaws.com"
    return Message(SOURCE, "Object Deleted", {**detail, "reason": reason, "deletion-type": deletion})


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"


def _wrong(what: str, name: str, value: str) -> InvalidArgument:
    return InvalidArgument(f'{what}: "{value}".', ArgumentName=name, ArgumentValue=value)
