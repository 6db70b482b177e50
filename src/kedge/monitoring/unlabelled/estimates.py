"""Accuracy, precision, recall, F1 and AUC of rows whose labels nobody knows yet, with error bars. PURE.

Confidence-based performance estimation: where each row is positive with the probability that calibration gives it, a
confusion matrix has an expectation, and the metrics follow (Bialek et al., "Estimating model performance under
covariate shift without labels", 2024). The error bars have two parts, both by the delta method on the gradient of a
metric by the labels: which rows will turn out to be positive (Bernoulli's variance of each), and what the calibration
does not know (the variance of its steps, common to all rows in one).

**What it cannot see is concept drift.** It takes for granted that rows of a score are as often positive as they were
among the labelled ones. Where the same inputs now have other answers it goes on to say that all is well; only labels
tell. It sees what covariate shift does: more rows of the kind that the model is unsure of.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kedge.monitoring.drift.cells import Floats
from kedge.monitoring.unlabelled.calibration import Calibration

Truths = NDArray[np.bool_]
METRICS = ("accuracy", "precision", "recall", "f1", "auc")


class Estimate(NamedTuple):
    """low, high: an interval; NaN, as the value, where the metric is not defined."""

    value: float
    low: float
    high: float


def binary(
    known: Calibration, scores: ArrayLike, said: ArrayLike | None = None, confidence: float = 0.95
) -> dict[str, Estimate]:
    """scores: of the positive class. said: whether the model said so of each row; without it, from a score of 0.5.

    Raises ValueError without rows.
    """
    given, answered = _checked(scores, said)
    steps = known.steps(given)
    found = _of_class(known.worth[steps], given, answered)
    return {name: _estimate(*found[name], known, steps, confidence) for name in METRICS}


def multiclass(
    known: Sequence[Calibration], scores: ArrayLike, said: ArrayLike | None = None, confidence: float = 0.95
) -> dict[str, Estimate]:
    """Each class against the others; precision, recall, F1 and AUC are the means over classes ("macro").

    known: of each class. scores: shape (rows, classes). said: the number of each row's class; else that of its largest
    score. The error of a mean is no larger than the mean of the errors, which is what is taken.
    """
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != len(known) or not len(given):
        raise ValueError(f"Scores have to be of the shape (rows, {len(known)}), with at least one row.")
    answered = given.argmax(axis=1) if said is None else np.asarray(said, dtype=np.int64)
    steps = np.column_stack([each.steps(given[:, place]) for place, each in enumerate(known)])
    worth = np.column_stack([each.worth[steps[:, place]] for place, each in enumerate(known)])
    total = worth.sum(axis=1, keepdims=True)
    worth = np.where(total > 0, worth / np.where(total > 0, total, 1.0), 1 / len(known))
    by_class: list[dict[str, tuple[float, float]]] = []
    right = _Sum()
    for place, each in enumerate(known):
        is_it = answered == place
        found = _of_class(worth[:, place], given[:, place], is_it)
        by_class.append(
            {name: (found[name][0], _error(*found[name][1:], each, steps[:, place])) for name in METRICS[1:]}
        )
        gradient = is_it / len(given)
        right.add(float(gradient @ worth[:, place]), _error(gradient, worth[:, place], each, steps[:, place]))
    reach = NormalDist().inv_cdf((1 + confidence) / 2)
    estimates = {"accuracy": _within(right.value, reach * right.error)}
    for name in METRICS[1:]:
        defined = [each[name] for each in by_class if np.isfinite(each[name][0])]
        value, error = (float(np.mean([each[part] for each in defined])) if defined else np.nan for part in (0, 1))
        estimates[name] = _within(value, reach * error)
    return estimates


class _Sum:
    """Of parts whose errors may go together."""

    def __init__(self) -> None:
        self.value, self.error = 0.0, 0.0

    def add(self, value: float, error: float) -> None:
        self.value += value
        self.error += error


def _checked(scores: ArrayLike, said: ArrayLike | None) -> tuple[Floats, Truths]:
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim != 1 or not len(given):
        raise ValueError("There are no scores to estimate by.")
    answered = given >= 0.5 if said is None else np.asarray(said, dtype=np.bool_)
    if answered.shape != given.shape:
        raise ValueError(f"There are {len(given)} scores, and answers of the shape {answered.shape}.")
    return given, answered


def _of_class(worth: Floats, scores: Floats, said: Truths) -> dict[str, tuple[float, Floats, Floats]]:
    """Of each metric its value, its gradient by each row's label, and the rows' probabilities to be positive."""
    rows, answered = len(worth), float(said.sum())
    hits, positive = float(worth[said].sum()), float(worth.sum())
    of_said = said.astype(np.float64)
    precision = hits / answered if answered else np.nan
    recall = hits / positive if positive else np.nan
    f1 = 2 * hits / (answered + positive) if answered + positive else np.nan
    right = float((np.where(said, worth, 1 - worth)).mean())
    found = {
        "accuracy": (right, (2 * of_said - 1) / rows),
        "precision": (precision, of_said / max(answered, 1.0)),
        "recall": (recall, (of_said - np.nan_to_num(recall)) / max(positive, 1e-12)),
        "f1": (f1, (2 * of_said - np.nan_to_num(f1)) / max(answered + positive, 1e-12)),
        "auc": _auc(worth, scores),
    }
    return {name: (value, gradient, worth) for name, (value, gradient) in found.items()}


def _auc(worth: Floats, scores: Floats) -> tuple[float, Floats]:
    """(expected share of pairs, a positive and a negative one, in order; gradient). No row pairs with itself."""
    _, place = np.unique(scores, return_inverse=True)
    positive, negative = np.bincount(place, worth), np.bincount(place, 1 - worth)
    below = (negative.cumsum() - negative / 2)[place] - (1 - worth) / 2
    above = (positive.sum() - positive.cumsum() + positive / 2)[place] - worth / 2
    pairs = float(positive.sum() * negative.sum() - worth @ (1 - worth))
    if pairs <= 1e-12:
        return np.nan, np.zeros(len(worth))
    area = float(worth @ below) / pairs
    of_pairs = (negative.sum() - (1 - worth)) - (positive.sum() - worth)
    return area, (below - above - area * of_pairs) / pairs


def _error(gradient: Floats, worth: Floats, known: Calibration, steps: NDArray[np.int64]) -> float:
    """Standard error of a metric."""
    by_chance = float(np.square(gradient) @ (worth * (1 - worth)))
    together = np.bincount(steps, gradient, len(known.worth))
    return float(np.sqrt(by_chance + np.square(together) @ known.variances))


def _estimate(
    value: float, gradient: Floats, worth: Floats, known: Calibration, steps: NDArray[np.int64], confidence: float
) -> Estimate:
    return _within(value, NormalDist().inv_cdf((1 + confidence) / 2) * _error(gradient, worth, known, steps))


def _within(value: float, wide: float) -> Estimate:
    if not np.isfinite(value):
        return Estimate(np.nan, np.nan, np.nan)
    return Estimate(value, max(value - wide, 0.0), min(value + wide, 1.0))
