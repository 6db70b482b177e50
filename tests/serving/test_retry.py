from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.retry import (
    CEILING,
    FLOOR,
    FLOOR_PER_S,
    LONGEST_SETTLE_S,
    MAX_UNBEGUN,
    SETTLE_S,
    SHARE_OF_TRAFFIC,
    Budget,
    Verdict,
    after_busy,
    after_death,
    is_suspicious,
    settles_for_s,
)


@pytest.mark.parametrize(
    ("deaths", "retries", "retries_on", "budget_left", "verdict"),
    [
        (1, 0, True, True, Verdict.RETRY),
        (1, 2, True, True, Verdict.RETRY),
        (1, 3, True, True, Verdict.UNAVAILABLE),
        (1, 0, True, False, Verdict.UNAVAILABLE),
        (1, 0, False, True, Verdict.GIVE_UP),
        (2, 1, True, True, Verdict.GIVE_UP),
        (2, 3, True, False, Verdict.GIVE_UP),
    ],
)
def test_after_death(deaths, retries, retries_on, budget_left, verdict):
    assert after_death(deaths, retries, retries_on=retries_on, budget_left=budget_left) is verdict


@pytest.mark.parametrize(
    ("retries", "others", "verdict"),
    [
        (0, True, Verdict.RETRY),
        (0, False, Verdict.UNAVAILABLE),
        (2, True, Verdict.RETRY),
        (3, True, Verdict.UNAVAILABLE),
    ],
)
def test_after_busy(retries, others, verdict):
    assert after_busy(retries, others=others) is verdict


@pytest.mark.parametrize(
    ("begun", "losses", "suspicious"),
    [(True, 1, True), (False, 1, False), (False, MAX_UNBEGUN, False), (False, MAX_UNBEGUN + 1, True)],
)
def test_what_was_not_begun_is_let_off_but_not_for_ever(begun, losses, suspicious):
    assert is_suspicious(begun=begun, losses=losses) is suspicious


@given(st.floats(0, 2), st.floats(0, 2))
def test_a_request_settles_until_none_dies_and_no_longer_than_it_may(since_lost_s, since_death_s):
    pause_s = settles_for_s(since_lost_s, since_death_s)
    assert (pause_s == 0) is (since_lost_s >= SETTLE_S or since_death_s >= LONGEST_SETTLE_S)
    assert since_death_s + pause_s <= max(LONGEST_SETTLE_S, since_death_s) + 1e-9


@given(st.lists(st.one_of(st.just("request"), st.just("retry"), st.floats(0, 10))))
def test_the_budget_bounds_retries(steps):
    now_s, budget, requests, retries = 100.0, Budget(100.0), 0, 0
    for step in steps:
        if step == "request":
            budget.request()
            requests += 1
        elif step == "retry":
            retries += budget.take(now_s)
        else:
            now_s += step
    assert retries <= FLOOR + SHARE_OF_TRAFFIC * requests + FLOOR_PER_S * (now_s - 100.0) + 1e-6
    assert 0 <= budget.left <= CEILING + SHARE_OF_TRAFFIC


def test_little_traffic_has_retries_again_after_a_while():
    budget = Budget(0.0)
    while budget.take(0.0):
        pass
    assert not budget.take(0.05)
    assert budget.take(0.15)
    assert sum(budget.take(1000.0) for _ in range(200)) == FLOOR
