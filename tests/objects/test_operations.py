from __future__ import annotations

import asyncio
import hashlib
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from kedge.errors import AccessDenied, ServiceError
from kedge.objects import errors
from kedge.objects.bucket_operations import bucket_region, check_bucket_name
from kedge.objects.errors import NotImplementedHere, PreconditionFailed
from kedge.objects.files import CHUNK_BYTES
from kedge.objects.operations import OPERATIONS
from kedge.wire.shapes import mistakes
from tests.objects.conftest import Body, Client, files_under

MODEL = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3")


def md5(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


async def test_put_and_get(s3):
    said = {
        "ContentType": "text/csv",
        "CacheControl": "no-cache",
        "ContentDisposition": "attachment",
        "ContentLanguage": "de",
        "Expires": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    body = Body([b"1,2\n", b"3,4\n"], {"CRC32": "abcd"})
    put = await s3.PutObject(
        Bucket="bucket", Key="k", Body=body, Metadata={"Who": "me"}, ContentEncoding="aws-chunked,gzip", **said
    )
    assert put == {"ETag": md5(b"1,2\n3,4\n"), "ChecksumCRC32": "abcd", "ChecksumType": "FULL_OBJECT"}
    head = await s3.HeadObject(Bucket="bucket", Key="k", ChecksumMode="ENABLED")
    assert head["ContentEncoding"] == "gzip"
    assert head["Metadata"] == {"who": "me"}
    assert {name: head[name] for name in said} == said
    assert (head["ContentLength"], head["ETag"], head["ChecksumCRC32"]) == (8, put["ETag"], "abcd")
    assert "ContentRange" not in head
    assert head["LastModified"].microsecond == 0
    got = await s3.GetObject(Bucket="bucket", Key="k")
    assert b"".join([chunk async for chunk in got.pop("Body")]) == b"1,2\n3,4\n"
    assert "ChecksumCRC32" not in got
    assert got == {name: value for name, value in head.items() if not name.startswith("Checksum")}


async def test_defaults(s3):
    await s3.PutObject(Bucket="bucket", Key="k")
    head = await s3.HeadObject(Bucket="bucket", Key="k")
    assert (head["ContentType"], head["ContentLength"], head["Metadata"]) == ("binary/octet-stream", 0, {})
    assert await s3.read(Bucket="bucket", Key="k") == b""


async def test_only_aws_chunked_is_no_encoding(s3):
    await s3.PutObject(Bucket="bucket", Key="k", Body=b"x", ContentEncoding="aws-chunked")
    assert "ContentEncoding" not in await s3.HeadObject(Bucket="bucket", Key="k")


async def test_ranges(s3):
    data = os.urandom(2 * CHUNK_BYTES + 7)
    await s3.PutObject(Bucket="bucket", Key="k", Body=Body([data[:5], data[5:]]), Metadata={})
    for header, start, end in (
        ("bytes=0-0", 0, 1),
        (f"bytes={CHUNK_BYTES - 1}-{CHUNK_BYTES}", CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        ("bytes=-3", len(data) - 3, len(data)),
        ("bytes=5-", 5, len(data)),
    ):
        got = await s3.GetObject(Bucket="bucket", Key="k", Range=header, ChecksumMode="ENABLED")
        assert got["ContentRange"] == f"bytes {start}-{end - 1}/{len(data)}"
        assert got["ContentLength"] == end - start
        assert b"".join([chunk async for chunk in got["Body"]]) == data[start:end]
    with pytest.raises(errors.InvalidRange):
        await s3.GetObject(Bucket="bucket", Key="k", Range=f"bytes={len(data)}-")
    with pytest.raises(errors.InvalidRequest):
        await s3.GetObject(Bucket="bucket", Key="k", Range="bytes=0-1", PartNumber=1)
    whole = await s3.HeadObject(Bucket="bucket", Key="k", PartNumber=1)
    assert whole["ContentRange"] == f"bytes 0-{len(data) - 1}/{len(data)}"
    with pytest.raises(errors.InvalidPartNumber):
        await s3.HeadObject(Bucket="bucket", Key="k", PartNumber=2)


async def test_a_body_that_nobody_reads_is_let_go(folder, s3):
    await s3.PutObject(Bucket="bucket", Key="k", Body=b"x" * 3 * CHUNK_BYTES)
    bodies = [(await s3.GetObject(Bucket="bucket", Key="k"))["Body"] for _ in range(2)]
    await anext(bodies[0])
    with pytest.raises(errors.InvalidRange):
        await s3.GetObject(Bucket="bucket", Key="k", Range="bytes=99999999-")
    await s3.DeleteObject(Bucket="bucket", Key="k")
    assert len(files_under(folder)) == 1
    for body in bodies:
        await body.aclose()
        await body.aclose()
    assert files_under(folder) == []


async def test_conditional_reads(s3):
    put = await s3.PutObject(Bucket="bucket", Key="k", Body=b"x")
    later = datetime.now(UTC) + timedelta(days=1)
    for operation in (s3.GetObject, s3.HeadObject):
        for conditions, error in (
            ({"IfNoneMatch": put["ETag"]}, errors.NotModified),
            ({"IfModifiedSince": later}, errors.NotModified),
            ({"IfMatch": '"other"'}, PreconditionFailed),
            ({"IfUnmodifiedSince": later - timedelta(days=9)}, PreconditionFailed),
        ):
            with pytest.raises(error):
                await operation(Bucket="bucket", Key="k", **conditions)


async def test_conditional_writes(s3):
    first = await s3.PutObject(Bucket="bucket", Key="k", Body=b"1", IfNoneMatch="*")
    with pytest.raises(PreconditionFailed):
        await s3.PutObject(Bucket="bucket", Key="k", Body=b"2", IfNoneMatch="*")
    with pytest.raises(PreconditionFailed):
        await s3.PutObject(Bucket="bucket", Key="k", Body=b"2", IfMatch='"other"')
    with pytest.raises(errors.NoSuchKey):
        await s3.PutObject(Bucket="bucket", Key="absent", Body=b"2", IfMatch=first["ETag"])
    with pytest.raises(NotImplementedHere):
        await s3.PutObject(Bucket="bucket", Key="k", Body=b"2", IfNoneMatch=first["ETag"])
    assert await s3.read(Bucket="bucket", Key="k") == b"1"
    await s3.PutObject(Bucket="bucket", Key="k", Body=b"3", IfMatch=first["ETag"])
    with pytest.raises(PreconditionFailed):
        await s3.DeleteObject(Bucket="bucket", Key="k", IfMatch=first["ETag"])
    puts = [s3.PutObject(Bucket="bucket", Key="new", Body=b"%d" % n, IfNoneMatch="*") for n in range(10)]
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(result, dict) for result in results) == 1


async def test_overrides_of_headers(s3):
    await s3.PutObject(Bucket="bucket", Key="k", Body=b"x", ContentType="a/b")
    head = await s3.HeadObject(Bucket="bucket", Key="k", ResponseContentType="c/d", ResponseContentDisposition="inline")
    assert (head["ContentType"], head["ContentDisposition"]) == ("c/d", "inline")


async def test_deleting(s3):
    assert await s3.DeleteObject(Bucket="bucket", Key="absent") == {}
    for key in ("a", "b", "c"):
        await s3.PutObject(Bucket="bucket", Key=key, Body=b"x")
    deleted = await s3.DeleteObjects(Bucket="bucket", Delete={"Objects": [{"Key": "a"}, {"Key": "zz"}]})
    assert deleted == {"Deleted": [{"Key": "a"}, {"Key": "zz"}]}
    wanted = [{"Key": "b"}, {"Key": "x" * 1025}]
    deleted = await s3.DeleteObjects(Bucket="bucket", Delete={"Objects": wanted, "Quiet": True})
    assert [error["Code"] for error in deleted.pop("Errors")] == ["KeyTooLongError"]
    assert deleted == {}
    assert [row["Key"] for row in (await s3.ListObjectsV2(Bucket="bucket"))["Contents"]] == ["c"]
    for keys in ([], [{"Key": "a"}] * 1001):
        with pytest.raises(errors.MalformedXML):
            await s3.DeleteObjects(Bucket="bucket", Delete={"Objects": keys})
    with pytest.raises(NotImplementedHere, match="Size"):
        await s3.DeleteObjects(Bucket="bucket", Delete={"Objects": [{"Key": "c", "Size": 1}]})


async def test_copying(folder, s3):
    await s3.PutObject(Bucket="bucket", Key="a b/é", Body=b"x" * 10, Metadata={"k": "v"}, ContentType="a/b")
    await s3.CreateBucket(Bucket="other")
    for source in ("bucket/a%20b/%C3%A9", "/bucket/a%20b%2F%C3%A9"):
        copied = await s3.CopyObject(Bucket="other", Key="c", CopySource=source)
        assert copied["CopyObjectResult"]["ETag"] == md5(b"x" * 10)
    head = await s3.HeadObject(Bucket="other", Key="c")
    assert (head["Metadata"], head["ContentType"]) == ({"k": "v"}, "a/b")
    await s3.DeleteObject(Bucket="bucket", Key="a b/é")
    assert await s3.read(Bucket="other", Key="c") == b"x" * 10
    with pytest.raises(errors.InvalidRequest):
        await s3.CopyObject(Bucket="other", Key="c", CopySource="other/c")
    await s3.CopyObject(Bucket="other", Key="c", CopySource="other/c", MetadataDirective="REPLACE", Metadata={"n": "1"})
    head = await s3.HeadObject(Bucket="other", Key="c")
    assert (head["Metadata"], head["ContentType"]) == ({"n": "1"}, "binary/octet-stream")
    assert await s3.read(Bucket="other", Key="c") == b"x" * 10
    assert len(files_under(folder)) == 1


async def test_copies_that_are_refused(s3):
    put = await s3.PutObject(Bucket="bucket", Key="a", Body=b"x")
    ok = {"Bucket": "bucket", "Key": "b", "CopySource": "bucket/a"}
    for change, error in (
        ({"CopySource": "bucket/absent"}, errors.NoSuchKey),
        ({"CopySource": "nowhere/a"}, errors.NoSuchBucket),
        ({"CopySource": "bucket"}, errors.InvalidArgument),
        ({"CopySource": "bucket/a?versionId=" + "0" * 32}, errors.NoSuchVersion),
        ({"TaggingDirective": "MOVE"}, errors.InvalidArgument),
        ({"ChecksumAlgorithm": "CRC7"}, errors.InvalidRequest),
        ({"CopySourceIfMatch": '"other"'}, PreconditionFailed),
        ({"CopySourceIfNoneMatch": put["ETag"]}, PreconditionFailed),
        ({"MetadataDirective": "MOVE"}, errors.InvalidArgument),
        ({"ExpectedSourceBucketOwner": "000000000000"}, AccessDenied),
    ):
        with pytest.raises(error):
            await s3.CopyObject(**{**ok, **change})
    assert [row["Key"] for row in (await s3.ListObjects(Bucket="bucket"))["Contents"]] == ["a"]


async def test_listing_by_pages(s3):
    for key in ("a/1", "a/2", "b", "c/1", "d é\x01"):
        await s3.PutObject(Bucket="bucket", Key=key, Body=b"x")
    found, token = [], {}
    while True:
        page = await s3.ListObjectsV2(Bucket="bucket", Delimiter="/", MaxKeys=1, **token)
        found.append([row["Key"] for row in page["Contents"]] + [each["Prefix"] for each in page["CommonPrefixes"]])
        assert page["KeyCount"] == 1
        if not page["IsTruncated"]:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == [["a/"], ["b"], ["c/"], ["d é\x01"]]

    found, marker = [], {}
    while True:
        page = await s3.ListObjects(Bucket="bucket", Delimiter="/", MaxKeys=2, **marker)
        found.append([row["Key"] for row in page["Contents"]] + [each["Prefix"] for each in page["CommonPrefixes"]])
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["NextMarker"]}
    assert found == [["b", "a/"], ["d é\x01", "c/"]]
    assert "NextMarker" not in await s3.ListObjects(Bucket="bucket", MaxKeys=2)

    page = await s3.ListObjectsV2(Bucket="bucket", StartAfter="c/1", EncodingType="url", FetchOwner=True)
    assert page["Contents"][0]["Key"] == "d+%C3%A9%01"
    assert len(page["Contents"][0]["Owner"]["ID"]) == 64
    page = await s3.ListObjectsV2(Bucket="bucket", MaxKeys=0)
    assert (page["Contents"], page["IsTruncated"]) == ([], False)
    for wrong in ({"ContinuationToken": "x"}, {"MaxKeys": -1}, {"EncodingType": "base64"}):
        with pytest.raises(errors.InvalidArgument):
            await s3.ListObjectsV2(Bucket="bucket", **wrong)


async def test_keys(s3):
    odd = ["/", "//a", "../../etc/passwd", "a", "a/", "a/b", "\x00", "é" * 512, "%2F", "a b+c"]
    for key in odd:
        await s3.PutObject(Bucket="bucket", Key=key, Body=key.encode())
    for key in odd:
        assert await s3.read(Bucket="bucket", Key=key) == key.encode()
    listed = [row["Key"] for row in (await s3.ListObjectsV2(Bucket="bucket"))["Contents"]]
    assert listed == sorted(odd, key=str.encode)
    with pytest.raises(errors.KeyTooLong):
        await s3.PutObject(Bucket="bucket", Key="é" * 513)
    with pytest.raises(errors.InvalidArgument):
        await s3.PutObject(Bucket="bucket", Key="\ud800")


async def test_metadata_has_a_limit(s3):
    await s3.PutObject(Bucket="bucket", Key="k", Metadata={"k": "v" * 2047})
    with pytest.raises(errors.MetadataTooLarge):
        await s3.PutObject(Bucket="bucket", Key="k", Metadata={"k": "v" * 2048})


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(s3):
    body = Body([])
    body.length = 5 * 1024**3 + 1
    with pytest.raises(errors.EntityTooLarge):
        await s3.PutObject(Bucket="bucket", Key="k", Body=body)


# Buckets


async def test_buckets(objects, s3):
    west = Client(objects, s3.store, region="eu-west-1")
    assert await west.CreateBucket(Bucket="west", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}) == {
        "Location": "/west"
    }
    listed = await s3.ListBuckets()
    assert [(each["Name"], each["BucketRegion"]) for each in listed["Buckets"]] == [
        ("bucket", "us-east-1"),
        ("west", "eu-west-1"),
    ]
    page = await s3.ListBuckets(MaxBuckets=1)
    assert [each["Name"] for each in page["Buckets"]] == ["bucket"]
    page = await s3.ListBuckets(MaxBuckets=1, ContinuationToken=page["ContinuationToken"])
    assert [each["Name"] for each in page["Buckets"]] == ["west"]
    assert "ContinuationToken" not in page
    assert await s3.GetBucketLocation(Bucket="bucket") == {}
    assert await s3.GetBucketLocation(Bucket="west") == {"LocationConstraint": "eu-west-1"}
    assert await s3.HeadBucket(Bucket="west") == {"BucketRegion": "eu-west-1"}
    assert await s3.GetBucketVersioning(Bucket="bucket") == {}
    with pytest.raises(errors.NoConfiguration):
        await s3.GetBucketTagging(Bucket="bucket")
    assert (await s3.GetBucketAcl(Bucket="bucket"))["Grants"][0]["Permission"] == "FULL_CONTROL"
    with pytest.raises(errors.BucketAlreadyOwnedByYou):
        await west.CreateBucket(Bucket="west", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    await s3.CreateBucket(Bucket="bucket")  # us-east-1's habit
    await s3.DeleteBucket(Bucket="west")
    with pytest.raises(errors.NoSuchBucket):
        await s3.HeadBucket(Bucket="west")
    await s3.PutObject(Bucket="bucket", Key="k")
    with pytest.raises(errors.BucketNotEmpty):
        await s3.DeleteBucket(Bucket="bucket")


@pytest.mark.parametrize("name", ["abc", "a.b-c", "1bucket", "x" * 63, "sagemaker-us-east-1-000000000000"])
def test_bucket_names(name):
    check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "x" * 64,
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        "a..b",
        "192.168.0.1",
        "xn--ab",
        "ab-s3alias",
        "a b",
        "abc\n",
        "kedge",
    ],
)
def test_names_that_no_bucket_has(name):
    with pytest.raises(errors.InvalidBucketName):
        check_bucket_name(name)


