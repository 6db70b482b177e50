"""Kernel SHAP for many rows at once. PURE, but for the model that is asked.

Every row has the same coalitions, so the weighted least squares have one solution matrix, made once: a row costs its
predictions and one product of matrices. Predictions are asked for in large batches over rows and samples. With all
coalitions the values are the Shapley values. Source: Lundberg and Lee, "A unified approach to interpreting model
predictions" (2017), theorem 2; the constraint that values sum to the prediction is kept by leaving one feature out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kedge.monitoring.attribution.coalitions import Coalitions, coalitions, default_samples
from kedge.monitoring.attribution.coalitions import Numbers as Numbers

Rows = npt.NDArray[Any]
"""shape (rows, features): float64, or objects where some features are texts."""
Predict = Callable[[Rows], Numbers]
"""Rows to shape (rows, outputs). Called with at most `batch_rows` rows of many different samples."""
BATCH_ROWS = 65_536
_EDGE = 1e-12


@dataclass(frozen=True)
class Explanation:
    """values: shape (rows, features, outputs); expected: (outputs,), of the baseline; predictions: (rows, outputs).

    Of a row, values and expected sum to the prediction; all three are log odds where they were asked for so.
    """

    values: Numbers
    expected: Numbers
    predictions: Numbers


def explained(
    rows: Rows,
    baseline: Rows,
    predict: Predict,
    random: np.random.Generator,
    samples: int | None = None,
    *,
    use_logit: bool = False,
    batch_rows: int = BATCH_ROWS,
) -> Explanation:
    """rows: (n, features); baseline: (b, features), whose predictions are averaged. samples: None is Clarify's default.

    Raises ValueError for a model whose answers have another shape.
    """
    link = _log_odds if use_logit else _same
    expected = link(asked(predict, baseline, batch_rows).mean(axis=0))
    predictions = link(asked(predict, rows, batch_rows))
    features = rows.shape[1]
    whole = predictions - expected
    if features == 1:
        return Explanation(whole[:, None, :], expected, predictions)
    chosen = coalitions(features, samples or default_samples(features), random)
    solution = _solution(chosen)
    values = np.empty((len(rows), features, len(expected)))
    at_once = max(1, batch_rows // (len(chosen.masks) * len(baseline)))
    for start in range(0, len(rows), at_once):
        part = slice(start, start + at_once)
        means = _of_samples(rows[part], baseline, chosen, predict, batch_rows)
        moved = link(means) - expected - chosen.masks[:, -1, None] * whole[part, None, :]
        values[part, :-1] = np.einsum("fs,rso->rfo", solution, moved, optimize=True)
        values[part, -1] = whole[part] - values[part, :-1].sum(axis=1)
    return Explanation(values, expected, predictions)


def asked(predict: Predict, rows: Rows, batch_rows: int = BATCH_ROWS) -> Numbers:
    """shape (rows, outputs). Raises ValueError where the model's answers do not fit the rows."""
    found = []
    for start in range(0, len(rows), batch_rows):
        batch = rows[start : start + batch_rows]
        answers = np.asarray(predict(batch), dtype=float)
        answers = answers[:, None] if answers.ndim == 1 else answers
        if answers.ndim != 2 or len(answers) != len(batch):
            raise ValueError(f"The model answered {len(batch)} rows with the shape {answers.shape}.")
        found.append(answers)
    return np.concatenate(found)


def _of_samples(rows: Rows, baseline: Rows, chosen: Coalitions, predict: Predict, batch_rows: int) -> Numbers:
    """Mean prediction over the baseline of each row in each coalition: shape (rows, samples, outputs)."""
    own = chosen.masks[None, :, None, :]
    mixed = np.where(own, rows[:, None, None, :], baseline[None, None, :, :])
    answers = asked(predict, mixed.reshape(-1, rows.shape[1]), batch_rows)
    return np.asarray(answers.reshape(len(rows), len(chosen.masks), len(baseline), -1).mean(axis=2))


def _solution(chosen: Coalitions) -> Numbers:
    """Takes the samples' moves to the values of all features but the last: shape (features - 1, samples)."""
    masks = chosen.masks.astype(float)
    design = masks[:, :-1] - masks[:, -1:]
    weighted = design.T * chosen.weights
    return np.asarray(np.linalg.lstsq(weighted @ design, weighted, rcond=None)[0])


def _same(values: Numbers) -> Numbers:
    return values


def _log_odds(values: Numbers) -> Numbers:
    inside = np.clip(values, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside / (1 - inside)))
