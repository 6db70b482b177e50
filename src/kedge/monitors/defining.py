"""What a monitoring schedule is to do, by its configuration and the job definition that this names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.errors import ValidationFailed
from kedge.monitors import monitor
from kedge.monitors.kinds import KINDS
from kedge.monitors.monitor import Monitor
from kedge.store.records import Scope
from kedge.store.store import Store, Transaction


def monitor_of(store: Store | Transaction, scope: Scope, config: Mapping[str, Any]) -> Monitor:
    """config: a MonitoringScheduleConfig. Raises ValidationFailed."""
    inline, name = config.get("MonitoringJobDefinition"), config.get("MonitoringJobDefinitionName")
    if (inline is None) == (name is None):
        raise ValidationFailed(
            "MonitoringScheduleConfig has to have one of MonitoringJobDefinition and MonitoringJobDefinitionName."
        )
    kind = config.get("MonitoringType")
    if inline is not None:
        if kind not in (None, "DataQuality"):
            raise ValidationFailed(
                f"MonitoringScheduleConfig.MonitoringType is {kind} with a MonitoringJobDefinition, which is of "
                "DataQuality; for another type name a job definition."
            )
        return monitor.of_inline(inline)
    for each in [KINDS[kind]] if kind else KINDS.values():
        found = store.get(scope, each.resource, str(name).lower())
        if found is not None:
            return monitor.of_definition(each, found.document)
    said = KINDS[kind].said if kind else "monitoring job definition"
    raise ValidationFailed(f'Could not find {said} "{name}".')
