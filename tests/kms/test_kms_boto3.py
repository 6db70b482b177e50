"""An unmodified boto3 uses KMS."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def kms(kedge) -> Any:
    return kedge.client("kms")


@pytest.fixture
def key(kms) -> str:
    return kms.create_key(Description="test")["KeyMetadata"]["KeyId"]


def refused(call: Any, /, **request: Any) -> tuple[str, str]:
    """(code, message) of the answer; it can be caught by its class where the model has one."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_new_key_describes_itself(kms, kedge):
    made = kms.create_key(Description="for tests", Tags=[{"TagKey": "team", "TagValue": "ml"}])["KeyMetadata"]
    assert made["Arn"] == f"arn:aws:kms:{kedge.region}:{kedge.account}:key/{made['KeyId']}"
    assert (made["KeyState"], made["Enabled"], made["KeyManager"]) == ("Enabled", True, "CUSTOMER")
    assert (made["KeySpec"], made["KeyUsage"], made["Origin"]) == ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS")
    for name in (made["KeyId"], made["Arn"]):
        assert kms.describe_key(KeyId=name)["KeyMetadata"] == made
    assert kms.list_resource_tags(KeyId=made["KeyId"])["Tags"] == [{"TagKey": "team", "TagValue": "ml"}]
    assert [each["KeyArn"] for each in kms.list_keys()["Keys"]] == [made["Arn"]]


def test_what_is_encrypted_comes_back_with_the_same_context_only(kms, key):
    context = {"service": "tests", "b": "ü"}
    sealed = kms.encrypt(KeyId=key, Plaintext=b"secret", EncryptionContext=context)
    assert sealed["KeyId"].endswith(key)
    assert b"secret" not in sealed["CiphertextBlob"]
    opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=dict(reversed(context.items())))
    assert (opened["Plaintext"], opened["KeyId"]) == (b"secret", sealed["KeyId"])
    for wrong in ({}, {"service": "tests"}, {**context, "b": "u"}):
        with pytest.raises(kms.exceptions.InvalidCiphertextException):
            kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext=wrong)


@pytest.mark.parametrize("place", [0, 3, 18, 21, 40, 60, -1])
def test_a_changed_ciphertext_does_not_open(kms, key, place):
    sealed = bytearray(kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"])
    sealed[place] ^= 1
    code, _ = refused(kms.decrypt, CiphertextBlob=bytes(sealed))
    assert code in ("InvalidCiphertextException", "AccessDeniedException")


def test_what_is_no_ciphertext_of_ours_is_refused(kms, key):
    for data in (b"x", b"\x01" * 21, b"\x01" * 22, b"\x01" * 6144):
        assert refused(kms.decrypt, CiphertextBlob=data)[0] in ("InvalidCiphertextException", "AccessDeniedException")
    assert refused(kms.encrypt, KeyId=key, Plaintext=b"x" * 4097)[0] == "ValidationException"


def test_data_keys(kms, key):
    for options, size in (({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 1024}, 1024)):
        made = kms.generate_data_key(KeyId=key, EncryptionContext={"a": "b"}, **options)
        assert len(made["Plaintext"]) == size
        opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"}, KeyId=key)
        assert opened["Plaintext"] == made["Plaintext"]
        assert opened["KeyMaterialId"] == made["KeyMaterialId"]
    assert "Plaintext" not in kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_256")
    assert refused(kms.generate_data_key, KeyId=key)[0] == "ValidationException"
    assert refused(kms.generate_data_key, KeyId=key, KeySpec="AES_256", NumberOfBytes=1)[0] == "ValidationException"
    assert len(kms.generate_random(NumberOfBytes=64)["Plaintext"]) == 64


def test_re_encryption_moves_a_ciphertext_to_another_key(kms, key):
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    sealed = kms.encrypt(KeyId=key, Plaintext=b"secret", EncryptionContext={"a": "1"})["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=sealed,
        SourceEncryptionContext={"a": "1"},
        DestinationKeyId=other,
        DestinationEncryptionContext={"b": "2"},
    )
    assert (moved["SourceKeyId"].endswith(key), moved["KeyId"].endswith(other)) == (True, True)
    kms.disable_key(KeyId=key)
    assert kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"b": "2"})["Plaintext"] == b"secret"
    assert refused(kms.decrypt, CiphertextBlob=moved["CiphertextBlob"], KeyId=key)[0] == "DisabledException"
    kms.enable_key(KeyId=key)
    assert refused(kms.decrypt, CiphertextBlob=moved["CiphertextBlob"], KeyId=key)[0] == "IncorrectKeyException"


