"""IAM: roles, their policies and tags; and GetUser, by which clients find out who they are.

Policies are kept and answered as they were given. Only trust policies are evaluated yet.
"""

from __future__ import annotations

import copy
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kedge.errors import ValidationFailed
from kedge.identity import roles
from kedge.identity.errors import DeleteConflict, EntityAlreadyExists, LimitExceeded, NoSuchEntity
from kedge.identity.policy_documents import check_permissions, checked_trust
from kedge.store.records import AlreadyExists, Author, Document, Resource, Scope

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.store import Transaction

Request = dict[str, Any]
Result = dict[str, Any]

_AWS_POLICY = re.compile(r"arn:aws:iam::aws:policy/(?:[\x21-\x7e]+/)?([\w+=,.@-]{1,128})", re.ASCII)


def create_role(call: Call, request: Request) -> Result:
    document = new_role(call.caller.account, request)
    try:
        with _transaction(call) as tx:
            role = tx.insert(_scope(call), roles.KIND, request["RoleName"].lower(), document)
    except AlreadyExists:
        raise EntityAlreadyExists(f"Role with name {request['RoleName']} already exists.") from None
    return {"Role": {**roles.summary(role), **({"Tags": document["Tags"]} if document["Tags"] else {})}}


def new_role(account: str, request: Request) -> Document:
    """Raises MalformedPolicyDocument, LimitExceeded or InvalidInput."""
    _check_trust(request["AssumeRolePolicyDocument"])
    return roles.new(account, role_id(), request)


def get_role(call: Call, request: Request) -> Result:
    return {"Role": roles.description(_role(call.store.get(_scope(call), roles.KIND, _key(request)), request))}


def list_roles(call: Call, request: Request) -> Result:
    prefix = request.get("PathPrefix", "/")
    found = (
        role for role in call.store.list(_scope(call), roles.KIND).items if role.document["Path"].startswith(prefix)
    )
    page, more = roles.page(found, lambda role: role.name, request)
    return {"Roles": [roles.summary(role) for role in page], **more}


def delete_role(call: Call, request: Request) -> Result:
    with _transaction(call) as tx:
        role = _role(tx.get(_scope(call), roles.KIND, _key(request)), request)
        if role.document["InlinePolicies"]:
            raise DeleteConflict("Cannot delete entity, must delete policies first.")
        if role.document["AttachedPolicies"]:
            raise DeleteConflict("Cannot delete entity, must detach all policies first.")
        tx.delete(role)
    return {}


