"""Model packages: Create, Describe, List, Update, Delete and BatchDescribe them; every change is told as an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.registry import groups
from kedge.registry.lookup import found_package, package_of
from kedge.registry.records import (
    COMPLETED,
    PACKAGE,
    SOURCE,
    STATE_CHANGE,
    Package,
    PackageConflict,
    checked,
    described,
    group_name,
    state_change,
    summary,
    updated,
)
from kedge.registry.records import package_arn as arn_of
from kedge.store.store import AlreadyExists, Author, Resource, Store, Transaction
from kedge.tags.attach import attach, detach, read

RECENT = 20
"""Versions among which the answer to a call that is made again is looked for."""
IN_BATCH = ("InferenceSpecification", "ModelPackageDescription", "ModelApprovalStatus", "ModelPackageRegistrationType")

Answer = dict[str, Any]


def create_package(call: Call, request: Mapping[str, Any]) -> Answer:
    """A call that a client makes again, by its ClientToken, is answered as it was the first time."""
    document = {**checked(request), "ClientToken": request.get("ClientToken", ""), "CreatedBy": _user(call)}
    with call.store.transaction(_author(call)) as tx:
        if "ModelPackageGroupName" not in request:
            package = Package(request["ModelPackageName"])
        elif (made := _made_before(call, tx, request)) is not None:
            return {"ModelPackageArn": _arn(call, made)}
        else:
            package = _next_version(call, tx, request["ModelPackageGroupName"])
        own_arn = _arn(call, package)
        try:
            resource = tx.insert(
                call.scope,
                PACKAGE,
                package.key,
                {**document, "Name": package.name},
                document.get("ModelApprovalStatus", ""),
            )
        except AlreadyExists:
            raise PackageConflict(f'Cannot create already existing model package "{own_arn}".') from None
        attach(tx, call.scope, own_arn, request.get("Tags", []))
        _announce(call, tx, package, resource)
    return {"ModelPackageArn": own_arn}


def describe_package(call: Call, request: Mapping[str, Any]) -> Answer:
    package, resource = _found(call, call.store, request["ModelPackageName"])
    answer = _description(call, package, resource)
    if request.get("IncludedData") == "MetadataOnly":
        answer.pop("ModelCard", None)
    return answer


def batch_describe_packages(call: Call, request: Mapping[str, Any]) -> Answer:
    answers: dict[str, Answer] = {}
    errors: dict[str, Answer] = {}
    for text in request["ModelPackageArnList"]:
        try:
            package, resource = _found(call, call.store, text)
        except ValidationFailed as error:
            errors[text] = {"ErrorCode": error.code, "ErrorResponse": error.message}
            continue
        document = resource.document
        answers[text] = {
            "ModelPackageGroupName": document["Name"],
            **({} if package.version is None else {"ModelPackageVersion": package.version}),
            "ModelPackageArn": _arn(call, package),
            "CreationTime": resource.created_at,
            "ModelPackageStatus": COMPLETED,
            **{member: document[member] for member in IN_BATCH if member in document},
        }
    return {"ModelPackageSummaries": answers, "BatchDescribeModelPackageErrorMap": errors}


def list_packages(call: Call, request: Mapping[str, Any]) -> Answer:
    """Unversioned ones, unless a group or a ModelPackageType asks for others."""
    group, kind = request.get("ModelPackageGroupName", ""), request.get("ModelPackageType", "")
    prefix = f"{group_name(group).lower()}/" if group else ""
    if group and kind == "Unversioned":
        raise ValidationFailed(
            "ModelPackageGroupName is given with the ModelPackageType Unversioned; packages of a group have versions."
        )
    asked = {"SortOrder": "Ascending", **request, "StatusEquals": request.get("ModelApprovalStatus", "")}
    if group:
        groups.found(call, call.store, group)
    has_slash = None if kind == "Both" else bool(group) or kind == "Versioned"
    resources, following = listing.resources(call, PACKAGE, asked, name_prefix=prefix, has_slash=has_slash)
    items = []
    for each in resources:
        package = package_of(each)
        items.append(summary(each.document, package, _arn(call, package), each.created_at))
    return {"ModelPackageSummaryList": items, **following}


def update_package(call: Call, request: Mapping[str, Any]) -> Answer:
    with call.store.transaction(_author(call)) as tx:
        package, resource = _found(call, tx, request["ModelPackageArn"])
        document = updated(resource.document, request, versioned=package.version is not None)
        document["LastModifiedBy"] = _user(call)
        after = tx.update(resource, document, document.get("ModelApprovalStatus", ""))
        _announce(call, tx, package, after)
    return {"ModelPackageArn": _arn(call, package)}


def delete_package(call: Call, request: Mapping[str, Any]) -> Answer:
    """Models that were made of it go on: they hold a copy of what it said."""
    with call.store.transaction(_author(call)) as tx:
        package, resource = _found(call, tx, request["ModelPackageName"])
        tx.delete(resource)
        detach(tx, call.scope, _arn(call, package))
    return {}


def _next_version(call: Call, tx: Transaction, text: str) -> Package:
    group = groups.found(call, tx, text)
    version = group.document["LastVersion"] + 1
    tx.observe(group, {**group.document, "LastVersion": version})
    return Package(group.document["ModelPackageGroupName"], version)


def _made_before(call: Call, tx: Transaction, request: Mapping[str, Any]) -> Package | None:
    token = request.get("ClientToken")
    if not token:
        return None
    prefix = f"{group_name(request['ModelPackageGroupName']).lower()}/"
    recent = tx.list(
        call.scope, PACKAGE, name_prefix=prefix, sort_by="created_at", descending=True, limit=RECENT
    )  # fmt: skip
    return next((package_of(each) for each in recent.items if each.document["ClientToken"] == token), None)


def _found(call: Call, store: Store | Transaction, text: str) -> tuple[Package, Resource]:
    return found_package(store, call.scope, text)


def _description(call: Call, package: Package, resource: Resource) -> Answer:
    changed = {"LastModifiedTime": resource.modified_at} if "LastModifiedBy" in resource.document else {}
    return {
        **described(resource.document, package, _arn(call, package)),
        "CreationTime": resource.created_at,
        **changed,
    }


def _announce(call: Call, tx: Transaction, package: Package, resource: Resource) -> None:
    own_arn = _arn(call, package)
    tags = read(tx, call.scope, own_arn)
    detail = state_change(resource.document, package, own_arn, resource.created_at, resource.modified_at, tags)
    tx.emit(SOURCE, STATE_CHANGE, detail, call.scope)


def _user(call: Call) -> Answer:
    return {"IamIdentity": {"Arn": call.caller.arn}}


def _arn(call: Call, package: Package) -> str:
    return arn_of(call.scope.region, call.scope.account, package)


def _author(call: Call) -> Author:
    return Author(call.caller.arn, call.request_id, call.now)


OPERATIONS: Mapping[str, Callable[[Call, Any], Answer]] = {
    "sagemaker.CreateModelPackage": create_package,
    "sagemaker.DescribeModelPackage": describe_package,
    "sagemaker.BatchDescribeModelPackage": batch_describe_packages,
    "sagemaker.ListModelPackages": list_packages,
    "sagemaker.UpdateModelPackage": update_package,
    "sagemaker.DeleteModelPackage": delete_package,
}
