"""What a metric normally is: a baseline with its seasons, and the band around it. PURE.

This is no copy of AWS's model, which is not published. It is the simplest one that knows days and weeks and is not led
astray by outliers: for every hour of the week the median of what was seen then, and as its spread the median absolute
deviation, scaled so that it is the standard deviation where values are normally distributed. Between the middles of two
hours the line is straight. The band is the median plus and minus the asked number of spreads.

Less history gives a simpler season: below a week the hours of the day, below two days one level for all. An hour that
was hardly seen takes the value of its hour of the day. No spread is below half of the spread of all residuals, so that
a few lucky points do not make a band that nothing fits into. A metric that was never negative has no band below 0.

What a detector's configuration changes:

    ExcludedTimeRanges         their points are left out
    MetricTimezone             hours are hours of that zone, so a season moves with daylight saving time
    AdaptationSpeed            how much of the last day's distance from the days before is taken over: FAST all of
                               it, NORMAL half, SLOW nothing; FAST also looks back one week only
    OutlierFilteringStrength   points farther than so many spreads are left out: MINIMAL 10, MODERATE 6, STRICT 3
    PeriodicSpikes             the band also holds the highest and the lowest of an hour, in the median of its days
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from statistics import median
from typing import Any, NamedTuple

HOUR_S, DAY_S, WEEK_S = 3600, 86_400, 604_800
HISTORY_S = 2 * WEEK_S
"""How far back a model looks."""
LEAST_POINTS = 15
LEAST_SPAN_S = HOUR_S
"""With less the detector is TRAINED_INSUFFICIENT_DATA and there is no band."""
HOURS_OF_WEEK, HOURS_OF_DAY = 168, 24
_LEAST_IN_HOUR = 3
_TO_DEVIATION = 1.4826
"""Of a normal distribution: its standard deviation is so many median absolute deviations."""
_TAKEN_OVER = {"FAST": 1.0, "NORMAL": 0.5, "SLOW": 0.0}
_FARTHEST = {"MINIMAL": 10.0, "MODERATE": 6.0, "STRICT": 3.0}

Points = Sequence[tuple[int, float]]
"""(start of the period in seconds since 1970, value), in the order of time."""


@dataclass(frozen=True)
class Habits:
    """What the configuration of a detector asks for. excluded: (from, until) in seconds since 1970."""

    zone: tzinfo
    excluded: Sequence[tuple[float, float]] = ()
    adaptation: str = "NORMAL"
    filtering: str = "MODERATE"
    has_spikes: bool = False


@dataclass(frozen=True)
class Hour:
    center: float
    spread: float


@dataclass(frozen=True)
class Model:
    """hours: of the week (168), of the day (24), or one for all times. shift: what the last day was away from them.

    spikes: (lowest, highest) of every hour, or nothing where they are anomalies.
    """

    period_s: int
    hours: tuple[Hour, ...]
    shift: float
    is_negative: bool
    spikes: tuple[tuple[float, float], ...] = ()

    def band(self, at: float, zone: tzinfo, deviations: float) -> tuple[float, float]:
        """(lower, upper) of the period that begins at `at`."""
        count = len(self.hours)
        place = _place(at + self.period_s / 2, zone, count)
        before = math.floor(place - 0.5)
        share = place - 0.5 - before  # in a straight line between the middles of two hours
        one, other = self.hours[before % count], self.hours[(before + 1) % count]
        center = one.center * (1 - share) + other.center * share + self.shift
        away = deviations * (one.spread * (1 - share) + other.spread * share)
        lower, upper = center - away, center + away
        if self.spikes:
            lowest, highest = self.spikes[int(place) % count]
            lower, upper = min(lower, lowest), max(upper, highest)
        return (lower if self.is_negative else max(lower, 0.0)), upper

    @property
    def season(self) -> str:
        return {HOURS_OF_WEEK: "hour of the week", HOURS_OF_DAY: "hour of the day"}.get(len(self.hours), "none")

    def as_json(self) -> dict[str, Any]:
        return {
            "PeriodS": self.period_s,
            "Hours": [[_rounded(hour.center), _rounded(hour.spread)] for hour in self.hours],
            "Shift": _rounded(self.shift),
            "IsNegative": self.is_negative,
            "Spikes": [[_rounded(lowest), _rounded(highest)] for lowest, highest in self.spikes],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Model:
        hours = tuple(Hour(center, spread) for center, spread in found["Hours"])
        spikes = tuple((lowest, highest) for lowest, highest in found["Spikes"])
        return cls(found["PeriodS"], hours, found["Shift"], found["IsNegative"], spikes)


def fit(points: Points, period_s: int, habits: Habits) -> Model | None:
    """The model of what lies in `points`; None where that is too little."""
    kept = _kept(points, habits)
    if len(kept) < LEAST_POINTS or kept[-1][0] - kept[0][0] < LEAST_SPAN_S:
        return None
    span_s = kept[-1][0] - kept[0][0] + period_s
    count = HOURS_OF_WEEK if span_s >= WEEK_S else HOURS_OF_DAY if span_s >= 2 * DAY_S else 1
    seen = [Seen(at, int(_place(at + period_s / 2, habits.zone, HOURS_OF_WEEK)) % HOURS_OF_WEEK, v) for at, v in kept]
    hours = _hours(seen, count)
    farthest = _FARTHEST[habits.filtering]
    near = [each for each in seen if abs(each.value - hours[each.hour % count].center) <= _reach(hours, each, farthest)]
    if len(near) < len(seen):
        hours = _hours(near, count)
    shift = _shift(near, count, _TAKEN_OVER[habits.adaptation]) if span_s >= 2 * DAY_S else 0.0
    spikes = _spikes(seen, count) if habits.has_spikes else ()
    return Model(period_s, hours, shift, min(each.value for each in near) < 0, spikes)


class Seen(NamedTuple):
    at: int
    hour: int
    """Of the week, on the clocks of the zone."""
    value: float


def _reach(hours: Sequence[Hour], seen: Seen, farthest: float) -> float:
    return farthest * hours[seen.hour % len(hours)].spread or math.inf


def _shift(seen: Sequence[Seen], count: int, taken_over: float) -> float:
    """How far the last day was from what the days before make expect."""
    since = seen[-1].at - DAY_S
    before = [each for each in seen if each.at <= since]
    if not before or not taken_over:
        return 0.0
    hours = _hours(before, count)
    return taken_over * median(each.value - hours[each.hour % count].center for each in seen if each.at > since)


def _spikes(seen: Sequence[Seen], count: int) -> tuple[tuple[float, float], ...]:
    """(lowest, highest) of every hour. Half of its days reached them at least, so they come again and again."""
    lowest: dict[tuple[int, int], float] = {}
    highest: dict[tuple[int, int], float] = {}
    for at, hour, value in seen:
        day = hour % count, at // DAY_S
        lowest[day], highest[day] = min(value, lowest.get(day, value)), max(value, highest.get(day, value))
    middle = median(each.value for each in seen)
    found = []
    for number in range(count):
        low = [value for (hour, _), value in lowest.items() if hour == number]
        high = [value for (hour, _), value in highest.items() if hour == number]
        found.append((median(low) if low else middle, median(high) if high else middle))
    return tuple(found)


def _kept(points: Points, habits: Habits) -> list[tuple[int, float]]:
    if not points:
        return []
    since = points[-1][0] - (WEEK_S if habits.adaptation == "FAST" else HISTORY_S)
    return [
        (at, value)
        for at, value in points
        if at > since and not any(start <= at < end for start, end in habits.excluded)
    ]


def _hours(seen: Sequence[Seen], count: int) -> tuple[Hour, ...]:
    """An hour with too few points is as its hour of the day, else as all of them."""
    everything = _hour_of([each.value for each in seen])
    by_day, by_hour = _grouped(seen, min(count, HOURS_OF_DAY)), _grouped(seen, count)
    hours = []
    for number in range(count):
        own, of_day = by_hour.get(number, []), by_day.get(number % HOURS_OF_DAY, [])
        group = next((group for group in (own, of_day) if len(group) >= _LEAST_IN_HOUR), None)
        hours.append(everything if group is None else _hour_of(group))
    least = _spread([each.value - hours[each.hour % count].center for each in seen]) / 2
    return tuple(_at_least(hour, least) for hour in hours)


def _at_least(hour: Hour, spread: float) -> Hour:
    """Where nothing ever varied, a hundredth of the value is its spread."""
    wide = max(hour.spread, spread) or abs(hour.center) / 100
    return Hour(hour.center, wide)


def _grouped(seen: Sequence[Seen], count: int) -> dict[int, list[float]]:
    groups: dict[int, list[float]] = {}
    for each in seen:
        groups.setdefault(each.hour % count, []).append(each.value)
    return groups


def _hour_of(values: Sequence[float]) -> Hour:
    center = median(values)
    return Hour(center, _spread([value - center for value in values]))


def _spread(residuals: Sequence[float]) -> float:
    middle = median(residuals)
    return _TO_DEVIATION * median(abs(residual - middle) for residual in residuals)


def _place(at: float, zone: tzinfo, count: int) -> float:
    """Of a moment among `count` hours, in hours since Monday 0:00 on the clocks of the zone."""
    local = datetime.fromtimestamp(at, zone)
    return (local.weekday() * 24 + local.hour + (local.minute * 60 + local.second) / 3600) % count


def _rounded(value: float) -> float:
    """Seven digits: a model is kept as text, and its own error is larger."""
    return float(f"{value:.7g}")
