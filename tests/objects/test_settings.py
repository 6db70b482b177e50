"""What is configured for a bucket: put, read and deleted as on S3, and the answers for what no bucket has."""

from __future__ import annotations

import json

import pytest

from kedge.errors import AccessDenied, ServiceError
from kedge.objects import errors
from kedge.store.store import Scope
from tests.objects.conftest import ACCOUNT, Client

READ = "arn:aws:s3:::bucket/*"


def policy(**more):
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": READ, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [{k: v for k, v in statement.items() if v is not None}]})


OTHER = {"Grantee": {"ID": "x"}, "Permission": "READ"}
OPEN = {"BlockPublicAcls": False, "IgnorePublicAcls": False, "BlockPublicPolicy": False, "RestrictPublicBuckets": False}


async def opened(s3):
    await s3.PutPublicAccessBlock(Bucket="bucket", PublicAccessBlockConfiguration=OPEN)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("GetBucketPolicy", "NoSuchBucketPolicy"),
        ("GetBucketPolicyStatus", "NoSuchBucketPolicy"),
        ("GetBucketCors", "NoSuchCORSConfiguration"),
        ("GetBucketLifecycleConfiguration", "NoSuchLifecycleConfiguration"),
        ("GetBucketTagging", "NoSuchTagSet"),
        ("GetBucketWebsite", "NoSuchWebsiteConfiguration"),
        ("GetBucketReplication", "ReplicationConfigurationNotFoundError"),
        ("GetObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"),
        ("GetBucketMetricsConfiguration", "NoSuchConfiguration"),
    ],
)
async def test_what_a_new_bucket_has_not(s3, operation, code):
    with pytest.raises(ServiceError) as answer:
        await getattr(s3, operation)(Bucket="bucket")
    assert answer.value.named_for("s3") == (code, 404)
    with pytest.raises(errors.NoSuchBucket):
        await getattr(s3, operation)(Bucket="nowhere")


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("GetBucketVersioning", {}),
        ("GetBucketAccelerateConfiguration", {}),
        ("GetBucketLogging", {}),
        ("GetBucketNotificationConfiguration", {}),
        ("GetBucketRequestPayment", {"Payer": "BucketOwner"}),
        ("GetBucketOwnershipControls", {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}}),
        ("GetPublicAccessBlock", {"PublicAccessBlockConfiguration": dict.fromkeys(OPEN, True)}),
        ("ListBucketMetricsConfigurations", {"IsTruncated": False}),
    ],
)
async def test_what_a_new_bucket_has(s3, operation, answer):
    assert await getattr(s3, operation)(Bucket="bucket") == answer


@pytest.mark.parametrize(
    ("operation", "what", "named"),
    [
        ("PutBucketWebsite", {"WebsiteConfiguration": {}}, "Website"),
        ("PutBucketReplication", {"ReplicationConfiguration": {}}, "Replication"),
        ("PutObjectLockConfiguration", {}, "Object lock"),
        ("PutBucketAccelerateConfiguration", {"AccelerateConfiguration": {}}, "acceleration"),
        ("PutBucketRequestPayment", {"RequestPaymentConfiguration": {"Payer": "Requester"}}, "Requester"),
        ("PutBucketLogging", {"BucketLoggingStatus": {"LoggingEnabled": {"TargetBucket": "b"}}}, "logging"),
        ("RestoreObject", {"Key": "k"}, "Restoring"),
        ("SelectObjectContent", {"Key": "k"}, "Select"),
    ],
)
async def test_what_is_not_done_says_so(s3, operation, what, named):
    with pytest.raises(errors.NotImplementedHere, match=named):
        await getattr(s3, operation)(Bucket="bucket", **what)


