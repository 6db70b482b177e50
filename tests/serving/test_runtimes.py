import json
import logging
import pickle
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from kedge.serving import runtimes
from kedge.serving.compiled import of_sklearn, run
from kedge.serving.runtimes import joining, payload, sklearn
from kedge.serving.runtimes.base import Answer, Invocation, InvocationError, LoadError, Outcome, Runtime

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
TARGET = X @ [1.0, 2.0, -1.0, 0.5]
FOREST = RandomForestClassifier(5, random_state=0, n_jobs=2).fit(X, Y)


class SumOfAll(ClassifierMixin, BaseEstimator):
    """Somebody's own model: its rows look at one another."""

    def fit(self, x: object, y: object) -> "SumOfAll":
        self.classes_ = np.unique(y)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), int(abs(x.sum()) * 1000) % 3)


def outcomes(runtime: Runtime, *requests: Invocation) -> list[Outcome]:
    found: dict[int, Outcome] = {}
    for group in runtime.answer(requests):
        for index, outcome in group:
            assert index not in found, "answered twice"
            found[index] = outcome
    return [found[index] for index in range(len(requests))]


def rows(values: object, **fields: str) -> Invocation:
    return Invocation(json.dumps(np.asarray(values).tolist()).encode(), "application/json", **fields)


def served(model: object, **environment: str) -> sklearn.SklearnRuntime:
    return sklearn.SklearnRuntime(model, environment)


def test_answers_as_the_model_does():
    [answer] = outcomes(served(FOREST), rows(X, custom_attributes="c=1"))
    assert answer == Answer(json.dumps(FOREST.predict(X).tolist()).encode(), "application/json", "c=1")


def test_text_labels_and_a_method_of_choice():
    names = np.array(["ash", "birch", "cedar"])[Y]
    model = GaussianNB().fit(X, names)
    [labels, table] = outcomes(served(model), rows(X[:2]), rows(X[:2], accept="text/csv"))
    assert json.loads(labels.body) == names[:2].tolist() or json.loads(labels.body) == model.predict(X[:2]).tolist()
    assert table.content_type == "text/csv"
    [probabilities] = outcomes(served(model, KEDGE_PREDICT_METHOD="predict_proba"), rows(X[:2]))
    assert json.loads(probabilities.body) == model.predict_proba(X[:2]).tolist()


def test_one_bad_request_never_fails_its_neighbours():
    good = [rows(X[i : i + 2]) for i in range(6)]
    bad = [rows(X[:1, :3]), Invocation(b"{", "application/json"), Invocation(b"x", "image/png"), Invocation(b"")]
    not_a_number = rows([[np.nan] * 4])
    batch = [good[0], bad[0], good[1], bad[1], good[2], bad[2], not_a_number, good[3], bad[3], *good[4:]]
    model = GaussianNB().fit(X, Y)
    found = outcomes(served(model), *batch)
    alone = [outcomes(served(model), each)[0] for each in batch]
    assert [f.status for f in found] == [200, 500, 200, 400, 200, 415, 500, 200, 400, 200, 200]
    assert [str(f) for f in found] == [str(a) for a in alone]
    assert "GaussianNB is expecting 4 features" in str(found[1])


@pytest.mark.parametrize(
    ("model", "method", "joined"),
    [
        (FOREST, "predict", True),
        (FOREST, "predict_proba", True),
        (LogisticRegression(), "predict", True),
        (LogisticRegression(), "predict_proba", False),
        (LinearRegression(), "predict", False),
        (HistGradientBoostingRegressor(), "predict", True),
        (HistGradientBoostingClassifier(max_iter=2), "predict_proba", True),
        (GradientBoostingClassifier(n_estimators=2), "predict_proba", True),
        (GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()), "predict_proba", False),
        (make_pipeline(StandardScaler(), RandomForestRegressor(3)), "predict", True),
        (make_pipeline(StandardScaler(), LinearRegression()), "predict", False),
        (make_pipeline(StandardScaler(), LogisticRegression()), "predict", True),
        (make_pipeline(FunctionTransformer(), DecisionTreeClassifier()), "predict", False),
        (GridSearchCV(DecisionTreeRegressor(), {"max_depth": [2]}, cv=2), "predict", True),
        (SumOfAll(), "predict", False),
        (GridSearchCV(SumOfAll(), {}, cv=2), "predict", False),
    ],
    ids=str,
)
def test_rows_are_joined_only_when_nobody_can_tell(model: BaseEstimator, method: str, joined: bool):
    fitted = model if model is FOREST else model.fit(X, Y)
    assert joining.rows_are_independent(fitted, method) is joined
    runtime = served(fitted, KEDGE_PREDICT_METHOD=method)
    assert runtime.joinable is joined
    assert runtime.takes == (sklearn.TAKES if joined else 1)


