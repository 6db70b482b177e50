"""Pages and forms against the running server, and what else a client sees of versions, events and settings."""

from __future__ import annotations

import base64
import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

PAGE = "https://app.example.com"
RULES = [
    {
        "AllowedMethods": ["GET", "PUT", "POST"],
        "AllowedOrigins": ["https://*.example.com"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    }
]


@pytest.fixture
def s3(kedge) -> Any:
    return kedge.client("s3")


@pytest.fixture
def bucket(s3) -> str:
    s3.create_bucket(Bucket="web")
    return "web"


def send(kedge, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(kedge.api_url).netloc, timeout=20)
    try:
        connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def post(kedge, url: str, fields: dict[str, str], content: bytes, name: str = "f.csv", **headers: str):
    boundary = "xx-boundary-xx"
    text = b""
    for key, value in fields.items():
        text += f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
    text += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'.encode()
    text += b"Content-Type: text/csv\r\n\r\n" + content + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    return send(kedge, "POST", urlsplit(url).path, text, content_type=kind, **headers)


def code(body: bytes) -> str:
    return body.decode().partition("<Code>")[2].partition("<")[0]


def test_a_page_asks_first(kedge, s3, bucket):
    asked = {"origin": PAGE, "access_control_request_method": "PUT"}
    status, _, body = send(kedge, "OPTIONS", f"/{bucket}/k", **asked)
    assert (status, code(body)) == (403, "AccessForbidden")
    assert b"CORS is not enabled" in body
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == RULES
    status, headers, body = send(kedge, "OPTIONS", f"/{bucket}/k", **asked, access_control_request_headers="X-A, x-b")
    assert (status, body) == (200, b"")
    assert headers["access-control-allow-origin"] == PAGE
    assert headers["access-control-allow-headers"] == "x-a, x-b"
    assert headers["access-control-max-age"] == "60"
    assert "PUT" in headers["access-control-allow-methods"]
    for wrong in ({"origin": "https://other.com"}, {"access_control_request_method": "DELETE"}):
        assert send(kedge, "OPTIONS", f"/{bucket}/k", **{**asked, **wrong})[0] == 403
    assert code(send(kedge, "OPTIONS", f"/{bucket}/k")[2]) == "BadRequest"
    assert send(kedge, "OPTIONS", "/no-such-bucket/k", **asked)[0] == 403


def test_a_page_sees_the_answer(kedge, s3, bucket):
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    url = path_of(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
    status, headers, body = send(kedge, "GET", url, origin=PAGE)
    assert (status, body) == (200, b"data")
    assert headers["access-control-allow-origin"] == PAGE
    assert headers["access-control-expose-headers"] == "ETag"
    assert "access-control-allow-origin" not in send(kedge, "GET", url, origin="https://other.com")[1]
    assert "access-control-allow-origin" not in send(kedge, "GET", url)[1]
    denied = send(kedge, "GET", f"/{bucket}/k", origin=PAGE)
    assert denied[0] == 403
    assert denied[1]["access-control-allow-origin"] == PAGE


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls_of_both_signatures(kedge, bucket, version):
    s3 = kedge.client("s3", config=Config(signature_version=version))
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a b/é"})
    status, headers, _ = send(kedge, "PUT", path_of(put), b"by url")
    assert status == 200
    get = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b/é", "VersionId": "null"})
    status, got, body = send(kedge, "GET", path_of(get))
    assert (status, body, got["etag"]) == (200, b"by url", headers["etag"])


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_a_form_uploads(kedge, s3, bucket, version):
    signer = kedge.client("s3", config=Config(signature_version=version))
    form = signer.generate_presigned_post(
        bucket,
        "in/${filename}",
        Fields={"success_action_status": "201", "Content-Type": "text/plain", "x-amz-meta-who": "me", "tagging": TAGS},
        Conditions=[
            ["content-length-range", 1, 20],
            ["starts-with", "$Content-Type", "text/"],
            {"success_action_status": "201"},
            {"x-amz-meta-who": "me"},
            {"tagging": TAGS},
        ],
    )
    status, headers, body = post(kedge, form["url"], form["fields"], b"1,2,3", name="a.csv")
    assert status == 201, body
    assert b"<Key>in/a.csv</Key>" in body
    assert headers["location"].endswith(f"/{bucket}/in/a.csv")
    got = s3.get_object(Bucket=bucket, Key="in/a.csv")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (b"1,2,3", "text/plain", {"who": "me"})
    assert s3.get_object_tagging(Bucket=bucket, Key="in/a.csv")["TagSet"] == [{"Key": "a", "Value": "1"}]
    for change, content, want in (
        ({}, b"x" * 21, "EntityTooLarge"),
        ({}, b"", "EntityTooSmall"),
        ({"Content-Type": "image/png"}, b"x", "AccessDenied"),
        ({"acl": "public-read"}, b"x", "AccessDenied"),
        ({"key": "out/a"}, b"x", "AccessDenied"),
        ({"policy": form["fields"]["policy"][:-8] + "AAAAAAA="}, b"x", "SignatureDoesNotMatch"),
    ):
        status, _, body = post(kedge, form["url"], {**form["fields"], **change}, content, name="b.csv")
        assert (status >= 400, code(body)) == (True, want)
    assert [row["Key"] for row in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["in/a.csv"]


TAGS = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"


def test_where_a_form_leads(kedge, s3, bucket):
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": RULES})
    onward = "http://app.example.com/done?x=1"
    for fields, status in (
        ({"success_action_redirect": onward}, 303),
        ({"success_action_redirect": "javascript:alert(1)"}, 204),
        ({"success_action_status": "200"}, 200),
        ({"success_action_status": "500"}, 204),
        ({}, 204),
    ):
        conditions = [{name: value} for name, value in fields.items()]
        form = s3.generate_presigned_post(bucket, "k", Fields=dict(fields), Conditions=conditions)
        got, headers, _ = post(kedge, form["url"], form["fields"], b"x", origin=PAGE)
        assert got == status
        assert headers["access-control-allow-origin"] == PAGE
        if status == 303:
            assert headers["location"].startswith(f"{onward}&bucket={bucket}&key=k&etag=%22")


def test_forms_that_nobody_signed(kedge, s3, bucket):
    url = f"{kedge.api_url}/{bucket}"
    status, _, body = post(kedge, url, {"key": "k"}, b"x")
    assert (status, code(body)) == (403, "AccessDenied")
    status, _, body = post(kedge, url, {}, b"x")
    assert (status, code(body)) == (400, "InvalidArgument")
    expired = {"expiration": "2020-01-01T00:00:00Z", "conditions": [{"bucket": bucket}, {"key": "k"}]}
    form = s3.generate_presigned_post(bucket, "k", ExpiresIn=-10)
    status, _, body = post(kedge, url, form["fields"], b"x")
    assert (status, code(body)) == (403, "AccessDenied")
    assert b"expired" in body
    text = base64.b64encode(json.dumps(expired).encode()).decode()
    status, _, body = post(kedge, url, {"key": "k", "AWSAccessKeyId": "AKIANOBODY", "policy": text}, b"x")
    assert (status, code(body)) == (403, "InvalidAccessKeyId")
    status, _, body = send(kedge, "POST", f"/{bucket}", b"no form", content_type="multipart/form-data; boundary=b")
    assert (status, code(body)) == (400, "MalformedPOSTRequest")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_versions_over_the_wire(kedge, s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    marker = s3.delete_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k")
    headers = error.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker["VersionId"])
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 405
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"1"
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1}))
    assert sum(len(page.get("Versions", ())) for page in pages) == 2
    assert [m["IsLatest"] for page in pages for m in page.get("DeleteMarkers", ())] == [True]
    wanted = [
        {"Key": row["Key"], "VersionId": row["VersionId"]}
        for page in pages
        for row in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
    ]
    assert len(s3.delete_objects(Bucket=bucket, Delete={"Objects": wanted})["Deleted"]) == 3
    s3.delete_bucket(Bucket=bucket)


