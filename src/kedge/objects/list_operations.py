"""Listings of a bucket: its objects, in both versions of the operation, and the versions of its objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.call import Call
from kedge.objects.access import bucket_of, owner, quoted, shown
from kedge.objects.bucket_operations import LARGEST_PAGE, at_most, check_encoding, encoded, opened, page_token
from kedge.objects.errors import InvalidArgument
from kedge.objects.records import ListedObject, ListedVersion


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
    after = request.get("StartAfter") or None if token is None else opened(token)
    result, last = await _list(call, request, after, with_owner=bool(request.get("FetchOwner")))
    result["KeyCount"] = len(result["Contents"]) + len(result["CommonPrefixes"])
    if token is not None:
        result["ContinuationToken"] = token
    if "StartAfter" in request:
        result["StartAfter"] = encoded(request, request["StartAfter"])
    if result["IsTruncated"]:
        result["NextContinuationToken"] = page_token(last)
    return result


async def _list(
    call: Call, request: Mapping[str, Any], after: str | None, *, with_owner: bool
) -> tuple[dict[str, Any], str]:
    """What both versions share, and where the page ends."""
    check_encoding(request)
    most = at_most(request, "MaxKeys", LARGEST_PAGE)
    prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter", "")

    def find() -> tuple[dict[str, Any], str]:
        bucket = bucket_of(call, request)
        shared = owner(bucket.account) if with_owner else None
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
        "StorageClass": row.storage_class,
    }
    if row.algorithms:
        listed |= {"ChecksumAlgorithm": list(row.algorithms), "ChecksumType": row.checksum_type}
    if shared is not None:
        listed["Owner"] = shared
    return listed


async def list_object_versions(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """Newest first for one key. The markers name the last version of the page before."""
    check_encoding(request)
    most = at_most(request, "MaxKeys", LARGEST_PAGE)
    prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter", "")
    key_marker, version_marker = request.get("KeyMarker", ""), request.get("VersionIdMarker", "")
    if version_marker and not key_marker:
        raise InvalidArgument(
            "A version-id marker cannot be specified without a key marker.",
            ArgumentName="version-id-marker",
            ArgumentValue=version_marker,
        )

    def find() -> dict[str, Any]:
        bucket = bucket_of(call, request)
        after = (key_marker, version_marker) if key_marker else None
        page = call.objects.list_versions(bucket, prefix, delimiter, after, most)
        shared = owner(bucket.account)
        result: dict[str, Any] = {
            "Name": bucket.name,
            "Prefix": encoded(request, prefix),
            "KeyMarker": encoded(request, key_marker),
            "VersionIdMarker": version_marker,
            "MaxKeys": most,
            "IsTruncated": page.truncated,
            "Versions": [_version(request, row, shared) for row in page.rows if not row.marker],
            "DeleteMarkers": [_marker(request, row, shared) for row in page.rows if row.marker],
            "CommonPrefixes": [{"Prefix": encoded(request, each)} for each in page.common_prefixes],
        }
        if delimiter:
            result["Delimiter"] = encoded(request, delimiter)
        if request.get("EncodingType"):
            result["EncodingType"] = request["EncodingType"]
        if page.truncated:
            result["NextKeyMarker"] = encoded(request, page.last)
            if page.rows and page.rows[-1].key == page.last:
                result["NextVersionIdMarker"] = page.rows[-1].version
        return result

    return await call.objects.run(find)


def _version(request: Mapping[str, Any], row: ListedVersion, shared: dict[str, str]) -> dict[str, Any]:
    return _listed(request, row, shared) | {"VersionId": row.version, "IsLatest": row.latest}


def _marker(request: Mapping[str, Any], row: ListedVersion, shared: dict[str, str]) -> dict[str, Any]:
    return {
        "Key": encoded(request, row.key),
        "VersionId": row.version,
        "IsLatest": row.latest,
        "LastModified": shown(row.modified),
        "Owner": shared,
    }
