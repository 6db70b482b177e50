"""What a picture of metrics is to show: the MetricWidget of GetMetricWidgetImage. PURE.

Source: "GetMetricWidgetImage: Metric Widget Structure and Syntax". Where no period is given it is 300 s, 60 s where the
picture spans an hour or less, and 3600 s where it begins so long ago that nothing shorter is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timezone
from typing import Any, NamedTuple

from kedge.metrics import documents, labels, row_names, rows, widgets
from kedge.metrics.documents import Members
from kedge.metrics.rows import Row
from kedge.metrics.series import DAY_S, HOUR_S

MOST_METRICS = 100
LARGEST_PX = 2000
LONGEST_WIDGET = 100 * 1024
LONGEST_S = 731 * DAY_S
DEFAULT_STAT = "Average"
MONTH_S = 30 * DAY_S

_WIDGET = Members(
    {
        **widgets.COMMON,
        "height": documents.integer(1, LARGEST_PX),
        "theme": documents.text("light", "dark"),
        "width": documents.integer(1, LARGEST_PX),
    }
)


class PictureRefused(ValueError):
    """The message says what is wrong with the widget."""


@dataclass(frozen=True)
class Axis:
    low: float | None = None
    high: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Mark:
    """An annotation: one value, or a band between two. value: on the axis, or seconds since 1970 where it is vertical.

    fill: "above", "below", "before", "after" or "none"; axis counts where it is horizontal.
    """

    value: float
    label: str = ""
    colour: str = ""
    fill: str = "none"
    axis: str = "left"
    until: float | None = None
    until_label: str = ""


@dataclass(frozen=True)
class Picture:
    start_s: int
    end_s: int
    rows: tuple[Row, ...]
    title: str = ""
    view: str = "timeSeries"
    stacked: bool = False
    width: int = 600
    height: int = 400
    period_s: int = 300
    stat: str = DEFAULT_STAT
    region: str = ""
    legend: str = "bottom"
    dark: bool = False
    sparkline: bool = False
    zone: timezone = UTC
    left: Axis = Axis()
    right: Axis = Axis()
    horizontal: tuple[Mark, ...] = ()
    vertical: tuple[Mark, ...] = ()
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One series as it is drawn. points: (seconds since 1970, value) in the order of time."""

    label: str
    points: Sequence[tuple[int, float]]
    period_s: int = 300
    colour: str = ""
    axis: str = "left"
    lower: Sequence[tuple[int, float]] = ()
    """Of a band, whose upper border `points` are then: it is drawn as the area between them."""


def read(text: str, now_s: float) -> Picture:
    """Raises PictureRefused."""
    if len(text.encode()) > LONGEST_WIDGET:
        raise PictureRefused(f"MetricWidget has more than {LONGEST_WIDGET} bytes.")
    try:
        document = documents.parse(text)
    except ValueError as error:
        raise PictureRefused(f"MetricWidget is no JSON: {error}.") from None
    errors = [problem for problem in _WIDGET(document, "") if problem.is_error]
    if errors:
        raise PictureRefused(" ".join(f"{error.path or 'MetricWidget'}: {error.message}." for error in errors[:10]))
    found, _ = rows.read(document.get("metrics", []))
    if len(found) > MOST_METRICS:
        raise PictureRefused(f"/metrics: Should NOT have more than {MOST_METRICS} items; there are {len(found)}.")
    annotations = document.get("annotations", {})
    alarms = tuple(annotations.get("alarms", ()))
    if not found and not alarms:
        raise PictureRefused('MetricWidget: Should have "metrics", or "annotations" with "alarms".')
    start_s, end_s = _second(document.get("start", "-PT3H"), now_s), _second(document.get("end", "-PT0H"), now_s)
    if start_s >= end_s:
        raise PictureRefused("/start: Should be before the end of the picture.")
    if start_s < 0 or end_s > now_s + LONGEST_S:
        raise PictureRefused("/start: Should be 1970 or later, and the end in the next two years.")
    if end_s - start_s > LONGEST_S:
        raise PictureRefused(f"/start: Should be no more than {LONGEST_S // DAY_S} days before the end of the picture.")
    axes = document.get("yAxis", {})
    for side, axis in axes.items():
        if "min" in axis and "max" in axis and axis["min"] >= axis["max"]:
            raise PictureRefused(f"/yAxis/{side}: Should have min below max.")
    return Picture(
        start_s,
        end_s,
        tuple(found),
        title=document.get("title", ""),
        view=document.get("view", "timeSeries"),
        stacked=document.get("stacked", False),
        width=document.get("width", 600),
        height=document.get("height", 400),
        period_s=document.get("period") or _period_s(start_s, end_s, now_s),
        stat=document.get("stat", DEFAULT_STAT),
        region=document.get("region", ""),
        legend=document.get("legend", {}).get("position", "bottom"),
        dark=document.get("theme") == "dark",
        sparkline=document.get("sparkline", False),
        zone=labels.zone(document["timezone"]) if "timezone" in document else UTC,
        left=_axis(axes.get("left", {})),
        right=_axis(axes.get("right", {})),
        horizontal=_marks(annotations.get("horizontal", ())),
        vertical=_marks(annotations.get("vertical", ())),
        alarms=alarms,
    )


def with_alarm(picture: Picture, alarm: Mapping[str, Any]) -> Picture:
    """With the alarm's limit; with what it watches too, where the picture has no metrics of its own.

    alarm: members of PutMetricAlarm. One that compares with a band has no limit of its own.
    """
    watched = picture.rows or tuple(_watched(alarm))
    threshold = alarm.get("Threshold")
    if threshold is None:
        return replace(picture, rows=watched)
    told = f"{alarm['AlarmName']} {_SIGNS.get(alarm['ComparisonOperator'], '')} {labels.number(threshold)}"
    fill = "below" if alarm["ComparisonOperator"].startswith("LessThan") else "above"
    return replace(picture, rows=watched, horizontal=(*picture.horizontal, Mark(threshold, told, fill=fill)))