def test_aliases_name_keys_everywhere_a_key_is_used(kms, key, kedge):
    kms.create_alias(AliasName="alias/first", TargetKeyId=key)
    arn = f"arn:aws:kms:{kedge.region}:{kedge.account}:alias/first"
    for name in ("alias/first", arn):
        assert kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"] == key
        assert kms.encrypt(KeyId=name, Plaintext=b"x")["KeyId"].endswith(key)
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.update_alias(AliasName="alias/first", TargetKeyId=other)
    assert kms.describe_key(KeyId="alias/first")["KeyMetadata"]["KeyId"] == other
    listed = kms.list_aliases(KeyId=other)["Aliases"]
    assert [(each["AliasName"], each["AliasArn"]) for each in listed] == [("alias/first", arn)]
    assert kms.list_aliases(KeyId=key)["Aliases"] == []
    assert refused(kms.create_alias, AliasName="alias/first", TargetKeyId=key)[0] == "AlreadyExistsException"
    assert refused(kms.create_alias, AliasName="alias/aws/s3", TargetKeyId=key)[0] == "NotAuthorizedException"
    assert refused(kms.create_alias, AliasName="first", TargetKeyId=key)[0] == "ValidationException"
    assert refused(kms.disable_key, KeyId="alias/first")[0] == "NotFoundException"
    kms.delete_alias(AliasName="alias/first")
    for call in (kms.delete_alias, kms.describe_key):
        request = {"AliasName": "alias/first"} if call == kms.delete_alias else {"KeyId": "alias/first"}
        assert refused(call, **request) == ("NotFoundException", f"Alias {arn} is not found.")


def test_lists_come_in_pages(kms):
    made = sorted(kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(5))
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["Keys"]) for page in pages] == [2, 2, 1]
    assert [each["KeyId"] for page in pages for each in page["Keys"]] == made
    for number in range(3):
        kms.create_alias(AliasName=f"alias/{number}", TargetKeyId=made[0])
    for options in ({}, {"KeyId": made[0]}):
        pages = list(kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 2}, **options))
        assert [len(page["Aliases"]) for page in pages] == [2, 1]
    for call in (kms.list_keys, kms.list_aliases):
        assert refused(call, Marker="nothing")[0] == "InvalidMarkerException"


def test_a_key_that_is_disabled_or_pending_deletion_does_nothing(kms, key):
    sealed = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=key)
    arn = kms.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    assert refused(kms.encrypt, KeyId=key, Plaintext=b"x") == ("DisabledException", f"{arn} is disabled.")
    with pytest.raises(kms.exceptions.DisabledException):
        kms.decrypt(CiphertextBlob=sealed)
    answer = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert answer["KeyId"] == arn
    assert abs(answer["DeletionDate"] - datetime.now(UTC) - timedelta(days=7)) < timedelta(minutes=1)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["DeletionDate"] == answer["DeletionDate"]
    for call in (kms.enable_key, kms.disable_key, kms.schedule_key_deletion, kms.enable_key_rotation):
        assert refused(call, KeyId=key) == ("KMSInvalidStateException", f"{arn} is pending deletion.")
    assert refused(kms.decrypt, CiphertextBlob=sealed)[0] == "KMSInvalidStateException"
    assert kms.cancel_key_deletion(KeyId=key)["KeyId"] == arn
    described = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert (described["KeyState"], "DeletionDate" in described) == ("Disabled", False)
    kms.enable_key(KeyId=key)
    assert kms.decrypt(CiphertextBlob=sealed)["Plaintext"] == b"x"
    for days in (6, 31):
        code, message = refused(kms.schedule_key_deletion, KeyId=key, PendingWindowInDays=days)
        assert (code, str(days) in message) == ("ValidationException", True)


def test_rotation_keeps_old_ciphertexts_open(kms, key):
    first = kms.encrypt(KeyId=key, Plaintext=b"first")["CiphertextBlob"]
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    status = kms.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 90)
    assert status["NextRotationDate"] > datetime.now(UTC) + timedelta(days=89)
    kms.rotate_key_on_demand(KeyId=key)
    second = kms.encrypt(KeyId=key, Plaintext=b"second")["CiphertextBlob"]
    opened = [kms.decrypt(CiphertextBlob=each) for each in (first, second)]
    assert [each["Plaintext"] for each in opened] == [b"first", b"second"]
    assert opened[0]["KeyMaterialId"] != opened[1]["KeyMaterialId"]
    (rotation,) = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert (rotation["RotationType"], rotation["KeyMaterialId"]) == ("ON_DEMAND", opened[1]["KeyMaterialId"])
    kms.disable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False


