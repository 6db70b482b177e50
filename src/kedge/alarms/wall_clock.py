"""Where periods begin and end by the clock of a zone: an alarm's WallClockWindow. PURE.

Days and their parts are counted from midnight, a week from Monday. On the days on which the clock is changed, periods
of more than an hour end when the clock says so, and are an hour longer or shorter; those of an hour and less stay as
they are. AWS does not say whether it looks at the period that runs still; here an alarm waits for its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from kedge.metrics.series import DAY_S, HOUR_S

WEEK_S = 7 * DAY_S


def edges(at_s: float, period_s: int, zone: ZoneInfo, count: int) -> list[int]:
    """The last `count` instants, oldest first, at which a period ended at `at_s` or before.

    period_s: a week, or what divides a day.
    """
    past = (each for each in _backwards(at_s, period_s, zone) if each <= at_s)
    return list(islice(past, count))[::-1]


def _backwards(at_s: float, period_s: int, zone: ZoneInfo) -> Iterator[int]:
    """Newest first, from somewhat after at_s on."""
    midnight = datetime.fromtimestamp(at_s, UTC).astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    if period_s == WEEK_S:
        midnight -= timedelta(days=midnight.weekday())
        step = timedelta(days=7)
    else:
        step = timedelta(days=1)
    while True:
        yield from _within(midnight, midnight + timedelta(days=1), min(period_s, DAY_S))
        midnight -= step


def _within(midnight: datetime, next_midnight: datetime, period_s: int) -> Iterator[int]:
    """Of one day. Arithmetic of times with a zone is that of its clock."""
    if period_s <= HOUR_S:
        yield from reversed(range(int(midnight.timestamp()), int(next_midnight.timestamp()), period_s))
        return
    clock = (midnight + timedelta(seconds=within_s) for within_s in reversed(range(0, DAY_S, period_s)))
    yield from (int(each.timestamp()) for each in clock)