def test_what_has_not_changed_has_its_etag(kedge, s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", IfNoneMatch=etag)
    metadata = error.value.response["ResponseMetadata"]
    assert (metadata["HTTPStatusCode"], metadata["HTTPHeaders"]["etag"]) == (304, etag)
    with pytest.raises(ClientError) as error:
        s3.get_object(Bucket=bucket, Key="k", Range="bytes=99999999999999999999999-")
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416


def test_attributes_of_parts(s3, bucket):
    made = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32")
    named = {"Bucket": bucket, "Key": "k", "UploadId": made["UploadId"]}
    body = b"x" * 5 * 1024**2
    parts = []
    for number, data in enumerate((body, b"end"), 1):
        put = s3.upload_part(**named, PartNumber=number, Body=data, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": put["ETag"], "ChecksumCRC32": put["ChecksumCRC32"]})
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=wanted, MaxParts=1)
    assert found["ObjectSize"] == len(body) + 3
    assert found["Checksum"]["ChecksumType"] == "COMPOSITE"
    page = found["ObjectParts"]
    assert (page["TotalPartsCount"], page["IsTruncated"], page["NextPartNumberMarker"]) == (2, True, 1)
    assert page["Parts"] == [{"PartNumber": 1, "Size": len(body), "ChecksumCRC32": parts[0]["ChecksumCRC32"]}]


def test_what_a_tool_reads_of_every_bucket(s3, bucket):
    """Terraform's aws_s3_bucket asks for all of it each time."""
    for operation, want in (
        ("get_bucket_accelerate_configuration", None),
        ("get_bucket_acl", None),
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_location", None),
        ("get_bucket_logging", None),
        ("get_bucket_notification_configuration", None),
        ("get_bucket_ownership_controls", None),
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_bucket_request_payment", None),
        ("get_bucket_tagging", "NoSuchTagSet"),
        ("get_bucket_versioning", None),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
        ("get_public_access_block", None),
    ):
        try:
            getattr(s3, operation)(Bucket=bucket)
            found = None
        except ClientError as error:
            found = error.response["Error"]["Code"]
        assert found == want, operation


def test_settings_over_the_wire(s3, bucket):
    policy = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": "111122223333"},
                    "Action": ["s3:GetObject"],
                    "Resource": f"arn:aws:s3:::{bucket}/*",
                }
            ],
        }
    )
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert s3.get_bucket_policy(Bucket=bucket)["Policy"] == policy
    assert s3.get_bucket_policy_status(Bucket=bucket)["PolicyStatus"] == {"IsPublic": False}
    rule = {
        "ID": "r",
        "Status": "Enabled",
        "Filter": {"And": {"Prefix": "a", "Tags": [{"Key": "k", "Value": "v"}]}},
        "Expiration": {"Days": 3},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 2, "NewerNoncurrentVersions": 3},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    queue = {
        "Id": "q",
        "QueueArn": "arn:aws:sqs:us-east-1:111122223333:q",
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "a"}]}},
    }
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [queue], "EventBridgeConfiguration": {}}
    )
    shown = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert (shown["QueueConfigurations"], shown["EventBridgeConfiguration"]) == ([queue], {})
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]


def test_events_of_the_server_reach_its_outbox(kedge, s3, bucket):
    from kedge.store.store import Store

    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    store = Store(kedge.data_dir / "kedge.db")
    try:
        until = time.monotonic() + 10
        while not (found := [event for event in store.outbox() if event.source == "aws.s3"]):
            assert time.monotonic() < until, "no event after 10 s"
            time.sleep(0.02)
    finally:
        store.close()
    assert found[0].detail["object"]["key"] == "k"
    assert found[0].detail["source-ip-address"] == "127.0.0.1"
