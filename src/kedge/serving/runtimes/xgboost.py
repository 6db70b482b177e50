"""XGBoost: the models and the answers of SageMaker's XGBoost container in algorithm mode.

A row goes down the trees by itself, and its leaves are added in the trees' order: the same alone and in any batch.
Source of the contract: sagemaker-xgboost-container (algorithm_mode/serve.py, serve_utils.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kedge.serving.runtimes import joining, model_files, payload, recordio, selection, tabular
from kedge.serving.runtimes.base import BadInput, Invocation, LoadError

NAMES = ("xgboost-model", "model.json", "model.ubj", "model.bst", "model.xgb", "model.bin", "model.pkl", "model.joblib")
SUFFIXES = (".json", ".ubj", ".bst", ".xgb", *model_files.PICKLES)
_ENSEMBLE = "xgboost-model"
"""Several files whose names begin so, as k-fold training leaves them, answer together."""
LIBSVM = ("text/libsvm", "text/x-libsvm")
RECORDIO = "application/x-recordio-protobuf"
_TAIL_BYTES = 64 * 1024


class XgboostRuntime(tabular.TabularRuntime):
    def __init__(self, models: Sequence[Any], environment: Mapping[str, str]) -> None:
        """models: Boosters, which answer together, or one estimator. Raises LoadError."""
        super().__init__(described(models, environment), environment, payload.CSV)
        keys = environment.get("SAGEMAKER_INFERENCE_OUTPUT", "")
        self._selection = selection.of(keys, *objective(models[0])) if keys else None

    def read(self, request: Invocation) -> np.ndarray[Any, Any]:
        kind = payload.media_type(request.content_type) or payload.CSV
        return payload.rows(decode(request.body, request.content_type or kind, self.model.columns, self.model.width))

    def write(self, prediction: object, kind: str) -> bytes:
        if self._selection is not None:
            return self._selection.write(prediction, kind)
        scores = prediction.tolist() if isinstance(prediction, np.ndarray) else prediction
        if kind == payload.JSON and isinstance(scores, list):
            return payload.encode({"predictions": [{"score": score} for score in scores]}, kind)
        if kind == payload.JSON_LINES and isinstance(scores, list):
            return payload.encode([{"score": score} for score in scores], kind)
        return payload.encode(prediction, kind)


def load(artifact: Path, environment: Mapping[str, str]) -> XgboostRuntime:
    """Raises LoadError."""
    return XgboostRuntime(load_models(artifact, environment), environment)


def load_model(artifact: Path, environment: Mapping[str, str]) -> Any:
    """Raises LoadError."""
    return load_models(artifact, environment)[0]


def load_models(artifact: Path, environment: Mapping[str, str]) -> list[Any]:
    """One model, or the several of a k-fold training. Raises LoadError."""
    model_files.library("xgboost", "xgboost")
    names = model_files.in_root(artifact)
    together = [name for name in names if name.startswith(_ENSEMBLE)]
    if len(together) < 2:
        together = together or [model_files.pick(names, NAMES, SUFFIXES)]
    elif environment.get("SAGEMAKER_INFERENCE_ENSEMBLE", "true").lower() != "true":
        together = together[:1]
    return [model_files.read(artifact / name, "xgboost", _read, written_by) for name in together]


def described(models: Sequence[Any], environment: Mapping[str, str]) -> tabular.Model:
    """Raises LoadError for what is no model of XGBoost."""
    import xgboost

    first, count = models[0], tabular.threads(environment)
    if isinstance(first, xgboost.XGBModel) and len(models) == 1:
        first.set_params(n_jobs=count)
        booster = first.get_booster()
        call = tabular.method_of(first, environment)
        return tabular.Model(
            call,
            origin=tabular.Origin(first, environment.get("KEDGE_PREDICT_METHOD") or "predict", call),
            joinable=True,
            columns=_columns(booster),
            width=booster.num_features(),
        )
    for model in models:
        if not isinstance(model, xgboost.Booster):
            kind = type(model).__name__
            raise LoadError(f"The model file holds a {kind}; an XGBoost Booster or estimator was expected.")
        model.set_param({"nthread": count})
    tabular.only_predict(environment, "a Booster")
    calls = [_call(model) for model in models]
    return tabular.Model(
        predict=calls[0] if len(calls) == 1 else lambda rows: _together(first, [call(rows) for call in calls]),
        origin=tabular.Origin(first, "predict", calls[0]) if len(calls) == 1 else None,
        joinable=True,
        columns=_columns(first),
        width=first.num_features(),
    )


def objective(model: Any) -> tuple[str, int]:
    """The name of what a model was trained for, such as binary:logistic, and its number of classes."""
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    learner = json.loads(booster.save_config())["learner"]
    return learner["objective"]["name"], int(learner["learner_model_param"].get("num_class", 0) or 0)


def decode(body: bytes, content_type: str, columns: Sequence[str] | None, width: int) -> np.ndarray[Any, Any]:
    """As payload.decode, and the two sparse formats, in which a value that is not there is missing (NaN).

    Raises UnsupportedContentType, BadInput and TooLarge.
    """
    kind = payload.media_type(content_type)
    if kind in LIBSVM:
        if not body.strip():
            raise BadInput("The body is empty; rows of values were expected.")
        return joining.dense(payload.libsvm(payload.text(body, content_type)), width)
    if kind == RECORDIO:
        return recordio.rows(body, width)
    if kind == payload.CSV:
        body = body.strip()
    return payload.decode(body, content_type, columns, also=(*LIBSVM, RECORDIO))


def matrix(body: bytes, content_type: str, model: Any) -> Any:
    """What a script gets that has no input_fn: a DMatrix, or an array for an estimator, which takes no other."""
    import xgboost

    rows = payload.rows(decode(body, content_type or payload.JSON, None, 0))
    rows = tabular.numbers(rows) if rows.dtype.kind == "O" else rows
    return rows if isinstance(model, xgboost.XGBModel) else xgboost.DMatrix(rows, nthread=1)


def predict(data: Any, model: Any) -> Any:
    """What a script's model answers that has no predict_fn."""
    import xgboost

    if isinstance(model, xgboost.Booster):
        rows = data if isinstance(data, xgboost.DMatrix) else xgboost.DMatrix(data, nthread=1)
        return model.predict(rows, validate_features=False)
    return model.predict(data)


