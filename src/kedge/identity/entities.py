"""What users, groups, roles, policies and instance profiles have in common: names, ARNs, tags, pages. PURE.

All are global: their scope has no region. A name differs from another by more than its case, so each is stored under
its name in lower case; the document has it as it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from kedge.identity.errors import EntityAlreadyExists, InvalidInput, LimitExceeded, NoSuchEntity
from kedge.store.records import Resource, Scope

MAX_TAGS = 50
MAX_ATTACHED = 10
PAGE = 100

T = TypeVar("T")
Request = dict[str, Any]
Result = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    kind: str
    """In the store."""
    noun: str
    """As in names of operations and members."""
    part: str
    """In ARNs."""
    prefix: str
    """Of unique ids."""
    words: str
    """In messages."""
    most: int
    """How many of them an account may have."""
    inline_chars: int = 0
    """Of all inline policies of one together."""

    @property
    def parameter(self) -> str:
        return f"{self.noun}Name"

    @property
    def id_member(self) -> str:
        return f"{self.noun}Id"

    def key(self, request: Mapping[str, Any]) -> str:
        name: str = request[self.parameter]
        return name.lower()

    def missing(self, name: str) -> NoSuchEntity:
        if self is POLICY:
            return NoSuchEntity(f"Policy {name} was not found.")
        if self is PROFILE:
            return NoSuchEntity(f"Instance Profile {name} cannot be found.")
        return NoSuchEntity(f"The {self.words} with name {name} cannot be found.")

    def taken(self, name: str) -> EntityAlreadyExists:
        if self is POLICY:
            return EntityAlreadyExists(f"A policy called {name} already exists. Duplicate names are not allowed.")
        if self is PROFILE:
            return EntityAlreadyExists(f"Instance Profile {name} already exists.")
        return EntityAlreadyExists(f"{self.words.capitalize()} with name {name} already exists.")


ROLE = Kind("iam-role", "Role", "role", "AROA", "role", 1000, 10_240)
USER = Kind("iam-user", "User", "user", "AIDA", "user", 5000, 2048)
GROUP = Kind("iam-group", "Group", "group", "AGPA", "group", 300, 5120)
POLICY = Kind("iam-policy", "Policy", "policy", "ANPA", "policy", 1500)
PROFILE = Kind("iam-instance-profile", "InstanceProfile", "instance-profile", "AIPA", "instance profile", 1000)
KINDS = (ROLE, USER, GROUP, POLICY, PROFILE)
HOLDERS = (USER, GROUP, ROLE)
"""What policies are attached to."""
ACCESS_KEY = "iam-access-key"
"""Stored under its id."""


def scope_of(account: str) -> Scope:
    return Scope(account, "")


def new(kind: Kind, account: str, unique_id: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """What the documents of all kinds begin with. Raises InvalidInput, LimitExceeded."""
    name, path = request[kind.parameter], request.get("Path", "/")
    document: dict[str, Any] = {
        "Path": path,
        kind.parameter: name,
        kind.id_member: unique_id,
        "Arn": arn(kind, account, path, name),
    }
    if kind is not GROUP:
        document["Tags"] = tagged([], request.get("Tags", []))
    if kind in HOLDERS:
        document |= {"AttachedPolicies": [], "InlinePolicies": {}}
    if request.get("PermissionsBoundary"):
        document["PermissionsBoundary"] = request["PermissionsBoundary"]
    return document


def arn(kind: Kind, account: str, path: str, name: str) -> str:
    return f"arn:aws:iam::{account}:{kind.part}{path}{name}"


def summary(kind: Kind, found: Resource, *more: str) -> dict[str, Any]:
    """The members that lists show. more: further members of the document, where it has them."""
    document = found.document
    shown = ("Path", kind.parameter, kind.id_member, "Arn", *more)
    return {
        **{name: document[name] for name in shown if name in document},
        "CreateDate": created(found),
    }


def created(found: Resource) -> datetime:
    """A renamed one is stored anew and remembers when it was first made."""
    text = found.document.get("CreateDate")
    return found.created_at if text is None else datetime.fromisoformat(text)


def details(found: Resource) -> dict[str, Any]:
    """Tags and boundary, where there are any: what a Get shows beyond a List."""
    document, described = found.document, {}
    if document.get("Tags"):
        described["Tags"] = document["Tags"]
    if "PermissionsBoundary" in document:
        described["PermissionsBoundary"] = {
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": document["PermissionsBoundary"],
        }
    return described


def encoded(policy: str) -> str:
    """IAM answers with percent-encoded policies."""
    return quote(policy, safe="-._~")


def size(policy: str) -> int:
    """IAM's quotas do not count blanks."""
    return len("".join(policy.split()))


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
    most = request.get("MaxItems", PAGE)
    if len(rest) <= most:
        return rest, {"IsTruncated": False}
    return rest[:most], {"IsTruncated": True, "Marker": name(rest[most - 1])}
