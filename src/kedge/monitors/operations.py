"""Everything that can be asked of monitors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kedge.call import Call
from kedge.jobs.machine import JobMachine
from kedge.monitors import alert_operations, definition_operations, execution_operations, schedule_operations


def operations(machine: JobMachine) -> Mapping[str, Callable[[Call, Any], dict[str, Any]]]:
    return {
        **definition_operations.operations(machine),
        **schedule_operations.operations(machine),
        **execution_operations.OPERATIONS,
        **alert_operations.OPERATIONS,
    }
