"""The program of the image sagemaker-model-monitor-analyzer: data quality, or what analysis_type says."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from kedge.monitoring.container import Container, JobFailed

_JOBS = {"": "data_quality", "DATA_QUALITY": "data_quality", "MODEL_QUALITY": "quality_job"}
"""analysis_type to the module whose `run` does it."""


def main(environment: Mapping[str, str], opt_ml: Path = Path("/opt/ml")) -> int:
    """The exit code; what the job found, or why it failed, is in /opt/ml/output/message and is printed."""
    container = Container(environment, opt_ml)
    try:
        message = _run(container)
    except JobFailed as failed:
        container.end(str(failed), failed=True)
        container.say(str(failed))
        return 1
    container.end(message)
    container.say(message)
    return 0


def _run(container: Container) -> str:
    kind = container.environment.get("analysis_type", "")
    if kind not in _JOBS:
        known = ", ".join(each for each in _JOBS if each)
        raise JobFailed(f"analysis_type is {kind!r}; it has to be one of {known}.")
    try:
        job = importlib.import_module(f"kedge.monitoring.{_JOBS[kind]}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "polars":
            raise JobFailed(
                "Monitoring reads data with polars, which is not installed: pip install 'kedge[monitor]'."
            ) from None
        raise
    said: str = job.run(container)
    return said


if __name__ == "__main__":
    sys.exit(main(os.environ))
