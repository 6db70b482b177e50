"""What the end of an execution says of its schedule: the window was seen, and the alert is decided anew."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import datetime

from kedge.monitors.course import alert_status, ended
from kedge.monitors.describing import ALERT
from kedge.monitors.records import ALERT_CHANGE, PAST, Execution, Past, Schedule, Seen, Status, prefix_of
from kedge.store.records import Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction


def past_of(store: Store | Transaction, scope: Scope, schedule: str) -> Past:
    found = store.get(scope, PAST, schedule.lower())
    return Past() if found is None else Past.of(found.document)


def keep(tx: Transaction, scope: Scope, schedule: str, past: Past) -> None:
    found = tx.get(scope, PAST, schedule.lower())
    if found is None:
        tx.insert(scope, PAST, schedule.lower(), past.document())
    else:
        tx.observe(found, past.document())


def judged(tx: Transaction, resource: Resource, schedule: Schedule, past: Past, now: datetime) -> Schedule:
    """resource: the schedule's."""
    status = alert_status(past.seen, schedule.datapoints_to_alert, schedule.evaluation_period)
    if status == schedule.alert_status:
        return schedule
    name = f"{prefix_of(schedule.name)}{round(now.timestamp() * 1000):015d}-{uuid.uuid4().hex[:8]}"
    told = {"MonitoringScheduleName": schedule.name, "MonitoringAlertName": ALERT}
    tx.insert(resource.scope, ALERT_CHANGE, name, told, status)
    return replace(schedule, alert_status=status, alert_changed_s=now.timestamp())


def over(
    tx: Transaction,
    resource: Resource,
    schedule: Schedule,
    execution: Execution,
    status: Status,
    now: datetime,
    *,
    counts: bool = True,
) -> Schedule:
    """resource: the schedule's. counts: there was data to look at. What was stopped says nothing of its window."""
    after = replace(schedule, current="")
    if status is Status.STOPPED:
        return after
    seen = Seen(
        execution.scheduled_s, execution.start_s, execution.end_s, status.value, counts, execution.apart
    )  # fmt: skip
    past = ended(past_of(tx, resource.scope, schedule.name), seen)
    keep(tx, resource.scope, schedule.name, past)
    return judged(tx, resource, after, past, now)
