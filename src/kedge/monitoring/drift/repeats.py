"""Rows that repeat the one before them (retries, sensors that hold a value) tell less than their number. PURE."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

_FAR, _MOST_AGAIN = 30, 0.95
"""Rows apart that no run of repeats is likely to reach; the largest probability of one that is reckoned with."""
MOST_REPEATS = (1 + _MOST_AGAIN) / (1 - _MOST_AGAIN)


def repeating(values: ArrayLike) -> float:
    """How many rows, in order, tell as much as one: 1 where rows do not repeat the one before them.

    Where one does with probability p, runs of equal rows are geometric, and a mean varies (1 + p) / (1 - p) times as
    much as that of independent rows. p is the excess of equal neighbours over equal rows further apart.
    """
    rows = np.asarray(values)
    if len(rows) <= 10 * _FAR:
        return 1.0
    near, far = (float((rows[apart:] == rows[:-apart]).mean()) for apart in (1, _FAR))
    apart = near - far
    if apart < 4 * math.sqrt(max(2 * far * (1 - far), 1 / len(rows)) / len(rows)) or far == 1:
        return 1.0
    again = min(apart / (1 - far), _MOST_AGAIN)
    return (1 + again) / (1 - again)
