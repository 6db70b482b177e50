"""May this caller do this? PURE: policies, who asks, what for and what is known of the request go in.

An explicit Deny anywhere wins. Without one, what the caller's own policies allow counts as far as a permissions
boundary and session policies allow it too. In the resource's own account a resource policy allows by itself; whom it
names decides how far (see Grant). Across accounts both sides have to allow. An account's root user may do all in it.

Source: "Policy evaluation logic" and "AWS JSON policy elements: Principal" in the IAM user guide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

from kedge.identity.conditions import Condition, UnknownOperator, conditions
from kedge.identity.patterns import Lookup, Template, Values, filled, matcher

VARIABLES_SINCE = "2012-10-17"

IDENTITY = "identity-based policy"
RESOURCE = "resource-based policy"
BOUNDARY = "permissions boundary"
SESSION = "session policy"

_ACCOUNT = re.compile(r"(?:arn:[^:]+:iam::)?([0-9]{12})(?::root)?\Z")


class Grant(IntEnum):
    """How an Allow of a resource policy names the caller."""

    NONE = 0
    ACCOUNT = 1
    """By the account: the account's own policies decide who in it may."""
    GENERAL = 2
    """By the role of a session, or everybody: still within boundary and session policies."""
    DIRECT = 3
    """This very user or session: nothing but an explicit Deny is asked any more."""


@dataclass(frozen=True)
class Statement:
    allows: bool
    actions: tuple[Any, ...]
    """Tests of an action in lower case."""
    not_actions: bool
    resources: tuple[Template, ...]
    not_resources: bool
    principal: Any = None
    """As written; None in a policy that names nobody."""
    not_principal: bool = False
    conditions: tuple[Condition, ...] = ()
    known: bool = True
    """False: its condition is not understood, so an Allow counts for nothing and a Deny always."""

    def speaks_of(self, action: str) -> bool:
        return any(test(action) for test in self.actions) != self.not_actions

    def applies(self, action: str, resource: str, lookup: Lookup) -> bool:
        """action: in lower case. Whom a resource policy names is not asked here."""
        if not self.speaks_of(action):
            return False
        if self.resources and any(t.matches(resource, lookup) for t in self.resources) == self.not_resources:
            return False
        if not self.known:
            return not self.allows
        return all(condition.holds(lookup) for condition in self.conditions)

    @property
    def keys(self) -> frozenset[str]:
        texts = frozenset().union(*(template.keys for template in self.resources))
        return texts.union(*(condition.keys for condition in self.conditions))


@dataclass(frozen=True)
class Policy:
    statements: tuple[Statement, ...]

    @property
    def keys(self) -> frozenset[str]:
        """Keys of the context on which its answers depend, in lower case."""
        return frozenset().union(*(statement.keys for statement in self.statements))


@dataclass(frozen=True)
class Identity:
    """Who asks, with the policies that count."""

    account: str
    arn: str
    """As GetCallerIdentity says it; empty for nobody (an unsigned request) and for a service."""
    policies: tuple[Policy, ...] = ()
    boundary: Policy | None = None
    session: tuple[Policy, ...] | None = None
    """Session policies; None: there are none. Empty: there have to be some, and none allows anything."""
    names: tuple[str, ...] = ()
    """What else the principal is called: the ARN of a session's role, unique ids."""
    service: str = ""
    """sagemaker.amazonaws.com, for a service that acts by itself."""

    @property
    def is_root(self) -> bool:
        return self.arn.endswith(":root")

    def keys(self, *actions: str) -> frozenset[str]:
        """Keys of the context on which decisions about these actions depend; about any action without them."""
        boundary = (self.boundary,) if self.boundary else ()
        named = [action.lower() for action in actions]
        statements = (each for p in (*self.policies, *boundary, *(self.session or ())) for each in p.statements)
        return frozenset().union(*(s.keys for s in statements if not named or any(s.speaks_of(a) for a in named)))


@dataclass(frozen=True)
class Resource:
    arn: str
    account: str
    """Whose it is."""
    policy: Policy | None = None
    needs_policy: bool = False
    """Only its policy gives access, or gives it to the account: a role's trust, a key's policy."""


@dataclass(frozen=True)
class Decision:
    allowed: bool
    explicit: bool = False
    """Denied by a statement, not for want of one."""
    source: str = ""
    """Which kind of policy denies, or lacks the Allow: IDENTITY, RESOURCE, BOUNDARY or SESSION."""

    def reason(self, action: str) -> str:
        """The end of AWS's message."""
        article = "an" if self.source == IDENTITY else "a"
        if self.explicit:
            return f"with an explicit deny in {article} {self.source}"
        return f"because no {self.source} allows the {action} action"


ALLOWED = Decision(True)


class BrokenPolicy(ValueError):
    """A text that is no policy."""


