"""Log streams: made, shown by name or by their newest event, deleted."""

from __future__ import annotations

from typing import Any

from kedge.call import Call
from kedge.errors import InvalidParameter
from kedge.logs.errors import AlreadyThere, no_stream
from kedge.logs.records import Group, as_id, as_ms
from kedge.logs.requests import Handler, Request, Result, group_of, next_token, place_of
from kedge.logs.store import LogStore, Stream

MOST_STREAMS = 50
"""Of a page."""


def create_log_stream(logs: LogStore, call: Call, request: Request) -> Result:
    group = group_of(call, request)
    if not logs.create_stream(group.id, request["logStreamName"], as_ms(call.now)):
        raise AlreadyThere("The specified log stream already exists")
    return {}


def delete_log_stream(logs: LogStore, call: Call, request: Request) -> Result:
    if not logs.delete_stream(group_of(call, request).id, request["logStreamName"]):
        raise no_stream()
    return {}


def describe_log_streams(logs: LogStore, call: Call, request: Request) -> Result:
    group = group_of(call, request)
    prefix, order = request.get("logStreamNamePrefix", ""), request.get("orderBy", "LogStreamName")
    if prefix and order == "LastEventTime":
        raise InvalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
    descending, limit = request.get("descending", False), request.get("limit", MOST_STREAMS)
    question = ("streams", group.id, prefix, order, descending)
    place = place_of(call, request.get("nextToken"), *question)
    found = logs.streams(
        group.id,
        prefix=prefix,
        by_last=order == "LastEventTime",
        descending=descending,
        after=None if place is None else (place[0], place[1]),
        limit=limit + 1,
    )
    shown, more = found[:limit], len(found) > limit
    following = next_token(call, [shown[-1].last_ms, shown[-1].name] if more else None, *question)
    return {"logStreams": [_described(group, each) for each in shown], **following}


def _described(group: Group, stream: Stream) -> dict[str, Any]:
    written = {
        "firstEventTimestamp": stream.first_ms,
        "lastEventTimestamp": stream.last_ms,
        "lastIngestionTime": stream.ingested_ms,
        "uploadSequenceToken": as_id((stream.ingested_ms, stream.id)),
    }
    return {
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        **(written if stream.ingested_ms else {}),
        "arn": group.stream_arn(stream.name),
        "storedBytes": 0,
    }


OPERATIONS: dict[str, Handler] = {
    "logs.CreateLogStream": create_log_stream,
    "logs.DeleteLogStream": delete_log_stream,
    "logs.DescribeLogStreams": describe_log_streams,
}
