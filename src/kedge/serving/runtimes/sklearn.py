"""A plain scikit-learn model: one file in the artifact's root, no script."""

from __future__ import annotations

import importlib.util
import logging
import pickle
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kedge.serving.runtimes import joining, payload
from kedge.serving.runtimes.base import Answer, Invocation, LoadError, Outcomes, last_line
from kedge.serving.runtimes.steps import in_steps

log = logging.getLogger(__name__)

NAMES = ("model.joblib", "model.pkl", "model.pickle", "model.skops")
SUFFIXES = (".joblib", ".pkl", ".pickle", ".skops")
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "score_samples", "transform")
TAKES = 1024
_LONGEST_SEARCH_BYTES = 64 * 1024 * 1024


class SklearnRuntime:
    """Decodes each request to rows, calls one method of the model, encodes each request's part of the result."""

    def __init__(self, model: Any, environment: Mapping[str, str]) -> None:
        """Raises LoadError when the model cannot do what the environment asks for."""
        self._method = environment.get("KEDGE_PREDICT_METHOD") or "predict"
        if self._method not in METHODS:
            raise LoadError(f"KEDGE_PREDICT_METHOD is {self._method}; it has to be one of {', '.join(METHODS)}.")
        call = getattr(model, self._method, None)
        if not callable(call):
            raise LoadError(f"The model is a {type(model).__name__}, which has no {self._method}.")
        self._call: Callable[[Any], object] = call
        self._default_accept = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or payload.JSON
        names = getattr(model, "feature_names_in_", None)
        self._columns: list[str] | None = None if names is None else [str(name) for name in names]
        self._pandas = _pandas_for(model) if self._columns else None
        self.joinable = self._pandas is None and _joinable(model, self._method, environment)
        self.takes = TAKES if self.joinable else 1
        _one_core_per_call(model)
        # Rows arrive without names, in the order of training; saying so on every request would only fill the log.
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        return in_steps(batch, self._decode, self._predict, self._encode, joinable=self.joinable)

    def _decode(self, request: Invocation) -> object:
        # Before the model works for an answer that cannot be written.
        payload.negotiate(request.accept, self._default_accept)
        return payload.rows(payload.decode(request.body, request.content_type, self._columns))

    def _predict(self, data: Any, request: Invocation | None) -> object:
        if self._pandas is not None:
            data = self._pandas.DataFrame(data, columns=self._columns).infer_objects()
        return self._call(data)

    def _encode(self, prediction: object, request: Invocation) -> Answer:
        kind = payload.negotiate(request.accept, self._default_accept)
        return Answer(payload.encode(prediction, kind), kind, request.custom_attributes)


def load(artifact: Path, environment: Mapping[str, str]) -> SklearnRuntime:
    """Raises LoadError."""
    return SklearnRuntime(load_model(artifact, environment), environment)


def load_model(artifact: Path, environment: Mapping[str, str]) -> Any:
    """The object in the artifact's model file. Raises LoadError."""
    path = find(sorted(entry.name for entry in artifact.iterdir() if entry.is_file()))
    file = artifact / path
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = _read(file, environment)
        except LoadError:
            raise
        except BaseException as error:
            log.exception("%s cannot be loaded", path)
            raise LoadError(f"{path} cannot be loaded: {last_line(error)} ({_versions(file)}).") from error
    written_by = {version for warning in caught if (version := _written_by(warning.message))}
    for version in sorted(written_by):
        log.warning("%s was written by scikit-learn %s; this is %s: results may differ", path, version, _installed())
    for warning in caught:
        if not _written_by(warning.message):
            log.warning("while %s was loaded: %s", path, warning.message)
    return model


def find(names: Sequence[str]) -> str:
    """The model file among the files of the artifact's root. PURE. Raises LoadError."""
    named = [name for name in NAMES if name in names] or [name for name in names if name.endswith(SUFFIXES)]
    if len(named) == 1:
        return named[0]
    if named:
        raise LoadError(f"The artifact holds several models: {', '.join(named)}. Leave one, or name it {NAMES[0]}.")
    held = ", ".join(names[:10]) or "no file"
    raise LoadError(f"The artifact's root holds no model: {held}. Expected {', '.join(NAMES)}, or code/inference.py.")


def _read(file: Path, environment: Mapping[str, str]) -> Any:
    if file.suffix == ".skops":
        return _read_skops(file, environment)
    if file.suffix == ".joblib":
        import joblib

        return joblib.load(file)
    try:
        with file.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301 (model code is foreign code: the instance is what is confined)
    except (pickle.UnpicklingError, ValueError, KeyError, IndexError, EOFError) as error:
        # joblib.dump is often given a name that ends with .pkl; only joblib reads its arrays and compression.
        import joblib

        try:
            return joblib.load(file)
        except Exception:
            log.debug("joblib cannot read %s either", file.name, exc_info=True)
            raise error from None


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


def _versions(file: Path) -> str:
    found = None
    with file.open("rb") as stream:
        # A pickle holds the version as the text that follows this key.
        found = re.search(rb"_sklearn_version.{1,8}?(\d+\.\d+[\w.]*)", stream.read(_LONGEST_SEARCH_BYTES), re.DOTALL)
    written = f"written by scikit-learn {found[1].decode()}; " if found else ""
    return f"{written}this is scikit-learn {_installed()} on Python {platform.python_version()}"


def _installed() -> str:
    import sklearn

    return str(sklearn.__version__)


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


def _joinable(model: Any, method: str, environment: Mapping[str, str]) -> bool:
    declared = environment.get("KEDGE_JOINABLE", "").lower()
    if declared not in ("", "true", "false"):
        raise LoadError(f"KEDGE_JOINABLE is {declared}; it has to be true or false.")
    return declared == "true" if declared else joining.rows_are_independent(model, method)


def _one_core_per_call(model: Any) -> None:
    """A pool of threads costs a small batch more than it gives, and adds up the trees of a forest in any order."""
    for part in joining.parts(model):
        if getattr(part, "n_jobs", None) not in (None, 1):
            part.n_jobs = 1
