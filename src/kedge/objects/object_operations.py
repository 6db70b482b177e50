"""One object: put, get, head, copy and delete."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from kedge.call import Call
from kedge.objects.access import (
    CONTENT_MEMBERS,
    bucket_of,
    checksum_members,
    key_of,
    owned_bucket,
    quoted,
    refuse_unknown,
    shown,
)
from kedge.objects.bodies import OpenBody
from kedge.objects.conditions import byte_range, check_read, matches
from kedge.objects.errors import (
    InvalidArgument,
    InvalidPartNumber,
    InvalidRequest,
    KeyTooLong,
    MalformedXML,
    MetadataTooLarge,
    NoSuchKey,
    NotImplementedHere,
    NotModified,
    PreconditionFailed,
)
from kedge.objects.files import LARGEST_PUT_BYTES, Body, Check, too_large
from kedge.objects.records import Attributes, ObjectInfo

METADATA_BYTES = 2048
LARGEST_DELETE = 1000
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
    {"Key", "IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince", "Range", "PartNumber", "ChecksumMode"}
) | frozenset(_OVERRIDES)


async def put_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, attributes, body = key_of(request), attributes_of(request), body_of(request)
    check = write_check(request)

    def may_begin() -> Any:
        bucket = bucket_of(call, request)
        if check is not None:  # asked again when the body is there; now it saves a client sending it in vain
            check(call.objects.head(bucket, key))
        return bucket

    made = await call.objects.put(await call.objects.run(may_begin), key, body, attributes, check)
    return {"ETag": quoted(made.etag), **checksum_members(made.checksums, made.checksum_type)}


async def get_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The answer's Body is a kedge.objects.files.BodyReader: read it to its end or call its `aclose`.

    ContentRange is there if and only if the answer is a part of the object (206).
    """
    key = key_of(request)
    body = await call.objects.run(lambda: call.objects.open_body(bucket_of(call, request), key))
    try:
        result, start, count = _answer(body.info, request)
    except BaseException:
        await call.objects.run(body.close)
        raise
    return {**result, "Body": call.objects.stream(body, start, count)}


async def head_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key = key_of(request)
    info = await call.objects.run(lambda: call.objects.head(bucket_of(call, request), key))
    if info is None:
        raise NoSuchKey(key)
    return _answer(info, request)[0]


async def delete_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, check = key_of(request), write_check(request)
    await call.objects.run(lambda: call.objects.delete(bucket_of(call, request), [key], check))
    return {}


