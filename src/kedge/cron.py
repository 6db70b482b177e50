"""Cron expressions of AWS: minutes, hours, day of the month, month, day of the week, year. PURE.

One of the two days has to be "?". Lists, ranges, steps, names of months and days, L (last), W (nearest weekday) and #
(the n-th of its kind in the month) are understood. Source: "Cron expressions" in the Application Auto Scaling and
EventBridge user guides.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIRST_YEAR, LAST_YEAR = 1970, 2199
_W = re.compile(r"(\d{1,2})W")
_NTH = re.compile(r"([A-Z]{3}|\d)#([1-5])")
_LAST = re.compile(r"([A-Z]{3}|\d)L")


class CronRefused(ValueError):
    """The text is no cron expression; the message says why."""


@dataclass(frozen=True)
class Cron:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: str
    """Day of the month as it was written; "?" for none."""
    months: frozenset[int]
    weekdays: str
    years: frozenset[int]

    def after(self, local: datetime) -> datetime | None:
        """The first time after `local`; both without a zone. None when there is none."""
        start = local.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for day in self._dates(start.date()):
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    found = datetime.combine(day, time(hour, minute))
                    if found >= start:
                        return found
        return None

    def _dates(self, first: date) -> Iterator[date]:
        for year in range(first.year, LAST_YEAR + 1):
            if year not in self.years:
                continue
            for month in sorted(self.months):
                if (year, month) < (first.year, first.month):
                    continue
                for day in self._days_of(year, month):
                    found = date(year, month, day)
                    if found >= first:
                        yield found

    def _days_of(self, year: int, month: int) -> list[int]:
        last = calendar.monthrange(year, month)[1]
        if self.days != "?":
            return sorted(_of_month(self.days, year, month, last))
        return sorted(day for day in range(1, last + 1) if _is_weekday(self.weekdays, date(year, month, day), last))


def parse(text: str) -> Cron:
    """text: the six fields. Raises CronRefused."""
    given = text.upper().split()
    if len(given) != 6:
        raise CronRefused(f"{len(given)} fields; it has to have six: minutes, hours, days, months, weekdays, years")
    minutes, hours, days, months, weekdays, years = given
    if (days == "?") == (weekdays == "?"):
        raise CronRefused("exactly one of the day of the month and the day of the week has to be ?")
    if days != "?":
        _of_month(days, 2024, 2, 29)
    if weekdays != "?":
        _is_weekday(weekdays, date(2024, 2, 29), 29)
    return Cron(
        _numbers(minutes, 0, 59, "minutes"),
        _numbers(hours, 0, 23, "hours"),
        days,
        _numbers(months, 1, 12, "months", MONTHS, 1),
        weekdays,
        _numbers(years, FIRST_YEAR, LAST_YEAR, "years"),
    )


def _numbers(text: str, low: int, high: int, what: str, names: tuple[str, ...] = (), first: int = 0) -> frozenset[int]:
    """names: what the numbers from `first` on may be called. Raises CronRefused."""
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        begin_text, dash, end_text = span.partition("-")
        step = _number(step_text, 1, high, what) if slash else 1
        if span == "*":
            begin, end = low, high
        else:
            begin = _number(begin_text, low, high, what, names, first)
            end = _number(end_text, low, high, what, names, first) if dash else high if slash else begin
        if begin > end:
            raise CronRefused(f"{part} in {what} goes backwards")
        found.update(range(begin, end + 1, step))
    return frozenset(found)


def _number(text: str, low: int, high: int, what: str, names: tuple[str, ...] = (), first: int = 0) -> int:
    if text in names:
        return names.index(text) + first
    if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
        raise CronRefused(f'"{text}" in {what} is none of {low} to {high}')
    return int(text)


def _of_month(text: str, year: int, month: int, last: int) -> set[int]:
    if text == "L":
        return {last}
    if text == "LW":
        return {_nearest_weekday(year, month, last, last)}
    if (found := _W.fullmatch(text)) is not None:
        day = _number(found[1], 1, 31, "days of the month")
        return {_nearest_weekday(year, month, day, last)} if day <= last else set()
    return {day for day in _numbers(text, 1, 31, "days of the month") if day <= last}


def _nearest_weekday(year: int, month: int, day: int, last: int) -> int:
    """In the same month."""
    weekday = date(year, month, day).weekday()
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == calendar.SUNDAY:
        return day + 1 if day < last else day - 2
    return day


def _is_weekday(text: str, day: date, last: int) -> bool:
    number = day.isoweekday() % 7 + 1  # 1 is Sunday
    if (found := _NTH.fullmatch(text)) is not None:
        return number == _weekday(found[1]) and (day.day - 1) // 7 + 1 == int(found[2])
    if (found := _LAST.fullmatch(text)) is not None:
        return number == _weekday(found[1]) and day.day > last - 7
    if text == "L":
        return number == 7
    return number in _numbers(text, 1, 7, "days of the week", DAYS, 1)


def _weekday(text: str) -> int:
    return _number(text, 1, 7, "days of the week", DAYS, 1)
