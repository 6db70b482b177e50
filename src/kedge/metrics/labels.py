"""Labels of series with values in them: "max ${MAX}, ${PROP('Dim.Host')}". PURE.

What can stand in ${...} is CloudWatch's list. Where AWS does not say how a value is written: a number with five
significant digits at most, a time as "2026-01-31 12:00:00 UTC" (or in the zone that is asked for), a span as
"1h 30m". A value of a series without points is "-", a property that the series does not have is empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

from kedge.metrics.math.values import Series

MOST_VALUES = 5
"""Values of points in one label; LABEL and PROP are not counted."""
NOTHING = "-"

_PLACE = re.compile(r"\$\{([^{}]*)\}")
_PROPERTY = re.compile(r"PROP\(\s*(['\"])(.*?)\1\s*\)")
_ZONE = re.compile(r"([+-])(\d{2})(\d{2})")


class LabelRefused(ValueError):
    """A label that cannot be written; the message says what is wrong."""


@dataclass(frozen=True)
class Surroundings:
    now_s: float
    account: str = ""
    region: str = ""
    zone: timezone = field(default=UTC)
    """Of times in labels: LabelOptions.Timezone."""


def zone(text: str) -> timezone:
    """ "+0130", "-0800". Raises LabelRefused."""
    found = _ZONE.fullmatch(text)
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise LabelRefused(
            f'The time zone "{text}" has to be + or - with two digits of hours and two of minutes: +0130.'
        )
    away = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-away if found[1] == "-" else away)


def check(template: str) -> None:
    """Raises LabelRefused for what `written` could not write, whatever the series."""
    names = [found[1].strip() for found in _PLACE.finditer(template)]
    for name in names:
        if name not in VALUES and name != "LABEL" and not _is_property(name):
            raise LabelRefused(f'"${{{name}}}" in the label "{template}" is none of {", ".join(_known())}.')
    if names.count("LABEL") > 1:
        raise LabelRefused(f'The label "{template}" names ${{LABEL}} more than once.')
    if sum(name in VALUES for name in names) > MOST_VALUES:
        raise LabelRefused(f'The label "{template}" has more than {MOST_VALUES} dynamic values.')


def written(template: str, series: Series, around: Surroundings) -> str:
    """The label of this series. Its own label is what ${LABEL} stands for. Raises LabelRefused, as `check`."""
    if "${" not in template:
        return template
    check(template)

    def value(found: re.Match[str]) -> str:
        name = found[1].strip()
        if name == "LABEL":
            return series.label
        of_points = VALUES.get(name)
        if of_points is None:
            return _property(name, series, around)
        return of_points(sorted(series.points.items()), around) if series.points else _of_nothing(name)

    return _PLACE.sub(value, template)


Points = Sequence[tuple[int, float]]
"""In the order of time, at least one."""


def number(value: float) -> str:
    """At most five significant digits, without trailing zeros: 0.33333, 1234.5, 1.5e+20."""
    return f"{int(value)}" if abs(value) < 1e15 and value == int(value) else f"{value:.5g}"


def span(seconds: float) -> str:
    """The two largest units: "2d 3h", "1h 30m", "45s"."""
    left, parts = int(abs(seconds)), list[str]()
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(part for part in parts[:2] if part) or "0s"


def _moment(at: int, around: Surroundings) -> str:
    local = datetime.fromtimestamp(at, around.zone)
    return f"{local:%Y-%m-%d %H:%M:%S} " + ("UTC" if around.zone.utcoffset(None) == timedelta() else f"{local:%z}")


def _first(points: Points) -> tuple[int, float]:
    return points[0]


def _last(points: Points) -> tuple[int, float]:
    return points[-1]


def _least(points: Points) -> tuple[int, float]:
    return min(points, key=lambda point: point[1])


def _most(points: Points) -> tuple[int, float]:
    return max(points, key=lambda point: point[1])


Pick = Callable[[Points], tuple[int, float]]
Write = Callable[[Points, Surroundings], str]


def _about(name: str, pick: Pick) -> dict[str, Write]:
    """A point's value, its time and how long ago that was. Of several equal values the earliest."""
    return {
        name: lambda points, around: number(pick(points)[1]),
        f"{name}_TIME": lambda points, around: _moment(pick(points)[0], around),
        f"{name}_TIME_RELATIVE": lambda points, around: span(around.now_s - pick(points)[0]),
    }


def _between(name: str, one: Pick, other: Pick) -> dict[str, Write]:
    return {
        f"{name}_RANGE": lambda points, around: number(other(points)[1] - one(points)[1]),
        f"{name}_TIME_RANGE": lambda points, around: span(other(points)[0] - one(points)[0]),
    }


VALUES: dict[str, Write] = {
    "AVG": lambda points, around: number(sum(value for _, value in points) / len(points)),
    "SUM": lambda points, around: number(sum(value for _, value in points)),
    "DATAPOINT_COUNT": lambda points, around: str(len(points)),
    **_about("FIRST", _first),
    **_about("LAST", _last),
    **_about("MIN", _least),
    **_about("MAX", _most),
    **_between("FIRST_LAST", _first, _last),
    **_between("MIN_MAX", _least, _most),
}

_PROPERTIES = ("AccountId", "AccountLabel", "MetricName", "Namespace", "Period", "Region", "Stat")
_DIMENSION = "Dim."


def _known() -> list[str]:
    return [*VALUES, "LABEL", *(f"PROP('{name}')" for name in (*_PROPERTIES, "Dim.NAME"))]


def _is_property(name: str) -> bool:
    found = _PROPERTY.fullmatch(name)
    return found is not None and (found[2] in _PROPERTIES or _names_dimension(found[2]))


def _names_dimension(name: str) -> bool:
    return name.startswith(_DIMENSION) and name != _DIMENSION


def _property(name: str, series: Series, around: Surroundings) -> str:
    found = _PROPERTY.fullmatch(name)
    assert found is not None
    asked, metric = found[2], series.metric
    if asked in ("AccountId", "AccountLabel"):
        return metric.account if metric else around.account
    if asked == "Region":
        return metric.region if metric else around.region
    if asked == "Period":
        return str(series.period_s)
    if asked == "Stat":
        return series.stat
    if metric is None:
        return ""
    if _names_dimension(asked):
        return dict(metric.dimensions).get(asked.removeprefix(_DIMENSION), "")
    return metric.name if asked == "MetricName" else metric.namespace


def _of_nothing(name: str) -> str:
    return {"SUM": "0", "DATAPOINT_COUNT": "0"}.get(name, NOTHING)
