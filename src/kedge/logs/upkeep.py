"""What keeps the log store small: blocks of like size become one, and what is deleted or too old is erased.

Both in short transactions, so that no put waits for long.
"""

from __future__ import annotations

import sqlite3

from kedge.logs.block import merged
from kedge.logs.tables import BLOCKS, DAY_MS, LEVELS, Row, count_stored, insert, load, snapshot
from kedge.store.single_file import SingleFile

TOGETHER = 16
"""Blocks of one level, stream and day that become one of the next level."""
_STREAMS_AT_ONCE = 64
_ERASED_AT_ONCE = 200


class _Gone(Exception):
    """What was to be joined is not there any more."""


def join(file: SingleFile) -> bool:
    """Join what there is enough of; True when there may be more to do."""
    due = (
        "SELECT grp, stream, level, first / ? AS day FROM block WHERE level < ? GROUP BY stream, level, day "
        "HAVING count(*) >= ? LIMIT ?"
    )
    with file.read() as db:
        found = db.execute(due, (DAY_MS, LEVELS, TOGETHER, _STREAMS_AT_ONCE)).fetchall()
    for group, stream, level, day in found:
        _join_one(file, group, stream, level, day * DAY_MS)
    return bool(found)


def _join_one(file: SingleFile, group: int, stream: int, level: int, day_ms: int) -> None:
    chosen = f"{BLOCKS} WHERE stream = ? AND level = ? AND first >= ? AND first < ? ORDER BY first LIMIT ?"
    with file.read() as db, snapshot(db):
        rows = [Row(*row) for row in db.execute(chosen, (stream, level, day_ms, day_ms + DAY_MS, TOGETHER))]
        blocks = [load(db, row) for row in rows]
    if not rows:
        return
    whole = merged(blocks)
    data = whole.encode()

    def change(db: sqlite3.Connection) -> None:
        for row in rows:
            if db.execute("DELETE FROM block WHERE id = ?", (row.id,)).rowcount == 0:
                raise _Gone  # it was erased meanwhile, and would come back
            count_stored(db, group, -row.raw)
        insert(db, group, stream, level + 1, 0, whole, data)

    try:
        file.write(change)
    except _Gone:
        return


def erase_doomed(file: SingleFile) -> None:
    """The events of deleted streams."""
    with file.read() as db:
        doomed = [stream for (stream,) in db.execute("SELECT stream FROM doomed")]
    for stream in doomed:
        _erase(file, "stream = ?", (stream,))
        _run(file, "DELETE FROM doomed WHERE stream = ?", (stream,))


def expire(file: SingleFile, group: int, before_ms: int) -> int:
    """Erase the blocks of which every event is older than that. Returns how many."""
    return _erase(file, "grp = ? AND last < ?", (group, before_ms))


def _erase(file: SingleFile, where: str, given: tuple[int, ...]) -> int:
    some = f"SELECT id FROM block WHERE {where} LIMIT {_ERASED_AT_ONCE}"  # noqa: S608 (fixed texts)

    def change(db: sqlite3.Connection) -> int:
        delete = f"DELETE FROM block WHERE id IN ({some}) RETURNING grp, raw"  # noqa: S608 (the same)
        gone = db.execute(delete, given).fetchall()
        for group, raw in gone:
            count_stored(db, group, -raw)
        return len(gone)

    whole = 0
    while gone := file.write(change):
        whole += gone
    return whole


def _run(file: SingleFile, statement: str, given: tuple[int, ...]) -> None:
    file.write(lambda db: db.execute(statement, given))
