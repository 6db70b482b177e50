"""Job definitions of the four kinds: stored as they were given, never changed. Schedules name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kedge import arn, listing
from kedge.call import Call
from kedge.errors import ResourceInUse, ResourceNotFound, ValidationFailed
from kedge.jobs import creating
from kedge.jobs.machine import JobMachine
from kedge.monitors import monitor
from kedge.monitors.kinds import KINDS, MODEL_QUALITY, Kind
from kedge.store.records import AlreadyExists, Author, Resource
from kedge.tags.attach import attach, detach

Answer = dict[str, Any]


def create(kind: Kind, machine: JobMachine, call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["JobDefinitionName"]
    made = monitor.of_definition(kind, request)
    monitor.check(made, request[f"{kind.type}JobInput"])
    check_runs(machine, made)
    if kind is MODEL_QUALITY and not made.problem_type and not made.entrypoint:
        raise ValidationFailed(
            "ModelQualityAppSpecification.ProblemType is not given; it has to be BinaryClassification, "
            "MulticlassClassification or Regression."
        )
    own_arn = _arn(call, kind, name)
    document = {member: value for member, value in request.items() if member != "Tags"}
    try:
        with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
            tx.insert(call.scope, kind.resource, name.lower(), document)
            attach(tx, call.scope, own_arn, request.get("Tags", ()))
    except AlreadyExists:
        raise ResourceInUse(f'Cannot create already existing {kind.said} "{own_arn}".') from None
    return {"JobDefinitionArn": own_arn}


def check_runs(machine: JobMachine, made: monitor.Monitor) -> None:
    """Raises ValidationFailed for an image that nothing here runs, and a type of instance that is not known."""
    machine.runs(made.image)
    creating.size_of(made.cluster["InstanceType"], machine.sizes)


def describe(kind: Kind, call: Call, request: Mapping[str, Any]) -> Answer:
    found = _found(call, kind, request["JobDefinitionName"])
    return {
        **found.document,
        "JobDefinitionArn": _arn(call, kind, found.document["JobDefinitionName"]),
        "CreationTime": found.created_at,
    }


def list_all(kind: Kind, call: Call, request: Mapping[str, Any]) -> Answer:
    wanted = request.get("EndpointName")

    def fits(each: Resource) -> bool:
        return wanted is None or monitor.of_definition(kind, each.document).endpoint.lower() == wanted.lower()

    found, following = listing.resources(call, kind.resource, request, fits=fits)
    return {"JobDefinitionSummaries": [_summary(call, kind, each) for each in found], **following}


def delete(kind: Kind, call: Call, request: Mapping[str, Any]) -> Answer:
    """Also while a schedule names it: its next execution then fails, and says so."""
    name = request["JobDefinitionName"]
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found = tx.get(call.scope, kind.resource, name.lower())
        if found is None:
            raise _missing(call, kind, name)
        tx.delete(found)
        detach(tx, call.scope, _arn(call, kind, name))
    return {}


def _found(call: Call, kind: Kind, name: str) -> Resource:
    found = call.store.get(call.scope, kind.resource, name.lower())
    if found is None:
        raise _missing(call, kind, name)
    return found


def _missing(call: Call, kind: Kind, name: str) -> ResourceNotFound:
    return ResourceNotFound(f'Could not find {kind.said} "{_arn(call, kind, name)}".')


def _summary(call: Call, kind: Kind, found: Resource) -> Answer:
    name = found.document["JobDefinitionName"]
    return {
        "MonitoringJobDefinitionName": name,
        "MonitoringJobDefinitionArn": _arn(call, kind, name),
        "CreationTime": found.created_at,
        "EndpointName": monitor.of_definition(kind, found.document).endpoint,
    }


def _arn(call: Call, kind: Kind, name: str) -> str:
    return arn.sagemaker(call.scope.region, call.scope.account, kind.resource, name)


def operations(machine: JobMachine) -> Mapping[str, Callable[[Call, Any], Answer]]:
    found: dict[str, Callable[[Call, Any], Answer]] = {}
    for kind in KINDS.values():
        found |= {
            f"sagemaker.Create{kind.type}JobDefinition": partial(create, kind, machine),
            f"sagemaker.Describe{kind.type}JobDefinition": partial(describe, kind),
            f"sagemaker.List{kind.type}JobDefinitions": partial(list_all, kind),
            f"sagemaker.Delete{kind.type}JobDefinition": partial(delete, kind),
        }
    return found
