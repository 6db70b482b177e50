"""The bets of which the evidence is a mixture: by how much the odds are tilted, and how much is put on each. PURE.

A value x between 0 and 1 with mean p, tilted by l, has the factor exp(l x) / (1 - p + p exp(l)). Its mean is at most 1,
so what a bet on one l has grown to after any number of values exceeds 1/alpha at any time with a probability of at most
alpha (Ville, 1939). This is the sub-Bernoulli process of Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform Chernoff
bounds via nonnegative supermartingales", 2020. It needs no more than how many values there were and their sum, and p
may be the mean of probabilities that changed from value to value.

Which l is best depends on the unknown difference and on the number of values. So a part of the stake is on each of a
grid of sizes, most on odds that differ by a quarter, with tails as heavy as Cauchy's: that costs little whatever the
difference is, where a single bet, or a normal mixture, is tuned for one size ("Time-uniform, nonparametric,
nonasymptotic confidence sequences", by the same, 2021).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

_USUAL, _SPREAD = 0.25, 1.5
SIZES: Floats = np.geomspace(1e-3, 6.0, 80)
_STAKES: Floats = 1 / (1 + (np.log(SIZES / _USUAL) / _SPREAD) ** 2)
LOG_STAKES: Floats = np.log(_STAKES / _STAKES.sum())
"""One for each of SIZES; the stakes add up to 1."""
BOTH_WAYS: Floats = np.concatenate([-SIZES, SIZES])
LOG_STAKES_BOTH: Floats = np.concatenate([LOG_STAKES, LOG_STAKES]) - np.log(2.0)


def log_factor(tilt: Floats, count: Floats | float, total: Floats | float, mean: Floats | float) -> Floats:
    """Logarithm of what the bet has grown to, if `mean` is the mean. total: of `count` values between 0 and 1."""
    return tilt * total - count * np.log1p(mean * np.expm1(tilt))


def log_sum(terms: Floats) -> Floats:
    """Logarithm of the sum of the exponentials over the last axis."""
    largest = terms.max(axis=-1, keepdims=True)
    summed: Floats = np.log(np.exp(terms - largest).sum(axis=-1)) + largest[..., 0]
    return summed