_SIGNS = {
    "GreaterThanOrEqualToThreshold": ">=",
    "GreaterThanThreshold": ">",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "<=",
}


def _watched(alarm: Mapping[str, Any]) -> Iterator[Row]:
    if "MetricName" in alarm:
        options = {"stat": alarm.get("Statistic") or alarm["ExtendedStatistic"], "period": alarm["Period"]}
        yield _row(alarm, options)
    for query in alarm.get("Metrics") or ():
        options = {"id": query["Id"], "visible": query.get("ReturnData", True)}
        options |= {"label": query["Label"]} if "Label" in query else {}
        if "Expression" in query:
            options |= {"period": query["Period"]} if "Period" in query else {}
            yield Row(expression=query["Expression"], options=options)
        else:
            stat = query["MetricStat"]
            yield _row(stat["Metric"], {**options, "stat": stat["Stat"], "period": stat["Period"]})


def _row(metric: Mapping[str, Any], options: Mapping[str, Any]) -> Row:
    dimensions = sorted((each["Name"], each["Value"]) for each in metric.get("Dimensions") or ())
    return Row(metric["Namespace"], metric["MetricName"], tuple(dimensions), options=options)


def queries(picture: Picture) -> list[dict[str, Any]]:
    """What GetMetricData is asked for: one query for each row, in order. Rows without an id get one that is free."""
    taken = {row.options.get("id") for row in picture.rows}
    free = (name for name in (f"row{number}" for number in range(len(picture.rows) * 2)) if name not in taken)
    return [_query(picture, row, row.options.get("id") or next(free)) for row in picture.rows]


class Found(NamedTuple):
    """What was read for one series of a query."""

    label: str
    points: Mapping[int, float]
    period_s: int


def lines(picture: Picture, found: Sequence[Sequence[Found]]) -> list[Line]:
    """found: for each row of the picture the series that it gave, in order. The two of a band become one line."""
    drawn = []
    names = row_names.names(picture.rows, picture.stat)
    for row, name, series in zip(picture.rows, names, found, strict=True):
        axis = row.options.get("yAxis", "left")
        if _is_band(row) and len(series) == 2:
            upper, lower = series
            label = row.options.get("label", upper.label.removesuffix(" High") + " (expected)")
            colour = row.options.get("color", "")
            drawn.append(replace(_line(upper, colour, axis), label=label, lower=_drawable(lower.points)))
            continue
        for place, each in enumerate(series):
            line = _line(each, row.options.get("color", "") if place == 0 else "", axis)
            # Of a metric with several units each line is called by its unit, behind the metric's name.
            drawn.append(replace(line, label=name + each.label.removeprefix(row.name)) if name else line)
    return drawn


def _line(found: Found, colour: str, axis: str) -> Line:
    return Line(found.label, _drawable(found.points), found.period_s, colour, axis)


def _drawable(points: Mapping[int, float]) -> list[tuple[int, float]]:
    """An expression can give more than a metric can hold."""
    return [(at, value) for at, value in sorted(points.items()) if abs(value) <= documents.LARGEST]


def _is_band(row: Row) -> bool:
    return row.expression.lstrip().startswith("ANOMALY_DETECTION_BAND")


def _query(picture: Picture, row: Row, name: str) -> dict[str, Any]:
    options = row.options
    query: dict[str, Any] = {"Id": name, "ReturnData": options.get("visible", True)}
    if "label" in options:
        query["Label"] = options["label"]
    if "accountId" in options:
        query["AccountId"] = options["accountId"]
    period_s = options.get("period", picture.period_s)
    if row.expression:
        return {**query, "Expression": row.expression, "Period": period_s}
    dimensions = [{"Name": name, "Value": value} for name, value in row.dimensions]
    metric = {"Namespace": row.namespace, "MetricName": row.name, "Dimensions": dimensions}
    return {**query, "MetricStat": {"Metric": metric, "Period": period_s, "Stat": options.get("stat", picture.stat)}}


def _period_s(start_s: int, end_s: int, now_s: float) -> int:
    if now_s - start_s > 63 * DAY_S:
        return HOUR_S
    return 60 if end_s - start_s <= HOUR_S and now_s - start_s < 15 * DAY_S else 300


def _second(text: str, now_s: float) -> int:
    """Of a time, or of a duration before now, that were checked before."""
    at = widgets.moment(text)
    if at is not None:
        return int(at.timestamp())
    found = widgets.DURATION.fullmatch(text)
    assert found is not None
    sizes = {"weeks": 604_800, "months": MONTH_S, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
    return int(now_s) - sum(int(found[name] or 0) * size for name, size in sizes.items())


def _axis(found: Mapping[str, Any]) -> Axis:
    return Axis(found.get("min"), found.get("max"), found.get("label", ""))


def _marks(found: Sequence[Any]) -> tuple[Mark, ...]:
    return tuple(mark for each in found if (mark := _mark(each)) is not None)


def _mark(found: Any) -> Mark | None:
    """None for one that is not visible."""
    first, last = found if isinstance(found, list) else (found, None)
    if not first.get("visible", True):
        return None
    return Mark(
        _place(first["value"]),
        first.get("label", ""),
        first.get("color", ""),
        first.get("fill", "none"),
        first.get("yAxis", "left"),
        None if last is None else _place(last["value"]),
        "" if last is None else last.get("label", ""),
    )


def _place(value: float | str) -> float:
    if not isinstance(value, str):
        return float(value)
    at = widgets.moment(value)
    assert at is not None
    return at.timestamp()
