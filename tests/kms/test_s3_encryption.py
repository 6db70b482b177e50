"""Encryption as S3's clients ask for it, against a server: what is answered, and what lies on the disk."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

PLAIN = b"the plaintext that must not be on the disk " * 5000
PART = os.urandom(1024) * 5 * 1024
KEY, OTHER_KEY = (hashlib.sha256(text).digest() for text in (b"the key", b"another key"))
"""Nothing that could be in a file by chance, such as the numbers from 0 to 31."""
CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY}
OTHER_CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": OTHER_KEY}
CUSTOMER_MD5 = base64.b64encode(hashlib.md5(KEY).digest()).decode()
ENCODED = {**CUSTOMER, "SSECustomerKey": base64.b64encode(KEY).decode(), "SSECustomerKeyMD5": CUSTOMER_MD5}
"""As it is sent, for the operations where boto3 does not do that by itself, and beside an MD5."""


@pytest.fixture
def s3(kedge) -> Any:
    return kedge.client("s3")


@pytest.fixture
def kms(kedge) -> Any:
    return kedge.client("kms")


@pytest.fixture
def bucket(s3) -> str:
    s3.create_bucket(Bucket="sealed")
    return "sealed"


@pytest.fixture
def key(kms) -> dict[str, Any]:
    return kms.create_key()["KeyMetadata"]


def refused(call: Any, /, **request: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def read(s3: Any, **request: Any) -> bytes:
    return s3.get_object(**request)["Body"].read()


def said(answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer says about encryption."""
    return {
        name: value for name, value in answer.items() if "Encryption" in name or "SSE" in name or "BucketKey" in name
    }


