"""CreateInferenceExperiment and what follows it: each call writes what is wanted; the controller brings it about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from kedge import arn, listing
from kedge.call import Call
from kedge.endpoints import scaling
from kedge.endpoints.descriptions import arn_of
from kedge.endpoints.records import KIND as ENDPOINT
from kedge.endpoints.records import Endpoint
from kedge.endpoints.records import Status as EndpointStatus
from kedge.errors import ResourceNotFound, ValidationFailed
from kedge.inference_experiments import records, validation
from kedge.inference_experiments.errors import Conflict, ResourceInUse
from kedge.inference_experiments.records import (
    CHANGEABLE,
    DEFAULT_DAYS,
    GIVEN,
    KIND,
    Document,
    Status,
    Stop,
    hardware_of,
    shadow_of,
    source_of,
    staying,
)
from kedge.store.store import AlreadyExists, Author, Resource, Store, Transaction
from kedge.tags.attach import attach, detach

Answer = dict[str, Any]


def create_inference_experiment(call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["Name"]
    if "KmsKey" in request:
        raise ValidationFailed("KmsKey asks for an encrypted volume, which this release of Kedge does not do.")
    document: Document = {member: request[member] for member in GIVEN if member in request}
    document |= _times(call, request.get("Schedule", {}))
    if document["EndTime"] <= call.now.timestamp():
        raise ValidationFailed("The Schedule's EndTime is over already.")
    document |= {"Created": call.now.timestamp(), "Config": "", "Base": "", "Asked": "", "Configs": 0}
    validation.check(document)
    _require_endpoint(call, document)
    try:
        with _transaction(call) as tx:
            endpoint = _endpoint(call, tx, request["EndpointName"])
            document["EndpointUid"] = endpoint.uid
            tx.insert(call.scope, KIND, name.lower(), document, Status.CREATING)
            _check_alone(call, tx, document)
            if problem := validation.unfit(document, endpoint):
                raise ValidationFailed(problem)
            _check_models(call, tx, document)
            _check_scaled(call, tx, document, (source_of(document),), document["ModelVariants"])
            attach(tx, call.scope, _arn(call, name), request.get("Tags", []))
    except AlreadyExists:
        raise ResourceInUse(f'Cannot create already existing inference experiment "{_arn(call, name)}".') from None
    return {"InferenceExperimentArn": _arn(call, name)}


def start_inference_experiment(call: Call, request: Mapping[str, Any]) -> Answer:
    """Before its time."""
    with _transaction(call) as tx:
        resource = _in_state(call, tx, request["Name"], "started", Status.CREATED)
        document = {**resource.document, "StartTime": call.now.timestamp()}
        validation.check(document)
        tx.update(resource, document, Status.STARTING)
    return {"InferenceExperimentArn": _arn(call, request["Name"])}


def stop_inference_experiment(call: Call, request: Mapping[str, Any]) -> Answer:
    with _transaction(call) as tx:
        resource = _in_state(call, tx, request["Name"], "stopped", Status.CREATED, Status.RUNNING)
        stop = Stop(
            actions=request["ModelVariantActions"],
            variants=tuple(request.get("DesiredModelVariants", [])),
            state=request.get("DesiredState", Status.CANCELLED.value),
            reason=request.get("Reason", ""),
        )
        validation.check_stop(resource.document, stop)
        if resource.document["Config"]:
            _check_scaled(call, tx, resource.document, staying(resource.document, stop), stop.variants)
        tx.update(resource, {**resource.document, "Stop": asdict(stop)}, Status.STOPPING)
    return {"InferenceExperimentArn": _arn(call, request["Name"])}


def update_inference_experiment(call: Call, request: Mapping[str, Any]) -> Answer:
    """What touches the endpoint of an experiment that runs is done by the controller; all else is done at once."""
    with _transaction(call) as tx:
        resource = _in_state(call, tx, request["Name"], "updated", Status.CREATED, Status.RUNNING)
        before, status = resource.document, Status(resource.status)
        changes = {member: request[member] for member in CHANGEABLE if member in request}
        for member, value in request.get("Schedule", {}).items():
            changes[member] = value.timestamp()
        after = {**before, **changes}
        validation.check(after)
        if status is Status.RUNNING:
            validation.check_change(before, after)
        _check_models(call, tx, after)
        names = (source_of(after), shadow_of(after)) if status is Status.RUNNING else (source_of(after),)
        _check_scaled(call, tx, after, names, after["ModelVariants"])
        touching = {m: v for m, v in changes.items() if m not in ("Description", "StartTime", "EndTime")}
        if status is Status.RUNNING and any(before.get(member) != value for member, value in touching.items()):
            at_once = {member: value for member, value in changes.items() if member not in touching}
            tx.update(resource, {**before, **at_once, "Changes": touching}, Status.UPDATING)
        else:
            tx.update(resource, after)
    return {"InferenceExperimentArn": _arn(call, request["Name"])}


def describe_inference_experiment(call: Call, request: Mapping[str, Any]) -> Answer:
    resource = _found(call, call.store, request["Name"])
    document = resource.document
    found = call.store.get(call.scope, ENDPOINT, document["EndpointName"].lower())
    endpoint = None
    if found is not None and found.document["uid"] == document["EndpointUid"]:
        endpoint = Endpoint.of(found.document), EndpointStatus(found.status)
    shown = records.description(document, Status(resource.status), resource.created_at, resource.modified_at, endpoint)
    return {"Arn": _arn(call, document["Name"]), **shown}


def list_inference_experiments(call: Call, request: Mapping[str, Any]) -> Answer:
    found, following = listing.resources(call, KIND, request)
    shown = [records.summary(each.document, each.status, each.created_at, each.modified_at) for each in found]
    return {"InferenceExperiments": shown, **following}


def delete_inference_experiment(call: Call, request: Mapping[str, Any]) -> Answer:
    """Only what is known of it: what it did to the endpoint stays."""
    with _transaction(call) as tx:
        over = (Status.CREATED, Status.COMPLETED, Status.CANCELLED)
        tx.delete(_in_state(call, tx, request["Name"], "deleted", *over))
        detach(tx, call.scope, _arn(call, request["Name"]))
    return {"InferenceExperimentArn": _arn(call, request["Name"])}


def _times(call: Call, schedule: Mapping[str, Any]) -> dict[str, float]:
    """Without a schedule it starts now, and without an end it ends after a week. Raises ValidationFailed."""
    start = schedule.get("StartTime", call.now)
    try:
        end = schedule.get("EndTime") or max(start, call.now) + timedelta(days=DEFAULT_DAYS)
    except OverflowError:
        raise ValidationFailed(
            f"The Schedule's StartTime is {start:%Y-%m-%d}; it has to be {DEFAULT_DAYS} days before the year 10000."
        ) from None
    return {"StartTime": start.timestamp(), "EndTime": end.timestamp()}


def _require_endpoint(call: Call, document: Mapping[str, Any]) -> None:
    """What an experiment does to its endpoint, whoever has one made has to be allowed to do. Raises AccessDenied."""
    endpoint_arn = arn_of(call.scope.region, call.scope.account, document["EndpointName"])
    call.require(call, "sagemaker:UpdateEndpoint", endpoint_arn, {})


def _endpoint(call: Call, tx: Transaction, name: str) -> Endpoint:
    resource = tx.get(call.scope, ENDPOINT, name.lower())
    endpoint_arn = arn_of(call.scope.region, call.scope.account, name)
    if resource is None:
        raise ValidationFailed(f'Could not find endpoint "{endpoint_arn}".')
    if EndpointStatus(resource.status) in (EndpointStatus.DELETING, EndpointStatus.FAILED):
        raise ValidationFailed(f'Endpoint "{endpoint_arn}" has status {resource.status}; no experiment can run on it.')
    return Endpoint.of(resource.document)


def _check_alone(call: Call, tx: Transaction, document: Mapping[str, Any]) -> None:
    """One experiment at a time is on an endpoint. Raises ResourceInUse."""
    for other in tx.list(call.scope, KIND).items:
        is_other = other.document["Name"] != document["Name"]
        if is_other and other.document["EndpointUid"] == document["EndpointUid"] and not Status(other.status).is_over:
            raise ResourceInUse(
                f'Endpoint "{document["EndpointName"]}" has the inference experiment "{other.document["Name"]}" with '
                f"status {other.status}; stop that one first."
            )


def _check_models(call: Call, tx: Transaction, document: Mapping[str, Any]) -> None:
    for each in document["ModelVariants"]:
        if tx.get(call.scope, "model", each["ModelName"].lower()) is None:
            model_arn = arn.sagemaker(call.scope.region, call.scope.account, "model", each["ModelName"])
            raise ValidationFailed(f'Could not find model "{model_arn}".')


def _check_scaled(
    call: Call,
    tx: Transaction,
    document: Mapping[str, Any],
    names: Sequence[str],
    wanted: Sequence[Mapping[str, Any]],
) -> None:
    """Raises ValidationFailed where autoscaling holds on to what would go, or change its instance type.

    names: of the variants that there will be. wanted: ModelVariantConfigs of those that are to change.
    """
    resource = tx.get(call.scope, ENDPOINT, document["EndpointName"].lower())
    if resource is None or resource.document["uid"] != document["EndpointUid"]:
        return  # the controller says so
    live = Endpoint.of(resource.document).live
    types = {each.name: each.instance_type for each in live.variants} if live else {}
    types |= {each["VariantName"]: hardware_of(each)["InstanceType"] for each in wanted}
    left = {name: types[name] for name in names if name in types}
    scaling.check_scaled(tx, resource, f'with inference experiment "{document["Name"]}" the endpoint', left)


def _in_state(call: Call, tx: Transaction, name: str, what: str, *states: Status) -> Resource:
    """Raises ResourceNotFound, AccessDenied, Conflict."""
    resource = _found(call, tx, name)
    _require_endpoint(call, resource.document)
    if Status(resource.status) not in states:
        raise Conflict(
            f'Inference experiment "{_arn(call, name)}" has status {resource.status}; it can be {what} while it is '
            f"{' or '.join(states)}."
        )
    return resource


def _found(call: Call, store: Store | Transaction, name: str) -> Resource:
    resource = store.get(call.scope, KIND, name.lower())
    if resource is None:
        raise ResourceNotFound(f'Could not find inference experiment "{_arn(call, name)}".')
    return resource


def _transaction(call: Call) -> AbstractContextManager[Transaction]:
    return call.store.transaction(Author(call.caller.arn, call.request_id, call.now))


def _arn(call: Call, name: str) -> str:
    return arn.sagemaker(call.scope.region, call.scope.account, KIND, name)


OPERATIONS: Mapping[str, Callable[[Call, Any], Answer]] = {
    "sagemaker.CreateInferenceExperiment": create_inference_experiment,
    "sagemaker.StartInferenceExperiment": start_inference_experiment,
    "sagemaker.StopInferenceExperiment": stop_inference_experiment,
    "sagemaker.UpdateInferenceExperiment": update_inference_experiment,
    "sagemaker.DescribeInferenceExperiment": describe_inference_experiment,
    "sagemaker.ListInferenceExperiments": list_inference_experiments,
    "sagemaker.DeleteInferenceExperiment": delete_inference_experiment,
}
