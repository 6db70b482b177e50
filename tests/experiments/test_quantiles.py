"""Between which ranks a quantile is, at every look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kedge.experiments import quantiles
from kedge.experiments.quantiles import Quantile


@given(st.integers(1, 1_000_000), st.floats(0.001, 0.999), st.sampled_from([0.1, 0.05, 0.01]))
def test_the_ranks_are_ranks_and_mirror_one_another(count: int, share: float, alpha: float) -> None:
    low, high = quantiles.ranks(count, share, alpha)
    assert 0 <= low <= high <= count + 1
    mirrored = quantiles.ranks(count, 1 - share, alpha)
    assert (count + 1 - low, count + 1 - high) == mirrored[::-1]


@pytest.mark.parametrize(("count", "share"), [(1000, 0.5), (10_000, 0.99), (1_000_000, 0.5), (1_000_000, 0.999)])
def test_they_are_wider_than_for_one_look_and_not_much(count: int, share: float) -> None:
    low, high = quantiles.ranks(count, share, 0.05)
    once_low, once_high = stats.binom.interval(0.95, count, share)
    assert low < once_low < once_high < high
    assert high - low < 2.5 * (once_high - once_low)


def test_few_values_say_nothing_of_a_high_quantile() -> None:
    assert quantiles.ranks(50, 0.99, 0.05)[1] == 51
    assert quantiles.ranks(1, 0.5, 0.05) == (0, 2)


def test_the_quantile_stays_inside_at_every_look() -> None:
    """300 experiments of 300 looks at a median: 5 % may leave it out; 28 of 300 is the 99.9th percentile of that."""
    random = np.random.default_rng(3)
    below = (random.random((300, 300, 10)) < 0.5).sum(axis=2).cumsum(axis=1)
    bounds = np.array([quantiles.ranks(10 * (look + 1), 0.5, 0.05) for look in range(300)])
    # The low-th smallest is at most the quantile where at least `low` values are below it.
    outside = (below < bounds[:, 0]) | (below > bounds[:, 1] - 1)
    assert outside.any(axis=1).sum() <= 28


def test_a_difference() -> None:
    found = quantiles.difference(Quantile(10, 8, 12), Quantile(20, 15, math.inf))
    assert found == (10, 3, math.inf)