@pytest.mark.parametrize(
    ("called", "constraint", "want"),
    [
        ("us-east-1", None, "us-east-1"),
        ("us-east-1", "eu-west-1", "eu-west-1"),
        ("us-east-1", "EU", "eu-west-1"),
        ("us-east-1", "us-east-1", errors.InvalidLocationConstraint),
        ("us-east-1", "mars", errors.InvalidLocationConstraint),
        ("eu-west-1", "eu-west-1", "eu-west-1"),
        ("eu-west-1", None, errors.IllegalLocationConstraint),
        ("eu-west-1", "us-west-2", errors.IllegalLocationConstraint),
    ],
)
def test_the_region_of_a_new_bucket(called, constraint, want):
    if isinstance(want, str):
        assert bucket_region(called, constraint) == want
    else:
        with pytest.raises(want):
            bucket_region(called, constraint)


ONE_TAG = {"TagSet": [{"Key": "k", "Value": "v"}]}
RULE = {"ID": "r", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": 1}}
SMALLEST: dict[str, Any] = {
    "PutBucketCors": {"CORSConfiguration": {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}},
    "PutBucketEncryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        }
    },
    "PutBucketLifecycleConfiguration": {"LifecycleConfiguration": {"Rules": [RULE]}},
    "PutBucketOwnershipControls": {"OwnershipControls": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}},
    "PutBucketRequestPayment": {"RequestPaymentConfiguration": {"Payer": "BucketOwner"}},
    "PutBucketTagging": {"Tagging": ONE_TAG},
    "PutBucketVersioning": {"VersioningConfiguration": {"Status": "Enabled"}},
    "PutObjectTagging": {"Key": "k", "Tagging": ONE_TAG},
    "GetObjectAttributes": {"Key": "k", "ObjectAttributes": ["ETag"]},
}
"""What is asked for where the least that a model requires is refused for its own sake."""


