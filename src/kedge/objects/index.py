"""The index of the object store: which buckets, objects, uploads and parts there are, and which files hold them.

One SQLite file. A key is a BLOB: SQLite orders those by their bytes, and any key is kept exactly. What the index does
not name does not exist, so a body becomes visible, whole, by one transaction. Times are microseconds since 1970.

`object` has what a listing shows: the newest version of each key that is not a delete marker. `version` has all others,
so that a listing costs what it shows, however many older versions lie behind it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

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
_MOST_TOGETHER = 64
"""Changes that are committed by one transaction."""

T = TypeVar("T")


class IndexRefused(Exception):
    """The index cannot be used; the message says why."""


class _Waiting(Generic[T]):
    """A change that waits for its commit, and then what came of it."""

    def __init__(self, change: Callable[[sqlite3.Connection], T]) -> None:
        self.change = change
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None


class Index:
    """Connections: one that writes, and as many idle ones that read as threads have read at once."""

    def __init__(
        self, path: Path, *, durable: bool, committed: Callable[[], None] = lambda: None, guest: bool = False
    ) -> None:
        """committed: called after each transaction, by the thread that made it. Raises IndexRefused.

        guest: another process made it and keeps it; only one that is of this release is opened.
        """
        if guest and not path.exists():
            raise IndexRefused("There is no object index yet.")
        self._path = path
        self._committed = committed
        self._durable = durable
        self._writing = threading.Lock()
        self._waiting: deque[_Waiting[Any]] = deque()
        self._idle: list[sqlite3.Connection] = []
        self._writer = self._connect()
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

    def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change; it is on the disk when this returns. One that raises changes nothing.

        Changes of several threads that come while one is being committed are committed together, by whichever thread
        is first to have the writer: a flush of the disk costs the same for one and for many. So a change does nothing
        but read and write the index, and does not wait.
        """
        mine = _Waiting(change)
        self._waiting.append(mine)
        with self._writing:
            while not mine.done:
                self._commit([self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_TOGETHER))])
        if mine.error is not None:
            raise mine.error
        return cast(T, mine.result)

    def _commit(self, batch: list[_Waiting[Any]]) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for each in batch:
                self._make(each)
            self._writer.execute("COMMIT")
            self._committed()
        except BaseException as error:  # noqa: BLE001 (every one of those who wait is told)
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for each in batch:
                each.error = each.error or error
        finally:
            for each in batch:
                each.done = True

    def _make(self, waiting: _Waiting[Any]) -> None:
        """Raises only what ends the transaction for all."""
        self._writer.execute("SAVEPOINT one")
        try:
            waiting.result = waiting.change(self._writer)
        except BaseException as error:
            waiting.error = error
            if not self._writer.in_transaction:  # a full disk: SQLite has rolled back by itself
                raise
            self._writer.execute("ROLLBACK TO one")
        self._writer.execute("RELEASE one")

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
