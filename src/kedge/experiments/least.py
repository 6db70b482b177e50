"""The least value of a convex function, by golden-section search. PURE."""

from __future__ import annotations

import math
from collections.abc import Callable

_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 44
"""The place is found to 1e-9 of the range."""


def least(of: Callable[[float], float], low: float, high: float, enough: float = -math.inf) -> tuple[float, float]:
    """(value, its place) on the range from low to high. enough: the search ends early with any value below that."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = of(left), of(right)
    for _ in range(_STEPS):
        if min(at_left, at_right) < enough:
            break
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = of(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = of(right)
    return min((at_left, left), (at_right, right))