def smallest(shape: Any) -> dict[str, Any]:
    """The members that a model requires, with the least in them."""
    kinds: dict[str, Any] = {"structure": {}, "list": [], "string": "x", "integer": 1, "boolean": False}
    return {
        name: smallest(shape.members[name])
        if shape.members[name].type_name == "structure"
        else kinds[shape.members[name].type_name]
        for name in shape.required_members
    }


async def test_another_account_is_kept_out(objects, s3):
    await s3.PutObject(Bucket="bucket", Key="k", Body=b"x")
    upload = await s3.CreateMultipartUpload(Bucket="bucket", Key="k")
    other = Client(objects, s3.store, account="999999999999")
    more = {
        "CreateBucket": None,
        "ListBuckets": None,
        "DeleteObjects": {"Delete": {"Objects": [{"Key": "k"}]}},
        "CopyObject": {"Key": "new", "CopySource": "bucket/k"},
        "UploadPart": {"Key": "k", "UploadId": upload["UploadId"], "PartNumber": 1},
        "UploadPartCopy": {"Key": "k", "UploadId": upload["UploadId"], "PartNumber": 1, "CopySource": "bucket/k"},
        "CompleteMultipartUpload": {
            "Key": "k",
            "UploadId": upload["UploadId"],
            "MultipartUpload": {"Parts": [{"PartNumber": 1}]},
        },
        "AbortMultipartUpload": {"Key": "k", "UploadId": upload["UploadId"]},
        "ListParts": {"Key": "k", "UploadId": upload["UploadId"]},
    }
    for name in (each.removeprefix("s3.") for each in OPERATIONS):
        parameters = more.get(name, SMALLEST.get(name))
        if parameters is None and name not in more:
            parameters = smallest(MODEL.operation_model(name).input_shape)
            parameters |= {"Key": "k"} if "Key" in parameters else {}
            parameters.pop("Bucket")
        if parameters is not None:
            with pytest.raises(AccessDenied):
                await getattr(other, name)(Bucket="bucket", **parameters)
    with pytest.raises(errors.BucketAlreadyExists):
        await other.CreateBucket(Bucket="bucket")
    assert (await other.ListBuckets())["Buckets"] == []
    await other.CreateBucket(Bucket="theirs")
    with pytest.raises(AccessDenied):
        await other.CopyObject(Bucket="theirs", Key="k", CopySource="bucket/k")
    with pytest.raises(AccessDenied):
        await s3.HeadBucket(Bucket="bucket", ExpectedBucketOwner="999999999999")
    assert await s3.read(Bucket="bucket", Key="k") == b"x"


