"""Which errors a model makes: how many, and of which classes. PURE.

An error's class is what was there and what was said. Their mix may change while their number does not: then the model
fails others than before, and no metric of AWS's need tell. A change counts where chance does not explain it and where
it is large enough to matter: `significance` and the two material sizes are keys of the baseline that a user may edit.

Sources: the z-test of two proportions and Pearson's chi squared test of homogeneity, as in Agresti, "Categorical Data
Analysis"; classes whose expected count is below 5 are put together (Cochran, 1954).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2, norm

MOST_CLASSES = 100
REST = "other errors"
_LEAST_EXPECTED = 5.0


@dataclass(frozen=True)
class Errors:
    """rows: with a label. classes: name to number of errors."""

    rows: int
    classes: Mapping[str, int]
    tolerance: float | None = None
    """Of regression: an error is larger than this."""

    @property
    def count(self) -> int:
        return sum(self.classes.values())

    @property
    def rate(self) -> float:
        return self.count / self.rows if self.rows else 0.0

    def shares(self) -> dict[str, float]:
        return {name: count / self.count for name, count in self.classes.items()} if self.count else {}


@dataclass(frozen=True)
class Limits:
    significance: float = 0.01
    material_rate: float = 0.02
    """By how much the error rate has to rise."""
    material_mix: float = 0.1
    """Which share of the errors has to be of another class than before."""


@dataclass(frozen=True)
class Change:
    """rate, mix: how far from the baseline (mix: total variation, 0 to 1); p-values: how likely by chance alone."""

    rate: float
    rate_p: float
    mix: float
    mix_p: float

    def rate_exceeds(self, limits: Limits) -> bool:
        return self.rate >= limits.material_rate and self.rate_p < limits.significance

    def mix_exceeds(self, limits: Limits) -> bool:
        return self.mix >= limits.material_mix and self.mix_p < limits.significance


def of_table(table: Any, names: list[str]) -> Errors:
    """table: shape (classes, classes), rows are actual ones; names: of the classes."""
    counts = {
        f"{names[actual]} as {names[said]}": int(table[actual, said])
        for actual, said in zip(*np.nonzero(table), strict=True)
        if actual != said
    }
    return Errors(int(table.sum()), kept(counts))


def of_regression(errors: Any, tolerance: float) -> Errors:
    """errors: predicted less actual."""
    counts = {"too high": int(np.sum(errors > tolerance)), "too low": int(np.sum(errors < -tolerance))}
    return Errors(len(errors), counts, tolerance)


def kept(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent classes, and the rest as one."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    found = {name: counts[name] for name in order[:MOST_CLASSES]}
    rest = sum(counts[name] for name in order[MOST_CLASSES:])
    return found | ({REST: found.get(REST, 0) + rest} if rest else {})


def change(before: Errors, now: Errors) -> Change:
    mix, mix_p = _mix(before, now)
    return Change(now.rate - before.rate, _rate_p(before, now), mix, mix_p)


def _rate_p(before: Errors, now: Errors) -> float:
    """One-sided: of a rate that rose."""
    if not before.rows or not now.rows:
        return 1.0
    pooled = (before.count + now.count) / (before.rows + now.rows)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / before.rows + 1 / now.rows))
    return float(norm.sf((now.rate - before.rate) / spread)) if spread else 1.0


def _mix(before: Errors, now: Errors) -> tuple[float, float]:
    """(total variation distance, p-value); without errors on one side nothing can be said of it: (0, 1)."""
    if not before.count or not now.count:
        return 0.0, 1.0
    names = sorted({*before.classes, *now.classes})
    table = np.array([[side.classes.get(name, 0) for name in names] for side in (before, now)], dtype=float)
    shares = table / table.sum(axis=1, keepdims=True)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    rare = expected.min(axis=0) < _LEAST_EXPECTED
    table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)]) if rare.any() else table
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return distance, 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    if expected.min() < 1:
        return distance, 1.0
    statistic = float(((table - expected) ** 2 / expected).sum())
    return distance, float(chi2.sf(statistic, table.shape[1] - 1))
