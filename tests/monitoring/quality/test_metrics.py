"""Model quality: metrics against scikit-learn, the change of errors, and SageMaker's files."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency
from sklearn import metrics as sk

from kedge.monitoring.quality import errors, files, metrics, problem
from kedge.monitoring.quality.problem import BINARY, MULTICLASS, REGRESSION, Rows, Unfit, measured


def random():
    return np.random.default_rng(1)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_regression_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    actual = rng.normal(3, 2, 50)
    said = actual + rng.normal(0.5, 1, 50)
    found = metrics.regression(actual, said)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(actual, said))
    assert found["mse"] == pytest.approx(sk.mean_squared_error(actual, said))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(actual, said))
    assert found["r2"] == pytest.approx(sk.r2_score(actual, said))


@given(st.integers(0, 10_000), st.integers(2, 80))
@settings(max_examples=60, deadline=None)
def test_binary_is_scikit_learns(seed, rows):
    rng = np.random.default_rng(seed)
    actual = rng.random(rows) < 0.4
    actual[:2] = [True, False]
    score = np.round(rng.random(rows) + 0.3 * actual, 1)  # with ties
    said = score > 0.6
    found = metrics.binary(actual, said, score)
    for name, beta in metrics.BETAS.items():
        assert found[name] == pytest.approx(sk.fbeta_score(actual, said, beta=beta, zero_division=0))
    assert found["precision"] == pytest.approx(sk.precision_score(actual, said, zero_division=0))
    assert found["recall"] == found["true_positive_rate"] == pytest.approx(sk.recall_score(actual, said))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(actual, said))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(actual, score))
    assert found["au_prc"] == pytest.approx(sk.average_precision_score(actual, score))
    curves = metrics.curves(actual, score)
    assert curves is not None
    false, true, _ = sk.roc_curve(actual, score, drop_intermediate=False)
    assert curves.false_positive_rates == pytest.approx(false)
    assert curves.true_positive_rates == pytest.approx(true)


@given(st.integers(0, 10_000), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_multiclass_is_scikit_learns(seed, classes):
    rng = np.random.default_rng(seed)
    actual, said = rng.integers(0, classes, 60), rng.integers(0, classes, 60)
    found = metrics.multiclass(metrics.confusion(actual, said, classes))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(actual, said))
    for name, beta in metrics.BETAS.items():
        want = sk.fbeta_score(actual, said, beta=beta, average="weighted", zero_division=0)
        assert found[f"weighted_{name}"] == pytest.approx(want)
    constant = np.full(60, np.bincount(actual).argmax())
    assert found["accuracy" + metrics.CONSTANT] == pytest.approx(sk.accuracy_score(actual, constant))


def test_the_documented_examples():
    """The figures of AWS's page on model quality metrics."""
    found = metrics.binary(np.array([True, False, False, False]), np.array([True, True, True, False]))
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["true_negative_rate"] == pytest.approx(1 / 3)
    assert (found["f0_5"], found["f1"]) == (pytest.approx(0.3846153846), 0.5)
    assert found["f2"] == pytest.approx(0.7142857143)
    assert found["accuracy" + metrics.CONSTANT] == 0.25
    assert found["f0_5" + metrics.CONSTANT] == pytest.approx(0.2941176471)
    assert found["f1" + metrics.CONSTANT] == pytest.approx(0.4)
    assert found["f2" + metrics.CONSTANT] == pytest.approx(0.625)
    many = metrics.multiclass(np.array([[1180, 510], [268, 138]]))
    assert many["accuracy"] == pytest.approx(0.6288167938931297)
    assert many["weighted_precision"] == pytest.approx(0.6983172269629505)
    assert many["weighted_f0_5"] == pytest.approx(0.6803947317178771)
    assert many["weighted_f1"] == pytest.approx(0.6571162346664904)
    assert many["weighted_f2"] == pytest.approx(0.6384024354394601)


def test_deviations_come_of_draws_of_80_percent_and_need_200_rows():
    labels = np.arange(1000) % 4 == 0
    drawn: list[int] = []

    def measure(at):
        drawn.append(len(at))
        assert len(set(at)) == len(at)
        return {"share": float(labels[at].mean())}

    found = metrics.deviations(measure, 1000, random())
    assert drawn == [800] * 5
    expected = math.sqrt(0.25 * 0.75 / 800 * 0.2)
    assert expected / 3 < found["share"] < expected * 3
    assert metrics.deviations(measure, 199, random()) == {}


