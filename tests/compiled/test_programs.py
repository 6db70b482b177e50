"""Programs answer as their models do; whoever answers otherwise is found out."""

import gc
import math
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from kedge.serving import runtimes
from kedge.serving.compiled import following, job, of_sklearn, program, proof, result, run
from kedge.serving.compiled.program import Damaged, Forest, NotCompiled, Program
from kedge.serving.compiled.versions import made_with
from kedge.serving.runtimes import sklearn
from kedge.serving.runtimes.base import Answer, Invocation, LoadError

ENGINES = [each for each in run.ENGINES if each != run.NATIVE or run.has_native()]
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(300, 6))
X[:, 5] = RANDOM.integers(0, 4, 300)
GAPS = np.where(RANDOM.random(X.shape) < 0.1, np.nan, X)
GAPS[:, 5] = X[:, 5]
SUM = X[:, 0] + X[:, 1] * X[:, 2]
TWO = (SUM > 0).astype(int)
THREE = np.array(["ash", "birch", "cedar"], dtype=object)[np.digitize(SUM, [-0.5, 0.5])]
NUMBERS = X @ [1.0, 2.0, -1.0, 0.5, 0.0, 3.0]

MODELS: dict[str, tuple[Any, Any, Any]] = {
    "linear": (LinearRegression(), X, NUMBERS),
    "several targets": (Ridge(), X, np.stack([NUMBERS, -NUMBERS], axis=1)),
    "logistic": (LogisticRegression(), X, TWO),
    "logistic of three": (LogisticRegression(), X, THREE),
    "support vectors": (LinearSVC(), X, THREE),
    "tree": (DecisionTreeClassifier(), X, THREE),
    "tree of values": (DecisionTreeRegressor(max_depth=4), X, NUMBERS),
    "stump": (DecisionTreeClassifier(max_depth=1), X, TWO),
    "forest": (RandomForestClassifier(6, random_state=0), X, TWO),
    "forest of three": (ExtraTreesClassifier(5, max_depth=3, random_state=0), X, THREE),
    "forest with gaps": (RandomForestClassifier(5, random_state=0), GAPS, THREE),
    "forest of values": (RandomForestRegressor(5, random_state=0), X, NUMBERS),
    "boosted": (GradientBoostingClassifier(n_estimators=5), X, TWO),
    "boosted of three": (GradientBoostingClassifier(n_estimators=5), X, THREE),
    "boosted values": (GradientBoostingRegressor(n_estimators=5, init="zero"), X, NUMBERS),
    "histograms": (HistGradientBoostingClassifier(max_iter=8), GAPS, TWO),
    "histograms of three": (HistGradientBoostingClassifier(max_iter=5), X, THREE),
    "histograms of values": (HistGradientBoostingRegressor(max_iter=5), GAPS, NUMBERS),
    "histograms of counts": (HistGradientBoostingRegressor(max_iter=5, loss="poisson"), X, np.abs(NUMBERS)),
    "scaled": (make_pipeline(StandardScaler(), LogisticRegression()), X, TWO),
    "searched": (GridSearchCV(make_pipeline(MinMaxScaler(clip=True), DecisionTreeClassifier()), {}, cv=2), X, TWO),
    "components": (make_pipeline(RobustScaler(), PCA(3, whiten=True), LogisticRegression()), X, THREE),
    "by columns": (
        make_pipeline(
            ColumnTransformer(
                [
                    ("gaps", make_pipeline(SimpleImputer(), StandardScaler()), [0, 1, 2]),
                    ("kinds", OneHotEncoder(handle_unknown="ignore"), [5]),
                    ("rest", SimpleImputer(strategy="median"), slice(3, 5)),
                ]
            ),
            RandomForestClassifier(5, random_state=0),
        ),
        GAPS,
        TWO,
    ),
    "ordinal": (
        make_pipeline(
            ColumnTransformer([("kinds", OrdinalEncoder(), [5])], remainder="passthrough"),
            MaxAbsScaler(),
            LogisticRegression(),
        ),
        X,
        TWO,
    ),
}


