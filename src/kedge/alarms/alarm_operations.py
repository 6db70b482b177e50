"""What can be asked of alarms of either kind: describe, delete, switch actions on and off, set a state."""

from __future__ import annotations

from collections.abc import Iterator

from kedge.alarms import composite_operations as composites
from kedge.alarms.evaluate import State
from kedge.alarms.records import COMPOSITE, METRIC, TYPES, Alarm, arn_of, described, find, related, seconds
from kedge.alarms.requests import Handler, Request, Result, author, following, place, tell
from kedge.alarms.transition import set_state
from kedge.alarms.validation import check_reason_data
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.metrics.errors import AlarmNotFound, InvalidNextToken, ResourceNotFound
from kedge.store.records import Resource
from kedge.store.transaction import Transaction
from kedge.tags import attach

DEFAULT_PAGE, MAX_PAGE = 50, 100
MEMBERS = {METRIC: "MetricAlarms", COMPOSITE: "CompositeAlarms"}


def describe_alarms(call: Call, request: Request) -> Result:
    if "AlarmNames" in request and "AlarmNamePrefix" in request:
        raise ValidationFailed("AlarmNames and AlarmNamePrefix cannot be given together.")
    for member in ("ChildrenOfAlarmName", "ParentsOfAlarmName"):
        if member in request:
            return _relatives(call, request, member)
    types = set(request.get("AlarmTypes") or ["MetricAlarm"])
    kinds = [kind for kind, its_type in TYPES.items() if its_type in types]
    if "AlarmNames" in request:
        page, after = _named(call, request, kinds)
    else:
        page, after = _listed(call, request, kinds)
    answer: Result = {
        member: [described(each) for each in page if each.kind == kind] for kind, member in MEMBERS.items()
    }
    return {**answer, "LogAlarms": [], **following(call, request, after)}


def _named(call: Call, request: Request, kinds: list[str]) -> tuple[list[Resource], str | None]:
    found = [
        each
        for kind in kinds
        for name in dict.fromkeys(request["AlarmNames"])
        if (each := call.store.get(call.scope, kind, name)) is not None and _fits(each, request)
    ]
    return _cut(found, request.get("MaxRecords", MAX_PAGE), place(call, request))


def _listed(call: Call, request: Request, kinds: list[str]) -> tuple[list[Resource], str | None]:
    """Metric alarms first, each kind by name."""
    at = place(call, request)
    kind_at, _, cursor = (at or "").partition("|")
    if at is not None and kind_at not in kinds:
        raise _no_token()
    waiting = kinds[kinds.index(kind_at) :] if at is not None else list(kinds)
    limit = request.get("MaxRecords", DEFAULT_PAGE)
    page: list[Resource] = []
    while waiting:
        if len(page) == limit:
            return page, f"{waiting[0]}|{cursor}"
        try:
            some = call.store.list(
                call.scope,
                waiting[0],
                name_prefix=request.get("AlarmNamePrefix", ""),
                status=request.get("StateValue", ""),
                limit=limit - len(page),
                after=cursor or None,
            )
        except ValidationFailed:
            raise _no_token() from None
        page += [each for each in some.items if _fits(each, request)]
        cursor = some.next or ""
        if not cursor:
            waiting = waiting[1:]
    return page, None


def _fits(resource: Resource, request: Request) -> bool:
    if request.get("StateValue", resource.status) != resource.status:
        return False
    prefix = request.get("ActionPrefix")
    alarm = Alarm.of(resource.document)
    return prefix is None or any(each.startswith(prefix) for state in State for each in alarm.actions(state))