async def test_a_policy_is_kept_as_it_was_put(s3):
    text = policy(Principal={"AWS": "111122223333"})
    await s3.PutBucketPolicy(Bucket="bucket", Policy=text)
    assert await s3.GetBucketPolicy(Bucket="bucket") == {"Policy": text}
    assert s3.store.get(Scope("", ""), "Bucket", "bucket").document["Policy"] == text
    assert await s3.GetBucketPolicyStatus(Bucket="bucket") == {"PolicyStatus": {"IsPublic": False}}
    await s3.DeleteBucketPolicy(Bucket="bucket")
    await s3.DeleteBucketPolicy(Bucket="bucket")
    with pytest.raises(errors.NoConfiguration):
        await s3.GetBucketPolicy(Bucket="bucket")


async def test_a_public_policy_needs_an_open_bucket(s3):
    with pytest.raises(AccessDenied, match="BlockPublicPolicy"):
        await s3.PutBucketPolicy(Bucket="bucket", Policy=policy())
    await opened(s3)
    await s3.PutBucketPolicy(Bucket="bucket", Policy=policy())
    assert await s3.GetBucketPolicyStatus(Bucket="bucket") == {"PolicyStatus": {"IsPublic": True}}


@pytest.mark.parametrize(
    ("condition", "public"),
    [
        ({}, True),
        ({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}, False),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, True),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
        ({"StringLike": {"aws:PrincipalArn": "*"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, True),
        ({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}, True),
    ],
)
async def test_what_is_public(s3, condition, public):
    await opened(s3)
    await s3.PutBucketPolicy(Bucket="bucket", Policy=policy(Condition=condition))
    assert (await s3.GetBucketPolicyStatus(Bucket="bucket"))["PolicyStatus"]["IsPublic"] is public


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "valid JSON"),
        ("[]", "valid JSON"),
        ("{" * 100_000, "bytes"),
        ('{"a":' * 3_000, "valid JSON"),
        ('{"Statement": [], "Statement": []}', "duplicate"),
        ('{"Version": "2020-01-01", "Statement": []}', "version"),
        ('{"Version": "2012-10-17"}', "Statement"),
        (policy(Effect="Perhaps"), "effect"),
        (policy(Principal=None), "Principal"),
        (policy(Principal={"AWS": "nobody"}), "principal"),
        (policy(Principal={"Group": "x"}), "principal"),
        (policy(Action=None), "Action"),
        (policy(Action="ec2:Run"), "action"),
        (policy(Action=[]), "action"),
        (policy(Action="s3:ListObjects", Resource="arn:aws:s3:::bucket"), "invalid action"),
        (policy(Action=["s3:GetObject", "s3:HeadObject"]), "invalid action"),
        (policy(Resource="arn:aws:s3:::other/*"), "resource"),
        (policy(Resource="*"), "resource"),
        (policy(Action="s3:ListBucket", Resource="arn:aws:s3:::bucket/*"), "does not apply"),
        (policy(Action=["s3:GetObject", "s3:GetBucketPolicy"], Resource="arn:aws:s3:::bucket/*"), "does not apply"),
        (policy(Action="s3:PutObject", Resource="arn:aws:s3:::bucket"), "does not apply"),
        (policy(Action="s3:AbortMultipartUpload", Resource="arn:aws:s3:::bucket"), "does not apply"),
        (
            policy(Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/nobody"}),
            "Invalid principal in policy: .*user/nobody",
        ),
        (policy(Resource="arn:aws:s3:::" + "*a" * 40), "resource"),
        (policy(Condition=["x"]), "Conditions"),
        (policy(More=1), "Unknown field More"),
    ],
)
async def test_texts_that_are_no_policy(s3, text, message):
    with pytest.raises(errors.MalformedPolicy, match=message):
        await s3.PutBucketPolicy(Bucket="bucket", Policy=text)


