"""GetMetricWidgetImage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kedge import arn
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.metrics import bands, drawing, pictures, queries
from kedge.metrics.drawing import PicturesMissing
from kedge.metrics.pictures import Found, Picture, PictureRefused
from kedge.metrics.reading import Reader
from kedge.metrics.store import MetricStore
from kedge.store.records import Scope

METRIC_ALARM = "metric-alarm"
"""The kind under which alarms are kept; `config` of its document has the members of PutMetricAlarm."""

Request = Mapping[str, Any]


def get_metric_widget_image(metrics: MetricStore, turn: threading.Lock, call: Call, request: Request) -> dict[str, Any]:
    form = request.get("OutputFormat", "png")
    if form != "png":
        raise ValidationFailed(f'OutputFormat is "{form}"; it has to be png, the format of MetricWidgetImage.')
    try:
        picture = pictures.read(request["MetricWidget"], call.now.timestamp())
    except PictureRefused as refused:
        raise ValidationFailed(str(refused)) from None
    for alarm in picture.alarms:
        picture = pictures.with_alarm(picture, _alarm(call, alarm))
    lines = pictures.lines(picture, _read(metrics, call, picture))
    try:
        with turn:
            return {"MetricWidgetImage": drawing.png(picture, lines)}
    except PicturesMissing as missing:
        raise ValidationFailed(str(missing)) from None


def _read(metrics: MetricStore, call: Call, picture: Picture) -> list[list[Found]]:
    """Of each row. Rows of other regions are read there, with what they refer to in the same region."""
    asked = pictures.queries(picture)
    queries.check(asked, call.caller.account)
    regions = [row.options.get("region") or picture.region or call.caller.region for row in picture.rows]
    found: dict[str, list[Found]] = {}
    for region in dict.fromkeys(regions):
        here = [query for query, each in zip(asked, regions, strict=True) if each == region]
        for result in _reader(metrics, call, picture, region).read(here):
            series = result.series
            found.setdefault(result.id, []).append(Found(series.label, series.points, series.period_s))
    return [found.get(query["Id"], []) for query in asked]


def _reader(metrics: MetricStore, call: Call, picture: Picture, region: str) -> Reader:
    scope = Scope(call.caller.account, region)
    return Reader(
        metrics, scope.account, scope.region, picture.start_s, picture.end_s, call.now.timestamp(), picture.zone,
        lambda asked, known, window: bands.band_of(call.store, scope, asked, known, window),
    )  # fmt: skip


def _alarm(call: Call, text: str) -> Mapping[str, Any]:
    """The members with which the alarm was put. Raises ValidationFailed."""
    try:
        named = arn.parse(text)
    except ValueError as error:
        raise ValidationFailed(f"/annotations/alarms: {error}.") from None
    kind, _, name = named.resource.partition(":")
    is_own = (named.service, kind, named.account) == ("cloudwatch", "alarm", call.caller.account)
    found = call.store.get(Scope(named.account, named.region), METRIC_ALARM, name) if is_own else None
    if found is None:
        raise ValidationFailed(f'/annotations/alarms: There is no metric alarm "{text}".')
    config: Mapping[str, Any] = found.document["config"]
    return config


def operations(metrics: MetricStore) -> dict[str, Callable[[Call, Any], dict[str, Any]]]:
    return {"cloudwatch.GetMetricWidgetImage": partial(get_metric_widget_image, metrics, threading.Lock())}
