"""Keys, what happens to them by themselves, and what is left of one that is deleted."""

from __future__ import annotations

import base64
import sqlite3
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kedge.kms import blob, controller, records
from kedge.kms.errors import Disabled, InvalidCiphertext, InvalidState, KeyUnavailable, NotFound
from kedge.kms.keystore import KeyStore
from kedge.kms.master import MasterKey
from kedge.store.records import Author, Scope
from tests.kms.conftest import SCOPE

DAY_S = 86_400.0
contexts = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)


def changed(store, clock, key, status=None, **members):
    with store.transaction(Author("test", "r", clock.now())) as tx:
        found = tx.get(key.scope, records.KEY, key.name)
        return tx.update(found, {**found.document, **members}, status)


def current(store, key):
    return store.get(key.scope, records.KEY, key.name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(plaintext=st.binary(min_size=1, max_size=64), context=contexts, other=contexts)
def test_a_ciphertext_opens_with_its_context_only(keys, key, plaintext, context, other):
    sealed = keys.encrypt(key, plaintext, context)
    assert keys.decrypt(key, sealed, context) == plaintext
    if other != context:
        with pytest.raises(InvalidCiphertext):
            keys.decrypt(key, sealed, other)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_ciphertext_or_none(data):
    found = blob.decode(data)
    assert found is None or found.encode() == data


def test_pairs_of_a_context_are_not_mixed_up(keys, key):
    sealed = keys.encrypt(key, b"x", {"a": 'b","c":"d'})
    with pytest.raises(InvalidCiphertext):
        keys.decrypt(key, sealed, {"a": "b", "c": "d"})


def test_a_data_key_for_others(keys, key, clock, store):
    arn = keys.usable(SCOPE, key.name, clock.now())
    assert arn == records.key_arn(key)
    made = keys.data_key(arn, {"of": "body"})
    assert keys.open_data_key(arn, made.sealed, {"of": "body"}) == made.plaintext
    moved = keys.seal_data_key(arn, made.plaintext, {"of": "copy"})
    assert keys.open_data_key(arn, moved, {"of": "copy"}) == made.plaintext
    with pytest.raises(NotFound):
        keys.usable(Scope(SCOPE.account, "eu-west-3"), arn, clock.now())
    changed(store, clock, key, records.DISABLED)
    with pytest.raises(Disabled):
        keys.open_data_key(arn, made.sealed, {"of": "body"})
    own = keys.seal_own(made.plaintext, b"place")
    assert keys.open_own(own, b"place") == made.plaintext
    with pytest.raises(KeyUnavailable):
        keys.open_own(own, b"elsewhere")
    assert repr(made.plaintext) not in repr(made)


async def test_a_key_is_deleted_when_its_day_has_come_and_not_before(store, keys, key, clock, tmp_path):
    sealed = keys.encrypt(key, b"secret", {})
    (wrapped,) = store.get(SCOPE, records.MATERIAL, key.name).document.values()
    with store.transaction(Author("test", "r", clock.now())) as tx:
        tx.insert(SCOPE, records.ALIAS, "alias/a", {"TargetKeyId": key.name})
    at = clock.now() + timedelta(days=7)
    pending = changed(store, clock, key, records.PENDING_DELETION, DeletionDate=at.timestamp())
    clock.advance(7 * DAY_S - 1)
    await controller.step(store, keys, clock)
    with pytest.raises(InvalidState):
        keys.decrypt(current(store, pending), sealed, {})
    clock.advance(1)
    await controller.step(store, keys, clock)
    assert current(store, key) is None
    assert store.get(SCOPE, records.ALIAS, "alias/a") is None
    with pytest.raises(NotFound):
        keys.find("alias/a", SCOPE)
    with pytest.raises(KeyUnavailable):
        keys.decrypt(changed_state(pending), sealed, {})
    rows = sqlite3.connect(tmp_path / "kedge.db")
    try:
        text = "\n".join(rows.iterdump())
    finally:
        rows.close()
    assert key.name in text
    assert wrapped not in text


def changed_state(key):
    from dataclasses import replace

    return replace(key, status=records.ENABLED)


async def test_rotation_comes_by_itself_and_old_versions_stay(store, keys, key, clock):
    changed(store, clock, key, RotationPeriodInDays=90)
    sealed = [keys.encrypt(current(store, key), b"0", {})]
    for number in (1, 2):
        clock.advance(89 * DAY_S)
        await controller.step(store, keys, clock)
        assert current(store, key).document["Version"] == number
        clock.advance(1 * DAY_S)
        await controller.step(store, keys, clock)
        await controller.step(store, keys, clock)
        assert current(store, key).document["Version"] == number + 1
        sealed.append(keys.encrypt(current(store, key), str(number).encode(), {}))
    assert [keys.decrypt(current(store, key), each, {}) for each in sealed] == [b"0", b"1", b"2"]
    assert [blob.decode(each).version for each in sealed] == [1, 2, 3]
    changed(store, clock, key, records.DISABLED)
    clock.advance(400 * DAY_S)
    await controller.step(store, keys, clock)
    assert current(store, key).document["Version"] == 3


def test_material_of_another_master_key_is_said_to_be_so(store, keys, key):
    sealed = keys.encrypt(key, b"x", {})
    other = KeyStore(store, MasterKey(b"\x07" * 32))
    with pytest.raises(KeyUnavailable, match="wrapped by another one"):
        other.decrypt(key, sealed, {})


def test_material_does_not_open_in_another_keys_place(store, keys, key, clock):
    with store.transaction(Author("test", "r", clock.now())) as tx:
        other = keys.create(tx, SCOPE, key.document)
        mine, theirs = (tx.get(SCOPE, records.MATERIAL, each.name) for each in (key, other))
        tx.observe(theirs, mine.document)
    with pytest.raises(KeyUnavailable):
        keys.encrypt(other, b"x", {})


def test_no_key_material_is_stored_unwrapped(store, keys, key):
    (wrapped,) = store.get(SCOPE, records.MATERIAL, key.name).document.values()
    assert len(base64.b64decode(wrapped)) == 32 + 32 + 16
    assert "Material" not in str(key.document)


def test_the_managed_key_is_one_key_whoever_comes_first(keys, clock):
    first = keys.managed(SCOPE, "alias/aws/s3", clock.now())
    assert keys.managed(SCOPE, "alias/aws/s3", clock.now()).name == first.name
    assert keys.usable(SCOPE, "alias/aws/s3", clock.now()) == records.key_arn(first)
    assert keys.managed(Scope(SCOPE.account, "eu-west-3"), "alias/aws/s3", clock.now()).name != first.name
