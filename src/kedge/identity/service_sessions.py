"""Sessions of a role that a service takes by itself: SageMaker, for the instances of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kedge import errors
from kedge.identity.entities import ROLE, scope_of
from kedge.identity.keys import KeyRing
from kedge.identity.policy import BrokenPolicy, Identity, Resource, evaluate, parsed
from kedge.identity.records import Caller, Session
from kedge.identity.session_operations import ROLE_ARN
from kedge.store.store import Store

SAGEMAKER = "sagemaker.amazonaws.com"
SESSION_NAME = "SageMaker"
"""RoleSessionName as SageMaker chooses it."""


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret: str
    token: str
    expires_at: datetime


def assume(keys: KeyRing, store: Store, role_arn: str, now: datetime, *, service: str = SAGEMAKER) -> Credentials:
    """Keys of the role for as long as its sessions may last. Raises AccessDenied, which says what is wrong with it."""
    account, role = _trusted(store, role_arn, service)
    unique = role["RoleId"]
    # Whole seconds, as they are told.
    expires_at = now.replace(microsecond=0) + timedelta(seconds=role["MaxSessionDuration"])
    session = Session(issued_s=now.timestamp(), principal_id=unique)
    sealed = keys.seal(account, _session_arn(account, role), f"{unique}:{SESSION_NAME}", expires_at, session)
    return Credentials(*sealed, expires_at)


def caller(store: Store, role_arn: str, region: str, now: datetime, *, service: str = SAGEMAKER) -> Caller:
    """Who calls when the service does something in the role's name by itself. Raises AccessDenied, as `assume`."""
    account, role = _trusted(store, role_arn, service)
    unique = role["RoleId"]
    session = Session(issued_s=now.timestamp(), principal_id=unique)
    return Caller(account, region, _session_arn(account, role), f"{unique}:{SESSION_NAME}", "", session)


def _session_arn(account: str, role: Mapping[str, Any]) -> str:
    return f"arn:aws:sts::{account}:assumed-role/{role['RoleName']}/{SESSION_NAME}"


def _trusted(store: Store, role_arn: str, service: str) -> tuple[str, Mapping[str, Any]]:
    """The account and the role that lets the service assume it. Raises AccessDenied."""
    match = ROLE_ARN.fullmatch(role_arn)
    account, name = (match[1], match[3]) if match else ("", "")
    role = store.get(scope_of(account), ROLE.kind, name.lower()) if match else None
    if role is None or role.document["Arn"] != role_arn:
        raise errors.AccessDenied(f"The role {role_arn} does not exist, so {service} cannot assume it.")
    try:
        trust = parsed(role.document["AssumeRolePolicyDocument"])
    except BrokenPolicy:
        trust = None
    resource = Resource(role_arn, account, trust, needs_policy=True)
    asking = Identity(account, "", service=service)
    if not evaluate(asking, "sts:AssumeRole", resource, {"aws:sourceaccount": (account,)}).allowed:
        raise errors.AccessDenied(f"The trust policy of {role_arn} does not let {service} assume it.")
    return account, role.document
