"""What every S3 operation asks first: whose bucket it is, and whether the request wants what is not done here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from kedge.call import Call
from kedge.errors import AccessDenied
from kedge.objects.errors import InvalidArgument, KeyTooLong, NotImplementedHere
from kedge.objects.records import CHECKSUMS, NULL_VERSION, Bucket, Cause, ObjectInfo

Operation = Callable[[Call, dict[str, Any]], Awaitable[dict[str, Any]]]

KEY_BYTES = 1024
CHECKSUM_MEMBERS = frozenset("Checksum" + name for name in CHECKSUMS)
CONTENT_MEMBERS = frozenset(
    {"CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires"}
)
ATTRIBUTE_MEMBERS = CONTENT_MEMBERS | {"Metadata", "WebsiteRedirectLocation", "StorageClass", "ACL", "Tagging"}

_NEUTRAL = frozenset({"Bucket", "ExpectedBucketOwner", "RequestPayer"})
"""Taken by every operation. RequestPayer only matters for buckets whose requester pays; there are none."""
_SAME_AS_NOTHING: Mapping[str, frozenset[Any]] = {
    "ObjectLockEnabledForBucket": frozenset({False}),
    "ObjectLockLegalHoldStatus": frozenset({"OFF"}),
    "BucketKeyEnabled": frozenset({False}),
    "BypassGovernanceRetention": frozenset({False}),
}
"""Values that ask for what is the case anyway."""
_SENT_AS = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
    "SSECustomerAlgorithm": "x-amz-server-side-encryption-customer-algorithm",
    "SSECustomerKey": "x-amz-server-side-encryption-customer-key",
    "SSECustomerKeyMD5": "x-amz-server-side-encryption-customer-key-MD5",
    "CopySourceSSECustomerAlgorithm": "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "ObjectLockLegalHoldStatus": "x-amz-object-lock-legal-hold",
    "ObjectLockEnabledForBucket": "x-amz-bucket-object-lock-enabled",
    "GrantFullControl": "x-amz-grant-full-control",
    "GrantRead": "x-amz-grant-read",
    "GrantReadACP": "x-amz-grant-read-acp",
    "GrantWrite": "x-amz-grant-write",
    "GrantWriteACP": "x-amz-grant-write-acp",
    "MFA": "x-amz-mfa",
    "WriteOffsetBytes": "x-amz-write-offset-bytes",
    "ChecksumAlgorithm": "x-amz-checksum-algorithm",
}


def accepting(members: frozenset[str] | set[str], operation: Operation) -> Operation:
    """The operation, refusing each member of a request that it does not know: nothing is ignored in silence."""
    known = members | _NEUTRAL

    async def checked(call: Call, request: dict[str, Any]) -> dict[str, Any]:
        refuse_unknown(request, known)
        return await operation(call, request)

    return checked


def refuse_unknown(given: Mapping[str, Any], known: frozenset[str] | set[str]) -> None:
    """Raises NotImplementedHere."""
    for name, value in given.items():
        if name in known or (isinstance(value, str | bool) and value in _SAME_AS_NOTHING.get(name, ())):
            continue
        header = _SENT_AS.get(name, name)
        raise NotImplementedHere(
            f"{header} asks for something that this object store does not do; send the request without it.",
            Header=header,
        )


def owned_bucket(call: Call, name: str, expected_owner: str | None = None) -> Bucket:
    """The bucket of that name, if it is the caller's. Blocks. Raises NoSuchBucket, AccessDenied.

    Whom the bucket lets in from elsewhere was decided before an operation is called, and acts in the bucket's account.
    """
    bucket = call.objects.bucket(name)
    if expected_owner is not None and expected_owner != bucket.account:
        raise AccessDenied(f'Access Denied: the bucket "{name}" does not belong to account {expected_owner}.')
    if bucket.account != call.caller.account:
        raise AccessDenied(f'Access Denied: the bucket "{name}" belongs to another account.')
    return bucket


def cause_of(call: Call, name: str) -> Cause:
    """For the event of a change. name: of the operation."""
    return Cause(name, call.caller.account, call.caller.user_id, call.request_id, call.caller.source_ip)


def bucket_of(call: Call, request: Mapping[str, Any]) -> Bucket:
    """The bucket that a request names, if it is the caller's. Blocks. Raises NoSuchBucket, AccessDenied."""
    return owned_bucket(call, request["Bucket"], request.get("ExpectedBucketOwner"))


def key_of(request: Mapping[str, Any]) -> str:
    """Raises KeyTooLong, InvalidArgument."""
    key: str = request["Key"]
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidArgument("A key is UTF-8.", ArgumentName="Key", ArgumentValue=ascii(key)) from None
    if size > KEY_BYTES:
        raise KeyTooLong(f"Your key is too long: {size} bytes.", Size=size, MaxSizeAllowed=KEY_BYTES)
    if size == 0:
        raise InvalidArgument("A key has at least one byte.", ArgumentName="Key", ArgumentValue="")
    return key


def version_of(request: Mapping[str, Any]) -> str | None:
    """The version that a request names. Raises InvalidArgument for what no version can be called."""
    version: str | None = request.get("VersionId")
    if version is not None and version != NULL_VERSION and not re.fullmatch(r"[0-9a-f]{32}", version):
        raise InvalidArgument("Invalid version id specified", ArgumentName="versionId", ArgumentValue=version)
    return version


def version_members(bucket: Bucket, info: ObjectInfo) -> dict[str, str]:
    """x-amz-version-id, where versioning was ever switched on."""
    return {"VersionId": info.version} if bucket.versioning else {}


def owner(account: str) -> dict[str, str]:
    """S3 shows an account by its canonical id, 64 hex digits."""
    return {"ID": hashlib.sha256(f"canonical id of {account}".encode()).hexdigest(), "DisplayName": account}


def quoted(etag: str) -> str:
    return f'"{etag}"'


def shown(moment: datetime) -> datetime:
    """S3 tells times in whole seconds everywhere, so that a listing and a header say the same."""
    return moment.replace(microsecond=0)


def checksum_members(checksums: Mapping[str, str], kind: str) -> dict[str, str]:
    """As an answer shows them; nothing where there are none."""
    members = {"Checksum" + name: value for name, value in checksums.items()}
    return members | {"ChecksumType": kind} if members else {}