def _call(booster: Any) -> Callable[[Any], Any]:
    """Its prediction as the container asks for it: up to the best round where training stopped early."""
    import xgboost

    best = booster.attr("best_iteration")
    rounds = (0, int(best) + 1 if best else 0)

    def predict(rows: Any) -> Any:
        data = xgboost.DMatrix(rows, nthread=1)
        return booster.predict(data, iteration_range=rounds, validate_features=False)

    def predict_in_place(rows: Any) -> Any:
        return booster.inplace_predict(rows, iteration_range=rounds, validate_features=False)

    # Only a forest of plain trees answers the same in place, where no copy of the rows is made.
    trees = getattr(booster, "booster", "") == "gbtree" or '"name":"gbtree"' in booster.save_config()
    return predict_in_place if trees else predict


def _together(first: Any, answers: list[Any]) -> Any:
    """The mean, or the most frequent where a model answers with labels."""
    if objective(first)[0] in ("multi:softmax", "binary:hinge"):
        rows = np.stack(answers, axis=1)
        return np.array([_most_frequent(row) for row in rows])
    return np.mean(answers, axis=0)


def _most_frequent(labels: np.ndarray[Any, Any]) -> Any:
    values, counts = np.unique(labels, return_counts=True)
    return values[counts.argmax()]


def _columns(booster: Any) -> list[str] | None:
    return list(booster.feature_names) if booster.feature_names else None


def _read(file: Path) -> Any:
    import xgboost

    if file.suffix in model_files.PICKLES or model_files.is_pickle(file):
        return model_files.unpickle(file)
    # By its content: the name that SageMaker gives it, xgboost-model, says nothing of the format.
    return xgboost.Booster(model_file=bytearray(file.read_bytes()))


def written_by(file: Path) -> str:
    """The version of XGBoost in a model of JSON or UBJSON; "" in one of an older format."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(_TAIL_BYTES)
        stream.seek(max(0, size - _TAIL_BYTES))
        data = head + stream.read()
    if found := re.search(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]', data):
        return ".".join(number.decode() for number in found.groups())
    if packed := re.search(rb"version\[#L\x00{7}\x03i(.)i(.)i(.)", data, re.DOTALL):
        return ".".join(str(number[0]) for number in packed.groups())
    return ""
