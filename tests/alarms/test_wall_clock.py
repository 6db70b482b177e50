"""Periods by the clock of a zone, over the days on which it is changed."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from kedge.alarms.wall_clock import WEEK_S, edges

BERLIN = ZoneInfo("Europe/Berlin")
HOUR_S, DAY_S = 3600, 86_400


def shown(at: str, period_s: int, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    found = edges(datetime.fromisoformat(at).replace(tzinfo=zone).timestamp(), period_s, zone, count)
    return [f"{datetime.fromtimestamp(each, zone):%d %H:%M}" for each in found]


@pytest.mark.parametrize(
    ("at", "period_s", "want"),
    [
        # 25 October 2026 has 25 hours, 28 March 2027 has 23.
        ("2026-10-25T23:30", DAY_S, ["23 00:00", "24 00:00", "25 00:00"]),
        ("2026-10-26T00:00", DAY_S, ["24 00:00", "25 00:00", "26 00:00"]),
        ("2026-10-25T23:30", 6 * HOUR_S, ["25 06:00", "25 12:00", "25 18:00"]),
        ("2027-03-28T12:00", 6 * HOUR_S, ["28 00:00", "28 06:00", "28 12:00"]),
        ("2027-03-28T04:10", HOUR_S, ["28 01:00", "28 03:00", "28 04:00"]),
        ("2026-10-25T03:30", HOUR_S, ["25 02:00", "25 02:00", "25 03:00"]),
        ("2026-10-25T00:01", 60, ["24 23:59", "25 00:00", "25 00:01"]),
        ("2026-10-28T12:00", WEEK_S, ["12 00:00", "19 00:00", "26 00:00"]),
        ("2026-10-26T00:00", WEEK_S, ["12 00:00", "19 00:00", "26 00:00"]),
        ("2026-10-25T23:59", WEEK_S, ["05 00:00", "12 00:00", "19 00:00"]),
    ],
)
def test_the_last_ends_of_periods(at: str, period_s: int, want: list[str]):
    assert shown(at, period_s, 3) == want


def test_half_an_hour_off():
    assert shown("2026-01-02T00:10", 12 * HOUR_S, 3, ZoneInfo("Asia/Kolkata")) == ["01 00:00", "01 12:00", "02 00:00"]


def test_as_many_as_a_week_of_hours_has():
    found = edges(datetime(2026, 10, 28, tzinfo=BERLIN).timestamp(), HOUR_S, BERLIN, 225)
    assert len(found) == 225
    assert {end - start for start, end in pairwise(found)} == {HOUR_S}
