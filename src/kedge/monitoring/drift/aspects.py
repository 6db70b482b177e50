"""What is asked of a column: bounded scores of its cells, each of which sees one way to drift. PURE.

A window's mean of a score is its place on that aspect, in standard deviations of the baseline. Scores are of cells, so
no value, however far out, counts for more than the outermost one of the baseline: a column without a variance, such as
Cauchy's, is judged as well as a normal one. Values that are equal have the same rank, the middle of those they share.

- `shift`: the rank itself (Wilcoxon, 1945); for a normal column its mean moves as the mean does, and with nearly the
  same power.
- `centre`: the best score for Student's distribution with two degrees of freedom, and a good one for Cauchy's (by Hajek
  and Sidak, "Theory of Rank Tests", 1967): it sees the middle of a column move whose tails drown everything else.
- `value`: the value itself, between the outermost quantiles (a winsorised mean: Dixon, 1960). What grows in proportion,
  or happens more often, moves most by it: of exponential amounts ranks need half as many rows again, and of a normal
  column they are no better.
- `above p`: the share above a quantile, at several; together they see what leaves the middle where it is, such as
  another spread. The largest of their changes is Kolmogorov's distance at those places.
- `level`: a categorical column's share of one level.
- `missing`: the share of rows without a value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kedge.monitoring.drift.cells import Categorical, Cells, Floats, Numeric
from kedge.monitoring.drift.scores import scores, sees_best

CUTS = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)
PARTS = {"shift": 0.15, "centre": 0.1, "value": 0.1, "above": 0.15, "missing": 0.1}
"""How the error that a column may make is divided among its aspects; levels have all but what is missing."""
_BEST_PART = 0.4
"""And of the one that sees best what is hardest to see in this column, so of tails as heavy as its own."""
LEAST_SHARE = 0.01
"""A share is judged as if it were no smaller in the baseline: one that was never seen would have no deviation."""
_LEAST_DEVIATION = math.sqrt(LEAST_SHARE * (1 - LEAST_SHARE))


@dataclass(frozen=True)
class Aspects:
    """scores: shape (aspects, cells), of mean 0 and deviation 1 in the baseline; `missing` is apart: it is of all rows.

    parts: of the column's error, summing to 1 together with that of what is missing.
    variances: of the scores in the baseline; below 1 where the deviation was raised to the least one.
    kurtoses: of the scores, beyond a normal one's.
    gaps: between the two values that a score has in the baseline, where it has no more; 0 for others. lowest: of its
    values there.
    """

    names: tuple[str, ...]
    scores: Floats
    parts: Floats
    variances: Floats
    kurtoses: Floats
    gaps: Floats
    lowest: Floats
    missing: float
    """Share in the baseline."""

    def means(self, counts: Floats) -> tuple[Floats, Floats]:
        """(mean scores, rows that they are of), both of shape (windows, aspects and missing).

        counts: shape (windows, cells and missing). A window without rows has the mean 0."""
        present, all_rows = counts[:, :-1].sum(axis=1), counts.sum(axis=1)
        scored = counts[:, :-1] @ self.scores.T / np.maximum(present, 1)[:, None]
        absent = (counts[:, -1] / np.maximum(all_rows, 1) - self.missing) / _deviation(self.missing)
        rows = np.repeat(present[:, None], len(self.names) - 1, axis=1)
        return np.column_stack([scored, absent]), np.column_stack([rows, all_rows])

    def squares(self, counts: Floats) -> Floats:
        """Mean squares of the scores, of the same shape."""
        present, all_rows = counts[:, :-1].sum(axis=1), counts.sum(axis=1)
        scored = counts[:, :-1] @ np.square(self.scores).T / np.maximum(present, 1)[:, None]
        absent = counts[:, -1] / np.maximum(all_rows, 1)
        one, other = np.array([-self.missing, 1 - self.missing]) / _deviation(self.missing)
        return np.column_stack([scored, absent * other**2 + (1 - absent) * one**2])


def _alike(scored: list[Floats], score: Floats, held: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which of them it is the same as, but for rounding and the sign, where the baseline has rows."""
    others = np.reshape(scored, (len(scored), len(score)))[:, held]
    near = [np.abs(others - each) <= 1e-9 + 1e-5 * np.abs(others) for each in (score[held], -score[held])]
    return np.flatnonzero(near[0].all(axis=1) | near[1].all(axis=1))


