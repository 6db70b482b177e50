"""Buckets, and what is in them: create, find, list and delete."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

from kedge.call import Call
from kedge.objects.access import bucket_of, key_of, owner, quoted, refuse_unknown, shown
from kedge.objects.errors import (
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    IllegalLocationConstraint,
    InvalidArgument,
    InvalidBucketName,
    InvalidLocationConstraint,
    NoSuchKey,
    NoSuchTagSet,
)
from kedge.objects.records import ListedObject

LARGEST_PAGE = 1000
_DEFAULT_REGION = "us-east-1"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_OWN_NAME = "kedge"
"""The API port's own addresses, /kedge/..., would hide objects of a bucket of this name."""


async def list_buckets(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    most = at_most(request, "MaxBuckets", 10_000, smallest=1)
    after = _opened(request["ContinuationToken"]) if request.get("ContinuationToken") is not None else ""
    prefix, region = request.get("Prefix", ""), request.get("BucketRegion")
    found = [
        bucket
        for bucket in await call.objects.run(call.objects.buckets, call.caller.account)
        if bucket.name > after and bucket.name.startswith(prefix) and region in (None, bucket.region)
    ]
    result: dict[str, Any] = {
        "Owner": owner(call.caller.account),
        "Buckets": [
            {"Name": bucket.name, "CreationDate": shown(bucket.created), "BucketRegion": bucket.region}
            for bucket in found[:most]
        ],
    }
    if "Prefix" in request:
        result["Prefix"] = prefix
    if len(found) > most:
        result["ContinuationToken"] = _token(found[most - 1].name)
    return result


async def create_bucket(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["Bucket"]
    check_bucket_name(name)
    configuration = request.get("CreateBucketConfiguration") or {}
    refuse_unknown(configuration, {"LocationConstraint"})
    region = bucket_region(call.caller.region, configuration.get("LocationConstraint"))

    def create() -> None:
        if call.objects.create_bucket(name, call.caller.account, region):
            return
        present = call.objects.bucket(name)
        if present.account != call.caller.account:
            raise BucketAlreadyExists(
                f'The bucket name "{name}" is taken by another account. Names are shared by all accounts; '
                "choose another.",
                BucketName=name,
            )
        # S3's oldest region has always answered with success here, and clients rely on it.
        if not present.region == region == call.caller.region == _DEFAULT_REGION:
            raise BucketAlreadyOwnedByYou(
                f'Your previous request to create the bucket "{name}" succeeded and you already own it.',
                BucketName=name,
            )

    await call.objects.run(create)
    return {"Location": f"/{name}"}


def check_bucket_name(name: str) -> None:
    """Raises InvalidBucketName. Source: "Bucket naming rules" in the S3 user guide."""
    reason = ""
    if not _NAME.fullmatch(name) or ".." in name:
        reason = "a name has 3 to 63 lower-case letters, digits, hyphens and single dots, no hyphen or dot at an end"
    elif _is_address(name):
        reason = "a name is not formatted as an IP address"
    elif name.startswith(_RESERVED_STARTS) or name.endswith(_RESERVED_ENDS):
        reason = "this beginning or end is reserved"
    elif name == _OWN_NAME:
        reason = "the server's own addresses begin with it"
    if reason:
        raise InvalidBucketName(f'The specified bucket is not valid: "{name}"; {reason}.', BucketName=name)


def bucket_region(caller_region: str, constraint: str | None) -> str:
    """The region of a new bucket; S3's rule for the region that was called and the LocationConstraint that was sent.

    us-east-1 takes any other region's name and none; every other region takes its own name only.
    Raises InvalidLocationConstraint, IllegalLocationConstraint.
    """
    if constraint == "EU":
        constraint = "eu-west-1"
    if constraint and (constraint == _DEFAULT_REGION or not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", constraint)):
        raise InvalidLocationConstraint(
            f'The specified location-constraint is not valid: "{constraint}". For us-east-1 leave it out.',
            LocationConstraint=constraint,
        )
    if caller_region != _DEFAULT_REGION and constraint != caller_region:
        raise IllegalLocationConstraint(
            f"The {constraint or 'unspecified'} location constraint is incompatible for the region specific endpoint "
            f"this request was sent to: the request is signed for {caller_region}."
        )
    return constraint or _DEFAULT_REGION


async def head_bucket(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    bucket = await call.objects.run(bucket_of, call, request)
    return {"BucketRegion": bucket.region}


async def delete_bucket(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    await call.objects.run(lambda: call.objects.delete_bucket(bucket_of(call, request)))
    return {}


async def get_bucket_location(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    bucket = await call.objects.run(bucket_of, call, request)
    return {} if bucket.region == _DEFAULT_REGION else {"LocationConstraint": bucket.region}


async def get_bucket_versioning(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    await call.objects.run(bucket_of, call, request)
    return {}


async def get_bucket_tagging(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    bucket = await call.objects.run(bucket_of, call, request)
    raise NoSuchTagSet("The TagSet does not exist.", BucketName=bucket.name)


async def get_bucket_acl(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    bucket = await call.objects.run(bucket_of, call, request)
    return _full_control(bucket.account)


async def get_object_acl(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key = key_of(request)

    def find() -> dict[str, Any]:
        bucket = bucket_of(call, request)
        if call.objects.head(bucket, key) is None:
            raise NoSuchKey(key)
        return _full_control(bucket.account)

    return await call.objects.run(find)


async def list_objects(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """V1: a page goes on after a key, `Marker`. NextMarker comes with a delimiter only, as the reference says."""
    marker = request.get("Marker", "")
    result, last = await _list(call, request, marker or None, with_owner=True)
    result["Marker"] = encoded(request, marker)
    if result["IsTruncated"] and request.get("Delimiter"):
        result["NextMarker"] = encoded(request, last)
    return result


async def list_objects_v2(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    token = request.get("ContinuationToken")
    after = request.get("StartAfter") or None if token is None else _opened(token)
    result, last = await _list(call, request, after, with_owner=bool(request.get("FetchOwner")))
    result["KeyCount"] = len(result["Contents"]) + len(result["CommonPrefixes"])
    if token is not None:
        result["ContinuationToken"] = token
    if "StartAfter" in request:
        result["StartAfter"] = encoded(request, request["StartAfter"])
    if result["IsTruncated"]:
        result["NextContinuationToken"] = _token(last)
    return result


async def _list(
    call: Call, request: Mapping[str, Any], after: str | None, *, with_owner: bool
) -> tuple[dict[str, Any], str]:
    """What both versions share, and where the page ends."""
    check_encoding(request)
    most = at_most(request, "MaxKeys", LARGEST_PAGE)
    prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter", "")
    shared = owner(call.caller.account) if with_owner else None

    def find() -> tuple[dict[str, Any], str]:
        bucket = bucket_of(call, request)
        page = call.objects.list_page(bucket, prefix, delimiter, after, most)
        result: dict[str, Any] = {
            "Name": bucket.name,
            "Prefix": encoded(request, prefix),
            "MaxKeys": most,
            "IsTruncated": page.truncated,
            "Contents": [_listed(request, row, shared) for row in page.rows],
            "CommonPrefixes": [{"Prefix": encoded(request, each)} for each in page.common_prefixes],
        }
        if delimiter:
            result["Delimiter"] = encoded(request, delimiter)
        if request.get("EncodingType"):
            result["EncodingType"] = request["EncodingType"]
        return result, page.last

    return await call.objects.run(find)


def _listed(request: Mapping[str, Any], row: ListedObject, shared: dict[str, str] | None) -> dict[str, Any]:
    listed: dict[str, Any] = {
        "Key": encoded(request, row.key),
        "LastModified": shown(row.modified),
        "ETag": quoted(row.etag),
        "Size": row.size,
        "StorageClass": "STANDARD",
    }
    if row.algorithms:
        listed |= {"ChecksumAlgorithm": list(row.algorithms), "ChecksumType": row.checksum_type}
    if shared is not None:
        listed["Owner"] = shared
    return listed


def check_encoding(request: Mapping[str, Any]) -> None:
    """Raises InvalidArgument."""
    if request.get("EncodingType") not in (None, "", "url"):
        raise InvalidArgument(
            'Invalid Encoding Method specified in Request: it can only be "url".',
            ArgumentName="encoding-type",
            ArgumentValue=request["EncodingType"],
        )


def encoded(request: Mapping[str, Any], text: str) -> str:
    """XML cannot hold every key; a client that knows this asks for encoding-type=url."""
    return quote_plus(text, safe="/") if request.get("EncodingType") == "url" else text


def at_most(request: Mapping[str, Any], member: str, largest: int, smallest: int = 0) -> int:
    wanted = request.get(member, largest)
    if wanted < smallest:
        raise InvalidArgument(
            f"{member} is {wanted}; it has to be {smallest} to 2147483647.",
            ArgumentName=member,
            ArgumentValue=wanted,
        )
    return min(int(wanted), largest)


def _token(last: str) -> str:
    return base64.urlsafe_b64encode(b"1" + last.encode()).decode()


def _opened(token: str) -> str:
    try:
        raw = base64.b64decode(token, b"-_", validate=True)
        if raw[:1] != b"1":
            raise ValueError(token)
        return raw[1:].decode()
    except ValueError:
        raise InvalidArgument(
            "The continuation token provided is incorrect.", ArgumentName="continuation-token", ArgumentValue=token
        ) from None


def _full_control(account: str) -> dict[str, Any]:
    return {
        "Owner": owner(account),
        "Grants": [{"Grantee": {**owner(account), "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}],
    }


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
