"""The interval of a difference of shares: that it holds, how wide it is, and what it may not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from kedge.experiments import shares
from kedge.experiments.interval import UNKNOWN
from kedge.experiments.shares import Share
from kedge.experiments.tilts import BOTH_WAYS, LOG_STAKES_BOTH, log_factor, log_sum

ALPHA = 0.05

counted = st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))).map(lambda t: Share(*t))
splits = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    ("control", "other", "split", "sign"),
    [
        (Share(10_000, 100), Share(10_000, 100), 0.5, 0),
        (Share(10_000, 100), Share(10_000, 200), 0.5, 1),
        (Share(10_000, 200), Share(10_000, 100), 0.5, -1),
        (Share(99_000, 990), Share(1_000, 40), 0.99, 1),
        (Share(99_000, 990), Share(1_000, 10), 0.99, 0),
        (Share(500, 0), Share(500, 0), 0.5, 0),
        (Share(500, 0), Share(500, 30), 0.5, 1),
        (Share(20, 20), Share(20, 0), 0.5, -1),
        (Share(3, 0), Share(3, 1), 0.5, 0),
    ],
)
def test_which_side_of_zero(control: Share, other: Share, split: float, sign: int) -> None:
    found = shares.difference(control, other, split, ALPHA)
    assert (found.low > 0) - (found.high < 0) == sign
    assert -1 <= found.low <= found.estimate <= found.high <= 1


@settings(max_examples=10, deadline=None)
@given(counted, counted, splits)
def test_swapping_the_variants_turns_the_interval_round(control: Share, other: Share, split: float) -> None:
    one = shares.difference(control, other, split, ALPHA)
    two = shares.difference(other, control, 1 - split, ALPHA)
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low), abs=2e-4 * (one.high - one.low))
    assert one.low <= one.estimate <= one.high


@settings(max_examples=8, deadline=None)
@given(counted, counted, splits)
def test_calling_a_failure_a_success_turns_it_round_too(control: Share, other: Share, split: float) -> None:
    one = shares.difference(control, other, split, ALPHA)
    turned = [Share(each.count, each.count - each.total) for each in (control, other)]
    two = shares.difference(*turned, split, ALPHA)
    assert (one.low, one.high) == pytest.approx((-two.high, -two.low), abs=2e-4 * (one.high - one.low))


def test_more_of_the_same_makes_it_narrower() -> None:
    sizes = [2**n for n in range(6, 20, 2)]
    found = [shares.difference(Share(n, n / 16), Share(n, n / 8), 0.5, ALPHA) for n in sizes]
    widths = [each.high - each.low for each in found]
    assert widths == sorted(widths, reverse=True)
    # Of the order of an interval for one look: not twice and a half of it.
    for n, width in zip(sizes, widths, strict=True):
        error = math.sqrt((15 / 256 + 7 / 64) / n)
        assert 2 * 1.96 * error < width < 2.5 * 2 * 1.96 * error


def test_asking_for_more_certainty_makes_it_wider() -> None:
    found = [shares.difference(Share(900, 30), Share(1100, 50), 0.45, alpha) for alpha in (0.2, 0.05, 0.01, 0.001)]
    widths = [each.high - each.low for each in found]
    assert widths == sorted(widths)


def test_the_search_finds_what_scipy_finds() -> None:
    control, other, split = Share(5000, 60), Share(900, 25), 0.85
    for at in (-0.01, 0.0, 0.02, 0.2):
        low, high = max(0.0, -at), min(1.0, 1.0 - at)
        found = optimize.minimize_scalar(
            lambda level, at=at: float(shares.evidence(control.tally, other.tally, split, level, level + at)),
            bounds=(low, high), method="bounded", options={"xatol": 1e-10},
        )  # fmt: skip
        assert shares.least_evidence(control, other, split, at) == pytest.approx(found.fun, abs=1e-5)


def test_a_bet_is_fair_by_the_binomial_distribution() -> None:
    """What the bets have grown to after n values has a mean of at most 1, whatever the shares are."""
    for n_control, n_other, p_control, p_other, split in ((20, 30, 0.1, 0.3, 0.4), (50, 2, 0.02, 0.5, 0.9)):
        totals = np.arange(n_control + 1)
        weights = stats.binom.pmf(totals, n_control, p_control)
        mean = 0.0
        for other_total, weight in enumerate(stats.binom.pmf(np.arange(n_other + 1), n_other, p_other)):
            grown = shares.evidence(
                (float(n_control), totals[:, None]),
                (float(n_other), float(other_total)),
                split, p_control, p_other,
            )  # fmt: skip
            mean += weight * float(weights @ np.exp(grown))
        assert mean == pytest.approx(1.0, abs=1e-9)


def test_a_mean_of_changing_probabilities_is_covered() -> None:
    """Means that change from value to value do no harm: the logarithm is concave in them."""
    means = np.array([0.001, 0.2, 0.05, 0.4])
    for tilt in (-3.0, -0.1, 0.1, 3.0):
        separate = np.log1p(means * np.expm1(tilt)).sum()
        assert separate <= len(means) * np.log1p(means.mean() * np.expm1(tilt)) + 1e-12


@pytest.mark.parametrize(("rate", "split"), [(0.02, 0.5), (0.2, 0.9)])
def test_the_true_difference_stays_inside_at_every_look(rate: float, split: float) -> None:
    """200 experiments of 150 looks: at most 5 % may ever leave it out; 19 of 200 is the 99.9th percentile of that."""
    random = np.random.default_rng(7)
    experiments, looks, a_look = 200, 150, 200
    n = [np.full((experiments, looks), round(a_look * part)).cumsum(axis=1) for part in (split, 1 - split)]
    k = [
        random.binomial(round(a_look * part), rate, (experiments, looks)).cumsum(axis=1) for part in (split, 1 - split)
    ]
    grown = shares.evidence(
        (n[0].reshape(-1, 1), k[0].reshape(-1, 1)),
        (n[1].reshape(-1, 1), k[1].reshape(-1, 1)),
        split, rate, rate,
    ).reshape(experiments, looks)  # fmt: skip
    ever = (grown.max(axis=1) >= -math.log(ALPHA)).sum()
    assert ever <= 19


def test_nothing_is_known_of_nothing() -> None:
    assert shares.difference(Share(0, 0), Share(10, 1), 0.5, ALPHA) is UNKNOWN
    assert math.isnan(Share(0, 0).estimate)


def test_a_split_that_is_not_the_one_that_was_meant() -> None:
    assert not shares.departs(Share(10_000, 5_000), 0.5, 0.001)
    assert not shares.departs(Share(10_000, 5_100), 0.5, 0.001)
    assert shares.departs(Share(10_000, 5_400), 0.5, 0.001)
    assert shares.departs(Share(10_000, 1), 0.0, 0.001)
    assert not shares.departs(Share(10_000, 0), 0.0, 0.001)


def test_logarithms_of_sums() -> None:
    assert float(log_sum(np.log(np.array([1.0, 2.0, 3.0])))) == pytest.approx(math.log(6))
    assert float(log_sum(np.array([-1000.0, -1000.0]))) == pytest.approx(-1000 + math.log(2))
    assert float(log_sum(LOG_STAKES_BOTH)) == pytest.approx(0)
    assert float(log_sum(log_factor(BOTH_WAYS, 0.0, 0.0, 0.3) + LOG_STAKES_BOTH)) == pytest.approx(0)
