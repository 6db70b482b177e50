"""What a user with narrow rights tries, against a real server: none of it may reach further than the policies say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from kedge.identity.policy import Identity, Resource, evaluate, parsed
from kedge.testing import Kedge

ONCE = Config(retries={"total_max_attempts": 1})
OPEN = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), False)
TAG = [{"Key": "a", "Value": "b"}]
ROLE = "arn:aws:iam::111111111111:role/some-role"

User = Callable[..., Callable[[str], Any]]


@pytest.fixture
def user(kedge: Kedge) -> Iterator[User]:
    """user(statement, ...) -> (service -> boto3 client) of a new user, of whose policy these are the statements."""
    iam, made = kedge.client("iam"), 0

    def new(*statements: dict[str, Any]) -> Callable[[str], Any]:
        nonlocal made
        made += 1
        name = f"tenant-{made}"
        iam.create_user(UserName=name)
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
        pair = iam.create_access_key(UserName=name)["AccessKey"]
        own = {"aws_access_key_id": pair["AccessKeyId"], "aws_secret_access_key": pair["SecretAccessKey"]}
        return lambda service: boto3.client(
            service, endpoint_url=kedge.api_url, region_name=kedge.region, config=ONCE, **own
        )

    return new


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def denied(call: Callable[..., Any], **request: Any) -> str:
    """The message of the refusal."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    assert error["Code"] in ("AccessDenied", "AccessDeniedException"), error
    return str(error["Message"])


@pytest.fixture
def versions(kedge: Kedge) -> tuple[str, str]:
    """Of the key k in the bucket `versions`: the first, tagged and private, and the second."""
    s3 = kedge.client("s3")
    s3.create_bucket(Bucket="versions")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="versions", Key="k", Body=b"1", Tagging="secret=yes")["VersionId"]
    return first, s3.put_object(Bucket="versions", Key="k", Body=b"2")["VersionId"]


def test_tags_are_those_of_the_version_that_is_asked_for(user: User, versions: tuple[str, str]) -> None:
    first, second = versions
    secret = {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}}
    s3 = user(allow("s3:*"), deny(["s3:GetObject", "s3:GetObjectVersion"], Condition=secret))("s3")
    denied(s3.get_object, Bucket="versions", Key="k", VersionId=first)
    source = {"Bucket": "versions", "Key": "k", "VersionId": first}
    denied(s3.copy_object, Bucket="versions", Key="copy", CopySource=source)
    assert s3.get_object(Bucket="versions", Key="k", VersionId=second)["Body"].read() == b"2"


def test_a_public_version_does_not_open_the_others(kedge: Kedge, versions: tuple[str, str]) -> None:
    first, second = versions
    s3 = kedge.client("s3")
    s3.put_public_access_block(Bucket="versions", PublicAccessBlockConfiguration=OPEN)
    s3.put_bucket_ownership_controls(
        Bucket="versions", OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )
    s3.put_object_acl(Bucket="versions", Key="k", ACL="public-read")
    nobody = boto3.client(
        "s3",
        endpoint_url=kedge.api_url,
        region_name=kedge.region,
        config=ONCE.merge(Config(signature_version=UNSIGNED)),
    )
    assert nobody.get_object(Bucket="versions", Key="k", VersionId=second)["Body"].read() == b"2"
    denied(nobody.get_object, Bucket="versions", Key="k", VersionId=first)


def test_whether_a_source_is_missing_is_told_to_those_who_may_list_its_bucket(kedge: Kedge, user: User) -> None:
    root = kedge.client("s3")
    for bucket in ("mine", "theirs"):
        root.create_bucket(Bucket=bucket)
    s3 = user(allow("s3:*", ["arn:aws:s3:::mine", "arn:aws:s3:::mine/*"]), allow("s3:GetObject"))("s3")
    assert "s3:ListBucket on resource: arn:aws:s3:::theirs" in denied(
        s3.copy_object, Bucket="mine", Key="k", CopySource="theirs/missing"
    )


@pytest.mark.parametrize("spelling", ["arn:aws:{}:model/PROD", "arn:aws-cn:{}:model/prod"])
def test_another_spelling_of_an_arn_is_the_same_resource(kedge: Kedge, user: User, spelling: str) -> None:
    place = f"sagemaker:{kedge.region}:{kedge.account}"
    sagemaker = user(allow("*"), deny("SAGEMAKER:addtags", f"arn:aws:{place}:model/prod"))("sagemaker")
    denied(sagemaker.add_tags, ResourceArn=spelling.format(place), Tags=TAG)


def test_an_alias_takes_a_right_on_the_alias_and_on_each_key(kedge: Kedge, user: User) -> None:
    root = kedge.client("kms")
    own, other = (root.create_key()["KeyMetadata"] for _ in range(2))
    root.create_alias(AliasName="alias/own", TargetKeyId=own["KeyId"])
    root.create_alias(AliasName="alias/other", TargetKeyId=other["KeyId"])
    on_key = user(allow("kms:*", own["Arn"]))("kms")
    assert ":alias/own" in denied(on_key.delete_alias, AliasName="alias/own")
    assert ":alias/new" in denied(on_key.create_alias, AliasName="alias/new", TargetKeyId=own["KeyId"])
    both = user(allow("kms:*", [own["Arn"], "arn:aws:kms:*:*:alias/*"]))("kms")
    # The alias is theirs to change, but the key behind it is not.
    assert ":alias/other" in denied(both.update_alias, AliasName="alias/other", TargetKeyId=own["KeyId"])
    assert other["Arn"] in denied(both.update_alias, AliasName="alias/own", TargetKeyId=other["KeyId"])
    both.create_alias(AliasName="alias/new", TargetKeyId=own["KeyId"])
    both.delete_alias(AliasName="alias/new")


