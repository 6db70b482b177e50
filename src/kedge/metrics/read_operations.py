"""Reading metrics: GetMetricData, GetMetricStatistics, ListMetrics."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import orjson

from kedge import listing
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.metrics import bands, labels, queries, statistics
from kedge.metrics.errors import InvalidNextToken, InvalidParameterCombination, InvalidParameterValue
from kedge.metrics.math import Value, Window
from kedge.metrics.reading import Band, Query, Reader, Result
from kedge.metrics.series import DAY_S, HOUR_S, Metric, Summary, is_period, metric, rounded_start
from kedge.metrics.statistics import BASIC, StatisticUnknown
from kedge.metrics.store import MetricStore

MOST_DATAPOINTS = 100_800
"""Of one page of GetMetricData."""
MOST_STATISTICS = 1440
"""Datapoints of GetMetricStatistics."""
PAGE = 500
SILENT_S = 14 * DAY_S
"""A metric without a datapoint for so long is not listed."""

Request = Mapping[str, Any]
Answer = dict[str, Any]


def get_metric_data(store: MetricStore, call: Call, request: Request) -> Answer:
    asked: Sequence[Query] = request["MetricDataQueries"]
    queries.check(asked, call.caller.account)
    if request["StartTime"] >= request["EndTime"]:
        raise ValidationFailed("The parameter StartTime must be less than the parameter EndTime.")
    most = request.get("MaxDatapoints", MOST_DATAPOINTS)
    if not 1 <= most <= MOST_DATAPOINTS:
        raise ValidationFailed(f"The parameter MaxDatapoints must be 1 to {MOST_DATAPOINTS}; it is {most}.")
    try:
        zone = labels.zone(request.get("LabelOptions", {}).get("Timezone", "+0000"))
    except labels.LabelRefused as refused:
        raise ValidationFailed(str(refused)) from None
    reader = Reader(
        store, call.caller.account, call.caller.region, request["StartTime"].timestamp(),
        request["EndTime"].timestamp(), call.now.timestamp(), zone, _bands(call),
    )  # fmt: skip
    question = _question(call, request)
    begin = _opened(request, question) or [0, 0, None]
    descending = request.get("ScanBy", "TimestampDescending") == "TimestampDescending"
    results, following = _page(reader.each(asked, begin[0]), len(asked), begin, most, descending)
    answer: Answer = {"MetricDataResults": results, "Messages": []}
    if following is not None and not queries.has_expression(asked):
        answer["NextToken"] = listing.sealed(orjson.dumps(following).decode(), question)
    return answer


def _bands(call: Call) -> Callable[[Sequence[Query], Mapping[str, Value], Window], Band]:
    return lambda asked, known, window: bands.band_of(call.store, call.scope, asked, known, window)


def _page(
    found: Iterable[tuple[int, Sequence[Result]]], count: int, begin: Sequence[Any], most: int, descending: bool
) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """What comes from a place on, and where the next page begins: [query, which of its results, its last time].

    found: from the place's query on, of `count` queries; no more is taken from it than the page has room for."""
    query_begin, result_begin, after = begin
    query = query_begin - 1
    told: list[dict[str, Any]] = []
    for query, results in found:
        first = result_begin if query == query_begin else 0
        for number, result in enumerate(results[first:], first):
            points = sorted(result.series.points.items(), reverse=descending)
            if after is not None:
                points = [point for point in points if (point[0] < after if descending else point[0] > after)]
            whole = len(points) <= most
            points = points[:most]
            most -= len(points)
            told.append(
                {
                    "Id": result.id,
                    "Label": result.series.label,
                    "Timestamps": [datetime.fromtimestamp(at_s, UTC) for at_s, _ in points],
                    "Values": [value for _, value in points],
                    "StatusCode": "Complete" if whole else "PartialData",
                }
            )
            if not whole:
                return told, [query, number, points[-1][0] if points else after]
            after = None
    return told, [query + 1, 0, None] if query + 1 < count else None


