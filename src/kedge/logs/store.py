"""The log store: streams and their events, in one SQLite file of its own. docs/logs.md says why it looks like this.

A put makes one block of its events; upkeep.py joins them. What `put` has returned for survives the end of every
process; a loss of power may take what came after the last `flush`. A group is a resource, known here by the number that
no two resources share. Times are milliseconds since 1970. Every method may be called from any thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kedge.errors import ServiceUnavailable
from kedge.logs import reading, tables, upkeep
from kedge.logs.block import Block
from kedge.logs.reading import Answer, Bounds, Question
from kedge.store.single_file import SingleFile

_STREAMS = "SELECT id, name, created, first, last, ingested FROM stream"


@dataclass(frozen=True)
class Stream:
    id: int
    name: str
    created_ms: int
    first_ms: int
    """0, like the two below, as long as it has no event."""
    last_ms: int
    ingested_ms: int


@dataclass(frozen=True)
class Mark:
    """How far a source was taken in. It moves with the events, in one commit: nothing is lost or counted twice."""

    source: str
    before: int
    after: int


class LogStore:
    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """durable: False for state that goes with the process. Raises ServiceUnavailable."""
        try:
            self._file = SingleFile(path, flush="NORMAL" if durable else "OFF", setup=tables.SETUP)
            self._file.write(tables.prepare)
        except sqlite3.Error as error:
            raise ServiceUnavailable(f"The log store {path} cannot be used: {error}.") from error
        self._unflushed = True

    def close(self) -> None:
        self._file.close()

    # Streams

    def create_stream(self, group: int, name: str, now_ms: int) -> bool:
        """False when there is one of this name."""
        create = "INSERT OR IGNORE INTO stream (grp, name, created) VALUES (?, ?, ?)"
        return self._file.write(lambda db: db.execute(create, (group, name, now_ms)).rowcount == 1)

    def stream(self, group: int, name: str) -> Stream | None:
        with self._file.read() as db:
            row = db.execute(f"{_STREAMS} WHERE grp = ? AND name = ?", (group, name)).fetchone()
        return None if row is None else Stream(*row)

    def streams(
        self,
        group: int,
        *,
        prefix: str = "",
        by_last: bool = False,
        descending: bool = False,
        after: tuple[int, str] | None = None,
        limit: int | None = None,
    ) -> list[Stream]:
        """In the order of names, or of the newest events. after: (last_ms, name) of the one before."""
        order, sign = ("DESC", "<") if descending else ("ASC", ">")
        where, given = ["grp = ?"], [group]
        bounds: list[int | str] = []
        if prefix:
            where.append("name >= ? AND name < ?")
            bounds += [prefix, prefix + "\U0010ffff"]
        if after is not None:
            where.append(f"(last, name) {sign} (?, ?)" if by_last else f"name {sign} ?")
            bounds += after if by_last else after[1:]
        keys = f"last {order}, name {order}" if by_last else f"name {order}"
        query = f"{_STREAMS} WHERE {' AND '.join(where)} ORDER BY {keys} LIMIT ?"
        with self._file.read() as db:
            return [Stream(*row) for row in db.execute(query, (*given, *bounds, -1 if limit is None else limit))]

    def name_of(self, stream: int) -> str:
        """ "" for one that is deleted."""
        with self._file.read() as db:
            row = db.execute("SELECT name FROM stream WHERE id = ?", (stream,)).fetchone()
        return "" if row is None else str(row[0])

    def delete_stream(self, group: int, name: str) -> bool:
        """With its events. False when there is none."""

        def change(db: sqlite3.Connection) -> bool:
            row = db.execute("DELETE FROM stream WHERE grp = ? AND name = ? RETURNING id", (group, name)).fetchone()
            if row is not None:
                db.execute("INSERT INTO doomed VALUES (?)", row)
            return row is not None

        gone = self._file.write(change)
        upkeep.erase_doomed(self._file)
        return gone

    # Events

    def put(
        self,
        group: int,
        stream: str,
        at_ms: Sequence[int],
        messages: Sequence[str],
        now_ms: int,
        *,
        mark: Mark | None = None,
        create: bool = False,
    ) -> bool:
        """Events in the order of time, at most a day from the first to the last. Committed when this returns.

        create: make the stream where there is none. False when there is none, or when the mark of the source is not
        what it was before; then nothing is done.
        """
        block = Block.of(at_ms, messages, now_ms) if messages else None
        data = block.encode() if block is not None else b""

        def change(db: sqlite3.Connection) -> bool:
            find = "SELECT id FROM stream WHERE grp = ? AND name = ?"
            row = db.execute(find, (group, stream)).fetchone()
            if row is None and not create and block is not None:
                return False
            if mark is not None and not _move(db, mark):
                return False
            if block is None:
                return True
            if row is None:
                db.execute("INSERT INTO stream (grp, name, created) VALUES (?, ?, ?)", (group, stream, now_ms))
                row = db.execute(find, (group, stream)).fetchone()
            take = "UPDATE sequence SET next = next + ? RETURNING next - ?"
            (sequence,) = db.execute(take, (len(at_ms), len(at_ms))).fetchone()
            tables.insert(db, group, row[0], 0, sequence, block, data)
            db.execute(
                "UPDATE stream SET first = iif(first, min(first, ?1), ?1), last = max(last, ?2), ingested = ?3 "
                "WHERE id = ?4",
                (at_ms[0], at_ms[-1], now_ms, row[0]),
            )
            return True

        done = self._file.write(change)
        self._unflushed = True
        return done

    def read(self, question: Question, bounds: Bounds) -> Answer:
        with self._file.read() as db:
            return reading.read(db, question, bounds)

    def mark(self, source: str) -> int:
        """How far the source was taken in; 0 for one that is not known."""
        with self._file.read() as db:
            row = db.execute("SELECT position FROM mark WHERE source = ?", (source,)).fetchone()
        return 0 if row is None else int(row[0])

    def forget_mark(self, source: str) -> None:
        self._file.write(lambda db: db.execute("DELETE FROM mark WHERE source = ?", (source,)))

    # Groups

    def stored_bytes(self, group: int) -> int:
        with self._file.read() as db:
            row = db.execute("SELECT bytes FROM stored WHERE grp = ?", (group,)).fetchone()
        return 0 if row is None else int(row[0])

    def groups(self) -> set[int]:
        """Those of which anything is there."""
        with self._file.read() as db:
            return {row[0] for row in db.execute("SELECT grp FROM stored UNION SELECT grp FROM stream")}

    def delete_group(self, group: int) -> None:
        """All of its streams, with their events."""

        def change(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO doomed SELECT id FROM stream WHERE grp = ?", (group,))
            db.execute("DELETE FROM stream WHERE grp = ?", (group,))

        self._file.write(change)
        upkeep.erase_doomed(self._file)
        self._file.write(lambda db: db.execute("DELETE FROM stored WHERE grp = ?", (group,)))

    # Upkeep

    def join(self) -> bool:
        """Make few blocks of many; True when there may be more to do."""
        return upkeep.join(self._file)

    def expire(self, group: int, before_ms: int) -> int:
        """Erase blocks of which all is older than that. Returns how many."""
        return upkeep.expire(self._file, group, before_ms)

    def erase_deleted(self) -> None:
        """What a deletion that was interrupted has left, and give free pages back to the disk."""
        upkeep.erase_doomed(self._file)
        self._file.write(lambda db: db.execute("PRAGMA incremental_vacuum(1000)").fetchall())

    def flush(self) -> None:
        """After this a loss of power takes nothing of what was put before. Costs nothing when nothing was put."""
        if self._unflushed:
            self._unflushed = False
            with self._file.read() as db:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def wipe(self) -> None:
        def change(db: sqlite3.Connection) -> None:
            for table in tables.EVERY:
                db.execute(f"DELETE FROM {table}")  # noqa: S608 (a fixed name)

        self._file.write(change)


def _move(db: sqlite3.Connection, mark: Mark) -> bool:
    row = db.execute("SELECT position FROM mark WHERE source = ?", (mark.source,)).fetchone()
    if (0 if row is None else row[0]) != mark.before:
        return False
    db.execute("INSERT OR REPLACE INTO mark (source, position) VALUES (?, ?)", (mark.source, mark.after))
    return True
