"""What lies in the metric store's file, and its failures in plain words.

metric and series: identities, without and with the unit. point_N: what is known of one series in one period of N
seconds, as `series.Summary` packs it; the primary key is what tiers.py says of chunks. mark: how far each tier is
rolled up. taken: the last report of each sender.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from kedge.errors import ServiceUnavailable
from kedge.metrics.series import Summary
from kedge.metrics.sketch import joined, listed
from kedge.metrics.tiers import TIERS

FORMAT = 1
"""Kept in SQLite's user_version."""
SETUP = "PRAGMA page_size = 4096; PRAGMA wal_autocheckpoint = 4000;"

_POINTS = "".join(
    f"""
CREATE TABLE point_{tier.step_s} (
    chunk INTEGER NOT NULL, series INTEGER NOT NULL, slot INTEGER NOT NULL, data REAL NOT NULL,
    PRIMARY KEY (chunk, series, slot)) WITHOUT ROWID;"""
    for tier in TIERS
)
_SCHEMA = f"""
CREATE TABLE metric (
    id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, region TEXT NOT NULL, namespace TEXT NOT NULL,
    name TEXT NOT NULL, dimensions TEXT NOT NULL, active_until INTEGER NOT NULL,
    UNIQUE (account, region, namespace, name, dimensions));
CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT, metric INTEGER NOT NULL, unit TEXT NOT NULL, UNIQUE (metric, unit));
{_POINTS}
CREATE TABLE mark (tier INTEGER PRIMARY KEY, chunk INTEGER NOT NULL, series INTEGER NOT NULL);
CREATE TABLE taken (sender TEXT PRIMARY KEY, sequence INTEGER NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
"""
EVERY = ("metric", "series", *(f"point_{tier.step_s}" for tier in TIERS), "mark", "taken")

MERGE = [
    f"INSERT INTO point_{tier.step_s} VALUES (?, ?, ?, ?) "  # noqa: S608 (fixed texts)
    "ON CONFLICT (chunk, series, slot) DO UPDATE SET data = merged(data, excluded.data)"
    for tier in TIERS
]
"""By tier: add what is known of a period to what was known. Parameters: chunk, series, slot, data."""


def prepare(db: sqlite3.Connection) -> None:
    """For the connection that writes, when it is made. Raises ServiceUnavailable for a file of a newer release."""
    db.create_function("merged", 2, _merged, deterministic=True)
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > FORMAT:
        raise ServiceUnavailable(
            f"The metric store has format {found} and this Kedge reads up to {FORMAT}; start a newer Kedge, or use "
            "another data directory."
        )
    if found < FORMAT:
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {FORMAT}")


def _merged(known: float | bytes, new: float | bytes) -> float | bytes:
    quick = joined(_as_bytes(known), _as_bytes(new))
    if quick is not None:
        return quick
    whole = Summary.unpacked(known)
    whole.merge(Summary.unpacked(new))
    return whole.packed()


def _as_bytes(data: float | bytes) -> bytes:
    return listed(data) if isinstance(data, float) else data


@contextmanager
def in_plain_words() -> Iterator[None]:
    """SQLite's failures as an answer. Raises ServiceUnavailable."""
    try:
        yield
    except sqlite3.Error as error:
        raise ServiceUnavailable(f"The metric store is not available: {error}.") from error
