"""Finding the one model file of an artifact and reading it; what a failure says.

A model file in the artifact's root is what a user puts there when there is no script.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import platform
import re
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from kedge.serving.runtimes import images
from kedge.serving.runtimes.base import LoadError, last_line

log = logging.getLogger(__name__)

PICKLES = (".joblib", ".pkl", ".pickle")
_ALSO = {"xgboost": ("xgboost-cpu",), "onnxruntime": ("onnxruntime-gpu",), "mlflow": ("mlflow-skinny",)}
"""Distributions that hold the same library."""


def pick(names: Sequence[str], wanted: Sequence[str], suffixes: tuple[str, ...]) -> str:
    """The model file among the files of the artifact's root: one of the wanted names, else the one with such an ending.

    PURE. Raises LoadError.
    """
    named = [name for name in wanted if name in names] or [name for name in names if name.endswith(suffixes)]
    if len(named) == 1:
        return named[0]
    if named:
        raise LoadError(f"The artifact holds several models: {', '.join(named)}. Leave one, or name it {wanted[0]}.")
    held = ", ".join(names[:10]) or "no file"
    raise LoadError(f"The artifact's root holds no model: {held}. Expected {', '.join(wanted)}, or code/inference.py.")


def in_root(artifact: Path) -> list[str]:
    return sorted(entry.name for entry in artifact.iterdir() if entry.is_file())


def library(name: str, extra: str) -> ModuleType:
    """The library that a runtime needs, imported. extra: the optional dependency of Kedge that brings it.

    Raises LoadError.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise LoadError(
                f"Serving this model needs {name}, which is not installed beside Kedge. Install it with: "
                f"pip install 'kedge[{extra}]', or name it in the archive's code/requirements.txt."
            ) from error
        log.exception("%s cannot be imported", name)
        raise LoadError(f"{name} is installed but cannot be imported: {last_line(error)}.") from error


def installed(framework: str) -> str:
    """The version of a framework, by its package's name; "" when it is not installed."""
    for name in (framework, *_ALSO.get(framework, ())):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def read(file: Path, framework: str, reader: Callable[[Path], Any], written_by: Callable[[Path], str]) -> Any:
    """What `reader` makes of the file; its warnings go to the log.

    written_by: finds the version of the framework that wrote the file, "" where the file does not tell.
    Raises LoadError, which says who wrote the file, what runs here, and how to run the former.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = reader(file)
        except LoadError:
            raise
        except BaseException as error:
            log.exception("%s cannot be loaded", file.name)
            raise LoadError(_unreadable(file, framework, written_by(file), error)) from error
    for warning in caught:
        log.warning("while %s was loaded: %s", file.name, warning.message)
    return model


def _unreadable(file: Path, framework: str, written: str, error: BaseException) -> str:
    here = installed(framework)
    by = f"written by {framework} {written}; " if written else ""
    what = f"{file.name} cannot be loaded: {last_line(error)} ({by}this is {framework} {here} on Python "
    what += f"{platform.python_version()})."
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith(_module(framework)):
        missing = error.name.partition(".")[0]
        return f"{what} It needs {missing}: name the package that holds it in the archive's code/requirements.txt."
    return f"{what} {images.pinning(framework, written)}" if written != here else what


def _module(framework: str) -> str:
    return {"scikit-learn": "sklearn"}.get(framework, framework)


def unpickle(file: Path) -> Any:
    """An object that pickle or joblib wrote, whatever the file's ending says."""
    if file.suffix == ".joblib":
        return importlib.import_module("joblib").load(file)
    try:
        with file.open("rb") as stream:
            return pickle.load(stream)  # noqa: S301 (model code is foreign code: the instance is what is confined)
    except (pickle.UnpicklingError, ValueError, KeyError, IndexError, EOFError) as error:
        # joblib.dump is often given a name that ends with .pkl; only joblib reads its arrays and compression.
        try:
            return importlib.import_module("joblib").load(file)
        except Exception:
            log.debug("joblib cannot read %s either", file.name, exc_info=True)
            raise error from None


def is_pickle(file: Path) -> bool:
    """By its first bytes: protocol 2 or later, which every Python since 2003 writes when asked to."""
    with file.open("rb") as stream:
        return re.match(rb"\x80[\x02-\x05]", stream.read(2)) is not None
