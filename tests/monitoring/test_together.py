"""Drift that no column shows by itself, beside scikit-learn's and scipy's own figures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from kedge.monitoring.together import classifier, principal

Floats = NDArray[np.float64]


def related(random: np.random.Generator, rows: int, turned: bool = False) -> Floats:
    """Four standard normal columns, two of which go together; turned: they go apart."""
    found = random.standard_normal((rows, 4))
    found[:, 1] = (-0.8 if turned else 0.8) * found[:, 0] + 0.6 * found[:, 1]
    return found


def test_distances_are_those_of_scikit_learns_components() -> None:
    random = np.random.default_rng(1)
    rows = related(random, 1_000) * [1.0, 10.0, 0.1, 3.0] + [5.0, 0.0, -2.0, 100.0]
    known = principal.plane(rows)
    fitted = rows[::2]
    scaled = (rows - fitted.mean(axis=0)) / fitted.std(axis=0)
    theirs = PCA(n_components=len(known.directions)).fit(scaled[::2])
    back = theirs.inverse_transform(theirs.transform(scaled))
    assert known.distances(rows) == pytest.approx(np.linalg.norm(scaled - back, axis=1), abs=1e-9)
    window = related(random, 300) * [1.0, 10.0, 0.1, 3.0] + [5.0, 0.0, -2.0, 100.0]
    welch = stats.ttest_ind(known.distances(window), known.distances(rows[1::2]), equal_var=False)
    assert principal.moved(known, window).p == pytest.approx(welch.pvalue)


def test_a_relation_that_turns_is_seen_though_no_column_moves() -> None:
    random = np.random.default_rng(2)
    base = related(random, 4_000)
    known = principal.plane(base)
    still, turned = related(random, 1_000), related(random, 1_000, turned=True)
    assert principal.moved(known, still).p > 0.001
    found = principal.moved(known, turned)
    assert found.p < 1e-6
    assert found.low > 0
    assert classifier.told_apart(base, still).low < 0.52
    told = classifier.told_apart(base, turned)
    assert told.low > 0.6
    assert {column for column, _ in told.columns[:2]} == {0, 1}


def test_missing_values_and_columns_that_never_vary_do_no_harm() -> None:
    random = np.random.default_rng(3)
    base = related(random, 1_000)
    base[:, 3] = 7.0
    base[::5, 2] = np.nan
    found = principal.moved(principal.plane(base), base)
    assert np.isfinite(found).all()
    assert abs(found.effect) < 0.1
    assert np.isfinite(classifier.told_apart(base[:300], base[300:]).auc)


def test_five_of_a_hundred_windows_without_drift_are_significant_at_a_twentieth() -> None:
    random = np.random.default_rng(4)
    known = principal.plane(related(random, 4_000))
    p = np.array([principal.moved(known, related(random, 300)).p for _ in range(400)])
    assert 0.02 < (p < 0.05).mean() < 0.085


def test_the_area_is_scikit_learns_and_its_variance_that_of_draws() -> None:
    random = np.random.default_rng(5)

    def draw() -> tuple[Floats, NDArray[np.bool_]]:
        positive = np.arange(300) < 100
        return (random.standard_normal(300) + positive).round(1), positive

    scores, positive = draw()
    found, variance = classifier.area(scores, positive)
    assert found == pytest.approx(roc_auc_score(positive, scores))
    spread = np.var([classifier.area(*draw())[0] for _ in range(1_000)])
    assert variance == pytest.approx(spread, rel=0.25)


@pytest.mark.parametrize(
    ("base", "window", "message"),
    [
        (np.zeros((60, 1)), np.zeros((60, 1)), "Fewer than two"),
        (np.zeros((10, 3)), np.zeros((10, 3)), "too few"),
        (np.eye(60), np.zeros((60, 3)), "columns"),
        (np.zeros(60), np.zeros(60), "table"),
    ],
)
def test_what_cannot_be_compared_is_refused(base: Floats, window: Floats, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        principal.moved(principal.plane(base), window)


def test_too_few_rows_are_not_told_apart() -> None:
    with pytest.raises(ValueError, match="too few"):
        classifier.told_apart(np.zeros((500, 2)), np.zeros((50, 2)))
    with pytest.raises(ValueError, match="same columns"):
        classifier.told_apart(np.zeros((500, 2)), np.zeros((500, 3)))
