"""How far apart a quantile of two variants is, such as the 99th percentile of a latency, however often one looks. PURE.

How many values are below the true quantile is a count whose mean is known, whatever the distribution is, so the bets of
`shares` say which pairs of ranks the two quantiles may have. Source: Howard and Ramdas, "Sequential estimation of
quantiles with applications to A/B testing and best-arm identification", 2022. It takes values without ties, of one
distribution for each variant, each of which says nothing of the next.

The pairs of ranks are a convex region. It is covered by boxes side by side along the control's ranks, so that the
values at some forty ranks are enough to say what the difference can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import NamedTuple

from kedge.experiments.interval import UNKNOWN, Interval
from kedge.experiments.least import least
from kedge.experiments.shares import evidence

BOXES = 14


class Box(NamedTuple):
    """The quantiles are at least the low-th and at most the high-th smallest value, counted from 1.

    A low of 0 says nothing, nor does a high of more than there are values."""

    control_low: int
    control_high: int
    other_low: int
    other_high: int


def boxes(control_count: int, other_count: int, share: float, split: float, alpha: float) -> list[Box]:
    """One of them holds both true quantiles, at every look, but with probability alpha.

    share: of the values, above 0 and below 1, that are below the quantile. split: as of `shares.difference`.
    """
    if not control_count or not other_count:
        return []
    limit = -math.log(alpha)

    def against(control_below: float, other_below: float) -> float:
        control, other = (float(control_count), control_below), (float(other_count), other_below)
        return float(evidence(control, other, split, share, share))

    def of_control(below: float) -> float:
        return least(lambda other: against(below, other), 0.0, other_count, limit)[0]

    first, last = _ends(of_control, control_count * share, control_count, limit)
    edges = sorted({first + (last + 1 - first) * number // BOXES for number in range(BOXES + 1)})
    found = []
    for begin, end in pairwise(edges):

        def of_other(below: float, begin: int = begin, end: int = end) -> float:
            return least(lambda control: against(control, below), begin, end - 1, limit)[0]

        _, inside = least(of_other, 0.0, other_count, limit)
        low, high = _ends(of_other, inside, other_count, limit)
        found.append(Box(begin, end, low, high + 1))
    return found


def difference(
    estimate: float, within: list[Box], control_values: Mapping[int, float], other_values: Mapping[int, float]
) -> Interval:
    """The other's quantile minus the control's. Values by rank; infinite for a rank that does not exist."""
    if not within:
        return UNKNOWN
    low = min(other_values[box.other_low] - control_values[box.control_high] for box in within)
    high = max(other_values[box.other_high] - control_values[box.control_low] for box in within)
    return Interval(estimate, low, high)


def _ends(against: Callable[[float], float], inside: float, count: int, limit: float) -> tuple[int, int]:
    """The fewest and the most values that may be below the quantile. inside: a number, not a whole one, that may be."""
    return _last(against, math.ceil(inside), 0, limit), _last(against, math.floor(inside), count, limit)


def _last(against: Callable[[float], float], inside: int, end: int, limit: float) -> int:
    if against(end) < limit:
        return end
    outside = end
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        if against(middle) < limit:
            inside = middle
        else:
            outside = middle
    return inside
