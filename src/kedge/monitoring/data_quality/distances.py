"""How far a window's values are from a baseline's, as SageMaker's analyzer measures it. PURE.

Source: awslabs/deequ, Distance and its categorical tests: the largest distance of two distribution functions, exact up
to the sketches' error, and of two shares; "robust" takes off what chance makes of samples of these sizes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kedge.monitoring.profiles.kll import Kll

_CRITICAL = 1.8
"""Of the two-sample Kolmogorov-Smirnov test, at a level of 0.003."""
_FEW, _ENOUGH_OF_TWO = 5, 10
_MOST_FEW_SHARE = 0.2


class ChiSquared(NamedTuple):
    statistic: float
    p_value: float


def of_numbers(baseline: Kll, current: Kll) -> float:
    """The largest difference of the shares of values up to any x: 0 to 1. Raises ValueError if one has no values."""
    at = np.unique(np.concatenate((*baseline.levels, *current.levels)))
    return float(np.abs(baseline.shares(at) - current.shares(at)).max(initial=0.0))


def of_shares(baseline: Mapping[str, float], current: Mapping[str, float], n: float = 0.0, m: float = 0.0) -> float:
    """The largest difference of any value's share: 0 to 1.

    baseline, current: counts by value; m, n: of all of them, where that is not the sum. Raises ValueError for none.
    """
    m, n = m or sum(baseline.values()), n or sum(current.values())
    if not n or not m:
        raise ValueError("There are no values to compare.")
    return max(abs(baseline.get(key, 0.0) / m - current.get(key, 0.0) / n) for key in {*baseline, *current})


def robust(distance: float, n: float, m: float) -> float:
    """A distance less what chance alone makes of it, at least 0. n, m: how many values there were."""
    return max(0.0, distance - _CRITICAL * math.sqrt((n + m) / (n * m)))


def chi_squared(baseline: Mapping[str, float], current: Mapping[str, float]) -> ChiSquared | None:
    """Pearson's test that `current` has the baseline's shares. Counts by value; None where it cannot be applied.

    Values unknown to the baseline are not in it. The rarest values are taken together until the expected counts are
    large enough: all 10 or more of two values (Cochran, 1952), and at most a fifth below 5 of more (Yates, Moore and
    McCabe, 1999).
    """
    total, known = sum(baseline.values()), sum(current.get(key, 0.0) for key in baseline)
    if not total or not known:
        return None
    pairs = sorted((count * known / total, float(current.get(key, 0.0))) for key, count in baseline.items() if count)
    while len(pairs) > 1 and not _large_enough(pairs):
        (expected, seen), (expected_2, seen_2), *rest = pairs
        pairs = sorted([(expected + expected_2, seen + seen_2), *rest])
    if len(pairs) < 2:
        return None
    statistic = sum((seen - expected) ** 2 / expected for expected, seen in pairs)
    return ChiSquared(statistic, _above(statistic, len(pairs) - 1))


def _large_enough(pairs: list[tuple[float, float]]) -> bool:
    if len(pairs) == 2:
        return pairs[0][0] >= _ENOUGH_OF_TWO
    return sum(expected < _FEW for expected, _ in pairs) <= _MOST_FEW_SHARE * len(pairs)


def _above(statistic: float, freedom: int) -> float:
    """The chance of more, of chi squared."""
    from scipy.special import chdtrc

    return float(chdtrc(freedom, statistic))
