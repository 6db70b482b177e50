"""The index of the object store: which buckets, objects, uploads and parts there are, and which files hold them.

One SQLite file. A key is a BLOB: SQLite orders those by their bytes, and any key is kept exactly. What the index does
not name does not exist, so a body becomes visible, whole, by one transaction. Times are microseconds since 1970.

`object` has what a listing shows: the newest version of each key that is not a delete marker. `version` has all others,
so that a listing costs what it shows, however many older versions lie behind it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kedge.store.single_file import SingleFile

FORMAT = 2
"""Kept in SQLite's user_version."""

_VERSION_COLUMNS = """
    bucket INTEGER NOT NULL, key BLOB NOT NULL, version TEXT NOT NULL, sequence INTEGER NOT NULL,
    marker INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL,
    checksums TEXT NOT NULL, checksum_type TEXT NOT NULL, upload TEXT NOT NULL, storage_class TEXT NOT NULL,
    attributes TEXT NOT NULL, tags TEXT NOT NULL, pieces TEXT NOT NULL"""
_VERSIONS = f"""
CREATE TABLE object ({_VERSION_COLUMNS}, PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE version ({_VERSION_COLUMNS}, PRIMARY KEY (bucket, key, sequence)) WITHOUT ROWID;
CREATE UNIQUE INDEX version_by_id ON version (bucket, key, version);
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, at INTEGER NOT NULL, account TEXT NOT NULL,
    region TEXT NOT NULL, source TEXT NOT NULL, detail_type TEXT NOT NULL, detail TEXT NOT NULL);
"""
_SCHEMA = f"""
CREATE TABLE bucket (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, account TEXT NOT NULL, region TEXT NOT NULL,
    created INTEGER NOT NULL, versioning TEXT NOT NULL DEFAULT '', notifications TEXT NOT NULL DEFAULT '',
    encryption TEXT NOT NULL DEFAULT '');
{_VERSIONS}
CREATE TABLE upload (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, id TEXT NOT NULL, started INTEGER NOT NULL, attributes TEXT NOT NULL,
    checksum_algorithm TEXT NOT NULL, checksum_type TEXT NOT NULL, PRIMARY KEY (bucket, key, id)) WITHOUT ROWID;
CREATE TABLE part (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL,
    checksums TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (upload, number)) WITHOUT ROWID;
CREATE TABLE body (file TEXT PRIMARY KEY) WITHOUT ROWID;
"""
_FROM_1 = f"""
ALTER TABLE bucket ADD COLUMN versioning TEXT NOT NULL DEFAULT '';
ALTER TABLE bucket ADD COLUMN notifications TEXT NOT NULL DEFAULT '';
ALTER TABLE bucket ADD COLUMN encryption TEXT NOT NULL DEFAULT '';
ALTER TABLE object RENAME TO object_of_format_1;
{_VERSIONS}
INSERT INTO object SELECT bucket, key, 'null', modified, 0, size, etag, modified, checksums, checksum_type, upload,
    'STANDARD', attributes, '', pieces FROM object_of_format_1;
DROP TABLE object_of_format_1;
"""  # noqa: S608 (fixed texts)
_STEPS = {0: _SCHEMA, 1: _FROM_1}
"""Format found -> what makes it the newest. 0 is an empty file."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class IndexRefused(Exception):
    """The index cannot be used; the message says why."""


class Index(SingleFile):
    def __init__(
        self, path: Path, *, durable: bool, committed: Callable[[], None] = lambda: None, guest: bool = False
    ) -> None:
        """committed: called after each transaction, by the thread that made it. Raises IndexRefused.

        guest: another process made it and keeps it; only one that is of this release is opened.
        """
        if guest and not path.exists():
            raise IndexRefused("There is no object index yet.")
        super().__init__(path, flush="FULL" if durable else "OFF", committed=committed)
        try:
            (found,) = self._writer.execute("PRAGMA user_version").fetchone()
            if found > FORMAT:
                raise IndexRefused(
                    f"The object index has format {found} and this Kedge reads up to {FORMAT}; start a newer Kedge, or "
                    "use another data directory."
                )
            if found < FORMAT and guest:
                raise IndexRefused(f"The object index still has format {found}.")
            if found < FORMAT:
                self._writer.executescript(f"BEGIN;{_STEPS[found]}PRAGMA user_version = {FORMAT};COMMIT;")
        except BaseException:
            self._writer.close()
            raise


def name_files(db: sqlite3.Connection, files: Iterable[str]) -> None:
    """Record that these files are in use: a sweep spares them."""
    db.executemany("INSERT INTO body (file) VALUES (?)", [(file,) for file in files])


def forget_files(db: sqlite3.Connection, files: list[str]) -> list[str]:
    """The opposite. Returns them: they may be removed once the transaction has ended."""
    db.executemany("DELETE FROM body WHERE file = ?", [(file,) for file in files])
    return files


def files_starting(db: sqlite3.Connection, prefix: str) -> set[str]:
    """The files in use whose names start with a prefix of hex digits."""
    rows = db.execute("SELECT file FROM body WHERE file >= ? AND file < ?", (prefix, prefix + "g"))
    return {file for (file,) in rows}


def clear(db: sqlite3.Connection) -> list[str]:
    """Remove everything. Returns the files of all bodies."""
    files = [file for (file,) in db.execute("SELECT file FROM body")]
    for table in ("bucket", "object", "version", "upload", "part", "body", "event"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608 (a fixed name)
    return files


def as_number(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def as_time(number: int) -> datetime:
    return _EPOCH + timedelta(microseconds=number)
