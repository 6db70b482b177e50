"""The properties of a metric widget, in a dashboard and in GetMetricWidgetImage. PURE."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from kedge.metrics import documents, labels, rows
from kedge.metrics.documents import Members, Problem

VIEWS = ("timeSeries", "singleValue", "bar", "pie", "gauge", "table")
DURATION = re.compile(
    r"-?P(?!$)(?:(?P<weeks>\d{1,4})W)?(?:(?P<months>\d{1,4})M)?(?:(?P<days>\d{1,4})D)?"
    r"(?:T(?!$)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,8})M)?(?:(?P<seconds>\d{1,9})S)?)?"
)


def moment(text: str) -> datetime | None:
    """A time that names its zone; None for any other text."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def time_problem(text: str) -> str:
    if DURATION.fullmatch(text) or moment(text):
        return ""
    return "Should be a time such as 2026-01-31T12:00:00.000Z, or a duration before now such as -PT3H or -P7D"


def _moment_problem(text: str) -> str:
    return "" if moment(text) else "Should be a time such as 2026-01-31T12:00:00.000Z"


def _zone_problem(text: str) -> str:
    try:
        labels.zone(text)
    except labels.LabelRefused as refused:
        return str(refused)
    return ""


_AXIS = Members(
    {"min": documents.number(), "max": documents.number(), "label": documents.text(), "showUnits": documents.flag}
)
_HORIZONTAL = Members(
    {
        "value": documents.number(),
        "label": documents.text(),
        "color": documents.text(check=rows.colour_problem),
        "fill": documents.text("above", "below", "none"),
        "visible": documents.flag,
        "yAxis": documents.text("left", "right"),
    },
    required=("value",),
)
_VERTICAL = Members(
    {
        "value": documents.text(check=_moment_problem),
        "label": documents.text(),
        "color": documents.text(check=rows.colour_problem),
        "fill": documents.text("before", "after", "none"),
        "visible": documents.flag,
    },
    required=("value",),
)


def _alone_or_band(one: documents.Check) -> documents.Check:
    """An annotation, or two of them with the band between them."""
    band = documents.array(one, least=2, most=2)

    def look(value: Any, path: str) -> Iterator[Problem]:
        yield from (band if isinstance(value, list) else one)(value, path)

    return look


def metrics(value: Any, path: str) -> Iterator[Problem]:
    yield from rows.read(value, path)[1]


COMMON: dict[str, documents.Check] = {
    "accountId": documents.text(),
    "annotations": Members(
        {
            "alarms": documents.array(documents.text(), most=1),
            "horizontal": documents.array(_alone_or_band(_HORIZONTAL)),
            "vertical": documents.array(_alone_or_band(_VERTICAL)),
        }
    ),
    "end": documents.text(check=time_problem),
    "legend": Members({"position": documents.text("bottom", "right", "hidden")}),
    "liveData": documents.flag,
    "metrics": metrics,
    "period": rows.period,
    "region": documents.text(),
    "setPeriodToTimeRange": documents.flag,
    "singleValueFullPrecision": documents.flag,
    "sparkline": documents.flag,
    "stacked": documents.flag,
    "start": documents.text(check=time_problem),
    "stat": documents.text(check=rows.statistic_problem),
    "timezone": documents.text(check=_zone_problem),
    "title": documents.text(),
    "trend": documents.flag,
    "view": documents.text(*VIEWS),
    "yAxis": Members({"left": _AXIS, "right": _AXIS}),
}
"""Of every metric widget."""
