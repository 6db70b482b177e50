"""Dashboards: put, get, list, delete. They belong to the account, not to a region, and come back byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kedge import arn
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.listing import opened, sealed
from kedge.metrics import dashboards
from kedge.metrics.documents import Problem
from kedge.metrics.errors import DashboardInvalid, DashboardMissing, InvalidParameterValue
from kedge.store.records import Author, Resource, Scope
from kedge.tags.attach import attach, detach

KIND = "dashboard"
PAGE = 1000
MOST_DELETED = 100
"""Names in one DeleteDashboards."""
MOST_MESSAGES = 100
"""In one answer."""
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_NAME = 255


def put_dashboard(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    name, body = request["DashboardName"], request["DashboardBody"]
    wrong = _name_problem(name)
    if wrong:
        raise DashboardInvalid(wrong, dashboardValidationMessages=[{"Message": wrong}])
    problems = dashboards.problems(body)
    errors = [problem for problem in problems if problem.is_error]
    if errors:
        told = errors[:MOST_MESSAGES]
        raise DashboardInvalid(_refusal(told, len(errors)), dashboardValidationMessages=_messages(told))
    scope = _scope(call)
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found = tx.get(scope, KIND, name)
        if found is not None:
            tx.update(found, {"Body": body})
        else:
            tx.insert(scope, KIND, name, {"Body": body})
            attach(tx, scope, _arn(scope, name), request.get("Tags") or [])
    return {"DashboardValidationMessages": _messages(problems[:MOST_MESSAGES])}


def get_dashboard(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    name = request["DashboardName"]
    wrong = _name_problem(name)
    if wrong:
        raise InvalidParameterValue(wrong)
    found = call.store.get(_scope(call), KIND, name)
    if found is None:
        raise DashboardMissing(f"Dashboard {name} does not exist")
    return {
        "DashboardArn": _arn(found.scope, name),
        "DashboardBody": found.document["Body"],
        "DashboardName": name,
    }


def list_dashboards(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    prefix, token = request.get("DashboardNamePrefix", ""), request.get("NextToken")
    question = f"dashboards {prefix}"
    try:
        after = opened(token, question) if token else ""
    except ValidationFailed as error:
        raise InvalidParameterValue(error.message) from None
    found = [each for each in call.store.list(_scope(call), KIND).items if each.name.startswith(prefix)]
    found = [each for each in found if each.name > after]
    page = found[:PAGE]
    more = {"NextToken": sealed(page[-1].name, question)} if len(found) > PAGE else {}
    return {"DashboardEntries": [_entry(each) for each in page], **more}


def delete_dashboards(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """All of them or none."""
    names, scope = list(dict.fromkeys(request["DashboardNames"])), _scope(call)
    if not 1 <= len(names) <= MOST_DELETED:
        raise InvalidParameterValue(f"DashboardNames holds {len(names)} names; it has to hold 1 to {MOST_DELETED}.")
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found = [tx.get(scope, KIND, name) for name in names]
        missing = [name for name, dashboard in zip(names, found, strict=True) if dashboard is None]
        if missing:
            raise DashboardMissing(f"Dashboard {', '.join(missing)} does not exist; no dashboard was deleted")
        for dashboard in found:
            assert dashboard is not None
            tx.delete(dashboard)
            detach(tx, scope, _arn(scope, dashboard.name))
    return {}


def _scope(call: Call) -> Scope:
    return Scope(call.caller.account, "")


def _arn(scope: Scope, name: str) -> str:
    return str(arn.Arn("cloudwatch", "", scope.account, f"dashboard/{name}"))


def _entry(dashboard: Resource) -> dict[str, Any]:
    return {
        "DashboardName": dashboard.name,
        "DashboardArn": _arn(dashboard.scope, dashboard.name),
        "LastModified": dashboard.modified_at,
        "Size": len(dashboard.document["Body"].encode()),
    }


def _name_problem(name: str) -> str:
    if not _NAME.fullmatch(name):
        return (
            "The value for field DashboardName contains invalid characters. "
            "It can only contain alphanumerics, dash (-) and underscore (_)."
        )
    if len(name) > _LONGEST_NAME:
        return f"The value for field DashboardName has {len(name)} characters; it can have {_LONGEST_NAME} at most."
    return ""


def _messages(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{"DataPath": problem.path, "Message": problem.message} for problem in problems]


def _refusal(errors: Sequence[Problem], count: int) -> str:
    if not errors[0].path and count == 1:
        return errors[0].message
    listed = json.dumps([{"dataPath": error.path, "message": error.message} for error in errors], indent=2)
    counted = "is 1 validation error" if count == 1 else f"are {count} validation errors"
    return f"The dashboard body is invalid, there {counted}: {listed}"


OPERATIONS: Mapping[str, Callable[[Call, Any], dict[str, Any]]] = {
    "cloudwatch.DeleteDashboards": delete_dashboards,
    "cloudwatch.GetDashboard": get_dashboard,
    "cloudwatch.ListDashboards": list_dashboards,
    "cloudwatch.PutDashboard": put_dashboard,
}
