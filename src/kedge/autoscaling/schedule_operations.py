"""Scheduled actions: bounds that change at set times."""

from __future__ import annotations

import uuid
from dataclasses import replace

from kedge.autoscaling import resource, schedule
from kedge.autoscaling.errors import LimitExceeded, ObjectNotFound
from kedge.autoscaling.records import SCHEDULED, Scheduled, moment, scheduled_described
from kedge.autoscaling.requests import Handler, Request, Result, author, page, require, target_of
from kedge.autoscaling.target_operations import check_bounds
from kedge.call import Call
from kedge.errors import ValidationFailed

MOST_ACTIONS = 200
"""Of a target."""


def put_scheduled_action(call: Call, request: Request) -> Result:
    scalable = resource.of(request)
    require(call, scalable)
    with call.store.transaction(author(call)) as tx:
        target_of(call, tx, scalable)
        name = f"{scalable.key}|{request['ScheduledActionName']}"
        found = tx.get(call.scope, SCHEDULED, name)
        if found is None:
            if len(tx.list(call.scope, SCHEDULED, name_prefix=f"{scalable.key}|").items) >= MOST_ACTIONS:
                raise LimitExceeded(f"The scalable target has {MOST_ACTIONS} scheduled actions already.")
            before = Scheduled(
                request["ScheduledActionName"], scalable.id, scalable.dimension, "", "UTC", str(uuid.uuid4()), 0.0
            )
        else:
            before = Scheduled.of(found.document)
        action = _changed(call, request, before)
        if found is None:
            tx.insert(call.scope, SCHEDULED, name, action.document())
        else:
            tx.update(found, action.document())
    return {}


def _changed(call: Call, request: Request, before: Scheduled) -> Scheduled:
    """What the request does not name stays as it was. Raises ValidationFailed."""
    times = {ours: request[name].timestamp() for ours, name in _TIMES.items() if name in request}
    bounds = {ours: request.get("ScalableTargetAction", {}).get(name) for ours, name in _BOUNDS.items()}
    if "ScalableTargetAction" not in request:
        bounds = {}
    action = replace(
        before,
        schedule=request.get("Schedule", before.schedule),
        zone=request.get("Timezone", before.zone),
        seen_to_s=call.now.timestamp(),
        **times,
        **bounds,
    )
    if not action.schedule:
        raise ValidationFailed("Schedule has to be given for a new scheduled action.")
    if action.minimum is None and action.maximum is None:
        raise ValidationFailed("ScalableTargetAction has to give MinCapacity, MaxCapacity or both.")
    low = 0 if action.minimum is None else action.minimum
    check_bounds(low, low if action.maximum is None else action.maximum)
    if action.start_s is not None and action.end_s is not None and action.end_s <= action.start_s:
        raise ValidationFailed("EndTime has to be after StartTime.")
    _check_ahead(action)
    return action


def _check_ahead(action: Scheduled) -> None:
    """Raises ValidationFailed for a schedule that cannot be read, or that has no time to come."""
    begin_s = max(action.seen_to_s, action.start_s or 0.0)
    following = schedule.parse(action.schedule, action.zone, moment(begin_s)).after(moment(begin_s))
    if following is None or (action.end_s is not None and following.timestamp() > action.end_s):
        raise ValidationFailed(f"Schedule is {action.schedule}, which has no time to come.")


_TIMES = {"start_s": "StartTime", "end_s": "EndTime"}
_BOUNDS = {"minimum": "MinCapacity", "maximum": "MaxCapacity"}


def delete_scheduled_action(call: Call, request: Request) -> Result:
    scalable = resource.of(request)
    require(call, scalable)
    with call.store.transaction(author(call)) as tx:
        found = tx.get(call.scope, SCHEDULED, f"{scalable.key}|{request['ScheduledActionName']}")
        if found is None:
            name = request["ScheduledActionName"]
            raise ObjectNotFound(f"No scheduled action found for {scalable.said()}, scheduled action name: {name}")
        tx.delete(found)
    return {}


def describe_scheduled_actions(call: Call, request: Request) -> Result:
    names = set(request.get("ScheduledActionNames") or ())
    found, following = page(
        call, request, SCHEDULED, resource.prefix(request), lambda each: not names or each.document["name"] in names
    )
    return {"ScheduledActions": [scheduled_described(each) for each in found], **following}


OPERATIONS: dict[str, Handler] = {
    "application-autoscaling.PutScheduledAction": put_scheduled_action,
    "application-autoscaling.DeleteScheduledAction": delete_scheduled_action,
    "application-autoscaling.DescribeScheduledActions": describe_scheduled_actions,
}
