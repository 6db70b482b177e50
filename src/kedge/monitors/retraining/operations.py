"""Kedge's own calls for retrainings: look at them, ask for one, stop one. AWS has no such calls."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kedge.call import Call
from kedge.errors import ResourceNotFound, ValidationFailed
from kedge.monitors.alerting import past_of
from kedge.monitors.describing import arn_of
from kedge.monitors.finding import LOOKED
from kedge.monitors.records import EXECUTION, SCHEDULE, Schedule, at_of, prefix_of
from kedge.monitors.retraining import asking
from kedge.monitors.retraining.announcing import shown
from kedge.monitors.retraining.records import GOING, KIND, Phase, Run
from kedge.monitors.retraining.settings import TAG, of_tags
from kedge.store.records import Author, Resource
from kedge.store.store import Store, Transaction
from kedge.tags.attach import read as read_tags

PATH = "/kedge/monitors/retraining"
BEGIN, STOP = "Begin", "Stop"
SHOWN = 50

Answer = dict[str, Any]


def retrainings(call: Call, asked: Mapping[str, str]) -> Answer:
    """The newest of a schedule, also of one that was deleted. Needs sagemaker:DescribeMonitoringSchedule."""
    name = asked.get("MonitoringScheduleName", "")
    if not name:
        raise ValidationFailed("MonitoringScheduleName is not given.")
    call.require(call, "sagemaker:DescribeMonitoringSchedule", arn_of(call.scope, name), {})
    found = call.store.list(call.scope, KIND, name_prefix=prefix_of(name), descending=True, limit=SHOWN).items
    return {"Retrainings": [shown(each) for each in found]}


def ask(call: Call, body: bytes) -> Answer:
    """body: JSON, {"MonitoringScheduleName": NAME, "Action": "Begin" or "Stop"}.

    Needs sagemaker:StartMonitoringSchedule or StopMonitoringSchedule. Raises ValidationFailed, ResourceNotFound.
    """
    name, action = _asked(body)
    verb = "Start" if action == BEGIN else "Stop"
    call.require(call, f"sagemaker:{verb}MonitoringSchedule", arn_of(call.scope, name), {})
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found = tx.get(call.scope, SCHEDULE, name.lower())
        if found is None:
            raise ResourceNotFound(f'Could not find monitoring schedule "{arn_of(call.scope, name)}".')
        schedule = Schedule.of(found.document)
        going = _going(tx, call, schedule)
        run = _begun(tx, call, schedule, going) if action == BEGIN else _stopped(tx, call, schedule, going)
    return {"MonitoringScheduleName": schedule.name, "RetrainingName": run.made}


def _begun(tx: Transaction, call: Call, schedule: Schedule, going: Resource | None) -> Run:
    if of_tags(read_tags(tx, call.scope, arn_of(call.scope, schedule.name))) is None:
        raise ValidationFailed(
            f'The monitoring schedule "{schedule.name}" has no tag {TAG}, which says what is trained again.'
        )
    if going is not None:
        raise ValidationFailed(f"The retraining {Run.of(going.document).made} goes on; a monitor has one at a time.")
    looked = [each for each in past_of(tx, call.scope, schedule.name).seen if each.status in LOOKED]
    if not looked:
        raise ValidationFailed(
            f'The monitoring schedule "{schedule.name}" has not looked at any labelled record yet, so there is nothing '
            "to train on."
        )
    prefix = at_of(schedule.name, looked[-1].scheduled_s)
    executions = tx.list(call.scope, EXECUTION, name_prefix=prefix).items
    name = executions[-1].name if executions else ""
    return asking.by_hand(tx, call.scope, schedule, looked[-1], name, call.caller.arn, call.now)


def _stopped(tx: Transaction, call: Call, schedule: Schedule, going: Resource | None) -> Run:
    if going is None:
        raise ValidationFailed(f'No retraining of the monitoring schedule "{schedule.name}" goes on.')
    run = Run.of(going.document)
    if not run.stop:
        run = replace(run, stop=f"{call.caller.arn} stopped it.")
        tx.update(going, run.document())
    return run


def _going(store: Store | Transaction, call: Call, schedule: Schedule) -> Resource | None:
    for phase in GOING:
        for each in store.list(call.scope, KIND, name_prefix=prefix_of(schedule.name), status=phase).items:
            if phase is not Phase.DECIDING and each.document["schedule_uid"] == schedule.uid:
                return each
    return None


def _asked(body: bytes) -> tuple[str, str]:
    try:
        given = json.loads(body)
        name, action = given["MonitoringScheduleName"], given["Action"]
    except (ValueError, KeyError, TypeError, RecursionError):
        name, action = None, None
    if not isinstance(name, str) or action not in (BEGIN, STOP):
        raise ValidationFailed(
            f'The body has to be {{"MonitoringScheduleName": NAME, "Action": "{BEGIN}" or "{STOP}"}}.'
        )
    return name, action