@lru_cache(4096)
def parsed(text: str) -> Policy:
    """A policy that can be asked. Raises BrokenPolicy; an operator that is not known breaks only its own statement."""
    try:
        document = json.loads(text)
        variables = document.get("Version") == VARIABLES_SINCE
        found = document["Statement"]
        return Policy(tuple(_statement(each, variables) for each in ([found] if isinstance(found, dict) else found)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BrokenPolicy(str(error)) from error


def evaluate(
    identity: Identity, action: str, resource: Resource, context: Mapping[str, Values] | Lookup | None = None
) -> Decision:
    """context: what is known of the request by condition key in lower case; or how to look such a key up."""
    lookup = context if callable(context) else filled(context or {})
    action = action.lower()
    own_account = resource.account == identity.account
    if identity.is_root and own_account and not resource.needs_policy and identity.session is None:
        return ALLOWED
    own = (
        (IDENTITY, identity.policies),
        (BOUNDARY, (identity.boundary,) if identity.boundary else ()),
        (SESSION, identity.session or ()),
    )
    allows: dict[str, bool] = {}
    for source, policies in own:
        verdict = _asked(policies, action, resource.arn, lookup)
        if verdict is False:
            return Decision(False, True, source)
        allows[source] = verdict is True
    if identity.is_root:
        allows[IDENTITY] = True
    grant = Grant.NONE
    if resource.policy is not None:
        found = _granted(resource.policy, identity, action, resource.arn, lookup)
        if found is None:
            return Decision(False, True, RESOURCE)
        grant = found
    if own_account and grant is Grant.DIRECT:
        return ALLOWED
    if identity.boundary is not None and not allows[BOUNDARY]:
        return Decision(False, source=BOUNDARY)
    if identity.session is not None and not allows[SESSION]:
        return Decision(False, source=SESSION)
    nobody = not identity.arn
    if (own_account or nobody) and grant >= Grant.GENERAL:
        return ALLOWED
    if grant is Grant.NONE and (resource.needs_policy or not own_account):
        return Decision(False, source=RESOURCE)
    return ALLOWED if allows[IDENTITY] else Decision(False, source=IDENTITY)


def _asked(policies: Iterable[Policy], action: str, resource: str, lookup: Lookup) -> bool | None:
    """False: denied; True: allowed; None: neither."""
    allowed: bool | None = None
    for policy in policies:
        for statement in policy.statements:
            if allowed and statement.allows:
                continue
            if statement.applies(action, resource, lookup):
                if not statement.allows:
                    return False
                allowed = True
    return allowed


def _granted(policy: Policy, identity: Identity, action: str, resource: str, lookup: Lookup) -> Grant | None:
    """How far a resource policy lets the caller in; None: it denies."""
    grant = Grant.NONE
    for statement in policy.statements:
        named = _named(statement.principal, identity)
        if statement.not_principal:
            named = Grant.NONE if named >= (Grant.ACCOUNT if identity.is_root else Grant.GENERAL) else Grant.GENERAL
        if (statement.allows and named <= grant) or named is Grant.NONE:
            continue
        if statement.applies(action, resource, lookup):
            if not statement.allows:
                return None
            grant = named
    return grant


def _named(principal: Any, identity: Identity) -> Grant:
    if principal == "*":
        return Grant.GENERAL
    if not isinstance(principal, dict):
        return Grant.NONE
    if identity.service:
        return Grant.DIRECT if identity.service in _texts(principal.get("Service")) else Grant.NONE
    return max((_names(each, identity) for each in _texts(principal.get("AWS"))), default=Grant.NONE)


def _names(named: str, identity: Identity) -> Grant:
    if named == "*":
        return Grant.GENERAL
    if not identity.arn:
        return Grant.NONE
    if named == identity.arn:
        return Grant.DIRECT
    if named in identity.names:
        return Grant.GENERAL
    account = _ACCOUNT.match(named)
    return Grant.ACCOUNT if account and account[1] == identity.account else Grant.NONE


def _statement(raw: Mapping[str, Any], variables: bool) -> Statement:
    effect = raw["Effect"]
    if effect not in ("Allow", "Deny"):
        raise ValueError("Effect is Allow or Deny")
    actions = _texts(raw.get("Action", raw.get("NotAction")))
    resources = _texts(raw.get("Resource", raw.get("NotResource")))
    if not actions:
        raise ValueError("a statement needs actions")
    try:
        holds, known = conditions(raw.get("Condition") or {}, variables=variables), True
    except UnknownOperator:
        holds, known = (), False
    return Statement(
        allows=effect == "Allow",
        actions=tuple(
            matcher(tuple(Template(each.lower(), variables=False).tokens(_nothing) or ())) for each in actions
        ),
        not_actions="NotAction" in raw,
        resources=tuple(Template(each, variables=variables) for each in resources),
        not_resources="NotResource" in raw,
        principal=raw.get("Principal", raw.get("NotPrincipal")),
        not_principal="NotPrincipal" in raw,
        conditions=holds,
        known=known,
    )


def _nothing(_key: str) -> Values | None:
    return None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
