"""IAM: the account as a whole, and what policies would say: summary, authorization details, simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kedge import arn
from kedge.identity import aws_policies
from kedge.identity.changes import listed, scope
from kedge.identity.entities import (
    GROUP,
    POLICY,
    PROFILE,
    ROLE,
    USER,
    Request,
    Result,
    details,
    encoded,
    page,
    summary,
)
from kedge.identity.errors import InvalidInput, NoSuchEntity
from kedge.identity.keys import KeyRing
from kedge.identity.known import snapshot
from kedge.identity.patterns import Values
from kedge.identity.policy import Decision, Identity, Policy, Resource, evaluate, parsed
from kedge.identity.policy_documents import check_permissions, checked_resource_policy
from kedge.identity.policy_operations import MAX_POLICY_CHARS, MAX_VERSIONS, default_text, versions_of
from kedge.identity.records import Caller
from kedge.identity.role_operations import MAX_TRUST_CHARS, instance_profiles_of, role_description
from kedge.identity.user_operations import MAX_GROUPS, MAX_KEYS
from kedge.store.records import Resource as Stored

if TYPE_CHECKING:
    from kedge.call import Call

_DECISIONS = {(True, False): "allowed", (False, True): "explicitDeny", (False, False): "implicitDeny"}


def get_account_summary(call: Call, request: Request) -> Result:
    attached = {
        policy["PolicyArn"]
        for kind in (USER, GROUP, ROLE)
        for holder in listed(call, kind)
        for policy in holder.document["AttachedPolicies"]
    }
    return {
        "SummaryMap": {
            "Users": len(listed(call, USER)),
            "UsersQuota": USER.most,
            "Groups": len(listed(call, GROUP)),
            "GroupsQuota": GROUP.most,
            "Roles": len(listed(call, ROLE)),
            "RolesQuota": ROLE.most,
            "Policies": len(listed(call, POLICY)),
            "PoliciesQuota": POLICY.most,
            "PolicySizeQuota": MAX_POLICY_CHARS,
            "PolicyVersionsInUse": sum(len(each.document["Versions"]) for each in listed(call, POLICY)),
            "VersionsPerPolicyQuota": MAX_VERSIONS,
            "InstanceProfiles": len(listed(call, PROFILE)),
            "InstanceProfilesQuota": PROFILE.most,
            "AttachedPoliciesPerUserQuota": 10,
            "AttachedPoliciesPerGroupQuota": 10,
            "AttachedPoliciesPerRoleQuota": 10,
            "AccessKeysPerUserQuota": MAX_KEYS,
            "GroupsPerUserQuota": MAX_GROUPS,
            "UserPolicySizeQuota": USER.inline_chars,
            "GroupPolicySizeQuota": GROUP.inline_chars,
            "RolePolicySizeQuota": ROLE.inline_chars,
            "AssumeRolePolicySizeQuota": MAX_TRUST_CHARS,
            "AccountAccessKeysPresent": 1,
            "AccountMFAEnabled": 0,
            "AccountPasswordPresent": 0,
            "MFADevices": 0,
            "MFADevicesInUse": 0,
            "Providers": 0,
            "ServerCertificates": 0,
            "GlobalEndpointTokenVersion": 2,
            "AttachedPolicies": len(attached),
        }
    }


def get_account_authorization_details(call: Call, request: Request) -> Result:
    wanted = set(request.get("Filter", ())) or {"User", "Group", "Role", "LocalManagedPolicy", "AWSManagedPolicy"}
    groups = {each.document["GroupId"]: each.document["GroupName"] for each in listed(call, GROUP)}
    found: list[tuple[str, str, dict[str, Any]]] = []
    if "User" in wanted:
        for user in listed(call, USER):
            names = sorted(groups[unique] for unique in user.document["Groups"] if unique in groups)
            shown = {**summary(USER, user), **_policies(user, "User"), "GroupList": names, **details(user)}
            found.append(("UserDetailList", user.name, shown))
    if "Group" in wanted:
        for group in listed(call, GROUP):
            found.append(("GroupDetailList", group.name, {**summary(GROUP, group), **_policies(group, "Group")}))
    if "Role" in wanted:
        for role in listed(call, ROLE):
            shown = {**role_description(role), **_policies(role, "Role")}
            kept = {k: v for k, v in shown.items() if k not in ("Description", "MaxSessionDuration")}
            found.append(
                ("RoleDetailList", role.name, {**kept, "InstanceProfileList": instance_profiles_of(call, role)})
            )
    if "LocalManagedPolicy" in wanted:
        for policy in listed(call, POLICY):
            members = ("PolicyName", "PolicyId", "Arn", "Path", "DefaultVersionId")
            shown = {name: policy.document[name] for name in members}
            found.append(
                ("Policies", policy.name, {**shown, "IsAttachable": True, "PolicyVersionList": versions_of(policy)})
            )
    shown_now, more = page(found, lambda each: f"{each[0]}/{each[1]}", request)
    answer: Result = {name: [] for name in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")}
    for member, _, each in shown_now:
        answer[member].append(each)
    return {**answer, **more}


def simulate_custom_policy(call: Call, request: Request) -> Result:
    policies = [_checked(text) for text in request["PolicyInputList"]]
    caller_arn = request.get("CallerArn", f"arn:aws:iam::{call.caller.account}:user/simulated")
    return _simulated(call, request, Identity(_account(caller_arn, call), caller_arn, tuple(policies)))


def simulate_principal_policy(keys: KeyRing, call: Call, request: Request) -> Result:
    source = request["PolicySourceArn"]
    known = snapshot(call.store, keys)
    principal = next((each for each in known.directory.principals.values() if each.arn == source), None)
    if principal is not None:
        identity = known.directory.identity(Caller(_account(source, call), "", source, principal.id, ""))
    else:
        identity = Identity(call.caller.account, source, _group_policies(call, source))
    extra = tuple(_checked(text) for text in request.get("PolicyInputList", ()))
    identity = Identity(
        identity.account,
        request.get("CallerArn", identity.arn),
        identity.policies + extra,
        identity.boundary,
        names=identity.names,
    )
    return _simulated(call, request, identity)


def _simulated(call: Call, request: Request, identity: Identity) -> Result:
    limits = request.get("PermissionsBoundaryPolicyInputList", ())
    if limits:
        statements = tuple(each for text in limits for each in _checked(text).statements)
        identity = Identity(identity.account, identity.arn, identity.policies, Policy(statements), names=identity.names)
    text = request.get("ResourcePolicy")
    resource_policy = None
    if text is not None:
        checked_resource_policy(text)
        resource_policy = parsed(text)
    owner = request.get("ResourceOwner", identity.account)
    context: dict[str, Values] = {
        entry["ContextKeyName"].lower(): tuple(entry.get("ContextKeyValues", ()))
        for entry in request.get("ContextEntries", ())
        if "ContextKeyName" in entry
    }
    results = []
    for action in request["ActionNames"]:
        for resource in request.get("ResourceArns", ["*"]):
            asked = Resource(resource, _account(owner, call), resource_policy)
            decision = evaluate(identity, action, asked, context)
            results.append(_result(action, resource, decision, _missing(identity, resource_policy, context)))
    shown, more = page(enumerate(results), lambda pair: f"{pair[0]:06}", request)
    return {"EvaluationResults": [each for _, each in shown], **more}


def _result(action: str, resource: str, decision: Decision, missing: Sequence[str]) -> dict[str, Any]:
    return {
        "EvalActionName": action,
        "EvalResourceName": resource,
        "EvalDecision": _DECISIONS[decision.allowed, decision.explicit],
        "MatchedStatements": [],
        "MissingContextValues": list(missing),
    }


def _missing(identity: Identity, policy: Policy | None, context: dict[str, Values]) -> list[str]:
    return sorted((identity.keys() | (policy.keys if policy else frozenset())) - context.keys())


def _group_policies(call: Call, source: str) -> tuple[Policy, ...]:
    """Of a group, which is nobody's name but can be simulated. Raises NoSuchEntity, InvalidInput."""
    if not source.startswith("arn:aws:iam::"):
        raise InvalidInput(f"Invalid Entity Arn: {source} does not clearly define entity type and name.")
    group = next((each for each in listed(call, GROUP) if each.document["Arn"] == source), None)
    if group is None:
        raise NoSuchEntity(f"{source} cannot be found.")
    texts = [*group.document["InlinePolicies"].values()]
    for attached in group.document["AttachedPolicies"]:
        text = aws_policies.document(attached["PolicyArn"])
        stored = call.store.get(scope(call), POLICY.kind, attached["PolicyName"].lower())
        texts += [text] if text else [default_text(stored.document)] if stored else []
    return tuple(parsed(text) for text in texts)


