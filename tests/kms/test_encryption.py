"""What a request asks for, and what an answer says: the decisions, without a server."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import AccessDenied, ServiceError
from kedge.objects import encryption
from kedge.objects.encryption import Default, Wanted, customer_key, from_json, parse_default, to_json, wanted
from kedge.objects.errors import InvalidArgument, InvalidRequest, NotImplementedHere
from kedge.objects.records import CUSTOMER, KMS, OWN, Encryption

RAW = bytes(range(32))
KEY = base64.b64encode(RAW).decode()
MD5 = base64.b64encode(hashlib.md5(RAW).digest()).decode()
CUSTOMER_HEADERS = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY, "SSECustomerKeyMD5": MD5}
BY_KMS = Default(KMS, "alias/a", True)
CONTEXT = base64.b64encode(json.dumps({"a": "b"}).encode()).decode()


@pytest.mark.parametrize(
    ("request_", "default", "want"),
    [
        ({}, Default(), Wanted()),
        ({}, Default(OWN), Wanted(OWN)),
        ({}, BY_KMS, Wanted(KMS, "alias/a", {}, True)),
        ({"BucketKeyEnabled": False}, BY_KMS, Wanted(KMS, "alias/a", {}, False)),
        ({"BucketKeyEnabled": True}, Default(), Wanted()),
        ({"ServerSideEncryption": "AES256"}, BY_KMS, Wanted(OWN)),
        ({"ServerSideEncryption": "aws:kms"}, Default(), Wanted(KMS)),
        ({"ServerSideEncryption": "aws:kms"}, BY_KMS, Wanted(KMS, "", {}, True)),
        ({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "k"}, BY_KMS, Wanted(KMS, "k", {}, True)),
        (
            {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": CONTEXT},
            Default(),
            Wanted(KMS, "", {"a": "b"}, False),
        ),
    ],
)
def test_the_request_goes_before_the_buckets_default(request_, default, want):
    assert wanted(request_, default) == want


def test_a_clients_key_goes_before_every_default():
    found = wanted(CUSTOMER_HEADERS, BY_KMS)
    assert found.algorithm == CUSTOMER
    assert found.customer is not None
    assert (found.customer.key, found.customer.md5) == (RAW, MD5)
    assert KEY not in repr(found)
    with pytest.raises(AccessDenied):
        wanted(CUSTOMER_HEADERS, Default(OWN, blocked=(CUSTOMER,)))


@pytest.mark.parametrize(
    "request_",
    [
        {"ServerSideEncryption": "AES256", "SSEKMSKeyId": "k"},
        {"SSEKMSKeyId": "k"},
        {"SSEKMSEncryptionContext": CONTEXT},
        {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "no base64"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": base64.b64encode(b"[1]").decode()},
        {"ServerSideEncryption": "none"},
        {**CUSTOMER_HEADERS, "ServerSideEncryption": "AES256"},
        {**CUSTOMER_HEADERS, "SSEKMSKeyId": "k"},
        {"SSECustomerAlgorithm": "AES256"},
        {"SSECustomerKey": KEY},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKeyMD5": MD5},
        {**CUSTOMER_HEADERS, "SSECustomerKey": KEY[:-4]},
        {**CUSTOMER_HEADERS, "SSECustomerKey": "é" * 44},
        {**CUSTOMER_HEADERS, "SSECustomerKeyMD5": "é"},
        {**CUSTOMER_HEADERS, "SSECustomerKeyMD5": base64.b64encode(bytes(16)).decode()},
    ],
)
def test_what_does_not_go_together_is_refused(request_):
    with pytest.raises(InvalidArgument) as caught:
        wanted(request_, Default())
    assert KEY not in str(caught.value.message) + str(caught.value.members)


def test_the_dual_layer_is_refused_by_name():
    with pytest.raises(NotImplementedHere, match="dsse"):
        wanted({"ServerSideEncryption": "aws:kms:dsse"}, Default())


texts = st.none() | st.text(max_size=50) | st.sampled_from(["AES256", "aws:kms", KEY, MD5, CONTEXT])
names = sorted(encryption.WRITE_MEMBERS | encryption.CUSTOMER_MEMBERS)


@given(st.fixed_dictionaries({}, optional={name: texts for name in names if name != "BucketKeyEnabled"}))
def test_any_request_is_understood_or_refused(request_: dict[str, Any]):
    given_ = {name: value for name, value in request_.items() if value is not None}
    try:
        found = wanted(given_, Default())
    except ServiceError:
        return
    assert found.algorithm in ("", OWN, KMS, CUSTOMER)
    assert (found.customer is not None) == (found.algorithm == CUSTOMER)
    if given_.keys() & {"ServerSideEncryption", *encryption.CUSTOMER_MEMBERS}:
        assert found.algorithm


def test_a_key_is_brought_if_and_only_if_the_body_needs_one():
    customer = customer_key(CUSTOMER_HEADERS)
    sealed = Encryption(CUSTOMER, "x")
    for check in (encryption.check_reading, encryption.check_part):
        check(None, None)
        check(Encryption(OWN, "x"), None)
        check(sealed, customer)
        for one, other in ((sealed, None), (None, customer), (Encryption(KMS, "x"), customer)):
            with pytest.raises(InvalidRequest):
                check(one, other)


@pytest.mark.parametrize("default", [Default(), Default(OWN), BY_KMS, Default(KMS), Default(OWN, blocked=(CUSTOMER,))])
def test_a_default_is_kept_and_shown_as_it_was_put(default):
    assert from_json(to_json(default)) == default
    shown = encryption.shown_default(default)["ServerSideEncryptionConfiguration"]
    assert parse_default(shown) == (default if default.algorithm else Default(OWN))
    assert from_json("") == Default()


@pytest.mark.parametrize("kept", [None, Encryption(OWN, "x"), Encryption(KMS, "x", "arn", {"a": "b"}, True)])
def test_how_a_body_is_encrypted_is_kept_as_json(kept):
    assert encryption.unpacked(json.loads(json.dumps(encryption.packed(kept)))) == kept
