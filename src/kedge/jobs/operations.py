"""Everything that can be asked of jobs. Names of jobs are never free again, as in SageMaker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kedge.call import Call
from kedge.jobs import processing_operations, training_operations, transform_operations
from kedge.jobs.machine import JobMachine


def operations(machine: JobMachine) -> Mapping[str, Callable[[Call, Any], dict[str, Any]]]:
    return {
        **transform_operations.operations(machine),
        **processing_operations.operations(machine),
        **training_operations.operations(machine),
    }
