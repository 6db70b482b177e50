"""Metrics of SageMaker's model quality monitor, by its names. PURE.

Sources: the documented statistics.json of model quality; Powers, "Evaluation: from precision, recall and F-measure to
ROC" (2011); a ratio of nothing to nothing is 0, as Spark's evaluators have it. Without a label of one class AUC is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Numbers = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.intp]

BETAS = {"f0_5": 0.5, "f1": 1.0, "f2": 2.0}
CONSTANT = "_best_constant_classifier"
DRAWS, SHARE, LEAST_ROWS = 5, 0.8, 200
BOOTSTRAP_DRAWS, BOOTSTRAP_ROWS = 50, 10_000
MOST_POINTS = 200
"""Of a curve in a file: more would be the same picture."""


class Curves(NamedTuple):
    false_positive_rates: Numbers
    true_positive_rates: Numbers
    precisions: Numbers
    recalls: Numbers


def ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def f_score(precision: float, recall: float, beta: float) -> float:
    return ratio((1 + beta**2) * precision * recall, beta**2 * precision + recall)


def regression(actual: Numbers, predicted: Numbers) -> dict[str, float]:
    """r2 of labels that are all the same is 1 where every prediction is right, else 0, as scikit-learn has it."""
    errors = predicted - actual
    mse = float(np.mean(errors**2))
    spread = float(np.mean((actual - actual.mean()) ** 2))
    r2 = 1 - mse / spread if spread else float(mse == 0)
    return {"mae": float(np.mean(np.abs(errors))), "mse": mse, "rmse": mse**0.5, "r2": r2}


def binary(actual: Truths, predicted: Truths, score: Numbers | None = None) -> dict[str, float]:
    """score: of the positive class, for auc and au_prc. The constant classifier always says positive, as documented."""
    positive, said = int(actual.sum()), int(predicted.sum())
    hits, rows = int((actual & predicted).sum()), len(actual)
    negative, false = rows - positive, said - hits
    recall, precision = ratio(hits, positive), ratio(hits, said)
    share = ratio(positive, rows)
    found = {
        "recall": recall,
        "precision": precision,
        "accuracy": ratio(hits + negative - false, rows),
        "recall" + CONSTANT: float(positive > 0),
        "precision" + CONSTANT: share,
        "accuracy" + CONSTANT: share,
        "true_positive_rate": recall,
        "true_negative_rate": ratio(negative - false, negative),
        "false_positive_rate": ratio(false, negative),
        "false_negative_rate": ratio(positive - hits, positive),
    }
    if score is not None:
        found |= {"auc": auc(actual, score), "au_prc": average_precision(actual, score)}
    found |= {name: f_score(precision, recall, beta) for name, beta in BETAS.items()}
    return found | {name + CONSTANT: f_score(share, float(positive > 0), beta) for name, beta in BETAS.items()}


def auc(actual: Truths, score: Numbers) -> float:
    """Area under the ROC curve: how often a positive row's score is above a negative one's; ties half (Hanley 1982)."""
    positive = int(actual.sum())
    negative = len(actual) - positive
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[actual].sum() - positive * (positive + 1) / 2) / (positive * negative))


def average_precision(actual: Truths, score: Numbers) -> float:
    """Area under the curve of precision by recall, as a sum of steps, which is not too optimistic (Davis, 2006)."""
    if not actual.any():
        return float("nan")
    hits, said = _by_threshold(actual, score)
    return float(np.sum(np.diff(hits, prepend=0.0) / hits[-1] * (hits / said)))


def curves(actual: Truths, score: Numbers) -> Curves | None:
    """None: all labels are of one class."""
    if actual.all() or not actual.any():
        return None
    hits, said = _by_threshold(actual, score)
    kept = np.unique(np.linspace(0, len(hits) - 1, MOST_POINTS).astype(int))
    hits, said = hits[kept], said[kept]
    positive = float(actual.sum())
    wrong = (said - hits) / (len(actual) - positive)
    return Curves(
        np.concatenate(([0.0], wrong)),
        np.concatenate(([0.0], hits / positive)),
        np.concatenate(([1.0], hits / said)),
        np.concatenate(([0.0], hits / positive)),
    )


def confusion(actual: Codes, predicted: Codes, classes: int) -> npt.NDArray[np.int64]:
    """shape (classes, classes): rows are actual ones."""
    return np.bincount(actual * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def multiclass(table: npt.NDArray[np.int64]) -> dict[str, float]:
    """table: of `confusion`. A class counts by its share of the labels; the constant classifier says the commonest."""
    constant = np.zeros_like(table)
    constant[:, int(table.sum(axis=1).argmax())] = table.sum(axis=1)
    return _weighted(table) | {name + CONSTANT: value for name, value in _weighted(constant).items()}


def _weighted(table: npt.NDArray[np.int64]) -> dict[str, float]:
    rows, hits = float(table.sum()), np.diag(table).astype(float)
    labels, said = table.sum(axis=1).astype(float), table.sum(axis=0).astype(float)
    recalls = np.divide(hits, labels, out=np.zeros_like(hits), where=labels > 0)
    precisions = np.divide(hits, said, out=np.zeros_like(hits), where=said > 0)
    weights = labels / rows
    found = {
        "accuracy": ratio(float(hits.sum()), rows),
        "weighted_recall": float(weights @ recalls),
        "weighted_precision": float(weights @ precisions),
    }
    for name, beta in BETAS.items():
        below = beta**2 * precisions + recalls
        scores = np.divide((1 + beta**2) * precisions * recalls, below, out=np.zeros_like(hits), where=below > 0)
        found[f"weighted_{name}"] = float(weights @ scores)
    return found


def deviations(
    measure: Callable[[npt.NDArray[np.intp]], dict[str, float]], rows: int, random: np.random.Generator
) -> dict[str, float]:
    """Of each metric over five draws of 80 % of the rows, as documented; empty below 200 rows.

    measure: metrics of the rows at the given places. The spread of draws without replacement is about half of that of
    new samples, so it is no confidence interval.
    """
    if rows < LEAST_ROWS:
        return {}
    drawn = [measure(random.permutation(rows)[: int(rows * SHARE)]) for _ in range(DRAWS)]
    return {name: float(np.std([each[name] for each in drawn], ddof=1)) for name in drawn[0]}


def standard_errors(
    measure: Callable[[npt.NDArray[np.intp]], dict[str, float]], rows: int, random: np.random.Generator
) -> dict[str, float]:
    """How far each metric is from what it would be of endless data: of bootstrap draws (Efron, 1979).

    Draws are of at most 10,000 rows, as errors shrink with the root of the number of rows.
    """
    size = min(rows, BOOTSTRAP_ROWS)
    drawn = [measure(random.integers(0, rows, size)) for _ in range(BOOTSTRAP_DRAWS)]
    shrink = (size / rows) ** 0.5
    return {name: float(np.std([each[name] for each in drawn], ddof=1)) * shrink for name in drawn[0]}


def _by_threshold(actual: Truths, score: Numbers) -> tuple[Numbers, Numbers]:
    """(positive rows, rows) at or above each distinct score, from the highest on."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.nonzero(np.diff(score[order]))[0], len(order) - 1)
    return np.cumsum(actual[order]).astype(float)[ends], ends + 1.0
