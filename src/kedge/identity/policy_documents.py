"""Is this text a policy that IAM would take? Only its form is checked here. PURE.

Source: "IAM JSON policy elements reference", and the messages that IAM answers with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kedge.identity.conditions import conditions
from kedge.identity.errors import MalformedPolicyDocument

VERSIONS = ("2008-10-17", "2012-10-17")
MAX_STATEMENTS = 1000

Statement = Mapping[str, Any]

_ACTION = re.compile(r"\*|[A-Za-z0-9*?\-]+:[A-Za-z0-9*?]+")
_TRUST_ACTION = re.compile(r"sts:[A-Za-z*?]+", re.IGNORECASE)
_FIELDS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_ONE_OF_TWO = (("Action", "NotAction"), ("Resource", "NotResource"), ("Principal", "NotPrincipal"))
_PRINCIPAL_KINDS = frozenset({"AWS", "Service", "Federated", "CanonicalUser"})


def checked_trust(text: str) -> list[Statement]:
    """Statements of a role's trust policy. Raises MalformedPolicyDocument."""
    found = statements(text)
    for statement in found:
        for field in ("Resource", "NotResource"):
            if field in statement:
                raise MalformedPolicyDocument(f"Has prohibited field {field}")
        if not statement.get("Principal") and not statement.get("NotPrincipal"):
            raise MalformedPolicyDocument("Missing required field Principal")
        _check_principal(statement.get("Principal", statement.get("NotPrincipal")))
        for action in _actions(statement):
            if not _TRUST_ACTION.fullmatch(action):
                raise MalformedPolicyDocument(
                    f'AssumeRole policy may only specify STS AssumeRole actions; "{action[:128]}" is none.'
                )
    return found


def checked_resource_policy(text: str) -> list[Statement]:
    """Statements of a policy that stands with a resource: who may do what with it. Raises MalformedPolicyDocument."""
    found = statements(text)
    for statement in found:
        if "Principal" not in statement and "NotPrincipal" not in statement:
            raise MalformedPolicyDocument("Missing required field Principal")
        _check_principal(statement.get("Principal", statement.get("NotPrincipal")))
        _check_actions_and_resources(statement)
    return found


def check_permissions(text: str) -> None:
    """The text of an identity's policy. Raises MalformedPolicyDocument."""
    for statement in statements(text):
        if "Principal" in statement or "NotPrincipal" in statement:
            raise MalformedPolicyDocument("Policy document should not specify a principal.")
        _check_actions_and_resources(statement)


def _check_actions_and_resources(statement: Statement) -> None:
    for action in _actions(statement):
        if not _ACTION.fullmatch(action):
            raise MalformedPolicyDocument(
                f'Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.; "{action[:128]}" is not.'
            )
    resources = texts(statement.get("Resource", statement.get("NotResource")))
    if not resources:
        raise MalformedPolicyDocument("Policy statement must contain resources.")
    for resource in resources:
        if resource != "*" and not resource.startswith("arn:"):
            raise MalformedPolicyDocument(f'Resource {resource[:256]} must be in ARN format or "*".')


def statements(text: str) -> list[Statement]:
    """Raises MalformedPolicyDocument unless it is JSON with well-formed statements."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedPolicyDocument("This policy contains invalid Json") from None
    if not isinstance(document, dict) or set(document) - {"Version", "Id", "Statement"}:
        raise MalformedPolicyDocument("Syntax errors in policy.")
    if document.get("Version", VERSIONS[0]) not in VERSIONS:
        raise MalformedPolicyDocument(f"The policy must contain a valid version string: {' or '.join(VERSIONS)}.")
    found = document.get("Statement")
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not 0 < len(found) <= MAX_STATEMENTS:
        raise MalformedPolicyDocument("Syntax errors in policy: Statement has to be a list of statements.")
    for statement in found:
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            raise MalformedPolicyDocument("Syntax errors in policy: each statement needs an Effect, Allow or Deny.")
        unknown = statement.keys() - _FIELDS
        if unknown:
            raise MalformedPolicyDocument(f'Syntax errors in policy: a statement has no "{sorted(unknown)[0][:64]}".')
        for one, other in _ONE_OF_TWO:
            if one in statement and other in statement:
                raise MalformedPolicyDocument(f"Syntax errors in policy: a statement has {one} or {other}, not both.")
        if not isinstance(statement.get("Condition", {}), dict):
            raise MalformedPolicyDocument("Syntax errors in policy: a Condition has to be a map of operators.")
        try:
            conditions(statement.get("Condition", {}), variables=False)
        except ValueError as error:
            raise MalformedPolicyDocument(f"Syntax errors in policy: {error}.") from None
    return found


def texts(value: Any) -> list[str]:
    """One text or a list of them, as policies write it; [] for anything else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    return []


def _actions(statement: Statement) -> Sequence[str]:
    actions = texts(statement.get("Action", statement.get("NotAction")))
    if not actions:
        raise MalformedPolicyDocument("Policy statement must contain actions.")
    return actions


def _check_principal(principal: Any) -> None:
    if principal == "*":
        return
    if not isinstance(principal, dict) or not principal or not principal.keys() <= _PRINCIPAL_KINDS:
        raise MalformedPolicyDocument(f"Invalid principal in policy: {json.dumps(principal)[:256]}")
    for kind, value in principal.items():
        named = texts(value)
        if not named:
            raise MalformedPolicyDocument(f'Invalid principal in policy: "{kind}" names nobody.')
        for each in named:
            if kind == "AWS" and not re.fullmatch(r"\*|[0-9]{12}|arn:[^:]+:(iam|sts)::[0-9]{12}:.+", each):
                raise MalformedPolicyDocument(f'Invalid principal in policy: "AWS":"{each[:256]}"')
