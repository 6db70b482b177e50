"""When something is started again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.compute.restart import LONGEST_TASK_BACK_OFF_S, Again, GiveUp, back_off_s, failures_after, next_step


@pytest.mark.parametrize(
    ("failures", "pause_s"), [(1, 0.0), (2, 0.1), (3, 0.2), (4, 0.4), (7, 3.2), (8, 5.0), (1_000_000, 5.0)]
)
def test_pauses_grow_to_the_longest(failures, pause_s):
    assert back_off_s(failures, 5.0) == pytest.approx(pause_s)


@pytest.mark.parametrize(
    ("before", "lived_s", "after"), [(0, 0.0, 1), (5, 0.99, 6), (5, 9.9, 6), (5, 10.0, 1), (0, 99.0, 1)]
)
def test_ten_seconds_of_life_forgive(before, lived_s, after):
    assert failures_after(before, lived_s) == after


@given(st.floats(1.0, 9.9))
def test_who_is_ended_again_and_again_from_outside_is_there_most_of_the_time(lived_s):
    failures = 0
    for _ in range(100):
        failures = failures_after(failures, lived_s)
        assert back_off_s(failures, 10.0) <= lived_s / 4


@pytest.mark.parametrize(
    ("ever_ready", "failures", "told_failure", "timed_out", "step"),
    [
        (False, 1, False, False, Again(0.0)),
        (False, 2, False, False, GiveUp()),
        (False, 1, True, False, GiveUp()),
        (False, 1, False, True, GiveUp()),
        (True, 1, False, False, Again(0.0)),
        (True, 2, True, False, Again(0.1)),
        (True, 99, False, True, Again(10.0)),
    ],
)
def test_who_was_ready_once_is_brought_back_for_ever(ever_ready, failures, told_failure, timed_out, step):
    found = next_step(ever_ready=ever_ready, failures=failures, told_failure=told_failure, timed_out=timed_out)
    assert found == step


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_a_pause_is_never_longer_than_the_longest_nor_shorter_than_the_one_before_in_a_row(lives):
    failures, last_s = 0, 0.0
    for lived_s in lives:
        failures = failures_after(failures, lived_s)
        pause_s = back_off_s(failures, 10.0)
        assert pause_s <= 10.0
        assert pause_s >= last_s or lived_s >= 1.0
        last_s = pause_s


@given(st.lists(st.floats(0, 9.9), min_size=1, max_size=50))
def test_what_somebody_kills_is_always_back_soon(lives_s: list[float]):
    failures = 0
    for lived_s in lives_s:
        failures = failures_after(failures, lived_s, killed=True)
        assert back_off_s(failures, LONGEST_TASK_BACK_OFF_S) <= 0.1
