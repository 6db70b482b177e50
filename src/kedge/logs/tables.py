"""What lies in the log store's file: streams, blocks of events, how much of it, marks. Milliseconds since 1970."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from kedge.errors import ServiceUnavailable
from kedge.logs.block import Block

FORMAT = 1
"""Kept in SQLite's user_version."""
DAY_MS = 86_400_000
LONGEST_MS = 2 * DAY_MS
"""From the first to the last event of a block: a put spans at most a day; those that begin on one day are joined."""
FULL_BYTES = 512 * 1024
"""A block of that much, before it is compressed, is joined with no other."""
LEVELS = 4

SETUP = "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;"
_SCHEMA = f"""
CREATE TABLE sequence (next INTEGER NOT NULL);
INSERT INTO sequence VALUES (1);
CREATE TABLE stream (
    id INTEGER PRIMARY KEY AUTOINCREMENT, grp INTEGER NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL,
    first INTEGER NOT NULL DEFAULT 0, last INTEGER NOT NULL DEFAULT 0, ingested INTEGER NOT NULL DEFAULT 0,
    UNIQUE (grp, name));
CREATE INDEX stream_by_last ON stream (grp, last, name);
CREATE TABLE doomed (stream INTEGER PRIMARY KEY);
CREATE TABLE block (
    id INTEGER PRIMARY KEY AUTOINCREMENT, grp INTEGER NOT NULL, stream INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, level INTEGER NOT NULL, sequence INTEGER NOT NULL, events INTEGER NOT NULL,
    raw INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX block_of_group ON block (grp, first, last, stream);
CREATE INDEX block_of_stream ON block (stream, first, last);
CREATE INDEX block_of_stream_by_last ON block (stream, last, first);
CREATE INDEX block_to_join ON block (stream, level, first) WHERE level < {LEVELS};
CREATE TABLE stored (grp INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
CREATE TABLE mark (source TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
"""  # noqa: S608 (fixed texts)
EVERY = ("block", "stream", "doomed", "stored", "mark")
"""All but the sequence: event ids are never used twice."""


class Row(NamedTuple):
    """A block without its data."""

    id: int
    stream: int
    first: int
    last: int
    sequence: int
    events: int
    raw: int


BLOCKS = "SELECT id, stream, first, last, sequence, events, raw FROM block"


def prepare(db: sqlite3.Connection) -> None:
    """Raises ServiceUnavailable for a file of a newer release."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > FORMAT:
        raise ServiceUnavailable(
            f"The log store has format {found} and this Kedge reads up to {FORMAT}; start a newer Kedge."
        )
    if found < FORMAT:
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {FORMAT}")


def load(db: sqlite3.Connection, row: Row) -> Block:
    (data,) = db.execute("SELECT data FROM block WHERE id = ?", (row.id,)).fetchone()
    return Block.decode(data, row.events, row.raw, row.sequence)


def insert(
    db: sqlite3.Connection, group: int, stream: int, level: int, sequence: int, block: Block, data: bytes
) -> None:
    """data: the block as it is encoded."""
    first, last = int(block.at_ms[0]), int(block.at_ms[-1])
    level = LEVELS if block.raw_bytes >= FULL_BYTES else level
    db.execute(
        "INSERT INTO block (grp, stream, first, last, level, sequence, events, raw, data) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (group, stream, first, last, level, sequence, len(block.at_ms), block.raw_bytes, data),
    )
    count_stored(db, group, block.raw_bytes)


def count_stored(db: sqlite3.Connection, group: int, more_bytes: int) -> None:
    db.execute(
        "INSERT INTO stored (grp, bytes) VALUES (?1, ?2) ON CONFLICT (grp) DO UPDATE SET bytes = bytes + ?2",
        (group, more_bytes),
    )


@contextmanager
def snapshot(db: sqlite3.Connection) -> Iterator[None]:
    """All that is read within is of one moment."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
