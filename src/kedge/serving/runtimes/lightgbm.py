"""LightGBM: a text model, or a pickled Booster or estimator, in the artifact's root.

Each row goes down the trees by itself, and its leaves are added in the trees' order: the same alone and in any batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kedge.serving.runtimes import model_files, tabular
from kedge.serving.runtimes.base import LoadError

NAMES = ("model.txt", "lightgbm.txt", "model.lgb", "model.bin", "model.pkl", "model.joblib")
SUFFIXES = (".txt", ".lgb", ".lgbm", *model_files.PICKLES)


def load(artifact: Path, environment: Mapping[str, str]) -> tabular.TabularRuntime:
    """Raises LoadError."""
    return tabular.TabularRuntime(described(load_model(artifact, environment), environment), environment)


def load_model(artifact: Path, environment: Mapping[str, str]) -> Any:
    """Raises LoadError."""
    model_files.library("lightgbm", "lightgbm")
    names = [name for name in model_files.in_root(artifact) if name != "requirements.txt"]
    return model_files.read(artifact / model_files.pick(names, NAMES, SUFFIXES), "lightgbm", _read, _written_by)


def described(model: Any, environment: Mapping[str, str]) -> tabular.Model:
    """Raises LoadError for what is no model of LightGBM."""
    import lightgbm

    count = tabular.threads(environment)
    if isinstance(model, lightgbm.Booster):
        tabular.only_predict(environment, "a Booster")

        def predict(rows: Any) -> Any:
            return model.predict(rows, num_threads=count)

        return tabular.Model(
            predict=predict,
            origin=tabular.Origin(model, "predict", predict),
            joinable=True,
            columns=list(model.feature_name()),
            width=model.num_feature(),
        )
    if isinstance(model, lightgbm.LGBMModel):
        call: Callable[..., Any] = tabular.method_of(model, environment)

        def predict_by_method(rows: Any) -> Any:
            return call(rows, num_threads=count, validate_features=False)

        method = environment.get("KEDGE_PREDICT_METHOD") or "predict"
        return tabular.Model(
            predict=predict_by_method,
            origin=tabular.Origin(model, method, predict_by_method),
            joinable=True,
            columns=list(model.feature_name_),
            width=int(model.n_features_in_),
        )
    raise LoadError(f"The model file holds a {type(model).__name__}; a LightGBM Booster or estimator was expected.")


def _read(file: Path) -> Any:
    import lightgbm

    if file.suffix in model_files.PICKLES or model_files.is_pickle(file):
        return model_files.unpickle(file)
    return lightgbm.Booster(model_file=str(file))


def _written_by(file: Path) -> str:
    """The version of the format, which is LightGBM's first number."""
    with file.open("rb") as stream:
        found = re.search(rb"^version=v(\d+)$", stream.read(1024), re.MULTILINE)
    return found[1].decode() if found else ""
