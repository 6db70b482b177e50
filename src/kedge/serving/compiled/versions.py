"""What a result depends on besides the model: what is installed here, and the walker, if it is built."""

from __future__ import annotations

import kedge
from kedge import core
from kedge.serving.runtimes import model_files

_LIBRARIES = ("numpy", "scikit-learn", "xgboost", "lightgbm")


def made_with() -> dict[str, str]:
    """By package its version, and of what is built its sources; "" for what is not there."""
    native = core.NATIVE.stamp()["sources"] if core.found(core.NATIVE).compiled else ""
    return {
        "kedge": kedge.__version__,
        "native": native,
        **{name: model_files.installed(name) for name in _LIBRARIES},
    }
