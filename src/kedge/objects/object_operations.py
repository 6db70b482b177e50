"""Changing one object: put, copy and delete."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from kedge.call import Call
from kedge.errors import ServiceError
from kedge.objects import encryption, key_use, tags
from kedge.objects.access import (
    CONTENT_MEMBERS,
    bucket_of,
    cause_of,
    checksum_members,
    key_of,
    owned_bucket,
    quoted,
    refuse_unknown,
    shown,
    version_members,
    version_of,
)
from kedge.objects.acl import checked_object_acl
from kedge.objects.bodies import OpenBody
from kedge.objects.checksums import TYPES
from kedge.objects.conditions import check_read, matches
from kedge.objects.encryption import Wanted
from kedge.objects.errors import (
    InvalidArgument,
    InvalidRequest,
    InvalidStorageClass,
    KeyTooLong,
    MalformedXML,
    MetadataTooLarge,
    NoSuchKey,
    NotImplementedHere,
    NotModified,
    PreconditionFailed,
)
from kedge.objects.receiving import CHUNK_BYTES, LARGEST_PUT_BYTES, Body, too_large
from kedge.objects.records import STANDARD, Attributes, Bucket, Check, Deleted, ObjectInfo
from kedge.objects.vault import Sealing, encryption_of
from kedge.wire import checksums

METADATA_BYTES = 2048
LARGEST_DELETE = 1000
STORAGE_CLASSES = frozenset(
    {STANDARD, "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}
)
"""Labels only. Those whose objects cannot be read at once, such as GLACIER, are refused."""


async def put_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return await put(call, request, "PutObject")


async def put(call: Call, request: dict[str, Any], name: str) -> dict[str, Any]:
    """name: what an event calls it."""
    key, attributes, body = key_of(request), attributes_of(request), body_of(request)
    check = write_check(request)

    def may_begin() -> tuple[Bucket, Wanted, Sealing | None]:
        bucket = bucket_of(call, request)
        asked = encryption.wanted(request, encryption.from_json(bucket.encryption))
        checked_object_acl(call.store, bucket, attributes.acl)
        if check is not None:  # asked again when the body is there; now it saves a client sending it in vain
            check(call.objects.head(bucket, key))
        sealing = call.objects.seal(bucket, key, asked)
        key_use.require(call, encryption_of(sealing), bucket.name, key, "kms:GenerateDataKey")
        return bucket, asked, sealing

    bucket, asked, sealing = await call.objects.run(may_begin)
    made = await call.objects.put(bucket, key, body, attributes, check, cause_of(call, name), sealing)
    return {
        "ETag": quoted(made.etag),
        **version_members(bucket, made),
        **checksum_members(made.checksums, made.checksum_type),
        **encryption.written(made.encryption, asked),
    }


async def delete_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, version, check = key_of(request), version_of(request), delete_check(request.get("IfMatch"))
    cause = cause_of(call, "DeleteObject")
    done = await call.objects.run(
        lambda: call.objects.deletions.delete(bucket_of(call, request), key, version, check, cause)
    )
    result: dict[str, Any] = {"DeleteMarker": True} if done.marker else {}
    return result | ({"VersionId": done.version} if done.version else {})


async def delete_objects(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    wanted = request["Delete"].get("Objects") or []
    if not 1 <= len(wanted) <= LARGEST_DELETE:
        raise MalformedXML(f"The request names {len(wanted)} keys; it has to name 1 to {LARGEST_DELETE}.")
    asked: list[tuple[str, str | None, Check | None]] = []
    errors: list[dict[str, Any]] = []
    for each in wanted:
        refuse_unknown(each, {"Key", "VersionId", "ETag"})
        try:
            asked.append((key_of(each), version_of(each), delete_check(each.get("ETag"))))
        except (KeyTooLong, InvalidArgument) as error:
            errors.append(_failed(each["Key"], each.get("VersionId"), error))
    cause = cause_of(call, "DeleteObjects")
    done = await call.objects.run(lambda: call.objects.deletions.delete_all(bucket_of(call, request), asked, cause))
    deleted: list[dict[str, Any]] = []
    for (key, version, _), outcome in zip(asked, done, strict=True):
        if isinstance(outcome, Deleted):
            deleted.append(_done(outcome, version))
        elif isinstance(outcome, ServiceError):
            errors.append(_failed(key, version, outcome))
        else:
            raise outcome
    result: dict[str, Any] = {"Errors": errors} if errors else {}
    if not request["Delete"].get("Quiet"):
        result["Deleted"] = deleted
    return result


def _done(outcome: Deleted, version: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"Key": outcome.key}
    if version is not None:
        entry["VersionId"] = version
    if outcome.marker:
        entry |= {"DeleteMarker": True, "DeleteMarkerVersionId": outcome.version}
    return entry


def _failed(key: str, version: str | None, error: ServiceError) -> dict[str, Any]:
    entry = {"Key": key, "Code": error.named_for("s3")[0], "Message": error.message}
    return entry | ({"VersionId": version} if version is not None else {})


async def copy_object(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    """The copy shares the source's bytes on the disk where it can (Objects.copy), and has its checksums."""
    key, check = key_of(request), write_check(request)
    source_bucket, source_key, source_version = copy_source(request)
    replaces = _directive(request, "MetadataDirective", "x-amz-metadata-directive")
    retags = _directive(request, "TaggingDirective", "x-amz-tagging-directive")
    changes = (
        replaces or retags or source_version or request.get("StorageClass") or "WebsiteRedirectLocation" in request
    )
    sealed_anew = bool(request.keys() & (encryption.WRITE_MEMBERS | encryption.CUSTOMER_MEMBERS))
    if not (changes or sealed_anew) and (source_bucket, source_key) == (request["Bucket"], key):
        raise InvalidRequest(
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes."
        )
    said = attributes_of(request)
    algorithm = request.get("ChecksumAlgorithm")
    if algorithm is not None and algorithm not in TYPES:
        raise InvalidRequest(f"x-amz-checksum-algorithm is {algorithm}; it has to be one of {', '.join(TYPES)}.")

    def copy() -> tuple[Bucket, ObjectInfo, str, Wanted]:
        bucket = bucket_of(call, request)
        asked = encryption.wanted(request, encryption.from_json(bucket.encryption))
        checked_object_acl(call.store, bucket, said.acl)
        source = open_source(call, request, source_bucket, source_key, source_version)
        try:
            if source.info.size > LARGEST_PUT_BYTES:
                raise too_large(source.info.size)
            kept = source.info.attributes
            attributes = replace(
                said if replaces else replace(kept, acl=said.acl, storage_class=said.storage_class),
                tags=said.tags if retags else kept.tags,
            )
            if not replaces and "WebsiteRedirectLocation" in said.headers:
                redirect = {"WebsiteRedirectLocation": said.headers["WebsiteRedirectLocation"]}
                attributes = replace(attributes, headers={**attributes.headers, **redirect})
            sealing = call.objects.seal(bucket, key, asked, source.data_key)
            key_use.require(call, encryption_of(sealing), bucket.name, key, "kms:GenerateDataKey")
            made = call.objects.copy(
                source, bucket, key, attributes, check,
                checksums=None if algorithm is None else _checksum(source, algorithm),
                cause=cause_of(call, "CopyObject"), sealing=sealing,
            )  # fmt: skip
            source_shown = source.info.version if call.objects.bucket(source_bucket).versioning else ""
            return bucket, made, source_shown, asked
        finally:
            source.close()

    bucket, made, source_shown, asked = await call.objects.run(copy)
    return {
        "CopyObjectResult": {
            "ETag": quoted(made.etag),
            "LastModified": shown(made.modified),
            **checksum_members(made.checksums, made.checksum_type),
        },
        **({"CopySourceVersionId": source_shown} if source_shown else {}),
        **version_members(bucket, made),
        **encryption.written(made.encryption, asked),
    }


