"""IAM: what is done alike to users, groups and roles. Inline policies, attached policies, boundaries, and tags."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kedge.identity import aws_policies
from kedge.identity.changes import changed, changing, found, scope
from kedge.identity.entities import (
    HOLDERS,
    MAX_ATTACHED,
    POLICY,
    PROFILE,
    ROLE,
    USER,
    Kind,
    Request,
    Result,
    encoded,
    page,
    size,
    tagged,
)
from kedge.identity.errors import LimitExceeded, NoSuchEntity
from kedge.identity.policy_documents import check_permissions

if TYPE_CHECKING:
    from kedge.call import Call
    from kedge.store.store import Store, Transaction

Operation = Callable[["Call", Request], Result]


def attachable(call: Call, source: Store | Transaction, arn: str) -> str:
    """The name of the policy with this ARN. Raises NoSuchEntity."""
    name = arn.rpartition("/")[2]
    if arn in aws_policies.arns():
        return name
    policy = source.get(scope(call), POLICY.kind, name.lower())
    if policy is None or policy.document["Arn"] != arn:
        raise NoSuchEntity(f"Policy {arn} does not exist or is not attachable.")
    return str(policy.document["PolicyName"])


def put_inline(kind: Kind, call: Call, request: Request) -> Result:
    check_permissions(request["PolicyDocument"])
    with changed(call, kind, request) as document:
        policies = {**document["InlinePolicies"], request["PolicyName"]: request["PolicyDocument"]}
        if sum(size(policy) for policy in policies.values()) > kind.inline_chars:
            raise LimitExceeded(
                f"Maximum policy size of {kind.inline_chars} bytes exceeded for {kind.words} {request[kind.parameter]}"
            )
        document["InlinePolicies"] = policies
    return {}


def get_inline(kind: Kind, call: Call, request: Request) -> Result:
    document = found(call, kind, request).document
    policy = document["InlinePolicies"].get(request["PolicyName"])
    if policy is None:
        raise _no_inline(kind, request)
    return {
        kind.parameter: document[kind.parameter],
        "PolicyName": request["PolicyName"],
        "PolicyDocument": encoded(policy),
    }


def delete_inline(kind: Kind, call: Call, request: Request) -> Result:
    with changed(call, kind, request) as document:
        if document["InlinePolicies"].pop(request["PolicyName"], None) is None:
            raise _no_inline(kind, request)
    return {}


def list_inline(kind: Kind, call: Call, request: Request) -> Result:
    names, more = page(found(call, kind, request).document["InlinePolicies"], str, request)
    return {"PolicyNames": names, **more}


def attach(kind: Kind, call: Call, request: Request) -> Result:
    with changing(call) as tx:
        holder = found(call, kind, request, tx)
        attached = holder.document["AttachedPolicies"]
        name = attachable(call, tx, request["PolicyArn"])
        if any(policy["PolicyArn"] == request["PolicyArn"] for policy in attached):
            return {}
        if len(attached) >= MAX_ATTACHED:
            raise LimitExceeded(f"Cannot exceed quota for PoliciesPer{kind.noun}: {MAX_ATTACHED}")
        attached = [*attached, {"PolicyName": name, "PolicyArn": request["PolicyArn"]}]
        tx.update(holder, {**holder.document, "AttachedPolicies": attached})
    return {}


def detach(kind: Kind, call: Call, request: Request) -> Result:
    with changed(call, kind, request) as document:
        kept = [policy for policy in document["AttachedPolicies"] if policy["PolicyArn"] != request["PolicyArn"]]
        if len(kept) == len(document["AttachedPolicies"]):
            raise NoSuchEntity(f"Policy {request['PolicyArn']} was not found.")
        document["AttachedPolicies"] = kept
    return {}


def list_attached(kind: Kind, call: Call, request: Request) -> Result:
    prefix = request.get("PathPrefix", "/")
    attached = [
        policy
        for policy in found(call, kind, request).document["AttachedPolicies"]
        if policy["PolicyArn"].partition(":policy")[2].startswith(prefix)
    ]
    policies, more = page(attached, lambda policy: str(policy["PolicyName"]), request)
    return {"AttachedPolicies": policies, **more}


def put_boundary(kind: Kind, call: Call, request: Request) -> Result:
    attachable(call, call.store, request["PermissionsBoundary"])
    with changed(call, kind, request) as document:
        document["PermissionsBoundary"] = request["PermissionsBoundary"]
    return {}


def delete_boundary(kind: Kind, call: Call, request: Request) -> Result:
    with changed(call, kind, request) as document:
        if document.pop("PermissionsBoundary", None) is None:
            raise NoSuchEntity(f"The {kind.words} with name {request[kind.parameter]} has no permissions boundary.")
    return {}


def tag(kind: Kind, call: Call, request: Request) -> Result:
    with changed(call, kind, request) as document:
        document["Tags"] = tagged(document["Tags"], request["Tags"])
    return {}


def untag(kind: Kind, call: Call, request: Request) -> Result:
    gone = {key.lower() for key in request["TagKeys"]}
    with changed(call, kind, request) as document:
        document["Tags"] = [each for each in document["Tags"] if each["Key"].lower() not in gone]
    return {}


def list_tags(kind: Kind, call: Call, request: Request) -> Result:
    tags, more = page(found(call, kind, request).document["Tags"], lambda each: str(each["Key"]), request)
    return {"Tags": tags, **more}


def _no_inline(kind: Kind, request: Request) -> NoSuchEntity:
    return NoSuchEntity(f"The {kind.words} policy with name {request['PolicyName']} cannot be found.")


OPERATIONS: dict[str, Operation] = {
    **{
        f"iam.{name}": partial(operation, kind)
        for kind in HOLDERS
        for name, operation in {
            f"Put{kind.noun}Policy": put_inline,
            f"Get{kind.noun}Policy": get_inline,
            f"Delete{kind.noun}Policy": delete_inline,
            f"List{kind.noun}Policies": list_inline,
            f"Attach{kind.noun}Policy": attach,
            f"Detach{kind.noun}Policy": detach,
            f"ListAttached{kind.noun}Policies": list_attached,
        }.items()
    },
    **{
        f"iam.{name}": partial(operation, kind)
        for kind in (USER, ROLE)
        for name, operation in {
            f"Put{kind.noun}PermissionsBoundary": put_boundary,
            f"Delete{kind.noun}PermissionsBoundary": delete_boundary,
        }.items()
    },
    **{
        f"iam.{name}": partial(operation, kind)
        for kind in (USER, ROLE, PROFILE)
        for name, operation in {
            f"Tag{kind.noun}": tag,
            f"Untag{kind.noun}": untag,
            f"List{kind.noun}Tags": list_tags,
        }.items()
    },
}