@cache
def fitted(name: str) -> Any:
    """Not while this file is imported, which every process does that tests run in."""
    model, x, y = MODELS[name]
    return model.fit(x, y)


@cache
def compiled(name: str, method: str) -> Callable[[Any], Any]:
    return run.compiled(of_sklearn.read(fitted(name), method), getattr(fitted(name), method))


def methods(model: Any) -> list[str]:
    return ["predict", "predict_proba"] if hasattr(model, "predict_proba") else ["predict"]


CASES = [(name, method, engine) for name, (m, _, _) in MODELS.items() for method in methods(m) for engine in ENGINES]


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
@pytest.mark.parametrize(("name", "method", "engine"), CASES)
def test_a_program_is_proven_against_its_model(name: str, method: str, engine: str, monkeypatch: pytest.MonkeyPatch):
    model = fitted(name)
    original = getattr(model, method)
    read = program.load(program.dump(of_sklearn.read(model, method)))
    monkeypatch.setattr(run, "engine", lambda _: engine)
    verdict = proof.prove(read, original)
    assert verdict.reason == ""
    assert verdict.rows > proof.ROWS
    assert verdict.program is not None
    # Not the model itself in disguise: it answers without it, but for labels that are as good as tied.
    asked: list[int] = []

    def counted(rows: Any) -> Any:
        asked.append(len(rows))
        return original(rows)

    answer = run.compiled(verdict.program, counted, engine)
    distance, wrong = proof.difference(original(X.copy()), answer(X.copy()))
    assert wrong == ""
    assert distance < 1e-9
    assert sum(asked) < len(X) / 2


def test_large_calls_are_left_to_the_model_where_that_is_faster():
    model, asked = fitted("histograms"), []

    def original(rows: Any) -> Any:
        asked.append(len(rows))
        return model.predict_proba(rows)

    answer = run.compiled(of_sklearn.read(model, "predict_proba"), original, "numpy", most_rows=20)
    for count, left in ((20, []), (21, [21])):
        assert np.allclose(answer(X[:count]), model.predict_proba(X[:count]), rtol=0, atol=1e-12)
        assert asked == left


@pytest.mark.parametrize("engine", ENGINES)
def test_what_was_read_is_not_kept_beside_what_runs(engine: str):
    model = fitted("histograms")
    read = of_sklearn.read(model, "predict_proba")
    assert isinstance(read.head, Forest)
    kept = [weakref.ref(array) for array in (read.head.feature, read.head.left, read.head.values)]
    answer = run.compiled(read, model.predict_proba, engine)
    del read
    gc.collect()
    assert [each() for each in kept] == [None] * 3
    assert answer(X[:3]).shape == (3, 2)


@pytest.mark.parametrize("name", ["histograms", "forest with gaps"])
def test_what_the_model_takes_is_found_out(name: str):
    model = fitted(name)
    found = proof.prove(of_sklearn.read(model, "predict"), model.predict).program
    assert found is not None
    assert found.allows_nan
    assert found.allows_infinity == (name == "histograms")


def test_what_the_model_refuses_is_refused_in_its_own_words():
    model = fitted("logistic")
    answer = run.compiled(of_sklearn.read(model, "predict"), model.predict)
    for rows in (
        np.full((1, 6), np.nan),
        np.full((1, 6), np.inf),
        np.zeros((1, 5)),
        np.array([["a"] * 6], dtype=object),
    ):
        with pytest.raises(ValueError, match=r"."):
            answer(rows)


def tampered(forest: Forest) -> list[tuple[str, Forest]]:
    node = int(np.flatnonzero(~forest.is_leaf)[-1])
    leaf = int(np.flatnonzero(forest.is_leaf)[-1])
    threshold, missing, values = forest.threshold.copy(), forest.missing_left.copy(), forest.values.copy()
    threshold[node] = np.nextafter(threshold[node], np.inf)
    missing[node] = not missing[node]
    values[leaf] += 2e-6 * 30
    return [
        ("a threshold", replace(forest, threshold=threshold)),
        ("where NaN goes", replace(forest, missing_left=missing)),
        ("a leaf", replace(forest, values=values)),
        ("thresholds in float32", replace(forest, threshold=forest.threshold.astype(np.float32).astype(np.float64))),
    ]


