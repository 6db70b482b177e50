"""Does a role's trust policy let this caller assume it? PURE.

What is not understood never lets anybody in: a condition other than an external id makes an Allow count for nothing and
a Deny count in any case, and so does NotPrincipal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from kedge.identity.policy_documents import Statement, texts
from kedge.identity.records import Caller

_ASSUMED_ROLE = re.compile(r"arn:([^:]+):sts::([0-9]{12}):assumed-role/([^/]+)/.+")
_ROLE = re.compile(r"arn:([^:]+):iam::([0-9]{12}):role/(?:.*/)?([^/]+)")


def may_assume(trust: Iterable[Statement], caller: Caller, external_id: str | None = None) -> bool:
    allowed = False
    for statement in trust:
        denies = statement["Effect"] == "Deny"
        if not _is_assume_role(statement):
            continue
        named = denies if "NotPrincipal" in statement else _names(statement.get("Principal"), caller)
        if not named:
            continue
        holds = _holds(statement.get("Condition", {}), external_id)
        if denies and holds is not False:
            return False
        allowed = allowed or (not denies and holds is True)
    return allowed


def _is_assume_role(statement: Statement) -> bool:
    listed = any(fnmatchcase("sts:assumerole", a.lower()) for a in texts(statement.get("Action")))
    if "NotAction" in statement:
        return not any(fnmatchcase("sts:assumerole", a.lower()) for a in texts(statement["NotAction"]))
    return listed


def _names(principal: Any, caller: Caller) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, dict):
        return False
    return any(_is(named, caller) for named in texts(principal.get("AWS")))


def _is(named: str, caller: Caller) -> bool:
    """An account stands for everybody in it, a role for each of its sessions."""
    if named in ("*", caller.account, caller.arn) or re.fullmatch(rf"arn:[^:]+:iam::{caller.account}:root", named):
        return True
    session, role = _ASSUMED_ROLE.fullmatch(caller.arn), _ROLE.fullmatch(named)
    return session is not None and role is not None and session.groups() == role.groups()


def _holds(condition: Any, external_id: str | None) -> bool | None:
    """None: it asks for something that is not known here."""
    if not condition:
        return True
    if not isinstance(condition, dict) or condition.keys() != {"StringEquals"}:
        return None
    keys = condition["StringEquals"]
    if not isinstance(keys, dict) or {key.lower() for key in keys} != {"sts:externalid"}:
        return None
    return all(external_id in texts(values) for values in keys.values())
