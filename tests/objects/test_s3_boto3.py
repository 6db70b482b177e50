"""An unmodified boto3 against the running server: what the wire and the store do together."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from kedge.wire import checksums

ODD_KEYS = ["/", "//a", "../../etc/passwd", "a", "a/", "a/b", "a b+c%2F?&=#", "é\U0001f600", "\x01\x7f", "x" * 1024]


@pytest.fixture
def s3(kedge) -> Any:
    return kedge.client("s3")


@pytest.fixture
def bucket(s3) -> str:
    s3.create_bucket(Bucket="test-bucket")
    return "test-bucket"


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_an_object_goes_there_and_back(s3, bucket):
    put = s3.put_object(
        Bucket=bucket,
        Key="k",
        Body=b"hello",
        ContentType="text/plain",
        Metadata={"who": "me"},
        CacheControl="no-cache",
        Expires=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    assert put["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    assert put["ChecksumCRC32"]
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"hello"
    assert (got["ContentType"], got["ContentLength"], got["Metadata"]) == ("text/plain", 5, {"who": "me"})
    assert (got["ETag"], got["CacheControl"]) == (put["ETag"], "no-cache")
    assert got["Expires"] == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert got["ChecksumCRC32"] == put["ChecksumCRC32"]
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["LastModified"] == got["LastModified"]
    part = s3.get_object(Bucket=bucket, Key="k", Range="bytes=1-3")
    assert (part["Body"].read(), part["ContentRange"]) == (b"ell", "bytes 1-3/5")
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert s3.get_object(Bucket=bucket, Key="k", ResponseContentType="a/b")["ContentType"] == "a/b"


def test_any_key(s3, bucket):
    for key in ODD_KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for key in ODD_KEYS:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    listed = [row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(ODD_KEYS, key=str.encode)
    assert [row["Key"] for row in s3.list_objects(Bucket=bucket)["Contents"]] == listed
    for key in ODD_KEYS[:5]:
        s3.delete_object(Bucket=bucket, Key=key)
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in ("a/b", "é\U0001f600")]})
    assert len(deleted["Deleted"]) == 2
    assert len(s3.list_objects_v2(Bucket=bucket)["Contents"]) == len(ODD_KEYS) - 7


def test_errors_can_be_caught(s3, bucket):
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key="absent")
    with pytest.raises(s3.exceptions.NoSuchBucket):
        s3.list_objects_v2(Bucket="no-such-bucket")
    with pytest.raises(s3.exceptions.NoSuchUpload):
        s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId="x")
    with pytest.raises(ClientError) as error:
        s3.head_object(Bucket=bucket, Key="absent")
    assert code_of(error) == ("404", 404)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", StorageClass="DEEP_ARCHIVE")
    assert code_of(error) == ("NotImplemented", 501)
    with pytest.raises(ClientError) as error:
        s3.get_bucket_tagging(Bucket=bucket)
    assert code_of(error) == ("NoSuchTagSet", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with pytest.raises(ClientError) as error:
        s3.delete_bucket(Bucket=bucket)
    assert code_of(error) == ("BucketNotEmpty", 409)
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=5-")
    assert code_of(error) == ("InvalidRange", 416)
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"y", IfNoneMatch="*")
    assert code_of(error) == ("PreconditionFailed", 412)
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=s3.head_object(Bucket=bucket, Key="k")["ETag"])
    assert code_of(error) == ("304", 304)


def test_buckets(kedge, s3, bucket):
    west = kedge.client("s3", region_name="eu-west-1")
    west.create_bucket(Bucket="west-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert {bucket, "west-bucket"} <= {each["Name"] for each in s3.list_buckets()["Buckets"]}
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert s3.get_bucket_location(Bucket="west-bucket")["LocationConstraint"] == "eu-west-1"
    assert s3.head_bucket(Bucket="west-bucket")["BucketRegion"] == "eu-west-1"
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    with pytest.raises(west.exceptions.BucketAlreadyOwnedByYou):
        west.create_bucket(Bucket="west-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.delete_bucket(Bucket="west-bucket")
    s3.get_waiter("bucket_not_exists").wait(Bucket="west-bucket", WaiterConfig={"Delay": 1, "MaxAttempts": 1})


def test_paging(s3, bucket):
    keys = [f"{folder}/{n:02}" for folder in ("a", "b") for n in range(15)] + ["top"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    for operation in ("list_objects_v2", "list_objects"):
        pages = s3.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": 4})
        assert [row["Key"] for page in pages for row in page["Contents"]] == keys
        pages = s3.get_paginator(operation).paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1})
        found = [(page.get("CommonPrefixes"), page.get("Contents")) for page in pages]
        assert [each[0]["Prefix"] for each, _ in found if each] == ["a/", "b/"]
        assert [each[0]["Key"] for _, each in found if each] == ["top"]
    within = s3.list_objects_v2(Bucket=bucket, Prefix="a/", StartAfter="a/12")
    assert [row["Key"] for row in within["Contents"]] == ["a/13", "a/14"]


@pytest.mark.parametrize("size", [3, 64 * 1024 * 1024 + 5])
def test_upload_file_and_download_file(s3, bucket, tmp_path, size):
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(size))
    s3.upload_file(str(there), bucket, "file", ExtraArgs={"Metadata": {"k": "v"}})
    s3.download_file(bucket, "file", str(back))
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()
    assert s3.head_object(Bucket=bucket, Key="file")["Metadata"] == {"k": "v"}
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_upload_of_a_stream_and_managed_copy(s3, bucket):
    data = os.urandom(11 * 1024 * 1024)
    small_parts = TransferConfig(multipart_threshold=5 * 1024**2, multipart_chunksize=5 * 1024**2)
    s3.upload_fileobj(BytesIO(data), bucket, "stream", Config=small_parts)
    s3.copy({"Bucket": bucket, "Key": "stream"}, bucket, "copy é", Config=small_parts)
    assert s3.get_object(Bucket=bucket, Key="copy é")["Body"].read() == data
    s3.copy_object(Bucket=bucket, Key="linked", CopySource={"Bucket": bucket, "Key": "copy é"})
    assert s3.get_object(Bucket=bucket, Key="linked")["Body"].read() == data


@pytest.mark.parametrize("algorithm", list(checksums.SIZES))
def test_checksums(s3, bucket, algorithm):
    """The value is given: boto3 works out some of them only where awscrt is installed."""
    digest = checksums.new(algorithm)
    digest.update(b"hello")
    value = {"Checksum" + algorithm: base64.b64encode(digest.digest()).decode()}
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello", **value)
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert {"Checksum" + algorithm: head["Checksum" + algorithm]} == value
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket=bucket, Key="k", Body=b"other", **value)
    assert code_of(error) == ("BadDigest", 400)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


def send(kedge: Any, method: str, url: str, body: bytes | None = None) -> tuple[int, bytes, str]:
    """(status, body, content type). Connects to the server whatever host the URL names, as a name server would."""
    server, target = urlsplit(kedge.api_url), urlsplit(url)
    connection = http.client.HTTPConnection(server.hostname or "", server.port, timeout=30)
    try:
        connection.request(method, f"{target.path}?{target.query}", body=body, headers={"Host": target.netloc})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers.get("content-type", "")
    finally:
        connection.close()


@pytest.mark.parametrize("version", [None, "s3", "s3v4"])
def test_presigned(kedge, bucket, version):
    """None is what boto3 does by itself: with an endpoint URL, version 2."""
    s3 = kedge.client("s3", config=Config(signature_version=version) if version else None)
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a b/é"})
    assert send(kedge, "PUT", url, b"presigned")[0] == 200
    params = {"Bucket": bucket, "Key": "a b/é", "ResponseContentType": "text/csv"}
    url = s3.generate_presigned_url("get_object", Params=params)
    assert send(kedge, "GET", url) == (200, b"presigned", "text/csv")
    assert send(kedge, "GET", url.replace("%C3%A9", "e"))[0] == 403
    assert send(kedge, "DELETE", url)[0] == 403


def test_virtual_host_addressing(kedge, bucket):
    port = urlsplit(kedge.api_url).port
    for version in ("s3", "s3v4"):
        config = Config(s3={"addressing_style": "virtual"}, signature_version=version)
        s3 = kedge.client("s3", endpoint_url=f"http://localhost:{port}", config=config)
        for method, operation, body in (("PUT", "put_object", b"virtual"), ("GET", "get_object", None)):
            url = s3.generate_presigned_url(operation, Params={"Bucket": bucket, "Key": "a/b"})
            assert urlsplit(url).hostname == f"{bucket}.localhost"
            status, content, _ = send(kedge, method, url, body)
            assert status == 200, content
        assert content == b"virtual"


def test_head_answers_have_no_body(s3, bucket):
    """A body behind a HEAD would be read as the next answer on that connection."""
    s3.put_object(Bucket=bucket, Key="k", Body=b"x" * 1000)
    for _ in range(3):
        assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 1000
        with pytest.raises(ClientError):
            s3.head_object(Bucket=bucket, Key="absent")
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 1000
