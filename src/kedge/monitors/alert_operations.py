"""The alert that every monitoring schedule has: how it is set, what it says, and what it said before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.errors import ResourceNotFound
from kedge.monitors.alerting import judged, past_of
from kedge.monitors.describing import ALERT, alert_summary, announce, arn_of, change_summary
from kedge.monitors.records import ALERT_CHANGE, SCHEDULE, Schedule, prefix_of
from kedge.store.records import Author, Resource
from kedge.store.store import Store, Transaction

Answer = dict[str, Any]


def list_monitoring_alerts(call: Call, request: Mapping[str, Any]) -> Answer:
    return {"MonitoringAlertSummaries": [alert_summary(_found(call, call.store, request))]}


def update_monitoring_alert(call: Call, request: Mapping[str, Any]) -> Answer:
    """It is decided at once, by the executions that there were."""
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found = _found(call, tx, request)
        changed = replace(
            Schedule.of(found.document),
            datapoints_to_alert=request["DatapointsToAlert"],
            evaluation_period=request["EvaluationPeriod"],
            alert_changed_s=call.now.timestamp(),
        )
        after = judged(tx, found, changed, past_of(tx, call.scope, changed.name), call.now)
        announce(tx, tx.observe(found, after.document()))
    return {"MonitoringScheduleArn": arn_of(call.scope, changed.name), "MonitoringAlertName": ALERT}


def list_monitoring_alert_history(call: Call, request: Mapping[str, Any]) -> Answer:
    name, alert = request.get("MonitoringScheduleName"), request.get("MonitoringAlertName")
    if name is not None:
        _found(call, call.store, {"MonitoringScheduleName": name})
    prefix = "" if name is None else prefix_of(name)
    found, following = listing.resources(
        call, ALERT_CHANGE, request, name_prefix=prefix,
        fits=lambda each: alert in (None, each.document["MonitoringAlertName"]),
    )  # fmt: skip
    return {"MonitoringAlertHistory": [change_summary(each) for each in found], **following}


def _found(call: Call, store: Store | Transaction, request: Mapping[str, Any]) -> Resource:
    name = request["MonitoringScheduleName"]
    found = store.get(call.scope, SCHEDULE, name.lower())
    if found is None:
        raise ResourceNotFound(f'Could not find monitoring schedule "{arn_of(call.scope, name)}".')
    alert = request.get("MonitoringAlertName", ALERT)
    if alert != ALERT:
        raise ResourceNotFound(
            f'The monitoring schedule "{arn_of(call.scope, name)}" has no alert "{alert}"; it has "{ALERT}".'
        )
    return found


OPERATIONS: Mapping[str, Callable[[Call, Any], Answer]] = {
    "sagemaker.ListMonitoringAlerts": list_monitoring_alerts,
    "sagemaker.UpdateMonitoringAlert": update_monitoring_alert,
    "sagemaker.ListMonitoringAlertHistory": list_monitoring_alert_history,
}
