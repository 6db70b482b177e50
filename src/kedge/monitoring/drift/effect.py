"""How far a window's distribution is from its baseline's, as numbers that people know. PURE.

Both are counts of the same cells, without what is missing. They go beside the shift in the report; alerts are decided
by `evidence`, as these are above 0 by chance alone, the more so the fewer rows there are.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from kedge.monitoring.drift.cells import Floats


class Distance(NamedTuple):
    value: float
    low: float
    high: float


def kolmogorov(baseline: Floats, window: Floats, alpha: float = 0.05) -> Distance:
    """The largest difference of the two distribution functions at the ends of cells, between 0 and 1.

    The interval is Massart's of either sample, each at half of alpha ("The tight constant in the
    Dvoretzky-Kiefer-Wolfowitz inequality", 1990); it takes rows as independent.
    """
    value = float(np.abs(np.cumsum(_shares(window)) - np.cumsum(_shares(baseline))).max())
    wide = sum(math.sqrt(math.log(4 / alpha) / (2 * max(float(each.sum()), 1.0))) for each in (baseline, window))
    return Distance(value, max(value - wide, 0.0), min(value + wide, 1.0))


def largest_difference(baseline: Floats, window: Floats, alpha: float = 0.05) -> Distance:
    """The largest difference of a level's shares, between 0 and 1 (L infinity).

    The interval is normal for the one level that differs most, with alpha divided among all levels.
    """
    one, two = _shares(baseline), _shares(window)
    place = int(np.abs(two - one).argmax())
    n, m = max(float(window.sum()), 1.0), max(float(baseline.sum()), 1.0)
    z = NormalDist().inv_cdf(1 - alpha / (2 * len(one)))
    wide = z * math.sqrt(two[place] * (1 - two[place]) / n + one[place] * (1 - one[place]) / m)
    value = float(abs(two[place] - one[place]))
    return Distance(value, max(value - wide, 0.0), min(value + wide, 1.0))


def cramers_v(baseline: Floats, window: Floats) -> float:
    """How much a row's level says of whether it is the window's or the baseline's: 0 is nothing, 1 everything.

    Without the bias that few rows have: Bergsma, "A bias-correction for Cramer's V and Tschuprow's T", 2013.
    """
    table = np.vstack([baseline, window])
    table = table[:, table.sum(axis=0) > 0]
    rows = float(table.sum())
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return 0.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / rows
    square = float((np.square(table - expected) / expected).sum()) / rows
    levels = table.shape[1]
    corrected = max(0.0, square - (levels - 1) / (rows - 1))
    return math.sqrt(corrected / (min(2 - 1 / (rows - 1), levels - (levels - 1) ** 2 / (rows - 1)) - 1))


def _shares(counts: Floats) -> Floats:
    total = float(counts.sum())
    return counts / total if total else np.zeros(len(counts))
