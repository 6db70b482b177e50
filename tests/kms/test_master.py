"""The master key: made once, and never another one in silence."""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime

import pytest

from kedge.home import HomeError
from kedge.kms.aead import NotOpened
from kedge.kms.master import MasterKey, open_master, record_master

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_it_is_made_at_the_first_start_for_its_owner_alone(tmp_path, store):
    path = tmp_path / "master.key"
    first = open_master(path, "", store, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    record_master(first, store, NOW)
    assert open_master(path, "", store, NOW).id == first.id
    assert first.id not in path.read_text()


def test_one_that_is_lost_is_not_made_anew(tmp_path, store):
    path = tmp_path / "master.key"
    record_master(open_master(path, "", store, NOW), store, NOW)
    os.unlink(path)
    with pytest.raises(HomeError, match="is gone"):
        open_master(path, "", store, NOW)
    assert not path.exists()


def test_another_one_is_refused(tmp_path, store):
    path = tmp_path / "master.key"
    first = open_master(path, "", store, NOW)
    record_master(first, store, NOW)
    path.write_text("ab" * 32)
    with pytest.raises(HomeError, match=f"wrapped by {first.id}"):
        open_master(path, "", store, NOW)


@pytest.mark.parametrize("text", ["", "ab" * 31, "xy" * 32, "ab" * 33, "é" * 32])
def test_what_is_no_key_is_refused(tmp_path, store, text):
    (tmp_path / "given").write_text(text)
    with pytest.raises(HomeError, match="64 hexadecimal digits"):
        open_master(tmp_path / "master.key", str(tmp_path / "given"), store, NOW)


def test_one_that_is_given_is_used_and_none_is_made(tmp_path, store):
    given = tmp_path / "given"
    with pytest.raises(HomeError, match="cannot be read"):
        open_master(tmp_path / "master.key", str(given), store, NOW)
    given.write_text(" " + "AB" * 32 + "\n")
    assert open_master(tmp_path / "master.key", str(given), store, NOW).id == MasterKey(b"\xab" * 32).id
    assert not (tmp_path / "master.key").exists()


def test_what_is_wrapped_opens_for_its_purpose_and_place_only():
    master = MasterKey(bytes(32))
    wrapped = master.wrap("one", b"data", b"here")
    assert master.unwrap("one", wrapped, b"here") == b"data"
    for other, purpose, bound in (
        (master, "two", b"here"), (master, "one", b"there"), (MasterKey(b"\x01" * 32), "one", b"here")
    ):  # fmt: skip
        with pytest.raises(NotOpened):
            other.unwrap(purpose, wrapped, bound)
    with pytest.raises(NotOpened):
        master.unwrap("one", wrapped[:40], b"here")
