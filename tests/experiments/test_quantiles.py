"""How far apart two quantiles may be, at every look."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kedge.experiments import quantiles, shares
from kedge.experiments.interval import UNKNOWN, Interval
from kedge.experiments.least import least
from kedge.experiments.quantiles import Box

ALPHA = 0.05
LIMIT = -math.log(ALPHA)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0.01, 0.99), st.floats(0.05, 0.95))
def test_boxes_are_side_by_side_and_hold_what_is_not_refuted(
    control: int, other: int, share: float, split: float
) -> None:
    found = quantiles.boxes(control, other, share, split, ALPHA)
    assert all(one.control_high == two.control_low for one, two in pairwise(found))
    for box in found:
        assert 0 <= box.control_low < box.control_high <= control + 1
        assert 0 <= box.other_low < box.other_high <= other + 1
    random = np.random.default_rng(1)
    for _ in range(200):
        one, two = random.binomial(control, share), random.binomial(other, share)
        if float(shares.evidence((control, one), (other, two), split, share, share)) < LIMIT:
            assert any(b.control_low <= one < b.control_high and b.other_low <= two < b.other_high for b in found)


def interval(control: NDArray[np.float64], other: NDArray[np.float64], share: float, split: float) -> Interval:
    """Of all values, sorted here."""
    found = quantiles.boxes(len(control), len(other), share, split, ALPHA)
    one, two = (dict(enumerate([-math.inf, *np.sort(values).tolist(), math.inf])) for values in (control, other))
    return quantiles.difference(float(np.quantile(other, share) - np.quantile(control, share)), found, one, two)


@pytest.mark.parametrize(("share", "split"), [(0.5, 0.5), (0.9, 0.8)])
def test_which_side_of_zero(share: float, split: float) -> None:
    random = np.random.default_rng(5)
    sizes = round(10_000 * split), round(10_000 * (1 - split))
    one, two = (random.lognormal(0, 0.5, size) for size in sizes)
    alike, slower, faster = (interval(one, factor * two, share, split) for factor in (1.0, 1.3, 0.7))
    assert alike.low < 0 < alike.high
    assert 0 < slower.low < slower.estimate < slower.high
    assert faster.low < faster.estimate < faster.high < 0
    # Beside the interval for one look, by the normal approximation.
    deviations = {0.5: 0.0, 0.9: 1.2816}[share]
    density = math.exp(-deviations * deviations / 2) / math.sqrt(2 * math.pi) / 0.5 / math.exp(0.5 * deviations)
    error = math.sqrt(share * (1 - share) * sum(1 / size for size in sizes)) / density
    assert 2 * 1.96 * error < alike.high - alike.low < 2.4 * 2 * 1.96 * error


def test_few_values_say_nothing_of_a_high_quantile() -> None:
    random = np.random.default_rng(6)
    found = interval(random.random(50), random.random(50), 0.99, 0.5)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert quantiles.boxes(0, 10, 0.5, 0.5, ALPHA) == []
    assert quantiles.difference(1.0, [], {}, {}) is UNKNOWN


def test_a_difference_is_taken_box_by_box() -> None:
    control, other = {1: 10.0, 2: 20.0, 3: 30.0}, {4: 11.0, 5: 22.0, 6: 33.0}
    found = quantiles.difference(0.5, [Box(1, 2, 4, 5), Box(2, 3, 5, 6)], control, other)
    assert found == (0.5, 11.0 - 20.0, 33.0 - 20.0)


def test_the_true_ranks_stay_inside_at_every_look() -> None:
    """300 experiments of 300 looks at a median: 5 % may leave them out; 28 of 300 is the 99.9th percentile of that."""
    random = np.random.default_rng(3)
    n = 10.0 * np.arange(1, 301)
    below = [random.binomial(10, 0.5, (300, 300)).cumsum(axis=1).astype(float) for _ in range(2)]
    grown = [
        shares.evidence((n[:, None], one[:, None]), (n[:, None], two[:, None]), 0.5, 0.5, 0.5)
        for one, two in zip(*below, strict=True)
    ]
    assert (np.array(grown) >= LIMIT).any(axis=1).sum() <= 28


def test_the_least_of_a_convex_function() -> None:
    assert least(lambda x: (x - 2) ** 2 + 1, 0, 10) == pytest.approx((1, 2), abs=1e-6)
    assert least(lambda x: x, 3, 10) == pytest.approx((3, 3), abs=1e-6)
    value, _ = least(lambda x: (x - 2) ** 2, 0, 10, enough=5.0)
    assert 0 <= value < 5
