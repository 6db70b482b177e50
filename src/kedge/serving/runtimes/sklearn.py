"""A plain scikit-learn model: one file in the artifact's root, no script."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kedge.serving.runtimes import images, joining, model_files, payload, tabular
from kedge.serving.runtimes.base import Answer, Invocation, LoadError, Outcomes
from kedge.serving.runtimes.steps import in_steps

log = logging.getLogger(__name__)

NAMES = ("model.joblib", "model.pkl", "model.pickle", "model.skops")
SUFFIXES = (*model_files.PICKLES, ".skops")
FRAMEWORK = images.FRAMEWORKS[images.SKLEARN]
TAKES = tabular.TAKES
_LONGEST_SEARCH_BYTES = 64 * 1024 * 1024


class SklearnRuntime:
    """Decodes each request to rows, calls one method of the model, encodes each request's part of the result."""

    def __init__(self, model: Any, environment: Mapping[str, str]) -> None:
        """Raises LoadError when the model cannot do what the environment asks for."""
        self._call: Callable[[Any], Any] = tabular.method_of(model, environment)
        method = environment.get("KEDGE_PREDICT_METHOD") or "predict"
        self._default_accept = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or payload.JSON
        names = getattr(model, "feature_names_in_", None)
        self._columns: list[str] | None = None if names is None else [str(name) for name in names]
        self._pandas = _pandas_for(model) if self._columns else None
        self.joinable = self._pandas is None and tabular.joinable(
            environment, joining.rows_are_independent(model, method)
        )
        self.takes = TAKES if self.joinable else 1
        self.origin = None if self._pandas is not None else tabular.Origin(model, method, self._call)
        self._may_join = tabular.joinable(environment, True)
        _one_core_per_call(model)
        # Rows arrive without names, in the order of training; saying so on every request would only fill the log.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        # Taken once: what stands in for the model does so from one batch to the next, not within one.
        call, pandas = self._call, self._pandas

        def predict(data: Any, _: Invocation | None) -> object:
            if pandas is not None:
                data = pandas.DataFrame(data, columns=self._columns).infer_objects()
            return call(data)

        return in_steps(batch, self._decode, predict, self._encode, joinable=self.joinable)

    def stand_in(self, predict: Callable[[Any], Any]) -> None:
        self._call = predict
        self.joinable = self._may_join
        self.takes = TAKES if self.joinable else 1

    def read(self, request: Invocation) -> object:
        return payload.rows(payload.decode(request.body, request.content_type, self._columns))

    def _decode(self, request: Invocation) -> object:
        # Before the model works for an answer that cannot be written.
        payload.negotiate(request.accept, self._default_accept)
        return self.read(request)

    def _encode(self, prediction: object, request: Invocation) -> Answer:
        kind = payload.negotiate(request.accept, self._default_accept)
        return Answer(payload.encode(prediction, kind), kind, request.custom_attributes)


def load(artifact: Path, environment: Mapping[str, str]) -> SklearnRuntime:
    """Raises LoadError."""
    return SklearnRuntime(load_model(artifact, environment), environment)


def load_model(artifact: Path, environment: Mapping[str, str]) -> Any:
    """The object in the artifact's model file. Raises LoadError."""
    file = artifact / model_files.pick(model_files.in_root(artifact), NAMES, SUFFIXES)

    def read(file: Path) -> Any:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = _read_skops(file, environment) if file.suffix == ".skops" else model_files.unpickle(file)
        here = model_files.installed(FRAMEWORK)
        for version in sorted({version for warning in caught if (version := _written_by(warning.message))}):
            pin = images.pinning(FRAMEWORK, version)
            log.warning(
                "%s was written by scikit-learn %s; this is %s: results may differ. %s", file.name, version, here, pin
            )
        for warning in caught:
            if not _written_by(warning.message):
                log.warning("while %s was loaded: %s", file.name, warning.message)
        return model

    return model_files.read(file, FRAMEWORK, read, _version_in)


def _read_skops(file: Path, environment: Mapping[str, str]) -> Any:
    if importlib.util.find_spec("skops") is None:
        raise LoadError(f"{file.name} needs skops; install it with: pip install 'kedge[skops]'.")
    import skops.io

    trusted = {name.strip() for name in environment.get("KEDGE_SKOPS_TRUSTED", "").split(",") if name.strip()}
    unknown = [name for name in skops.io.get_untrusted_types(file=file) if name not in trusted]
    if unknown:
        raise LoadError(
            f"{file.name} holds types that skops does not trust: {', '.join(unknown)}. "
            f"If you do, set KEDGE_SKOPS_TRUSTED={','.join(sorted(trusted | set(unknown)))} in the model's environment."
        )
    return skops.io.load(file, trusted=sorted(trusted))


def _written_by(warning: object) -> str | None:
    """The version in sklearn's InconsistentVersionWarning."""
    version = getattr(warning, "original_sklearn_version", None)
    return None if version is None else str(version)


def _version_in(file: Path) -> str:
    """A pickle holds the version as the text that follows this key."""
    with file.open("rb") as stream:
        found = re.search(rb"_sklearn_version.{1,8}?(\d+\.\d+[\w.]*)", stream.read(_LONGEST_SEARCH_BYTES), re.DOTALL)
    return found[1].decode() if found else ""


def _pandas_for(model: Any) -> Any:
    """pandas when the model picks its columns by name, which only a data frame has; else None. Raises LoadError."""
    if not any(_by_name(part) for part in joining.parts(model)):
        return None
    if importlib.util.find_spec("pandas") is None:
        raise LoadError("The model picks its columns by name, which takes pandas; install it with: pip install pandas.")
    importlib.import_module("pandas")
    return sys.modules["pandas"]


def _by_name(part: Any) -> bool:
    for _, _, columns in getattr(part, "transformers", None) or ():
        each = [columns] if isinstance(columns, str) or callable(columns) else columns
        if isinstance(each, Sequence) and any(isinstance(column, str) or callable(column) for column in each):
            return True
    return False


def _one_core_per_call(model: Any) -> None:
    """A pool of threads costs a small batch more than it gives, and adds up the trees of a forest in any order."""
    for part in joining.parts(model):
        if getattr(part, "n_jobs", None) not in (None, 1):
            part.n_jobs = 1
