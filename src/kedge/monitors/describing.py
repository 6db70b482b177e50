"""How schedules, executions and alerts look to their readers, in answers and in events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge import arn
from kedge.jobs.events import arn_of as job_arn
from kedge.jobs.events import in_ms
from kedge.jobs.program_records import PROCESSING
from kedge.monitors.records import EXECUTION, SCHEDULE, Execution, Schedule, time
from kedge.store.records import Resource, Scope
from kedge.store.store import Store, Transaction
from kedge.tags.attach import read

SOURCE, STATE_CHANGE = "aws.sagemaker", "SageMaker Monitoring Schedule State Change"
ALERT = "DefaultAlert"
"""The one that every schedule has."""

Shown = dict[str, Any]


def arn_of(scope: Scope, name: str) -> str:
    """Of a schedule."""
    return arn.sagemaker(scope.region, scope.account, SCHEDULE, name)


def description(store: Store | Transaction, resource: Resource) -> Shown:
    schedule = Schedule.of(resource.document)
    shown = {**_head(resource, schedule), "MonitoringScheduleConfig": schedule.config}
    if schedule.failure_reason:
        shown["FailureReason"] = schedule.failure_reason
    last = store.get(resource.scope, EXECUTION, schedule.last) if schedule.last else None
    if last is not None:
        shown["LastMonitoringExecutionSummary"] = execution_summary(last)
    return shown


def summary(resource: Resource) -> Shown:
    schedule = Schedule.of(resource.document)
    shown = _head(resource, schedule)
    return shown | ({"MonitoringJobDefinitionName": schedule.definition} if schedule.definition else {})


def _head(resource: Resource, schedule: Schedule) -> Shown:
    shown = {
        "MonitoringScheduleName": schedule.name,
        "MonitoringScheduleArn": arn_of(resource.scope, schedule.name),
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.modified_at,
        "MonitoringScheduleStatus": resource.status,
        "MonitoringType": schedule.kind,
    }
    return shown | ({"EndpointName": schedule.endpoint} if schedule.endpoint else {})


def execution_summary(resource: Resource) -> Shown:
    execution = Execution.of(resource.document)
    shown: Shown = {
        "MonitoringScheduleName": execution.schedule,
        "ScheduledTime": execution.scheduled,
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.modified_at,
        "MonitoringExecutionStatus": resource.status,
        "MonitoringType": execution.kind,
    }
    if execution.job:
        shown["ProcessingJobArn"] = job_arn(resource.scope, execution.job, PROCESSING)
    given = {
        "EndpointName": execution.monitor.get("input", {}).get("EndpointName"),
        "FailureReason": execution.failure_reason,
        "MonitoringJobDefinitionName": execution.monitor.get("definition"),
    }
    return shown | {member: value for member, value in given.items() if value}


def alert_summary(resource: Resource) -> Shown:
    schedule = Schedule.of(resource.document)
    return {
        "MonitoringAlertName": ALERT,
        "CreationTime": resource.created_at,
        "LastModifiedTime": time(schedule.alert_changed_s) if schedule.alert_changed_s else resource.created_at,
        "AlertStatus": schedule.alert_status,
        "DatapointsToAlert": schedule.datapoints_to_alert,
        "EvaluationPeriod": schedule.evaluation_period,
        "Actions": {"ModelDashboardIndicator": {"Enabled": True}},
    }


def change_summary(resource: Resource) -> Mapping[str, Any]:
    return {
        "MonitoringScheduleName": resource.document["MonitoringScheduleName"],
        "MonitoringAlertName": resource.document["MonitoringAlertName"],
        "CreationTime": resource.created_at,
        "AlertStatus": resource.status,
    }


def announce(tx: Transaction, resource: Resource) -> None:
    """resource: a schedule, as it is after a change of its own state or of its last execution's."""
    shown = in_ms(description(tx, resource))
    tags = read(tx, resource.scope, arn_of(resource.scope, resource.document["name"]))
    detail = {**shown, "Tags": {tag["Key"]: tag["Value"] for tag in tags}}
    tx.emit(SOURCE, STATE_CHANGE, detail, resource.scope)
