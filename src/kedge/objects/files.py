"""The object store: buckets and objects in a folder.

    FOLDER/index.db     what there is (kedge.objects.index)
    FOLDER/bodies/      the bytes (kedge.objects.bodies)
    FOLDER/lock         held while the store is open: one process at a time
    FOLDER/guests       held by who puts something from another process (kedge.objects.guest)
    FOLDER/guests-gate  held for as long as a sweep waits for those

A put writes a file, makes it durable, and then names it in the index by one transaction: an object appears whole or not
at all, and survives kill -9 and power loss once it is acknowledged. What blocks runs in the store's own threads, so a
slow disk takes none of the control plane's; a body that arrives slowly holds no thread while it waits.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from kedge.clock import Clock, SystemClock
from kedge.errors import AccessDenied
from kedge.home import sync
from kedge.kms.errors import KeyUnavailable
from kedge.objects import encryption, index, index_buckets, index_uploads, index_versions
from kedge.objects.bodies import Bodies, BodyFile, NewBody, OpenBody
from kedge.objects.deletions import Deletions
from kedge.objects.encryption import CustomerKey, Wanted
from kedge.objects.errors import BucketNotEmpty, InvalidRequest, NotImplementedHere
from kedge.objects.events import Events
from kedge.objects.guest import wait_for_guests
from kedge.objects.index import Index
from kedge.objects.index_buckets import find_bucket
from kedge.objects.index_versions import find_version
from kedge.objects.listing import Page, page, start_after
from kedge.objects.receiving import CHUNK_BYTES, Body, BodyReader, Work, checksums_of, receiving
from kedge.objects.records import (
    BY_PLATFORM,
    Attributes,
    Bucket,
    BucketRef,
    Cause,
    Check,
    Encryption,
    ListedObject,
    ListedVersion,
    ObjectInfo,
    Piece,
    Upload,
)
from kedge.objects.uploads import Uploads
from kedge.objects.vault import Sealing, Vault, encryption_of

log = logging.getLogger(__name__)

THREADS = 16
"""A put waits for the disk most of its time, and those that wait together share one flush."""
_LOCK_WAIT_S = 3.0

Change = Callable[[ObjectInfo], Attributes]
"""Given a version; returns its new tags and ACL, or raises."""
P = ParamSpec("P")
T = TypeVar("T")


class StoreInUse(Exception):
    """Another process has this object store open."""


class Objects:
    """Plain methods block (platform code calls them in its own thread); `async` ones are for the event loop."""

    def __init__(
        self, folder: Path, clock: Clock | None = None, *, durable: bool = True, vault: Vault | None = None
    ) -> None:
        """vault: encrypts every body; without one bodies lie as they are, and who asks for more is refused.

        durable=False leaves out every fsync: for a store that goes with its process. Raises StoreInUse.
        """
        self._folder = folder
        self._clock = clock or SystemClock()
        self._vault = vault
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = _hold(folder / "lock")
        try:
            self._bodies = Bodies(folder / "bodies", durable=durable)
            self._index = Index(folder / "index.db", durable=durable, committed=lambda: self.events.committed())
            if durable:
                sync(folder)
                sync(folder.parent)
        except BaseException:
            os.close(self._held)
            raise
        self._work = Work(THREADS)
        self.events = Events(self._index, self._clock)
        self.uploads = Uploads(self._index, self._bodies, self._work, self._clock, self.events.note)
        self.deletions = Deletions(self._index, self._bodies, self._clock, self.events.note)
        self._closing = threading.Event()
        self._work.submit(self._sweep)

    def close(self) -> None:
        """Waits for the steps under way. Nothing may be called after it."""
        self._closing.set()
        self._work.close()
        self._bodies.close()
        self._index.close()
        os.close(self._held)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking step in the store's threads. Cancelled: a step under way still ends, its result is dropped."""
        return await self._work.run(function, *args, **kwargs)

    def wipe(self) -> None:
        """Drop every bucket, object and upload at once. The disk's space comes free soon after."""
        self._work.submit(self._bodies.remove, self._index.write(index.clear))

    # Buckets

    def create_bucket(self, name: str, account: str, region: str) -> bool:
        """Make it unless a bucket has that name, whosever it is. Returns whether it was made."""

        def create(db: sqlite3.Connection) -> bool:
            if index_buckets.bucket_named(db, name) is not None:
                return False
            index_buckets.add_bucket(db, name, account, region, self._clock.now())
            return True

        return self._index.write(create)

    def bucket(self, name: str) -> Bucket:
        """Raises NoSuchBucket."""
        with self._index.read() as db:
            return find_bucket(db, name)

    def buckets(self, account: str | None) -> list[Bucket]:
        """Those of an account, or of all for None, by name."""
        with self._index.read() as db:
            return index_buckets.buckets_of(db, account)

    def set_versioning(self, bucket: BucketRef, status: str) -> None:
        """status: Enabled or Suspended. What is put from now on obeys it. Raises NoSuchBucket."""
        self._index.write(lambda db: index_buckets.set_versioning(db, find_bucket(db, bucket), status))

    def set_notifications(self, bucket: BucketRef, configuration: str) -> None:
        """configuration: checked, as JSON. Raises NoSuchBucket."""
        self._index.write(lambda db: index_buckets.set_notifications(db, find_bucket(db, bucket), configuration))

    def set_encryption(self, bucket: BucketRef, default: str) -> None:
        """default: Bucket.encryption, for what is put from now on. Raises NoSuchBucket."""
        self._index.write(lambda db: index_buckets.set_encryption(db, find_bucket(db, bucket), default))

    def delete_bucket(self, bucket: BucketRef) -> None:
        """Uploads that nobody completed go with it. Raises BucketNotEmpty."""

        def delete(db: sqlite3.Connection) -> list[str]:
            found = find_bucket(db, bucket)
            if not index_buckets.is_empty(db, found):
                raise BucketNotEmpty(
                    f'The bucket "{found.name}" you tried to delete is not empty.'
                    + (" You must delete all versions in the bucket." if found.versioning else ""),
                    BucketName=found.name,
                )
            files: list[str] = []
            for upload in list(index_uploads.scan_uploads(db, found, b"")):
                files += index_uploads.remove_upload(db, found, upload.key, upload.id)
            index_buckets.remove_bucket(db, found)
            return files

        self._bodies.remove(self._index.write(delete))

    # Reading

    def head(self, bucket: BucketRef, key: str) -> ObjectInfo | None:
        """What the key shows now. Raises NoSuchBucket."""
        with self._index.read() as db:
            return index_versions.version_at(db, find_bucket(db, bucket), key)

    def version(self, bucket: BucketRef, key: str, version: str | None = None) -> ObjectInfo:
        """What the key shows, or one version of it, with a body. Raises NoSuchKey, NoSuchVersion, MethodNotAllowed."""
        with self._index.read() as db:
            return find_version(db, find_bucket(db, bucket), key, version)

    def open(self, bucket: BucketRef, key: str) -> io.BufferedReader:
        """The body as a file object that can seek; it stays what it is until closed. Raises NoSuchBucket, NoSuchKey."""
        return io.BufferedReader(BodyFile(self.open_body(bucket, key)), CHUNK_BYTES)

    def open_body(
        self, bucket: BucketRef, key: str, version: str | None = None, customer: CustomerKey | None = None
    ) -> OpenBody:
        """Close it, though one that is dropped closes itself. Raises as `version` and `check_key` do."""
        body = self._bodies.open(lambda: self.version(bucket, key, version))
        try:
            encryption.check_reading(body.info.encryption, customer)
            if body.info.encryption is not None:
                body.data_key = self._data_key(body.info, body.info.encryption, customer)
        except BaseException:
            body.close()
            raise
        return body

    @property
    def encrypts(self) -> bool:
        return self._vault is not None

    def check_key(self, info: ObjectInfo, customer: CustomerKey | None) -> None:
        """Whether the customer's key, if it takes one, is that of the body. Raises InvalidRequest, AccessDenied."""
        encryption.check_reading(info.encryption, customer)
        if info.encryption is not None and customer is not None:
            self._data_key(info, info.encryption, customer)

    def seal(self, bucket: BucketRef, key: str, wanted: Wanted | None = None, data_key: bytes = b"") -> Sealing | None:
        """What a new body is to be written with; None: as it is. wanted: None asks for the bucket's default.

        data_key: of bytes that are there already. Raises NoSuchBucket, kedge.kms.errors, NotImplementedHere.
        """
        owner = self.bucket(bucket) if isinstance(bucket, str) else bucket
        if wanted is None:
            wanted = encryption.wanted({}, encryption.from_json(owner.encryption))
        if self._vault is not None:
            return self._vault.new(wanted, owner, key, self._clock.now(), data_key)
        if wanted.algorithm:
            raise NotImplementedHere(f"This object store has no keys to encrypt with: {wanted.algorithm}.")
        return None

    def part_key(self, upload: Upload, customer: CustomerKey | None) -> bytes:
        """The data key of an upload's parts. Raises InvalidRequest, kedge.kms.errors."""
        encryption.check_part(upload.encryption, customer)
        if upload.encryption is None:
            return b""
        try:
            return self._data_key(upload, upload.encryption, customer)
        except AccessDenied:
            raise InvalidRequest("The provided encryption parameters did not match the ones used originally.") from None

    def _data_key(self, of: ObjectInfo | Upload, sealed: Encryption, customer: CustomerKey | None) -> bytes:
        if self._vault is None:
            raise KeyUnavailable(f"This object store has no keys to open {of.bucket}/{of.key} with.")
        return self._vault.open(sealed, of.bucket, of.key, customer)

    def stream(self, body: OpenBody, start: int, count: int) -> BodyReader:
        """`count` bytes of it from `start`, as they are asked for. The stream closes the body in the end."""
        return BodyReader(self._work, body, start, count)

    def list_keys(self, bucket: BucketRef, prefix: str = "") -> Iterator[str]:
        """Every key that starts with the prefix, in order; those put or deleted meanwhile may be missed."""
        after: str | None = None
        while True:
            found = self.list_page(bucket, prefix, "", after, 1000)
            yield from (row.key for row in found.rows)
            if not found.truncated:
                return
            after = found.last

    def list_page(
        self, bucket: BucketRef, prefix: str, delimiter: str, after: str | None, limit: int
    ) -> Page[ListedObject]:
        """Raises NoSuchBucket."""
        with self._index.read() as db:
            owner = find_bucket(db, bucket)
            start = start_after(prefix, delimiter, after)
            return page(lambda first: index_versions.scan_objects(db, owner, first), start, prefix, delimiter, limit)

    def list_versions(
        self, bucket: BucketRef, prefix: str, delimiter: str, after: tuple[str, str] | None, limit: int
    ) -> Page[ListedVersion]:
        """after: (key, version): older versions of that key come first; "" as the version: none of that key."""
        with self._index.read() as db:
            owner = find_bucket(db, bucket)
            key, version = after or ("", "")
            start = start_after(prefix, delimiter, key if after else None)
            behind: tuple[str, int] | None = None
            if version and start == key.encode() + b"\0":
                sequence = index_versions.sequence_of(version)
                if sequence is None and (found := index_versions.version_at(db, owner, key, version)) is not None:
                    sequence = found.sequence
                if sequence is not None:
                    start, behind = key.encode(), (key, sequence)

            def scan(first: bytes) -> Iterator[ListedVersion]:
                here = behind if first == key.encode() else None
                return index_versions.scan_versions(db, owner, first, here)

            return page(scan, start, prefix, delimiter, limit)

    # Changing

    async def put(
        self,
        bucket: BucketRef,
        key: str,
        body: Body,
        attributes: Attributes,
        check: Check | None = None,
        cause: Cause = BY_PLATFORM,
        sealing: Sealing | None = None,
    ) -> ObjectInfo:
        """Store a body to its end. One that raises leaves nothing. `check` is asked when the body is there.

        sealing: what `seal` gave for this bucket and key; None is the bucket's default.
        Raises NoSuchBucket, StorageFull, EntityTooLarge.
        """
        if sealing is None:
            sealing = await self.run(self.seal, bucket, key)
        async with receiving(self._bodies, self._work, body, sealing) as (new, rest):
            return await self.run(self._commit, new, rest, bucket, key, attributes, checksums_of(body), check, cause)

    def _commit(
        self,
        new: NewBody,
        rest: Sequence[bytes],
        bucket: BucketRef,
        key: str,
        attributes: Attributes,
        checksums: Mapping[str, str],
        check: Check | None,
        cause: Cause,
    ) -> ObjectInfo:
        with new.lock:
            new.write(rest)
            piece = new.seal()
            kind = "FULL_OBJECT" if checksums else ""
            name = bucket if isinstance(bucket, str) else bucket.name
            now, etag = self._clock.now(), new.etag
            new_one = ObjectInfo(name, key, piece.size, etag, now, attributes, checksums, kind, (piece,))
            new_one = replace(new_one, encryption=new.encryption)
            action = "ObjectCreated:Post" if cause.name == "POST Object" else "ObjectCreated:Put"
            made, replaced = self._index.write(lambda db: self._add(db, bucket, new_one, check, action, cause))
            new.keep()
        self._bodies.remove(replaced)
        return made

    def copy(
        self,
        source: OpenBody,
        bucket: BucketRef,
        key: str,
        attributes: Attributes,
        check: Check | None = None,
        *,
        checksums: Mapping[str, str] | None = None,
        cause: Cause = BY_PLATFORM,
        sealing: Sealing | None = None,
    ) -> ObjectInfo:
        """Put the source's bytes under another key: by linking its files, whatever the size, where that can be.

        They are written anew when the copy's encryption is of another kind, whose ETag is another.
        checksums: None keeps the source's. sealing: what `seal` gave for this bucket and key, and for the source's data
        key; None is the bucket's default. Raises NoSuchBucket, StorageFull.
        """
        files: list[str] = []
        try:
            if sealing is None:
                sealing = self.seal(bucket, key, data_key=source.data_key)
            name = bucket if isinstance(bucket, str) else bucket.name
            made = replace(
                source.info, bucket=name, key=key, modified=self._clock.now(), upload="", attributes=attributes,
                encryption=encryption_of(sealing),
            )  # fmt: skip
            if _alike(source.info.encryption, sealing):
                for piece in source.info.pieces:
                    files.append(self._bodies.link(piece.file))
                self._bodies.sync(files)
                pieces = tuple(replace(piece, file=file) for file, piece in zip(files, source.info.pieces, strict=True))
                made = replace(made, pieces=pieces)
            else:
                piece, etag = self._rewritten(source, sealing)
                files.append(piece.file)
                made = replace(made, pieces=(piece,), etag=etag)
            if checksums is not None:
                made = replace(made, checksums=checksums, checksum_type="FULL_OBJECT" if checksums else "")
            copied, replaced = self._index.write(
                lambda db: self._add(db, bucket, made, check, "ObjectCreated:Copy", cause)
            )
        except BaseException:
            self._bodies.remove(files)
            raise
        self._bodies.settle(files)
        self._bodies.remove(replaced)
        return copied

    def _rewritten(self, source: OpenBody, sealing: Sealing | None) -> tuple[Piece, str]:
        """A new file with the source's bytes, and its ETag. The file is the caller's."""
        new, at = NewBody(self._bodies, sealing), 0
        try:
            while at < source.info.size:
                data = source.read_at(at, CHUNK_BYTES)
                new.write([data])
                at += len(data)
            return new.seal(), new.etag
        except BaseException:
            new.abandon()
            raise

    def _add(
        self,
        db: sqlite3.Connection,
        bucket: BucketRef,
        made: ObjectInfo,
        check: Check | None,
        action: str,
        cause: Cause,
    ) -> tuple[ObjectInfo, list[str]]:
        owner = find_bucket(db, bucket)
        if check is not None:
            check(index_versions.version_at(db, owner, made.key))
        index.name_files(db, [piece.file for piece in made.pieces])
        made, replaced = index_versions.put_version(db, owner, made)
        self.events.note(db, owner, action, made, cause)
        return made, replaced

    def change_attributes(
        self, bucket: BucketRef, key: str, version: str | None, change: Change, event: str, cause: Cause
    ) -> ObjectInfo:
        """Tags or ACL of a version that is there. event: its name, "" for none. Raises as `version` does."""

        def apply(db: sqlite3.Connection) -> ObjectInfo:
            owner = find_bucket(db, bucket)
            found = find_version(db, owner, key, version)
            changed = replace(found, attributes=change(found))
            index_versions.set_attributes(db, owner, changed)
            if event:
                self.events.note(db, owner, event, changed, cause)
            return changed

        return self._index.write(apply)

    def _sweep(self) -> None:
        try:
            count = self._bodies.sweep(self._files_starting, self._closing)
        except Exception:
            log.exception("the sweep of files that belong to no object failed; the next start tries again")
            return
        if count:
            log.info("removed %d files that belonged to no object", count)

    def _files_starting(self, prefix: str) -> set[str]:
        wait_for_guests(self._folder, self._closing)
        with self._index.read() as db:
            return index.files_starting(db, prefix)


def _alike(source: Encryption | None, copy: Sealing | None) -> bool:
    """Whether a copy can share the bytes of its source, and its ETag."""
    if source is None or copy is None:
        return source is None and copy is None
    return source.md5_is_etag == copy.encryption.md5_is_etag


def _hold(path: Path) -> int:
    """Lock the store for this process. One that was just killed may hold it for a moment yet."""
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return held
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(held)
                raise StoreInUse(f"Another process has the object store {path.parent} open.") from None
            time.sleep(0.05)
