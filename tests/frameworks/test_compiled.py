"""XGBoost and LightGBM: programs are proven against the libraries themselves."""

from typing import Any

import numpy as np
import pytest

from kedge.serving.compiled import of_boosters, program, proof, run
from kedge.serving.compiled.program import NotCompiled

lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 5))
GAPS = np.where(RANDOM.random(X.shape) < 0.1, np.nan, X)
SUM = X[:, 0] + X[:, 1] * X[:, 2]
TWO, THREE = (SUM > 0).astype(int), np.digitize(SUM, [-0.5, 0.5])
QUIET = {"n_estimators": 15, "n_jobs": 1}
MODELS: dict[str, Any] = {
    "xgboost, two classes": xgboost.XGBClassifier(**QUIET).fit(GAPS, TWO),
    "xgboost, three classes": xgboost.XGBClassifier(**QUIET).fit(X, THREE),
    "xgboost, values": xgboost.XGBRegressor(**QUIET).fit(GAPS, SUM),
    "xgboost, counts": xgboost.XGBRegressor(**QUIET, objective="count:poisson").fit(X, np.abs(SUM)),
    "lightgbm, two classes": lightgbm.LGBMClassifier(**QUIET, verbose=-1).fit(GAPS, TWO),
    "lightgbm, three classes": lightgbm.LGBMClassifier(**QUIET, verbose=-1).fit(X, THREE),
    "lightgbm, values": lightgbm.LGBMRegressor(**QUIET, verbose=-1).fit(X, SUM),
    "lightgbm, counts": lightgbm.LGBMRegressor(**QUIET, verbose=-1, objective="poisson").fit(X, np.abs(SUM)),
}


def cases() -> list[tuple[str, Any, str, Any]]:
    found = []
    for name, model in MODELS.items():
        for method in ("predict", "predict_proba") if hasattr(model, "classes_") else ("predict",):
            found.append((f"{name}: {method}", model, method, getattr(model, method)))
        if name.startswith("xgboost"):
            booster = model.get_booster()
            found.append(
                (name, booster, "predict", lambda rows, b=booster: b.inplace_predict(rows, validate_features=False))
            )
        else:
            found.append((name, model.booster_, "predict", model.booster_.predict))
    return found


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case[0])
@pytest.mark.parametrize("engine", [each for each in run.ENGINES if each != run.NATIVE or run.has_native()])
def test_a_program_is_proven_against_its_model(case: Any, engine: str, monkeypatch: pytest.MonkeyPatch):
    _, model, method, original = case
    monkeypatch.setattr(run, "engine", lambda _: engine)
    read = program.load(program.dump(of_boosters.read(model, method)))
    verdict = proof.prove(read, original)
    assert verdict.reason == ""
    assert verdict.program is not None
    assert verdict.program.allows_nan
    answer = run.compiled(verdict.program, original)
    distance, wrong = proof.difference(original(X.copy()), answer(X.copy()))
    assert (wrong, distance < proof.TOLERANCE) == ("", True)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (xgboost.XGBRegressor(n_estimators=2, booster="dart").fit(X, SUM), "dart"),
        (xgboost.XGBRegressor(n_estimators=2, booster="gblinear").fit(X, SUM), "gblinear"),
        (xgboost.XGBClassifier(n_estimators=2, objective="binary:hinge").fit(X, TWO), "hinge"),
        (lightgbm.LGBMRegressor(n_estimators=2, linear_tree=True, verbose=-1).fit(X, SUM), "linear trees"),
        (lightgbm.LGBMRegressor(n_estimators=2, zero_as_missing=True, verbose=-1).fit(X, SUM), "zero is missing"),
        (
            lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(np.round(X * 2), SUM, categorical_feature=[0, 1]),
            "categorical",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_not_compiled_says_why(model: Any, why: str):
    with pytest.raises(NotCompiled, match=why):
        of_boosters.read(model, "predict")
