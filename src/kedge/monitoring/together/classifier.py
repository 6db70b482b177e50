"""Can anything tell the rows of a window from the baseline's? A classifier two-sample test. PURE.

If both are of one distribution no classifier does better on rows that it has not seen than chance, an AUC of 0.5. What
it finds it can find anywhere: in one column, in the relation of several, in what is missing. Source: Lopez-Paz and
Oquab, "Revisiting classifier two-sample tests", 2017. The AUC's interval is DeLong's ("Comparing the areas under two or
more correlated receiver operating characteristic curves", 1988), of each fold by itself, as scores of different
classifiers do not compare; the mean of the folds is tested.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from kedge.monitoring.drift.cells import Floats

FOLDS = 5
MOST_ROWS = 10_000
"""Of either side; of more, every so many-th is taken."""
LEAST_ROWS = 100


class Told(NamedTuple):
    """auc: mean of the folds; 0.5 is no drift. low, high: its interval. p: one-sided, that it is above 0.5 by chance.

    columns: the number of each, and how much the AUC of the last fold falls when it is shuffled; the most first.
    """

    auc: float
    low: float
    high: float
    p: float
    columns: tuple[tuple[int, float], ...]


def told_apart(baseline: ArrayLike, window: ArrayLike, confidence: float = 0.95) -> Told:
    """baseline, window: shape (rows, columns), numbers; NaN is missing. Give levels as numbers.

    Raises ValueError for fewer than LEAST_ROWS on either side, or for other columns.
    """
    one, two = (_thinned(np.asarray(each, dtype=np.float64)) for each in (baseline, window))
    if one.ndim != 2 or two.ndim != 2 or one.shape[1] != two.shape[1]:
        raise ValueError(f"Both have to be tables of the same columns; they have the shapes {one.shape}, {two.shape}.")
    if min(len(one), len(two)) < LEAST_ROWS:
        raise ValueError(f"{min(len(one), len(two))} rows are too few to be told apart; give {LEAST_ROWS} or more.")
    rows = np.vstack([one, two])
    is_new = np.arange(len(rows)) >= len(one)
    fold = np.concatenate([np.arange(len(each)) % FOLDS for each in (one, two)])
    areas, variances = [], []
    for number in range(FOLDS):
        held_out = fold == number
        model = _fitted(rows[~held_out], is_new[~held_out])
        found, variance = area(model.decision_function(rows[held_out]), is_new[held_out])
        areas.append(found)
        variances.append(variance)
    mean, error = float(np.mean(areas)), float(np.sqrt(np.sum(variances))) / FOLDS
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    p = float(special.ndtr((0.5 - mean) / error)) if error > 0 else float(mean <= 0.5)
    columns = _weights(model, rows[held_out], is_new[held_out], areas[-1])
    return Told(mean, max(mean - reach, 0.0), min(mean + reach, 1.0), p, columns)


def area(scores: Floats, positive: Floats) -> tuple[float, float]:
    """(AUC, its variance by DeLong). positive: of each score whether it is of that class; both have to be there."""
    is_one = positive.astype(np.bool_)
    of_all = stats.rankdata(scores)
    n, m = int(is_one.sum()), int((~is_one).sum())
    # The share of the other class that each one is on the right side of, a tie being half of it.
    ones = (of_all[is_one] - stats.rankdata(scores[is_one])) / m
    zeros = 1 - (of_all[~is_one] - stats.rankdata(scores[~is_one])) / n
    spread = (float(ones.var(ddof=1)) / n if n > 1 else 0.0) + (float(zeros.var(ddof=1)) / m if m > 1 else 0.0)
    return float(ones.mean()), spread


def _fitted(rows: Floats, is_new: Floats):  # type: ignore[no-untyped-def]  # scikit-learn has no types
    from sklearn.ensemble import HistGradientBoostingClassifier

    counts = np.bincount(is_new.astype(np.int64), minlength=2)
    weights = (len(rows) / 2 / counts)[is_new.astype(np.int64)]
    model = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=15, min_samples_leaf=20, l2_regularization=1.0, early_stopping=False, random_state=0
    )
    return model.fit(rows, is_new, sample_weight=weights)


def _weights(model, rows: Floats, is_new: Floats, whole: float) -> tuple[tuple[int, float], ...]:  # type: ignore[no-untyped-def]
    found = []
    order = np.random.default_rng(0).permutation(len(rows))
    for column in range(rows.shape[1]):
        shuffled = rows.copy()
        shuffled[:, column] = rows[order, column]
        found.append((column, whole - area(model.decision_function(shuffled), is_new)[0]))
    return tuple(sorted(found, key=lambda each: -each[1]))


def _thinned(rows: Floats) -> Floats:
    return rows[:: -(-len(rows) // MOST_ROWS)] if len(rows) > MOST_ROWS else rows
