"""IAM: users, groups and access keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from kedge.errors import ValidationFailed
from kedge.identity.changes import changing, found, insert, listed, new_id, scope
from kedge.identity.entities import (
    ACCESS_KEY,
    GROUP,
    ROLE,
    USER,
    Kind,
    Request,
    Result,
    arn,
    created,
    details,
    new,
    page,
    summary,
)
from kedge.identity.errors import DeleteConflict, LimitExceeded, NoSuchEntity
from kedge.identity.holder_operations import attachable
from kedge.identity.keys import KeyRing, new_secret, random_id
from kedge.store.records import Resource

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.store import Transaction

MAX_KEYS = 2
MAX_GROUPS = 10


def create_user(call: Call, request: Request) -> Result:
    document = {**new(USER, call.caller.account, new_id(USER), request), "Groups": []}
    with changing(call) as tx:
        if "PermissionsBoundary" in document:
            attachable(call, tx, document["PermissionsBoundary"])
        user = insert(call, tx, USER, document)
    return {"User": {**summary(USER, user), **details(user)}}


def get_user(call: Call, request: Request) -> Result:
    """Without a name the caller is meant."""
    if "UserName" not in request and call.caller.is_root:
        return {"User": _root(call)}
    user = found(call, USER, _named(call, request))
    return {"User": {**summary(USER, user), **details(user)}}


def list_users(call: Call, request: Request) -> Result:
    prefix = request.get("PathPrefix", "/")
    users = (user for user in listed(call, USER) if user.document["Path"].startswith(prefix))
    shown, more = page(users, lambda user: user.name, request)
    return {"Users": [summary(USER, user) for user in shown], **more}


def delete_user(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        user = found(call, USER, request, tx)
        for what, holds in (
            ("must delete access keys first", bool(_keys(call, user, tx))),
            ("must delete policies first", bool(user.document["InlinePolicies"])),
            ("must detach all policies first", bool(user.document["AttachedPolicies"])),
            ("must remove users from group first", bool(user.document["Groups"])),
        ):
            if holds:
                raise DeleteConflict(f"Cannot delete entity, {what}.")
        tx.delete(user)
    return {}


def create_group(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        group = insert(call, tx, GROUP, new(GROUP, call.caller.account, new_id(GROUP), request))
    return {"Group": summary(GROUP, group)}


def get_group(call: Call, request: Request) -> Result:
    group = found(call, GROUP, request)
    members = (user for user in listed(call, USER) if _id(group) in user.document["Groups"])
    shown, more = page(members, lambda user: user.name, request)
    return {"Group": summary(GROUP, group), "Users": [summary(USER, user) for user in shown], **more}


def list_groups(call: Call, request: Request) -> Result:
    prefix = request.get("PathPrefix", "/")
    groups = (group for group in listed(call, GROUP) if group.document["Path"].startswith(prefix))
    shown, more = page(groups, lambda group: group.name, request)
    return {"Groups": [summary(GROUP, group) for group in shown], **more}


def list_groups_for_user(call: Call, request: Request) -> Result:
    ids = found(call, USER, request).document["Groups"]
    groups = (group for group in listed(call, GROUP) if _id(group) in ids)
    shown, more = page(groups, lambda group: group.name, request)
    return {"Groups": [summary(GROUP, group) for group in shown], **more}


def delete_group(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        group = found(call, GROUP, request, tx)
        for what, holds in (
            (
                "must remove users from group first",
                any(_id(group) in u.document["Groups"] for u in listed(call, USER, tx)),
            ),
            ("must delete policies first", bool(group.document["InlinePolicies"])),
            ("must detach all policies first", bool(group.document["AttachedPolicies"])),
        ):
            if holds:
                raise DeleteConflict(f"Cannot delete entity, {what}.")
        tx.delete(group)
    return {}


def add_user_to_group(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        group, user = found(call, GROUP, request, tx), found(call, USER, request, tx)
        groups = user.document["Groups"]
        if _id(group) in groups:
            return {}
        if len(groups) >= MAX_GROUPS:
            raise LimitExceeded(f"Cannot exceed quota for GroupsPerUser: {MAX_GROUPS}")
        tx.update(user, {**user.document, "Groups": [*groups, _id(group)]})
    return {}


def remove_user_from_group(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        group, user = found(call, GROUP, request, tx), found(call, USER, request, tx)
        if _id(group) in user.document["Groups"]:
            kept = [each for each in user.document["Groups"] if each != _id(group)]
            tx.update(user, {**user.document, "Groups": kept})
    return {}


def update(kind: Kind, call: Call, request: Request) -> Result:
    """Another name or path. Keys, memberships and policies stay, for they go by the unique id."""
    with changing(call) as tx:
        before = found(call, kind, request, tx)
        name: str = request.get(f"New{kind.parameter}") or before.document[kind.parameter]
        path: str = request.get("NewPath") or before.document["Path"]
        after = {
            **before.document,
            "Path": path,
            kind.parameter: name,
            "Arn": arn(kind, call.caller.account, path, name),
            "CreateDate": created(before).isoformat(),
        }
        if name.lower() == before.name:
            tx.update(before, after)
        else:
            tx.delete(before)
            insert(call, tx, kind, after)
    return {}


def create_access_key(keys: KeyRing, call: Call, request: Request) -> Result:
    """The one time that the secret is shown."""
    if "UserName" not in request and call.caller.is_root:
        raise ValidationFailed(
            "The root key is the one of credentials.json, and there is no other: name a user with UserName."
        )
    access_key_id, secret = "AKIA" + random_id(16), new_secret()
    with changing(call) as tx:
        user = found(call, USER, _named(call, request), tx)
        if len(_keys(call, user, tx)) >= MAX_KEYS:
            raise LimitExceeded(f"Cannot exceed quota for AccessKeysPerUser: {MAX_KEYS}")
        sealed = keys.seal_secret(access_key_id, secret)
        made = tx.insert(scope(call), ACCESS_KEY, access_key_id, {"UserId": _id(user), "Secret": sealed}, "Active")
    return {"AccessKey": {**_key(user, made), "SecretAccessKey": secret}}


def list_access_keys(call: Call, request: Request) -> Result:
    if "UserName" not in request and call.caller.is_root:
        return {"AccessKeyMetadata": [], "IsTruncated": False}
    user = found(call, USER, _named(call, request))
    shown, more = page(_keys(call, user), lambda each: each.name, request)
    return {"AccessKeyMetadata": [_key(user, each) for each in shown], **more}


def update_access_key(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        key = _own_key(call, request, tx)
        if request["Status"] not in ("Active", "Inactive"):
            raise ValidationFailed(f'Status is "{request["Status"]}"; it has to be Active or Inactive.')
        if key.status != request["Status"]:
            tx.update(key, key.document, request["Status"])
    return {}


def delete_access_key(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        tx.delete(_own_key(call, request, tx))
    return {}


def get_access_key_last_used(call: Call, request: Request) -> Result:
    key = call.store.get(scope(call), ACCESS_KEY, request["AccessKeyId"])
    if key is None:
        raise _no_key(request)
    used = key.document.get("LastUsed")
    last: dict[str, Any] = {"ServiceName": "N/A", "Region": "N/A"}
    if used is not None:
        last = {
            "LastUsedDate": datetime.fromtimestamp(used["at_s"], UTC),
            "ServiceName": used["service"],
            "Region": used["region"],
        }
    owner = next((user for user in listed(call, USER) if _id(user) == key.document["UserId"]), None)
    return {**({"UserName": owner.document["UserName"]} if owner else {}), "AccessKeyLastUsed": last}


def get_login_profile(call: Call, request: Request) -> Result:
    """There is no console to log in to, so no user has a password."""
    found(call, USER, _named(call, request))
    raise NoSuchEntity(f"Login Profile for User {request.get('UserName', '')} cannot be found.")


def none_of(member: str, call: Call, request: Request) -> Result:
    """What nobody has here, as Terraform and others ask before they delete a user."""
    if "UserName" in request:
        found(call, USER, request)
    return {member: []} if member == "ServiceSpecificCredentials" else {member: [], "IsTruncated": False}


def _root(call: Call) -> dict[str, Any]:
    oldest = call.store.list(scope(call), ROLE.kind, sort_by="created_at", limit=1).items
    return {
        "Path": "/",
        "UserName": "root",
        "UserId": call.caller.user_id,
        "Arn": call.caller.arn,
        "CreateDate": oldest[0].created_at if oldest else call.now,
    }


def _named(call: Call, request: Request) -> Request:
    """The request with the name of the caller where it has none. Raises ValidationFailed."""
    if "UserName" in request:
        return request
    caller = call.caller.arn
    if not caller.startswith(f"arn:aws:iam::{call.caller.account}:user/"):
        raise ValidationFailed("Must specify userName when calling with non-User credentials")
    return {**request, "UserName": caller.rpartition("/")[2]}


def _id(resource: Resource) -> str:
    document = resource.document
    return str(document["GroupId"] if resource.kind == GROUP.kind else document["UserId"])


def _keys(call: Call, user: Resource, tx: Transaction | None = None) -> list[Resource]:
    source = call.store if tx is None else tx
    return [each for each in source.list(scope(call), ACCESS_KEY).items if each.document["UserId"] == _id(user)]


def _key(user: Resource, key: Resource) -> dict[str, Any]:
    return {
        "UserName": user.document["UserName"],
        "AccessKeyId": key.name,
        "Status": key.status,
        "CreateDate": key.created_at,
    }


def _own_key(call: Call, request: Request, tx: Transaction) -> Resource:
    """Raises NoSuchEntity for a key that is not the user's."""
    key = tx.get(scope(call), ACCESS_KEY, request["AccessKeyId"])
    if key is None:
        raise _no_key(request)
    if "UserName" in request or not call.caller.is_root:
        user = found(call, USER, _named(call, request), tx)
        if key.document["UserId"] != _id(user):
            raise _no_key(request)
    return key


