"""What can run inside an instance. An image's name picks the runtime (`images.choose`); `load` starts it."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path

from kedge import core
from kedge.serving.runtimes.base import LoadError, Runtime
from kedge.serving.runtimes.images import (
    CATBOOST,
    FRAMEWORKS,
    HUGGINGFACE,
    LIGHTGBM,
    MLFLOW,
    ONNX,
    SCRIPT,
    SKLEARN,
    TORCH,
    XGBOOST,
    version_note,
)
from kedge.serving.runtimes.readiness import probe

__all__ = ["IMAGE", "NAMES", "LoadError", "default_accept", "load", "probe", "running_note", "threads"]

__path__ = core.search_path("serving.runtimes", __path__, core.NATIVE)

log = logging.getLogger(__name__)

IMAGE = "KEDGE_IMAGE"
"""The variable that tells an instance which image its model names."""
NAMES = (SKLEARN, SCRIPT, XGBOOST, LIGHTGBM, CATBOOST, ONNX, TORCH, MLFLOW, HUGGINGFACE)
_SPREADING = (ONNX, TORCH, HUGGINGFACE)
"""Where one call is long enough that threads share it with gain."""


def load(name: str, artifact: Path, environment: Mapping[str, str]) -> Runtime:
    """The runtime with its model loaded from the artifact's folder. Raises LoadError.

    A framework serves the artifact's script when it has one, as SageMaker's images do, else its model file. An MLflow
    folder is served by its MLmodel, whatever else it holds.
    """
    # Imported here: whoever only asks for an image's runtime shall not pay for numpy and scikit-learn.
    from kedge.serving.runtimes import script

    if name not in NAMES:
        raise LoadError(f"The runtime {name} is not known; there are {', '.join(NAMES)}.")
    if not artifact.is_dir():
        raise LoadError(f"The artifact {artifact.name} is not there.")
    if note := running_note(name, environment.get(IMAGE, "")):
        log.warning("%s", note)
    if name == SCRIPT or (name != MLFLOW and script.find(artifact, environment) is not None):
        return script.load(artifact, environment, name)
    if name == HUGGINGFACE:
        raise LoadError(
            "The artifact has no code/inference.py. Kedge builds no Hugging Face pipeline by itself: add a script with "
            "model_fn, and name transformers in code/requirements.txt."
        )
    module = importlib.import_module(f"kedge.serving.runtimes.{name}")
    found: Runtime = module.load(artifact, environment)
    return found


def running_note(name: str, image: str) -> str:
    """`images.version_note` with the version that is installed in this process's environment."""
    from kedge.serving.runtimes import model_files

    framework = FRAMEWORKS.get(name, "")
    return version_note(image, model_files.installed(framework)) if image and framework else ""


def default_accept(name: str) -> str:
    """The format of an answer when neither the request nor the model's environment names one."""
    return "text/csv" if name == XGBOOST else "application/json"


def threads(name: str, cores: float) -> int:
    """How many threads a call of the model may use, unless its environment says so (OMP_NUM_THREADS).

    Trees and linear models take one: what a second thread saves on a small batch it loses waiting at the barrier behind
    each tree, most of all when the cores are busy with other instances.
    """
    return max(1, int(cores)) if name in _SPREADING else 1