def _policies(holder: Stored, noun: str) -> dict[str, Any]:
    inline = holder.document["InlinePolicies"]
    shown = [{"PolicyName": name, "PolicyDocument": encoded(text)} for name, text in inline.items()]
    return {f"{noun}PolicyList": shown, "AttachedManagedPolicies": holder.document["AttachedPolicies"]}


def _checked(text: str) -> Policy:
    check_permissions(text)
    return parsed(text)


def _account(named: str, call: Call) -> str:
    try:
        return arn.parse(named).account or call.caller.account
    except ValueError:
        return named if named.isdigit() else call.caller.account


def none(member: str) -> Callable[[Call, Request], Result]:
    """What no account has here."""
    return lambda call, request: {member: [], "IsTruncated": False}


def list_providers(member: str) -> Callable[[Call, Request], Result]:
    return lambda call, request: {member: []}


def get_account_password_policy(call: Call, request: Request) -> Result:
    raise NoSuchEntity(f"The Password Policy with domain name {call.caller.account} cannot be found.")


def operations(keys: KeyRing) -> dict[str, Callable[[Call, Request], Result]]:
    return {
        "iam.GetAccountAuthorizationDetails": get_account_authorization_details,
        "iam.GetAccountPasswordPolicy": get_account_password_policy,
        "iam.GetAccountSummary": get_account_summary,
        "iam.ListAccountAliases": none("AccountAliases"),
        "iam.ListOpenIDConnectProviders": list_providers("OpenIDConnectProviderList"),
        "iam.ListSAMLProviders": list_providers("SAMLProviderList"),
        "iam.ListServerCertificates": none("ServerCertificateMetadataList"),
        "iam.SimulateCustomPolicy": simulate_custom_policy,
        "iam.SimulatePrincipalPolicy": lambda call, request: simulate_principal_policy(keys, call, request),
    }