def _no_key(request: Request) -> NoSuchEntity:
    return NoSuchEntity(f"The Access Key with id {request['AccessKeyId']} cannot be found.")


def operations(keys: KeyRing) -> dict[str, Callable[[Call, Request], Result]]:
    """keys: seals secrets."""
    return {
        "iam.AddUserToGroup": add_user_to_group,
        "iam.CreateAccessKey": partial(create_access_key, keys),
        "iam.CreateGroup": create_group,
        "iam.CreateUser": create_user,
        "iam.DeleteAccessKey": delete_access_key,
        "iam.DeleteGroup": delete_group,
        "iam.DeleteLoginProfile": get_login_profile,
        "iam.DeleteUser": delete_user,
        "iam.GetAccessKeyLastUsed": get_access_key_last_used,
        "iam.GetGroup": get_group,
        "iam.GetLoginProfile": get_login_profile,
        "iam.GetUser": get_user,
        "iam.ListAccessKeys": list_access_keys,
        "iam.ListGroups": list_groups,
        "iam.ListGroupsForUser": list_groups_for_user,
        "iam.ListMFADevices": partial(none_of, "MFADevices"),
        "iam.ListSSHPublicKeys": partial(none_of, "SSHPublicKeys"),
        "iam.ListServiceSpecificCredentials": partial(none_of, "ServiceSpecificCredentials"),
        "iam.ListSigningCertificates": partial(none_of, "Certificates"),
        "iam.ListUsers": list_users,
        "iam.ListVirtualMFADevices": partial(none_of, "VirtualMFADevices"),
        "iam.RemoveUserFromGroup": remove_user_from_group,
        "iam.UpdateAccessKey": update_access_key,
        "iam.UpdateGroup": partial(update, GROUP),
        "iam.UpdateUser": partial(update, USER),
    }
