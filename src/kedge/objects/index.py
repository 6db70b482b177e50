"""The index of the object store: which buckets, objects, uploads and parts there are, and which files hold them.

One SQLite file. A key is a BLOB: SQLite orders those by their bytes, and any key is kept exactly. What the index does
not name does not exist, so a body becomes visible, whole, by one transaction. Times are microseconds since 1970.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kedge.objects.records import Attributes, Bucket, ListedObject, ObjectInfo, Part, Piece, Upload

FORMAT = 1
"""Kept in SQLite's user_version."""

_SCHEMA = """
CREATE TABLE bucket (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, account TEXT NOT NULL, region TEXT NOT NULL,
    created INTEGER NOT NULL);
CREATE TABLE object (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL,
    checksums TEXT NOT NULL, checksum_type TEXT NOT NULL, upload TEXT NOT NULL, attributes TEXT NOT NULL,
    pieces TEXT NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE upload (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, id TEXT NOT NULL, started INTEGER NOT NULL, attributes TEXT NOT NULL,
    checksum_algorithm TEXT NOT NULL, checksum_type TEXT NOT NULL, PRIMARY KEY (bucket, key, id)) WITHOUT ROWID;
CREATE TABLE part (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL,
    checksums TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (upload, number)) WITHOUT ROWID;
CREATE TABLE body (file TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_OBJECT = "key, size, etag, modified, checksums, checksum_type, upload, attributes, pieces"
_UPLOAD = "key, id, started, attributes, checksum_algorithm, checksum_type"
_PART = "number, size, etag, modified, checksums, file"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class IndexRefused(Exception):
    """The index cannot be used; the message says why."""


class Index:
    """Connections: one that writes, and as many idle ones that read as threads have read at once."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._writer = self._connect()
        try:
            (found,) = self._writer.execute("PRAGMA user_version").fetchone()
            if found > FORMAT:
                raise IndexRefused(f"The object index has format {found}; this release reads up to {FORMAT}.")
            if found == 0:
                self._writer.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {FORMAT};COMMIT;")
        except BaseException:
            self._writer.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed, and on the disk, when the block ends; nothing of it when the block raises."""
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with self._writing:
            while self._idle:
                self._idle.pop().close()
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
        connection.execute("PRAGMA cache_size = -16000")  # KiB
        return connection


def bucket_named(db: sqlite3.Connection, name: str) -> Bucket | None:
    row = db.execute("SELECT id, name, account, region, created FROM bucket WHERE name = ?", (name,)).fetchone()
    return None if row is None else Bucket(row[0], row[1], row[2], row[3], _time(row[4]))


def buckets_of(db: sqlite3.Connection, account: str) -> list[Bucket]:
    """By name."""
    rows = db.execute(
        "SELECT id, name, account, region, created FROM bucket WHERE account = ? ORDER BY name", (account,)
    )
    return [Bucket(row[0], row[1], row[2], row[3], _time(row[4])) for row in rows]


def add_bucket(db: sqlite3.Connection, name: str, account: str, region: str, created: datetime) -> None:
    db.execute(
        "INSERT INTO bucket (name, account, region, created) VALUES (?, ?, ?, ?)",
        (name, account, region, _number(created)),
    )


def remove_bucket(db: sqlite3.Connection, bucket: Bucket) -> None:
    db.execute("DELETE FROM bucket WHERE id = ?", (bucket.id,))


def has_objects(db: sqlite3.Connection, bucket: Bucket) -> bool:
    return db.execute("SELECT 1 FROM object WHERE bucket = ? LIMIT 1", (bucket.id,)).fetchone() is not None


def object_at(db: sqlite3.Connection, bucket: Bucket, key: str) -> ObjectInfo | None:
    row = db.execute(f"SELECT {_OBJECT} FROM object WHERE bucket = ? AND key = ?", (bucket.id, key.encode())).fetchone()  # noqa: S608
    if row is None:
        return None
    return ObjectInfo(
        bucket=bucket.name,
        key=key,
        size=row[1],
        etag=row[2],
        modified=_time(row[3]),
        checksums=json.loads(row[4]),
        checksum_type=row[5],
        upload=row[6],
        attributes=_attributes(row[7]),
        pieces=tuple(Piece(file, size) for file, size in json.loads(row[8])),
    )


def put_object(db: sqlite3.Connection, bucket: Bucket, info: ObjectInfo) -> list[str]:
    """Make it the object at its key. Returns the files of the one that it replaces."""
    before = remove_object(db, bucket, info.key)
    db.execute(
        f"INSERT INTO object (bucket, {_OBJECT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            bucket.id,
            info.key.encode(),
            info.size,
            info.etag,
            _number(info.modified),
            json.dumps(dict(info.checksums)),
            info.checksum_type,
            info.upload,
            json.dumps([dict(info.attributes.headers), dict(info.attributes.metadata)]),
            json.dumps([(piece.file, piece.size) for piece in info.pieces]),
        ),
    )
    return before


def remove_object(db: sqlite3.Connection, bucket: Bucket, key: str) -> list[str]:
    """Returns its files; none when there was no object."""
    where = (bucket.id, key.encode())
    row = db.execute("SELECT pieces FROM object WHERE bucket = ? AND key = ?", where).fetchone()
    if row is None:
        return []
    db.execute("DELETE FROM object WHERE bucket = ? AND key = ?", where)
    return _forget_files(db, [file for file, _ in json.loads(row[0])])


def scan_objects(db: sqlite3.Connection, bucket: Bucket, start: bytes) -> Iterator[ListedObject]:
    """In the order of the keys, from the first one >= start. Rows are read as they are asked for."""
    for key, size, etag, modified, checksums, kind in db.execute(
        "SELECT key, size, etag, modified, checksums, checksum_type FROM object"
        " WHERE bucket = ? AND key >= ? ORDER BY key",
        (bucket.id, start),
    ):
        algorithms = tuple(json.loads(checksums)) if kind else ()
        yield ListedObject(key.decode(), size, etag, _time(modified), algorithms, kind)


def add_upload(db: sqlite3.Connection, bucket: Bucket, upload: Upload) -> None:
    db.execute(
        f"INSERT INTO upload (bucket, {_UPLOAD}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            bucket.id,
            upload.key.encode(),
            upload.id,
            _number(upload.started),
            json.dumps([dict(upload.attributes.headers), dict(upload.attributes.metadata)]),
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
    return _forget_files(db, files)


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
            _number(part.modified),
            json.dumps(dict(part.checksums)),
            part.file,
        ),
    )
    return _forget_files(db, [file for (file,) in before])


def parts_of(db: sqlite3.Connection, upload: str, after: int = 0, limit: int = -1) -> list[Part]:
    """By number, those with a number > after."""
    rows = db.execute(
        f"SELECT {_PART} FROM part WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",  # noqa: S608
        (upload, after, limit),
    )
    return [Part(row[0], row[1], row[2], _time(row[3]), json.loads(row[4]), row[5]) for row in rows]


def name_files(db: sqlite3.Connection, files: Iterable[str]) -> None:
    """Record that these files are in use: a sweep spares them."""
    db.executemany("INSERT INTO body (file) VALUES (?)", [(file,) for file in files])


def files_starting(db: sqlite3.Connection, prefix: str) -> set[str]:
    """The files in use whose names start with a prefix of hex digits."""
    rows = db.execute("SELECT file FROM body WHERE file >= ? AND file < ?", (prefix, prefix + "g"))
    return {file for (file,) in rows}


def clear(db: sqlite3.Connection) -> list[str]:
    """Remove everything. Returns the files of all bodies."""
    files = [file for (file,) in db.execute("SELECT file FROM body")]
    for table in ("bucket", "object", "upload", "part", "body"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608 (a fixed name)
    return files


def _forget_files(db: sqlite3.Connection, files: list[str]) -> list[str]:
    db.executemany("DELETE FROM body WHERE file = ?", [(file,) for file in files])
    return files


def _upload(bucket: Bucket, row: tuple[Any, ...]) -> Upload:
    return Upload(row[1], bucket.name, row[0].decode(), _time(row[2]), _attributes(row[3]), row[4], row[5])


def _attributes(text: str) -> Attributes:
    headers, metadata = json.loads(text)
    return Attributes(headers, metadata)


def _number(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _time(number: int) -> datetime:
    return _EPOCH + timedelta(microseconds=number)
