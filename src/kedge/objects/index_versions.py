"""Rows of the index: the versions of objects, and what a put and a delete do to them.

Source: "Working with objects in a versioning-enabled bucket" and "... versioning-suspended bucket" in the S3 user
guide. A change returns the files that nothing names any more.
"""

from __future__ import annotations

import heapq
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from kedge.objects import encryption
from kedge.objects.errors import MethodNotAllowed, NoSuchKey, NoSuchVersion
from kedge.objects.index import as_number, as_time, forget_files
from kedge.objects.records import (
    NULL_VERSION,
    Attributes,
    Bucket,
    Deleted,
    ListedObject,
    ListedVersion,
    ObjectInfo,
    Piece,
)

_COLUMNS = (
    "key, version, sequence, marker, size, etag, modified, checksums, checksum_type, upload, storage_class, "
    "attributes, tags, pieces"
)
_LISTED = "key, size, etag, modified, checksums, checksum_type, storage_class"
_LISTED_VERSION = f"{_LISTED}, version, sequence, marker, tags"
_VALUES = ", ".join("?" * 15)
_SEQUENCE_DIGITS = 14


def new_version(sequence: int) -> str:
    """The id of a version. It begins with the place of the version among those of its key."""
    return f"{sequence:0{_SEQUENCE_DIGITS}x}{secrets.token_hex(9)}"


def sequence_of(version: str) -> int | None:
    """None for what is no id that `new_version` makes."""
    if len(version) != _SEQUENCE_DIGITS + 18 or set(version) - set("0123456789abcdef"):
        return None
    return int(version[:_SEQUENCE_DIGITS], 16)


def version_at(db: sqlite3.Connection, bucket: Bucket, key: str, version: str | None = None) -> ObjectInfo | None:
    """A version, which may be a delete marker; None asks for the object that the key shows, never a marker."""
    where = (bucket.id, key.encode())
    row = db.execute(f"SELECT {_COLUMNS} FROM object WHERE bucket = ? AND key = ?", where).fetchone()  # noqa: S608
    if version is not None and (row is None or row[1] != version):
        row = db.execute(
            f"SELECT {_COLUMNS} FROM version WHERE bucket = ? AND key = ? AND version = ?",  # noqa: S608
            (*where, version),
        ).fetchone()
    return None if row is None else _info(bucket, row)


def newest_at(db: sqlite3.Connection, bucket: Bucket, key: str) -> ObjectInfo | None:
    """The newest version of a key, be it a delete marker."""
    found = version_at(db, bucket, key)
    if found is not None:
        return found
    row = db.execute(
        f"SELECT {_COLUMNS} FROM version WHERE bucket = ? AND key = ? ORDER BY sequence DESC LIMIT 1",  # noqa: S608
        (bucket.id, key.encode()),
    ).fetchone()
    return None if row is None else _info(bucket, row)


def find_version(db: sqlite3.Connection, bucket: Bucket, key: str, version: str | None) -> ObjectInfo:
    """One with a body. Raises NoSuchKey, NoSuchVersion; MethodNotAllowed for a delete marker that is named."""
    found = version_at(db, bucket, key, version)
    if found is None:
        if version is not None:
            raise NoSuchVersion(key, version)
        newest = newest_at(db, bucket, key) if bucket.versioning else None
        raise NoSuchKey(key, newest.version if newest is not None else "")
    if found.marker:
        raise MethodNotAllowed(found)
    return found


def put_version(db: sqlite3.Connection, bucket: Bucket, info: ObjectInfo) -> tuple[ObjectInfo, list[str]]:
    """Make it the object that its key shows. Returns it with its version, and the files of the one that it replaces."""
    present = version_at(db, bucket, info.key)
    files = _make_room(db, bucket, info.key, present)
    made = _with_version(db, bucket, info, present)
    _insert(db, "object", bucket, made)
    return made, files