@pytest.mark.parametrize(
    "more",
    [
        {"Action": "s3:*", "Resource": "arn:aws:s3:::bucket/*"},
        {"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]},
        {"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "arn:aws:s3:::bucket*"},
        {"Action": "s3:GetBucket*", "Resource": "arn:aws:s3:::bucket"},
        {"Action": ["s3:getobjectversion", "S3:AbortMultipartUpload"], "Resource": "arn:aws:s3:::bucket/*"},
        {"Principal": {"AWS": "arn:aws:iam::999999999999:user/of-another-account"}},
    ],
)
async def test_actions_and_principals_that_a_policy_may_have(s3, more):
    await s3.PutBucketPolicy(Bucket="bucket", Policy=policy(**{"Effect": "Deny", **more}))


async def test_a_new_bucket_has_nothing_of_the_one_before(s3):
    await opened(s3)
    await s3.PutBucketPolicy(Bucket="bucket", Policy=policy())
    await s3.DeleteBucket(Bucket="bucket")
    assert s3.store.get(Scope("", ""), "Bucket", "bucket") is None
    await s3.CreateBucket(Bucket="bucket")
    with pytest.raises(errors.NoConfiguration):
        await s3.GetBucketPolicy(Bucket="bucket")


async def test_whoever_asks_for_a_name_that_is_taken_changes_nothing(objects, s3):
    await s3.PutBucketTagging(Bucket="bucket", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    with pytest.raises(errors.BucketAlreadyExists):
        await Client(objects, s3.store, account="999999999999").CreateBucket(Bucket="bucket")
    await s3.CreateBucket(Bucket="bucket")
    assert (await s3.GetBucketTagging(Bucket="bucket"))["TagSet"] == [{"Key": "a", "Value": "b"}]


async def test_a_document_left_by_a_crash_does_not_count(s3):
    await opened(s3)
    await s3.PutBucketPolicy(Bucket="bucket", Policy=policy())
    s3.objects.delete_bucket("bucket")  # and the process ends before the document goes
    s3.objects.create_bucket("bucket", "111122223333", "us-east-1")
    with pytest.raises(errors.NoConfiguration):
        await s3.GetBucketPolicy(Bucket="bucket")
    await s3.PutBucketTagging(Bucket="bucket", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.objects.delete_bucket("bucket")
    await s3.CreateBucket(Bucket="bucket")
    assert s3.store.get(Scope("", ""), "Bucket", "bucket") is None
    await s3.PutBucketTagging(Bucket="bucket", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert "Policy" not in s3.store.get(Scope("", ""), "Bucket", "bucket").document


async def test_public_access_block(s3):
    chosen = {**OPEN, "BlockPublicAcls": True}
    await s3.PutPublicAccessBlock(Bucket="bucket", PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    assert await s3.GetPublicAccessBlock(Bucket="bucket") == {"PublicAccessBlockConfiguration": chosen}
    await s3.DeletePublicAccessBlock(Bucket="bucket")
    with pytest.raises(errors.NoConfiguration):
        await s3.GetPublicAccessBlock(Bucket="bucket")
    await s3.PutBucketPolicy(Bucket="bucket", Policy=policy())


async def test_acls_need_an_ownership_that_allows_them(s3):
    await s3.PutObject(Bucket="bucket", Key="k")
    for refused in (
        s3.PutBucketAcl(Bucket="bucket", ACL="public-read"),
        s3.PutObjectAcl(Bucket="bucket", Key="k", ACL="public-read"),
        s3.PutObject(Bucket="bucket", Key="n", ACL="public-read"),
        s3.CreateMultipartUpload(Bucket="bucket", Key="n", ACL="public-read"),
        s3.CopyObject(Bucket="bucket", Key="n", CopySource="bucket/k", ACL="public-read"),
    ):
        with pytest.raises(errors.AclNotSupported):
            await refused
    await s3.PutBucketAcl(Bucket="bucket", ACL="private")
    preferred = {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]}
    await s3.PutBucketOwnershipControls(Bucket="bucket", OwnershipControls=preferred)
    assert await s3.GetBucketOwnershipControls(Bucket="bucket") == {"OwnershipControls": preferred}
    with pytest.raises(AccessDenied, match="BlockPublicAcls"):
        await s3.PutBucketAcl(Bucket="bucket", ACL="public-read")
    await opened(s3)
    await s3.PutBucketAcl(Bucket="bucket", ACL="public-read")
    shown = await s3.GetBucketAcl(Bucket="bucket")
    assert [grant["Permission"] for grant in shown["Grants"]] == ["FULL_CONTROL", "READ"]
    await s3.PutBucketAcl(Bucket="bucket", AccessControlPolicy=shown)  # as it was read
    with pytest.raises(errors.InvalidBucketAcl):
        await s3.PutBucketOwnershipControls(
            Bucket="bucket", OwnershipControls={"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        )
    await s3.PutObjectAcl(Bucket="bucket", Key="k", ACL="public-read")
    assert len((await s3.GetObjectAcl(Bucket="bucket", Key="k"))["Grants"]) == 2
    for wrong, error in (
        ({}, errors.InvalidRequest),
        ({"ACL": "public"}, errors.InvalidArgument),
        ({"GrantRead": "id=1"}, errors.NotImplementedHere),
        (
            {"AccessControlPolicy": {"Grants": [{"Grantee": {"ID": "x"}, "Permission": "READ"}]}},
            errors.NotImplementedHere,
        ),
    ):
        with pytest.raises(error):
            await s3.PutBucketAcl(Bucket="bucket", **wrong)
    await s3.DeleteBucketOwnershipControls(Bucket="bucket")
    with pytest.raises(errors.NoConfiguration):
        await s3.GetBucketOwnershipControls(Bucket="bucket")


async def test_buckets_made_with_more(objects, s3):
    tagged = {"Tags": [{"Key": "team", "Value": "a"}]}
    await s3.CreateBucket(Bucket="more", ObjectOwnership="ObjectWriter", CreateBucketConfiguration=tagged)
    assert await s3.GetBucketTagging(Bucket="more") == {"TagSet": tagged["Tags"]}
    with pytest.raises(errors.InvalidBucketAcl):
        await s3.CreateBucket(Bucket="other", ACL="public-read")
    with pytest.raises(AccessDenied):
        await s3.CreateBucket(Bucket="other", ACL="public-read", ObjectOwnership="ObjectWriter")
    with pytest.raises(errors.NotImplementedHere, match="object-lock"):
        await s3.CreateBucket(Bucket="other", ObjectLockEnabledForBucket=True)
    with pytest.raises(errors.NoSuchBucket):
        await s3.HeadBucket(Bucket="other")


async def test_tags_of_buckets_and_objects(s3):
    tags = {"TagSet": [{"Key": "b", "Value": "2"}, {"Key": "a", "Value": ""}]}
    await s3.PutBucketTagging(Bucket="bucket", Tagging=tags)
    assert await s3.GetBucketTagging(Bucket="bucket") == tags
    await s3.DeleteBucketTagging(Bucket="bucket")
    await s3.PutObject(Bucket="bucket", Key="k", Tagging="a=1&b%20c=d%2Fe")
    found = await s3.GetObjectTagging(Bucket="bucket", Key="k")
    assert found == {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "b c", "Value": "d/e"}]}
    await s3.CopyObject(Bucket="bucket", Key="c", CopySource="bucket/k", MetadataDirective="REPLACE")
    assert await s3.GetObjectTagging(Bucket="bucket", Key="c") == found
    await s3.CopyObject(Bucket="bucket", Key="c", CopySource="bucket/k", TaggingDirective="REPLACE", Tagging="n=1")
    assert (await s3.HeadObject(Bucket="bucket", Key="c"))["TagCount"] == 1
    for wrong, error in (
        ([("k", "v")] * 2, errors.InvalidTag),
        ([("", "v")], errors.InvalidTag),
        ([("k" * 129, "v")], errors.InvalidTag),
        ([("k", "v" * 257)], errors.InvalidTag),
        ([("aws:k", "v")], errors.InvalidTag),
        ([("k{", "v")], errors.InvalidTag),
        ([(str(n), "v") for n in range(11)], errors.BadRequest),
    ):
        with pytest.raises(error):
            await s3.PutObjectTagging(
                Bucket="bucket", Key="k", Tagging={"TagSet": [{"Key": k, "Value": v} for k, v in wrong]}
            )
    for wrong in ("a=1&a=2", "%zz=1;;&&", "=v"):
        with pytest.raises(ServiceError):
            await s3.PutObject(Bucket="bucket", Key="k", Tagging=wrong)
    with pytest.raises(errors.NoSuchKey):
        await s3.PutObjectTagging(Bucket="bucket", Key="absent", Tagging=tags)


async def test_storage_classes_are_labels(s3):
    await s3.PutObject(Bucket="bucket", Key="k", StorageClass="STANDARD_IA")
    assert (await s3.HeadObject(Bucket="bucket", Key="k"))["StorageClass"] == "STANDARD_IA"
    assert (await s3.ListObjectsV2(Bucket="bucket"))["Contents"][0]["StorageClass"] == "STANDARD_IA"
    await s3.CopyObject(Bucket="bucket", Key="k", CopySource="bucket/k", StorageClass="GLACIER_IR")
    assert (await s3.HeadObject(Bucket="bucket", Key="k"))["StorageClass"] == "GLACIER_IR"
    await s3.CopyObject(Bucket="bucket", Key="c", CopySource="bucket/k")
    assert "StorageClass" not in await s3.HeadObject(Bucket="bucket", Key="c")
    with pytest.raises(errors.InvalidStorageClass):
        await s3.PutObject(Bucket="bucket", Key="k", StorageClass="COLD")


async def test_cors_is_kept(s3):
    rules = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "MaxAgeSeconds": 5}]
    await s3.PutBucketCors(Bucket="bucket", CORSConfiguration={"CORSRules": rules})
    assert await s3.GetBucketCors(Bucket="bucket") == {"CORSRules": rules}
    await s3.DeleteBucketCors(Bucket="bucket")
    for wrong, error in (
        ([], errors.MalformedXML),
        ([{"AllowedMethods": ["GET"], "AllowedOrigins": []}], errors.MalformedXML),
        ([{"AllowedMethods": ["PATCH"], "AllowedOrigins": ["*"]}], errors.InvalidRequest),
        ([{"AllowedMethods": ["GET"], "AllowedOrigins": ["*.*"]}], errors.InvalidRequest),
        (rules * 101, errors.MalformedXML),
    ):
        with pytest.raises(error):
            await s3.PutBucketCors(Bucket="bucket", CORSConfiguration={"CORSRules": wrong})


async def test_attributes_of_an_object(s3):
    put = await s3.PutObject(Bucket="bucket", Key="k", Body=b"12345")
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = await s3.GetObjectAttributes(Bucket="bucket", Key="k", ObjectAttributes=wanted)
    found.pop("LastModified")
    assert found == {"ETag": put["ETag"].strip('"'), "StorageClass": "STANDARD", "ObjectSize": 5}
    with pytest.raises(errors.InvalidArgument):
        await s3.GetObjectAttributes(Bucket="bucket", Key="k", ObjectAttributes=["Owner"])
    with pytest.raises(errors.InvalidRequest, match="Object Lock"):
        await s3.GetObjectRetention(Bucket="bucket", Key="k")


async def test_a_copy_gets_the_checksum_that_is_asked_for(s3):
    await s3.PutObject(Bucket="bucket", Key="k", Body=b"x" * 3_000_000)
    copied = await s3.CopyObject(Bucket="bucket", Key="c", CopySource="bucket/k", ChecksumAlgorithm="SHA256")
    head = await s3.HeadObject(Bucket="bucket", Key="c", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == copied["CopyObjectResult"]["ChecksumSHA256"]
    again = await s3.CopyObject(Bucket="bucket", Key="d", CopySource="bucket/c", ChecksumAlgorithm="SHA256")
    assert again["CopyObjectResult"]["ChecksumSHA256"] == head["ChecksumSHA256"]


async def test_other_accounts_change_nothing(objects, s3):
    other = Client(objects, s3.store, account="999999999999")
    await opened(s3)
    await s3.PutBucketPolicy(Bucket="bucket", Policy=policy())
    for refused in (
        other.GetBucketPolicy(Bucket="bucket"),
        other.PutBucketVersioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"}),
        other.GetBucketWebsite(Bucket="bucket"),
        other.PutBucketWebsite(Bucket="bucket", WebsiteConfiguration={}),
    ):
        with pytest.raises(AccessDenied):
            await refused
