"""XGBoost, LightGBM and CatBoost: every form of a model, and answers that are the same alone and in any batch."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pandas
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.serving import runtimes
from kedge.serving.runtimes.base import Answer, Invocation, InvocationError, LoadError

from .data import CLASSES, COLUMNS, TARGET, X, Y, answered, ask, csv, in_json, outcomes


def scores(answer: Answer) -> list[Any]:
    return [each["score"] for each in json.loads(answer.body)["predictions"]]


def trained(objective: str = "binary:logistic", **options: Any) -> xgboost.Booster:
    label = {"binary:logistic": Y, "multi:softprob": CLASSES, "multi:softmax": CLASSES}.get(objective, TARGET)
    if objective.startswith("multi"):
        options["num_class"] = 3
    data = xgboost.DMatrix(X, label=label, feature_names=options.pop("names", None))
    return xgboost.train({"objective": objective, "max_depth": 3, "nthread": 1, **options}, data, 8)


BOOSTER = trained()


@pytest.mark.parametrize("name", ["xgboost-model", "model.json", "model.ubj", "mine.bst", "model.pkl", "model.joblib"])
def test_xgboost_reads_every_form(tmp_path: Path, name: str):
    file = tmp_path / name
    if name.endswith(".joblib"):
        joblib.dump(BOOSTER, file)
    elif name.endswith(".pkl"):
        file.write_bytes(pickle.dumps(BOOSTER))
    else:
        raw = BOOSTER.save_raw("json" if name.endswith(".json") else "ubj")
        file.write_bytes(raw)
    runtime = runtimes.load("xgboost", tmp_path, {})
    assert runtime.joinable
    assert scores(ask(runtime, csv(X[:9]))) == BOOSTER.predict(xgboost.DMatrix(X[:9])).tolist()


def test_xgboost_reads_a_pickled_booster_without_an_ending(tmp_path: Path):
    (tmp_path / "xgboost-model").write_bytes(pickle.dumps(BOOSTER))
    assert scores(ask(runtimes.load("xgboost", tmp_path, {}), csv(X[:2])))


def test_xgboost_answers_as_the_container_does(tmp_path: Path):
    BOOSTER.save_model(tmp_path / "m.json")
    (tmp_path / "m.json").rename(tmp_path / "xgboost-model")
    runtime = runtimes.load("xgboost", tmp_path, {})
    want = BOOSTER.predict(xgboost.DMatrix(X[:2])).tolist()
    table = "".join(f"{each}\n" for each in want).encode()
    assert outcomes(runtime, Invocation(csv(X[:2])))[0] == Answer(table, "text/csv")  # no Content-Type, no Accept
    assert ask(runtime, csv(X[:2]) + b"\n", "text/csv; label_size=0", "text/csv").body == table
    lines = ask(runtime, csv(X[:2]), accept="application/jsonlines").body.decode().splitlines()
    assert [json.loads(line) for line in lines] == [{"score": each} for each in want]
    assert scores(ask(runtime, in_json(X[:2]), "application/json")) == want
    runtime = runtimes.load("xgboost", tmp_path, {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json"})
    assert outcomes(runtime, Invocation(csv(X[:2])))[0].content_type == "application/json"


def test_xgboost_reads_sparse_rows(tmp_path: Path):
    holes = X[:4].copy()
    holes[0, 1] = holes[1, 4] = holes[2, 0] = np.nan
    BOOSTER.save_model(tmp_path / "model.json")
    runtime = runtimes.load("xgboost", tmp_path, {})
    want = BOOSTER.predict(xgboost.DMatrix(holes)).tolist()
    text = "\n".join(
        " ".join([str(n), *(f"{c}:{v!r}" for c, v in enumerate(row) if v == v)]) for n, row in enumerate(holes.tolist())
    )
    for kind in ("text/libsvm", "text/x-libsvm"):
        assert scores(ask(runtime, text.encode(), kind)) == want
    assert scores(ask(runtime, csv(holes).replace(b"nan", b""))) == want
    for body, status in ((b"1 0:a", 400), (b"1 9:1", 400), (b"", 400), (b"1 -1:2", 400)):
        [refused] = outcomes(runtime, Invocation(body, "text/libsvm"))
        assert isinstance(refused, InvocationError)
        assert refused.status == status


def test_xgboost_selects_what_an_answer_holds(tmp_path: Path):
    trained("multi:softprob").save_model(tmp_path / "model.json")
    names = {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label, probabilities,labels,predicted_score"}
    runtime = runtimes.load("xgboost", tmp_path, names)
    chances = trained("multi:softprob").predict(xgboost.DMatrix(X[:3]))
    found = json.loads(ask(runtime, csv(X[:3])).body)["predictions"]
    assert [each["predicted_label"] for each in found] == chances.argmax(axis=1).tolist()
    assert [each["probabilities"] for each in found] == chances.tolist()
    assert found[0]["labels"] == [0, 1, 2]
    assert np.isnan(found[0]["predicted_score"])
    with pytest.raises(LoadError, match="names nonsense; there are predicted_label"):
        runtimes.load("xgboost", tmp_path, {"SAGEMAKER_INFERENCE_OUTPUT": "nonsense"})


def test_several_models_of_a_k_fold_training_answer_together(tmp_path: Path):
    models = [trained(eta=eta) for eta in (0.1, 0.3, 0.5)]
    for number, model in enumerate(models):
        (tmp_path / f"xgboost-model-{number}").write_bytes(model.save_raw("ubj"))
    want = np.mean([model.predict(xgboost.DMatrix(X[:5])) for model in models], axis=0)
    assert scores(ask(runtimes.load("xgboost", tmp_path, {}), csv(X[:5]))) == want.tolist()
    one = runtimes.load("xgboost", tmp_path, {"SAGEMAKER_INFERENCE_ENSEMBLE": "false"})
    assert scores(ask(one, csv(X[:5]))) == models[0].predict(xgboost.DMatrix(X[:5])).tolist()


def test_a_model_that_stopped_early_answers_with_its_best_round(tmp_path: Path):
    data = xgboost.DMatrix(X[:80], label=Y[:80])
    watched = [(xgboost.DMatrix(X[80:], label=Y[80:]), "held_out")]
    options = {"objective": "binary:logistic", "eta": 1.0, "max_depth": 6}
    model = xgboost.train(options, data, 200, evals=watched, early_stopping_rounds=5, verbose_eval=False)
    assert model.best_iteration + 1 < model.num_boosted_rounds()
    model.save_model(tmp_path / "model.json")
    want = model.predict(xgboost.DMatrix(X[:5]), iteration_range=(0, model.best_iteration + 1)).tolist()
    assert scores(ask(runtimes.load("xgboost", tmp_path, {}), csv(X[:5]))) == want


def test_estimators_answer_by_the_method_that_is_chosen(tmp_path: Path):
    for name, model in (
        ("xgboost", xgboost.XGBClassifier(n_estimators=3).fit(X, CLASSES)),
        ("lightgbm", lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(X, CLASSES)),
    ):
        (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
        runtime = runtimes.load(name, tmp_path, {"KEDGE_PREDICT_METHOD": "predict_proba"})
        found = ask(runtime, csv(X[:5]), accept="text/csv").body
        assert found == b"".join(
            b",".join(repr(v).encode() for v in r) + b"\n" for r in model.predict_proba(X[:5]).tolist()
        )
        labels = ask(runtimes.load(name, tmp_path, {}), csv(X[:5]), accept="text/csv").body
        assert labels.split() == [str(each).encode() for each in model.predict(X[:5])]


@pytest.mark.parametrize("name", ["model.txt", "mine.lgb", "model.pkl"])
@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression"])
def test_lightgbm_reads_every_form(tmp_path: Path, name: str, objective: str):
    options = {"objective": objective, "verbose": -1, **({"num_class": 3} if objective == "multiclass" else {})}
    label = {"binary": Y, "multiclass": CLASSES, "regression": TARGET}[objective]
    model = lightgbm.train(options, lightgbm.Dataset(X, label=label, feature_name=COLUMNS), 5)
    if name.endswith(".pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(model))
    else:
        model.save_model(tmp_path / name)
    (tmp_path / "requirements.txt").write_text("lightgbm\n")
    runtime = runtimes.load("lightgbm", tmp_path, {})
    assert np.array_equal(answered(runtime, X[:7]), model.predict(X[:7]))
    by_name = [dict(zip(COLUMNS[::-1], row[::-1], strict=True)) for row in X[:7].tolist()]
    body = json.dumps(by_name).encode()
    assert json.loads(ask(runtime, body, "application/json").body) == model.predict(X[:7]).tolist()


@pytest.mark.parametrize("form", ["cbm", "json"])
@pytest.mark.parametrize("kind", [catboost.CatBoostClassifier, catboost.CatBoostRegressor])
def test_catboost_reads_every_form(tmp_path: Path, form: str, kind: Any):
    for label in (Y, CLASSES) if kind is catboost.CatBoostClassifier else (TARGET,):
        model = kind(iterations=5, verbose=False, allow_writing_files=False).fit(X, label)
        model.save_model(str(tmp_path / f"model.{form}"), format=form)
        # Its JSON holds fewer digits than the model in memory.
        reread = kind().load_model(str(tmp_path / f"model.{form}"), format=form)
        runtime = runtimes.load("catboost", tmp_path, {})
        assert np.array_equal(answered(runtime, X[:7]), reread.predict(X[:7]).ravel())
        if kind is catboost.CatBoostClassifier:
            runtime = runtimes.load("catboost", tmp_path, {"KEDGE_PREDICT_METHOD": "predict_proba"})
            assert np.array_equal(answered(runtime, X[:7]), reread.predict_proba(X[:7]))


def test_catboost_takes_categories_as_they_come(tmp_path: Path):
    frame = pandas.DataFrame({"c": ["x", "y", "x", "z"] * 20, "n": X[:80, 0], "k": [1, 2, 3, 4] * 20})
    model = catboost.CatBoostClassifier(iterations=5, verbose=False, cat_features=["c", "k"], allow_writing_files=False)
    model.fit(frame, [0, 1, 0, 1] * 20)
    model.save_model(str(tmp_path / "model.cbm"))
    runtime = runtimes.load("catboost", tmp_path, {"KEDGE_PREDICT_METHOD": "predict_proba"})
    want = model.predict_proba(frame[:6]).tolist()
    table = frame[:6].to_csv(index=False, header=False).encode()
    for body, kind in (
        (table, "text/csv"),
        (json.dumps(frame[:6].to_numpy().tolist()).encode(), "application/json"),
        (json.dumps(frame[["k", "c", "n"]][:6].to_dict("records")).encode(), "application/json"),
    ):
        assert np.allclose(json.loads(ask(runtime, body, kind).body), want, rtol=1e-12)
    [refused] = outcomes(runtime, Invocation(b"x,not a number,1", "text/csv"))
    assert isinstance(refused, InvocationError)
    assert refused.status == 400


MODELS: dict[str, tuple[str, Any]] = {
    **{f"xgboost {o}": ("xgboost", trained(o)) for o in ("binary:logistic", "multi:softprob", "reg:squarederror")},
    "xgboost dart": ("xgboost", trained("reg:squarederror", booster="dart")),
    "xgboost linear": (
        "xgboost",
        trained("reg:squarederror", booster="gblinear", max_depth=None, updater="coord_descent"),
    ),
    "lightgbm": (
        "lightgbm",
        lightgbm.train({"objective": "regression", "verbose": -1}, lightgbm.Dataset(X, TARGET), 8),
    ),
    "catboost": (
        "catboost",
        catboost.CatBoostRegressor(iterations=8, verbose=0, allow_writing_files=False).fit(X, TARGET),
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, runtimes.Runtime]:
    found = {}
    for name, (runtime, model) in MODELS.items():
        folder = tmp_path_factory.mktemp("model")
        (folder / "model.pkl").write_bytes(pickle.dumps(model))
        found[name] = runtimes.load(runtime, folder, {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"})
        assert found[name].joinable
    return found


one_request = st.one_of(
    st.tuples(st.integers(0, 150), st.integers(1, 9)).map(lambda p: Invocation(csv(X[p[0] : sum(p)]), "text/csv")),
    st.integers(0, 159).map(lambda at: Invocation(in_json(X[at : at + 1]), "application/json", "application/json")),
    st.integers(0, 159).map(lambda at: Invocation(in_json(np.round(X[at : at + 2]).astype(int)), "application/json")),
    st.sampled_from([Invocation(b"1,2", "text/csv"), Invocation(b"a,b,c,d,e", "text/csv"), Invocation(b"{}"),
                     Invocation(b"1,,nan,4,5", "text/csv")]),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(MODELS)), st.lists(one_request, min_size=1, max_size=12))
def test_an_answer_is_the_same_alone_and_in_any_batch(
    served: dict[str, runtimes.Runtime], name: str, batch: list[Invocation]
):
    logging.disable(logging.ERROR)
    try:
        for request, outcome in zip(batch, outcomes(served[name], *batch), strict=True):
            assert str(outcomes(served[name], request)[0]) == str(outcome)
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("runtime", "name", "content", "says"),
    [
        ("xgboost", "model.json", b'{"version":[1,7,6]}', r"written by xgboost 1\.7\.6; this is xgboost .*==1\.7\.6"),
        ("xgboost", "xgboost-model", b"binf", "xgboost-model cannot be loaded.*KEDGE_ENVIRONMENTS"),
        ("xgboost", "model.pkl", pickle.dumps({}), "holds a dict; an XGBoost Booster"),
        ("lightgbm", "model.txt", b"tree\nversion=v3\n", r"written by lightgbm 3; .*lightgbm==3\.\*"),
        ("lightgbm", "model.pkl", pickle.dumps([]), "holds a list; a LightGBM Booster"),
        ("catboost", "model.cbm", b"CBM1", "model.cbm cannot be loaded"),
        ("catboost", "model.pkl", pickle.dumps([]), "holds a list; a CatBoost model"),
        ("xgboost", "notes.md", b"", "holds no model: notes.md. Expected xgboost-model, model.json"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_says_who_wrote_it(tmp_path: Path, runtime: str, name: str, content: bytes, says: str):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadError, match=says) as refused:
        runtimes.load(runtime, tmp_path, {})
    assert "Stack trace" not in str(refused.value)


def test_a_model_that_is_cut_off_says_who_wrote_it(tmp_path: Path):
    (tmp_path / "model.ubj").write_bytes(BOOSTER.save_raw("ubj")[10:])
    with pytest.raises(LoadError, match=f"written by xgboost {xgboost.__version__}"):
        runtimes.load("xgboost", tmp_path, {})


def test_a_script_may_leave_handlers_to_the_framework(tmp_path: Path):
    """As the container of script mode: a DMatrix by default, whatever the text."""
    (tmp_path / "code").mkdir()
    BOOSTER.save_model(tmp_path / "mine.json")
    (tmp_path / "code" / "inference.py").write_text(
        "import os, xgboost\n"
        "def model_fn(folder):\n"
        "    booster = xgboost.Booster()\n"
        "    booster.load_model(os.path.join(folder, 'mine.json'))\n"
        "    return booster\n"
    )
    runtime = runtimes.load("xgboost", tmp_path, {})
    want = BOOSTER.predict(xgboost.DMatrix(X[:3])).tolist()
    assert json.loads(ask(runtime, csv(X[:3])).body) == want
    assert json.loads(ask(runtime, b"1 0:1 4:2", "text/libsvm").body)
    assert not runtime.joinable
