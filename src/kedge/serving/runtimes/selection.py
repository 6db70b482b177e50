"""SAGEMAKER_INFERENCE_OUTPUT: which facts about each prediction of an XGBoost model an answer holds. PURE.

Source: SageMaker's guide, "Deploy the XGBoost algorithm", and sagemaker-xgboost-container (serve_utils.py). What an
objective has no value for is NaN there, and here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kedge.serving.runtimes import payload
from kedge.serving.runtimes.base import LoadError, ModelFailure, NotAcceptable

_LABELS = ("predicted_label", "labels", "raw_score", "raw_scores")
_PROBABILITIES = ("probability", "probabilities")
_SCORE = ("predicted_score",)
KEYS = (*_LABELS, *_PROBABILITIES, *_SCORE)
OBJECTIVES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("reg:squarederror", "reg:logistic", "reg:gamma", "reg:tweedie"), _SCORE),
    **dict.fromkeys(("binary:logitraw", "binary:hinge", "multi:softmax"), _LABELS),
    **dict.fromkeys(("binary:logistic", "multi:softprob"), (*_LABELS, *_PROBABILITIES)),
}


class Selection:
    def __init__(self, keys: Sequence[str], objective: str, classes: int) -> None:
        self._keys = keys
        self._objective = objective
        self._classes = classes

    def write(self, prediction: object, kind: str) -> bytes:
        """Raises NotAcceptable, and ModelFailure for a prediction that is no row a row."""
        if not isinstance(prediction, np.ndarray):
            raise ModelFailure("The model's answer is no array, so nothing can be selected from it.")
        selected = [self._of(row) for row in prediction]
        if kind == payload.JSON:
            return json.dumps({"predictions": selected}).encode()
        if kind == payload.JSON_LINES:
            return "".join(json.dumps(each) + "\n" for each in selected).encode()
        if kind == payload.CSV:
            return "\n".join(",".join(_csv(each[key]) for key in self._keys) for each in selected).encode()
        raise NotAcceptable(f"{kind} cannot hold SAGEMAKER_INFERENCE_OUTPUT; ask for text/csv or application/json.")

    def _of(self, row: Any) -> dict[str, Any]:
        possible = OBJECTIVES[self._objective]
        return {key: getattr(self, f"_{key}")(row) if key in possible else math.nan for key in self._keys}

    def _predicted_score(self, row: Any) -> float:
        return float(row)

    def _predicted_label(self, row: Any) -> float:
        if self._objective == "multi:softprob":
            return int(np.argmax(row))
        if self._objective == "binary:logistic":
            return int(row > 0.5)
        if self._objective == "binary:logitraw":
            return int(row > 0)
        return float(row)

    def _labels(self, row: Any) -> list[int]:
        return list(range(self._classes)) if self._objective.startswith("multi:") else [0, 1]

    def _probability(self, row: Any) -> float:
        return float(np.max(row))

    def _probabilities(self, row: Any) -> list[float]:
        return list(map(float, row)) if self._objective == "multi:softprob" else [1.0 - float(row), float(row)]

    _raw_score = _probability
    _raw_scores = _probabilities


def of(keys: str, objective: str, classes: int) -> Selection:
    """keys: the variable's value, names separated by commas. Raises LoadError."""
    wanted = [key for key in keys.replace(" ", "").lower().split(",") if key]
    unknown = [key for key in wanted if key not in KEYS]
    if unknown:
        raise LoadError(f"SAGEMAKER_INFERENCE_OUTPUT names {', '.join(unknown)}; there are {', '.join(KEYS)}.")
    if objective not in OBJECTIVES:
        raise LoadError(f"SAGEMAKER_INFERENCE_OUTPUT cannot be used with a model of objective {objective}.")
    return Selection(wanted, objective, classes)


def _csv(value: Any) -> str:
    return f'"{value}"' if isinstance(value, list) else str(value)
