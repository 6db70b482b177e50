"""PyTorch: a TorchScript or exported program in the artifact's root, and what a script's handlers default to.

Matrix products over several rows round otherwise than over one, so requests share a call only when KEDGE_JOINABLE says
that this does not matter.
Source of the contract: sagemaker-pytorch-inference-toolkit (default_pytorch_inference_handler.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kedge.serving.runtimes import model_files, named, payload, tabular
from kedge.serving.runtimes.base import Answer, BadInput, Invocation, LoadError, Outcomes, last_line
from kedge.serving.runtimes.steps import in_steps

NAMES = ("model.pt", "model.pth", "model.pt2")
SUFFIXES = (".pt", ".pth", ".pt2")
_TEXTUAL = (payload.JSON, payload.CSV, payload.JSON_LINES)


class TorchRuntime:
    def __init__(self, model: Any, environment: Mapping[str, str]) -> None:
        self._model = model
        self._inputs = _inputs(model)
        self.joinable = tabular.joinable(environment, False) and len(self._inputs) < 2
        self.takes = tabular.TAKES if self.joinable else 1
        self._default_accept = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or payload.JSON

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        return in_steps(batch, self._decode, self._predict, self._encode, joinable=self.joinable)

    def _decode(self, request: Invocation) -> object:
        payload.negotiate(request.accept, self._default_accept)
        return decoded(request.body, request.content_type, self._inputs)

    def _predict(self, data: object, request: Invocation | None) -> object:
        return predict(data, self._model)

    def _encode(self, prediction: object, request: Invocation) -> Answer:
        kind = payload.negotiate(request.accept, self._default_accept)
        return Answer(payload.encode(prediction, kind), kind, request.custom_attributes)


def load(artifact: Path, environment: Mapping[str, str]) -> TorchRuntime:
    """Raises LoadError."""
    return TorchRuntime(load_model(artifact, environment), environment)


def load_model(artifact: Path, environment: Mapping[str, str]) -> Any:
    """Raises LoadError."""
    torch = model_files.library("torch", "torch")
    torch.set_num_threads(tabular.threads(environment))
    file = artifact / model_files.pick(model_files.in_root(artifact), NAMES, SUFFIXES)
    return model_files.read(file, "torch", _read, lambda _: "")


def decoded(body: bytes, content_type: str, inputs: Sequence[str] = ()) -> Any:
    """An array, or one for each input: of 32-bit floats where the body is text, of its own type where it is NPY.

    Raises UnsupportedContentType and BadInput.
    """
    kind = payload.media_type(content_type) or payload.JSON
    found = named.decode(body, content_type, inputs)
    if not isinstance(found, dict):
        return _floats(found) if kind in _TEXTUAL else found
    return {name: _floats(array) for name, array in found.items()}


def tensor(data: Any) -> Any:
    """Arrays as tensors on the device that the model is on; what is a tensor already stays."""
    import torch

    if isinstance(data, dict):
        return {name: tensor(array) for name, array in data.items()}
    # A tensor refuses memory that it may not write, as that of a body is.
    found = torch.from_numpy(np.array(data)) if isinstance(data, np.ndarray) else data
    return found.to(_device()) if isinstance(found, torch.Tensor) else found


def predict(data: Any, model: Any) -> Any:
    """model(data) without gradients, as arrays."""
    import torch

    data = tensor(data)
    with torch.inference_mode():
        return arrays(model(**data) if isinstance(data, dict) else model(data))


def readied(model: Any) -> Any:
    """A module in evaluation mode, on the device; anything else as it is."""
    import torch

    if isinstance(model, torch.nn.Module) and not isinstance(model, torch.fx.GraphModule):
        model.eval()
        model.to(_device())
    return model


def arrays(prediction: Any) -> Any:
    """Every tensor in it as an array, on the host."""
    import torch

    if isinstance(prediction, torch.Tensor):
        found = prediction.detach().cpu()
        return (found.float() if found.dtype is torch.bfloat16 else found).numpy()
    if isinstance(prediction, dict):
        return {name: arrays(value) for name, value in prediction.items()}
    if isinstance(prediction, list | tuple):
        return [arrays(value) for value in prediction]
    return prediction


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _read(file: Path) -> Any:
    import torch

    if file.suffix == ".pt2":
        return torch.export.load(str(file)).module()
    try:
        model = torch.jit.load(str(file), map_location=_device())
    except RuntimeError as error:
        raise LoadError(
            f"{file.name} is no TorchScript program ({last_line(error)[:300]}). Save one with torch.jit.script(model)."
            "save, or put a script with model_fn into code/inference.py that builds the model and loads its state."
        ) from error
    return readied(model)


def _inputs(model: Any) -> list[str]:
    """The names of what `forward` takes, where the program tells."""
    forward = getattr(model, "forward", None)
    schema = getattr(forward, "schema", None)
    if schema is None:
        return []
    return [argument.name for argument in schema.arguments[1:] if argument.default_value is None]


def _floats(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype.kind == "O":
        raise BadInput("The body holds texts; numbers were expected.")
    return array.astype(np.float32)