def on_disk(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def ways(key: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What is asked -> what every answer says."""
    return {
        "nothing": ({}, {"ServerSideEncryption": "AES256"}),
        "own": ({"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "AES256"}),
        "kms": (
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key["KeyId"], "BucketKeyEnabled": True},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key["Arn"], "BucketKeyEnabled": True},
        ),
        "customer": (CUSTOMER, {"SSECustomerAlgorithm": "AES256", "SSECustomerKeyMD5": CUSTOMER_MD5}),
    }


@pytest.mark.parametrize("way", ["nothing", "own", "kms", "customer"])
def test_an_object_comes_back_and_is_not_on_the_disk(s3, bucket, key, kedge, way):
    asked, answered = ways(key)[way]
    by_key = asked if way == "customer" else {}
    put = s3.put_object(Bucket=bucket, Key="k", Body=PLAIN, **asked)
    assert said(put) == answered
    got = s3.get_object(Bucket=bucket, Key="k", **by_key)
    assert (said(got), got["Body"].read(), got["ETag"]) == (answered, PLAIN, put["ETag"])
    assert said(s3.head_object(Bucket=bucket, Key="k", **by_key)) == answered
    assert (put["ETag"].strip('"') == hashlib.md5(PLAIN).hexdigest()) == (way in ("nothing", "own"))
    for start, end in ((0, 0), (65_535, 65_536), (1000, 199_999), (len(PLAIN) - 1, len(PLAIN) + 5)):
        part = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={start}-{end}", **by_key)
        assert part["Body"].read() == PLAIN[start : end + 1]
    s3.put_object(Bucket=bucket, Key="empty", Body=b"", **asked)
    assert read(s3, Bucket=bucket, Key="empty", **by_key) == b""
    assert on_disk(kedge.data_dir, PLAIN[:43]) == []


@pytest.mark.parametrize("way", ["nothing", "kms", "customer"])
def test_a_multipart_upload_is_encrypted_part_by_part(s3, bucket, key, kedge, way):
    asked, answered = ways(key)[way]
    by_key = asked if way == "customer" else {}
    begun = s3.create_multipart_upload(Bucket=bucket, Key="k", **asked)
    assert said(begun) == answered
    where = {"Bucket": bucket, "Key": "k", "UploadId": begun["UploadId"]}
    s3.put_object(Bucket=bucket, Key="source", Body=b"copied", **OTHER_CUSTOMER)
    first = s3.upload_part(**where, PartNumber=1, Body=PART, **by_key)
    second = s3.upload_part_copy(
        **where, PartNumber=2, CopySource=f"{bucket}/source", **by_key,
        CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey=OTHER_KEY,
    )  # fmt: skip
    assert said(first) == said(second) == answered
    assert on_disk(kedge.data_dir, PART[:1024]) == []
    parts = [
        {"PartNumber": 1, "ETag": first["ETag"]},
        {"PartNumber": 2, "ETag": second["CopyPartResult"]["ETag"]},
    ]
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert said(done) == {name: value for name, value in answered.items() if not name.startswith("SSECustomer")}
    assert done["ETag"].endswith('-2"')
    assert read(s3, Bucket=bucket, Key="k", **by_key) == PART + b"copied"
    middle = f"bytes={len(PART) - 3}-{len(PART) + 2}"
    assert read(s3, Bucket=bucket, Key="k", Range=middle, **by_key) == PART[-3:] + b"cop"
    assert read(s3, Bucket=bucket, Key="k", PartNumber=2, **by_key) == b"copied"
    assert on_disk(kedge.data_dir, PART[:1024]) == []


def test_a_key_that_the_client_sends_is_needed_each_time(s3, bucket, kedge):
    s3.put_object(Bucket=bucket, Key="k", Body=PLAIN, **CUSTOMER)
    s3.put_object(Bucket=bucket, Key="other", Body=PLAIN)
    for call in (s3.get_object, s3.head_object):
        status = {refused(call, Bucket=bucket, Key="k")[1], refused(call, Bucket=bucket, Key="other", **CUSTOMER)[1]}
        assert status == {400}
        assert refused(call, Bucket=bucket, Key="k", **OTHER_CUSTOMER)[1] == 403
    assert refused(s3.get_object, Bucket=bucket, Key="k") == ("InvalidRequest", 400)
    assert refused(s3.get_object, Bucket=bucket, Key="k", **OTHER_CUSTOMER) == ("AccessDenied", 403)
    wrong = {**ENCODED, "SSECustomerKeyMD5": base64.b64encode(bytes(16)).decode()}
    short = {**CUSTOMER, "SSECustomerKey": b"short"}
    for request in (wrong, short, {**CUSTOMER, "SSECustomerAlgorithm": "AES128"}):
        assert refused(s3.put_object, Bucket=bucket, Key="k2", Body=b"x", **request) == ("InvalidArgument", 400)
    both = {**CUSTOMER, "ServerSideEncryption": "aws:kms"}
    assert refused(s3.put_object, Bucket=bucket, Key="k2", Body=b"x", **both) == ("InvalidArgument", 400)
    attributes = {"Bucket": bucket, "Key": "k", "ObjectAttributes": ["ObjectSize"]}
    assert refused(s3.get_object_attributes, **attributes)[1] == 400
    assert s3.get_object_attributes(**attributes, **ENCODED)["ObjectSize"] == len(PLAIN)
    for text in (KEY, base64.b64encode(KEY), KEY.hex().encode()):
        assert on_disk(kedge.data_dir, text) == []


def test_parts_have_to_bring_the_key_of_their_upload(s3, bucket):
    def part(**more: Any) -> tuple[str, int]:
        return refused(s3.upload_part, Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x", **more)

    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", **CUSTOMER)["UploadId"]
    assert part() == part(**OTHER_CUSTOMER) == ("InvalidRequest", 400)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    assert part(**CUSTOMER) == ("InvalidRequest", 400)


def test_without_its_key_an_object_cannot_be_read(s3, kms, bucket, key):
    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key["Arn"]}
    put = s3.put_object(Bucket=bucket, Key="k", Body=PLAIN, **asked)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", **asked)["UploadId"]
    calls = [
        (s3.get_object, {"Key": "k"}),
        (s3.put_object, {"Key": "n", "Body": b"x", **asked}),
        (s3.copy_object, {"Key": "n", "CopySource": f"{bucket}/k"}),
        (s3.create_multipart_upload, {"Key": "n", **asked}),
        (s3.upload_part, {"Key": "m", "UploadId": upload, "PartNumber": 1, "Body": b"x"}),
    ]
    for change, code in (
        (lambda: kms.disable_key(KeyId=key["KeyId"]), "KMS.DisabledException"),
        (lambda: kms.schedule_key_deletion(KeyId=key["KeyId"]), "KMS.KMSInvalidStateException"),
    ):
        change()
        for call, request in calls:
            assert refused(call, Bucket=bucket, **request) == (code, 400), call
        assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == put["ETag"]
        assert refused(s3.head_object, Bucket=bucket, Key="n")[1] == 404
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    kms.enable_key(KeyId=key["KeyId"])
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    assert read(s3, Bucket=bucket, Key="k") == PLAIN


def test_a_file_that_was_changed_on_the_disk_gives_no_wrong_byte(s3, bucket, kedge):
    bodies = kedge.data_dir / "objects" / "bodies"
    before = set(bodies.glob("*/*"))
    s3.put_object(Bucket=bucket, Key="k", Body=PLAIN)
    (file,) = set(bodies.glob("*/*")) - before
    stored = file.read_bytes()
    place = len(stored) - 20
    file.write_bytes(stored[:place] + bytes([stored[place] ^ 1]) + stored[place + 1 :])
    with pytest.raises((BotoCoreError, ClientError)):
        read(s3, Bucket=bucket, Key="k")
    assert read(s3, Bucket=bucket, Key="k", Range="bytes=0-65535") == PLAIN[:65536]


def test_keys_of_kms_by_every_name(s3, kms, bucket, key, kedge):
    kms.create_alias(AliasName="alias/data", TargetKeyId=key["KeyId"])
    alias_arn = key["Arn"].rpartition(":")[0] + ":alias/data"
    for name in (key["KeyId"], key["Arn"], "alias/data", alias_arn):
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=name)
        assert put["SSEKMSKeyId"] == key["Arn"]
    managed = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")["SSEKMSKeyId"]
    assert kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"] == managed
    assert read(s3, Bucket=bucket, Key="k") == b"x"
    for name in ("alias/none", "00000000-0000-4000-8000-000000000000", key["Arn"].replace(kedge.region, "eu-west-3")):
        request = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": name}
        assert refused(s3.put_object, Bucket=bucket, Key="n", Body=b"x", **request) == ("KMS.NotFoundException", 400)


def test_an_encryption_context_is_bound(s3, bucket, key):
    context = base64.b64encode(json.dumps({"team": "ml"}).encode()).decode()
    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key["KeyId"], "SSEKMSEncryptionContext": context}
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x", **asked)
    assert json.loads(base64.b64decode(put["SSEKMSEncryptionContext"])) == {"team": "ml"}
    assert read(s3, Bucket=bucket, Key="k") == b"x"
    for wrong in ("x", base64.b64encode(b"[]").decode(), base64.b64encode(b'{"a": 1}').decode()):
        request = {**asked, "SSEKMSEncryptionContext": wrong}
        assert refused(s3.put_object, Bucket=bucket, Key="n", Body=b"x", **request) == ("InvalidArgument", 400)
    request = {"SSEKMSKeyId": key["KeyId"], "ServerSideEncryption": "AES256"}
    assert refused(s3.put_object, Bucket=bucket, Key="n", Body=b"x", **request) == ("InvalidArgument", 400)
    assert refused(s3.put_object, Bucket=bucket, Key="n", Body=b"x", ServerSideEncryption="aws:kms:dsse")[1] == 501
    assert refused(s3.put_object, Bucket=bucket, Key="n", Body=b"x", ServerSideEncryption="rot13")[1] == 400


def source(way: str, asked: dict[str, Any]) -> dict[str, Any]:
    return {f"CopySource{name}": value for name, value in asked.items()} if way == "customer" else {}


@pytest.mark.parametrize("before", ["nothing", "kms", "customer"])
@pytest.mark.parametrize("after", ["nothing", "kms", "customer"])
def test_a_copy_is_encrypted_as_its_own_request_says(s3, bucket, key, kedge, before, after):
    asked, _ = ways(key)[before]
    target, answered = ways(key)[after]
    if after == "customer":
        target = OTHER_CUSTOMER
        answered = {**answered, "SSECustomerKeyMD5": base64.b64encode(hashlib.md5(OTHER_KEY).digest()).decode()}
    s3.put_object(Bucket=bucket, Key="a", Body=PLAIN, **asked)
    if before == "customer":
        assert refused(s3.copy_object, Bucket=bucket, Key="b", CopySource=f"{bucket}/a")[1] == 400
    copied = s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a", **target, **source(before, asked))
    assert said(copied) == answered
    s3.delete_object(Bucket=bucket, Key="a")
    by_key = target if after == "customer" else {}
    got = s3.get_object(Bucket=bucket, Key="b", **by_key)
    assert (said(got), got["Body"].read()) == (answered, PLAIN)
    assert got["ETag"] == copied["CopyObjectResult"]["ETag"]
    if after == "nothing":
        assert got["ETag"].strip('"') == hashlib.md5(PLAIN).hexdigest()
    if before == after == "customer":
        assert refused(s3.get_object, Bucket=bucket, Key="b", **CUSTOMER)[1] == 403
    assert on_disk(kedge.data_dir, PLAIN[:43]) == []


def test_a_copy_onto_itself_may_change_the_encryption(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key="a", Body=PLAIN)
    asked, answered = ways(key)["kms"]
    same = {"Bucket": bucket, "Key": "a", "CopySource": f"{bucket}/a"}
    assert refused(s3.copy_object, **same) == ("InvalidRequest", 400)
    assert said(s3.copy_object(**same, **asked)) == answered
    assert read(s3, Bucket=bucket, Key="a") == PLAIN


def test_a_buckets_default_holds_where_nothing_is_asked_for(s3, bucket, key):
    first = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert [rule["ApplyServerSideEncryptionByDefault"] for rule in first] == [{"SSEAlgorithm": "AES256"}]
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["KeyId"]},
        "BucketKeyEnabled": True,
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    shown = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert shown == [rule]
    _, answered = ways(key)["kms"]
    assert said(s3.put_object(Bucket=bucket, Key="k", Body=b"x")) == answered
    assert said(s3.head_object(Bucket=bucket, Key="k")) == answered
    own = s3.put_object(Bucket=bucket, Key="own", Body=b"x", ServerSideEncryption="AES256")
    assert said(own) == {"ServerSideEncryption": "AES256"}
    assert said(s3.create_multipart_upload(Bucket=bucket, Key="m")) == answered
    assert said(s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/own")) == answered
    s3.delete_bucket_encryption(Bucket=bucket)
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"] == first
    assert said(s3.put_object(Bucket=bucket, Key="k", Body=b"x")) == {"ServerSideEncryption": "AES256"}


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([{"BucketKeyEnabled": True}, {"BucketKeyEnabled": True}], "MalformedXML"),
        (
            [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256", "KMSMasterKeyID": "k"}}],
            "InvalidArgument",
        ),
        ([{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms:dsse"}}], "NotImplemented"),
    ],
)
def test_defaults_that_cannot_be_are_refused(s3, bucket, rules, code):
    request = {"Bucket": bucket, "ServerSideEncryptionConfiguration": {"Rules": rules}}
    assert refused(s3.put_bucket_encryption, **request)[0] == code


def test_a_bucket_may_block_keys_that_clients_send(s3, bucket):
    rule = {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
        "BucketKeyEnabled": False,
        "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
    }
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    assert s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"] == [rule]
    assert refused(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **CUSTOMER) == ("AccessDenied", 403)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")


def test_a_key_takes_a_permission_of_its_own(s3, kms, bucket, key, kedge):
    iam = kedge.client("iam")
    iam.create_user(UserName="reader")
    objects = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}

    def allow(*more: dict[str, Any]) -> None:
        document = {"Version": "2012-10-17", "Statement": [objects, *more]}
        iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=json.dumps(document))

    allow()
    pair = iam.create_access_key(UserName="reader")["AccessKey"]
    own = {"aws_access_key_id": pair["AccessKeyId"], "aws_secret_access_key": pair["SecretAccessKey"]}
    theirs = boto3.client("s3", endpoint_url=kedge.api_url, region_name=kedge.region, **own)
    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key["Arn"]}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **asked)
    with pytest.raises(ClientError, match=f"kms:GenerateDataKey on resource: {key['Arn']}"):
        theirs.put_object(Bucket=bucket, Key="n", Body=b"x", **asked)
    with pytest.raises(ClientError, match="kms:GenerateDataKey"):
        theirs.create_multipart_upload(Bucket=bucket, Key="n", **asked)
    for call, request in (
        (theirs.get_object, {"Key": "k"}),
        (theirs.copy_object, {"Key": "n", "CopySource": f"{bucket}/k"}),
    ):
        with pytest.raises(ClientError, match=f"kms:Decrypt on resource: {key['Arn']}"):
            call(Bucket=bucket, **request)
    assert theirs.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == key["Arn"]
    through_s3 = {"StringEquals": {"kms:ViaService": f"s3.{kedge.region}.amazonaws.com"}}
    for_object = {"StringEquals": {"kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}/k"}}
    allow(
        {"Effect": "Allow", "Action": "kms:GenerateDataKey", "Resource": key["Arn"], "Condition": through_s3},
        {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key["Arn"], "Condition": for_object},
    )
    assert read(theirs, Bucket=bucket, Key="k") == b"x"
    theirs.put_object(Bucket=bucket, Key="n", Body=b"x", **asked)
    assert refused(theirs.get_object, Bucket=bucket, Key="n") == ("AccessDenied", 403)
    direct = boto3.client("kms", endpoint_url=kedge.api_url, region_name=kedge.region, **own)
    assert refused(direct.generate_data_key, KeyId=key["Arn"], KeySpec="AES_256")[0] == "AccessDeniedException"
    # The key that AWS manages for S3 is everybody's in the account, through S3.
    theirs.put_object(Bucket=bucket, Key="m", Body=b"x", ServerSideEncryption="aws:kms")
    assert read(theirs, Bucket=bucket, Key="m") == b"x"
