"""Access control lists. Only canned ones are kept, and only where the bucket's ObjectOwnership lets there be any.

Source: "Controlling ownership of objects and disabling ACLs" and "Canned ACL" in the S3 user guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kedge.call import Call
from kedge.errors import AccessDenied
from kedge.objects import configuration
from kedge.objects.access import bucket_of, cause_of, key_of, owner, version_of
from kedge.objects.configuration import ENFORCED
from kedge.objects.errors import AclNotSupported, InvalidArgument, InvalidRequest, NotImplementedHere
from kedge.objects.records import Attributes, Bucket, ObjectInfo
from kedge.store.store import Document, Store

_ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
_AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
_LOGS = "http://acs.amazonaws.com/groups/s3/LogDelivery"
_GROUPS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "private": (),
    "public-read": ((_ALL, "READ"),),
    "public-read-write": ((_ALL, "READ"), (_ALL, "WRITE")),
    "authenticated-read": ((_AUTHENTICATED, "READ"),),
    "log-delivery-write": ((_LOGS, "WRITE"), (_LOGS, "READ_ACP")),
    "bucket-owner-read": (),
    "bucket-owner-full-control": (),
    "aws-exec-read": (),
}
"""Canned ACL -> what it grants beside the owner's full control. The owner of a bucket owns every object in it."""
PUBLIC = frozenset({"public-read", "public-read-write", "authenticated-read"})
_OWNER_ONLY = frozenset({"", "private", "bucket-owner-full-control", "bucket-owner-read"})
GRANTS = ("GrantFullControl", "GrantRead", "GrantReadACP", "GrantWrite", "GrantWriteACP")


async def get_bucket_acl(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    def find() -> dict[str, Any]:
        bucket = bucket_of(call, request)
        return _shown(bucket.account, configuration.read(call.store, bucket).get("Acl", "private"))

    return await call.objects.run(find)


async def get_object_acl(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, version = key_of(request), version_of(request)

    def find() -> dict[str, Any]:
        bucket = bucket_of(call, request)
        found = call.objects.version(bucket, key, version)
        document = configuration.read(call.store, bucket)
        enforced = document.get("ObjectOwnership", ENFORCED) == ENFORCED
        return _shown(bucket.account, "private" if enforced else found.attributes.acl or "private")

    return await call.objects.run(find)


async def put_bucket_acl(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    def put() -> None:
        bucket = bucket_of(call, request)
        document = configuration.read(call.store, bucket)
        acl = _asked(bucket, request)
        _check(document, acl)
        configuration.change(call, bucket, Acl=... if acl in _OWNER_ONLY else acl)

    await call.objects.run(put)
    return {}


async def put_object_acl(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, version, cause = key_of(request), version_of(request), cause_of(call, "PutObjectAcl")

    def put() -> None:
        bucket = bucket_of(call, request)
        acl = _asked(bucket, request)
        _check(configuration.read(call.store, bucket), acl)

        def change(found: ObjectInfo) -> Attributes:
            return replace(found.attributes, acl="" if acl in _OWNER_ONLY else acl)

        call.objects.change_attributes(bucket, key, version, change, "", cause)

    await call.objects.run(put)
    return {}


def checked_object_acl(store: Store, bucket: Bucket, acl: str) -> None:
    """Whether an object may be put with a canned ACL. Blocks. Raises AclNotSupported, AccessDenied, InvalidArgument."""
    if acl not in _GROUPS and acl:
        raise _unknown(acl)
    if acl not in _OWNER_ONLY:
        _check(configuration.read(store, bucket), acl)


def canned(acl: str) -> str:
    """Raises InvalidArgument."""
    if acl not in _GROUPS:
        raise _unknown(acl)
    return acl


def _unknown(acl: str) -> InvalidArgument:
    return InvalidArgument(
        f'"{acl}" is no canned ACL; these are: {", ".join(_GROUPS)}.', ArgumentName="x-amz-acl", ArgumentValue=acl
    )


def _check(document: Document, acl: str) -> None:
    if acl in _OWNER_ONLY:
        return
    if document.get("ObjectOwnership", ENFORCED) == ENFORCED:
        raise AclNotSupported("The bucket does not allow ACLs")
    if acl in PUBLIC and configuration.blocks(document, "BlockPublicAcls"):
        raise AccessDenied(
            f'Access Denied: the ACL "{acl}" is public, and the BlockPublicAcls setting of the bucket\'s '
            "PublicAccessBlock forbids such ACLs."
        )


def _asked(bucket: Bucket, request: Mapping[str, Any]) -> str:
    """The canned ACL of a request, which may write it out. Raises InvalidRequest, NotImplementedHere, ..."""
    grants = [name for name in GRANTS if request.get(name)]
    policy = request.get("AccessControlPolicy")
    if sum((bool(request.get("ACL")), bool(grants), policy is not None)) != 1:
        raise InvalidRequest("Specify either a canned ACL, grant headers or an AccessControlPolicy, and only one.")
    if request.get("ACL"):
        return canned(request["ACL"])
    if grants:
        raise NotImplementedHere("Grants by header are not implemented here; use a canned ACL.", Header="x-amz-grant-*")
    full = ("", "FULL_CONTROL")
    wanted = {_grant(bucket, each) for each in (policy or {}).get("Grants") or ()} | {full}
    for acl, granted in _GROUPS.items():
        if wanted == {*granted, full}:
            return acl
    raise NotImplementedHere(
        "An ACL that is no canned ACL is not implemented here; use a canned ACL or a bucket policy.",
        Header="AccessControlPolicy",
    )


def _grant(bucket: Bucket, grant: Mapping[str, Any]) -> tuple[str, str]:
    """(group, permission); the owner is ""."""
    grantee = grant.get("Grantee") or {}
    own = grantee.get("ID") == owner(bucket.account)["ID"]
    return ("" if own else grantee.get("URI") or str(grantee)), str(grant.get("Permission"))


def _shown(account: str, acl: str) -> dict[str, Any]:
    grants: list[dict[str, Any]] = [
        {"Grantee": {**owner(account), "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}
    ]
    grants += [{"Grantee": {"Type": "Group", "URI": uri}, "Permission": what} for uri, what in _GROUPS[acl]]
    return {"Owner": owner(account), "Grants": grants}
