"""STS: who am I, and temporary keys. Whether a role may be assumed has been asked before: see authorization.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kedge import errors
from kedge.identity import aws_policies
from kedge.identity.entities import ACCESS_KEY, POLICY, ROLE, scope_of, tagged
from kedge.identity.errors import InvalidInput, MalformedPolicyDocument, PackedPolicyTooLarge
from kedge.identity.keys import MAX_TOKEN_CHARS, KeyRing, TokenTooLarge
from kedge.identity.policy_documents import check_permissions
from kedge.identity.records import Session

if TYPE_CHECKING:
    from kedge.call import Call

DEFAULT_SESSION_S = 3600
MAX_CHAINED_SESSION_S = 3600
DEFAULT_USER_SESSION_S = 43_200
MAX_ROOT_SESSION_S = 3600
MAX_POLICY_ARNS = 10

ROLE_ARN = re.compile(r"arn:aws:iam::([0-9]{12}):role(/(?:[\x21-\x7e]+/)?)([\w+=,.@-]{1,64})", re.ASCII)


def operations(keys: KeyRing) -> dict[str, Callable[[Call, dict[str, Any]], dict[str, Any]]]:
    return {
        "sts.AssumeRole": lambda call, request: assume_role(keys, call, request),
        "sts.GetAccessKeyInfo": get_access_key_info,
        "sts.GetCallerIdentity": get_caller_identity,
        "sts.GetFederationToken": lambda call, request: get_federation_token(keys, call, request),
        "sts.GetSessionToken": lambda call, request: get_session_token(keys, call, request),
    }


def get_caller_identity(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return {"UserId": call.caller.user_id, "Account": call.caller.account, "Arn": call.caller.arn}


def get_access_key_info(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    access_key_id = request["AccessKeyId"]
    known = call.caller.access_key_id == access_key_id
    if not known and call.store.get(scope_of(call.caller.account), ACCESS_KEY, access_key_id) is None:
        raise errors.ValidationFailed(f"Access key {access_key_id[:32]} is not known here.")
    return {"Account": call.caller.account}


def assume_role(keys: KeyRing, call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """A role that is not there and one that does not trust the caller answer the same, as in AWS."""
    _refuse_codes(request)
    match = ROLE_ARN.fullmatch(request["RoleArn"])
    if match is None:
        raise errors.ValidationFailed(f"{request['RoleArn']} is invalid: a role is arn:aws:iam::ACCOUNT:role/NAME")
    account, _, name = match.groups()
    role = call.store.get(scope_of(account), ROLE.kind, name.lower())
    if role is None or role.document["Arn"] != request["RoleArn"]:
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
    before = call.caller.session or Session()
    source_identity = request.get("SourceIdentity", before.source_identity)
    if before.source_identity and source_identity != before.source_identity:
        raise errors.AccessDenied("SourceIdentity was set by an earlier session and cannot be changed.")
    inherited = {key: value for key, value in before.tags.items() if key in before.transitive}
    given = {tag["Key"]: tag["Value"] for tag in tagged([], request.get("Tags", []))}
    clash = {key.lower() for key in inherited} & {key.lower() for key in given}
    if clash:
        raise InvalidInput(f"Session tag {sorted(clash)[0]} is inherited from an earlier session and cannot be set.")
    policies, policy_arns = _session_policies(call, request)
    session = Session(
        issued_s=call.now.timestamp(),
        principal_id=role.document["RoleId"],
        policies=policies,
        policy_arns=policy_arns,
        tags={**inherited, **given},
        transitive=(*(key for key in inherited), *request.get("TransitiveTagKeys", ())),
        source_identity=source_identity,
    )
    name, chosen = role.document["RoleName"], request["RoleSessionName"]
    arn = f"arn:aws:sts::{account}:assumed-role/{name}/{chosen}"
    user_id = f"{role.document['RoleId']}:{chosen}"
    credentials, packed = _credentials(keys, call, account, arn, user_id, duration_s, session)
    answer: dict[str, Any] = {"Credentials": credentials, "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn}}
    if session.is_narrowed or given:
        answer["PackedPolicySize"] = packed
    return answer | ({"SourceIdentity": source_identity} if source_identity else {})


def get_session_token(keys: KeyRing, call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Temporary keys of the same principal; root's last one hour at most, whatever is asked for."""
    _refuse_codes(request)
    caller = call.caller
    if caller.session is not None:
        raise errors.AccessDenied("Cannot call GetSessionToken with session credentials")
    duration_s = request.get("DurationSeconds", DEFAULT_USER_SESSION_S)
    if caller.is_root:
        duration_s = min(duration_s, MAX_ROOT_SESSION_S)
    session = Session(issued_s=call.now.timestamp(), principal_id=caller.user_id)
    return {"Credentials": _credentials(keys, call, caller.account, caller.arn, caller.user_id, duration_s, session)[0]}