def test_policies_tags_and_description_are_kept(kms, key, kedge):
    default = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    assert default["Statement"][0]["Principal"] == {"AWS": f"arn:aws:iam::{kedge.account}:root"}
    text = json.dumps({**default, "Id": "mine"})
    kms.put_key_policy(KeyId=key, Policy=text)
    assert kms.get_key_policy(KeyId=key)["Policy"] == text
    assert kms.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]
    statement = {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}
    missing = {"Principal": {"AWS": f"arn:aws:iam::{kedge.account}:user/nobody"}}
    odd = (
        {"Action": 5},
        {"Principal": {"AWS": "nobody"}},
        missing,
        {"Condition": 5},
        {"Condition": {"Foo": {"a": "b"}}},
    )
    malformed = [json.dumps({"Statement": {**statement, **each}}) for each in odd]
    for wrong in ("x", "[]", "{}", '{"Statement": [1]}', '{"Statement": {"Effect": "Allow"}}', *malformed):
        with pytest.raises(kms.exceptions.MalformedPolicyDocumentException):
            kms.put_key_policy(KeyId=key, Policy=wrong)
    kms.update_key_description(KeyId=key, Description="other")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["Description"] == "other"
    kms.tag_resource(KeyId=key, Tags=[{"TagKey": "a", "TagValue": "1"}, {"TagKey": "b", "TagValue": "2"}])
    kms.untag_resource(KeyId=key, TagKeys=["a"])
    assert kms.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "b", "TagValue": "2"}]
    with pytest.raises(kms.exceptions.TagException):
        kms.tag_resource(KeyId=key, Tags=[{"TagKey": "aws:a", "TagValue": "1"}])


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        ({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}, "UnsupportedOperationException", "RSA_2048"),
        ({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, "UnsupportedOperationException", "HMAC_256"),
        ({"Origin": "EXTERNAL"}, "UnsupportedOperationException", "EXTERNAL"),
        ({"MultiRegion": True}, "UnsupportedOperationException", "MultiRegion"),
        ({"KeyUsage": "SIGN_VERIFY"}, "ValidationException", "SIGN_VERIFY"),
        ({"Policy": "no"}, "MalformedPolicyDocumentException", "JSON"),
    ],
)
def test_keys_that_cannot_be_made_are_refused_by_name(kms, request_, code, says):
    got, message = refused(kms.create_key, **request_)
    assert (got, says in message) == (code, True), message
    assert kms.list_keys()["Keys"] == []


def test_keys_that_are_not_there(kms, kedge):
    missing = "00000000-0000-4000-8000-000000000000"
    arn = f"arn:aws:kms:{kedge.region}:{kedge.account}:key/{missing}"
    assert refused(kms.describe_key, KeyId=missing) == ("NotFoundException", f"Key '{arn}' does not exist")
    assert refused(kms.describe_key, KeyId="nothing") == ("NotFoundException", "Invalid keyId 'nothing'")
    assert refused(kms.describe_key, KeyId="arn:aws:s3:::bucket")[0] == "InvalidArnException"
    assert refused(kms.encrypt, KeyId=arn.replace(kedge.region, "eu-west-3"), Plaintext=b"x")[0] == "NotFoundException"
    elsewhere = arn.replace(kedge.account, "999999999999")
    assert refused(kms.encrypt, KeyId=elsewhere, Plaintext=b"x")[0] == "AccessDeniedException"
    assert refused(kms.describe_key, KeyId="é" * 2048)[0] == "NotFoundException"


def test_keys_that_aws_manages_are_made_when_they_are_named(kms, kedge):
    assert kms.list_aliases()["Aliases"] == []
    made = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    assert (made["KeyManager"], made["Enabled"]) == ("AWS", True)
    arn = f"arn:aws:kms:{kedge.region}:{kedge.account}:alias/aws/s3"
    assert kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyId"] == made["KeyId"]
    assert [each["AliasName"] for each in kms.list_aliases()["Aliases"]] == ["alias/aws/s3"]
    assert kms.get_key_rotation_status(KeyId=made["KeyId"])["KeyRotationEnabled"] is True
    for call, more in (
        (kms.disable_key, {}), (kms.schedule_key_deletion, {}), (kms.encrypt, {"Plaintext": b"x"}),
        (kms.generate_data_key, {"KeySpec": "AES_256"}), (kms.put_key_policy, {"Policy": "{}"}),
    ):  # fmt: skip
        if call == kms.put_key_policy:
            more = {"Policy": kms.get_key_policy(KeyId=made["KeyId"])["Policy"]}
        assert refused(call, KeyId=made["KeyId"], **more)[0] == "AccessDeniedException"


def test_what_is_not_offered_is_refused_by_name(kms, key):
    code, message = refused(kms.create_grant, KeyId=key, GranteePrincipal="arn:aws:iam::1:root", Operations=["Encrypt"])
    assert (code, "CreateGrant" in message) == ("UnknownOperationException", True)
    assert kms.list_grants(KeyId=key)["Grants"] == []
    assert refused(kms.encrypt, KeyId=key, Plaintext=b"x", GrantTokens=["t"])[0] == "InvalidGrantTokenException"
    code, _ = refused(kms.encrypt, KeyId=key, Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    assert code == "InvalidKeyUsageException"


def test_a_dry_run_does_nothing(kms, key):
    with pytest.raises(kms.exceptions.DryRunOperationException) as caught:
        kms.encrypt(KeyId=key, Plaintext=b"x", DryRun=True)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    kms.disable_key(KeyId=key)
    assert refused(kms.encrypt, KeyId=key, Plaintext=b"x", DryRun=True)[0] == "DisabledException"


def test_regions_have_their_own_keys(kms, key, kedge):
    elsewhere = kedge.client("kms", region_name="eu-west-3")
    assert elsewhere.list_keys()["Keys"] == []
    sealed = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    assert refused(elsewhere.decrypt, CiphertextBlob=sealed)[0] == "AccessDeniedException"
