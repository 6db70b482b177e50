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
    except JobFailed as reason:
        return failed(container, str(reason))
    except Exception as error:  # noqa: BLE001  a reason that nobody foresaw is a reason, too
        traceback.print_exc(file=sys.stdout)
        return failed(container, f"The job failed with {type(error).__name__}: {error}")
    container.end(said)
    container.say(said)
    return 0


def failed(container: Container, reason: str) -> int:
    """The exit code."""
    container.end(reason, failed=True)
    container.say(reason)
    return 1


def outcome(violated: int) -> str:
    """The text that AWS's job ends with, by which a schedule's execution gets its status."""
    if violated:
        return f"CompletedWithViolations: Job completed successfully with {violated} violations."
    return "Completed: Job completed successfully with no violations."


def _job(module: str) -> Any:
    try:
        return importlib.import_module(f"kedge.monitoring.{module}")
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "polars":
            raise JobFailed(
                "Monitoring reads data with polars, which is not installed: pip install 'kedge[monitor]'."
            ) from None
        raise
