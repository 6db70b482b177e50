"""Is this text a bucket policy that S3 would take, and does it let everybody in? PURE.

Who may do what under it is decided elsewhere. Sources: "Bucket policies" and "The meaning of public" in the S3 user
guide, and the messages that S3 answers with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kedge.objects import known_actions
from kedge.objects.errors import MalformedPolicy

LARGEST_BYTES = 20 * 1024
_VERSIONS = ("2008-10-17", "2012-10-17")
_ELEMENTS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_PRINCIPAL = re.compile(r"\*|\d{12}|arn:aws[a-z-]*:(iam|sts)::\d{12}:.+|AIDA[A-Z0-9]+|AROA[A-Z0-9]+")
_NARROWING = re.compile(
    r"(aws:(principalorgid|principalorgpaths|principalaccount|principalarn|sourcearn|sourceaccount|sourceorgid|"
    r"sourceorgpaths|sourceowner|sourcevpc|sourcevpce|sourceip|userid|username)"
    r"|s3:(x-amz-server-side-encryption-aws-kms-key-id|dataaccesspointarn|dataaccesspointaccount))"
)
"""Condition keys with which a fixed value shuts the public out."""
_FIXING = re.compile(r"(for(all|any)values:)?(string|arn)(equals|like)(ignorecase)?|ipaddress", re.IGNORECASE)

Statement = Mapping[str, Any]


def check(text: str, bucket: str) -> list[Statement]:
    """Its statements. Raises MalformedPolicy."""
    if len(text.encode(errors="replace")) > LARGEST_BYTES:
        raise MalformedPolicy(f"The policy has more than {LARGEST_BYTES} bytes, which is the most that a bucket takes.")
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, _Twice):
            raise MalformedPolicy(f"Policy has a duplicate field: {error}") from None
        raise MalformedPolicy("Policies must be valid JSON and the first byte must be '{'") from None
    if not isinstance(document, dict):
        raise MalformedPolicy("Policies must be valid JSON and the first byte must be '{'")
    if unknown := set(document) - {"Version", "Id", "Statement"}:
        raise MalformedPolicy(f"Unknown field {sorted(unknown)[0][:64]}")
    if document.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise MalformedPolicy(f"The policy must contain a valid version string: {' or '.join(_VERSIONS)}")
    found = document.get("Statement")
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not found:
        raise MalformedPolicy("Missing required field Statement")
    seen: set[str] = set()
    for statement in found:
        _check_statement(statement, bucket)
        sid = statement.get("Sid")
        if sid and sid in seen:
            raise MalformedPolicy(f"Statement IDs (SID) in a single policy must be unique: {sid[:64]}")
        seen.add(sid)
    return found


def is_public(statements: list[Statement]) -> bool:
    """Whether any statement lets in everybody, without a condition that holds them to fixed places or accounts."""
    return any(
        statement["Effect"] == "Allow"
        and ("NotPrincipal" in statement or _everybody(statement["Principal"]))
        and not _narrowed(statement.get("Condition") or {})
        for statement in statements
    )


def _check_statement(statement: Any, bucket: str) -> None:
    if not isinstance(statement, dict):
        raise MalformedPolicy("Invalid policy syntax: a Statement is an object.")
    if unknown := set(statement) - _ELEMENTS:
        raise MalformedPolicy(f"Unknown field {sorted(unknown)[0][:64]}")
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise MalformedPolicy(f"Invalid effect: {str(statement.get('Effect'))[:64]}")
    for one, other in (("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource")):
        if (one in statement) == (other in statement):
            raise MalformedPolicy(
                f"Missing required field {one}" if one not in statement else f"{one} and {other} exclude each other"
            )
    _check_principal(statement.get("Principal", statement.get("NotPrincipal")))
    actions = _texts(statement.get("Action", statement.get("NotAction")))
    if not actions or not all(_is_action(action) for action in actions):
        raise MalformedPolicy("Policy has invalid action")
    resources = _texts(statement.get("Resource", statement.get("NotResource")))
    if not resources or not all(_of_bucket(resource, bucket) for resource in resources):
        raise MalformedPolicy(
            f"Policy has invalid resource: each is arn:aws:s3:::{bucket} or begins with arn:aws:s3:::{bucket}/"
        )
    if "Action" in statement and "Resource" in statement and not all(_applies(each, resources) for each in actions):
        raise MalformedPolicy("Action does not apply to any resource(s) in statement")
    condition = statement.get("Condition", {})
    if not isinstance(condition, dict) or not all(isinstance(keys, dict) for keys in condition.values()):
        raise MalformedPolicy("Conditions must be of the form {operator: {key: value}}")


def _check_principal(principal: Any) -> None:
    if principal == "*":
        return
    kinds = {"AWS", "Service", "Federated", "CanonicalUser"}
    if not isinstance(principal, dict) or not principal or set(principal) - kinds:
        raise MalformedPolicy("Invalid principal in policy")
    for kind, value in principal.items():
        names = _texts(value)
        if not names or (kind == "AWS" and not all(_PRINCIPAL.fullmatch(name) for name in names)):
            raise MalformedPolicy(f"Invalid principal in policy: {json.dumps({kind: value})[:256]}")


def _of_bucket(resource: str, bucket: str) -> bool:
    """A wildcard may stand for the bucket's name too, as long as the name fits."""
    found = re.fullmatch(r"arn:(aws[a-z-]*|\*):s3:::([^/]+)(/.*)?", resource, re.DOTALL)
    if found is None:
        return False
    pattern = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in re.sub(r"\*+", "*", found[2]))
    return found[2].count("*") <= 8 and re.fullmatch(pattern, bucket) is not None


def _is_action(text: str) -> bool:
    """The name of one, or a pattern, whatever it fits."""
    if "*" in text or "?" in text:
        return re.fullmatch(r"\*|s3:[A-Za-z*?]+", text, re.IGNORECASE) is not None
    return text.lower() in known_actions.KNOWN


def _applies(action: str, resources: list[str]) -> bool:
    """False for an action on a bucket where only objects are named, and the other way round. Wildcards do apply."""
    if action.lower() in known_actions.ON_BUCKETS:
        return any("/" not in resource for resource in resources)
    if action.lower() in known_actions.ON_OBJECTS:
        return any("/" in resource or "*" in resource for resource in resources)
    return True


def _everybody(principal: Any) -> bool:
    return principal == "*" or (isinstance(principal, dict) and "*" in _texts(principal.get("AWS")))


def _narrowed(condition: Mapping[str, Mapping[str, Any]]) -> bool:
    for operator, keys in condition.items():
        if not _FIXING.fullmatch(operator):
            continue
        for key, value in keys.items():
            values = _texts(value)
            if _NARROWING.fullmatch(key.lower()) and values and not any(_open(key, each) for each in values):
                return True
    return False


def _open(key: str, value: str) -> bool:
    """A value that leaves too much: any wildcard of an account, or more addresses than S3 takes for few."""
    if key.lower() == "aws:sourceip":
        address, _, bits = value.partition("/")
        wide = 32 if ":" in address else 8
        return bits.isdigit() and int(bits) < wide
    return value.strip("*?") == "" or "${" in value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else []


class _Twice(ValueError):
    """A name that an object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Twice(name[:64])
        found[name] = value
    return found