@pytest.mark.parametrize("which", range(4))
def test_one_wrong_node_is_found(which: int):
    model = fitted("histograms")
    read = of_sklearn.read(model, "predict_proba")
    assert isinstance(read.head, Forest)
    what, head = tampered(read.head)[which]
    verdict = proof.prove(replace(read, head=head), model.predict_proba)
    assert verdict.program is None, what
    assert "numbers differ" in verdict.reason


def test_a_model_that_refuses_most_rows_is_not_proven():
    model = fitted("logistic")

    def picky(rows: np.ndarray) -> np.ndarray:
        if len(rows) > 50:
            raise ValueError("too many")
        return model.predict(rows)

    assert "answered only" in proof.prove(of_sklearn.read(model, "predict"), picky).reason


def test_the_models_own_sample_counts():
    model = fitted("linear")
    odd = np.full((1, 6), 12345.0)

    def odd_there(rows: np.ndarray) -> np.ndarray:
        return model.predict(rows) + (rows[:, 0] == 12345.0)

    read = of_sklearn.read(model, "predict")
    assert proof.prove(read, odd_there).program is not None
    assert "numbers differ by" in proof.prove(read, odd_there, [odd]).reason


class Own(ClassifierMixin, BaseEstimator):
    pass


@pytest.mark.parametrize(
    ("make", "method", "why"),
    [
        (lambda: KNeighborsClassifier().fit(X, TWO), "predict", "A KNeighborsClassifier is not among"),
        (lambda: Own(), "predict", "not scikit-learn's own"),
        (lambda: fitted("logistic"), "decision_function", "decision_function of this classifier"),
        (lambda: fitted("support vectors"), "transform", "transform of this classifier"),
        (
            lambda: HistGradientBoostingClassifier(max_iter=2, categorical_features=[5]).fit(X, TWO),
            "predict",
            "categorical",
        ),
        (
            lambda: make_pipeline(OneHotEncoder(drop="first"), LogisticRegression()).fit(X[:, 5:], TWO),
            "predict",
            "leaves cat",
        ),
        (lambda: GradientBoostingClassifier(n_estimators=2, loss="exponential").fit(X, TWO), "predict", "exponential"),
        (lambda: DecisionTreeRegressor().fit(X, np.stack([NUMBERS, NUMBERS], 1)), "predict", "several outputs"),
    ],
)
def test_what_is_not_compiled_says_why(make: Callable[[], Any], method: str, why: str):
    with pytest.raises(NotCompiled, match=why):
        of_sklearn.read(make(), method)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(MODELS)),
    parts=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    start=st.integers(0, 100),
)
def test_a_row_is_answered_alike_alone_and_in_any_batch(name: str, parts: list[int], start: int):
    """Labels equal; numbers within 1e-12, which is what sums in another order may differ by."""
    for method in methods(fitted(name)):
        answer = compiled(name, method)
        rows = np.take(X, range(start, start + sum(parts)), axis=0, mode="wrap")
        together = answer(rows)
        at = 0
        for count in parts:
            alone = answer(rows[at : at + count].copy())
            if alone.dtype.kind == "f":
                np.testing.assert_allclose(together[at : at + count], alone, rtol=1e-12, atol=1e-12)
            else:
                assert together[at : at + count].tolist() == alone.tolist()
            at += count


def test_a_damaged_file_is_told_from_a_program():
    data = result.dump(result.Result(program=of_sklearn.read(fitted("forest"), "predict")))
    assert isinstance(result.load(data).program, Program)
    for wrong in (b"", b"{}\n", data[:-100], data.replace(b"PK", b"KP"), data[: data.index(b"\n") + 1] + b"x"):
        with pytest.raises(Damaged):
            result.load(wrong)


