"""When a scheduled action is due: at(...), rate(...) or cron(...), in a time zone. PURE.

A time that the clocks leave out in spring comes an hour later; one that they have twice in autumn is the first of both.
A time before the year 1 or after the year 9999 never comes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kedge import cron
from kedge.errors import ValidationFailed

_AT = re.compile(r"at\((\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})\)")
_RATE = re.compile(r"rate\((\d{1,9}) (minute|minutes|hour|hours|day|days)\)")
_CRON = re.compile(r"cron\((.*)\)")
_LOOKED_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=100_000))
"""How far it is looked back for the last of many times that were missed, the shortest first."""
_UNIT_S = {"minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True)
class At:
    local: datetime
    zone: ZoneInfo

    def after(self, at: datetime) -> datetime | None:
        try:
            found = instant(self.local, self.zone)
        except OverflowError:
            return None
        return found if found > at else None


@dataclass(frozen=True)
class Rate:
    period_s: int
    begin: datetime

    def after(self, at: datetime) -> datetime | None:
        """A period after `begin`, and each period from then on."""
        passed = max(0, int((at - self.begin).total_seconds() // self.period_s))
        try:
            return self.begin + timedelta(seconds=(passed + 1) * self.period_s)
        except OverflowError:
            return None


@dataclass(frozen=True)
class Cron:
    fields: cron.Cron
    zone: ZoneInfo

    def after(self, at: datetime) -> datetime | None:
        try:
            return self._after(at)
        except OverflowError:
            return None

    def _after(self, at: datetime) -> datetime | None:
        local = at.astimezone(self.zone).replace(tzinfo=None)
        for _ in range(200):  # in autumn an hour of local times lies behind `at` once more
            following = self.fields.after(local)
            if following is None:
                return None
            found = instant(following, self.zone)
            if found > at:
                return found
            local = following
        return None


Schedule = At | Rate | Cron


def parse(text: str, zone_name: str, begin: datetime) -> Schedule:
    """begin: from when a rate counts. Raises ValidationFailed."""
    zone = zone_of(zone_name)
    if (found := _AT.fullmatch(text)) is not None:
        try:
            return At(datetime.fromisoformat(found[1]), zone)
        except ValueError as error:
            raise ValidationFailed(f"Schedule is {text}: {error}.") from None
    if (found := _RATE.fullmatch(text)) is not None:
        number, unit = int(found[1]), found[2]
        if number < 1 or (number == 1) == unit.endswith("s"):
            raise ValidationFailed(f"Schedule is {text}; it has to be 1 minute, hour or day, or more with an s.")
        return Rate(number * _UNIT_S[unit.removesuffix("s")], begin)
    if (found := _CRON.fullmatch(text)) is not None:
        try:
            return Cron(cron.parse(found[1]), zone)
        except cron.CronRefused as error:
            raise ValidationFailed(f"Schedule is {text}: {error}.") from None
    raise ValidationFailed(
        f"Schedule is {text}; it has to be at(yyyy-mm-ddThh:mm:ss), rate(value unit) or cron(six fields)."
    )


def zone_of(name: str) -> ZoneInfo:
    """Raises ValidationFailed."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValidationFailed(f"Timezone is {name}; it has to be a name such as Etc/UTC or Europe/Berlin.") from None


def instant(local: datetime, zone: ZoneInfo) -> datetime:
    return local.replace(tzinfo=zone).astimezone(UTC)


def due(schedule: Schedule, seen_to: datetime, now: datetime, end: datetime | None) -> datetime | None:
    """The last time that came after `seen_to`, up to `now` and not after `end`; None when there is none.

    What was missed while nobody looked is done once, however often it was due.
    """
    last = now if end is None else min(now, end)
    for back in _LOOKED_BACK:
        start = max(seen_to, last - back)
        found = schedule.after(start)
        if found is not None and found <= last:
            return _latest(schedule, found, last)
        if start == seen_to:
            break
    return None


def _latest(schedule: Schedule, found: datetime, last: datetime) -> datetime:
    following: datetime | None = found
    while following is not None and following <= last:
        found, following = following, schedule.after(following)
    return found
