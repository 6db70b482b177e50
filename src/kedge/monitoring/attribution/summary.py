"""Attributions of a whole data set, and whether their order moved. PURE.

Sources: the documented aggregates of Clarify; the drift score is the normalised discounted cumulative gain of Jarvelin
and Kekalainen (2002), with the baseline's attributions as gains in the order of the live ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

THRESHOLD = 0.90
AGGREGATES: dict[str, Callable[[Any], Any]] = {
    "mean_abs": lambda values: np.abs(values).mean(axis=0),
    "mean_sq": lambda values: (values**2).mean(axis=0),
    "median": lambda values: np.median(values, axis=0),
}


def of_rows(values: npt.NDArray[np.float64], method: str) -> npt.NDArray[np.float64]:
    """values: (rows, features, outputs) to (features, outputs)."""
    return np.asarray(AGGREGATES[method](values))


def drift_score(baseline: Mapping[str, float], live: Mapping[str, float]) -> float:
    """1: the features come in the same order; towards 0 the farther those have fallen that mattered.

    Raises ValueError where the features are not the same. Attributions are magnitudes: signs do not count.
    """
    if set(baseline) != set(live):
        strange = sorted(set(baseline) ^ set(live))
        raise ValueError(f"The baseline's features are not the live ones: {', '.join(strange[:10])}.")
    gains = {name: abs(value) for name, value in baseline.items()}
    best = _gain(sorted(gains, key=lambda name: -gains[name]), gains)
    order = sorted(live, key=lambda name: (-abs(live[name]), name))
    return _gain(order, gains) / best if best else 1.0


def _gain(order: list[str], gains: Mapping[str, float]) -> float:
    return float(sum(gains[name] / np.log2(place + 2) for place, name in enumerate(order)))