def aspects(cells: Cells, counts: Floats) -> Aspects:
    """counts: one row, of the baseline."""
    shares = counts[:-1] / counts[:-1].sum()
    asked = _levels(cells, shares) if isinstance(cells, Categorical) else _numbers(cells, shares)
    names: list[str] = []
    scored: list[Floats] = []
    parts: list[float] = []
    for name, raw, least, part in asked:
        if not np.ptp(raw):
            continue
        mean = float(shares @ raw)
        deviation = math.sqrt(float(shares @ np.square(raw - mean)))
        score = (raw - mean) / max(deviation, least)
        same = _alike(scored, score, shares > 0)
        if len(same):
            parts[same[0]] += part
            continue
        names.append(name)
        scored.append(score)
        parts.append(part)
    missing = float(counts[-1] / counts.sum())
    table = np.array(scored).reshape(len(names), len(shares))
    divided = np.array(parts)
    if len(divided):
        divided *= (1 - PARTS["missing"]) / divided.sum()
    variances = np.append(np.square(table) @ shares, missing * (1 - missing) / _deviation(missing) ** 2)
    absent = np.array([-missing, 1 - missing]) / _deviation(missing)
    fourth = np.append(table**4 @ shares, absent**4 @ np.array([1 - missing, missing]))
    kurtoses = np.divide(fourth, np.square(variances), where=variances > 0, out=np.full(len(fourth), 3.0)) - 3
    held = table[:, shares > 0]
    lowest = np.append(held.min(axis=1, initial=0.0), absent[0])
    gaps = np.append([_gap(each) for each in held], 1 / _deviation(missing))
    return Aspects(
        (*names, "missing"), table, np.append(divided, PARTS["missing"]), variances, kurtoses, gaps, lowest, missing
    )


def _numbers(cells: Numeric, shares: Floats) -> list[tuple[str, Floats, float, float]]:
    held, above = shares > 0, shares.cumsum()
    each = scores(cells, shares)
    parts = {name: PARTS[name] for name in each}
    parts[sees_best(each, cells, shares)] += _BEST_PART
    found = [(name, score, _LEAST_DEVIATION * _range(score, held), parts[name]) for name, score in each.items()]
    inner = [cell for cell in range(len(shares) - 1) if 0 < above[cell] < 1 - 1e-12]
    ends = dict.fromkeys(min(inner, key=lambda cell: abs(above[cell] - cut)) for cut in CUTS) if inner else {}
    for end in ends:
        is_above = (np.arange(len(shares)) > end).astype(np.float64)
        found.append((f"above {above[end]:.3g}", is_above, _LEAST_DEVIATION, PARTS["above"] / len(ends)))
    return found


def _range(score: Floats, held: NDArray[np.bool_]) -> float:
    """Of the baseline's rows; of a column that is constant there, of all that may come."""
    return float(np.ptp(score[held]) or np.ptp(score))


def _levels(cells: Categorical, shares: Floats) -> list[tuple[str, Floats, float, float]]:
    """The error is divided as the deviations are: what cannot change much needs no large part of it."""
    deviations = [_deviation(float(share)) for share in shares]
    return [
        (f"level {level}", np.eye(len(shares))[place], _LEAST_DEVIATION, deviations[place] / sum(deviations))
        for place, level in enumerate((*cells.levels, "other"))
    ]


def _deviation(share: float) -> float:
    return max(math.sqrt(share * (1 - share)), _LEAST_DEVIATION)


def _gap(scores: Floats) -> float:
    return float(np.ptp(scores)) if len(np.unique(scores)) == 2 else 0.0
