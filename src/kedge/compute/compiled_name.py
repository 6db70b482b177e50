"""Where what was compiled of a task's model lies. PURE."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import kedge
from kedge.compute.base import TaskSpec
from kedge.home import Home

READ_BY = ("KEDGE_PREDICT_METHOD", "KEDGE_SKOPS_TRUSTED", "SAGEMAKER_INFERENCE_ENSEMBLE", "KEDGE_IMAGE")
"""Of the model's variables, those that say what the model is."""
RUNTIMES = ("sklearn", "xgboost", "lightgbm")
"""Those whose models can be compiled at all."""


def compiled_file(home: Home, spec: TaskSpec) -> Path | None:
    """DATA/compiled/ARTIFACT/NAME, the name by what the result depends on besides the artifact; None where no task of
    this kind is compiled."""
    if spec.containers or spec.runtime not in RUNTIMES or not spec.artifact_sha256:
        return None
    variables = {name: value for name, value in spec.environment.items() if name in READ_BY}
    text = json.dumps([kedge.__version__, spec.runtime, variables], sort_keys=True)
    return home.compiled / spec.artifact_sha256 / hashlib.sha256(text.encode()).hexdigest()[:32]
