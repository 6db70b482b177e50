"""DescribeAlarmHistory: two weeks, also of alarms that were deleted."""

from __future__ import annotations

from kedge.alarms import history
from kedge.alarms.records import HISTORY
from kedge.alarms.requests import Handler, Request, Result, following, place
from kedge.call import Call
from kedge.metrics.errors import InvalidNextToken

DEFAULT_PAGE = 100
_BATCH = 200


def describe_alarm_history(call: Call, request: Request) -> Result:
    at = place(call, request)
    if at is not None and not at.isdecimal():
        raise InvalidNextToken("NextToken is not one that this list has given; start again without it.")
    after = None if at is None else int(at)
    types = set(request.get("AlarmTypes") or ["MetricAlarm"])
    if "AlarmName" in request and "AlarmTypes" not in request:
        types = {"MetricAlarm", "CompositeAlarm"}  # a name says which alarm is meant
    item_type = request.get("HistoryItemType")
    limit = request.get("MaxRecords", DEFAULT_PAGE)
    found: list[Result] = []
    while True:
        lines = call.store.notes(
            call.scope,
            HISTORY,
            request.get("AlarmName"),
            since=max(request.get("StartDate", call.now - history.KEPT), call.now - history.KEPT),
            until=request.get("EndDate"),
            descending=request.get("ScanBy", "TimestampDescending") == "TimestampDescending",
            limit=_BATCH,
            after=after,
        )
        for line in lines:
            item = history.described(line)
            if item["AlarmType"] not in types or item_type not in (None, item["HistoryItemType"]):
                continue
            if len(found) == limit:
                return {"AlarmHistoryItems": found, **following(call, request, str(after))}
            found.append(item)
            after = line.id
        if len(lines) < _BATCH:
            return {"AlarmHistoryItems": found}
        after = lines[-1].id


OPERATIONS: dict[str, Handler] = {"cloudwatch.DescribeAlarmHistory": describe_alarm_history}
