"""IAM: managed policies, customers' own and AWS's, and their versions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kedge.identity import aws_policies
from kedge.identity.changes import changing, insert, listed, new_id, scope
from kedge.identity.entities import (
    GROUP,
    HOLDERS,
    POLICY,
    ROLE,
    USER,
    Kind,
    Request,
    Result,
    created,
    encoded,
    new,
    page,
    size,
    tagged,
)
from kedge.identity.errors import DeleteConflict, InvalidInput, LimitExceeded, NoSuchEntity
from kedge.identity.policy_documents import check_permissions
from kedge.store.records import Document, Resource

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.store import Transaction

MAX_POLICY_CHARS = 6144
MAX_VERSIONS = 5
AWS_SINCE = datetime(2015, 2, 6, tzinfo=UTC)
"""When AWS's own policies are said to have been made; the same for all."""


def create_policy(call: Call, request: Request) -> Result:
    _check(request["PolicyDocument"])
    document = new(POLICY, call.caller.account, new_id(POLICY), request)
    document |= {"DefaultVersionId": "v1", "Newest": 1, "Versions": {"v1": _version(call, request)}}
    if request.get("Description"):
        document["Description"] = request["Description"]
    with changing(call) as tx:
        made = insert(call, tx, POLICY, document)
    return {"Policy": _described(made, _uses(call))}


def get_policy(call: Call, request: Request) -> Result:
    arn = request["PolicyArn"]
    if arn in aws_policies.arns():
        return {"Policy": _described_aws(arn, _uses(call))}
    return {"Policy": _described(_policy(call, arn), _uses(call))}


def list_policies(call: Call, request: Request) -> Result:
    prefix, which = request.get("PathPrefix", "/"), request.get("Scope", "All")
    uses = _uses(call)
    usage = request.get("PolicyUsageFilter", "PermissionsPolicy" if request.get("OnlyAttached") else "")
    shown: list[dict[str, Any]] = []
    if which in ("All", "Local"):
        shown += [_described(each, uses) for each in listed(call, POLICY)]
    if which in ("All", "AWS"):
        shown += [_described_aws(arn, uses) for arn in aws_policies.arns()]
    members = {"PermissionsPolicy": "AttachmentCount", "PermissionsBoundary": "PermissionsBoundaryUsageCount"}
    kept = [
        {name: value for name, value in each.items() if name not in ("Description", "Tags")}
        for each in shown
        if each["Path"].startswith(prefix)
        and (not usage or each[members[usage]] > 0)
        and (not request.get("OnlyAttached") or each["AttachmentCount"] > 0)
    ]
    policies, more = page(kept, lambda each: str(each["Arn"]), request)
    return {"Policies": policies, **more}


def delete_policy(call: Call, request: Request) -> Result:
    with changing(call) as tx:
        policy = _own(call, request["PolicyArn"], tx)
        attached, bounding = _uses(call, tx)
        if attached.get(policy.document["Arn"]) or bounding.get(policy.document["Arn"]):
            raise DeleteConflict("Cannot delete a policy attached to entities.")
        if len(policy.document["Versions"]) > 1:
            raise DeleteConflict(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's "
                "versions. The default version is deleted with the policy."
            )
        tx.delete(policy)
    return {}


def create_policy_version(call: Call, request: Request) -> Result:
    _check(request["PolicyDocument"])
    with _changed(call, request) as document:
        if len(document["Versions"]) >= MAX_VERSIONS:
            raise LimitExceeded(
                f"A managed policy can have up to {MAX_VERSIONS} versions. Before you create a new version, you must "
                "delete an existing version."
            )
        document["Newest"] += 1
        name = f"v{document['Newest']}"
        document["Versions"][name] = _version(call, request)
        if request.get("SetAsDefault"):
            document["DefaultVersionId"] = name
    return {"PolicyVersion": _described_version(document, name)}


def get_policy_version(call: Call, request: Request) -> Result:
    arn, name = request["PolicyArn"], request["VersionId"]
    document = _aws_versions(arn) if arn in aws_policies.arns() else _policy(call, arn).document
    if name not in document["Versions"]:
        raise _no_version(arn, name)
    text = document["Versions"][name]["Document"]
    return {"PolicyVersion": {**_described_version(document, name), "Document": encoded(text)}}


