"""ListMonitoringExecutions, and Kedge's own call that asks for an execution at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.errors import ResourceNotFound, ValidationFailed
from kedge.monitors.describing import arn_of, execution_summary
from kedge.monitors.records import EXECUTION, SCHEDULE, Execution, Schedule, ScheduleStatus, prefix_of
from kedge.store.records import Author, Resource

PATH = "/kedge/monitors"


def list_monitoring_executions(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Those of deleted schedules are among them. Of all schedules they come in the order in which they began."""
    after, before = request.get("ScheduledTimeAfter"), request.get("ScheduledTimeBefore")
    name = request.get("MonitoringScheduleName", "")

    def fits(each: Resource) -> bool:
        execution = Execution.of(each.document)
        asked = {
            "EndpointName": str(execution.monitor["input"].get("EndpointName", "")),
            "MonitoringJobDefinitionName": str(execution.monitor["definition"]),
            "MonitoringTypeEquals": execution.kind,
        }
        return (
            all(request.get(member, value).lower() == value.lower() for member, value in asked.items())
            and (after is None or execution.scheduled >= after)
            and (before is None or execution.scheduled < before)
        )

    if not name and request.get("SortBy") == "ScheduledTime":
        request = {**request, "SortBy": "CreationTime"}
    prefix = prefix_of(name) if name else ""
    found, following = listing.resources(call, EXECUTION, request, name_prefix=prefix, fits=fits)
    return {"MonitoringExecutionSummaries": [execution_summary(each) for each in found], **following}


def ask(call: Call, body: bytes) -> dict[str, Any]:
    """An execution of a schedule at once, whatever its times say, and also while it is stopped.

    Needs sagemaker:StartMonitoringSchedule. Raises ValidationFailed, ResourceNotFound.
    """
    try:
        name = json.loads(body)["MonitoringScheduleName"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name = None
    if not isinstance(name, str):
        raise ValidationFailed('The body has to be {"MonitoringScheduleName": NAME}.')
    own_arn = arn_of(call.scope, name)
    call.require(call, "sagemaker:StartMonitoringSchedule", own_arn, {})
    at_s = call.now.timestamp()
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found = tx.get(call.scope, SCHEDULE, name.lower())
        if found is None:
            raise ResourceNotFound(f'Could not find monitoring schedule "{own_arn}".')
        schedule = Schedule.of(found.document)
        if found.status == ScheduleStatus.FAILED:
            raise ValidationFailed(f'The monitoring schedule "{own_arn}" is Failed: {schedule.failure_reason}')
        if schedule.asked_s is None:
            tx.update(found, replace(schedule, asked_s=at_s).document())
    return {"MonitoringScheduleName": schedule.name, "ScheduledTime": schedule.asked_s or at_s}


OPERATIONS: Mapping[str, Callable[[Call, Any], dict[str, Any]]] = {
    "sagemaker.ListMonitoringExecutions": list_monitoring_executions
}