def test_the_chi_squared_of_a_mix_is_scipys():
    before = errors.Errors(1000, {"a": 40, "b": 60, "c": 20})
    now = errors.Errors(500, {"a": 35, "b": 15, "c": 12})
    found = errors.change(before, now)
    want = chi2_contingency([[40, 60, 20], [35, 15, 12]], correction=False)
    assert found.mix_p == pytest.approx(want.pvalue)
    assert found.mix == pytest.approx(0.5 * sum(abs(x / 120 - y / 62) for x, y in [(40, 35), (60, 15), (20, 12)]))


def test_a_mix_that_stays_is_rarely_called_changed_and_one_that_moves_is_seen():
    rng = np.random.default_rng(5)
    before = errors.Errors(
        20_000, dict(zip("abcd", map(int, rng.multinomial(2000, [0.4, 0.3, 0.2, 0.1])), strict=True))
    )
    alarms = {"same": 0, "moved": 0}
    for mix, name in (([0.4, 0.3, 0.2, 0.1], "same"), ([0.2, 0.3, 0.4, 0.1], "moved")):
        for _ in range(200):
            now = errors.Errors(2000, dict(zip("abcd", map(int, rng.multinomial(200, mix)), strict=True)))
            alarms[name] += errors.change(before, now).mix_exceeds(errors.Limits())
    assert alarms["same"] <= 6
    assert alarms["moved"] >= 190


@pytest.mark.parametrize(
    ("before", "now"),
    [({}, {}), ({"a": 3}, {}), ({}, {"a": 3}), ({"a": 1}, {"b": 1}), ({"a": 1, "b": 1}, {"c": 1})],
)
def test_few_errors_say_nothing(before, now):
    found = errors.change(errors.Errors(100, before), errors.Errors(100, now))
    assert not found.mix_exceeds(errors.Limits())