def update_role(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        if "Description" in request:
            document["Description"] = request["Description"]
        if "MaxSessionDuration" in request:
            document["MaxSessionDuration"] = request["MaxSessionDuration"]
    return {}


def update_role_description(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        document["Description"] = request["Description"]
    return get_role(call, request)


def update_assume_role_policy(call: Call, request: Request) -> Result:
    _check_trust(request["PolicyDocument"])
    with _changed(call, request) as document:
        document["AssumeRolePolicyDocument"] = request["PolicyDocument"]
    return {}


def put_role_permissions_boundary(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        document["PermissionsBoundary"] = request["PermissionsBoundary"]
    return {}


def delete_role_permissions_boundary(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        if document.pop("PermissionsBoundary", None) is None:
            raise NoSuchEntity(f"The role with name {request['RoleName']} has no permissions boundary.")
    return {}


def attach_role_policy(call: Call, request: Request) -> Result:
    """Any policy that has the name of one of AWS's own can be attached; customer managed policies do not exist here."""
    match = _AWS_POLICY.fullmatch(request["PolicyArn"])
    if match is None:
        raise NoSuchEntity(f"Policy {request['PolicyArn']} does not exist or is not attachable.")
    with _changed(call, request) as document:
        attached = document["AttachedPolicies"]
        if any(policy["PolicyArn"] == request["PolicyArn"] for policy in attached):
            return {}
        if len(attached) == roles.MAX_ATTACHED:
            raise LimitExceeded(f"Cannot exceed quota for PoliciesPerRole: {roles.MAX_ATTACHED}")
        attached.append({"PolicyName": match[1], "PolicyArn": request["PolicyArn"]})
    return {}


def detach_role_policy(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        kept = [policy for policy in document["AttachedPolicies"] if policy["PolicyArn"] != request["PolicyArn"]]
        if len(kept) == len(document["AttachedPolicies"]):
            raise NoSuchEntity(f"Policy {request['PolicyArn']} was not found.")
        document["AttachedPolicies"] = kept
    return {}


def list_attached_role_policies(call: Call, request: Request) -> Result:
    prefix = request.get("PathPrefix", "/")
    attached = [
        policy
        for policy in _found(call, request)["AttachedPolicies"]
        if policy["PolicyArn"].partition(":policy")[2].startswith(prefix)
    ]
    page, more = roles.page(attached, lambda policy: policy["PolicyName"], request)
    return {"AttachedPolicies": page, **more}


def put_role_policy(call: Call, request: Request) -> Result:
    check_permissions(request["PolicyDocument"])
    with _changed(call, request) as document:
        policies = {**document["InlinePolicies"], request["PolicyName"]: request["PolicyDocument"]}
        if sum(_size(policy) for policy in policies.values()) > roles.MAX_INLINE_CHARS:
            raise LimitExceeded(
                f"Maximum policy size of {roles.MAX_INLINE_CHARS} bytes exceeded for role {request['RoleName']}"
            )
        document["InlinePolicies"] = policies
    return {}


def get_role_policy(call: Call, request: Request) -> Result:
    document = _found(call, request)
    policy = document["InlinePolicies"].get(request["PolicyName"])
    if policy is None:
        raise _no_policy(request)
    return {
        "RoleName": document["RoleName"],
        "PolicyName": request["PolicyName"],
        "PolicyDocument": roles.encoded(policy),
    }


def delete_role_policy(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        if document["InlinePolicies"].pop(request["PolicyName"], None) is None:
            raise _no_policy(request)
    return {}


def list_role_policies(call: Call, request: Request) -> Result:
    page, more = roles.page(_found(call, request)["InlinePolicies"], str, request)
    return {"PolicyNames": page, **more}


def tag_role(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        document["Tags"] = roles.tagged(document["Tags"], request["Tags"])
    return {}


def untag_role(call: Call, request: Request) -> Result:
    gone = {key.lower() for key in request["TagKeys"]}
    with _changed(call, request) as document:
        document["Tags"] = [tag for tag in document["Tags"] if tag["Key"].lower() not in gone]
    return {}


def list_role_tags(call: Call, request: Request) -> Result:
    page, more = roles.page(_found(call, request)["Tags"], lambda tag: tag["Key"], request)
    return {"Tags": page, **more}


def list_instance_profiles_for_role(call: Call, request: Request) -> Result:
    """There are none; Terraform asks before it deletes a role."""
    _found(call, request)
    return {"InstanceProfiles": [], "IsTruncated": False}


def get_user(call: Call, request: Request) -> Result:
    """There are no users; without a name the caller is meant, and root is answered for."""
    caller = call.caller
    if "UserName" in request:
        raise NoSuchEntity(f"The user with name {request['UserName']} cannot be found.")
    if not caller.is_root:
        raise ValidationFailed("Must specify userName when calling with non-User credentials")
    oldest = call.store.list(_scope(call), roles.KIND, sort_by="created_at", limit=1).items
    return {
        "User": {
            "Path": "/",
            "UserName": "root",
            "UserId": caller.user_id,
            "Arn": caller.arn,
            "CreateDate": oldest[0].created_at if oldest else call.now,
        }
    }


OPERATIONS: dict[str, Callable[[Call, Request], Result]] = {
    "iam.AttachRolePolicy": attach_role_policy,
    "iam.CreateRole": create_role,
    "iam.DeleteRole": delete_role,
    "iam.DeleteRolePermissionsBoundary": delete_role_permissions_boundary,
    "iam.DeleteRolePolicy": delete_role_policy,
    "iam.DetachRolePolicy": detach_role_policy,
    "iam.GetRole": get_role,
    "iam.GetRolePolicy": get_role_policy,
    "iam.GetUser": get_user,
    "iam.ListAttachedRolePolicies": list_attached_role_policies,
    "iam.ListInstanceProfilesForRole": list_instance_profiles_for_role,
    "iam.ListRolePolicies": list_role_policies,
    "iam.ListRoleTags": list_role_tags,
    "iam.ListRoles": list_roles,
    "iam.PutRolePermissionsBoundary": put_role_permissions_boundary,
    "iam.PutRolePolicy": put_role_policy,
    "iam.TagRole": tag_role,
    "iam.UntagRole": untag_role,
    "iam.UpdateAssumeRolePolicy": update_assume_role_policy,
    "iam.UpdateRole": update_role,
    "iam.UpdateRoleDescription": update_role_description,
}


def role_id() -> str:
    return "AROA" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(17))


def _scope(call: Call) -> Scope:
    return Scope(call.caller.account, "")


def _key(request: Request) -> str:
    name: str = request["RoleName"]
    return name.lower()


@contextmanager
def _transaction(call: Call) -> Iterator[Transaction]:
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        yield tx


@contextmanager
def _changed(call: Call, request: Request) -> Iterator[Document]:
    """The role's document, written back as the block leaves it. Raises NoSuchEntity."""
    with _transaction(call) as tx:
        role = _role(tx.get(_scope(call), roles.KIND, _key(request)), request)
        document = copy.deepcopy(role.document)
        yield document
        if document != role.document:
            tx.update(role, document)


def _found(call: Call, request: Request) -> Document:
    return _role(call.store.get(_scope(call), roles.KIND, _key(request)), request).document


def _role(found: Resource | None, request: Request) -> Resource:
    if found is None:
        raise NoSuchEntity(f"The role with name {request['RoleName']} cannot be found.")
    return found


def _no_policy(request: Request) -> NoSuchEntity:
    return NoSuchEntity(f"The role policy with name {request['PolicyName']} cannot be found.")


def _check_trust(text: str) -> None:
    checked_trust(text)
    if _size(text) > roles.MAX_TRUST_CHARS:
        raise LimitExceeded(f"Cannot exceed quota for ACLSizePerRole: {roles.MAX_TRUST_CHARS}")


def _size(policy: str) -> int:
    """IAM's quotas do not count blanks."""
    return len("".join(policy.split()))