def delete_key(db: sqlite3.Connection, bucket: Bucket, key: str, now: datetime) -> tuple[Deleted | None, list[str]]:
    """DELETE without a version: the object goes, or a delete marker hides it. None: there was nothing to do."""
    present = version_at(db, bucket, key)
    files = _make_room(db, bucket, key, present)
    if not bucket.versioning:
        return (None if present is None else Deleted(key)), files
    marker = ObjectInfo(bucket.name, key, 0, "", now, Attributes(), {}, "", (), marker=True)
    made = _with_version(db, bucket, marker, present)
    _insert(db, "version", bucket, made)
    return Deleted(key, made.version, marker=True, created=True), files


def delete_version(
    db: sqlite3.Connection, bucket: Bucket, key: str, version: str
) -> tuple[ObjectInfo | None, list[str]]:
    """DELETE of one version, which is gone for good; the newest one left is what the key shows. None: no such one."""
    found = version_at(db, bucket, key, version)
    if found is None:
        return None, []
    files = _remove(db, bucket, found)
    newest = newest_at(db, bucket, key)
    if newest is not None and not newest.marker and version_at(db, bucket, key) is None:
        _move(db, "version", "object", bucket, newest)
    return found, files


def set_attributes(db: sqlite3.Connection, bucket: Bucket, info: ObjectInfo) -> None:
    """Tags and ACL of a version that is there may be changed; it stays the same version, and its time stays too."""
    values = (_packed(info), _tags_text(info.attributes.tags), bucket.id, info.key.encode(), info.sequence)
    for table in ("object", "version"):
        db.execute(
            f"UPDATE {table} SET attributes = ?, tags = ? WHERE bucket = ? AND key = ? AND sequence = ?",  # noqa: S608
            values,
        )


def scan_objects(db: sqlite3.Connection, bucket: Bucket, start: bytes) -> Iterator[ListedObject]:
    """In the order of the keys, from the first one >= start. Rows are read as they are asked for."""
    for key, size, etag, modified, checksums, kind, storage_class in db.execute(
        f"SELECT {_LISTED} FROM object WHERE bucket = ? AND key >= ? ORDER BY key",  # noqa: S608
        (bucket.id, start),
    ):
        algorithms = tuple(json.loads(checksums)) if kind else ()
        yield ListedObject(key.decode(), size, etag, as_time(modified), algorithms, kind, storage_class)


def scan_versions(
    db: sqlite3.Connection, bucket: Bucket, start: bytes, after: tuple[str, int] | None = None
) -> Iterator[ListedVersion]:
    """In the order of the keys, newest first for one key, from the first key >= start.

    after: (key, sequence): of that key, which is `start` then, only versions that are older.
    """
    if after is None:
        yield from _merged(db, bucket, "key >= ? ORDER BY key, sequence DESC", (start,), "")
        return
    key = after[0].encode()
    yield from _merged(db, bucket, "key = ? AND sequence < ? ORDER BY sequence DESC", (key, after[1]), after[0])
    yield from _merged(db, bucket, "key > ? ORDER BY key, sequence DESC", (key,), "")


def _merged(
    db: sqlite3.Connection, bucket: Bucket, where: str, values: tuple[Any, ...], seen: str
) -> Iterator[ListedVersion]:
    """seen: a key whose newest version was listed before."""
    tables = (
        db.execute(f"SELECT {_LISTED_VERSION} FROM {table} WHERE bucket = ? AND {where}", (bucket.id, *values))  # noqa: S608
        for table in ("object", "version")
    )
    before = seen.encode() if seen else None
    for row in heapq.merge(*tables, key=lambda row: (row[0], -row[8])):
        key, size, etag, modified, checksums, kind, storage_class, version, sequence, marker, tags = row
        yield ListedVersion(
            key.decode(),
            size,
            etag,
            as_time(modified),
            tuple(json.loads(checksums)) if kind else (),
            kind,
            storage_class,
            version,
            sequence,
            bool(marker),
            key != before,
            json.loads(tags) if tags else {},
        )
        before = key