def binary_rows(rows: int, flip: float, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    actual = rng.random(rows) < 0.5
    score = np.clip(np.where(rng.random(rows) < flip, ~actual, actual) * 0.6 + rng.random(rows) * 0.4, 0, 1)
    return Rows([int(each) for each in actual], None, score.tolist(), 0.5)


def test_the_files_of_a_baseline_have_awss_keys_and_hold_for_the_same_data():
    found = measured(BINARY, binary_rows(1000, 0.1), random())
    block = files.statistics(found, "2026-11-29T03:00:00Z")["binary_classification_metrics"]
    assert set(block) >= {
        "confusion_matrix",
        "recall",
        "auc",
        "f1",
        "precision_recall_curve",
        "error_rate",
        "error_classes",
    }
    assert set(block["f2"]) == {"value", "standard_deviation"}
    assert block["error_rate"]["value"] == pytest.approx(1 - block["accuracy"]["value"])
    document = files.constraints(found)
    held = document["binary_classification_constraints"]
    assert held["recall"]["threshold"] == held["recall"]["baseline_value"] == found.scalars["recall"]
    assert held["recall"]["comparison_operator"] == "LessThanThreshold"
    assert held["false_positive_rate"]["comparison_operator"] == "GreaterThanThreshold"
    assert not any(name.endswith("classifier") for name in held)
    baseline = files.read(document, BINARY)
    assert list(files.violations(found, baseline)) == []

    worse = measured(BINARY, binary_rows(1000, 0.2, seed=1), random())
    violated = {each.metric_name: each for each in files.violations(worse, baseline)}
    assert violated["f2"].constraint_check_type == "LessThanThreshold"
    assert violated["f2"].description.startswith(f"Metric f2 with {worse.scalars['f2']} +/- ")
    assert "error_rate" in violated
    assert "error_rate" not in {each.metric_name for each in files.violations(worse, baseline, strict=True)}


def test_a_standard_error_is_how_metrics_of_new_data_differ():
    found = measured(BINARY, binary_rows(1000, 0.2), random())
    drawn = [measured(BINARY, binary_rows(1000, 0.2, seed), random()).scalars for seed in range(60)]
    for name in ("accuracy", "f2", "auc"):
        seen = float(np.std([each[name] for each in drawn], ddof=1))
        assert seen / 1.6 < found.standard_errors[name] < seen * 1.6
    many = metrics.standard_errors(lambda at: {"mean": float((at % 2).mean())}, 40_000, random())
    assert many["mean"] == pytest.approx(0.5 / 40_000**0.5, rel=0.4)


def test_a_suggested_threshold_allows_for_chance_and_one_that_somebody_set_does_not():
    alarms = {"same": 0, "strict": 0, "worse": 0}
    for seed in range(60):
        baseline = files.read(files.constraints(measured(BINARY, binary_rows(1000, 0.2, seed), random())), BINARY)
        now = measured(BINARY, binary_rows(500, 0.2, seed + 500), random())
        alarms["same"] += bool(list(files.violations(now, baseline)))
        alarms["strict"] += bool(list(files.violations(now, baseline, strict=True)))
        worse = measured(BINARY, binary_rows(500, 0.3, seed + 1000), random())
        alarms["worse"] += bool(list(files.violations(worse, baseline)))
    assert alarms["same"] <= 5
    assert alarms["strict"] >= 40
    assert alarms["worse"] >= 50

    held = files.constraints(now)
    held["binary_classification_constraints"]["f1"]["threshold"] = now.scalars["f1"] + 0.0001
    found = {each.metric_name for each in files.violations(now, files.read(held, BINARY))}
    assert found == {"f1"}


def test_a_mix_of_errors_that_changes_while_the_rate_stays_is_a_violation():
    def rows(wrong: list[tuple[str, str]]) -> Rows:
        right = [("cat", "cat"), ("dog", "dog"), ("owl", "owl")] * 100
        return Rows([a for a, _ in right + wrong], [p for _, p in right + wrong])

    before = measured(MULTICLASS, rows([("cat", "dog")] * 40 + [("dog", "owl")] * 20), random())
    now = measured(MULTICLASS, rows([("cat", "dog")] * 10 + [("dog", "owl")] * 50), random())
    assert before.errors.rate == now.errors.rate
    baseline = files.read(files.constraints(before), MULTICLASS)
    found = {each.metric_name: each for each in files.violations(now, baseline)}
    assert found["error_class_proportion"].constraint_check_type == "error_mix_check"
    assert "while the error rate went from" in found["error_class_proportion"].description
    assert "error_rate" not in found


def test_a_regression_keeps_the_baselines_tolerance():
    rng = np.random.default_rng(2)
    actual = rng.normal(0, 1, 500)
    before = measured(REGRESSION, Rows(actual.tolist(), (actual + rng.normal(0, 1, 500)).tolist()), random())
    baseline = files.read(files.constraints(before), REGRESSION)
    assert baseline.errors is not None
    tolerance = baseline.errors.tolerance
    assert tolerance == pytest.approx(before.scalars["rmse"])
    now = measured(REGRESSION, Rows(actual.tolist(), (actual + 3).tolist()), random(), tolerance)
    assert now.errors.rate == 1
    assert {"rmse", "r2", "error_rate", "error_class_proportion"} <= {
        e.metric_name for e in files.violations(now, baseline)
    }


@pytest.mark.parametrize(
    ("kind", "rows", "told"),
    [
        (BINARY, Rows(["yes"], ["1"]), "A label is 'yes'"),
        (BINARY, Rows(["1"], ["0.7"]), "ProbabilityThresholdAttribute"),
        (BINARY, Rows(["1"], None), "ProbabilityAttribute"),
        (BINARY, Rows(["1"], None, ["high"]), "A probability is 'high'"),
        (REGRESSION, Rows(["1"], ["nan"]), "has to be a finite number"),
        (REGRESSION, Rows(["1"], None), "InferenceAttribute"),
        (MULTICLASS, Rows([str(n + 0.5) for n in range(2000)], ["1"] * 2000), "2001 different labels"),
    ],
)
def test_what_does_not_fit_is_named(kind, rows, told):
    with pytest.raises(Unfit, match=told):
        measured(kind, rows, random())


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (1.0, "1"), ("1.0", "1"), (" 1 ", "1"), (True, "1"), ("cat", "cat"), ("1e400", "1e400"), (0.5, "0.5")],
)
def test_a_label_has_one_text(value, text):
    assert problem.label(value) == text


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], "have no object"),
        ({"regression_constraints": {}}, "another kind of problem"),
        ({"binary_classification_constraints": {"f1": {"threshold": 1}}}, "comparison_operator None"),
        (
            {"binary_classification_constraints": {"f1": {"threshold": "x", "comparison_operator": files.LESS}}},
            "no number",
        ),
        ({"binary_classification_constraints": {}, "error_constraints": {"rows": 1}}, "cannot be read"),
    ],
)
def test_a_baseline_that_cannot_be_read_says_why(document, told):
    with pytest.raises(Unfit, match=told):
        files.read(document, BINARY)
