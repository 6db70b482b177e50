"""The object store: buckets and objects in a folder.

    FOLDER/index.db     what there is (kedge.objects.index)
    FOLDER/bodies/      the bytes (kedge.objects.bodies)
    FOLDER/lock         held while the store is open: one process at a time

A put writes a file, makes it durable, and then names it in the index by one transaction: an object appears whole or not
at all, and survives kill -9 and power loss once it is acknowledged. What blocks runs in the store's own threads, so a
slow disk takes none of the control plane's; a body that arrives slowly holds no thread while it waits.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import io
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from kedge.clock import Clock, SystemClock
from kedge.objects import index
from kedge.objects.bodies import Bodies, BodyFile, NewBody, OpenBody, sync_folder
from kedge.objects.errors import BucketNotEmpty, EntityTooLarge, NoSuchBucket, NoSuchKey, NoSuchUpload, StorageFull
from kedge.objects.index import Index
from kedge.objects.listing import Page, page, start_after
from kedge.objects.records import CHECKSUMS, Attributes, Bucket, ListedObject, ObjectInfo, Part, Piece, Upload

log = logging.getLogger(__name__)

CHUNK_BYTES = 1024 * 1024
"""A body goes to and from the disk in pieces of about this size; at most three are in memory for one request."""
THREADS = 8
LARGEST_PUT_BYTES = 5 * 1024**3
"""Of one put or one part. Larger objects are made of parts."""
_LOCK_WAIT_S = 3.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Body = AsyncIterable[bytes] | bytes
BucketRef = Bucket | str
"""A name, or a bucket found before: then it has to be the same one still, or it is NoSuchBucket."""
Check = Callable[[ObjectInfo | None], None]
"""Given the object that is there now; raises what the client is to be answered when that may not be replaced."""
P = ParamSpec("P")
T = TypeVar("T")


class StoreInUse(Exception):
    """Another process has this object store open."""


class Objects:
    """Plain methods block (platform code calls them in its own thread); `async` ones are for the event loop."""

    def __init__(self, folder: Path, clock: Clock | None = None, *, durable: bool = True) -> None:
        """durable=False leaves out every fsync: for a store that goes with its process. Raises StoreInUse."""
        self._clock = clock or SystemClock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._held = _hold(folder / "lock")
        try:
            self._bodies = Bodies(folder / "bodies", durable=durable)
            self._index = Index(folder / "index.db", durable=durable)
            if durable:
                sync_folder(folder)
                sync_folder(folder.parent)
        except BaseException:
            os.close(self._held)
            raise
        self._threads = ThreadPoolExecutor(THREADS, "objects")
        self._closing = threading.Event()
        self._threads.submit(self._sweep)

    def close(self) -> None:
        """Waits for the steps under way. Nothing may be called after it."""
        self._closing.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._index.close()
        os.close(self._held)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking step in the store's threads. Cancelled: a step under way still ends, its result is dropped."""
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: _clean(function, *args, **kwargs)
        )

    def wipe(self) -> None:
        """Drop every bucket, object and upload at once. The disk's space comes free soon after."""
        with self._index.write() as db:
            files = index.clear(db)
        self._threads.submit(self._bodies.remove, files)

    # Buckets

    def create_bucket(self, name: str, account: str, region: str) -> bool:
        """Make it unless a bucket has that name, whosever it is. Returns whether it was made."""
        with self._index.write() as db:
            if index.bucket_named(db, name) is not None:
                return False
            index.add_bucket(db, name, account, region, self._clock.now())
            return True

    def bucket(self, name: str) -> Bucket:
        """Raises NoSuchBucket."""
        with self._index.read() as db:
            return _bucket(db, name)

    def buckets(self, account: str) -> list[Bucket]:
        """Those of an account, by name."""
        with self._index.read() as db:
            return index.buckets_of(db, account)

    def delete_bucket(self, bucket: BucketRef) -> None:
        """Uploads that nobody completed go with it. Raises BucketNotEmpty."""
        with self._index.write() as db:
            found = _bucket(db, bucket)
            if index.has_objects(db, found):
                raise BucketNotEmpty(f'The bucket "{found.name}" is not empty.', BucketName=found.name)
            files: list[str] = []
            for upload in list(index.scan_uploads(db, found, b"")):
                files += index.remove_upload(db, found, upload.key, upload.id)
            index.remove_bucket(db, found)
        self._bodies.remove(files)

    # Objects

    def head(self, bucket: BucketRef, key: str) -> ObjectInfo | None:
        """Raises NoSuchBucket."""
        with self._index.read() as db:
            return index.object_at(db, _bucket(db, bucket), key)

    def open(self, bucket: BucketRef, key: str) -> io.BufferedReader:
        """The body as a file object that can seek; it stays what it is until closed. Raises NoSuchBucket, NoSuchKey."""
        return io.BufferedReader(BodyFile(self.open_body(bucket, key)), CHUNK_BYTES)

    def open_body(self, bucket: BucketRef, key: str) -> OpenBody:
        """Close it, though one that is dropped closes itself. Raises NoSuchBucket, NoSuchKey."""
        found = self._bodies.open(lambda: self.head(bucket, key))
        if found is None:
            raise NoSuchKey(key)
        return found

    def put_bytes(self, bucket: BucketRef, key: str, data: bytes, attributes: Attributes | None = None) -> ObjectInfo:
        """Raises NoSuchBucket, StorageFull."""
        body = NewBody(self._bodies)
        try:
            return _clean(self._commit_object, body, [data], bucket, key, attributes or Attributes(), {}, None)
        finally:
            body.abandon()

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
            owner = _bucket(db, bucket)
            start = start_after(prefix, delimiter, after)
            return page(lambda first: index.scan_objects(db, owner, first), start, prefix, delimiter, limit)

    def delete(self, bucket: BucketRef, keys: Sequence[str], check: Check | None = None) -> None:
        """All of them by one transaction; a key without an object is no error. Raises NoSuchBucket."""
        with self._index.write() as db:
            owner = _bucket(db, bucket)
            files: list[str] = []
            for key in keys:
                if check is not None:
                    check(index.object_at(db, owner, key))
                files += index.remove_object(db, owner, key)
        self._bodies.remove(files)

    async def put(
        self,
        bucket: BucketRef,
        key: str,
        body: Body,
        attributes: Attributes,
        check: Check | None = None,
    ) -> ObjectInfo:
        """Store a body to its end. One that raises leaves nothing. `check` is asked when the body is there.

        Raises NoSuchBucket, StorageFull, EntityTooLarge.
        """
        async with self._receiving(body) as (new, rest):
            checksums = _checksums(body)
            return await self.run(self._commit_object, new, rest, bucket, key, attributes, checksums, check)

    def copy(
        self, source: OpenBody, bucket: BucketRef, key: str, attributes: Attributes | None, check: Check | None = None
    ) -> ObjectInfo:
        """Put the source's bytes under another key by linking its files, whatever the size.

        attributes: None keeps the source's. Raises NoSuchBucket, StorageFull.
        """
        files: list[str] = []
        try:
            for piece in source.info.pieces:
                files.append(self._bodies.link(piece.file))
            self._bodies.sync(files)
            with self._index.write() as db:
                owner = _bucket(db, bucket)
                if check is not None:
                    check(index.object_at(db, owner, key))
                pieces = tuple(Piece(file, piece.size) for file, piece in zip(files, source.info.pieces, strict=True))
                copied = replace(
                    source.info, bucket=owner.name, key=key, pieces=pieces, modified=self._clock.now(), upload=""
                )
                if attributes is not None:
                    copied = replace(copied, attributes=attributes)
                index.name_files(db, files)
                replaced = index.put_object(db, owner, copied)
        except BaseException:
            self._bodies.remove(files)
            raise
        self._bodies.settle(files)
        self._bodies.remove(replaced)
        return copied

    def stream(self, body: OpenBody, start: int, count: int) -> BodyReader:
        """`count` bytes of it from `start`, as they are asked for. The stream closes the body in the end."""
        return BodyReader(self, body, start, count)

    # Multipart uploads

    def create_upload(self, bucket: Bucket, key: str, attributes: Attributes, algorithm: str, kind: str) -> Upload:
        """Raises NoSuchBucket."""
        now = self._clock.now()
        upload = Upload(
            f"{int(now.timestamp() * 1e6):014x}{secrets.token_hex(16)}",
            bucket.name,
            key,
            now,
            attributes,
            algorithm,
            kind,
        )
        with self._index.write() as db:
            index.add_upload(db, _bucket(db, bucket), upload)
        return upload

    def upload(self, bucket: BucketRef, key: str, upload: str) -> Upload:
        """Raises NoSuchBucket, NoSuchUpload."""
        with self._index.read() as db:
            return _upload(db, _bucket(db, bucket), key, upload)

    def parts(self, upload: Upload, after: int = 0, limit: int = -1) -> list[Part]:
        """By number, from the first one > after; limit -1 means all."""
        with self._index.read() as db:
            return index.parts_of(db, upload.id, after, limit)

    def list_uploads(
        self, bucket: BucketRef, prefix: str, delimiter: str, after: tuple[str, str] | None, limit: int
    ) -> Page[Upload]:
        """after: (key, upload id): uploads of that key with a greater id come first; "" as the id: none of that key."""
        with self._index.read() as db:
            owner = _bucket(db, bucket)
            key, upload = after or ("", "")
            start = start_after(prefix, delimiter, key if after else None)
            if upload and start == key.encode() + b"\0":
                start = key.encode()

            def scan(first: bytes) -> Iterator[Upload]:
                rows = index.scan_uploads(db, owner, first)
                return (row for row in rows if row.key != key or row.id > upload) if upload else rows

            return page(scan, start, prefix, delimiter, limit)

    async def put_part(self, upload: Upload, number: int, body: Body) -> Part:
        """One put before under that number is replaced. Raises NoSuchUpload, StorageFull, EntityTooLarge."""
        async with self._receiving(body) as (new, rest):
            return await self.run(self._commit_part, new, rest, upload, number, _checksums(body))

    def complete(
        self,
        bucket: BucketRef,
        key: str,
        upload_id: str,
        choose: Callable[[Upload, Sequence[Part]], tuple[Sequence[Part], Mapping[str, str]]],
        check: Check | None = None,
    ) -> ObjectInfo:
        """Make the parts an object, without touching a byte of them.

        choose: given all parts, returns those of the object, in order, and its checksums; or raises. Completing again
        what made the present object answers as the first time. Raises NoSuchBucket, NoSuchUpload.
        """
        with self._index.write() as db:
            owner = _bucket(db, bucket)
            before = index.object_at(db, owner, key)
            if before is not None and before.upload == upload_id:
                return before
            upload = _upload(db, owner, key, upload_id)
            if check is not None:
                check(before)
            parts, checksums = choose(upload, index.parts_of(db, upload.id))
            digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
            made = ObjectInfo(
                bucket=owner.name,
                key=key,
                size=sum(part.size for part in parts),
                etag=f"{digest.hexdigest()}-{len(parts)}",
                modified=self._clock.now(),
                attributes=upload.attributes,
                checksums=checksums,
                checksum_type=upload.checksum_type if checksums else "",
                pieces=tuple(Piece(part.file, part.size) for part in parts),
                upload=upload.id,
            )
            unused = index.remove_upload(db, owner, key, upload.id, [piece.file for piece in made.pieces])
            unused += index.put_object(db, owner, made)
        self._bodies.remove(unused)
        return made

    def abort(self, bucket: BucketRef, key: str, upload_id: str) -> None:
        """Raises NoSuchBucket, NoSuchUpload."""
        with self._index.write() as db:
            owner = _bucket(db, bucket)
            _upload(db, owner, key, upload_id)
            files = index.remove_upload(db, owner, key, upload_id)
        self._bodies.remove(files)

    @asynccontextmanager
    async def _receiving(self, body: Body) -> AsyncIterator[tuple[NewBody, list[bytes]]]:
        """Write what arrives while more arrives. Yields the new body and its last bytes, not yet written."""
        new = NewBody(self._bodies)
        batch: list[bytes] = []
        size = whole = 0
        writing: asyncio.Future[None] | None = None
        try:
            if isinstance(body, bytes):
                batch.append(body)
            else:
                async for chunk in body:
                    batch.append(chunk)
                    size += len(chunk)
                    whole += len(chunk)
                    if whole > LARGEST_PUT_BYTES:
                        raise too_large(whole)
                    if size >= CHUNK_BYTES:
                        if writing is not None:
                            await writing
                        writing = asyncio.ensure_future(self.run(new.write, batch))
                        writing.add_done_callback(_look_at_error)
                        batch, size = [], 0
            if writing is not None:
                await writing
            yield new, batch
        except Exception:
            await self.run(new.abandon)
            raise
        except BaseException:  # cancelled: a thread may still write or commit, and abandoning waits for it
            self._threads.submit(new.abandon)
            raise

    def _commit_object(
        self,
        new: NewBody,
        rest: Sequence[bytes],
        bucket: BucketRef,
        key: str,
        attributes: Attributes,
        checksums: Mapping[str, str],
        check: Check | None,
    ) -> ObjectInfo:
        with new.lock:
            piece = _seal(new, rest)
            with self._index.write() as db:
                owner = _bucket(db, bucket)
                if check is not None:
                    check(index.object_at(db, owner, key))
                made = ObjectInfo(
                    bucket=owner.name,
                    key=key,
                    size=piece.size,
                    etag=new.md5.hex(),
                    modified=self._clock.now(),
                    attributes=attributes,
                    checksums=checksums,
                    checksum_type="FULL_OBJECT" if checksums else "",
                    pieces=(piece,),
                )
                index.name_files(db, [piece.file])
                replaced = index.put_object(db, owner, made)
            new.keep()
        self._bodies.remove(replaced)
        return made

    def _commit_part(
        self,
        new: NewBody,
        rest: Sequence[bytes],
        upload: Upload,
        number: int,
        checksums: Mapping[str, str],
    ) -> Part:
        with new.lock:
            piece = _seal(new, rest)
            with self._index.write() as db:
                _upload(db, _bucket(db, upload.bucket), upload.key, upload.id)
                part = Part(number, piece.size, new.md5.hex(), self._clock.now(), checksums, piece.file)
                index.name_files(db, [piece.file])
                replaced = index.put_part(db, upload.id, part)
            new.keep()
        self._bodies.remove(replaced)
        return part

    def _sweep(self) -> None:
        try:
            count = self._bodies.sweep(self._files_starting, self._closing)
        except Exception:
            log.exception("the sweep of files that belong to no object failed; the next start tries again")
            return
        if count:
            log.info("removed %d files that belonged to no object", count)

    def _files_starting(self, prefix: str) -> set[str]:
        with self._index.read() as db:
            return index.files_starting(db, prefix)


