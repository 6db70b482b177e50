"""Count, sum, mean and spread of numbers, which merge without loss. PURE.

Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kedge.monitoring.profiles.kll import Floats


@dataclass(frozen=True)
class Moments:
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Of the distances from the mean, summed."""
    low: float = math.inf
    high: float = -math.inf

    @property
    def total(self) -> float:
        return self.mean * self.count

    @property
    def deviation(self) -> float:
        """Of the population: AWS divides by n, not by n - 1."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0


def of(values: Floats) -> Moments:
    """values: finite. What is too large for a float64 comes out as infinity."""
    if not len(values):
        return Moments()
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(values.mean())
        if not math.isfinite(mean):
            mean = float((values / len(values)).sum())
        away = values - mean
        squares = float(np.einsum("i,i->", away, away))  # not by BLAS, whose threads wait by spinning
    return Moments(len(values), mean, squares, float(values.min()), float(values.max()))


def merged(one: Moments, other: Moments) -> Moments:
    if not one.count or not other.count:
        return one if one.count else other
    count = one.count + other.count
    apart = other.mean - one.mean
    mean = one.mean + apart * (other.count / count)
    squares = one.squares + other.squares + apart * apart * (one.count * (other.count / count))
    return Moments(count, mean, squares, min(one.low, other.low), max(one.high, other.high))