def get_federation_token(keys: KeyRing, call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Temporary keys for somebody else, who may do what both the caller and the policies in the request allow."""
    caller = call.caller
    if caller.session is not None:
        raise errors.AccessDenied("Cannot call GetFederationToken with session credentials")
    duration_s = request.get("DurationSeconds", DEFAULT_USER_SESSION_S)
    if caller.is_root:
        duration_s = min(duration_s, MAX_ROOT_SESSION_S)
    policies, policy_arns = _session_policies(call, request)
    tags = {tag["Key"]: tag["Value"] for tag in tagged([], request.get("Tags", []))}
    session = Session(call.now.timestamp(), caller.user_id, policies, policy_arns, True, tags)
    arn = f"arn:aws:sts::{caller.account}:federated-user/{request['Name']}"
    user_id = f"{caller.account}:{request['Name']}"
    credentials, packed = _credentials(keys, call, caller.account, arn, user_id, duration_s, session)
    user = {"FederatedUserId": user_id, "Arn": arn}
    return {"Credentials": credentials, "FederatedUser": user, "PackedPolicySize": packed}


def _session_policies(call: Call, request: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(texts, ARNs). Raises MalformedPolicyDocument, ValidationFailed."""
    if request.get("ProvidedContexts"):
        raise errors.ValidationFailed("ProvidedContexts is not supported here. Leave it out.")
    text = request.get("Policy")
    if text is not None:
        check_permissions(text)
    arns = tuple(each["arn"] for each in request.get("PolicyArns", ()) if "arn" in each)
    if len(arns) > MAX_POLICY_ARNS:
        raise errors.ValidationFailed(f"PolicyArns names {len(arns)} policies; at most {MAX_POLICY_ARNS} are taken.")
    for arn in arns:
        policy = call.store.get(scope_of(call.caller.account), POLICY.kind, arn.rpartition("/")[2].lower())
        if arn not in aws_policies.arns() and (policy is None or policy.document["Arn"] != arn):
            raise MalformedPolicyDocument(f"Policy {arn} in PolicyArns does not exist.")
    return (() if text is None else (text,)), arns


def _refuse_codes(request: dict[str, Any]) -> None:
    """A limit that the caller asks for and that nothing would enforce must not be accepted silently."""
    if "SerialNumber" in request or "TokenCode" in request:
        raise errors.AccessDenied(
            "MultiFactorAuthentication failed, unable to validate MFA code: there are no MFA devices here; "
            "leave SerialNumber and TokenCode out."
        )


def _credentials(
    keys: KeyRing, call: Call, account: str, arn: str, user_id: str, duration_s: int, session: Session
) -> tuple[dict[str, Any], int]:
    """(Credentials, PackedPolicySize). Raises PackedPolicyTooLarge."""
    expires_at = call.now.replace(microsecond=0) + timedelta(seconds=duration_s)
    try:
        access_key_id, secret, token = keys.seal(account, arn, user_id, expires_at, session)
    except TokenTooLarge as error:
        raise PackedPolicyTooLarge(
            "Packed size of session tags and session policies consumes "
            f"{100 * error.chars // MAX_TOKEN_CHARS}% of allotted space."
        ) from None
    credentials = {
        "AccessKeyId": access_key_id,
        "SecretAccessKey": secret,
        "SessionToken": token,
        "Expiration": expires_at,
    }
    return credentials, 100 * len(token) // MAX_TOKEN_CHARS