def test_re_encryption_is_asked_with_the_context_of_each_side(kedge: Kedge, user: User) -> None:
    root = kedge.client("kms")
    key = root.create_key()["KeyMetadata"]["Arn"]
    mine, theirs = {"app": "mine"}, {"app": "theirs"}
    kms = user(allow("kms:ReEncrypt*", Condition={"StringEquals": {"kms:EncryptionContext:app": "mine"}}))("kms")
    blob = {each["app"]: root.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=each) for each in (mine, theirs)}
    request = {"CiphertextBlob": blob["mine"]["CiphertextBlob"], "DestinationKeyId": key}
    kms.re_encrypt(**request, SourceEncryptionContext=mine, DestinationEncryptionContext=mine)
    assert "kms:ReEncryptTo" in denied(
        kms.re_encrypt, **request, SourceEncryptionContext=mine, DestinationEncryptionContext=theirs
    )
    request["CiphertextBlob"] = blob["theirs"]["CiphertextBlob"]
    assert "kms:ReEncryptFrom" in denied(
        kms.re_encrypt, **request, SourceEncryptionContext=theirs, DestinationEncryptionContext=mine
    )


def test_tags_at_creation_take_the_right_to_tag(user: User) -> None:
    create = user(allow(["iam:CreateUser", "kms:CreateKey", "sagemaker:CreateModel", "iam:PassRole"]))
    assert "iam:TagUser" in denied(create("iam").create_user, UserName="new", Tags=TAG)
    create("iam").create_user(UserName="new")
    assert "kms:TagResource" in denied(create("kms").create_key, Tags=[{"TagKey": "a", "TagValue": "b"}])
    assert "sagemaker:AddTags" in denied(
        create("sagemaker").create_model,
        ModelName="m",
        ExecutionRoleArn="arn:aws:iam::111111111111:role/some-role",
        Tags=TAG,
    )


def test_a_user_moves_only_where_the_mover_may_change_users(kedge: Kedge, user: User) -> None:
    iam = user(allow("iam:UpdateUser", f"arn:aws:iam::{kedge.account}:user/dev/*"))("iam")
    kedge.client("iam").create_user(UserName="a", Path="/dev/")
    assert ":user/admin/a" in denied(iam.update_user, UserName="a", NewPath="/admin/")
    iam.update_user(UserName="a", NewPath="/dev/x/", NewUserName="b")
    assert kedge.client("iam").get_user(UserName="b")["User"]["Path"] == "/dev/x/"


def test_policies_go_only_to_those_with_the_boundary_that_the_delegate_is_held_to(kedge: Kedge, user: User) -> None:
    root, boundary = kedge.client("iam"), "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    held = {"StringEquals": {"iam:PermissionsBoundary": boundary}}
    iam = user(allow(["iam:CreateUser", "iam:AttachUserPolicy"], Condition=held))("iam")
    root.create_user(UserName="free")
    iam.create_user(UserName="held", PermissionsBoundary=boundary)
    denied(iam.create_user, UserName="other")
    denied(iam.attach_user_policy, UserName="free", PolicyArn=boundary)
    iam.attach_user_policy(UserName="held", PolicyArn=boundary)


def test_finishing_an_upload_takes_the_key(kedge: Kedge, user: User) -> None:
    root, key = kedge.client("s3"), kedge.client("kms").create_key()["KeyMetadata"]["Arn"]
    root.create_bucket(Bucket="sealed")
    place = {"Bucket": "sealed", "Key": "k"}
    upload = root.create_multipart_upload(**place, ServerSideEncryption="aws:kms", SSEKMSKeyId=key)["UploadId"]
    etag = root.upload_part(**place, UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3 = user(allow("s3:*"))("s3")
    parts = {"Parts": [{"ETag": etag, "PartNumber": 1}]}
    assert "kms:Decrypt" in denied(s3.complete_multipart_upload, **place, UploadId=upload, MultipartUpload=parts)
    root.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=parts)


@pytest.mark.parametrize(
    "resource",
    ["${a" + " " * 30_000 + "b}", "${" + "a," * 15_000 + "}", "${" * 15_000, "*a" * 3000 + "b", "?*" * 900 + "b"],
    ids=["blanks", "commas", "open", "stars", "marks"],
)
def test_no_text_of_a_policy_takes_long(resource: str) -> None:
    start = time.thread_time()
    document = {"Version": "2012-10-17", "Statement": allow("*", f"arn:aws:s3:::{resource}")}
    ann = Identity("1" * 12, "arn:aws:iam::111111111111:user/ann", (parsed(json.dumps(document)),))
    assert not evaluate(ann, "s3:GetObject", Resource("arn:aws:s3:::" + "a" * 1024, "1" * 12)).allowed
    # Milliseconds where it is linear, minutes where it is not.
    assert time.thread_time() - start < 2
