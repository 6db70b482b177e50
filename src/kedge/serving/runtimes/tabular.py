"""Serving a model that takes rows of numbers and gives one result a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kedge.serving.runtimes import payload
from kedge.serving.runtimes.base import Answer, BadInput, Invocation, LoadError, Outcomes
from kedge.serving.runtimes.steps import in_steps

TAKES = 1024


@dataclass(frozen=True)
class Origin:
    """What a runtime's answers come from."""

    model: Any
    """As its library has it."""
    method: str
    """The name of the method that answers."""
    predict: Callable[[Any], Any]
    """From rows, shape (n, width), to that method's answer."""


@runtime_checkable
class Compilable(Protocol):
    """A runtime whose model something else may stand in for that answers alike, row by row."""

    @property
    def origin(self) -> Origin | None:
        """None when this model is served by nothing but itself."""

    def read(self, request: Invocation) -> Any:
        """A request's rows. Raises InvocationError."""

    def stand_in(self, predict: Callable[[Any], Any]) -> None:
        """Have it answered from the next batch on. Called by another thread."""


@dataclass(frozen=True)
class Model:
    """What a framework says of a loaded model."""

    predict: Callable[[Any], object]
    """From rows, shape (n, width), to one result a row."""
    joinable: bool
    columns: Sequence[str] | None = None
    """Their names in the order of training, for rows that come as JSON objects."""
    width: int = 0
    """How many columns it takes; 0 when it does not say."""
    numeric: bool = True
    """False: texts are passed on as they are."""
    origin: Origin | None = None


class TabularRuntime:
    """Decodes each request to rows, calls the model, encodes each request's part of the result."""

    def __init__(self, model: Model, environment: Mapping[str, str], default_accept: str = payload.JSON) -> None:
        """Raises LoadError."""
        self.model = model
        self.joinable = joinable(environment, model.joinable)
        self.takes = TAKES if self.joinable else 1
        self._may_join = joinable(environment, True)
        self._default_accept = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or default_accept

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        # Taken once: what stands in for the model does so from one batch to the next, not within one.
        predict = self.model.predict
        return in_steps(batch, self._decode, lambda data, _: predict(data), self._encode, joinable=self.joinable)

    @property
    def origin(self) -> Origin | None:
        return self.model.origin

    def stand_in(self, predict: Callable[[Any], Any]) -> None:
        self.model = replace(self.model, predict=predict)
        self.joinable = self._may_join
        self.takes = TAKES if self.joinable else 1

    def _decode(self, request: Invocation) -> object:
        # Before the model works for an answer that cannot be written.
        payload.negotiate(request.accept, self._default_accept)
        return checked(self.read(request), self.model)

    def read(self, request: Invocation) -> np.ndarray[Any, Any]:
        return payload.rows(payload.decode(request.body, request.content_type, self.model.columns))

    def _encode(self, prediction: object, request: Invocation) -> Answer:
        kind = payload.negotiate(request.accept, self._default_accept)
        return Answer(self.write(prediction, kind), kind, request.custom_attributes)

    def write(self, prediction: object, kind: str) -> bytes:
        return payload.encode(prediction, kind)


def joinable(environment: Mapping[str, str], surely: bool) -> bool:
    """What KEDGE_JOINABLE says, else what is surely so. Raises LoadError."""
    declared = environment.get("KEDGE_JOINABLE", "").lower()
    if declared not in ("", "true", "false"):
        raise LoadError(f"KEDGE_JOINABLE is {declared}; it has to be true or false.")
    return declared == "true" if declared else surely


def checked(array: np.ndarray[Any, Any], model: Model) -> np.ndarray[Any, Any]:
    """The rows as the model takes them. Raises BadInput for another number of columns, and for texts."""
    if array.ndim != 2:
        raise BadInput(f"The body holds an array of {array.ndim} dimensions; rows of columns were expected.")
    if model.width and array.shape[1] != model.width:
        raise BadInput(f"A row has {array.shape[1]} columns; the model takes {model.width}.")
    if model.numeric and array.dtype.kind == "O":
        return numbers(array)
    return array


def numbers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of objects as float64, a missing one as NaN. Raises BadInput."""
    try:
        return np.array([[np.nan if value in (None, "") else float(value) for value in row] for row in array.tolist()])
    except (TypeError, ValueError) as error:
        raise BadInput(f"The model takes numbers only: {error}.") from error


def method_of(model: Any, environment: Mapping[str, str]) -> Callable[[Any], object]:
    """The method of an estimator with scikit-learn's interface that KEDGE_PREDICT_METHOD names. Raises LoadError."""
    name = environment.get("KEDGE_PREDICT_METHOD") or "predict"
    if name not in METHODS:
        raise LoadError(f"KEDGE_PREDICT_METHOD is {name}; it has to be one of {', '.join(METHODS)}.")
    call = getattr(model, name, None)
    if not callable(call):
        raise LoadError(f"The model is a {type(model).__name__}, which has no {name}.")
    found: Callable[[Any], object] = call
    return found


METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples", "transform")


def only_predict(environment: Mapping[str, str], what: str) -> None:
    """Raises LoadError when KEDGE_PREDICT_METHOD asks a model for more than it has."""
    name = environment.get("KEDGE_PREDICT_METHOD") or "predict"
    if name != "predict":
        raise LoadError(f"KEDGE_PREDICT_METHOD is {name}; {what} has only predict.")


def threads(environment: Mapping[str, str]) -> int:
    """How many a call of the model may use."""
    count = environment.get("OMP_NUM_THREADS", "")
    return max(1, int(count)) if count.isdecimal() else 1
