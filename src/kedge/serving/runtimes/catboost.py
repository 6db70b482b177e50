"""CatBoost: a .cbm or .json model, or a pickled estimator, in the artifact's root.

Each row goes down the trees by itself: its result is the same alone and in any batch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kedge.serving.runtimes import model_files, tabular
from kedge.serving.runtimes.base import BadInput, LoadError

NAMES = ("model.cbm", "model.json", "model.pkl", "model.joblib")
SUFFIXES = (".cbm", ".json", *model_files.PICKLES)
_LONGEST_SEARCH_BYTES = 64 * 1024 * 1024


def load(artifact: Path, environment: Mapping[str, str]) -> tabular.TabularRuntime:
    """Raises LoadError."""
    return tabular.TabularRuntime(described(load_model(artifact, environment), environment), environment)


def load_model(artifact: Path, environment: Mapping[str, str]) -> Any:
    """Raises LoadError."""
    model_files.library("catboost", "catboost")
    file = artifact / model_files.pick(model_files.in_root(artifact), NAMES, SUFFIXES)
    return model_files.read(file, "catboost", _read, _written_by)


def described(model: Any, environment: Mapping[str, str]) -> tabular.Model:
    """Raises LoadError for what is no model of CatBoost."""
    import catboost

    if not isinstance(model, catboost.CatBoost):
        raise LoadError(f"The model file holds a {type(model).__name__}; a CatBoost model was expected.")
    call: Callable[..., Any] = tabular.method_of(model, environment)
    texts = [*model.get_cat_feature_indices(), *model.get_text_feature_indices()]
    columns = [str(name) for name in model.feature_names_]
    threads = tabular.threads(environment)

    def predict(rows: Any) -> object:
        found = call(with_texts(rows, texts) if texts else rows, thread_count=threads)
        # Labels of several classes come as one column.
        return found[:, 0] if isinstance(found, np.ndarray) and found.ndim == 2 and found.shape[1] == 1 else found

    return tabular.Model(predict=predict, joinable=not texts, columns=columns, width=len(columns), numeric=not texts)


def with_texts(rows: np.ndarray[Any, Any], texts: list[int]) -> np.ndarray[Any, Any]:
    """Rows whose columns `texts` hold texts, as CatBoost takes categories, and whose others hold numbers.

    Raises BadInput.
    """
    table = rows.astype(object)
    for column in range(table.shape[1]):
        if column in texts:
            table[:, column] = [_category(value) for value in table[:, column]]
        else:
            table[:, [column]] = tabular.numbers(table[:, [column]])
    return table


def _category(value: object) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        if not value.is_integer():
            raise BadInput(f"{value} stands in a column of categories; a text or a whole number was expected.")
        return str(int(value))
    return "" if value is None else str(value)


def _read(file: Path) -> Any:
    import catboost

    if file.suffix in model_files.PICKLES or model_files.is_pickle(file):
        return model_files.unpickle(file)
    kind = "json" if file.suffix == ".json" else "cbm"
    model = catboost.CatBoost().load_model(str(file), format=kind)
    # The file does not say of which class it was; only a classifier answers with labels.
    if len(model.classes_):
        return catboost.CatBoostClassifier().load_model(str(file), format=kind)
    return model


def _written_by(file: Path) -> str:
    with file.open("rb") as stream:
        found = re.search(rb"CatBoost release (\d+(?:\.\d+)+)", stream.read(_LONGEST_SEARCH_BYTES))
    return found[1].decode() if found else ""
