"""How far one distribution of outputs is from another: the population stability index. PURE."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

BINS = 10
_STEPS = 64
"""Of values between two powers of 2: within 1 % a value stands for those that are counted with it."""

Counts = Mapping[float | str, int]
"""How often each value was seen. Numbers are rounded by `rounded`; a text is a category."""


def rounded(value: float) -> float:
    """To about two digits, so that few values are kept of many; the same for all that are compared."""
    mantissa, exponent = math.frexp(value)
    return math.ldexp(round(mantissa * _STEPS) / _STEPS, exponent)


def population_stability_index(reference: Counts, current: Counts, bins: int = BINS) -> float:
    """How far `current` moved from `reference`; 0 is no move, above 0.25 is by convention a major shift.

    Numbers are binned by the quantiles of the reference's numbers, with a bin at either end for what lies outside of
    them; each category is a bin of its own. Half a value is added to every bin, so that an empty one has a logarithm.
    Raises ValueError if either is empty. Source: Siddiqi, Credit Risk Scorecards, 2006.
    """
    edges = _edges(reference, bins)
    before, after = _binned(reference, edges), _binned(current, edges)
    total_before, total_after = sum(before.values()), sum(after.values())
    if not total_before or not total_after:
        raise ValueError("a distribution without values")
    keys = before.keys() | after.keys()
    index = 0.0
    for key in keys:
        share_before = (before[key] + 0.5) / (total_before + 0.5 * len(keys))
        share_after = (after[key] + 0.5) / (total_after + 0.5 * len(keys))
        index += (share_after - share_before) * math.log(share_after / share_before)
    return index


def _edges(counts: Counts, bins: int) -> list[float]:
    """Upper ends of all bins but the last; the first bin is below all numbers, the last above them."""
    numbers = sorted((value, count) for value, count in counts.items() if not isinstance(value, str))
    if not numbers:
        return []
    total = sum(count for _, count in numbers)
    edges = [math.nextafter(float(numbers[0][0]), -math.inf)]
    seen, step = 0, 1
    for value, count in numbers:
        seen += count
        if seen * bins >= step * total:
            edges.append(float(value))
            step = seen * bins // total + 1
    return edges


def _binned(counts: Counts, edges: list[float]) -> Counter[int | str]:
    found: Counter[int | str] = Counter()
    for value, count in counts.items():
        found[value if isinstance(value, str) else bisect_left(edges, value)] += count
    return found
