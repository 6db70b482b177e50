"""Monitoring schedules: each call writes what is wanted; the controller begins executions."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.endpoints.capture import is_enabled
from kedge.endpoints.descriptions import arn_of as endpoint_arn
from kedge.endpoints.records import KIND as ENDPOINT
from kedge.endpoints.records import Endpoint
from kedge.errors import ResourceInUse, ResourceNotFound, ValidationFailed
from kedge.jobs.machine import JobMachine
from kedge.monitors import course, monitor, timetable
from kedge.monitors.defining import monitor_of
from kedge.monitors.definition_operations import check_runs
from kedge.monitors.describing import announce, arn_of, description, summary
from kedge.monitors.monitor import Monitor
from kedge.monitors.records import EXECUTION, OFFSETS, PAST, SCHEDULE, Schedule, ScheduleStatus, Status
from kedge.monitors.retraining import settings as retraining_settings
from kedge.monitors.retraining.asking import unfit
from kedge.monitors.timetable import NOW, BadExpression, Timetable
from kedge.monitors.windows import BadWindow
from kedge.store.records import AlreadyExists, Author, Resource
from kedge.store.store import Store, Transaction
from kedge.tags.attach import attach, detach

Answer = dict[str, Any]
_HOURLY_S = {True: 1800, False: 3600}
"""MaxRuntimeInSeconds at most where it is due each hour, by whether it merges. Source: MonitoringStoppingCondition."""


def create_monitoring_schedule(machine: JobMachine, call: Call, request: Mapping[str, Any]) -> Answer:
    name, config = request["MonitoringScheduleName"], request["MonitoringScheduleConfig"]
    schedule = Schedule(name, uuid.uuid4().hex, config, "", _expression(config, name), seen_to_s=call.now.timestamp())
    own_arn = arn_of(call.scope, name)
    try:
        with _transaction(call) as tx:
            schedule = _configured(machine, call, tx, schedule, config)
            _check_retraining(monitor_of(tx, call.scope, config), request.get("Tags", ()))
            schedule, status = course.settled(schedule, call.now)
            made = tx.insert(call.scope, SCHEDULE, name.lower(), schedule.document(), status)
            attach(tx, call.scope, own_arn, request.get("Tags", ()))
            announce(tx, made)
    except AlreadyExists:
        raise ResourceInUse(f'Cannot create already existing monitoring schedule "{own_arn}".') from None
    return {"MonitoringScheduleArn": own_arn}


def update_monitoring_schedule(machine: JobMachine, call: Call, request: Mapping[str, Any]) -> Answer:
    """An execution that goes on is not touched. Times up to now are as good as done."""
    config = request["MonitoringScheduleConfig"]
    with _transaction(call) as tx:
        found = _found(call, tx, request["MonitoringScheduleName"])
        before = Schedule.of(found.document)
        fresh = replace(
            before, config=config, expression=_expression(config, before.name), failure_reason="", asked_s=None,
            seen_to_s=max(before.seen_to_s, call.now.timestamp()),
        )  # fmt: skip
        after = _configured(machine, call, tx, fresh, config)
        after, status = course.settled(after, call.now)
        if found.status == ScheduleStatus.STOPPED:
            status = ScheduleStatus.STOPPED
        announce(tx, tx.update(found, after.document(), status))
    return {"MonitoringScheduleArn": arn_of(call.scope, before.name)}


def describe_monitoring_schedule(call: Call, request: Mapping[str, Any]) -> Answer:
    return description(call.store, _found(call, call.store, request["MonitoringScheduleName"]))


def list_monitoring_schedules(call: Call, request: Mapping[str, Any]) -> Answer:
    def fits(each: Resource) -> bool:
        schedule = Schedule.of(each.document)
        asked = {
            "EndpointName": schedule.endpoint,
            "MonitoringJobDefinitionName": schedule.definition,
            "MonitoringTypeEquals": schedule.kind,
        }
        return all(request.get(member, value).lower() == value.lower() for member, value in asked.items())

    found, following = listing.resources(call, SCHEDULE, request, fits=fits)
    return {"MonitoringScheduleSummaries": [summary(each) for each in found], **following}


def start_monitoring_schedule(call: Call, request: Mapping[str, Any]) -> Answer:
    """What came while it was stopped is not made up for. A schedule that runs once runs once more."""
    with _transaction(call) as tx:
        found = _found(call, tx, request["MonitoringScheduleName"])
        schedule = Schedule.of(found.document)
        if found.status != ScheduleStatus.SCHEDULED:
            at_s = call.now.timestamp()
            asked_s = at_s if schedule.timetable.is_once else None
            fresh = replace(schedule, seen_to_s=max(schedule.seen_to_s, at_s), asked_s=asked_s)
            fresh, status = course.settled(fresh, call.now)
            announce(tx, tx.update(found, fresh.document(), status))
    return {}


def stop_monitoring_schedule(call: Call, request: Mapping[str, Any]) -> Answer:
    """An execution that goes on comes to its end."""
    with _transaction(call) as tx:
        found = _found(call, tx, request["MonitoringScheduleName"])
        if found.status != ScheduleStatus.STOPPED:
            stopped = replace(Schedule.of(found.document), asked_s=None, again=())
            announce(tx, tx.update(found, stopped.document(), ScheduleStatus.STOPPED))
    return {}


def delete_monitoring_schedule(call: Call, request: Mapping[str, Any]) -> Answer:
    """An execution that goes on is stopped. What is known of its executions stays."""
    with _transaction(call) as tx:
        found = _found(call, tx, request["MonitoringScheduleName"])
        schedule = Schedule.of(found.document)
        going = tx.get(call.scope, EXECUTION, schedule.current) if schedule.current else None
        if going is not None and Status(going.status).goes_on:
            tx.update(going, going.document, Status.STOPPING)
        past = tx.get(call.scope, PAST, schedule.name.lower())
        for each in (found, past):
            if each is not None:
                tx.delete(each)
        detach(tx, call.scope, arn_of(call.scope, schedule.name))
    return {}


def _expression(config: Mapping[str, Any], name: str) -> str:
    """Raises ValidationFailed."""
    given = config.get("ScheduleConfig")
    if given is None:
        return timetable.daily(zlib.crc32(name.encode()))
    expression: str = given["ScheduleExpression"]
    times = Timetable(expression, given.get("DataAnalysisStartTime", ""), given.get("DataAnalysisEndTime", ""))
    if expression == NOW:
        if not (times.start and times.end):
            raise ValidationFailed(
                "ScheduleConfig.ScheduleExpression is NOW, so DataAnalysisStartTime and DataAnalysisEndTime have to be "
                "given, such as -PT1H and -PT0H."
            )
    else:
        try:
            timetable.parsed(expression)
        except BadExpression as error:
            raise ValidationFailed(f"ScheduleConfig.ScheduleExpression: {error}.") from None
    return expression


def _configured(
    machine: JobMachine, call: Call, tx: Transaction, schedule: Schedule, config: Mapping[str, Any]
) -> Schedule:
    """With what its definition says. Raises ValidationFailed."""
    found = monitor_of(tx, call.scope, config)
    if "MonitoringJobDefinition" in config:
        monitor.check(found, config["MonitoringJobDefinition"]["MonitoringInputs"][0])
        check_runs(machine, found)
    offsets = {member: found.input[member] for member in OFFSETS if member in found.input}
    after = replace(schedule, kind=found.kind, endpoint=found.endpoint, offsets=offsets)
    try:
        after.timetable.asked(call.now)
    except BadWindow as error:
        raise ValidationFailed(f"The window of an execution cannot be used: {error}.") from None
    longest = _HOURLY_S[found.of.merges]
    hourly = not after.timetable.is_once and after.timetable.interval(call.now) <= timedelta(hours=1)
    if hourly and found.longest_s is not None and found.longest_s > longest:
        raise ValidationFailed(
            f"StoppingCondition.MaxRuntimeInSeconds is {found.longest_s}; of a {found.kind} monitor with an hourly "
            f"schedule it has to be at most {longest}."
        )
    _check_endpoint(call, tx, found)
    return replace(after, asked_s=call.now.timestamp()) if after.timetable.is_once else after


def _check_endpoint(call: Call, tx: Transaction, found: Monitor) -> None:
    """Raises ValidationFailed for an endpoint that is not there, or whose requests are not captured."""
    if not found.endpoint:
        return
    named = endpoint_arn(call.scope.region, call.scope.account, found.endpoint)
    resource = tx.get(call.scope, ENDPOINT, found.endpoint.lower())
    if resource is None:
        raise ValidationFailed(f'Could not find endpoint "{named}".')
    fleet = Endpoint.of(resource.document).live or Endpoint.of(resource.document).pending
    if fleet is None or fleet.capture is None or not is_enabled(fleet.capture):
        raise ValidationFailed(
            f'Endpoint "{named}" captures nothing; a monitor needs an endpoint config with a DataCaptureConfig.'
        )


def _check_retraining(found: Monitor, tags: Sequence[Mapping[str, str]]) -> None:
    """Raises ValidationFailed for what cannot be done. Tags that come later are read when they count."""
    if retraining_settings.of_tags(tags) is not None and (problem := unfit(found)):
        raise ValidationFailed(problem)


def _found(call: Call, store: Store | Transaction, name: str) -> Resource:
    found = store.get(call.scope, SCHEDULE, name.lower())
    if found is None:
        raise ResourceNotFound(f'Could not find monitoring schedule "{arn_of(call.scope, name)}".')
    return found


def _transaction(call: Call) -> Any:
    return call.store.transaction(Author(call.caller.arn, call.request_id, call.now))


def operations(machine: JobMachine) -> Mapping[str, Callable[[Call, Any], Answer]]:
    return {
        "sagemaker.CreateMonitoringSchedule": partial(create_monitoring_schedule, machine),
        "sagemaker.UpdateMonitoringSchedule": partial(update_monitoring_schedule, machine),
        "sagemaker.DescribeMonitoringSchedule": describe_monitoring_schedule,
        "sagemaker.ListMonitoringSchedules": list_monitoring_schedules,
        "sagemaker.StartMonitoringSchedule": start_monitoring_schedule,
        "sagemaker.StopMonitoringSchedule": stop_monitoring_schedule,
        "sagemaker.DeleteMonitoringSchedule": delete_monitoring_schedule,
    }
