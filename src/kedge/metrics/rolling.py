"""What the metric store does by itself: rolling finished chunks up into the next tier, and forgetting what is too old.

Each step is one short transaction, so that no datapoint waits for long, and may be taken again after a kill: the points
and the mark that says that they were rolled up are committed together. A chunk is rolled up only when what is finer
was rolled up to its end, so whatever comes later comes from a put, which looks at the mark.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import groupby

from kedge.metrics.series import Summary
from kedge.metrics.tables import MERGE
from kedge.metrics.tiers import NOTHING_ROLLED, TIERS, Mark

LATE_S = 5
"""A chunk is rolled up this long after its end: nearly all that belongs to it has come."""
_MOST_ROWS = 4000
"""Of one step, some twenty milliseconds."""
_ALL_SERIES = (1 << 63) - 1


def marks(db: sqlite3.Connection) -> list[Mark]:
    """By tier, all but the last."""
    found = {tier: Mark(chunk, series) for tier, chunk, series in db.execute("SELECT tier, chunk, series FROM mark")}
    return [found.get(tier, NOTHING_ROLLED) for tier in range(len(TIERS) - 1)]


def roll_up(db: sqlite3.Connection, now_s: float) -> bool:
    """A step of rolling up. False: everything that is due has been."""
    finer_to_s = now_s - LATE_S
    for number, mark in enumerate(marks(db)):
        tier = TIERS[number]
        last = int(finer_to_s // tier.chunk_s) - 1
        if (mark.chunk, mark.series) < (last, _ALL_SERIES):
            finished = _roll(db, number, mark, last)
            db.execute("REPLACE INTO mark VALUES (?, ?, ?)", (number, *finished))
            return True
        finer_to_s = (mark.chunk + 1) * tier.chunk_s
    return False


def _roll(db: sqlite3.Connection, number: int, mark: Mark, last: int) -> Mark:
    """Roll up whole series after the mark, no chunk after `last`; how far that has come."""
    tier, coarser = TIERS[number], TIERS[number + 1]
    rows = db.execute(
        f"SELECT chunk, series, slot, data FROM point_{tier.step_s} "  # noqa: S608 (fixed texts)
        "WHERE (chunk, series) > (?, ?) AND chunk <= ? ORDER BY chunk, series, slot LIMIT ?",
        (*mark, last, _MOST_ROWS),
    ).fetchall()
    groups = [(key, list(group)) for key, group in groupby(rows, key=lambda row: (row[0], row[1]))]
    if len(rows) == _MOST_ROWS:
        groups.pop()  # perhaps not whole
    db.executemany(
        MERGE[number + 1],
        [
            (place[0], series, place[1], _merged([data for _, _, _, data in group]))
            for (chunk, series), group in groups
            for place in [coarser.place(tier.start_s(chunk, 0))]
        ],
    )
    return Mark(*groups[-1][0]) if len(rows) == _MOST_ROWS else Mark(last, _ALL_SERIES)


def _merged(parts: Sequence[float | bytes]) -> float | bytes:
    if len(parts) == 1:
        return parts[0]
    whole = Summary.unpacked(parts[0])
    for part in parts[1:]:
        whole.merge(Summary.unpacked(part))
    return whole.packed()


def forget(db: sqlite3.Connection, now_s: float) -> bool:
    """A step of forgetting. False: nothing is too old any more. What was not rolled up yet is not forgotten."""
    rolled = [*(mark.chunk for mark in marks(db)), _ALL_SERIES]
    for tier, rolled_to in zip(TIERS, rolled, strict=True):
        before = min(int((now_s - tier.keep_s) // tier.chunk_s), rolled_to)
        if _forget(db, f"point_{tier.step_s}", before):
            return True
    return False


def _forget(db: sqlite3.Connection, table: str, before: int) -> bool:
    """Some of the chunks before this one."""
    next_key = f"SELECT chunk, series FROM {table} WHERE chunk < ? ORDER BY chunk, series LIMIT 1 OFFSET {_MOST_ROWS}"  # noqa: S608
    bound = db.execute(next_key, (before,)).fetchone() or (before, -1)
    return db.execute(f"DELETE FROM {table} WHERE (chunk, series) < (?, ?)", bound).rowcount > 0  # noqa: S608


def points(
    db: sqlite3.Connection, tier_number: int, series: int, start_s: int, end_s: int, now_s: float
) -> Iterator[tuple[int, float | bytes]]:
    """(start, data) of what is kept in this tier, and of what is in finer ones alone, in any order; a start may come
    more than once. start_s, end_s: multiples of the tier's step."""
    found = marks(db)
    while True:
        tier = TIERS[tier_number]
        # No more chunks are searched than can have something, whatever range is asked for.
        begin_s, finish_s = max(start_s, int(now_s) - tier.keep_s), min(end_s, int(now_s) + 3 * 3600)
        if begin_s < finish_s:
            yield from _kept(db, tier_number, series, begin_s, finish_s)
        if tier_number == 0:
            return
        tier_number -= 1
        start_s = max(start_s, found[tier_number].rolled_to_s(TIERS[tier_number], series))


def _kept(
    db: sqlite3.Connection, tier_number: int, series: int, start_s: int, end_s: int
) -> Iterator[tuple[int, float | bytes]]:
    tier = TIERS[tier_number]
    wanted = "WITH RECURSIVE wanted(n) AS (VALUES (?) UNION ALL SELECT n + 1 FROM wanted WHERE n < ?)"
    rows = db.execute(
        f"{wanted} SELECT chunk, slot, data FROM wanted "  # noqa: S608 (fixed texts)
        f"CROSS JOIN point_{tier.step_s} ON chunk = n AND series = ?",
        (start_s // tier.chunk_s, (end_s - 1) // tier.chunk_s, series),
    )
    for chunk, slot, data in rows:
        at_s = tier.start_s(chunk, slot)
        if start_s <= at_s < end_s:
            yield at_s, data
