"""A role as it is kept and as IAM describes it. PURE.

Roles are global: their scope has no region. A name differs from another by more than its case, so it is stored in lower
case; the document has it as it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from kedge.identity.errors import InvalidInput, LimitExceeded
from kedge.store.records import Resource

KIND = "iam-role"
MAX_TAGS = 50
MAX_ATTACHED = 10
MAX_TRUST_CHARS = 2048
MAX_INLINE_CHARS = 10_240
DEFAULT_MAX_SESSION_S = 3600
PAGE = 100

T = TypeVar("T")


def new(account: str, role_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a role. request: CreateRole's, its trust policy already checked."""
    name, path = request["RoleName"], request.get("Path", "/")
    document = {
        "Path": path,
        "RoleName": name,
        "RoleId": role_id,
        "Arn": f"arn:aws:iam::{account}:role{path}{name}",
        "AssumeRolePolicyDocument": request["AssumeRolePolicyDocument"],
        "MaxSessionDuration": request.get("MaxSessionDuration", DEFAULT_MAX_SESSION_S),
        "Tags": tagged([], request.get("Tags", [])),
        "AttachedPolicies": [],
        "InlinePolicies": {},
    }
    if request.get("Description"):
        document["Description"] = request["Description"]
    if request.get("PermissionsBoundary"):
        document["PermissionsBoundary"] = request["PermissionsBoundary"]
    return document


def summary(role: Resource) -> dict[str, Any]:
    """What ListRoles says of a role: less than GetRole."""
    fields = ("Path", "RoleName", "RoleId", "Arn", "Description", "MaxSessionDuration")
    return {
        **{name: role.document[name] for name in fields if name in role.document},
        "CreateDate": role.created_at,
        "AssumeRolePolicyDocument": encoded(role.document["AssumeRolePolicyDocument"]),
    }


def description(role: Resource) -> dict[str, Any]:
    described = {**summary(role), "RoleLastUsed": {}}
    if role.document["Tags"]:
        described["Tags"] = role.document["Tags"]
    if "PermissionsBoundary" in role.document:
        described["PermissionsBoundary"] = {
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": role.document["PermissionsBoundary"],
        }
    return described


def encoded(policy: str) -> str:
    """IAM answers with percent-encoded policies."""
    return quote(policy, safe="-._~")


def tagged(before: Iterable[Mapping[str, str]], given: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Keys are the same whatever their case; a new value comes with the new spelling."""
    tags = {tag["Key"].lower(): {"Key": tag["Key"], "Value": tag["Value"]} for tag in before}
    seen: set[str] = set()
    for tag in given:
        key = tag["Key"].lower()
        if key in seen:
            raise InvalidInput(
                f'Duplicate tag keys found: "{tag["Key"]}". Please note that Tag keys are case insensitive.'
            )
        if key.startswith("aws:"):
            raise InvalidInput(f'Tag key "{tag["Key"]}" is not allowed: keys that start with "aws:" are reserved.')
        seen.add(key)
        tags[key] = {"Key": tag["Key"], "Value": tag["Value"]}
    if len(tags) > MAX_TAGS:
        raise LimitExceeded(f"The number of tags has reached the maximum limit: {len(tags)} are more than {MAX_TAGS}.")
    return list(tags.values())


def page(items: Iterable[T], name: Callable[[T], str], request: Mapping[str, Any]) -> tuple[list[T], dict[str, Any]]:
    """One page in the order of names, and what says whether more follows. The marker is the last name of a page."""
    after = request.get("Marker", "")
    rest = sorted((item for item in items if name(item) > after), key=name)
    size = request.get("MaxItems", PAGE)
    if len(rest) <= size:
        return rest, {"IsTruncated": False}
    return rest[:size], {"IsTruncated": True, "Marker": name(rest[size - 1])}
