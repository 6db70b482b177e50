"""Rows of the index: multipart uploads under way, and their parts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from kedge.objects import encryption
from kedge.objects.index import as_number, as_time, forget_files
from kedge.objects.records import Attributes, Bucket, Part, Upload

_UPLOAD = "key, id, started, attributes, checksum_algorithm, checksum_type"
_PART = "number, size, etag, modified, checksums, file"


def add_upload(db: sqlite3.Connection, bucket: Bucket, upload: Upload) -> None:
    said = upload.attributes
    db.execute(
        f"INSERT INTO upload (bucket, {_UPLOAD}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            bucket.id,
            upload.key.encode(),
            upload.id,
            as_number(upload.started),
            json.dumps(
                [
                    *(dict(said.headers), dict(said.metadata), said.storage_class, said.acl, dict(said.tags)),
                    encryption.packed(upload.encryption),
                ]
            ),
            upload.checksum_algorithm,
            upload.checksum_type,
        ),
    )


def upload_at(db: sqlite3.Connection, bucket: Bucket, key: str, upload: str) -> Upload | None:
    row = db.execute(
        f"SELECT {_UPLOAD} FROM upload WHERE bucket = ? AND key = ? AND id = ?",  # noqa: S608
        (bucket.id, key.encode(), upload),
    ).fetchone()
    return None if row is None else _upload(bucket, row)


def scan_uploads(db: sqlite3.Connection, bucket: Bucket, start: bytes) -> Iterator[Upload]:
    """By key, and by the time of its start for one key."""
    for row in db.execute(
        f"SELECT {_UPLOAD} FROM upload WHERE bucket = ? AND key >= ? ORDER BY key, id",  # noqa: S608
        (bucket.id, start),
    ):
        yield _upload(bucket, row)


def remove_upload(db: sqlite3.Connection, bucket: Bucket, key: str, upload: str, keep: Iterable[str] = ()) -> list[str]:
    """Remove it with its parts. Returns the files of the parts, those to keep excepted."""
    kept = set(keep)
    files = [file for (file,) in db.execute("SELECT file FROM part WHERE upload = ?", (upload,)) if file not in kept]
    db.execute("DELETE FROM part WHERE upload = ?", (upload,))
    db.execute("DELETE FROM upload WHERE bucket = ? AND key = ? AND id = ?", (bucket.id, key.encode(), upload))
    return forget_files(db, files)


def put_part(db: sqlite3.Connection, upload: str, part: Part) -> list[str]:
    """Returns the file of the part that it replaces."""
    before = db.execute("SELECT file FROM part WHERE upload = ? AND number = ?", (upload, part.number)).fetchall()
    db.execute(
        f"INSERT OR REPLACE INTO part (upload, {_PART}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            upload,
            part.number,
            part.size,
            part.etag,
            as_number(part.modified),
            json.dumps(dict(part.checksums)),
            part.file,
        ),
    )
    return forget_files(db, [file for (file,) in before])


def parts_of(db: sqlite3.Connection, upload: str, after: int = 0, limit: int = -1) -> list[Part]:
    """By number, those with a number > after."""
    rows = db.execute(
        f"SELECT {_PART} FROM part WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",  # noqa: S608
        (upload, after, limit),
    )
    return [Part(row[0], row[1], row[2], as_time(row[3]), json.loads(row[4]), row[5]) for row in rows]


def _upload(bucket: Bucket, row: tuple[Any, ...]) -> Upload:
    headers, metadata, *more = json.loads(row[3])
    attributes = Attributes(headers, metadata, *more[:3])
    sealed = encryption.unpacked(more[3] if len(more) > 3 else None)
    return Upload(row[1], bucket.name, row[0].decode(), as_time(row[2]), attributes, row[4], row[5], sealed)
