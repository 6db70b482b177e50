"""A window's predictions and labels as one of three problems, measured. PURE."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kedge.monitoring.quality import errors, metrics

REGRESSION, BINARY, MULTICLASS = "Regression", "BinaryClassification", "MulticlassClassification"
BLOCKS = {REGRESSION: "regression", BINARY: "binary_classification", MULTICLASS: "multiclass_classification"}
"""What the blocks in AWS's files begin with."""
MOST_CLASSES = 1000
_WORDS = {"true": "1", "false": "0"}


class Unfit(ValueError):
    """The message says which value does not fit the problem, and what would."""


@dataclass(frozen=True)
class Rows:
    """Of each row as it was read: texts, numbers, booleans. said or score may be None for all, not for some."""

    actual: Sequence[Any]
    said: Sequence[Any] | None
    score: Sequence[Any] | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Measured:
    """scalars: metric to value; deviations: as AWS computes them; extra: what has no single value, as
    it goes into statistics.json.
    """

    problem: str
    rows: int
    scalars: dict[str, float]
    deviations: dict[str, float]
    standard_errors: dict[str, float]
    errors: errors.Errors
    extra: dict[str, Any] = field(default_factory=dict)


def problem_of(text: str) -> str:
    found = {name.lower(): name for name in BLOCKS}.get(text.lower())
    if found is None:
        raise Unfit(f"problem_type is {text!r}; it has to be one of {', '.join(BLOCKS)}.")
    return found


def measured(problem: str, rows: Rows, random: np.random.Generator, tolerance: float | None = None) -> Measured:
    """rows: at least one. tolerance: of regression, from which error on a row counts as wrong; else its own rmse.

    Raises Unfit.
    """
    if problem == REGRESSION:
        return _regression(rows, random, tolerance)
    return _binary(rows, random) if problem == BINARY else _multiclass(rows, random)


def _regression(rows: Rows, random: np.random.Generator, tolerance: float | None) -> Measured:
    if rows.said is None:
        raise Unfit("Regression needs the predicted values: name them by InferenceAttribute (inference_attribute).")
    actual, said = numbers(rows.actual, "label"), numbers(rows.said, "prediction")
    found = metrics.regression(actual, said)
    spread = _spread(lambda at: metrics.regression(actual[at], said[at]), len(actual), random)
    tolerance = found["rmse"] if tolerance is None else tolerance
    return Measured(REGRESSION, len(actual), found, *spread, errors.of_regression(said - actual, tolerance))


def _binary(rows: Rows, random: np.random.Generator) -> Measured:
    actual = _positive(rows.actual, "label")
    score = None if rows.score is None else numbers(rows.score, "probability")
    if rows.said is not None:
        said = _positive(rows.said, "prediction")
    elif score is not None:
        said = score > (0.5 if rows.threshold is None else rows.threshold)
    else:
        raise Unfit("Binary classification needs the predicted label (InferenceAttribute) or a ProbabilityAttribute.")
    found = metrics.binary(actual, said, score)
    spread = _spread(
        lambda at: metrics.binary(actual[at], said[at], None if score is None else score[at]), len(actual), random
    )
    table = metrics.confusion(actual.astype(np.intp), said.astype(np.intp), 2)
    extra: dict[str, Any] = {"confusion_matrix": _named(table, ["0", "1"])}
    curves = None if score is None else metrics.curves(actual, score)
    if curves is not None:
        extra["receiver_operating_characteristic_curve"] = {
            "false_positive_rates": curves.false_positive_rates.tolist(),
            "true_positive_rates": curves.true_positive_rates.tolist(),
        }
        extra["precision_recall_curve"] = {
            "precisions": curves.precisions.tolist(),
            "recalls": curves.recalls.tolist(),
        }
    return Measured(BINARY, len(actual), found, *spread, errors.of_table(table, ["0", "1"]), extra)


def _multiclass(rows: Rows, random: np.random.Generator) -> Measured:
    if rows.said is None:
        raise Unfit("Multiclass classification needs the predicted label: name it by InferenceAttribute.")
    actual, said = [label(each) for each in rows.actual], [label(each) for each in rows.said]
    names = sorted({*actual, *said}, key=_order)
    if len(names) > MOST_CLASSES:
        raise Unfit(
            f"There are {len(names)} different labels, such as {names[-1]!r}; at most {MOST_CLASSES} can be classes. "
            "Are they probabilities, or numbers of a regression?"
        )
    codes = {name: place for place, name in enumerate(names)}
    labels = np.array([codes[each] for each in actual], dtype=np.intp)
    guesses = np.array([codes[each] for each in said], dtype=np.intp)
    table = metrics.confusion(labels, guesses, len(names))
    spread = _spread(
        lambda at: metrics.multiclass(metrics.confusion(labels[at], guesses[at], len(names))), len(labels), random
    )
    extra = {"confusion_matrix": _named(table, names)}
    return Measured(MULTICLASS, len(labels), metrics.multiclass(table), *spread, errors.of_table(table, names), extra)


def _spread(
    measure: Callable[[npt.NDArray[np.intp]], dict[str, float]], rows: int, random: np.random.Generator
) -> tuple[dict[str, float], dict[str, float]]:
    return metrics.deviations(measure, rows, random), metrics.standard_errors(measure, rows, random)


def label(value: Any) -> str:
    """One text for each class, however it is written: 1, 1.0, "1" and " 1.0" are the same."""
    if isinstance(value, bool):
        return str(int(value))
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if math.isfinite(number) and number == int(number) else text


def numbers(values: Sequence[Any], what: str) -> metrics.Numbers:
    found = np.empty(len(values))
    for place, value in enumerate(values):
        try:
            found[place] = float(value)
        except (TypeError, ValueError):
            raise Unfit(f"A {what} is {value!r}; it has to be a number.") from None
    if not np.isfinite(found).all():
        raise Unfit(f"A {what} is {found[~np.isfinite(found)][0]}; it has to be a finite number.")
    return found


def _positive(values: Sequence[Any], what: str) -> metrics.Truths:
    texts = [label(each) for each in values]
    texts = [_WORDS.get(each.lower(), each) for each in texts]
    strange = next((each for each in texts if each not in ("0", "1")), None)
    if strange is not None:
        raise Unfit(
            f"A {what} is {strange!r}; of a binary classification it has to be 0 or 1. Is it a probability? Then name "
            "it by ProbabilityAttribute, with its ProbabilityThresholdAttribute."
        )
    return np.array([each == "1" for each in texts])


def _named(table: Any, names: list[str]) -> dict[str, dict[str, int]]:
    return {
        actual: {said: int(table[row, column]) for column, said in enumerate(names)} for row, actual in enumerate(names)
    }


def _order(name: str) -> tuple[bool, float, str]:
    try:
        return (False, float(name), name)
    except ValueError:
        return (True, 0.0, name)
