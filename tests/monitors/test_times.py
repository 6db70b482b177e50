"""When schedules are due, which windows executions look at, and what a schedule does next: tables and properties."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.jobs.records import Status as JobStatus
from kedge.monitors import course, timetable, windows
from kedge.monitors.course import After, Begin, Wait
from kedge.monitors.records import Past, Schedule, ScheduleStatus, Seen, Status
from kedge.monitors.timetable import MOST_MISSED, SETTLE, BadExpression, Timetable
from kedge.monitors.windows import BadWindow, Window

HOURLY, DAILY = "cron(0 * ? * * *)", "cron(0 5 ? * * *)"
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("-PT1H", 1), ("PT0H", 0), ("-P1D", 24), ("-P1W", 168), ("-PT2D", 48), ("P1DT2H", 26), ("-PT90M", 1.5),
     ("-PT3600S", 1)],
)  # fmt: skip
def test_durations(text: str, hours: float):
    assert windows.duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text", ["", "P", "-PT", "PT", "1H", "P1Y", "P1M", "-P33D", "P99999999999D", "--PT1H", "PT-1H"]
)
def test_no_durations(text: str):
    with pytest.raises(BadWindow):
        windows.duration(text)


@pytest.mark.parametrize(
    ("expression", "scheduled", "offsets", "start", "end"),
    [
        (HOURLY, "01-09 13:00", ("", ""), "01-09 12:00", "01-09 13:00"),
        (HOURLY, "01-09 13:00", ("-P8D", "-P1D"), "01-01 13:00", "01-08 13:00"),  # SageMaker's own example
        (DAILY, "01-09 05:00", ("", ""), "01-08 05:00", "01-09 05:00"),
        ("cron(0 1/6 ? * * *)", "01-09 13:00", ("", ""), "01-09 07:00", "01-09 13:00"),
        ("cron(0 17/5 ? * * *)", "01-09 17:00", ("", ""), "01-08 22:00", "01-09 17:00"),
        ("cron(0/5 * ? * * *)", "01-09 13:05", ("", ""), "01-09 13:00", "01-09 13:05"),
        ("NOW", "01-09 13:20", ("-PT2H", "-PT0H"), "01-09 11:20", "01-09 13:20"),
    ],
)
def test_the_window_of_a_scheduled_time(
    expression: str, scheduled: str, offsets: tuple[str, str], start: str, end: str
):
    found = Timetable(expression, *offsets).window(at(scheduled))
    assert found == Window(at(start), at(end))


def test_a_window_touches_hours():
    window = Window(at("01-09 11:20"), at("01-09 13:00"))
    assert [windows.folder(hour) for hour in window.hours] == ["2026/01/09/11", "2026/01/09/12"]
    assert Window(at("01-09 11:20"), at("01-09 13:01")).hours[-1] == at("01-09 13:00")


@pytest.mark.parametrize(
    "expression", ["", "hourly", "rate(1 hour)", "cron(0 * * * *)", "cron(61 * ? * * *)", "cron(0 * ? * * *", "now"]
)
def test_no_schedules(expression: str):
    with pytest.raises(BadExpression):
        timetable.parsed(expression)


def test_what_was_missed_is_made_up_for_up_to_a_bound():
    times = Timetable(HOURLY)
    assert times.missed(at("01-09 10:30"), at("01-09 10:59")) == []
    assert times.missed(at("01-09 10:30"), at("01-09 12:00")) == [at("01-09 11:00"), at("01-09 12:00")]
    found = times.missed(at("01-01 00:00"), at("12-31 12:30"))
    assert (len(found), found[-1]) == (MOST_MISSED, at("12-31 12:00"))
    minutes = Timetable("cron(* * ? * * *)").missed(datetime(1990, 1, 1, tzinfo=UTC), at("01-01 00:00"))
    assert (len(minutes), minutes[0]) == (MOST_MISSED, at("01-01 00:00") - timedelta(minutes=MOST_MISSED - 1))


def schedule(expression: str = HOURLY, seen_to: str = "01-09 10:30", **more: Any) -> Schedule:
    return Schedule("s", "u", {}, "DataQuality", expression, "e", seen_to_s=at(seen_to).timestamp(), **more)


def test_an_execution_begins_when_what_was_captured_is_there():
    now = at("01-09 11:00")
    assert course.step(schedule(), ScheduleStatus.SCHEDULED, at("01-09 10:45")) == Wait(900)
    assert course.step(schedule(), ScheduleStatus.SCHEDULED, now) == Wait(SETTLE.total_seconds())
    begun = course.step(schedule(), ScheduleStatus.SCHEDULED, now + SETTLE)
    assert begun == Begin(schedule(seen_to="01-09 11:00"), now, Window(now - HOUR, now))


def test_one_at_a_time_and_none_while_it_is_stopped():
    later = at("01-09 15:10")
    assert course.step(schedule(current="one"), ScheduleStatus.SCHEDULED, later) is None
    assert course.step(schedule(), ScheduleStatus.STOPPED, later) is None
    asked = schedule(asked_s=at("01-09 15:00").timestamp())
    begun = course.step(asked, ScheduleStatus.STOPPED, later)
    assert isinstance(begun, Begin)
    assert (begun.scheduled, begun.schedule) == (at("01-09 15:00"), schedule())
    assert begun.window == Window(at("01-09 14:00"), at("01-09 15:00"))


def test_a_window_that_cannot_be_used_is_an_execution_that_says_so():
    begun = course.step(schedule(offsets={"EndTimeOffset": "-PT2H"}), ScheduleStatus.SCHEDULED, at("01-09 12:00"))
    assert isinstance(begun, Begin)
    assert begun.window is None
    assert "has to begin before" in begun.problem


@settings(deadline=None, max_examples=30)
@given(
    expression=st.sampled_from([HOURLY, DAILY, "cron(0 3/7 ? * * *)", "cron(0/20 * ? * * *)"]),
    moves=st.lists(st.integers(-100_000, 200_000), min_size=1, max_size=30),
)
def test_no_window_comes_twice_and_none_is_left_out_whatever_the_clock_does(expression: str, moves: list[int]):
    """A move is seconds that pass, or that the clock is set back; after each it is looked until nothing is due."""
    held, now = schedule(expression, "06-01 00:00"), at("06-01 00:00")
    begun: list[Begin] = []
    for move in moves:
        now = max(at("01-01 00:00"), now + timedelta(seconds=move))
        for _ in range(MOST_MISSED + 1):
            action = course.step(held, ScheduleStatus.SCHEDULED, now)
            if not isinstance(action, Begin):
                break
            begun.append(action)
            held = action.schedule
        assert isinstance(action, Wait)
        assert action.seconds > 0
    times = [each.scheduled for each in begun]
    assert times == sorted(set(times))
    for before, after in itertools.pairwise(begun):
        assert before.window is not None
        assert after.window is not None
        assert after.window.start >= before.window.end
        lost = Timetable(expression).missed(before.scheduled, after.scheduled - timedelta(seconds=1))
        assert not lost or max(moves) > MOST_MISSED * Timetable(expression).interval(now).total_seconds()


@pytest.mark.parametrize(
    ("stage", "job", "said", "reason", "want"),
    [
        ("merge", "InProgress", "", "", None),
        ("merge", "Stopping", "", "", None),
        ("merge", "Completed", "Completed: 5 of 5", "", After(None)),
        ("merge", "Failed", "", "why", After(Status.FAILED, "why")),
        ("analysis", "Completed", "Completed: Job completed successfully.", "", After(Status.COMPLETED)),
        ("analysis", "Completed", "CompletedWithViolations: Job completed", "", After(Status.VIOLATED)),
        ("analysis", "Completed", "", "", After(Status.COMPLETED)),
        ("analysis", "Failed", "", "why", After(Status.FAILED, "why")),
        ("merge", "Failed", "Job inputs had no data", "why", After(Status.FAILED, "Job inputs had no data", False)),
        ("analysis", "Failed", "None of 2 records could be used: x", "why", After(Status.FAILED, "why")),
        ("analysis", "Stopped", "", "", After(Status.STOPPED)),
    ],
)  # fmt: skip
def test_what_becomes_of_an_execution(stage: str, job: str, said: str, reason: str, want: After | None):
    assert course.after(stage, JobStatus(job), said, reason) == want


def seen(pattern: str) -> list[Seen]:
    """v: violations, f: failed, c: completed, -: nothing was captured."""
    statuses = {"v": Status.VIOLATED, "f": Status.FAILED, "c": Status.COMPLETED, "-": Status.FAILED}
    return [Seen(n, n, n + 1, statuses[each].value, each != "-") for n, each in enumerate(pattern)]


@pytest.mark.parametrize(
    ("pattern", "datapoints", "period", "want"),
    [
        ("", 1, 1, "OK"), ("c", 1, 1, "OK"), ("v", 1, 1, "InAlert"), ("f", 1, 1, "InAlert"), ("vc", 1, 1, "OK"),
        ("-", 1, 1, "OK"), ("v-", 1, 1, "InAlert"), ("v", 2, 3, "OK"), ("vv", 2, 3, "InAlert"),
        ("vcv", 2, 3, "InAlert"), ("vccv", 2, 3, "OK"), ("v--v", 2, 3, "InAlert"),
    ],
)  # fmt: skip
def test_the_alert(pattern: str, datapoints: int, period: int, want: str):
    assert course.alert_status(seen(pattern), datapoints, period) == want


def test_a_later_look_takes_the_place_of_the_first():
    past = Past((Seen(1.0, 0.0, 1.0, "Failed"), Seen(2.0, 1.0, 2.0, "Completed")))
    after = course.ended(past, Seen(1.0, 0.0, 1.0, "Completed"))
    assert [(each.scheduled_s, each.status) for each in after.seen] == [(1.0, "Completed"), (2.0, "Completed")]


def test_windows_are_looked_at_again_whose_hours_changed():
    hours = [at("01-09 08:00"), at("01-09 09:00"), at("01-09 10:00")]
    looks = tuple(Seen((h + HOUR).timestamp(), h.timestamp(), (h + HOUR).timestamp(), "Completed") for h in hours)
    past = Past(looks)
    current = Window(hours[2], hours[2] + HOUR)
    assert course.looked_again(schedule(), past, hours[1:], current) == (looks[1],)
    assert course.looked_again(schedule(again=(looks[1],)), past, hours[1:], current) == (looks[1],)
    assert course.looked_again(schedule(), past, [], current) == ()


@pytest.mark.parametrize(("first", "want"), [("Completed", True), ("CompletedWithViolations", True), ("Failed", False)])
def test_metrics_of_a_window_are_published_by_the_first_look_that_has_any(first: str, want: bool):
    look = Seen(at("01-09 09:00").timestamp(), at("01-09 08:00").timestamp(), at("01-09 09:00").timestamp(), first)
    action = course.step(schedule(again=(look,)), ScheduleStatus.SCHEDULED, at("01-09 10:00"))
    assert isinstance(action, Begin)
    assert (action.is_again, action.is_told) == (True, want)
