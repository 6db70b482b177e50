"""How a container's program runs its job and ends."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Any

from kedge.monitoring.container import Container, JobFailed


def ended(container: Container, module: str, *given: Any) -> int:
    """The exit code. What `run` says at its end, or why it failed, is in /opt/ml/output/message and in the log."""
    try:
        said: str = _job(module).run(container, *given)
    except JobFailed as failed:
        container.end(str(failed), failed=True)
        container.say(str(failed))
        return 1
    except Exception as error:  # noqa: BLE001  a reason that nobody foresaw is a reason, too
        traceback.print_exc(file=sys.stdout)
        container.end(f"The job failed with {type(error).__name__}: {error}", failed=True)
        return 1
    container.end(said)
    container.say(said)
    return 0


def _job(module: str) -> Any:
    try:
        return importlib.import_module(f"kedge.monitoring.{module}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "polars":
            raise JobFailed(
                "Monitoring reads data with polars, which is not installed: pip install 'kedge[monitor]'."
            ) from None
        raise
