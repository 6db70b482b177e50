"""Buckets: create, find, list and delete; versioning."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

from kedge.call import Call
from kedge.errors import AccessDenied
from kedge.objects import configuration, tags
from kedge.objects.access import bucket_of, owner, refuse_unknown, shown
from kedge.objects.acl import PUBLIC, canned
from kedge.objects.errors import (
    BucketAlreadyExists,
    BucketAlreadyOwnedByYou,
    IllegalLocationConstraint,
    IllegalVersioning,
    InvalidArgument,
    InvalidBucketAcl,
    InvalidBucketName,
    InvalidLocationConstraint,
    NotImplementedHere,
)

LARGEST_PAGE = 1000
_DEFAULT_REGION = "us-east-1"
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_RESERVED_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_ENDS = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_OWN_NAME = "kedge"
"""The API port's own addresses, /kedge/..., would hide objects of a bucket of this name."""


async def list_buckets(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    most = at_most(request, "MaxBuckets", 10_000, smallest=1)
    after = opened(request["ContinuationToken"]) if request.get("ContinuationToken") is not None else ""
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
        result["ContinuationToken"] = page_token(found[most - 1].name)
    return result


async def create_bucket(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["Bucket"]
    check_bucket_name(name)
    asked = request.get("CreateBucketConfiguration") or {}
    refuse_unknown(asked, {"LocationConstraint", "Tags"})
    region = bucket_region(call.caller.region, asked.get("LocationConstraint"))
    chosen = _chosen_at_creation(request, asked)

    def create() -> None:
        if call.objects.create_bucket(name, call.caller.account, region):
            made = call.objects.bucket(name)
            configuration.forget(call, made, others=True)  # left by a crash between the two halves of a deletion
            if chosen:
                configuration.change(call, made, **chosen)
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


def _chosen_at_creation(request: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """What else a new bucket is to have. Raises InvalidArgument, InvalidBucketAcl, AccessDenied, InvalidTag."""
    chosen: dict[str, Any] = {}
    ownership = request.get("ObjectOwnership")
    if ownership is not None:
        chosen["ObjectOwnership"] = checked_ownership(ownership)
    if request.get("ACL") not in (None, "private"):
        acl = canned(request["ACL"])
        if ownership in (None, configuration.ENFORCED):
            raise InvalidBucketAcl("Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")
        if acl in PUBLIC:
            raise AccessDenied(
                f'Access Denied: the ACL "{acl}" is public, and a new bucket blocks public ACLs; change its '
                "PublicAccessBlock first, then put the ACL."
            )
        chosen["Acl"] = acl
    if asked.get("Tags"):
        chosen["Tags"] = tags.of_document({"TagSet": asked["Tags"]}, tags.MOST_OF_BUCKET)
    return chosen


def checked_ownership(value: str) -> str:
    """Raises InvalidArgument."""
    if value not in ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"):
        raise InvalidArgument(
            f'"{value}" is no ObjectOwnership; it is BucketOwnerEnforced, BucketOwnerPreferred or ObjectWriter.',
            ArgumentName="x-amz-object-ownership",
            ArgumentValue=value,
        )
    return value


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
    def delete() -> None:
        bucket = bucket_of(call, request)
        call.objects.delete_bucket(bucket)
        configuration.forget(call, bucket)

    await call.objects.run(delete)
    return {}


async def get_bucket_location(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    bucket = await call.objects.run(bucket_of, call, request)
    return {} if bucket.region == _DEFAULT_REGION else {"LocationConstraint": bucket.region}


async def get_bucket_versioning(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    bucket = await call.objects.run(bucket_of, call, request)
    return {"Status": bucket.versioning} if bucket.versioning else {}


async def put_bucket_versioning(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    wanted = request["VersioningConfiguration"]
    if wanted.get("MFADelete") == "Enabled":
        raise NotImplementedHere("MFA delete is not implemented here.", Header="x-amz-mfa")
    if wanted.get("Status") not in ("Enabled", "Suspended"):
        raise IllegalVersioning(
            "The Versioning element must be specified: Status is Enabled or Suspended.",
        )
    await call.objects.run(lambda: call.objects.set_versioning(bucket_of(call, request), wanted["Status"]))
    return {}


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


def page_token(last: str) -> str:
    return base64.urlsafe_b64encode(b"1" + last.encode()).decode()


def opened(token: str) -> str:
    try:
        raw = base64.b64decode(token, b"-_", validate=True)
        if raw[:1] != b"1":
            raise ValueError(token)
        return raw[1:].decode()
    except ValueError:
        raise InvalidArgument(
            "The continuation token provided is incorrect.", ArgumentName="continuation-token", ArgumentValue=token
        ) from None


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
