"""Model package groups: Create, Describe, List and Delete them, and the policies that are attached to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.registry.records import COMPLETED, GROUP, GROUP_STORED, PACKAGE, POLICY, PackageConflict, group_name
from kedge.registry.records import group_arn as arn_of
from kedge.store.store import AlreadyExists, Author, Resource, Store, Transaction
from kedge.tags.attach import attach, detach

Answer = dict[str, Any]


def create_group(call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["ModelPackageGroupName"]
    document = {member: request[member] for member in GROUP_STORED if member in request}
    document |= {"LastVersion": 0, "CreatedBy": call.caller.arn}
    own_arn = _arn(call, name)
    try:
        with call.store.transaction(_author(call)) as tx:
            tx.insert(call.scope, GROUP, name.lower(), document)
            attach(tx, call.scope, own_arn, request.get("Tags", []))
    except AlreadyExists:
        raise ValidationFailed(f"Model Package Group already exists: {own_arn}") from None
    return {"ModelPackageGroupArn": own_arn}


def describe_group(call: Call, request: Mapping[str, Any]) -> Answer:
    group = found(call, call.store, request["ModelPackageGroupName"])
    return {**_summary(call, group), "CreatedBy": {"IamIdentity": {"Arn": group.document["CreatedBy"]}}}


def list_groups(call: Call, request: Mapping[str, Any]) -> Answer:
    """Of this account: none of another one is shared with it."""
    if request.get("CrossAccountFilterOption") == "CrossAccount":
        return {"ModelPackageGroupSummaryList": []}
    groups, following = listing.resources(call, GROUP, request, sort_order="Ascending")
    return {"ModelPackageGroupSummaryList": [_summary(call, each) for each in groups], **following}


def delete_group(call: Call, request: Mapping[str, Any]) -> Answer:
    with call.store.transaction(_author(call)) as tx:
        group = found(call, tx, request["ModelPackageGroupName"])
        if tx.list(call.scope, PACKAGE, name_prefix=f"{group.name}/", limit=1).items:
            raise PackageConflict(
                f"Model Package Group {_arn(call, group.name)} still has model packages; delete these first."
            )
        tx.delete(group)
        if (policy := tx.get(call.scope, POLICY, group.name)) is not None:
            tx.delete(policy)
        detach(tx, call.scope, _arn(call, group.name))
    return {}


def put_policy(call: Call, request: Mapping[str, Any]) -> Answer:
    """Stored and shown; it gives nobody anything yet, since one account alone uses this server's registry."""
    text = request["ResourcePolicy"]
    try:
        policy = json.loads(text)
    except ValueError as error:
        raise ValidationFailed(f"ResourcePolicy is no JSON: {error}.") from None
    if not isinstance(policy, dict) or not policy.get("Statement"):
        raise ValidationFailed("ResourcePolicy is no policy: it needs a Statement.")
    with call.store.transaction(_author(call)) as tx:
        group = found(call, tx, request["ModelPackageGroupName"])
        before = tx.get(call.scope, POLICY, group.name)
        if before is None:
            tx.insert(call.scope, POLICY, group.name, {"ResourcePolicy": text})
        else:
            tx.update(before, {"ResourcePolicy": text})
    return {"ModelPackageGroupArn": _arn(call, group.name)}


def get_policy(call: Call, request: Mapping[str, Any]) -> Answer:
    return {"ResourcePolicy": _policy(call, call.store, request).document["ResourcePolicy"]}


def delete_policy(call: Call, request: Mapping[str, Any]) -> Answer:
    with call.store.transaction(_author(call)) as tx:
        tx.delete(_policy(call, tx, request))
    return {}


def found(call: Call, store: Store | Transaction, text: str) -> Resource:
    """The group of this name or ARN. Raises ValidationFailed."""
    group = store.get(call.scope, GROUP, group_name(text).lower())
    if group is None or (text.startswith("arn:") and text.lower() != _arn(call, group.name)):
        named = text if text.startswith("arn:") else _arn(call, text)
        raise ValidationFailed(f"ModelPackageGroup {named} does not exist.")
    return group


def _policy(call: Call, store: Store | Transaction, request: Mapping[str, Any]) -> Resource:
    group = found(call, store, request["ModelPackageGroupName"])
    policy = store.get(call.scope, POLICY, group.name)
    if policy is None:
        raise ValidationFailed(f"Cannot find resource policy for: {_arn(call, group.name)}")
    return policy


def _summary(call: Call, group: Resource) -> Answer:
    return {
        **{member: group.document[member] for member in GROUP_STORED if member in group.document},
        "ModelPackageGroupArn": _arn(call, group.name),
        "ModelPackageGroupStatus": COMPLETED,
        "CreationTime": group.created_at,
    }


def _arn(call: Call, name: str) -> str:
    return arn_of(call.scope.region, call.scope.account, name)


def _author(call: Call) -> Author:
    return Author(call.caller.arn, call.request_id, call.now)


OPERATIONS: Mapping[str, Callable[[Call, Any], Answer]] = {
    "sagemaker.CreateModelPackageGroup": create_group,
    "sagemaker.DescribeModelPackageGroup": describe_group,
    "sagemaker.ListModelPackageGroups": list_groups,
    "sagemaker.DeleteModelPackageGroup": delete_group,
    "sagemaker.PutModelPackageGroupPolicy": put_policy,
    "sagemaker.GetModelPackageGroupPolicy": get_policy,
    "sagemaker.DeleteModelPackageGroupPolicy": delete_policy,
}
