"""The interval of a difference of means, a period as one observation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kedge.experiments import means
from kedge.experiments.interval import UNKNOWN


def observed(seed: int, periods: int, shift: float = 0.0, shared: float = 0.0) -> tuple[np.ndarray, ...]:
    """(counts, totals) of the control, then of the other; `shared` is how much a minute moves both."""
    random = np.random.default_rng(seed)
    level = 10 + shared * random.standard_normal(periods)
    counts = [random.poisson(part, periods).astype(float) for part in (90, 10)]
    totals = [
        n * (level + moved) + np.sqrt(n) * random.standard_normal(periods)
        for n, moved in zip(counts, (0.0, shift), strict=True)
    ]
    return counts[0], totals[0], counts[1], totals[1]


def test_a_difference_is_found_and_swapping_turns_it_round() -> None:
    one = means.difference(*observed(1, 200, 0.5), 0.05)
    assert one.low > 0
    assert one.estimate == pytest.approx(0.5, abs=0.1)
    a, b, c, d = observed(1, 200, 0.5)
    two = means.difference(c, d, a, b, 0.05)
    assert (two.low, two.high) == pytest.approx((-one.high, -one.low))


def test_what_moves_both_variants_makes_it_hardly_wider() -> None:
    calm, moved = (means.difference(*observed(2, 300, shared=each), 0.05) for each in (0.0, 5.0))
    assert moved.high - moved.low < 6 * (calm.high - calm.low)
    one, of, other, of_other = observed(2, 300, shared=5.0)
    apart = math.hypot((of / one).std(), (of_other / other).std()) / math.sqrt(300)
    assert (moved.high - moved.low) / 2 < means.width(300, 0.05) * apart / 2


def test_too_few_periods_say_nothing() -> None:
    assert means.difference(*observed(3, means.LEAST_PERIODS - 1), 0.05) is UNKNOWN
    counts = np.zeros(100)
    assert means.difference(counts, counts, counts + 1, counts, 0.05) is UNKNOWN
    assert means.difference(*observed(3, means.LEAST_PERIODS), 0.05) is not UNKNOWN


def test_what_hardly_ever_happens_has_to_happen_some_times() -> None:
    counts, random = np.full(200, 100.0), np.random.default_rng(5)
    often = 20.0 * random.poisson(0.3, 200)
    assert means.difference(counts, often, counts, np.zeros(200), 0.05) is UNKNOWN
    seldom = np.zeros(200)
    seldom[::25] = 20.0
    assert means.difference(counts, often, counts, seldom, 0.05) is UNKNOWN
    seldom[::15] = 20.0
    assert means.difference(counts, often, counts, seldom, 0.05).high < 0


def test_how_many_periods_decide_a_spread() -> None:
    assert means.deciding(np.array([1.0, -1.0, 1.0])) == pytest.approx(3)
    assert means.deciding(np.array([5.0, 0.0, 0.0])) == pytest.approx(1)
    assert means.deciding(np.zeros(9)) == 0


def test_the_width_in_standard_errors() -> None:
    widths = [means.width(periods, 0.05) for periods in (30, 120, 1000)]
    assert all(1.96 < each < 4 for each in widths)
    assert widths[1] == min(means.width(periods, 0.05) for periods in range(30, 3000, 10))
    assert means.width(120, 0.01) > means.width(120, 0.05)


def test_no_difference_is_seldom_called_one() -> None:
    """100 experiments of 200 minutes: 5 % may ever leave out 0; 13 is the 99.9th percentile of that."""
    wrong = 0
    for seed in range(100):
        series = observed(seed, 200, shared=1.0)
        looks = (means.difference(*(each[:minutes] for each in series), 0.05) for minutes in range(30, 201, 5))
        wrong += any(each.low > 0 or each.high < 0 for each in looks)
    assert wrong <= 13