def test_joining_may_be_declared():
    assert served(SumOfAll().fit(X, Y), KEDGE_JOINABLE="true").joinable
    assert not served(FOREST, KEDGE_JOINABLE="false").joinable
    with pytest.raises(LoadError, match="KEDGE_JOINABLE is maybe"):
        served(FOREST, KEDGE_JOINABLE="maybe")


MODELS = {
    "forest": (FOREST, "predict"),
    "probabilities": (FOREST, "predict_proba"),
    "regressor": (HistGradientBoostingRegressor(max_iter=5).fit(X, TARGET), "predict"),
    "boosted": (HistGradientBoostingClassifier(max_iter=5).fit(X, Y), "predict_proba"),
    "boosted slowly": (GradientBoostingClassifier(n_estimators=5).fit(X, Y), "predict_proba"),
    "linear": (LinearRegression().fit(X, TARGET), "predict"),
    "pipeline": (make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), "predict"),
    "own": (SumOfAll().fit(X, Y), "predict"),
}
SERVED = {name: served(model, KEDGE_PREDICT_METHOD=method) for name, (model, method) in MODELS.items()}
for name, (model, method) in MODELS.items():
    if name in ("forest", "probabilities", "boosted", "pipeline"):
        SERVED[f"{name}, compiled"] = served(model, KEDGE_PREDICT_METHOD=method)
        program = of_sklearn.read(model, method)
        SERVED[f"{name}, compiled"].stand_in(run.compiled(program, getattr(model, method), run.NUMPY))
for runtime in SERVED.values():
    # As of a model that was trained on a data frame.
    runtime._columns = [f"x{i}" for i in range(4)]
one_request = st.one_of(
    st.integers(0, 100).flatmap(lambda start: st.integers(1, 20).map(lambda n: rows(X[start : start + n]))),
    st.integers(0, 119).map(lambda i: Invocation(",".join(map(repr, X[i].tolist())).encode(), "text/csv")),
    st.tuples(st.sampled_from(["f4", "f8", ">f8", "i8", "u1", "?"]), st.integers(1, 9)).map(
        lambda each: Invocation(payload.encode(X[: each[1]].astype(each[0]), payload.NPY), payload.NPY)
    ),
    st.permutations(range(4)).map(
        lambda order: Invocation(json.dumps([{f"x{i}": X[0, i] for i in order}]).encode(), "application/json")
    ),
    st.sampled_from([rows(X[:1, :2]), rows([[1, 2, 3, 4]]), rows([["a"] * 4]), Invocation(b"nope"), rows([])]),
)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SERVED)), st.lists(one_request, min_size=1, max_size=12))
def test_an_answer_is_the_same_alone_and_in_any_batch(name: str, batch: list[Invocation]):
    logging.disable(logging.ERROR)
    try:
        together = outcomes(SERVED[name], *batch)
        for request, outcome in zip(batch, together, strict=True):
            assert str(outcomes(SERVED[name], request)[0]) == str(outcome)
            assert isinstance(outcome, Answer | InvocationError)
    finally:
        logging.disable(logging.NOTSET)


def test_a_call_of_the_model_takes_a_bounded_number_of_rows():
    datas = {index: np.zeros((1500, 2)) for index in range(5)} | {5: np.zeros((9000, 2)), 6: np.zeros((1, 3))}
    assert sorted(joining.groups(datas)) == [[0, 1], [2, 3], [4], [5], [6]]