# What is not done is refused


@pytest.mark.parametrize(
    ("member", "value", "header"),
    [
        ("ServerSideEncryption", "AES256", "no keys to encrypt with: AES256"),  # this store was given none
        ("ServerSideEncryption", "aws:kms", "no keys to encrypt with: aws:kms"),
        ("ServerSideEncryption", "aws:kms:dsse", "aws:kms:dsse"),
        ("StorageClass", "GLACIER", "GLACIER"),
        ("GrantRead", "id=1", "x-amz-grant-read"),
        ("ObjectLockMode", "GOVERNANCE", "x-amz-object-lock-mode"),
    ],
)
async def test_what_is_not_done_is_refused_by_name(s3, member, value, header):
    for operation in (s3.PutObject, s3.CreateMultipartUpload):
        with pytest.raises(NotImplementedHere, match=header):
            await operation(Bucket="bucket", Key="k", **{member: value})
    with pytest.raises(errors.NoSuchKey):
        await s3.HeadObject(Bucket="bucket", Key="k")


async def test_values_that_ask_for_nothing_are_taken(s3):
    await s3.PutObject(
        Bucket="bucket", Key="k", ACL="bucket-owner-full-control", StorageClass="STANDARD", BucketKeyEnabled=False
    )
    assert await s3.read(Bucket="bucket", Key="k", VersionId="null") == b""


