"""How unlikely a window's mean score is where nothing has drifted, far out in the tail and for skewed scores too. PURE.

With hundreds of windows of tens of columns a false alert a year is one in a million tests, and there the normal
distribution is wrong by factors: of a value that one row in a hundred has, 200 rows have ten or more once in 20,000
windows, and the normal distribution says once in 20 million. So the tail is Lugannani and Rice's ("Saddle point
approximation for the distribution of the sum of independent random variables", 1980) of the difference of two samples'
means, both drawn from what window and baseline have together, as in a permutation test; shares are counts, so theirs
is corrected for the lattice (Daniels, "Tail probability approximations", 1987). The baseline's own error is in it.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from kedge.monitoring.drift.cells import Floats

_NEAR = 3.5
"""Standard errors up to which the normal distribution is near enough: no decision is made of such."""
_STEPS = 60
_CLOSE = 1e-9
"""Of the distance, which the mean at the saddle point has to be."""
_FARTHEST = 300.0
"""Of the exponent, where the probability is 0 for any purpose."""


def probability(
    distance: Floats, errors: Floats, freedom: Floats, window_rows: Floats, baseline_rows: Floats,
    scores: Floats, shares: Floats, gaps: Floats
) -> Floats:  # fmt: skip
    """Two-sided p-values, each of n tests.

    distance: of the means. errors: its standard errors. freedom: degrees, of the estimate of that error; infinite where
    rows are independent and it is known. window_rows, baseline_rows: independent rows that would vary as much, not
    necessarily whole. scores, shares: shape (n, cells), the score of each cell and its share in both samples together.
    gaps: between the two values of scores that have two; else 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(errors > 0, np.abs(distance) / errors, np.where(distance == 0, 0.0, np.inf))
    found: Floats = 2 * special.ndtr(-apart)
    far = (apart > _NEAR) & np.isfinite(apart)
    if far.any():
        sign = np.sign(distance[far])[:, None]
        found[far] = 2 * _tail(
            np.abs(distance[far]), window_rows[far], baseline_rows[far], sign * scores[far], shares[far], gaps[far]
        )  # fmt: skip
    student = np.isfinite(freedom)
    found[student] = np.maximum(found[student], 2 * special.stdtr(freedom[student], -apart[student]))
    return found.clip(0.0, 1.0)


def critical(level: Floats, freedom: Floats) -> Floats:
    """Standard errors that an interval reaches to either side, for a two-sided `level`."""
    found: Floats = -special.ndtri(level / 2)
    student = np.isfinite(freedom)
    found[student] = -special.stdtrit(freedom[student], level[student] / 2)
    return found


def _tail(distance: Floats, n: Floats, m: Floats, scores: Floats, shares: Floats, gaps: Floats) -> Floats:
    """One-sided, for distances above 0."""
    centred = scores - (shares * scores).sum(axis=1, keepdims=True)
    distance = np.maximum(distance - gaps / (2 * n), 1e-12)
    low, high = np.zeros(len(n)), _FARTHEST / np.ptp(centred, axis=1).clip(1e-12) * np.minimum(n, m)
    point = np.zeros(len(n))
    for _ in range(_STEPS):
        of_window, of_baseline = _cumulants(centred, shares, point / n), _cumulants(centred, shares, -point / m)
        short = distance - (of_window[1] - of_baseline[1])
        curvature = of_window[2] / n + of_baseline[2] / m
        if (np.abs(short) <= _CLOSE * distance).all():
            break
        low, high = np.where(short > 0, point, low), np.where(short > 0, high, point)
        # Newton's step, as the slope only grows; halving where it would leave what holds the solution.
        with np.errstate(divide="ignore", invalid="ignore"):
            wanted = point + short / curvature
        point = np.where((wanted > low) & (wanted < high), wanted, (low + high) / 2)
    grown = n * of_window[0] + m * of_baseline[0]
    root = np.sqrt(2 * np.maximum(point * distance - grown, 1e-12))
    half = point * gaps / (2 * n)
    tilt = np.where(gaps > 0, point * np.sinh(np.minimum(half, 50)) / np.maximum(half, 1e-12), point)
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.exp(-np.square(root) / 2) / np.sqrt(2 * np.pi)
        found = special.ndtr(-root) + density * (1 / (tilt * np.sqrt(curvature)) - 1 / root)
        bound = np.exp(-np.square(root) / 2)
    # Chernoff's bound holds in any case; where a score has run out of values the approximation has nothing to say.
    tail: Floats = np.where(np.isfinite(found), found.clip(0, 1), bound)
    return tail


def _cumulants(scores: Floats, shares: Floats, tilt: Floats) -> tuple[Floats, Floats, Floats]:
    """The cumulant generating function at `tilt`, and its first two derivatives."""
    raised = tilt[:, None] * scores
    largest = raised.max(axis=1, keepdims=True)
    weights = shares * np.exp(raised - largest)
    total = weights.sum(axis=1)
    mean = (weights * scores).sum(axis=1) / total
    square = (weights * np.square(scores)).sum(axis=1) / total
    return np.log(total) + largest[:, 0], mean, np.maximum(square - np.square(mean), 0.0)


def adjusted(p_values: Floats) -> Floats:
    """Benjamini and Hochberg's, of many columns: those up to q hold a share of at most q that did not change.

    "Controlling the false discovery rate", 1995. Columns of one table may depend on one another in any way, so it has
    the factor of Benjamini and Yekutieli, 2001.
    """
    count = len(p_values)
    order = np.argsort(p_values)
    factor = count * float((1 / np.arange(1, count + 1)).sum()) if count else 1.0
    scaled = p_values[order] * factor / np.arange(1, count + 1)
    found = np.empty(count)
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found
