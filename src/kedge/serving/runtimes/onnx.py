"""ONNX: a .onnx model in the artifact's root, run by ONNX Runtime.

Matrix products over several rows round otherwise than over one, so requests share a call only when KEDGE_JOINABLE says
that this does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kedge.serving.runtimes import model_files, named, payload, tabular
from kedge.serving.runtimes.base import Answer, BadInput, Invocation, LoadError, Outcomes
from kedge.serving.runtimes.steps import in_steps

NAMES = ("model.onnx",)
SUFFIXES = (".onnx",)
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


class OnnxRuntime:
    def __init__(self, session: Any, environment: Mapping[str, str]) -> None:
        """session: an onnxruntime.InferenceSession. Raises LoadError."""
        self._session = session
        self._inputs = {each.name: each for each in session.get_inputs()}
        for each in self._inputs.values():
            if each.type not in _TYPES:
                raise LoadError(f"The model's input {each.name} is a {each.type}, which no request can hold.")
        self._outputs = _chosen(environment, [each.name for each in session.get_outputs()])
        self.joinable = tabular.joinable(environment, False) and len(self._inputs) == 1 and len(self._outputs) == 1
        self.takes = tabular.TAKES if self.joinable else 1
        self._default_accept = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or payload.JSON

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        return in_steps(batch, self._decode, self._predict, self._encode, joinable=self.joinable)

    def _decode(self, request: Invocation) -> object:
        payload.negotiate(request.accept, self._default_accept)
        found = named.decode(request.body, request.content_type, list(self._inputs))
        if isinstance(found, dict):
            arrays = {name: fitted(array, self._inputs[name]) for name, array in found.items()}
            return arrays if len(arrays) > 1 else next(iter(arrays.values()))
        return fitted(found, next(iter(self._inputs.values())))

    def _predict(self, data: Any, request: Invocation | None) -> object:
        feed = data if isinstance(data, dict) else {next(iter(self._inputs)): data}
        single = [name for name, each in self._inputs.items() if each.shape and each.shape[0] == 1]
        if single and all(len(feed[name]) > 1 for name in single):
            return self._one_by_one(feed)
        found = self._session.run(list(self._outputs), feed)
        return found[0] if len(found) == 1 else dict(zip(self._outputs, found, strict=True))

    def _one_by_one(self, feed: Mapping[str, Any]) -> object:
        """For a model that was exported for one row at a time."""
        count = {len(array) for array in feed.values()}
        if len(count) > 1:
            raise BadInput(f"The inputs have different numbers of rows: {sorted(count)}.")
        each = [
            self._session.run(list(self._outputs), {name: array[at : at + 1] for name, array in feed.items()})
            for at in range(count.pop())
        ]
        joined = [np.concatenate(parts) for parts in zip(*each, strict=True)]
        return joined[0] if len(joined) == 1 else dict(zip(self._outputs, joined, strict=True))

    def _encode(self, prediction: object, request: Invocation) -> Answer:
        kind = payload.negotiate(request.accept, self._default_accept)
        if isinstance(prediction, dict) and kind != payload.JSON:
            # A table holds one answer: the first, which for a converted classifier is the label.
            prediction = next(iter(prediction.values()))
        return Answer(payload.encode(prediction, kind), kind, request.custom_attributes)


def load(artifact: Path, environment: Mapping[str, str]) -> OnnxRuntime:
    """Raises LoadError."""
    return OnnxRuntime(load_model(artifact, environment), environment)


def load_model(artifact: Path, environment: Mapping[str, str]) -> Any:
    """Raises LoadError."""
    onnxruntime = model_files.library("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = tabular.threads(environment)
    options.inter_op_num_threads = 1
    # An instance shares its cores with the router and others: threads that have no work shall not burn them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # CUDA where the wheel brings it; the CPU takes what CUDA cannot.
    providers = [each for each in ("CUDAExecutionProvider",) if each in onnxruntime.get_available_providers()]

    def read(file: Path) -> Any:
        return onnxruntime.InferenceSession(str(file), options, providers=[*providers, "CPUExecutionProvider"])

    file = artifact / model_files.pick(model_files.in_root(artifact), NAMES, SUFFIXES)
    return model_files.read(file, "onnxruntime", read, lambda _: "")


def predict(data: Any, session: Any) -> object:
    """What a script's session answers that has no predict_fn: from one array, or an array by each input's name."""
    inputs = {each.name: each for each in session.get_inputs()}
    feed = data if isinstance(data, dict) else {next(iter(inputs)): data}
    found = session.run(None, {name: fitted(array, inputs[name]) for name, array in feed.items()})
    names = [each.name for each in session.get_outputs()]
    return found[0] if len(found) == 1 else dict(zip(names, found, strict=True))


def fitted(array: np.ndarray[Any, Any], wanted: Any) -> np.ndarray[Any, Any]:
    """In the type and, where it is clear, the shape that an input takes. Raises BadInput.

    wanted: has name, type and shape; a dimension of the shape that is no number is free.
    """
    shape = wanted.shape
    if array.ndim == 1 and len(shape) == 2:
        array = array.reshape(-1, 1) if shape[1] == 1 else array.reshape(1, -1)
    elif array.ndim == 2 and len(shape) == 1 and array.shape[1] == 1:
        array = array[:, 0]
    free = [length if isinstance(length, int) else None for length in shape]
    rows = free[:1] == [1]
    matches = all(
        length in (None, array.shape[at]) or (at == 0 and rows) for at, length in enumerate(free[: array.ndim])
    )
    if array.ndim != len(free) or not matches:
        known = ", ".join("any" if length is None else str(length) for length in free)
        raise BadInput(f"The input {wanted.name} takes the shape ({known}); the body holds {array.shape}.")
    kind = _TYPES[wanted.type]
    if kind is np.object_:
        texts: np.ndarray[Any, Any] = array.astype(str).astype(object)
        return texts
    try:
        if np.issubdtype(kind, np.integer) and array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
            raise BadInput(f"The input {wanted.name} takes whole numbers; the body holds fractions, or NaN.")
        return array.astype(kind)
    except (TypeError, ValueError) as error:
        raise BadInput(f"The input {wanted.name} takes {wanted.type}: {error}.") from error


def _chosen(environment: Mapping[str, str], outputs: Sequence[str]) -> Sequence[str]:
    """Those that KEDGE_ONNX_OUTPUTS names, else all. Raises LoadError."""
    wanted = [name.strip() for name in environment.get("KEDGE_ONNX_OUTPUTS", "").split(",") if name.strip()]
    unknown = [name for name in wanted if name not in outputs]
    if unknown:
        raise LoadError(f"KEDGE_ONNX_OUTPUTS names {', '.join(unknown)}; the model's outputs are {', '.join(outputs)}.")
    return wanted or outputs