def runtime(tmp_path: Path, model: Any, **environment: str) -> sklearn.SklearnRuntime:
    joblib.dump(model, tmp_path / "model.joblib")
    found = runtimes.load("sklearn", tmp_path, environment)
    assert isinstance(found, sklearn.SklearnRuntime)
    return found


def test_a_job_says_what_it_made_and_an_instance_goes_over_to_it(tmp_path: Path):
    served = runtime(tmp_path, fitted("linear"))
    made = job.made_of(served, tmp_path, "sklearn")
    assert (made.reason, made.engine) == ("", "numpy")
    assert made.original is not None
    assert made.compiled is not None
    assert 0 < made.compiled.one_row < made.original.one_row
    file = tmp_path / "made"
    assert following.usable(file) is None
    file.write_bytes(result.dump(made))
    assert not served.joinable
    before = list(served.answer([Invocation(b"[[1, 2, 3, 4, 5, 6]]")]))
    told: list[str] = []
    following.begin(served, str(file), following.AUTO, told.append)
    [thread] = [each for each in threading.enumerate() if each.name == "kedge-compiled"] or [None]
    if thread is not None:
        thread.join(20)
    assert told == ["compiled (numpy)"]
    # Its rows are added up one by one, so requests may be joined now.
    assert served.joinable
    assert served.takes > 1
    [[(_, first)]], [[(_, second)]] = before, list(served.answer([Invocation(b"[[1, 2, 3, 4, 5, 6]]")]))
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert math.isclose(float(first.body[1:-1]), float(second.body[1:-1]), rel_tol=1e-12)


def test_a_batch_that_has_begun_ends_with_the_model_that_it_began_with(tmp_path: Path):
    served = runtime(tmp_path, fitted("linear"), KEDGE_JOINABLE="false")
    batch = served.answer([Invocation(b"[[1, 2, 3, 4, 5, 6]]"), Invocation(b"[[1, 2, 3, 4, 5, 6]]")])
    first = next(batch)
    served.stand_in(lambda rows: np.full(len(rows), 7.0))
    assert next(batch)[0][1] == first[0][1]
    assert next(served.answer([Invocation(b"[[1, 2, 3, 4, 5, 6]]")]))[0][1] == Answer(b"[7.0]", "application/json")
    assert not served.joinable


@pytest.mark.parametrize(
    ("found", "chosen", "says"),
    [
        (result.Result("A Thing is not compiled."), "auto", "original: A Thing is not compiled."),
        (None, "auto", "original: it was not compiled within an hour"),
        ("slow", "auto", "original: it is not faster: 5 and 9 us for 1 and 64 rows, the model 4 and 10"),
        ("slow", "on", "compiled (numpy)"),
    ],
)
def test_who_serves(tmp_path: Path, found: Any, chosen: str, says: str):
    served = runtime(tmp_path, fitted("linear"))
    if found == "slow":
        read = of_sklearn.read(fitted("linear"), "predict")
        found = result.Result("", None, "numpy", 1, 0.0, result.Timing(4, 10), result.Timing(5, 9), program=read)
    assert following.adopt(served, found, chosen) == says


def test_a_result_of_other_versions_is_not_used(tmp_path: Path):
    file = tmp_path / "made"
    for versions, used in ((made_with(), True), ({"kedge": "0"}, False), (None, True)):
        file.write_bytes(result.dump(result.Result("no", versions)))
        assert (following.usable(file) is not None) is used
    file.write_bytes(b"planted")
    assert following.usable(file) is None


def test_the_setting_is_checked():
    assert following.mode({}) == "auto"
    assert following.mode({"KEDGE_COMPILE": "ON"}) == "on"
    with pytest.raises(LoadError, match="KEDGE_COMPILE is maybe"):
        following.mode({"KEDGE_COMPILE": "maybe"})
