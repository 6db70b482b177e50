"""An MLflow model folder: the file MLmodel with its pyfunc flavor, served as MLflow's own scoring server does.

What a model does with several rows at once is its own affair, so requests never share a call.
Source of the formats: MLflow's documentation, "Inference Server Specification".
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kedge.serving.runtimes import model_files, payload
from kedge.serving.runtimes.base import Answer, BadInput, Invocation, LoadError, Outcomes, UnsupportedContentType
from kedge.serving.runtimes.base import last_line as said
from kedge.serving.runtimes.steps import in_steps

MODEL = "MLmodel"
_FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class MlflowRuntime:
    joinable = False
    takes = 1

    def __init__(self, model: Any) -> None:
        """model: an mlflow.pyfunc.PyFuncModel."""
        self._model = model
        self._schema = model.metadata.get_input_schema() if model.metadata else None
        self._parameters = model.metadata.get_params_schema() if hasattr(model.metadata, "get_params_schema") else None

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        return in_steps(batch, self._decode, self._predict, self._encode, joinable=False)

    def _decode(self, request: Invocation) -> object:
        payload.negotiate(request.accept)
        kind = payload.media_type(request.content_type) or payload.JSON
        if not request.body:
            raise BadInput("The body is empty.")
        if kind == payload.CSV:
            return self._from_csv(payload.text(request.body, request.content_type)), None
        if kind != payload.JSON:
            raise UnsupportedContentType(f"Content type {kind} is not supported; send application/json or text/csv.")
        data = payload.parsed(request.body, request.content_type)
        if not isinstance(data, dict) or len(given := [name for name in _FORMATS if name in data]) != 1:
            raise BadInput(f"The body has to be a JSON object with exactly one of {', '.join(_FORMATS)}.")
        strange = set(data) - {*_FORMATS, "params"}
        if strange and given[0] not in ("inputs", "instances"):
            raise BadInput(f"The body has members that are not known: {', '.join(sorted(strange))}.")
        parameters = data.get("params")
        if parameters is not None and not isinstance(parameters, dict):
            raise BadInput('"params" is no JSON object.')
        return self._parsed(data, given[0]), parameters

    def _parsed(self, data: Mapping[str, Any], name: str) -> Any:
        from mlflow.utils import proto_json_utils

        try:
            if name == "dataframe_split":
                return proto_json_utils.dataframe_from_parsed_json(data[name], "split", self._schema)
            if name == "dataframe_records":
                return proto_json_utils.dataframe_from_parsed_json(data[name], "records", self._schema)
            return proto_json_utils.parse_tf_serving_input({name: data[name]}, self._schema)
        except Exception as error:
            raise BadInput(f"{name} cannot be read: {said(error)[:1024]}") from error

    def _from_csv(self, content: str) -> Any:
        import pandas

        types: dict[str, Any] | None = None
        if self._schema is not None and self._schema.has_input_names():
            types = dict(zip(self._schema.input_names(), self._schema.pandas_types(), strict=True))
        try:
            # The header names the columns, as MLflow's server takes it.
            return pandas.read_csv(io.StringIO(content), dtype=types)
        except (ValueError, TypeError) as error:
            raise BadInput(f"The body is not CSV with a header: {said(error)[:1024]}") from error

    def _predict(self, data: Any, request: Invocation | None) -> object:
        from mlflow.exceptions import MlflowException

        rows, parameters = data
        try:
            return self._model.predict(rows, params=parameters) if parameters else self._model.predict(rows)
        except MlflowException as error:
            if error.get_http_status_code() < 500:
                raise BadInput(str(error)[:2048]) from error
            raise

    def _encode(self, prediction: Any, request: Invocation) -> Answer:
        kind = payload.negotiate(request.accept)
        if kind == payload.JSON:
            return Answer(payload.encode({"predictions": _plain(prediction)}, kind), kind, request.custom_attributes)
        table = prediction.to_numpy() if hasattr(prediction, "to_numpy") else prediction
        return Answer(payload.encode(table, kind), kind, request.custom_attributes)


def find(artifact: Path) -> Path | None:
    """The folder that holds MLmodel: the artifact's root, or the one folder in it that does."""
    if (artifact / MODEL).is_file():
        return artifact
    found = sorted(entry.parent for entry in artifact.glob(f"*/{MODEL}") if entry.is_file())
    return found[0] if len(found) == 1 else None


def load(artifact: Path, environment: Mapping[str, str]) -> MlflowRuntime:
    """Raises LoadError."""
    folder = find(artifact)
    if folder is None:
        raise LoadError(f"The artifact holds no {MODEL} in its root, nor in exactly one folder of it.")
    return MlflowRuntime(load_model(folder, environment))


def load_model(folder: Path, environment: Mapping[str, str]) -> Any:
    """Raises LoadError."""
    # It would report its use over the network.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    model_files.library("mlflow", "mlflow")
    pyfunc = model_files.library("mlflow.pyfunc", "mlflow")
    return model_files.read(folder / MODEL, "mlflow", lambda file: pyfunc.load_model(str(file.parent)), _written_by)


def _written_by(file: Path) -> str:
    for line in file.read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == "mlflow_version":
            return value.strip().strip("'\"")
    return ""


def _plain(prediction: Any) -> Any:
    """A data frame as a list of objects, one a row; a series as a list."""
    if hasattr(prediction, "to_dict") and hasattr(prediction, "columns"):
        return prediction.to_dict(orient="records")
    return prediction.tolist() if hasattr(prediction, "tolist") else prediction