def _relatives(call: Call, request: Request, member: str) -> Result:
    others = sorted(request.keys() - {member, "MaxRecords", "NextToken"})
    if others:
        raise ValidationFailed(f"{others[0]} cannot be given together with {member}.")
    name = request[member]
    if member == "ParentsOfAlarmName":
        found = list(composites.parents_of(call.store, call.scope, name))
    else:
        parent = call.store.get(call.scope, COMPOSITE, name)
        children = [] if parent is None else composites.children_of(parent)
        found = [each for child in children if (each := find(call.store, call.scope, child)) is not None]
    page, after = _cut(found, request.get("MaxRecords", DEFAULT_PAGE), place(call, request))
    answer: Result = {key: [related(each) for each in page if each.kind == kind] for kind, key in MEMBERS.items()}
    return {**answer, "LogAlarms": [], **following(call, request, after)}


def _cut(found: list[Resource], limit: int, at: str | None) -> tuple[list[Resource], str | None]:
    if at is not None and not at.isdecimal():
        raise _no_token()
    start = int(at or 0)
    return found[start : start + limit], str(start + limit) if start + limit < len(found) else None


def _no_token() -> InvalidNextToken:
    return InvalidNextToken("NextToken is not one that this list has given; start again without it.")


def delete_alarms(call: Call, request: Request) -> Result:
    """Names that are no alarm's are passed over, as in AWS."""
    with call.store.transaction(author(call)) as tx:
        found = [*_existing(call, tx, request)]
        composite = [each for each in found if each.kind == COMPOSITE]
        if len(composite) > 1:
            raise ValidationFailed(
                f"AlarmNames has {len(composite)} composite alarms; at most one can be deleted in one call."
            )
        going = {each.name for each in composite}
        for each in found:
            parents = [parent.name for parent in composites.parents_of(tx, call.scope, each.name)]
            if each.kind == METRIC:
                parents = [parent for parent in parents if parent not in going]
            if parents:
                raise ValidationFailed(
                    f"Cannot delete {each.name} as there are composite alarm(s) depending on it: {', '.join(parents)}."
                )
        for each in found:
            tell(tx, each, "delete")
            tx.delete(each)
            attach.detach(tx, call.scope, arn_of(call.scope, each.name))
    return {}


def _existing(call: Call, tx: Transaction, request: Request) -> Iterator[Resource]:
    for name in dict.fromkeys(request["AlarmNames"]):
        found = find(tx, call.scope, name)
        if found is not None:
            yield found


def enable_alarm_actions(call: Call, request: Request) -> Result:
    return _switch(call, request, on=True)


def disable_alarm_actions(call: Call, request: Request) -> Result:
    return _switch(call, request, on=False)


def _switch(call: Call, request: Request, *, on: bool) -> Result:
    with call.store.transaction(author(call)) as tx:
        for before in _existing(call, tx, request):
            config = before.document["config"]
            if config["ActionsEnabled"] == on:
                continue
            changed = {"config": {**config, "ActionsEnabled": on}, "configured_at_s": seconds(call.now)}
            tell(tx, tx.update(before, {**before.document, **changed}), "update", before)
    return {}


def set_alarm_state(call: Call, request: Request) -> Result:
    data = request.get("StateReasonData", "")
    if data:
        check_reason_data(data)
    with call.store.transaction(author(call)) as tx:
        found = find(tx, call.scope, request["AlarmName"])
        if found is None:
            raise AlarmNotFound(f"There is no alarm named {request['AlarmName']}.")
        set_state(tx, found, State(request["StateValue"]), request["StateReason"], data, call.now)
    return {}


def describe_alarm_contributors(call: Call, request: Request) -> Result:
    """Kedge's alarms watch one series each, so none has contributors."""
    if find(call.store, call.scope, request["AlarmName"]) is None:
        raise ResourceNotFound(f"There is no alarm named {request['AlarmName']}.")
    return {"AlarmContributors": []}


OPERATIONS: dict[str, Handler] = {
    "cloudwatch.DescribeAlarms": describe_alarms,
    "cloudwatch.DeleteAlarms": delete_alarms,
    "cloudwatch.EnableAlarmActions": enable_alarm_actions,
    "cloudwatch.DisableAlarmActions": disable_alarm_actions,
    "cloudwatch.SetAlarmState": set_alarm_state,
    "cloudwatch.DescribeAlarmContributors": describe_alarm_contributors,
}
