"""Sessions of a role that a service takes by itself: SageMaker, for the instances of a model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kedge import errors
from kedge.identity.entities import ROLE, scope_of
from kedge.identity.keys import KeyRing
from kedge.identity.policy import BrokenPolicy, Identity, Resource, evaluate, parsed
from kedge.identity.records import Session
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
    caller = Identity(account, "", service=service)
    if not evaluate(caller, "sts:AssumeRole", resource, {"aws:sourceaccount": (account,)}).allowed:
        raise errors.AccessDenied(f"The trust policy of {role_arn} does not let {service} assume it.")
    unique = role.document["RoleId"]
    # Whole seconds, as they are told.
    expires_at = now.replace(microsecond=0) + timedelta(seconds=role.document["MaxSessionDuration"])
    sealed = keys.seal(
        account,
        f"arn:aws:sts::{account}:assumed-role/{role.document['RoleName']}/{SESSION_NAME}",
        f"{unique}:{SESSION_NAME}",
        expires_at,
        Session(issued_s=now.timestamp(), principal_id=unique),
    )
    return Credentials(*sealed, expires_at)
