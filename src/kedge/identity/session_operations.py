"""STS: who am I, and temporary keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kedge import errors
from kedge.identity import roles
from kedge.identity.keys import KeyRing
from kedge.identity.policy_documents import statements
from kedge.identity.trust import may_assume
from kedge.store.records import Scope

if TYPE_CHECKING:
    from kedge.call import Call

DEFAULT_SESSION_S = 3600
MAX_CHAINED_SESSION_S = 3600
DEFAULT_USER_SESSION_S = 43_200
MAX_ROOT_SESSION_S = 3600

_ROLE_ARN = re.compile(r"arn:aws:iam::([0-9]{12}):role(/(?:[\x21-\x7e]+/)?)([\w+=,.@-]{1,64})", re.ASCII)


def operations(keys: KeyRing) -> dict[str, Callable[[Call, dict[str, Any]], dict[str, Any]]]:
    return {
        "sts.AssumeRole": lambda call, request: assume_role(keys, call, request),
        "sts.GetCallerIdentity": get_caller_identity,
        "sts.GetSessionToken": lambda call, request: get_session_token(keys, call, request),
    }


def get_caller_identity(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return {"UserId": call.caller.user_id, "Account": call.caller.account, "Arn": call.caller.arn}


def assume_role(keys: KeyRing, call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A role that is not there and one that does not trust the caller answer the same, as in AWS."""
    _refuse_what_would_not_bind(request)
    match = _ROLE_ARN.fullmatch(request["RoleArn"])
    if match is None:
        raise errors.ValidationFailed(f"{request['RoleArn']} is invalid: a role is arn:aws:iam::ACCOUNT:role/NAME")
    account, path, name = match.groups()
    role = call.store.get(Scope(account, ""), roles.KIND, name.lower())
    if (
        role is None
        or (role.document["RoleName"], role.document["Path"]) != (name, path)
        or not may_assume(statements(role.document["AssumeRolePolicyDocument"]), call.caller, request.get("ExternalId"))
    ):
        raise errors.AccessDenied(
            f"User: {call.caller.arn} is not authorized to perform: sts:AssumeRole on resource: {request['RoleArn']}"
        )
    duration_s = request.get("DurationSeconds", DEFAULT_SESSION_S)
    if duration_s > role.document["MaxSessionDuration"]:
        raise errors.ValidationFailed(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role: "
            f"{duration_s} is more than {role.document['MaxSessionDuration']}."
        )
    if ":assumed-role/" in call.caller.arn and duration_s > MAX_CHAINED_SESSION_S:
        raise errors.ValidationFailed(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        )
    session = request["RoleSessionName"]
    arn = f"arn:aws:sts::{account}:assumed-role/{name}/{session}"
    user_id = f"{role.document['RoleId']}:{session}"
    answer = {
        "Credentials": _credentials(keys, call, account, arn, user_id, duration_s),
        "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn},
    }
    return answer | ({"SourceIdentity": request["SourceIdentity"]} if "SourceIdentity" in request else {})


def get_session_token(keys: KeyRing, call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Temporary keys of the same principal; root's last one hour at most, whatever is asked for."""
    _refuse_what_would_not_bind(request)
    caller = call.caller
    if caller.access_key_id.startswith("ASIA"):
        raise errors.AccessDenied("Cannot call GetSessionToken with session credentials")
    duration_s = request.get("DurationSeconds", DEFAULT_USER_SESSION_S)
    if caller.is_root:
        duration_s = min(duration_s, MAX_ROOT_SESSION_S)
    return {"Credentials": _credentials(keys, call, caller.account, caller.arn, caller.user_id, duration_s)}


def _refuse_what_would_not_bind(request: dict[str, Any]) -> None:
    """A limit that the caller asks for and that nothing would enforce must not be accepted silently."""
    if "SerialNumber" in request or "TokenCode" in request:
        raise errors.AccessDenied(
            "MultiFactorAuthentication failed, unable to validate MFA code: there are no MFA devices here; "
            "leave SerialNumber and TokenCode out."
        )
    for name in ("Policy", "PolicyArns", "ProvidedContexts"):
        if request.get(name):
            raise errors.ValidationFailed(
                f"{name} is not supported: session policies are not enforced here. Leave it out."
            )


def _credentials(keys: KeyRing, call: Call, account: str, arn: str, user_id: str, duration_s: int) -> dict[str, Any]:
    expires_at = call.now.replace(microsecond=0) + timedelta(seconds=duration_s)
    access_key_id, secret, token = keys.seal(account, arn, user_id, expires_at)
    return {
        "AccessKeyId": access_key_id,
        "SecretAccessKey": secret,
        "SessionToken": token,
        "Expiration": expires_at,
    }
