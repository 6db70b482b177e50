"""Log events: PutLogEvents, GetLogEvents of one stream, FilterLogEvents of many."""

from __future__ import annotations

from typing import Any

from kedge.call import Call
from kedge.errors import InvalidParameter
from kedge.logs import batch
from kedge.logs.block import FIRST_KEY, LAST_KEY
from kedge.logs.errors import no_stream
from kedge.logs.pattern import Pattern, PatternRefused, parse
from kedge.logs.reading import Bounds, Question
from kedge.logs.records import Group, as_id, as_key, as_ms, beside
from kedge.logs.requests import Handler, Request, Result, group_of, next_token, place_of
from kedge.logs.store import LogStore

MOST_EVENTS = 10_000
PAGE_BYTES = 1_048_576
SCANNED_BYTES = 256 * 1024 * 1024
"""What one FilterLogEvents looks at, some tenths of a second; a page with fewer events, or none, then has a token."""
_END_OF_TIME = 2**62
_NEWEST_FIRST_FROM_MS = 1_704_067_200_000
"""2024-01-01: FilterLogEvents reads backwards only from there on."""


def put_log_events(logs: LogStore, call: Call, request: Request) -> Result:
    group, name = group_of(call, request), request["logStreamName"]
    events = request["logEvents"]
    at_ms = [event["timestamp"] for event in events]
    messages = [event["message"] for event in events]
    batch.check(at_ms, messages)
    now_ms = as_ms(call.now)
    taken = batch.taken(at_ms, now_ms, group.expired_ms(call.now))
    part = slice(taken.first, taken.end)
    if not messages[part]:
        there = logs.stream(group.id, name) is not None
    else:
        there = logs.put(group.id, name, at_ms[part], messages[part], now_ms)
    if not there:
        raise no_stream()
    answer: dict[str, Any] = {"nextSequenceToken": as_id((now_ms, len(events)))}
    if taken.rejected:
        answer["rejectedLogEventsInfo"] = taken.rejected
    if "entity" in request:  # entities are not kept, which is not to be silent
        answer["rejectedEntityInfo"] = {"errorType": "UnsupportedLogGroupType"}
    return answer


def get_log_events(logs: LogStore, call: Call, request: Request) -> Result:
    """Tokens are places: "f/ID" reads on after that event, "b/ID" back before it. At an end the place stays."""
    group = group_of(call, request)
    stream = logs.stream(group.id, request["logStreamName"])
    if stream is None:
        raise no_stream()
    token = request.get("nextToken")
    direction, place = _opened(token) if token is not None else ("f" if request.get("startFromHead") else "b", "")
    forward = direction == "f"
    question = Question(
        group.id,
        [stream.id],
        max(request.get("startTime", 0), group.expired_ms(call.now)),
        request.get("endTime", _END_OF_TIME),
        after=as_key(place) if place and forward else FIRST_KEY,
        before=as_key(place) if place and not forward else LAST_KEY,
        newest_first=not forward,
    )
    found = logs.read(question, Bounds(request.get("limit", MOST_EVENTS), PAGE_BYTES, _END_OF_TIME))
    events = found.events if forward else found.events[::-1]
    if events:
        first, last = as_id(events[0][:2]), as_id(events[-1][:2])
    else:
        # Whoever turns round at an end sees what is on its other side.
        start = place or as_id(FIRST_KEY)
        first, last = (beside(start, 1), start) if forward else (start, beside(start, -1))
    return {
        "events": [
            {"timestamp": event.at_ms, "message": event.message, "ingestionTime": event.ingested_ms} for event in events
        ],
        "nextForwardToken": f"f/{last}",
        "nextBackwardToken": f"b/{first}",
    }


def filter_log_events(logs: LogStore, call: Call, request: Request) -> Result:
    group = group_of(call, request)
    names, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix")
    if names is not None and prefix is not None:
        raise InvalidParameter("logStreamNames and logStreamNamePrefix cannot both be given.")
    start, end = request.get("startTime", 0), request.get("endTime")
    forward = request.get("startFromHead", True)
    if not forward and start < _NEWEST_FIRST_FROM_MS:
        raise InvalidParameter("startFromHead=false needs a startTime of 2024-01-01 or later.")
    text = request.get("filterPattern", "")
    asked = ("filter", group.id, names, prefix, start, end, forward, text)
    place = place_of(call, request.get("nextToken"), *asked)
    question = Question(
        group.id,
        _streams(logs, group, names, prefix),
        max(start, group.expired_ms(call.now)),
        _END_OF_TIME if end is None else end + 1,
        after=(place[0], place[1]) if place and forward else FIRST_KEY,
        before=(place[0], place[1]) if place and not forward else LAST_KEY,
        pattern=_pattern(text),
        newest_first=not forward,
    )
    found = logs.read(question, Bounds(request.get("limit", MOST_EVENTS), PAGE_BYTES, SCANNED_BYTES))
    of = {stream: logs.name_of(stream) for stream in {event.stream for event in found.events}}
    return {
        "events": [
            {
                "logStreamName": of[event.stream],
                "timestamp": event.at_ms,
                "message": event.message,
                "ingestionTime": event.ingested_ms,
                "eventId": as_id(event[:2]),
            }
            for event in found.events
            if of[event.stream]  # its stream may just have been deleted
        ],
        "searchedLogStreams": [],
        **next_token(call, found.rest, *asked),
    }


def _opened(token: str) -> tuple[str, str]:
    """(direction, place). Raises InvalidParameter."""
    direction, slash, place = token.partition("/")
    try:
        as_key(place)
    except ValueError:
        direction = ""
    if direction not in ("f", "b") or not slash:
        raise InvalidParameter("The specified nextToken is invalid.")
    return direction, place


def _streams(logs: LogStore, group: Group, names: list[str] | None, prefix: str | None) -> list[int] | None:
    """None: all of the group. Raises NotFound."""
    if prefix is not None:
        return [stream.id for stream in logs.streams(group.id, prefix=prefix)]
    if names is None:
        return None
    found = [logs.stream(group.id, name) for name in dict.fromkeys(names)]
    there = [stream.id for stream in found if stream is not None]
    if len(there) < len(found):
        raise no_stream()
    return there


def _pattern(text: str) -> Pattern:
    try:
        return parse(text)
    except PatternRefused as error:
        raise InvalidParameter(str(error)) from None


OPERATIONS: dict[str, Handler] = {
    "logs.PutLogEvents": put_log_events,
    "logs.GetLogEvents": get_log_events,
    "logs.FilterLogEvents": filter_log_events,
}
