"""Who there is, with which policies: what a decision needs to know of users, roles and policies. PURE.

Control makes it from the store, a router from its table; both turn the verified sender of a request into the Identity
that policy.py is asked about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from kedge.identity import aws_policies
from kedge.identity.policy import BrokenPolicy, Identity, Policy, parsed
from kedge.identity.records import Caller

INVOKE = "sagemaker:InvokeEndpoint"
STREAM = "sagemaker:InvokeEndpointWithResponseStream"
INVOKE_ACTIONS = (INVOKE, STREAM, "sagemaker:InvokeEndpointAsync")

NOTHING = Policy(())
"""Stands for a policy that is gone: it allows nothing and denies nothing."""
EVERYTHING = parsed(json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}))


@dataclass(frozen=True)
class Principal:
    """A user or a role."""

    id: str
    arn: str
    policies: tuple[str, ...] = ()
    """Names of documents."""
    boundary: str = ""
    """Name of a document; empty: there is none."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Directory:
    principals: Mapping[str, Principal] = field(default_factory=dict)
    """By unique id."""
    documents: Mapping[str, str] = field(default_factory=dict)
    """Policies by name: of a managed policy its ARN. AWS's own are known without being listed."""

    def principal(self, caller: Caller) -> Principal | None:
        """Whose policies count for the caller; None for root, nobody, and whoever is not there any more."""
        return self.principals.get(principal_id(caller))

    def knows(self, caller: Caller) -> bool:
        """False: the user or role has been deleted since the key was handed out."""
        return caller.is_anonymous or principal_id(caller) == caller.account or self.principal(caller) is not None

    def boundary_of(self, arn: str) -> str:
        """Name of the permissions boundary of the user or role with this ARN; empty: there is none."""
        return next((each.boundary for each in self.principals.values() if each.arn == arn), "")

    def policy(self, name: str) -> Policy:
        text = self.documents.get(name)
        if text is None:
            text = aws_policies.document(name)
        try:
            return NOTHING if text is None else parsed(text)
        except BrokenPolicy:
            return NOTHING

    def identity(self, caller: Caller) -> Identity:
        session = caller.session
        # Not caller.account: one who acts in the account of another's bucket does not become another for that.
        account = caller.arn.split(":")[4] if caller.arn else ""
        narrowing: tuple[Policy, ...] | None = None
        if session is not None and session.is_narrowed:
            texts = tuple(parsed(text) for text in session.policies)
            narrowing = (*texts, *(self.policy(arn) for arn in session.policy_arns))
        if caller.is_anonymous:
            return Identity("", "")
        if principal_id(caller) == account:
            # A federated user of root is another name for root, held by session policies.
            return Identity(account, caller.arn, () if caller.is_root else (EVERYTHING,), session=narrowing)
        principal = self.principal(caller)
        if principal is None:
            return Identity(account, caller.arn, session=())
        return Identity(
            account,
            caller.arn,
            tuple(self.policy(name) for name in principal.policies),
            self.policy(principal.boundary) if principal.boundary else None,
            narrowing,
            (principal.arn, principal.id) if principal.arn != caller.arn else (principal.id,),
        )

    def invoking(self) -> Directory:
        """What a router needs: policies without the statements that say nothing of invocations."""
        kept = {name: short for name, text in self.documents.items() if (short := about_invocations(text)) is not None}
        principals = {
            id_: Principal(
                id_,
                each.arn,
                tuple(name for name in each.policies if name in kept or aws_policies.document(name) is not None),
                each.boundary,
                each.tags,
            )
            for id_, each in self.principals.items()
        }
        return Directory(principals, kept)


def principal_id(caller: Caller) -> str:
    """Unique id of the user or role whose policies count, or the account for its root."""
    return caller.session.principal_id if caller.session is not None else caller.user_id


@lru_cache(4096)
def about_invocations(text: str) -> str | None:
    """The policy with only those statements that can speak of an invocation; None where there are none."""
    try:
        policy, document = parsed(text), json.loads(text)
    except (BrokenPolicy, ValueError):
        return None
    raw = document["Statement"]
    raw = [raw] if isinstance(raw, dict) else raw
    actions = [action.lower() for action in INVOKE_ACTIONS]
    kept = [
        each
        for each, statement in zip(raw, policy.statements, strict=True)
        if any(statement.speaks_of(action) for action in actions)
    ]
    return json.dumps({**document, "Statement": kept}, separators=(",", ":")) if kept else None


def tags_of(tags: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """{"Key": ..., "Value": ...} as a plain map."""
    return {tag["Key"]: tag["Value"] for tag in tags}
