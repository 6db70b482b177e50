"""What stands in for a script's handlers that are not there, for each framework, as its SageMaker container has it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge.serving.runtimes import images, payload
from kedge.serving.runtimes.base import LoadError


def _as_it_is(value: Any) -> Any:
    return value


def _predict(data: Any, model: Any) -> object:
    return model.predict(data)


def _decode(body: bytes, content_type: str, model: Any) -> object:
    return payload.decode(body, content_type)


@dataclass(frozen=True)
class Defaults:
    load: Callable[[Path, Mapping[str, str]], Any]
    """model_fn: from the artifact and the environment. Raises LoadError."""
    ready: Callable[[Any], Any] = _as_it_is
    """What is done to a model once, also to one that the script's own model_fn gave."""
    decode: Callable[[bytes, str, Any], object] = _decode
    """input_fn: from the body, its type and the model."""
    predict: Callable[[Any, Any], object] = _predict
    """predict_fn: from data and model."""
    plain: Callable[[Any], Any] = _as_it_is
    """Before output_fn's default: a prediction as something that JSON, CSV and NPY can hold."""


def of(runtime: str) -> Defaults:
    """runtime: a name of `images`. What it needs is imported only when it is used."""
    if runtime == images.TORCH:
        return Defaults(
            load=_lazily("torch", "load_model"),
            ready=_lazily("torch", "readied"),
            decode=lambda body, kind, model: _call("torch", "tensor", _call("torch", "decoded", body, kind)),
            predict=_lazily("torch", "predict"),
            plain=_lazily("torch", "arrays"),
        )
    if runtime == images.HUGGINGFACE:
        return Defaults(load=_no_model, decode=_json, predict=_pipeline)
    if runtime == images.XGBOOST:
        return Defaults(load=_lazily("xgboost", "load_model"), decode=_xgboost, predict=_lazily("xgboost", "predict"))
    if runtime == images.ONNX:
        return Defaults(load=_lazily("onnx", "load_model"), predict=_lazily("onnx", "predict"))
    if runtime in (images.LIGHTGBM, images.CATBOOST):
        return Defaults(load=_lazily(runtime, "load_model"))
    return Defaults(load=_lazily("sklearn", "load_model"))


def _xgboost(body: bytes, content_type: str, model: Any) -> object:
    return _call("xgboost", "matrix", body, content_type, model)


def _json(body: bytes, content_type: str, model: Any) -> object:
    if payload.media_type(content_type) in ("", payload.JSON):
        return payload.parsed(body, content_type)
    return payload.decode(body, content_type)


def _pipeline(data: Any, model: Any) -> object:
    """As SageMaker's Hugging Face toolkit calls a pipeline: {"inputs": ..., "parameters": {...}}."""
    if not isinstance(data, dict):
        return model(data)
    rest = dict(data)
    inputs = rest.pop("inputs", rest)
    parameters = data.get("parameters") or {}
    return model(inputs, **parameters)


def _no_model(artifact: Path, environment: Mapping[str, str]) -> Any:
    raise LoadError(
        "The script has no model_fn. Kedge builds no Hugging Face pipeline by itself: define model_fn(model_dir)."
    )


def _lazily(module: str, name: str) -> Callable[..., Any]:
    return lambda *arguments: _call(module, name, *arguments)


def _call(module: str, name: str, *arguments: Any) -> Any:
    return getattr(importlib.import_module(f"kedge.serving.runtimes.{module}"), name)(*arguments)