async def delete_objects(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    wanted = request["Delete"].get("Objects") or []
    if not 1 <= len(wanted) <= LARGEST_DELETE:
        raise MalformedXML(f"The request names {len(wanted)} keys; it has to name 1 to {LARGEST_DELETE}.")
    keys, errors = [], []
    for each in wanted:
        refuse_unknown(each, {"Key"})
        try:
            keys.append(key_of(each))
        except (KeyTooLong, InvalidArgument) as error:
            errors.append({"Key": each["Key"], "Code": error.code, "Message": error.message})
    await call.objects.run(lambda: call.objects.delete(bucket_of(call, request), keys))
    result: dict[str, Any] = {"Errors": errors} if errors else {}
    if not request["Delete"].get("Quiet"):
        result["Deleted"] = [{"Key": key} for key in keys]
    return result


async def copy_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The copy shares the source's bytes on the disk, and has its ETag and checksums, whatever the size."""
    key, check = key_of(request), write_check(request)
    source_bucket, source_key = copy_source(request)
    directive = request.get("MetadataDirective", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise InvalidArgument(
            f'Unknown metadata directive "{directive}"; it has to be COPY or REPLACE.',
            ArgumentName="x-amz-metadata-directive",
            ArgumentValue=directive,
        )
    if directive == "COPY" and (source_bucket, source_key) == (request["Bucket"], key):
        raise InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes."
        )
    attributes = attributes_of(request) if directive == "REPLACE" else None

    def copy() -> ObjectInfo:
        bucket = bucket_of(call, request)
        source = open_source(call, request, source_bucket, source_key)
        try:
            if source.info.size > LARGEST_PUT_BYTES:
                raise too_large(source.info.size)
            return call.objects.copy(source, bucket, key, attributes, check)
        finally:
            source.close()

    made = await call.objects.run(copy)
    return {
        "CopyObjectResult": {
            "ETag": quoted(made.etag),
            "LastModified": shown(made.modified),
            **checksum_members(made.checksums, made.checksum_type),
        }
    }


def body_of(request: Mapping[str, Any]) -> Body:
    """Raises EntityTooLarge for one whose length is known to be too much."""
    body: Body = request.get("Body") or b""
    length: int | None = getattr(body, "length", None)
    if length is not None and length > LARGEST_PUT_BYTES:
        raise too_large(length)
    return body


def attributes_of(request: Mapping[str, Any]) -> Attributes:
    """Raises MetadataTooLarge."""
    headers: dict[str, str] = {}
    for name in CONTENT_MEMBERS & request.keys():
        value = request[name]
        headers[name] = value if isinstance(value, str) else format_datetime(value, usegmt=True)
    if "ContentEncoding" in headers:  # aws-chunked says how the body travelled, not what it is
        kept = [part.strip() for part in headers["ContentEncoding"].split(",")]
        headers["ContentEncoding"] = ",".join(part for part in kept if part and part.lower() != "aws-chunked")
        if not headers["ContentEncoding"]:
            del headers["ContentEncoding"]
    metadata = {name.lower(): value for name, value in (request.get("Metadata") or {}).items()}
    size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size > METADATA_BYTES:
        raise MetadataTooLarge(
            f"Your metadata headers exceed the maximum allowed metadata size: {size} bytes.",
            Size=size,
            MaxSizeAllowed=METADATA_BYTES,
        )
    return Attributes(headers, metadata)


def write_check(request: Mapping[str, Any]) -> Check | None:
    """What If-Match and If-None-Match ask of the object that would be replaced. Raises NotImplementedHere."""
    if_match, if_none_match = request.get("IfMatch"), request.get("IfNoneMatch")
    if if_none_match not in (None, "*"):
        raise NotImplementedHere(
            f'If-None-Match is "{if_none_match}"; a write can only ask for "*".', Header="If-None-Match"
        )
    if if_match is None and if_none_match is None:
        return None

    def check(present: ObjectInfo | None) -> None:
        if if_none_match is not None and present is not None:
            raise PreconditionFailed("If-None-Match")
        if if_match is not None:
            if present is None:
                raise NoSuchKey(request["Key"])
            if not matches(present.etag, if_match):
                raise PreconditionFailed("If-Match")

    return check


def copy_source(request: Mapping[str, Any]) -> tuple[str, str]:
    """(bucket, key) of x-amz-copy-source. Raises InvalidArgument, NotImplementedHere."""
    path, _, version = request["CopySource"].partition("?versionId=")
    if version:
        raise NotImplementedHere("versionId in x-amz-copy-source: there are no versions here.", Header="versionId")
    bucket, _, key = unquote(path, errors="surrogateescape").removeprefix("/").partition("/")
    if not bucket or not key:
        raise InvalidArgument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName="x-amz-copy-source",
            ArgumentValue=request["CopySource"],
        )
    return bucket, key_of({"Key": key})


def open_source(call: Call, request: Mapping[str, Any], bucket: str, key: str) -> OpenBody:
    """The body to copy from, if the conditions on it hold. Blocks. Raises NoSuchKey, PreconditionFailed, ..."""
    owner = owned_bucket(call, bucket, request.get("ExpectedSourceBucketOwner"))
    source = call.objects.open_body(owner, key)
    try:
        check_read(
            source.info.etag,
            source.info.modified,
            if_match=request.get("CopySourceIfMatch"),
            if_none_match=request.get("CopySourceIfNoneMatch"),
            if_modified_since=request.get("CopySourceIfModifiedSince"),
            if_unmodified_since=request.get("CopySourceIfUnmodifiedSince"),
        )
    except NotModified:
        source.close()
        raise PreconditionFailed("x-amz-copy-source-if-none-match or -if-modified-since") from None
    except BaseException:
        source.close()
        raise
    return source


def _answer(info: ObjectInfo, request: Mapping[str, Any]) -> tuple[dict[str, Any], int, int]:
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
    result: dict[str, Any] = {
        "AcceptRanges": "bytes",
        "LastModified": shown(info.modified),
        "ETag": quoted(info.etag),
        "ContentType": _DEFAULT_TYPE,
        **info.attributes.headers,
        "Metadata": dict(info.attributes.metadata),
    }
    if "Expires" in result:
        result["Expires"] = parsedate_to_datetime(result["Expires"])
    result |= {member: request[name] for name, member in _OVERRIDES.items() if name in request}
    part = request.get("PartNumber")
    chosen = byte_range(request.get("Range"), info.size) if part is None else _part_range(info, part)
    if part is not None and "-" in info.etag:
        result["PartsCount"] = len(info.pieces)
    if chosen is None and part is None and request.get("ChecksumMode") == "ENABLED":
        result |= checksum_members(info.checksums, info.checksum_type)
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
