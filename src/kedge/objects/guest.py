"""Putting objects from another process than the one that has the store open: data capture does, also without control.

The index takes changes of several processes. What it cannot see is a file that is being written and not named yet:
a sweep of the store would take it for one that a crash left. So a guest holds a shared lock on FOLDER/guests for as
long as it puts something, which the kernel releases when it dies, and a sweep waits for those that it finds. Meanwhile
it holds FOLDER/guests-gate, through which every guest goes, or one that puts without a pause would keep it waiting.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kedge.clock import Clock
from kedge.errors import AccessDenied
from kedge.objects import encryption, index, index_versions
from kedge.objects.bodies import Bodies, NewBody
from kedge.objects.encryption import Wanted
from kedge.objects.events import Events
from kedge.objects.index import Index
from kedge.objects.index_buckets import find_bucket
from kedge.objects.receiving import saying_full
from kedge.objects.records import BY_PLATFORM, KMS, Attributes, ObjectInfo
from kedge.objects.vault import Vault

_LOCK, _GATE = "guests", "guests-gate"
_POLL_S = 0.002


class Guest:
    """Every method blocks, and may be called from any thread."""

    def __init__(self, folder: Path, clock: Clock, vault: Vault, *, durable: bool) -> None:
        """Raises IndexRefused while there is no store of this release."""
        self._folder, self._clock, self._vault = folder, clock, vault
        self._index = Index(folder / "index.db", durable=durable, guest=True)
        self._bodies = Bodies(folder / "bodies", durable=durable)
        self._events = Events(self._index, clock)

    def close(self) -> None:
        self._bodies.close()
        self._index.close()

    def put_once(self, account: str, bucket: str, key: str, data: bytes, attributes: Attributes, kms_key: str) -> bool:
        """Put it unless the key shows an object already. Returns whether it was put.

        account: who asks; a bucket of another one is not written. kms_key: "" is the bucket's default.
        Raises NoSuchBucket, AccessDenied, kedge.kms.errors, StorageFull, OSError, sqlite3.Error.
        """
        return saying_full(self._put_once, account, bucket, key, data, attributes, kms_key)

    def _put_once(self, account: str, bucket: str, key: str, data: bytes, attributes: Attributes, kms_key: str) -> bool:
        with _shared(self._folder):
            with self._index.read() as db:
                owner = find_bucket(db, bucket)
                there = index_versions.version_at(db, owner, key) is not None
            if owner.account != account:
                raise AccessDenied(f'Access Denied: the bucket "{bucket}" belongs to another account.')
            if there:
                return False
            wanted = Wanted(KMS, kms_key) if kms_key else encryption.wanted({}, encryption.from_json(owner.encryption))
            new = NewBody(self._bodies, self._vault.new(wanted, owner, key, self._clock.now()))
            try:
                new.write([data])
                piece = new.seal()
                made = ObjectInfo(
                    bucket, key, piece.size, new.etag, self._clock.now(), attributes, {}, "", (piece,),
                    encryption=new.encryption,
                )  # fmt: skip
                if not self._index.write(lambda db: self._add(db, made)):
                    return False
                new.keep()
            finally:
                new.abandon()
        return True

    def _add(self, db: sqlite3.Connection, made: ObjectInfo) -> bool:
        owner = find_bucket(db, made.bucket)
        if index_versions.version_at(db, owner, made.key) is not None:
            return False
        index.name_files(db, [piece.file for piece in made.pieces])
        added, _ = index_versions.put_version(db, owner, made)
        self._events.note(db, owner, "ObjectCreated:Put", added, BY_PLATFORM)
        return True


@contextmanager
def _shared(folder: Path) -> Iterator[None]:
    with _opened(folder / _LOCK) as held:
        with _opened(folder / _GATE) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
            fcntl.flock(held, fcntl.LOCK_SH)
        yield


def wait_for_guests(folder: Path, stop: threading.Event) -> None:
    """Until every put that a guest had begun is over; or `stop`."""
    with _opened(folder / _GATE) as gate, _opened(folder / _LOCK) as held:
        if _locked(gate, stop):
            _locked(held, stop)


def _locked(held: int, stop: threading.Event) -> bool:
    """Whether it is held alone now; not when it was to stop."""
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if stop.wait(_POLL_S):
                return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Closing it gives up its lock."""
    held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield held
    finally:
        os.close(held)
