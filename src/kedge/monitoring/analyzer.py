"""The program of the image sagemaker-model-monitor-analyzer: data quality, or what analysis_type says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from kedge.monitoring.container import Container
from kedge.monitoring.program import ended, failed

_JOBS = {"": "data_quality.job", "DATA_QUALITY": "data_quality.job", "MODEL_QUALITY": "quality.job"}
"""analysis_type to the module whose `run` does it."""


def main(environment: Mapping[str, str], opt_ml: Path = Path("/opt/ml")) -> int:
    """The exit code; what the job found, or why it failed, is in /opt/ml/output/message and is printed."""
    container, kind = Container(environment, opt_ml), environment.get("analysis_type", "")
    if kind not in _JOBS:
        known = ", ".join(each for each in _JOBS if each)
        return failed(container, f"analysis_type is {kind!r}; it has to be one of {known}.")
    return ended(container, _JOBS[kind])


if __name__ == "__main__":
    sys.exit(main(os.environ))
