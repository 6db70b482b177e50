"""What a result depends on besides the model: the versions of what is installed here."""

from __future__ import annotations

import kedge
from kedge.serving.runtimes import model_files

_LIBRARIES = ("numpy", "scikit-learn", "xgboost", "lightgbm", "onnxruntime")


def made_with() -> dict[str, str]:
    """By package; "" for one that is not installed."""
    return {"kedge": kedge.__version__, **{name: model_files.installed(name) for name in _LIBRARIES}}