def _checksum(source: OpenBody, algorithm: str) -> dict[str, str]:
    """Of the whole body, which is read unless its checksum is known. Blocks."""
    known = source.info.checksums.get(algorithm)
    if known is not None and source.info.checksum_type == "FULL_OBJECT":
        return {algorithm: known}
    digest, at = checksums.new(algorithm), 0
    while at < source.info.size:
        data = source.read_at(at, CHUNK_BYTES)
        digest.update(data)
        at += len(data)
    return {algorithm: base64.b64encode(digest.digest()).decode()}


def _directive(request: Mapping[str, Any], member: str, header: str) -> bool:
    """Whether it is REPLACE. Raises InvalidArgument."""
    directive = request.get(member, "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise InvalidArgument(
            f'Unknown {header.removeprefix("x-amz-").replace("-", " ")} "{directive}"; it has to be COPY or REPLACE.',
            ArgumentName=header,
            ArgumentValue=directive,
        )
    return bool(directive == "REPLACE")


def body_of(request: Mapping[str, Any]) -> Body:
    """Raises EntityTooLarge for one whose length is known to be too much."""
    body: Body = request.get("Body") or b""
    length: int | None = getattr(body, "length", None)
    if length is not None and length > LARGEST_PUT_BYTES:
        raise too_large(length)
    return body