class BodyReader:
    """Bytes of an open body for the event loop. It closes the body at the end; `aclose` does it before."""

    def __init__(self, objects: Objects, body: OpenBody, start: int, count: int) -> None:
        self._objects = objects
        self._body = body
        self._at = start
        self._left = count

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._left == 0:
            await self.aclose()
            raise StopAsyncIteration
        data = await self._objects.run(self._body.read_at, self._at, min(CHUNK_BYTES, self._left))
        self._at += len(data)
        self._left -= len(data)
        return data

    async def aclose(self) -> None:
        """May be called at any time and more than once. Waits for a read that is under way."""
        self._left = 0
        await self._objects.run(self._body.close)


def _bucket(db: sqlite3.Connection, bucket: BucketRef) -> Bucket:
    name = bucket if isinstance(bucket, str) else bucket.name
    found = index.bucket_named(db, name)
    if found is None or (isinstance(bucket, Bucket) and found.id != bucket.id):
        raise NoSuchBucket(name)
    return found


def _upload(db: sqlite3.Connection, bucket: Bucket, key: str, upload: str) -> Upload:
    found = index.upload_at(db, bucket, key, upload)
    if found is None:
        raise NoSuchUpload(upload)
    return found


def _seal(new: NewBody, rest: Sequence[bytes]) -> Piece:
    new.write(rest)
    return new.seal()


def _checksums(body: Body) -> dict[str, str]:
    """What the stream has verified. It knows at its end."""
    found: Mapping[str, str] = getattr(body, "checksums", {})
    return {name: value for name, value in found.items() if name in CHECKSUMS}


def too_large(size: int) -> EntityTooLarge:
    return EntityTooLarge(
        f"The body has at least {size} bytes; at most {LARGEST_PUT_BYTES} are taken at once. Upload it in parts.",
        ProposedSize=size,
        MaxSizeAllowed=LARGEST_PUT_BYTES,
    )


def _clean(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    except (OSError, sqlite3.OperationalError) as error:
        full = error.errno in _FULL if isinstance(error, OSError) else error.sqlite_errorcode == sqlite3.SQLITE_FULL
        if not full:
            raise
        raise StorageFull(
            "The disk of the object store is full; nothing of this request was stored. Free space, then try again."
        ) from error


def _look_at_error(writing: asyncio.Future[None]) -> None:
    """So that a write nobody waits for any more, because the body itself failed, is not reported as forgotten."""
    if not writing.cancelled():
        writing.exception()


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
