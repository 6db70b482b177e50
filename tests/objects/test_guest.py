"""A second process that puts objects: beside the one that has the store open, and without it."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from datetime import UTC, datetime

import pytest

from kedge.clock import HandClock, SystemClock
from kedge.errors import AccessDenied
from kedge.kms import records as kms_records
from kedge.kms.keystore import KeyStore
from kedge.kms.master import MasterKey
from kedge.objects.errors import NoSuchBucket
from kedge.objects.files import Objects
from kedge.objects.guest import Guest, wait_for_guests
from kedge.objects.index import IndexRefused
from kedge.objects.records import KMS, OWN, Attributes
from kedge.objects.vault import Vault
from kedge.store.records import Author, Scope
from kedge.store.store import Store

ACCOUNT, REGION = "111122223333", "us-east-1"
MASTER = bytes(range(32))


@pytest.fixture
def vault(tmp_path):
    store = Store(tmp_path / "kedge.db")
    yield Vault(KeyStore(store, MasterKey(MASTER)))
    store.close()


@pytest.fixture
def objects(tmp_path, vault):
    opened = Objects(tmp_path / "objects", vault=vault)
    opened.create_bucket("b", ACCOUNT, REGION)
    yield opened
    opened.close()


@pytest.fixture
def guest(tmp_path, vault, objects):
    opened = Guest(tmp_path / "objects", HandClock(datetime(2026, 1, 1, tzinfo=UTC)), vault, durable=True)
    yield opened
    opened.close()


def put(guest, key="k", data=b"captured", *, account=ACCOUNT, bucket="b", kms_key=""):
    return guest.put_once(account, bucket, key, data, Attributes(headers={"ContentType": "x/y"}), kms_key)


def test_what_a_guest_puts_is_an_object_like_any_other(objects, guest, tmp_path):
    assert put(guest)
    info = objects.version("b", "k")
    assert info.attributes.headers == {"ContentType": "x/y"}
    assert info.encryption.algorithm == OWN
    with objects.open("b", "k") as body:
        assert body.read() == b"captured"
    assert all(
        b"captured" not in path.read_bytes() for path in (tmp_path / "objects/bodies").rglob("*") if path.is_file()
    )
    assert list(objects.list_keys("b")) == ["k"]


def test_what_is_there_is_not_put_again(objects, guest, tmp_path):
    put(guest)
    assert not put(guest, data=b"other")
    with objects.open("b", "k") as body:
        assert body.read() == b"captured"
    assert len([path for path in (tmp_path / "objects/bodies").rglob("*") if path.is_file()]) == 1


def test_the_key_that_is_asked_for_encrypts(objects, guest, tmp_path, vault):
    keys = vault._keys
    with keys._store.transaction(Author("t", "r", datetime.now(UTC))) as tx:
        key = keys.create(tx, Scope(ACCOUNT, REGION), kms_records.new_key(datetime.now(UTC), policy="{}"))
    put(guest, kms_key=key.name)
    found = objects.version("b", "k").encryption
    assert (found.algorithm, found.key_arn) == (KMS, kms_records.key_arn(key))


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        ({"bucket": "nowhere"}, NoSuchBucket),
        ({"account": "444455556666"}, AccessDenied),
        ({"kms_key": "no-key"}, Exception),
    ],
)
def test_a_refusal_leaves_nothing(objects, guest, tmp_path, refused, error):
    with pytest.raises(error):
        put(guest, **refused)
    assert list(objects.list_keys("b")) == []
    assert [path for path in (tmp_path / "objects/bodies").rglob("*") if path.is_file()] == []


def test_a_guest_does_not_make_a_store(tmp_path, vault):
    (tmp_path / "objects").mkdir()
    with pytest.raises(IndexRefused):
        Guest(tmp_path / "objects", SystemClock(), vault, durable=True)
    assert list((tmp_path / "objects").iterdir()) == []


def test_a_sweep_waits_for_what_a_guest_has_begun(objects, guest, monkeypatch):
    """The file is there and no row names it yet: just what a crash leaves too."""
    written, go_on = threading.Event(), threading.Event()
    real = guest._index.write

    def slowly(change):
        written.set()
        assert go_on.wait(10)
        return real(change)

    monkeypatch.setattr(guest._index, "write", slowly)
    putting = threading.Thread(target=put, args=(guest,))
    putting.start()
    assert written.wait(10)
    sweeping = threading.Thread(target=objects._sweep)
    sweeping.start()
    sweeping.join(0.3)
    assert sweeping.is_alive()
    go_on.set()
    putting.join(10)
    sweeping.join(10)
    with objects.open("b", "k") as body:
        assert body.read() == b"captured"


def test_a_store_that_closes_waits_for_no_guest(tmp_path):
    (tmp_path / "objects").mkdir()
    stop = threading.Event()
    with held(tmp_path / "objects" / "guests"):
        waiting = threading.Thread(target=wait_for_guests, args=(tmp_path / "objects", stop))
        waiting.start()
        stop.set()
        waiting.join(10)
        assert not waiting.is_alive()


@contextlib.contextmanager
def held(path):
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _keep_putting(folder, began):
    store = Store(folder / "kedge.db")
    guest = Guest(folder / "objects", SystemClock(), Vault(KeyStore(store, MasterKey(MASTER))), durable=False)
    count = 0
    while True:
        put(guest, f"{os.getpid()}-{count}", b"%d" % count * 1000)
        count += 1
        began.set()


def test_guests_that_are_killed_leave_whole_objects_and_no_file(objects, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    for _ in range(3):
        began = spawn.Event()
        process = spawn.Process(target=_keep_putting, args=(tmp_path, began))
        process.start()
        assert began.wait(30)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            objects._sweep()
        os.kill(process.pid, signal.SIGKILL)
        process.join(10)
        process.close()
    keys = list(objects.list_keys("b"))
    assert len(keys) >= 3
    for key in keys:
        with objects.open("b", key) as body:
            assert body.read() == key.partition("-")[2].encode() * 1000
    objects._sweep()
    assert len([path for path in (tmp_path / "objects/bodies").rglob("*") if path.is_file()]) == len(keys)