def _make_room(db: sqlite3.Connection, bucket: Bucket, key: str, present: ObjectInfo | None) -> list[str]:
    """Before something new is put at a key: what it replaces goes, what is kept moves behind it."""
    files: list[str] = []
    if bucket.versioning != "Enabled":
        replaced = version_at(db, bucket, key, NULL_VERSION) if bucket.versioning else present
        if replaced is not None:
            files = _remove(db, bucket, replaced)
    if present is not None and bucket.versioning and not (bucket.versioning == "Suspended" and _is_null(present)):
        _move(db, "object", "version", bucket, present)
    return files


def _is_null(info: ObjectInfo) -> bool:
    return info.version == NULL_VERSION


def _with_version(db: sqlite3.Connection, bucket: Bucket, info: ObjectInfo, present: ObjectInfo | None) -> ObjectInfo:
    last = present.sequence if present is not None else 0
    if bucket.versioning:
        (behind,) = db.execute(
            "SELECT max(sequence) FROM version WHERE bucket = ? AND key = ?", (bucket.id, info.key.encode())
        ).fetchone()
        last = max(last, behind or 0)
    sequence = max(as_number(info.modified), last + 1)
    version = new_version(sequence) if bucket.versioning == "Enabled" else NULL_VERSION
    return replace(info, version=version, sequence=sequence)


def _remove(db: sqlite3.Connection, bucket: Bucket, info: ObjectInfo) -> list[str]:
    for table in ("object", "version"):
        db.execute(
            f"DELETE FROM {table} WHERE bucket = ? AND key = ? AND sequence = ?",  # noqa: S608
            (bucket.id, info.key.encode(), info.sequence),
        )
    return forget_files(db, [piece.file for piece in info.pieces])


def _move(db: sqlite3.Connection, source: str, to: str, bucket: Bucket, info: ObjectInfo) -> None:
    where = (bucket.id, info.key.encode(), info.sequence)
    row = "bucket = ? AND key = ? AND sequence = ?"
    db.execute(f"INSERT INTO {to} SELECT * FROM {source} WHERE {row}", where)  # noqa: S608
    db.execute(f"DELETE FROM {source} WHERE {row}", where)  # noqa: S608


def _insert(db: sqlite3.Connection, table: str, bucket: Bucket, info: ObjectInfo) -> None:
    db.execute(
        f"INSERT INTO {table} (bucket, {_COLUMNS}) VALUES ({_VALUES})",  # noqa: S608
        (
            bucket.id,
            info.key.encode(),
            info.version,
            info.sequence,
            info.marker,
            info.size,
            info.etag,
            as_number(info.modified),
            json.dumps(dict(info.checksums)) if info.checksums else "{}",
            info.checksum_type,
            info.upload,
            info.attributes.storage_class,
            _packed(info),
            _tags_text(info.attributes.tags),
            json.dumps([_piece_row(piece) for piece in info.pieces]),
        ),
    )


def _piece_row(piece: Piece) -> list[Any]:
    return [piece.file, piece.size, piece.number, dict(piece.checksums)]


def _info(bucket: Bucket, row: tuple[Any, ...]) -> ObjectInfo:
    headers, metadata, acl, sealed = (*json.loads(row[11]), "", None)[:4]  # format 1 had the first two alone
    return ObjectInfo(
        bucket=bucket.name,
        key=row[0].decode(),
        size=row[4],
        etag=row[5],
        modified=as_time(row[6]),
        checksums=json.loads(row[7]),
        checksum_type=row[8],
        upload=row[9],
        attributes=Attributes(headers, metadata, row[10], acl, json.loads(row[12]) if row[12] else {}),
        pieces=tuple(Piece(*piece) for piece in json.loads(row[13])),
        version=row[1],
        sequence=row[2],
        marker=bool(row[3]),
        encryption=encryption.unpacked(sealed),
    )


def _packed(info: ObjectInfo) -> str:
    said = info.attributes
    return json.dumps([dict(said.headers), dict(said.metadata), said.acl, encryption.packed(info.encryption)])


def _tags_text(tags: Mapping[str, str]) -> str:
    return json.dumps(dict(tags)) if tags else ""
