"""Which stretch of time an execution looks at, and in which hours its files lie. PURE.

An execution of time t looks at what came from the time before it on until t, or at what its offsets say, which are
subtracted from t. Source: StartTimeOffset and EndTimeOffset of EndpointInput, DataAnalysisStartTime and
DataAnalysisEndTime of ScheduleConfig.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

LONGEST = timedelta(days=32)
"""Of a window and of what it lies back: its hours are looked through one by one."""
_DURATION = re.compile(r"-?P(?=.)(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)D)?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_HOUR = timedelta(hours=1)


class BadWindow(ValueError):
    """The message says which value is wrong and what would be right."""


@dataclass(frozen=True)
class Window:
    """From start on, and before end."""

    start: datetime
    end: datetime

    @property
    def hours(self) -> list[datetime]:
        """The beginnings of the hours that it touches."""
        return hours(self.start, self.end)


def duration(text: str) -> timedelta:
    """An ISO 8601 duration of weeks to seconds; a leading minus is taken as read, and days may stand behind the T.

    Raises BadWindow.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        raise BadWindow(f'"{text}" is no duration; it has to be one such as -PT1H or -P1D')
    weeks, days, more_days, hour, minutes, seconds = (int(each or 0) for each in found.groups())
    try:
        back = timedelta(weeks=weeks, days=days + more_days, hours=hour, minutes=minutes, seconds=seconds)
    except OverflowError:
        back = timedelta.max
    if back > LONGEST:
        raise BadWindow(f'"{text}" is longer than {LONGEST.days} days, which is the most')
    return back


def window(scheduled: datetime, before: datetime, start: str = "", end: str = "") -> Window:
    """before: the scheduled time before this one. start, end: offsets, or empty. Raises BadWindow."""
    begin = scheduled - duration(start) if start else max(before, scheduled - LONGEST)
    until = scheduled - duration(end) if end else scheduled
    if begin >= until:
        raise BadWindow(f"the window would begin at {text(begin)} and end at {text(until)}; it has to begin before")
    return Window(begin, until)


def hours(start: datetime, end: datetime) -> list[datetime]:
    """The beginnings of the hours that [start, end) touches."""
    first = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return [first + _HOUR * number for number in range(max(0, -(-(end - first) // _HOUR)))]


def folder(hour: datetime) -> str:
    """As files of captured records and of labels lie."""
    return f"{hour:%Y/%m/%d/%H}"


def text(at: datetime) -> str:
    """As a job's environment and captured records have it."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"