def get_metric_statistics(store: MetricStore, call: Call, request: Request) -> Answer:
    period_s, now_s = request["Period"], call.now.timestamp()
    start, end = request["StartTime"].timestamp(), request["EndTime"].timestamp()
    if not is_period(period_s):
        raise InvalidParameterValue(f"The parameter Period must be {queries.PERIODS}; it is {period_s}.")
    if start >= end:
        raise InvalidParameterValue("The parameter StartTime must be less than the parameter EndTime.")
    named = _statistics(request)
    start_s, end_s = rounded_start(start, period_s, now_s), math.ceil(end)
    count = int((end - start) // period_s)  # as AWS counts: whole periods, wherever the first one begins
    if count > MOST_STATISTICS:
        raise InvalidParameterCombination(
            f"You have requested up to {count} datapoints, which exceeds the limit of {MOST_STATISTICS}. You may "
            "reduce the datapoints requested by increasing Period, or decreasing the time range."
        )
    of = _metric(call, request)
    found = store.read(of, request.get("Unit"), period_s, start_s, end_s)
    points = [_datapoint(at_s, unit, known, named) for unit, periods in found for at_s, known in periods.items()]
    return {"Label": of.name, "Datapoints": [point for point in points if point is not None]}


def _statistics(request: Request) -> list[statistics.Statistic]:
    basic, extended = request.get("Statistics") or [], request.get("ExtendedStatistics") or []
    if bool(basic) == bool(extended):
        raise InvalidParameterCombination(
            "Exactly one of the parameters Statistics and ExtendedStatistics must be specified."
        )
    try:
        found = [statistics.parse(text) for text in [*basic, *extended]]
    except StatisticUnknown as unknown:
        raise InvalidParameterValue(
            f"The value for parameter ExtendedStatistics is not supported: {unknown}."
        ) from None
    named = next((each.text for each in found if extended and each.kind in BASIC), None)
    if named is not None:
        raise InvalidParameterValue(f"The value {named} for parameter ExtendedStatistics belongs into Statistics.")
    return found


def _datapoint(at_s: int, unit: str, known: Summary, named: Sequence[statistics.Statistic]) -> dict[str, Any] | None:
    """None where nothing that is asked for is known of the period."""
    values = {each.text: value for each in named if (value := statistics.value(each, known)) is not None}
    if not values:
        return None
    point = {"Timestamp": datetime.fromtimestamp(at_s, UTC), "Unit": unit}
    return {**point, **values} if named[0].kind in BASIC else {**point, "ExtendedStatistics": values}


def list_metrics(store: MetricStore, call: Call, request: Request) -> Answer:
    own = call.caller.account
    if request.get("OwningAccount", own) != own:
        return {"Metrics": []}
    question, now_s = _question(call, request), call.now.timestamp()
    after = _opened(request, question)
    found = store.metrics(
        own,
        call.caller.region,
        request.get("Namespace"),
        request.get("MetricName"),
        [(each["Name"], each.get("Value")) for each in request.get("Dimensions") or ()],
        now_s - (3 * HOUR_S if request.get("RecentlyActive") == "PT3H" else SILENT_S),
        None if after is None else metric(own, call.caller.region, after[0], after[1], [(n, v) for n, v in after[2]]),
    )
    listed = list(islice(found, PAGE + 1))
    answer: Answer = {"Metrics": [_described(each) for each in listed[:PAGE]]}
    if request.get("IncludeLinkedAccounts"):
        answer["OwningAccounts"] = [own] * len(answer["Metrics"])
    if len(listed) > PAGE:
        answer["NextToken"] = listing.sealed(orjson.dumps(listed[PAGE - 1][2:]).decode(), question)
    return answer


def _described(of: Metric) -> dict[str, Any]:
    dimensions = [{"Name": name, "Value": value} for name, value in of.dimensions]
    return {"Namespace": of.namespace, "MetricName": of.name, "Dimensions": dimensions}


def _metric(call: Call, request: Request) -> Metric:
    dimensions = [(each["Name"], each["Value"]) for each in request.get("Dimensions") or ()]
    return metric(call.caller.account, call.caller.region, request["Namespace"], request["MetricName"], dimensions)


def _question(call: Call, request: Request) -> str:
    """A token belongs to the request that it was given for."""
    asked = {name: value for name, value in request.items() if name != "NextToken"}
    whole = orjson.dumps([call.caller.account, call.caller.region, asked], default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(whole).hexdigest()[:32]


def _opened(request: Request, question: str) -> Any:
    """What a NextToken says; None without one."""
    token = request.get("NextToken")
    if not token:
        return None
    try:
        return orjson.loads(listing.opened(token, question))
    except ValidationFailed:
        raise InvalidNextToken("The parameter NextToken is not one that was given for this request.") from None
