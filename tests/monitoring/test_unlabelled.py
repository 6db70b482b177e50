"""Metrics before there are labels: as scikit-learn reckons them, and near what the labels say in the end."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from kedge.monitoring.unlabelled import estimates
from kedge.monitoring.unlabelled.calibration import Calibration, calibration

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]


def drawn(random: np.random.Generator, rows: int, middle: float = 0.0) -> tuple[Floats, Truths]:
    """Scores of a model that is too sure of itself, and labels."""
    logits = random.normal(middle, 1.5, rows)
    truth = random.random(rows) < 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-2 * logits)), truth


def measured(truth: Truths, scores: Floats) -> dict[str, float]:
    said = scores >= 0.5
    return {
        "accuracy": accuracy_score(truth, said),
        "precision": precision_score(truth, said),
        "recall": recall_score(truth, said),
        "f1": f1_score(truth, said),
        "auc": roc_auc_score(truth, scores),
    }


def test_the_calibration_is_isotonic_regression() -> None:
    scores, truth = drawn(np.random.default_rng(1), 3_000)
    scores = scores.round(3)
    known = calibration(scores, truth)
    theirs = IsotonicRegression().fit(scores, truth)
    assert known.worth[known.steps(scores)] == pytest.approx(theirs.predict(scores), abs=1e-9)


def test_sure_probabilities_give_the_metrics_themselves() -> None:
    random = np.random.default_rng(2)
    scores, truth = drawn(random, 500)
    scores = scores.round(2)
    found = estimates._of_class(truth.astype(float), scores, scores >= 0.5)
    assert {name: value for name, (value, _, _) in found.items()} == pytest.approx(measured(truth, scores))


def test_the_expected_auc_is_that_of_weighted_rows() -> None:
    random = np.random.default_rng(3)
    scores, worth = random.random(300).round(2), random.random(300)
    twice = np.concatenate([scores, scores])
    theirs = roc_auc_score(np.repeat([1, 0], 300), twice, sample_weight=np.concatenate([worth, 1 - worth]))
    # Theirs has each row paired with itself, as half in order.
    whole = worth.sum() * (1 - worth).sum()
    alone = float(worth @ (1 - worth))
    assert estimates._auc(worth, scores)[0] == pytest.approx((theirs * whole - alone / 2) / (whole - alone))


@pytest.mark.parametrize("name", estimates.METRICS)
def test_gradients_are_those_of_small_changes(name: str) -> None:
    random = np.random.default_rng(4)
    scores, worth = random.random(40), random.random(40)
    said = scores > 0.4
    value, gradient, _ = estimates._of_class(worth, scores, said)[name]
    for row in range(0, 40, 7):
        moved = worth.copy()
        moved[row] += 1e-6
        assert (estimates._of_class(moved, scores, said)[name][0] - value) / 1e-6 == pytest.approx(
            gradient[row], abs=1e-5
        )


@pytest.mark.parametrize("middle", [0.0, 1.0, -1.5])
def test_nineteen_intervals_of_twenty_hold_what_labels_say_though_the_inputs_moved(middle: float) -> None:
    random = np.random.default_rng(5)
    held = dict.fromkeys(estimates.METRICS, 0)
    for _ in range(40):
        known = calibration(*drawn(random, 3_000))
        scores, truth = drawn(random, 1_000, middle)
        found, actual = estimates.binary(known, scores), measured(truth, scores)
        for name, value in actual.items():
            held[name] += found[name].low <= value <= found[name].high
    assert min(held.values()) >= 34, held


def test_it_sees_that_rows_became_harder_and_not_that_labels_turned() -> None:
    random = np.random.default_rng(6)
    known = calibration(*drawn(random, 3_000))
    before = estimates.binary(known, drawn(random, 2_000)[0])["accuracy"]
    harder = random.uniform(0.3, 0.7, 2_000)
    assert estimates.binary(known, harder)["accuracy"].high < before.low
    scores, truth = drawn(random, 2_000)
    assert estimates.binary(known, scores)["accuracy"].low > accuracy_score(~truth, scores >= 0.5)


def test_three_classes() -> None:
    random = np.random.default_rng(7)

    def rows(count: int, wide: float) -> tuple[Floats, NDArray[np.int64]]:
        places = random.normal(0, wide, (count, 2))
        logits = places @ np.array([[1.0, -0.5, -0.5], [0.0, 0.9, -0.9]]) * 1.5
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return places, (shares.cumsum(axis=1) < random.random((count, 1))).sum(axis=1)

    places, truth = rows(6_000, 1.0)
    model = LogisticRegression().fit(places[:2_000], truth[:2_000])
    scores = model.predict_proba(places[2_000:])
    known = [calibration(scores[:, each], truth[2_000:] == each) for each in range(3)]
    places, truth = rows(2_000, 0.6)
    scores = model.predict_proba(places)
    said = scores.argmax(axis=1)
    found = estimates.multiclass(known, scores)
    actual = {
        "accuracy": accuracy_score(truth, said),
        "precision": precision_score(truth, said, average="macro"),
        "recall": recall_score(truth, said, average="macro"),
        "f1": f1_score(truth, said, average="macro"),
        "auc": roc_auc_score(truth, scores, multi_class="ovr", average="macro"),
    }
    for name, value in actual.items():
        assert found[name].low <= value <= found[name].high, name
        assert found[name].high - found[name].low < 0.15


def test_what_is_not_defined_is_said_so() -> None:
    known = Calibration(np.array([0.0]), np.array([0.0]), np.array([0.0]))
    found = estimates.binary(known, [0.1, 0.2])
    assert np.isnan(found["precision"].value)
    assert np.isnan(found["auc"].value)
    assert found["accuracy"].value == 1.0


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        (np.linspace(0, 1, 50), np.arange(50) % 2, "too few"),
        (np.linspace(0, 1, 300), np.ones(300), "one class"),
        (np.full(300, np.nan), np.arange(300) % 2, "finite"),
        (np.linspace(0, 1, 300), np.arange(299) % 2, "as many"),
    ],
)
def test_what_cannot_be_calibrated_by_is_refused(scores: Floats, truth: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration(scores, truth)
    with pytest.raises(ValueError, match="no scores"):
        estimates.binary(Calibration(*np.zeros((3, 1))), [])
