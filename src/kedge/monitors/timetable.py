"""When a monitoring schedule is due. PURE.

Beyond the hourly and daily forms that SageMaker takes, any cron expression of AWS's is taken; times are UTC. Scheduled
times of a schedule only grow, whatever the clock does: none comes twice.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from kedge import cron
from kedge.monitors.windows import Window, window

NOW = "NOW"
MOST_MISSED = 24
"""Of the times that passed while nobody looked, so many are made up for, the newest ones."""
SETTLE = timedelta(seconds=12)
"""How long after the end of its window an execution begins: a captured record is in its file 10 s after it came."""
_LOOKED_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=100_000))
_LONGEST = 256


class BadExpression(ValueError):
    """The message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Timetable:
    """start, end: offsets, or empty."""

    expression: str
    start: str = ""
    end: str = ""

    @property
    def is_once(self) -> bool:
        return self.expression == NOW

    def window(self, scheduled: datetime) -> Window:
        """Raises BadWindow."""
        before = scheduled if self.is_once else previous(self._cron(), scheduled)
        return window(scheduled, before, self.start, self.end)

    def asked(self, at: datetime) -> Window:
        """Of an execution that somebody asks for at that time: as long as the last one's. Raises BadWindow."""
        if self.is_once or (self.start and self.end):
            return window(at, at, self.start, self.end)
        return window(at, at - self.interval(at), self.start, self.end)

    def interval(self, at: datetime) -> timedelta:
        """Between the last two scheduled times before."""
        last = previous(self._cron(), at)
        return last - previous(self._cron(), last)

    def missed(self, seen_to: datetime, now: datetime) -> list[datetime]:
        """Scheduled times after `seen_to` up to now, oldest first, the newest MOST_MISSED of them."""
        return [] if self.is_once else latest(self._cron(), seen_to, now, MOST_MISSED)

    def following(self, at: datetime) -> datetime | None:
        """The first scheduled time after it; None: there is none."""
        return None if self.is_once else _after(self._cron(), at)

    def _cron(self) -> cron.Cron:
        return parsed(self.expression)


@lru_cache
def parsed(expression: str) -> cron.Cron:
    """Raises BadExpression."""
    inner = expression.removeprefix("cron(").removesuffix(")")
    if len(expression) > _LONGEST or expression != f"cron({inner})":
        raise BadExpression(
            f'"{expression}" is no schedule; it has to be cron(0 * ? * * *), cron(0 H ? * * *), cron(0 H/N ? * * *) or '
            "NOW"
        )
    try:
        return cron.parse(inner)
    except cron.CronRefused as error:
        raise BadExpression(f'"{expression}" is no schedule: {error}') from None


def latest(times: cron.Cron, after: datetime, last: datetime, most: int) -> list[datetime]:
    """The newest times in (after, last], oldest first."""
    found: deque[datetime] = deque(maxlen=most)
    for back in _LOOKED_BACK:
        begin = max(after, last - back) if last - after > back else after
        found.clear()
        at = _after(times, begin)
        while at is not None and at <= last:
            found.append(at)
            at = _after(times, at)
        if len(found) == most or begin == after:
            break
    return list(found)


def previous(times: cron.Cron, at: datetime) -> datetime:
    """The time before `at`; where there was none for 32 days, 32 days before."""
    back = _LOOKED_BACK[-2]
    found = latest(times, at - back, at - timedelta(microseconds=1), 1)
    return found[0] if found else at - back


def daily(seed: int) -> str:
    """The schedule of who gives none: every day, at an hour of the server's choice."""
    return f"cron(0 {seed % 24} ? * * *)"


def _after(times: cron.Cron, at: datetime) -> datetime | None:
    try:
        found = times.after(at.astimezone(UTC).replace(tzinfo=None))
    except OverflowError:
        return None
    return None if found is None else found.replace(tzinfo=UTC)