def test_operations_are_those_of_the_model():
    assert {name.removeprefix("s3.") for name in OPERATIONS} <= set(MODEL.operation_names)


async def test_results_have_the_members_of_the_model(s3):
    """Also: each operation takes the members that its model requires."""
    await s3.PutObject(Bucket="bucket", Key="k", Body=Body([b"x"], {"CRC32": "abcd"}), Metadata={"a": "b"})
    upload = await s3.CreateMultipartUpload(Bucket="bucket", Key="u", ChecksumAlgorithm="CRC32")
    of_upload = {"Bucket": "bucket", "Key": "u", "UploadId": upload["UploadId"]}
    part = await s3.UploadPart(**of_upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    target = {"Bucket": "bucket", "Key": "k"}
    calls = [
        ("ListBuckets", {}),
        ("CreateBucket", {"Bucket": "new-bucket"}),
        ("HeadBucket", {"Bucket": "bucket"}),
        ("GetBucketLocation", {"Bucket": "bucket"}),
        ("GetBucketVersioning", {"Bucket": "bucket"}),
        ("GetBucketAcl", {"Bucket": "bucket"}),
        ("GetObjectAcl", target),
        ("ListObjects", {"Bucket": "bucket", "Delimiter": "/", "EncodingType": "url"}),
        ("ListObjectsV2", {"Bucket": "bucket", "Delimiter": "/", "EncodingType": "url", "FetchOwner": True}),
        ("PutObject", {**target, "Body": b"x"}),
        ("GetObject", {**target, "ChecksumMode": "ENABLED"}),
        ("HeadObject", {**target, "ChecksumMode": "ENABLED"}),
        ("CopyObject", {"Bucket": "bucket", "Key": "c", "CopySource": "bucket/k"}),
        ("ListMultipartUploads", {"Bucket": "bucket", "Delimiter": "/", "EncodingType": "url"}),
        ("UploadPart", {**of_upload, "PartNumber": 2, "Body": b"x"}),
        ("UploadPartCopy", {**of_upload, "PartNumber": 3, "CopySource": "bucket/k"}),
        ("ListParts", {**of_upload, "MaxParts": 1}),
        ("CompleteMultipartUpload", {**of_upload, "MultipartUpload": parts}),
        ("CreateMultipartUpload", {"Bucket": "bucket", "Key": "u", "ChecksumAlgorithm": "CRC32"}),
        ("DeleteObjects", {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "c"}]}}),
    ]
    for name, parameters in calls:
        operation = MODEL.operation_model(name)
        result = await getattr(s3, name)(**parameters)
        if name == "GetObject":
            await result.pop("Body").aclose()
        shape = operation.output_shape
        assert mistakes(shape, result) == [], name
        assert set(operation.input_shape.required_members) <= set(parameters) | {"Body"}, name


def test_every_error_has_a_code_and_a_status_of_its_own():
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ServiceError)]
    for error in found:
        if error is not ServiceError:
            assert error.code != "InternalFailure"
            assert error.status in (304, 400, 403, 404, 405, 409, 412, 416, 501, 503)


def test_the_documentation_names_every_operation_and_no_other():
    page = (Path(__file__).parents[2] / "docs" / "objects.md").read_text()
    table = page.partition("## Operations")[2].partition("\n## ")[0]
    named = {word for word in re.findall(r"[A-Za-z0-9]+", table) if word in MODEL.operation_names}
    assert named == {name.removeprefix("s3.") for name in OPERATIONS}
