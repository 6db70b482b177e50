"""Kernel SHAP against Shapley values by enumeration and closed forms; aggregates and the drift of their order."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from kedge.monitoring.attribution import baselines, summary
from kedge.monitoring.attribution.coalitions import coalitions, default_samples, every
from kedge.monitoring.attribution.kernel_shap import explained


def random(seed: int = 1):
    return np.random.default_rng(seed)


def shapley(row, baseline, predict):
    """By the definition: over all subsets of the other features. shape (features, outputs)."""
    features = len(row)

    def worth(chosen):
        mixed = baseline.copy()
        mixed[:, list(chosen)] = row[list(chosen)]
        return predict(mixed).mean(axis=0)

    found = []
    for feature in range(features):
        others = [each for each in range(features) if each != feature]
        found.append(
            sum(
                (worth((*chosen, feature)) - worth(chosen)) / (features * comb(features - 1, size))
                for size in range(features)
                for chosen in combinations(others, size)
            )
        )
    return np.array(found)


def crooked(rows):
    rows = rows.astype(float)
    first = np.sin(rows[:, 0] * rows[:, 1]) + rows[:, 2] ** 2 * (rows[:, -1] > 0)
    return np.column_stack([first, np.exp(-np.abs(rows).sum(axis=1)) + rows[:, 1] * rows[:, 3]])


@given(st.integers(0, 10_000), st.integers(4, 7), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_with_all_coalitions_values_are_the_shapley_values(seed, features, others):
    rng = random(seed)
    rows, baseline = rng.normal(0, 1, (3, features)), rng.normal(0, 1, (others, features))
    found = explained(rows, baseline, crooked, rng)
    for place, row in enumerate(rows):
        assert found.values[place] == pytest.approx(shapley(row, baseline, crooked), abs=1e-9)


@given(st.integers(0, 10_000), st.integers(2, 25), st.integers(60, 400))
@settings(max_examples=40, deadline=None)
def test_values_sum_to_the_prediction_and_linear_models_are_exact_by_any_samples(seed, features, samples):
    rng = random(seed)
    rows, baseline = rng.normal(0, 1, (4, features)), rng.normal(0, 1, (3, features))
    slopes = rng.normal(0, 1, (features, 2))
    found = explained(rows, baseline, lambda each: each @ slopes + 3, rng, samples, batch_rows=500)
    assert found.values == pytest.approx((rows - baseline.mean(axis=0))[:, :, None] * slopes, abs=1e-6)
    assert found.values.sum(axis=1) + found.expected == pytest.approx(found.predictions)


def test_more_samples_come_closer():
    rng = random(7)
    rows, baseline = rng.normal(0, 1, (5, 12)), rng.normal(0, 1, (2, 12))
    exact = explained(rows, baseline, crooked, rng, every(12)).values
    errors = [
        np.mean([np.abs(explained(rows, baseline, crooked, random(s), n).values - exact).max() for s in range(5)])
        for n in (100, 400, 1600)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.2


def test_log_odds_sum_too():
    rng = random()
    rows, baseline = rng.normal(0, 1, (3, 5)), rng.normal(0, 1, (2, 5))
    found = explained(rows, baseline, lambda each: 1 / (1 + np.exp(-each.sum(axis=1))), rng, use_logit=True)
    assert found.predictions[:, 0] == pytest.approx(rows.sum(axis=1))
    assert found.values.sum(axis=1) + found.expected == pytest.approx(found.predictions)


def test_texts_are_features_too():
    rows = np.array([["a", 1.0, 2.0], ["b", 3.0, 5.0]], dtype=object)
    baseline = np.array([["b", 0.0, 0.0]], dtype=object)
    found = explained(rows, baseline, lambda each: (each[:, 0] == "a") * 2.0 + each[:, 1].astype(float), random())
    assert found.values[:, :, 0] == pytest.approx(np.array([[2, 1, 0], [0, 3, 0]]))


def test_one_feature_has_all_of_it_and_odd_answers_are_refused():
    found = explained(np.array([[2.0]]), np.array([[1.0]]), lambda each: each[:, 0] ** 2, random())
    assert found.values.ravel() == pytest.approx([3.0])
    with pytest.raises(ValueError, match=r"answered 1 rows with the shape \(2, 1\)"):
        explained(np.array([[2.0]]), np.array([[1.0]]), lambda each: np.zeros(2), random())


@given(st.integers(2, 40), st.integers(2, 3000), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_coalitions_keep_to_the_budget_and_come_in_pairs(features, samples, seed):
    found = coalitions(features, samples, random(seed))
    assert len(found.masks) <= max(samples, 2)
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights > 0).all()
    texts = {mask.tobytes(): weight for mask, weight in zip(found.masks, found.weights, strict=True)}
    assert len(texts) == len(found.masks)
    for mask in found.masks:
        assert 0 < mask.sum() < features
        assert texts[(~mask).tobytes()] == pytest.approx(texts[mask.tobytes()])
    if samples >= every(features):
        assert len(found.masks) == every(features)


def test_the_default_number_of_samples_is_clarifys():
    assert default_samples(10) == 1022
    assert default_samples(20) == 2088


def test_the_documented_drift_score():
    baseline, live = {"a": 0.7, "b": 0.5, "c": 0.05}, {"a": 0.1, "b": 0.2, "c": 0.7}
    assert summary.drift_score(baseline, live) == pytest.approx(0.68764, abs=1e-5)
    assert summary.drift_score(baseline, baseline) == 1


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=8), st.integers(0, 100))
def test_the_drift_score_is_scikit_learns(gains, seed):
    live = random(seed).permutation(len(gains)) + 1.0
    names = [f"f{place}" for place in range(len(gains))]
    found = summary.drift_score(dict(zip(names, gains, strict=True)), dict(zip(names, live, strict=True)))
    assert found == pytest.approx(ndcg_score([gains], [live]))


def test_features_of_another_model_are_named():
    with pytest.raises(ValueError, match="not the live ones: b, c"):
        summary.drift_score({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0})


def test_aggregates():
    values = np.array([[[1.0], [-2.0]], [[-3.0], [4.0]], [[5.0], [0.0]]])
    assert summary.of_rows(values, "mean_abs").ravel() == pytest.approx([3, 2])
    assert summary.of_rows(values, "mean_sq").ravel() == pytest.approx([35 / 3, 20 / 3])
    assert summary.of_rows(values, "median").ravel() == pytest.approx([1, 0])


def test_a_baseline_of_clusters_has_their_centres_and_the_most_frequent_texts():
    rng = random()
    numbers = np.concatenate([rng.normal(0, 0.1, 50), rng.normal(10, 0.1, 50)])
    texts = ["low"] * 48 + ["odd"] * 2 + ["high"] * 50
    rows = np.column_stack([numbers.astype(object), np.array(texts, dtype=object)])
    found = sorted(baselines.clustered(rows, 2, 0).tolist())
    assert [row[1] for row in found] == ["low", "high"]
    assert [row[0] for row in found] == pytest.approx([0, 10], abs=0.1)
    gaps = np.array([[1.0, np.nan], [3.0, 4.0], [2.0, 2.0]])
    assert baselines.clustered(gaps, 1, 0).tolist() == [[2.0, 3.0]]
    assert baselines.clustered(np.ones((5, 3)), 4, 0).tolist() == [[1, 1, 1]]
    assert baselines.clustered(rng.normal(0, 1, (30, 3)), 12, 0).shape == (12, 3)
