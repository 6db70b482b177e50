"""The fast path: quick after a step, still under noise, and in only after quiet minutes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.autoscaling.windows import KEPT_S, wanted


def capacity(samples: list[float | None], current: int, target: float) -> int:
    found = wanted(samples, current, target)
    return current if found is None else found.capacity


def test_a_step_of_ten_is_followed_after_a_second_and_fully_after_four():
    calm: list[float | None] = [4.0] * KEPT_S
    assert wanted(calm, 1, 4.0) is None
    assert [capacity([*calm[n:], *[40.0] * n], 1, 4.0) for n in range(1, 5)] == [4, 6, 8, 10]


def test_a_load_that_goes_on_growing_after_a_scale_out_is_followed():
    samples: list[float | None] = [*[4.0] * 114, *[40.0] * 6]
    assert wanted(samples, 6, 4.0) is None
    assert wanted([4.0] * KEPT_S, 10, 4.0, since_out_s=2.0) is None, "nor is anything taken away so soon"
    grown = wanted(samples, 6, 4.0, since_out_s=2.0)
    assert grown is not None
    assert grown.capacity == 10


def test_a_small_step_is_followed_as_the_minute_shows_it():
    samples: list[float | None] = [*[8.0] * 90, *[12.0] * 30]
    assert capacity(samples, 2, 4.0) == 3


def test_a_single_second_does_not_begin_anything():
    assert wanted([100.0], 1, 4.0) is None
    assert capacity([100.0, 100.0], 1, 4.0) == 25


def test_in_goes_what_a_quiet_minute_after_a_quiet_minute_leaves_over():
    busy: list[float | None] = [40.0] * KEPT_S
    assert wanted([*busy[60:], *[4.0] * 60], 10, 4.0) is None, "the highest average of the minute is still high"
    assert capacity([4.0] * KEPT_S, 10, 4.0) == 2, "a tenth is left free"
    assert capacity([3.5] * KEPT_S, 10, 4.0) == 1
    assert capacity([0.0] * KEPT_S, 10, 4.0) == 0


def test_what_was_not_heard_of_takes_nothing_away():
    assert wanted([0.0] * (KEPT_S // 2), 5, 4.0) is None
    assert wanted([*[None] * 60, *[0.0] * 60], 5, 4.0) is None
    assert wanted([None] * KEPT_S, 5, 4.0) is None
    assert wanted([], 5, 4.0) is None


@pytest.mark.parametrize("target", [2.0, 4.0, 10.0])
@pytest.mark.parametrize("instances", [1, 8])
def test_noise_around_a_constant_load_goes_out_and_back_once_an_hour_at_most(target, instances):
    """Poisson counts, a new one each second, around four fifths of what the instances take."""
    draw = random.Random(f"{target}{instances}")
    mean = 0.8 * target * instances
    samples: list[float | None] = [float(_poisson(draw, mean)) for _ in range(3600)]
    current, changes = instances, 0
    for second in range(KEPT_S, len(samples)):
        found = capacity(samples[second - KEPT_S : second], current, target)
        changes += found != current
        current = max(1, found)
    assert changes <= 2


@given(st.lists(st.none() | st.floats(0, 1e4), max_size=KEPT_S), st.integers(0, 50), st.floats(0.1, 1e3))
def test_it_wants_something_else_or_nothing(samples, current, target):
    found = wanted(samples, current, target)
    if found is not None:
        assert found.capacity != current
        assert found.capacity >= 0
        assert found.capacity <= max(each for each in samples if each is not None) / (0.9 * target) + 1


def _poisson(draw: random.Random, mean: float) -> int:
    count, left = 0, draw.expovariate(1.0)
    while left < mean:
        count += 1
        left += draw.expovariate(1.0)
    return count