def list_policy_versions(call: Call, request: Request) -> Result:
    arn = request["PolicyArn"]
    document = _aws_versions(arn) if arn in aws_policies.arns() else _policy(call, arn).document
    newest_first = sorted(document["Versions"], key=lambda name: -int(name[1:]))
    start = newest_first.index(request["Marker"]) + 1 if request.get("Marker") in newest_first else 0
    most = request.get("MaxItems", MAX_VERSIONS)
    shown = newest_first[start : start + most]
    more = start + most < len(newest_first)
    return {
        "Versions": [_described_version(document, name) for name in shown],
        "IsTruncated": more,
        **({"Marker": shown[-1]} if more else {}),
    }


def set_default_policy_version(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        if request["VersionId"] not in document["Versions"]:
            raise _no_version(request["PolicyArn"], request["VersionId"])
        document["DefaultVersionId"] = request["VersionId"]
    return {}


def delete_policy_version(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        if request["VersionId"] not in document["Versions"]:
            raise _no_version(request["PolicyArn"], request["VersionId"])
        if request["VersionId"] == document["DefaultVersionId"]:
            raise DeleteConflict("Cannot delete the default version of a policy.")
        del document["Versions"][request["VersionId"]]
    return {}


def list_entities_for_policy(call: Call, request: Request) -> Result:
    arn = request["PolicyArn"]
    if arn not in aws_policies.arns():
        _policy(call, arn)
    wanted, usage, prefix = (
        request.get("EntityFilter"),
        request.get("PolicyUsageFilter"),
        request.get("PathPrefix", "/"),
    )
    holders = [
        (kind, each)
        for kind in HOLDERS
        for each in listed(call, kind)
        if wanted in (None, kind.noun, "LocalManagedPolicy")
        and each.document["Path"].startswith(prefix)
        and (
            (usage != "PermissionsBoundary" and any(p["PolicyArn"] == arn for p in each.document["AttachedPolicies"]))
            or (usage != "PermissionsPolicy" and each.document.get("PermissionsBoundary") == arn)
        )
    ]
    shown, more = page(holders, lambda pair: f"{pair[0].kind}/{pair[1].name}", request)

    def of(kind: Kind) -> list[dict[str, Any]]:
        members = (kind.parameter, kind.id_member)
        return [{name: each.document[name] for name in members} for held, each in shown if held is kind]

    return {"PolicyGroups": of(GROUP), "PolicyUsers": of(USER), "PolicyRoles": of(ROLE), **more}


def tag_policy(call: Call, request: Request) -> Result:
    with _changed(call, request) as document:
        document["Tags"] = tagged(document["Tags"], request["Tags"])
    return {}


def untag_policy(call: Call, request: Request) -> Result:
    gone = {key.lower() for key in request["TagKeys"]}
    with _changed(call, request) as document:
        document["Tags"] = [each for each in document["Tags"] if each["Key"].lower() not in gone]
    return {}


def list_policy_tags(call: Call, request: Request) -> Result:
    tags, more = page(_own(call, request["PolicyArn"]).document["Tags"], lambda each: str(each["Key"]), request)
    return {"Tags": tags, **more}


def default_text(policy: Mapping[str, Any]) -> str:
    """The version of a policy's document that counts."""
    return str(policy["Versions"][policy["DefaultVersionId"]]["Document"])


def versions_of(policy: Resource) -> list[dict[str, Any]]:
    document = policy.document
    return [
        {**_described_version(document, name), "Document": encoded(version["Document"])}
        for name, version in document["Versions"].items()
    ]


def _check(text: str) -> None:
    check_permissions(text)
    if size(text) > MAX_POLICY_CHARS:
        raise LimitExceeded(f"Cannot exceed quota for PolicySize: {MAX_POLICY_CHARS}")


def _version(call: Call, request: Request) -> dict[str, Any]:
    return {"Document": request["PolicyDocument"], "CreateDate": call.now.isoformat()}


def _aws_versions(arn: str) -> Document:
    text = aws_policies.document(arn)
    return {"DefaultVersionId": "v1", "Versions": {"v1": {"Document": text, "CreateDate": AWS_SINCE.isoformat()}}}


def _described_version(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {
        "VersionId": name,
        "IsDefaultVersion": name == document["DefaultVersionId"],
        "CreateDate": datetime.fromisoformat(document["Versions"][name]["CreateDate"]),
    }


Uses = tuple[dict[str, int], dict[str, int]]


def _uses(call: Call, tx: Transaction | None = None) -> Uses:
    """How often each policy is attached, and how often it is a boundary, by ARN."""
    attached: dict[str, int] = {}
    bounding: dict[str, int] = {}
    for kind in HOLDERS:
        for holder in listed(call, kind, tx):
            for each in holder.document["AttachedPolicies"]:
                attached[each["PolicyArn"]] = attached.get(each["PolicyArn"], 0) + 1
            if (boundary := holder.document.get("PermissionsBoundary")) is not None:
                bounding[boundary] = bounding.get(boundary, 0) + 1
    return attached, bounding


def _described(policy: Resource, uses: Uses) -> dict[str, Any]:
    document = policy.document
    shown = {name: document[name] for name in ("PolicyName", "PolicyId", "Arn", "Path", "DefaultVersionId")}
    shown |= {
        "AttachmentCount": uses[0].get(document["Arn"], 0),
        "PermissionsBoundaryUsageCount": uses[1].get(document["Arn"], 0),
        "IsAttachable": True,
        "CreateDate": created(policy),
        "UpdateDate": policy.modified_at,
    }
    if "Description" in document:
        shown["Description"] = document["Description"]
    return {**shown, "Tags": document["Tags"]} if document["Tags"] else shown


def _described_aws(arn: str, uses: Uses) -> dict[str, Any]:
    name = arn.rpartition("/")[2]
    return {
        "PolicyName": name,
        "PolicyId": "ANPA" + "".join(c for c in f"{name.upper()}AAAAAAAAAAAAAAAAA" if c.isalpha())[:17],
        "Arn": arn,
        "Path": aws_policies.arns()[arn],
        "DefaultVersionId": "v1",
        "AttachmentCount": uses[0].get(arn, 0),
        "PermissionsBoundaryUsageCount": uses[1].get(arn, 0),
        "IsAttachable": True,
        "CreateDate": AWS_SINCE,
        "UpdateDate": AWS_SINCE,
    }


def _policy(call: Call, arn: str, tx: Transaction | None = None) -> Resource:
    """Raises NoSuchEntity, InvalidInput."""
    if not arn.startswith("arn:aws:iam::") or ":policy/" not in arn:
        raise InvalidInput(f"ARN {arn} is not valid.")
    source = call.store if tx is None else tx
    policy = source.get(scope(call), POLICY.kind, arn.rpartition("/")[2].lower())
    if policy is None or policy.document["Arn"] != arn:
        raise NoSuchEntity(f"Policy {arn} was not found.")
    return policy


def _own(call: Call, arn: str, tx: Transaction | None = None) -> Resource:
    """A policy that can be changed. Raises InvalidInput for one of AWS's."""
    if arn in aws_policies.arns():
        raise InvalidInput(f"{arn} is AWS's own and cannot be changed.")
    return _policy(call, arn, tx)


@contextmanager
def _changed(call: Call, request: Request) -> Iterator[Document]:
    with changing(call) as tx:
        policy = _own(call, request["PolicyArn"], tx)
        document = copy.deepcopy(policy.document)
        yield document
        if document != policy.document:
            tx.update(policy, document)


def _no_version(arn: str, name: str) -> NoSuchEntity:
    return NoSuchEntity(f"Policy {arn} version {name} does not exist or is not attachable.")


OPERATIONS: dict[str, Callable[[Call, Request], Result]] = {
    "iam.CreatePolicy": create_policy,
    "iam.CreatePolicyVersion": create_policy_version,
    "iam.DeletePolicy": delete_policy,
    "iam.DeletePolicyVersion": delete_policy_version,
    "iam.GetPolicy": get_policy,
    "iam.GetPolicyVersion": get_policy_version,
    "iam.ListEntitiesForPolicy": list_entities_for_policy,
    "iam.ListPolicies": list_policies,
    "iam.ListPolicyTags": list_policy_tags,
    "iam.ListPolicyVersions": list_policy_versions,
    "iam.SetDefaultPolicyVersion": set_default_policy_version,
    "iam.TagPolicy": tag_policy,
    "iam.UntagPolicy": untag_policy,
}
