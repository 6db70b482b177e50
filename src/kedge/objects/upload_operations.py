"""Multipart uploads: begin, put parts, complete, abort, list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from kedge.call import Call
from kedge.errors import BadDigest
from kedge.objects import encryption, key_use
from kedge.objects.access import bucket_of, cause_of, checksum_members, key_of, owner, quoted, shown, version_members
from kedge.objects.acl import checked_object_acl
from kedge.objects.bodies import OpenBody
from kedge.objects.bucket_operations import LARGEST_PAGE, at_most, check_encoding, encoded
from kedge.objects.checksums import TYPES, of_parts
from kedge.objects.conditions import byte_range
from kedge.objects.encryption import CustomerKey, Wanted
from kedge.objects.errors import (
    EntityTooSmall,
    InvalidArgument,
    InvalidPart,
    InvalidPartOrder,
    InvalidRange,
    InvalidRequest,
    MalformedXML,
)
from kedge.objects.object_operations import attributes_of, body_of, copy_source, open_source, write_check
from kedge.objects.receiving import LARGEST_PUT_BYTES, too_large
from kedge.objects.records import CHECKSUMS, Bucket, ObjectInfo, Part, Upload
from kedge.objects.vault import encryption_of

SMALLEST_PART_BYTES = 5 * 1024**2
"""The last part of an upload may be smaller."""
MOST_PARTS = 10_000


async def create_multipart_upload(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, attributes = key_of(request), attributes_of(request)
    algorithm, kind = _checksum_of(request)

    def create() -> tuple[Upload, Wanted]:
        bucket = bucket_of(call, request)
        asked = encryption.wanted(request, encryption.from_json(bucket.encryption))
        checked_object_acl(call.store, bucket, attributes.acl)
        sealing = call.objects.seal(bucket, key, asked)
        sealed = encryption_of(sealing)
        key_use.require(call, sealed, bucket.name, key, "kms:GenerateDataKey")
        return call.objects.uploads.create(bucket, key, attributes, algorithm, kind, sealed), asked

    upload, asked = await call.objects.run(create)
    result = {"Bucket": upload.bucket, "Key": upload.key, "UploadId": upload.id}
    return result | _checksum_kind(upload) | encryption.written(upload.encryption, asked)


async def upload_part(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    number = _part_number(request)
    body, customer = body_of(request), encryption.customer_key(request)
    upload, data_key = await call.objects.run(_find_with_key, call, request, customer)
    part = await call.objects.uploads.put_part(upload, number, body, data_key)
    return {
        "ETag": quoted(part.etag),
        **{"Checksum" + name: value for name, value in part.checksums.items()},
        **encryption.members(upload.encryption, customer),
    }


async def upload_part_copy(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    number = _part_number(request)
    source_bucket, source_key, version = copy_source(request)
    customer = encryption.customer_key(request)
    upload, data_key = await call.objects.run(_find_with_key, call, request, customer)

    def open_it() -> tuple[OpenBody, str]:
        opened = open_source(call, request, source_bucket, source_key, version)
        return opened, opened.info.version if call.objects.bucket(source_bucket).versioning else ""

    source, source_version = await call.objects.run(open_it)
    try:
        start, count = _source_range(request.get("CopySourceRange"), source.info.size)
        stream = call.objects.stream(source, start, count)
        part = await call.objects.uploads.put_part(upload, number, stream, data_key)
    finally:
        await call.objects.run(source.close)
    return {
        "CopyPartResult": {
            "ETag": quoted(part.etag),
            "LastModified": shown(part.modified),
            **{"Checksum" + name: value for name, value in part.checksums.items()},
        },
        **({"CopySourceVersionId": source_version} if source_version else {}),
        **encryption.members(upload.encryption, customer),
    }


async def complete_multipart_upload(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key, check, customer = key_of(request), write_check(request), encryption.customer_key(request)
    wanted = (request.get("MultipartUpload") or {}).get("Parts") or []
    if not 1 <= len(wanted) <= MOST_PARTS:
        raise MalformedXML(f"The request names {len(wanted)} parts; an object has 1 to {MOST_PARTS}.")

    def choose(upload: Upload, present: Sequence[Part]) -> tuple[Sequence[Part], Mapping[str, str]]:
        parts = chosen_parts(wanted, present)
        key_use.require(call, upload.encryption, upload.bucket, upload.key, "kms:Decrypt")
        if customer is not None:
            call.objects.part_key(upload, customer)
        return parts, _whole_checksum(upload, parts, request)

    cause = cause_of(call, "CompleteMultipartUpload")

    def complete() -> tuple[Bucket, ObjectInfo]:
        bucket = bucket_of(call, request)
        return bucket, call.objects.uploads.complete(bucket, key, request["UploadId"], choose, check, cause)

    bucket, made = await call.objects.run(complete)
    return {
        "Location": f"/{made.bucket}/{quote(key)}",
        "Bucket": made.bucket,
        "Key": key,
        "ETag": quoted(made.etag),
        **version_members(bucket, made),
        **checksum_members(made.checksums, made.checksum_type),
        **encryption.completed(made.encryption),
    }


async def abort_multipart_upload(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    key = key_of(request)
    await call.objects.run(lambda: call.objects.uploads.abort(bucket_of(call, request), key, request["UploadId"]))
    return {}


async def list_multipart_uploads(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    check_encoding(request)
    most = at_most(request, "MaxUploads", LARGEST_PAGE)
    prefix, delimiter = request.get("Prefix", ""), request.get("Delimiter", "")
    key_marker = request.get("KeyMarker", "")
    id_marker = request.get("UploadIdMarker", "") if key_marker else ""
    shared = owner(call.caller.account)

    def find() -> dict[str, Any]:
        bucket = bucket_of(call, request)
        after = (key_marker, id_marker) if key_marker else None
        page = call.objects.uploads.list_page(bucket, prefix, delimiter, after, most)
        result: dict[str, Any] = {
            "Bucket": bucket.name,
            "KeyMarker": encoded(request, key_marker),
            "UploadIdMarker": id_marker,
            "Prefix": encoded(request, prefix),
            "MaxUploads": most,
            "IsTruncated": page.truncated,
            "Uploads": [
                {
                    "Key": encoded(request, upload.key),
                    "UploadId": upload.id,
                    "Initiated": shown(upload.started),
                    "StorageClass": upload.attributes.storage_class,
                    "Owner": shared,
                    "Initiator": shared,
                    **_checksum_kind(upload),
                }
                for upload in page.rows
            ],
            "CommonPrefixes": [{"Prefix": encoded(request, each)} for each in page.common_prefixes],
        }
        if delimiter:
            result["Delimiter"] = encoded(request, delimiter)
        if request.get("EncodingType"):
            result["EncodingType"] = request["EncodingType"]
        if page.truncated:
            result["NextKeyMarker"] = encoded(request, page.last)
            ends_with_upload = bool(page.rows) and page.rows[-1].key == page.last
            result["NextUploadIdMarker"] = page.rows[-1].id if ends_with_upload else ""
        return result

    return await call.objects.run(find)


async def list_parts(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    most, customer = at_most(request, "MaxParts", LARGEST_PAGE), encryption.customer_key(request)
    marker = request.get("PartNumberMarker") or 0
    try:
        after = int(marker)
    except ValueError:
        after = -1
    if after < 0:
        raise InvalidArgument(
            "part-number-marker has to be a number of 0 or more.",
            ArgumentName="part-number-marker",
            ArgumentValue=marker,
        )

    def find() -> tuple[Upload, list[Part]]:
        upload = _find(call, request)
        if customer is not None:
            call.objects.part_key(upload, customer)
        return upload, call.objects.uploads.parts(upload, after, most + 1)

    upload, parts = await call.objects.run(find)
    shared = owner(call.caller.account)
    shown_parts = parts[:most]
    result: dict[str, Any] = {
        "Bucket": upload.bucket,
        "Key": upload.key,
        "UploadId": upload.id,
        "PartNumberMarker": str(after),
        "MaxParts": most,
        "IsTruncated": bool(shown_parts) and len(parts) > most,
        "Initiator": shared,
        "Owner": shared,
        "StorageClass": upload.attributes.storage_class,
        "Parts": [
            {
                "PartNumber": part.number,
                "LastModified": shown(part.modified),
                "ETag": quoted(part.etag),
                "Size": part.size,
                **{"Checksum" + name: value for name, value in part.checksums.items()},
            }
            for part in shown_parts
        ],
        **_checksum_kind(upload),
    }
    if result["IsTruncated"]:
        result["NextPartNumberMarker"] = str(shown_parts[-1].number)
    return result


def chosen_parts(wanted: Sequence[Mapping[str, Any]], present: Sequence[Part]) -> list[Part]:
    """The parts that a client names, in its order. PURE. Raises InvalidPartOrder, InvalidPart, EntityTooSmall."""
    by_number = {part.number: part for part in present}
    chosen: list[Part] = []
    for each in wanted:
        number = each.get("PartNumber")
        if number is None:
            raise MalformedXML("A part of the request has no PartNumber.")
        if chosen and number <= chosen[-1].number:
            raise InvalidPartOrder(
                f"The list of parts was not in ascending order: {number} comes after {chosen[-1].number}."
            )
        part = by_number.get(number)
        etag = str(each.get("ETag", "")).strip().strip('"')
        if part is None or etag != part.etag or _other_checksum(each, part):
            raise InvalidPart(
                f"Part {number} could not be found: it was not uploaded, or its entity tag or checksum is another one.",
                PartNumber=number,
                ETag=etag,
            )
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < SMALLEST_PART_BYTES:
            raise EntityTooSmall(
                f"Your proposed upload is smaller than the minimum allowed size: part {part.number} has {part.size} "
                f"bytes, and only the last part may have fewer than {SMALLEST_PART_BYTES}.",
                PartNumber=part.number,
                ETag=part.etag,
                ProposedSize=part.size,
                MinSizeAllowed=SMALLEST_PART_BYTES,
            )
    return chosen


def _other_checksum(named: Mapping[str, Any], part: Part) -> bool:
    """Only those are compared that the part was stored with."""
    given = ((name, named.get("Checksum" + name)) for name in CHECKSUMS)
    return any(value is not None and part.checksums.get(name, value) != value for name, value in given)


def _whole_checksum(upload: Upload, parts: Sequence[Part], request: Mapping[str, Any]) -> dict[str, str]:
    """Of the object that the parts make; compared with what the client says. Raises BadDigest, InvalidRequest."""
    size = sum(part.size for part in parts)
    if request.get("MpuObjectSize") not in (None, size):
        raise InvalidRequest(f"x-amz-mp-object-size is {request['MpuObjectSize']}; the parts have {size} bytes.")
    kind = request.get("ChecksumType")
    if kind is not None and upload.checksum_algorithm and kind != upload.checksum_type:
        raise InvalidRequest(f"The upload was begun with checksums of type {upload.checksum_type}, not {kind}.")
    algorithm = upload.checksum_algorithm
    if not algorithm:
        return {}
    value = of_parts(algorithm, upload.checksum_type, [(part.checksums[algorithm], part.size) for part in parts])
    given = request.get("Checksum" + algorithm)
    if given is not None and given not in (value, value.rpartition("-")[0]):
        raise BadDigest(f"The {algorithm} you specified did not match the calculated checksum.")
    return {algorithm: value}


def _checksum_of(request: Mapping[str, Any]) -> tuple[str, str]:
    """(algorithm, type) that a new upload asks for; empty when for none. Raises InvalidRequest."""
    algorithm, kind = request.get("ChecksumAlgorithm", ""), request.get("ChecksumType", "")
    if not algorithm:
        if kind:
            raise InvalidRequest("x-amz-checksum-type needs x-amz-checksum-algorithm beside it.")
        return "", ""
    if algorithm not in TYPES:
        raise InvalidRequest(f"x-amz-checksum-algorithm is {algorithm}; it has to be one of {', '.join(TYPES)}.")
    if kind and kind not in TYPES[algorithm]:
        raise InvalidRequest(f"The {kind} checksum type cannot be used with the {algorithm} checksum algorithm.")
    return algorithm, kind or TYPES[algorithm][0]


def _checksum_kind(upload: Upload) -> dict[str, str]:
    if not upload.checksum_algorithm:
        return {}
    return {"ChecksumAlgorithm": upload.checksum_algorithm, "ChecksumType": upload.checksum_type}


def _find(call: Call, request: Mapping[str, Any]) -> Upload:
    return call.objects.uploads.get(bucket_of(call, request), key_of(request), request["UploadId"])


def _find_with_key(call: Call, request: Mapping[str, Any], customer: CustomerKey | None) -> tuple[Upload, bytes]:
    upload = _find(call, request)
    key_use.require(call, upload.encryption, upload.bucket, upload.key, "kms:Decrypt")
    return upload, call.objects.part_key(upload, customer)


def _part_number(request: Mapping[str, Any]) -> int:
    number: int = request["PartNumber"]
    if not 1 <= number <= MOST_PARTS:
        raise InvalidArgument(
            f"Part number must be an integer between 1 and {MOST_PARTS}, inclusive; it is {number}.",
            ArgumentName="partNumber",
            ArgumentValue=number,
        )
    return number


def _source_range(header: str | None, size: int) -> tuple[int, int]:
    """(first byte, number of bytes). Unlike GET's, this range has to be valid, and to end within the source."""
    if header is None:
        start, count = 0, size
    else:
        chosen = byte_range(header, size)
        last = header.rpartition("-")[2].strip()
        if chosen is None or not last.isdigit() or header.startswith("bytes=-"):
            raise InvalidArgument(
                "The x-amz-copy-source-range value must be of the form bytes=first-last.",
                ArgumentName="x-amz-copy-source-range",
                ArgumentValue=header,
            )
        if int(last) >= size:
            raise InvalidRange(
                f"Range specified is not valid for source object of size: {size}",
                RangeRequested=header,
                ActualObjectSize=size,
            )
        start, count = chosen
    if count > LARGEST_PUT_BYTES:
        raise too_large(count)
    return start, count
