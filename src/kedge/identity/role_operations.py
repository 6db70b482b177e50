"""IAM: roles, and the instance profiles that hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kedge.identity.changes import changed, changing, found, insert, listed, new_id
from kedge.identity.entities import PROFILE, ROLE, Request, Result, details, encoded, new, page, size, summary
from kedge.identity.errors import DeleteConflict, LimitExceeded, MalformedPolicyDocument
from kedge.identity.holder_operations import attachable
from kedge.identity.named import missing
from kedge.identity.policy_documents import checked_trust, statements
from kedge.store.records import Document, Resource

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.store import Transaction

MAX_TRUST_CHARS = 2048
DEFAULT_MAX_SESSION_S = 3600
PROFILES_SHOWN = 1000


def create_role(call: Call, request: Request) -> Result:
    document = new_role(call.caller.account, request)
    _check_named(call, request["AssumeRolePolicyDocument"])
    with changing(call) as tx:
        if "PermissionsBoundary" in document:
            attachable(call, tx, document["PermissionsBoundary"])
        role = insert(call, tx, ROLE, document)
    return {"Role": {**_summary(role), **({"Tags": document["Tags"]} if document["Tags"] else {})}}


def new_role(account: str, request: Request) -> Document:
    """Raises MalformedPolicyDocument, LimitExceeded or InvalidInput."""
    _check_trust(request["AssumeRolePolicyDocument"])
    document = new(ROLE, account, new_id(ROLE), request)
    document["AssumeRolePolicyDocument"] = request["AssumeRolePolicyDocument"]
    document["MaxSessionDuration"] = request.get("MaxSessionDuration", DEFAULT_MAX_SESSION_S)
    if request.get("Description"):
        document["Description"] = request["Description"]
    return document


def get_role(call: Call, request: Request) -> Result:
    return {"Role": role_description(found(call, ROLE, request))}


def role_description(role: Resource) -> dict[str, Any]:
    return {**_summary(role), "RoleLastUsed": {}, **details(role)}


def list_roles(call: Call, request: Request) -> Result:
    prefix = request.get("PathPrefix", "/")
    roles = (role for role in listed(call, ROLE) if role.document["Path"].startswith(prefix))
    shown, more = page(roles, lambda role: role.name, request)
    return {"Roles": [_summary(role) for role in shown], **more}


def delete_role(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        role = found(call, ROLE, request, tx)
        if role.document["InlinePolicies"]:
            raise DeleteConflict("Cannot delete entity, must delete policies first.")
        if role.document["AttachedPolicies"]:
            raise DeleteConflict("Cannot delete entity, must detach all policies first.")
        if _holding(call, role, tx):
            raise DeleteConflict("Cannot delete entity, must remove roles from instance profile first.")
        tx.delete(role)
    return {}


def update_role(call: Call, request: Request) -> Result:
    with changed(call, ROLE, request) as document:
        if "Description" in request:
            document["Description"] = request["Description"]
        if "MaxSessionDuration" in request:
            document["MaxSessionDuration"] = request["MaxSessionDuration"]
    return {}


def update_role_description(call: Call, request: Request) -> Result:
    with changed(call, ROLE, request) as document:
        document["Description"] = request["Description"]
    return get_role(call, request)


def update_assume_role_policy(call: Call, request: Request) -> Result:
    _check_trust(request["PolicyDocument"])
    _check_named(call, request["PolicyDocument"])
    with changed(call, ROLE, request) as document:
        document["AssumeRolePolicyDocument"] = request["PolicyDocument"]
    return {}


def create_instance_profile(call: Call, request: Request) -> Result:
    document = {**new(PROFILE, call.caller.account, new_id(PROFILE), request), "Roles": []}
    with changing(call) as tx:
        made = insert(call, tx, PROFILE, document)
        return {"InstanceProfile": _profile(call, made, tx)}


def get_instance_profile(call: Call, request: Request) -> Result:
    return {"InstanceProfile": _profile(call, found(call, PROFILE, request))}


def list_instance_profiles(call: Call, request: Request) -> Result:
    prefix = request.get("PathPrefix", "/")
    profiles = (each for each in listed(call, PROFILE) if each.document["Path"].startswith(prefix))
    shown, more = page(profiles, lambda each: each.name, request)
    return {"InstanceProfiles": [_profile(call, each) for each in shown], **more}


def list_instance_profiles_for_role(call: Call, request: Request) -> Result:
    shown, more = page(_holding(call, found(call, ROLE, request)), lambda each: each.name, request)
    return {"InstanceProfiles": [_profile(call, each) for each in shown], **more}


def delete_instance_profile(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        profile = found(call, PROFILE, request, tx)
        if profile.document["Roles"]:
            raise DeleteConflict("Cannot delete entity, must remove roles from instance profile first.")
        tx.delete(profile)
    return {}


def add_role_to_instance_profile(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        profile, role = found(call, PROFILE, request, tx), found(call, ROLE, request, tx)
        if profile.document["Roles"]:
            raise LimitExceeded("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
        tx.update(profile, {**profile.document, "Roles": [role.name]})
    return {}


def remove_role_from_instance_profile(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        profile = found(call, PROFILE, request, tx)
        name = ROLE.key(request)
        if name not in profile.document["Roles"]:
            raise ROLE.missing(request["RoleName"])
        tx.update(profile, {**profile.document, "Roles": [each for each in profile.document["Roles"] if each != name]})
    return {}


def instance_profiles_of(call: Call, role: Resource) -> list[dict[str, Any]]:
    return [_profile(call, each) for each in _holding(call, role)[:PROFILES_SHOWN]]


def _summary(role: Resource) -> dict[str, Any]:
    return {
        **summary(ROLE, role, "Description", "MaxSessionDuration"),
        "AssumeRolePolicyDocument": encoded(role.document["AssumeRolePolicyDocument"]),
    }


def _holding(call: Call, role: Resource, tx: Transaction | None = None) -> list[Resource]:
    return [each for each in listed(call, PROFILE, tx) if role.name in each.document["Roles"]]


def _profile(call: Call, profile: Resource, tx: Transaction | None = None) -> dict[str, Any]:
    source = call.store if tx is None else tx
    roles = (source.get(profile.scope, ROLE.kind, name) for name in profile.document["Roles"])
    shown = {
        **summary(PROFILE, profile),
        "Roles": [_summary(role) for role in roles if role is not None],
    }
    return {**shown, "Tags": profile.document["Tags"]} if profile.document["Tags"] else shown


def _check_trust(text: str) -> None:
    checked_trust(text)
    if size(text) > MAX_TRUST_CHARS:
        raise LimitExceeded(f"Cannot exceed quota for ACLSizePerRole: {MAX_TRUST_CHARS}")


def _check_named(call: Call, text: str) -> None:
    if (name := missing(call.store, call.caller.account, statements(text))) is not None:
        raise MalformedPolicyDocument(f"Invalid principal in policy: {name}")


OPERATIONS: dict[str, Callable[[Call, Request], Result]] = {
    "iam.AddRoleToInstanceProfile": add_role_to_instance_profile,
    "iam.CreateInstanceProfile": create_instance_profile,
    "iam.CreateRole": create_role,
    "iam.DeleteInstanceProfile": delete_instance_profile,
    "iam.DeleteRole": delete_role,
    "iam.GetInstanceProfile": get_instance_profile,
    "iam.GetRole": get_role,
    "iam.ListInstanceProfiles": list_instance_profiles,
    "iam.ListInstanceProfilesForRole": list_instance_profiles_for_role,
    "iam.ListRoles": list_roles,
    "iam.RemoveRoleFromInstanceProfile": remove_role_from_instance_profile,
    "iam.UpdateAssumeRolePolicy": update_assume_role_policy,
    "iam.UpdateRole": update_role,
    "iam.UpdateRoleDescription": update_role_description,
}
