"""Which programs the supervisor starts. Tests put small stand-ins in their places."""

from __future__ import annotations

import sys
from dataclasses import dataclass

_ESTIMATORS = (
    "calibration cluster compose decomposition discriminant_analysis dummy ensemble feature_extraction.text "
    "feature_selection impute isotonic kernel_ridge linear_model mixture model_selection multiclass multioutput "
    "naive_bayes neighbors neural_network pipeline preprocessing svm tree"
)
_PRELOADED = (
    *("numpy", "scipy.sparse", "scipy.special", "joblib", "threadpoolctl", "sklearn"),
    *(f"sklearn.{name}" for name in _ESTIMATORS.split()),
    *("kedge.serving.runtimes.sklearn", "kedge.serving.runtimes.script"),
)


def _python(module: str) -> tuple[str, ...]:
    """-P: a file in the folder where somebody typed `kedge up` shall not take a module's place."""
    return (sys.executable, "-P", "-m", module)


@dataclass(frozen=True)
class Programs:
    control: tuple[str, ...] = _python("kedge.app")
    """Gets --listen FD."""
    router: tuple[str, ...] = _python("kedge.serving.router")
    """Gets --listen FD --number N."""
    capture: tuple[str, ...] = _python("kedge.serving.capture.process")
    keeper: tuple[str, ...] = _python("kedge.compute.keeper")
    """Gets --folder FOLDER and --socket-fd FD."""
    fork_server: tuple[str, ...] = _python("kedge.compute.forkserver")
    """Gets the modules to import ahead and --socket-fd FD."""
    worker: str = "kedge.serving.worker"
    """Module that an instance runs: kedge.compute.instance.Request.module."""
    compiler: str = "kedge.serving.compiled.job"
    """Module that compiles a model, alike."""
    preloaded: tuple[str, ...] = _PRELOADED
    """Modules that the fork server imports ahead, besides the worker."""