def test_a_prediction_that_has_no_row_for_each_row_is_not_taken_apart():
    two = [np.zeros((1, 2)), np.zeros((1, 2))]
    assert joining.split([np.zeros(1), np.zeros(1)], two) is None
    assert joining.split(np.zeros(3), two) is None
    assert joining.split(np.array(5.0), two) is None


def test_texts_reach_a_vectorizer():
    model = make_pipeline(CountVectorizer(), DecisionTreeClassifier()).fit(["good day", "bad day"] * 3, [1, 0] * 3)
    runtime = served(model)
    found = outcomes(runtime, *[Invocation(json.dumps([text]).encode()) for text in ("good", "bad", "a good day")])
    assert [answer.body for answer in found] == [b"[1]", b"[0]", b"[1]"]


def test_mixed_columns_keep_their_types():
    table = np.array([["red", 1.0], ["blue", 2.0], ["red", 3.0]] * 4, dtype=object)
    columns = ColumnTransformer([("c", OneHotEncoder(handle_unknown="ignore"), [0]), ("n", StandardScaler(), [1])])
    model = make_pipeline(columns, DecisionTreeClassifier()).fit(table, [0, 1, 0] * 4)
    [answer] = outcomes(served(model), Invocation(b'[["red", 1.0], ["blue", 2.0]]'))
    assert answer.body == b"[0, 1]"


def test_columns_by_name_need_pandas_when_the_model_picks_them_by_name():
    columns = ColumnTransformer([("n", StandardScaler(), ["a", "b"])])
    columns.feature_names_in_ = np.array(["a", "b"], dtype=object)
    columns.predict = lambda frame: frame["a"].to_numpy()
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(LoadError, match="pip install pandas"):
            served(columns)
        return
    [answer] = outcomes(served(columns), Invocation(b'[{"b": 1, "a": 2}]'))
    assert answer.body == b"[2.0]"


def test_rows_by_name_for_a_model_that_knows_its_columns(recwarn: pytest.WarningsRecorder):
    model = DecisionTreeClassifier().fit(X, Y)
    model.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)
    row = dict(zip("dcba", X[0][::-1].tolist(), strict=True))
    [by_name, by_place] = outcomes(served(model), Invocation(json.dumps([row]).encode()), rows(X[:1]))
    assert by_name == by_place
    assert not recwarn.list


def test_a_pool_of_threads_is_not_used():
    model = RandomForestClassifier(2, n_jobs=-1).fit(X, Y)
    served(make_pipeline(StandardScaler(), model))
    assert model.n_jobs == 1


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl", "model.pickle", "model.skops", "forest.pkl"])
def test_every_format_is_loaded(tmp_path: Path, name: str):
    import skops.io

    file = tmp_path / name
    if name.endswith(".joblib"):
        joblib.dump(FOREST, file, compress=3)
    elif name.endswith(".skops"):
        skops.io.dump(GaussianNB().fit(X, Y), file)
    else:
        file.write_bytes(pickle.dumps(FOREST))
    (tmp_path / "notes.txt").write_text("not a model")
    [answer] = outcomes(runtimes.load("sklearn", tmp_path, {}), rows(X[:3]))
    assert len(json.loads(answer.body)) == 3


def test_a_joblib_file_under_a_pickles_name_is_loaded(tmp_path: Path):
    joblib.dump(FOREST, tmp_path / "model.pkl", compress=3)
    assert runtimes.load("sklearn", tmp_path, {}).joinable


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "holds no model: no file"),
        ({"readme.md": b""}, "holds no model: readme.md"),
        ({"a.pkl": b"", "b.joblib": b""}, "several models: a.pkl, b.joblib"),
        ({"model.pkl": b"", "model.joblib": b"", "x.pkl": b""}, "several models: model.joblib, model.pkl"),
        ({"model.pkl": b""}, "model.pkl cannot be loaded: EOFError"),
        ({"model.pkl": b"junk"}, "model.pkl cannot be loaded: "),
        ({"model.joblib": b"junk"}, "model.joblib cannot be loaded: "),
        ({"model.pkl": pickle.dumps({"a": 1})}, "The model is a dict, which has no predict"),
        ({"model.pkl": b"csklearn.gone\nForest\n."}, "ModuleNotFoundError: No module named 'sklearn.gone'"),
        ({"model.pkl": pickle.dumps(FOREST)[:-400]}, r"written by scikit-learn \d+\.\d+.*this is scikit-learn \d"),
    ],
)
def test_what_cannot_be_loaded_says_why(tmp_path: Path, files: dict[str, bytes], says: str):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadError, match=says):
        runtimes.load("sklearn", tmp_path, {})


