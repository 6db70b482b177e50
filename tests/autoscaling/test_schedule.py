"""When scheduled actions are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge import cron
from kedge.autoscaling import schedule
from kedge.errors import ValidationFailed

START = datetime(2026, 1, 1, tzinfo=UTC)


def following(text: str, after: str, zone: str = "UTC", begin: datetime = START) -> str:
    found = schedule.parse(text, zone, begin).after(datetime.fromisoformat(after).replace(tzinfo=UTC))
    return "" if found is None else found.strftime("%Y-%m-%dT%H:%M")


@pytest.mark.parametrize(
    ("text", "zone", "after", "want"),
    [
        ("at(2026-03-01T08:00:00)", "UTC", "2026-01-01", "2026-03-01T08:00"),
        ("at(2026-03-01T08:00:00)", "America/New_York", "2026-01-01", "2026-03-01T13:00"),
        ("at(2026-03-01T08:00:00)", "UTC", "2026-03-01T08:00", ""),
        ("rate(5 minutes)", "UTC", "2026-01-01T00:00", "2026-01-01T00:05"),
        ("rate(5 minutes)", "UTC", "2026-01-01T00:05", "2026-01-01T00:10"),
        ("rate(1 hour)", "UTC", "2026-01-02T00:30", "2026-01-02T01:00"),
        ("cron(0 8 * * ? *)", "UTC", "2026-01-01T07:59", "2026-01-01T08:00"),
        ("cron(0 8 * * ? *)", "UTC", "2026-01-01T08:00", "2026-01-02T08:00"),
        ("cron(0 8 * * ? *)", "Europe/Berlin", "2026-01-01T00:00", "2026-01-01T07:00"),
        ("cron(0 8 * * ? *)", "Europe/Berlin", "2026-07-01T00:00", "2026-07-01T06:00"),
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-03-29T00:00", "2026-03-29T01:30"),  # left out: 02:30 is 03:30
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-25T00:00", "2026-10-25T00:30"),  # twice: the first
        ("cron(30 2 * * ? *)", "Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("cron(0/15 * * * ? *)", "UTC", "2026-01-01T00:16", "2026-01-01T00:30"),
        ("cron(0 9 ? * MON-FRI *)", "UTC", "2026-01-02T10:00", "2026-01-05T09:00"),
        ("cron(0 9 ? * 1 *)", "UTC", "2026-01-01T00:00", "2026-01-04T09:00"),
        ("cron(0 9 ? * FRI#2 *)", "UTC", "2026-01-01T00:00", "2026-01-09T09:00"),
        ("cron(0 9 ? * 6L *)", "UTC", "2026-01-01T00:00", "2026-01-30T09:00"),
        ("cron(0 9 L * ? *)", "UTC", "2026-02-01T00:00", "2026-02-28T09:00"),
        ("cron(0 9 LW * ? *)", "UTC", "2026-02-01T00:00", "2026-02-27T09:00"),
        ("cron(0 9 15W * ? *)", "UTC", "2026-02-01T00:00", "2026-02-16T09:00"),
        ("cron(0 9 1W * ? *)", "UTC", "2026-02-01T00:00", "2026-02-02T09:00"),
        ("cron(0 0 31 * ? *)", "UTC", "2026-02-01T00:00", "2026-03-31T00:00"),
        ("cron(0 0 29 FEB ? *)", "UTC", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("cron(0 0 1 JAN ? 2027)", "UTC", "2026-01-02T00:00", "2027-01-01T00:00"),
        ("cron(0 0 1 JAN ? 2025)", "UTC", "2026-01-02T00:00", ""),
        ("rate(999999999 days)", "UTC", "2026-01-02T00:00", ""),
        ("cron(0 0 * * ? *)", "Asia/Tokyo", "9999-12-31T23:00", ""),
        ("at(9999-12-31T23:00:00)", "America/New_York", "2026-01-02T00:00", ""),
        ("at(0001-01-01T00:00:00)", "Asia/Tokyo", "2026-01-02T00:00", ""),
        ("cron(0,30 6,18 ? JUN,JUL SAT,SUN 2026-2027)", "UTC", "2026-01-01T00:00", "2026-06-06T06:00"),
    ],
)
def test_the_next_time(text, zone, after, want):
    assert following(text, after, zone) == want


@pytest.mark.parametrize(
    ("text", "zone", "says"),
    [
        ("tomorrow", "UTC", "it has to be at"),
        ("at(2026-02-30T00:00:00)", "UTC", "day"),
        ("at(2026-02-01)", "UTC", "it has to be at"),
        ("rate(0 minutes)", "UTC", "has to be 1 minute"),
        ("rate(1 minutes)", "UTC", "has to be 1 minute"),
        ("rate(5 minute)", "UTC", "has to be 1 minute"),
        ("rate(5 seconds)", "UTC", "it has to be at"),
        ("cron(0 8 * * *)", "UTC", "5 fields"),
        ("cron(0 8 * * * *)", "UTC", "exactly one of"),
        ("cron(0 8 ? * ? *)", "UTC", "exactly one of"),
        ("cron(60 8 * * ? *)", "UTC", '"60" in minutes'),
        ("cron(0 8 0 * ? *)", "UTC", '"0" in days of the month'),
        ("cron(0 8 ? * 8 *)", "UTC", '"8" in days of the week'),
        ("cron(0 8 ? * MON#6 *)", "UTC", "in days of the week"),
        ("cron(0 8 * MAI ? *)", "UTC", '"MAI" in months'),
        ("cron(5-1 8 * * ? *)", "UTC", "goes backwards"),
        ("cron(0/0 8 * * ? *)", "UTC", '"0" in minutes'),
        ("cron(0 8 * * ? *)", "Europe/Bonn", "Timezone is Europe/Bonn"),
        ("cron(0 8 * * ? *)", "../etc/passwd", "Timezone is"),
    ],
)
def test_what_is_refused(text, zone, says):
    with pytest.raises(ValidationFailed, match=says):
        schedule.parse(text, zone, START)


def test_what_was_missed_is_done_once_and_it_is_the_last_of_it():
    every_minute = schedule.parse("cron(* * * * ? *)", "UTC", START)
    now = START + timedelta(days=40, seconds=30)
    assert schedule.due(every_minute, START, now, None) == START + timedelta(days=40)
    assert schedule.due(every_minute, START, now, START + timedelta(days=3)) == START + timedelta(days=3)
    yearly = schedule.parse("cron(0 0 1 FEB ? *)", "UTC", START)
    assert schedule.due(yearly, START, START + timedelta(days=800), None) == datetime(2028, 2, 1, tzinfo=UTC)
    assert schedule.due(yearly, START, START + timedelta(days=5), None) is None


@given(st.integers(0, 10**7), st.integers(1, 10**7), st.sampled_from(["rate(7 minutes)", "cron(3/7 */5 * * ? *)"]))
def test_looking_often_and_looking_once_find_the_same_last_time(first_s, span_s, text):
    made = schedule.parse(text, "Europe/Berlin", START)
    begin = START + timedelta(seconds=first_s)
    now = begin + timedelta(seconds=span_s)
    found = schedule.due(made, begin, now, None)
    if found is None:
        after = made.after(begin)
        assert after is None or after > now
    else:
        assert begin < found <= now
        after = made.after(found)
        assert after is None or after > now


def test_a_cron_expression_looks_at_no_more_than_it_has_to():
    assert cron.parse("0 0 30 2 ? *").after(datetime(2026, 1, 1)) is None  # noqa: DTZ001 (local times have no zone)
