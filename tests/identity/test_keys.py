"""Known keys are found, sealed ones open; anything else is refused."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge import errors
from kedge.identity.keys import MAX_TOKEN_CHARS, KeyRing
from kedge.identity.records import AccessKey, Session

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROOT = AccessKey("AKIAROOT", "secret", "1" * 12, f"arn:aws:iam::{'1' * 12}:root", "1" * 12)
SEAL = bytes(range(32))
ARN = "arn:aws:sts::222222222222:assumed-role/r/s"


def ring(seal_key: bytes = SEAL, limit: int = 1024) -> KeyRing:
    return KeyRing([ROOT], seal_key, limit)


def test_permanent_keys() -> None:
    assert ring().find("AKIAROOT", None, NOW) is ROOT
    for access_key_id, token in (
        ("AKIANOBODY", None),
        ("akiaroot", None),
        ("", None),
        ("AKIAROOT", ""),
        ("AKIAROOT", "x"),
    ):
        with pytest.raises(errors.UnknownAccessKey, match=r"The security token included in the request is invalid\."):
            ring().find(access_key_id, token, NOW)


def test_a_sealed_key_opens_elsewhere() -> None:
    end = NOW + timedelta(hours=1)
    access_key_id, secret, token = ring().seal("2" * 12, ARN, "AROAX:s", end)
    assert access_key_id.startswith("ASIA")
    assert len(access_key_id) == 20
    assert len(secret) == 40
    other = ring()
    for _ in range(2):
        assert other.find(access_key_id, token, NOW) == AccessKey(
            access_key_id, secret, "2" * 12, ARN, "AROAX:s", end, Session(principal_id="AROAX")
        )
    assert secret not in base64.b64decode(token).decode("latin-1")


def test_a_sealed_key_ends() -> None:
    keys = ring()
    end = NOW + timedelta(hours=1)
    access_key_id, _, token = keys.seal("2" * 12, ARN, "u", end)
    keys.find(access_key_id, token, end - timedelta(seconds=1))
    for now in (end, end + timedelta(days=1)):
        with pytest.raises(errors.ExpiredToken, match="expired"):
            keys.find(access_key_id, token, now)


def test_a_token_belongs_to_its_key_and_its_seal() -> None:
    keys = ring()
    end = NOW + timedelta(hours=1)
    first, second = keys.seal("2" * 12, ARN, "u", end), keys.seal("2" * 12, ARN, "u", end)
    for access_key_id, token in ((first[0], second[2]), ("AKIAROOT", first[2]), (first[0], None)):
        with pytest.raises(errors.UnknownAccessKey):
            keys.find(access_key_id, token, NOW)
    with pytest.raises(errors.UnknownToken) as refused:
        ring(bytes(32)).find(first[0], first[2], NOW)
    names = [refused.value.named_for(protocol) for protocol in ("s3", "query", "json")]
    assert names == [("InvalidToken", 400), ("InvalidClientTokenId", 403), ("UnrecognizedClientException", 400)]


def test_each_altered_byte_of_a_token_is_refused() -> None:
    keys = ring()
    access_key_id, _, token = keys.seal("2" * 12, ARN, "u", NOW + timedelta(hours=1))
    sealed = base64.b64decode(token)
    for at in range(len(sealed)):
        altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(errors.UnknownAccessKey):
            keys.find(access_key_id, base64.b64encode(altered).decode(), NOW)
    for at in range(0, len(token), 7):
        with pytest.raises(errors.UnknownAccessKey):
            keys.find(access_key_id, token[:at], NOW)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=60).map(lambda raw: base64.b64encode(raw).decode()))
def test_nonsense_is_no_token(token: str) -> None:
    with pytest.raises(errors.UnknownAccessKey):
        ring().find("ASIAX", token, NOW)


def test_bounds() -> None:
    with pytest.raises(errors.UnknownAccessKey):
        ring().find("ASIAX", "A" * (MAX_TOKEN_CHARS + 1), NOW)
    keys = ring(limit=2)
    for _ in range(5):
        access_key_id, _, token = keys.seal("2" * 12, ARN, "u", NOW + timedelta(hours=1))
        keys.find(access_key_id, token, NOW)
    assert len(keys._opened) == 2
