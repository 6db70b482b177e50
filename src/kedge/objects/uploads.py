"""Multipart uploads: parts that become one object without a byte of them being touched."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence

from kedge.clock import Clock
from kedge.objects import index, index_uploads, index_versions
from kedge.objects.bodies import Bodies, NewBody
from kedge.objects.errors import InvalidRequest, NoSuchUpload
from kedge.objects.index import Index
from kedge.objects.index_buckets import find_bucket
from kedge.objects.listing import Page, page, start_after
from kedge.objects.receiving import Body, Work, checksums_of, receiving
from kedge.objects.records import (
    BY_PLATFORM,
    Attributes,
    Bucket,
    BucketRef,
    Cause,
    Check,
    Encryption,
    ObjectInfo,
    Part,
    Piece,
    Upload,
)
from kedge.objects.vault import Sealing

Choose = Callable[[Upload, Sequence[Part]], tuple[Sequence[Part], Mapping[str, str]]]
Note = Callable[[sqlite3.Connection, Bucket, str, ObjectInfo, Cause], None]


class Uploads:
    """Reached as `Objects.uploads`, whose files and threads it shares. Plain methods block."""

    def __init__(self, its_index: Index, bodies: Bodies, work: Work, clock: Clock, note: Note) -> None:
        self._index = its_index
        self._bodies = bodies
        self._work = work
        self._clock = clock
        self._note = note

    def create(
        self, bucket: BucketRef, key: str, attributes: Attributes, algorithm: str, kind: str,
        encryption: Encryption | None = None,
    ) -> Upload:  # fmt: skip
        """Raises NoSuchBucket."""
        now = self._clock.now()
        name = bucket if isinstance(bucket, str) else bucket.name
        identity = f"{int(now.timestamp() * 1e6):014x}{secrets.token_hex(16)}"
        upload = Upload(identity, name, key, now, attributes, algorithm, kind, encryption)
        self._index.write(lambda db: index_uploads.add_upload(db, find_bucket(db, bucket), upload))
        return upload

    def get(self, bucket: BucketRef, key: str, upload: str) -> Upload:
        """Raises NoSuchBucket, NoSuchUpload."""
        with self._index.read() as db:
            return _upload(db, find_bucket(db, bucket), key, upload)

    def parts(self, upload: Upload, after: int = 0, limit: int = -1) -> list[Part]:
        """By number, from the first one > after; limit -1 means all."""
        with self._index.read() as db:
            return index_uploads.parts_of(db, upload.id, after, limit)

    def list_page(
        self, bucket: BucketRef, prefix: str, delimiter: str, after: tuple[str, str] | None, limit: int
    ) -> Page[Upload]:
        """after: (key, upload id): uploads of that key with a greater id come first; "" as the id: none of that key."""
        with self._index.read() as db:
            owner = find_bucket(db, bucket)
            key, upload = after or ("", "")
            start = start_after(prefix, delimiter, key if after else None)
            if upload and start == key.encode() + b"\0":
                start = key.encode()

            def scan(first: bytes) -> Iterator[Upload]:
                rows = index_uploads.scan_uploads(db, owner, first)
                return (row for row in rows if row.key != key or row.id > upload) if upload else rows

            return page(scan, start, prefix, delimiter, limit)

    async def put_part(self, upload: Upload, number: int, body: Body, data_key: bytes = b"") -> Part:
        """One put before under that number is replaced. It gets the checksum that the upload was begun with.

        Raises NoSuchUpload, StorageFull, EntityTooLarge; InvalidRequest when the client sent another checksum.

        data_key: that of the upload's encryption.
        """
        assert bool(data_key) == (upload.encryption is not None), "a part is encrypted as its upload says"
        sealing = None if upload.encryption is None else Sealing(upload.encryption, data_key)
        algorithm = upload.checksum_algorithm
        wanted = algorithm if algorithm != getattr(body, "algorithm", "") else ""
        async with receiving(self._bodies, self._work, body, sealing, wanted) as (new, rest):
            sent = checksums_of(body)
            if algorithm and sent and algorithm not in sent:
                raise InvalidRequest(
                    f"Checksum Type mismatch occurred, expected checksum Type: {algorithm.lower()}, "
                    f"actual checksum Type: {', '.join(sent).lower()}"
                )
            return await self._work.run(self._commit_part, new, rest, upload, number, sent)

    def _commit_part(
        self, new: NewBody, rest: Sequence[bytes], upload: Upload, number: int, checksums: Mapping[str, str]
    ) -> Part:
        with new.lock:
            new.write(rest)
            piece = new.seal()
            part = Part(number, piece.size, new.etag, self._clock.now(), {**checksums, **new.checksums}, piece.file)

            def put(db: sqlite3.Connection) -> list[str]:
                _upload(db, find_bucket(db, upload.bucket), upload.key, upload.id)
                index.name_files(db, [piece.file])
                return index_uploads.put_part(db, upload.id, part)

            replaced = self._index.write(put)
            new.keep()
        self._bodies.remove(replaced)
        return part

    def complete(
        self,
        bucket: BucketRef,
        key: str,
        upload_id: str,
        choose: Choose,
        check: Check | None = None,
        cause: Cause = BY_PLATFORM,
    ) -> ObjectInfo:
        """Make the parts an object.

        choose: given all parts, returns those of the object, in order, and its checksums; or raises. Completing again
        what made the present object answers as the first time. Raises NoSuchBucket, NoSuchUpload.
        """

        def make(db: sqlite3.Connection) -> tuple[ObjectInfo, list[str]]:
            owner = find_bucket(db, bucket)
            before = index_versions.version_at(db, owner, key)
            if before is not None and before.upload == upload_id:
                return before, []
            upload = _upload(db, owner, key, upload_id)
            if check is not None:
                check(before)
            parts, checksums = choose(upload, index_uploads.parts_of(db, upload.id))
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
                pieces=tuple(Piece(part.file, part.size, part.number, part.checksums) for part in parts),
                upload=upload.id,
                encryption=upload.encryption,
            )
            unused = index_uploads.remove_upload(db, owner, key, upload.id, [piece.file for piece in made.pieces])
            made, replaced = index_versions.put_version(db, owner, made)
            self._note(db, owner, "ObjectCreated:CompleteMultipartUpload", made, cause)
            return made, unused + replaced

        made, unused = self._index.write(make)
        self._bodies.remove(unused)
        return made

    def abort(self, bucket: BucketRef, key: str, upload_id: str) -> None:
        """Raises NoSuchBucket, NoSuchUpload."""

        def remove(db: sqlite3.Connection) -> list[str]:
            owner = find_bucket(db, bucket)
            _upload(db, owner, key, upload_id)
            return index_uploads.remove_upload(db, owner, key, upload_id)

        self._bodies.remove(self._index.write(remove))


def _upload(db: sqlite3.Connection, bucket: Bucket, key: str, upload: str) -> Upload:
    found = index_uploads.upload_at(db, bucket, key, upload)
    if found is None:
        raise NoSuchUpload(upload)
    return found