def test_a_model_of_another_version_is_served_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    state = pickle.dumps(DecisionTreeClassifier().fit(X, Y))
    import sklearn as installed

    now = installed.__version__.encode()
    assert now in state
    (tmp_path / "model.pkl").write_bytes(state.replace(now, now.replace(now[:1], b"0", 1)))
    runtimes.load("sklearn", tmp_path, {})
    assert f"was written by scikit-learn 0{now.decode()[1:]}; this is {now.decode()}" in caplog.text


def test_types_that_skops_does_not_trust_are_named(tmp_path: Path):
    import skops.io

    skops.io.dump(make_pipeline(FunctionTransformer(np.log1p), SumOfAll()).fit(np.abs(X), Y), tmp_path / "model.skops")
    with pytest.raises(LoadError, match=r"does not trust: .*SumOfAll.*set KEDGE_SKOPS_TRUSTED=(\S+) in") as refused:
        runtimes.load("sklearn", tmp_path, {})
    trusted = str(refused.value).partition("KEDGE_SKOPS_TRUSTED=")[2].split()[0]
    assert runtimes.load("sklearn", tmp_path, {"KEDGE_SKOPS_TRUSTED": trusted})


@pytest.mark.parametrize(
    ("name", "library"),
    [("xgboost", "xgboost"), ("lightgbm", "lightgbm"), ("catboost", "catboost"), ("torch", "torch")],
)
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, name: str, library: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, library, None)  # as Python has it that a module is not to be had
    with pytest.raises(LoadError, match=rf"needs {library}, .*pip install 'kedge\[{name}\]'.*code/requirements\.txt"):
        runtimes.load(name, tmp_path, {})


def test_an_image_without_a_script_says_that_it_needs_one(tmp_path: Path):
    with pytest.raises(LoadError, match=r"has no code/inference\.py\. Kedge builds no Hugging Face pipeline"):
        runtimes.load("huggingface", tmp_path, {})
    (tmp_path / "code").mkdir()
    script = "def model_fn(folder):\n    return lambda inputs, scale=1: [scale * len(each) for each in inputs]\n"
    (tmp_path / "code" / "inference.py").write_text(script)
    runtime = runtimes.load("huggingface", tmp_path, {})
    body = json.dumps({"inputs": ["a", "bcd"], "parameters": {"scale": 2}}).encode()
    assert outcomes(runtime, Invocation(body, "application/json")) == [Answer(b"[2, 6]", "application/json")]


def test_the_log_says_when_the_image_means_another_version(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(FOREST))
    runtimes.load("sklearn", tmp_path, {"KEDGE_IMAGE": "kedge/sklearn:0.20"})
    assert "sklearn:0.20 stands for scikit-learn 0.20; this is scikit-learn" in caplog.text
    caplog.clear()
    runtimes.load("sklearn", tmp_path, {"KEDGE_IMAGE": "kedge/sklearn"})
    assert "stands for" not in caplog.text


def test_wrong_names_are_refused(tmp_path: Path):
    with pytest.raises(LoadError, match="KEDGE_PREDICT_METHOD is guess; it has to be one of predict"):
        served(FOREST, KEDGE_PREDICT_METHOD="guess")
    with pytest.raises(LoadError, match="has no transform"):
        served(FOREST, KEDGE_PREDICT_METHOD="transform")
    with pytest.raises(LoadError, match="runtime nope is not known"):
        runtimes.load("nope", tmp_path, {})
    with pytest.raises(LoadError, match="is not there"):
        runtimes.load("sklearn", tmp_path / "gone", {})
