"""Reading one object: its bytes, its headers, its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from kedge.call import Call
from kedge.objects import encryption, key_use
from kedge.objects.access import bucket_of, checksum_members, key_of, quoted, shown, version_members, version_of
from kedge.objects.bucket_operations import at_most
from kedge.objects.conditions import byte_range, check_read
from kedge.objects.errors import InvalidArgument, InvalidPartNumber, InvalidRequest
from kedge.objects.records import STANDARD, Bucket, ObjectInfo

_DEFAULT_TYPE = "binary/octet-stream"
_OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}
READ_MEMBERS = frozenset(
    {
        *("Key", "VersionId", "Range", "PartNumber", "ChecksumMode"),
        *("IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince"),
    }
).union(_OVERRIDES, encryption.CUSTOMER_MEMBERS)
_ATTRIBUTES = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})


async def get_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The answer's Body is a kedge.objects.receiving.BodyReader: read it to its end or call its `aclose`.

    ContentRange is there if and only if the answer is a part of the object (206).
    """
    key, version, customer = key_of(request), version_of(request), encryption.customer_key(request)
    _check_overrides(call, request)

    def find() -> tuple[Bucket, Any]:
        bucket = bucket_of(call, request)
        return bucket, call.objects.open_body(bucket, key, version, customer)

    bucket, body = await call.objects.run(find)
    try:
        if body.info.encryption is not None:
            await call.objects.run(key_use.require, call, body.info.encryption, bucket.name, key, "kms:Decrypt")
        result, start, count = _answer(bucket, body.info, request)
    except BaseException:
        await call.objects.run(body.close)
        raise
    return {**result, "Body": call.objects.stream(body, start, count)}


async def head_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    _check_overrides(call, request)
    bucket, info = await call.objects.run(_find, call, request)
    return _answer(bucket, info, request)[0]


async def get_object_attributes(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    wanted = set(request["ObjectAttributes"])
    if not wanted or wanted - _ATTRIBUTES:
        raise InvalidArgument(
            f"Invalid attribute name specified: {', '.join(sorted(wanted - _ATTRIBUTES)) or 'none'}; "
            f"these are: {', '.join(sorted(_ATTRIBUTES))}.",
            ArgumentName="x-amz-object-attributes",
            ArgumentValue=",".join(sorted(wanted)),
        )

    bucket, info = await call.objects.run(_find, call, request)
    result: dict[str, Any] = {"LastModified": shown(info.modified), **version_members(bucket, info)}
    if "ETag" in wanted:
        result["ETag"] = info.etag
    if "Checksum" in wanted and info.checksums:
        result["Checksum"] = checksum_members(info.checksums, info.checksum_type)
    if "ObjectParts" in wanted and "-" in info.etag:
        result["ObjectParts"] = _parts(info, request)
    if "StorageClass" in wanted:
        result["StorageClass"] = info.attributes.storage_class
    if "ObjectSize" in wanted:
        result["ObjectSize"] = info.size
    return result


def _check_overrides(call: Call, request: Mapping[str, Any]) -> None:
    """Else anybody could make a link to a public object that a browser takes for a page of this place.

    Raises InvalidRequest.
    """
    if call.caller.is_anonymous and not request.keys().isdisjoint(_OVERRIDES):
        raise InvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")


def _find(call: Call, request: Mapping[str, Any]) -> tuple[Bucket, ObjectInfo]:
    """The version that a request names, if it brings the key that it needs. Blocks."""
    bucket = bucket_of(call, request)
    info = call.objects.version(bucket, key_of(request), version_of(request))
    call.objects.check_key(info, encryption.customer_key(request))
    return bucket, info


def _parts(info: ObjectInfo, request: Mapping[str, Any]) -> dict[str, Any]:
    """S3 lists the parts only of an object whose parts have checksums; of others it says how many there are."""
    parts: dict[str, Any] = {"TotalPartsCount": len(info.pieces)}
    if not any(piece.checksums for piece in info.pieces):
        return parts
    most = at_most(request, "MaxParts", 1000)
    marker = str(request.get("PartNumberMarker") or "0")
    if not marker.isascii() or not marker.isdigit():
        raise InvalidArgument(
            "part-number-marker has to be a number of 0 or more.",
            ArgumentName="part-number-marker",
            ArgumentValue=marker,
        )
    behind = [piece for piece in info.pieces if piece.number > int(marker)]
    page = behind[:most]
    return parts | {
        "PartNumberMarker": marker,
        "NextPartNumberMarker": str(page[-1].number if page else 0),
        "MaxParts": most,
        "IsTruncated": len(behind) > len(page),
        "Parts": [
            {"PartNumber": piece.number, "Size": piece.size}
            | {"Checksum" + name: value for name, value in piece.checksums.items()}
            for piece in page
        ],
    }


def _answer(bucket: Bucket, info: ObjectInfo, request: Mapping[str, Any]) -> tuple[dict[str, Any], int, int]:
    """(result without a body, first byte, number of bytes). Raises NotModified, PreconditionFailed, InvalidRange."""
    check_read(
        info.etag,
        info.modified,
        if_match=request.get("IfMatch"),
        if_none_match=request.get("IfNoneMatch"),
        if_modified_since=request.get("IfModifiedSince"),
        if_unmodified_since=request.get("IfUnmodifiedSince"),
    )
    if request.get("Range") is not None and request.get("PartNumber") is not None:
        raise InvalidRequest("Cannot specify both Range header and partNumber query parameter.")
    said = info.attributes
    result: dict[str, Any] = {
        "AcceptRanges": "bytes",
        "LastModified": shown(info.modified),
        "ETag": quoted(info.etag),
        "ContentType": _DEFAULT_TYPE,
        **said.headers,
        **version_members(bucket, info),
        **encryption.members(info.encryption, encryption.customer_key(request)),
        "Metadata": dict(said.metadata),
    }
    if said.storage_class != STANDARD:
        result["StorageClass"] = said.storage_class
    if said.tags:
        result["TagCount"] = len(said.tags)
    if "Expires" in result:
        result["Expires"] = parsedate_to_datetime(result["Expires"])
    result |= {member: request[name] for name, member in _OVERRIDES.items() if name in request}
    part = request.get("PartNumber")
    chosen = byte_range(request.get("Range"), info.size) if part is None else _part_range(info, part)
    if part is not None and "-" in info.etag:
        result["PartsCount"] = len(info.pieces)
    if "ChecksumMode" in request:
        if chosen is None and part is None:
            result |= checksum_members(info.checksums, info.checksum_type)
        elif part is not None:
            result |= checksum_members(info.pieces[part - 1].checksums, info.checksum_type)
    start, count = chosen or (0, info.size)
    if chosen is not None:
        result["ContentRange"] = f"bytes {start}-{start + count - 1}/{info.size}"
    result["ContentLength"] = count
    return result, start, count


def _part_range(info: ObjectInfo, number: int) -> tuple[int, int] | None:
    """Where a part lies; an object that was put at once is its own first part. None: a part without a byte."""
    if not 1 <= number <= len(info.pieces):
        raise InvalidPartNumber(
            f"The requested partnumber {number} is not satisfiable: the object has {len(info.pieces)}.",
            PartNumberRequested=number,
            ActualPartCount=len(info.pieces),
        )
    count = info.pieces[number - 1].size
    return (sum(piece.size for piece in info.pieces[: number - 1]), count) if count else None