def attributes_of(request: Mapping[str, Any]) -> Attributes:
    """Raises MetadataTooLarge, InvalidStorageClass, NotImplementedHere, and what tags raise."""
    headers: dict[str, str] = {}
    for name in (CONTENT_MEMBERS | {"WebsiteRedirectLocation"}) & request.keys():
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
    labels = tags.of_header(request["Tagging"]) if request.get("Tagging") else {}
    return Attributes(headers, metadata, _storage_class(request), request.get("ACL") or "", labels)


def _storage_class(request: Mapping[str, Any]) -> str:
    wanted: str = request.get("StorageClass") or STANDARD
    if wanted in ("GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_OPENZFS", "FSX_ONTAP"):
        raise NotImplementedHere(
            f"The storage class {wanted} is not implemented here; these are: {', '.join(sorted(STORAGE_CLASSES))}.",
            Header="x-amz-storage-class",
        )
    if wanted not in STORAGE_CLASSES:
        raise InvalidStorageClass(
            f'The storage class you specified is not valid: "{wanted}"; '
            f"these are: {', '.join(sorted(STORAGE_CLASSES))}.",
            StorageClassRequested=wanted,
        )
    return wanted


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


def delete_check(if_match: str | None) -> Check | None:
    """If-Match of a delete: what it names has to be what the key shows."""
    if if_match is None:
        return None

    def check(present: ObjectInfo | None) -> None:
        if present is None or not matches(present.etag, if_match):
            raise PreconditionFailed("If-Match")

    return check


def copy_source(request: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """(bucket, key, version) of x-amz-copy-source. Raises InvalidArgument."""
    path, found, version = request["CopySource"].partition("?versionId=")
    bucket, _, key = unquote(path, errors="surrogateescape").removeprefix("/").partition("/")
    if not bucket or not key:
        raise InvalidArgument(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName="x-amz-copy-source",
            ArgumentValue=request["CopySource"],
        )
    return bucket, key_of({"Key": key}), version_of({"VersionId": unquote(version)}) if found else None


def open_source(call: Call, request: Mapping[str, Any], bucket: str, key: str, version: str | None) -> OpenBody:
    """The body to copy from, if the conditions on it hold. Blocks. Raises NoSuchKey, PreconditionFailed, ..."""
    owner = owned_bucket(call, bucket, request.get("ExpectedSourceBucketOwner"))
    source = call.objects.open_body(owner, key, version, encryption.customer_key(request, "CopySource"))
    try:
        key_use.require(call, source.info.encryption, bucket, key, "kms:Decrypt")
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
