"""Which metrics there are, and the numbers by which the points of their series are found.

The numbers are remembered, up to a limit: a datapoint of a series that reports all the time costs one look-up in a
dictionary. Who calls has the write lock or a reading connection, and says when a transaction was undone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import orjson

from kedge.metrics.series import Metric
from kedge.metrics.tiers import TIERS

_MOST_REMEMBERED = 50_000
"""Series: about 40 MB."""
_ACTIVE_FOR_S = 900
"""That a metric is active is written down once in so long, ahead: it is listed as active for up to that much longer."""
_PAGE = 500

_IDENTITY = "account = ? AND region = ? AND namespace = ? AND name = ? AND dimensions = ?"
_ID = f"SELECT id, active_until FROM metric WHERE {_IDENTITY}"  # noqa: S608 (fixed texts)


class Catalog:
    def __init__(self) -> None:
        self._known: dict[tuple[Metric, str], list[int]] = {}
        """-> [series, metric, active until]."""

    def forget(self) -> None:
        """What is remembered may be wrong."""
        self._known.clear()

    def series(self, db: sqlite3.Connection, metric: Metric, unit: str, at_s: int) -> int:
        """The number of the series, made if it is new; and it is active at at_s."""
        found = self._known.get((metric, unit))
        if found is None:
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            found = self._known[metric, unit] = _looked_up(db, metric, unit)
        if found[2] <= at_s:
            found[2] = at_s + _ACTIVE_FOR_S
            db.execute("UPDATE metric SET active_until = max(active_until, ?) WHERE id = ?", (found[2], found[1]))
        return found[0]

    def drop_silent(self, db: sqlite3.Connection, now_s: float) -> None:
        """Metrics of which nothing can be kept any more."""
        gone = "SELECT id FROM metric WHERE active_until < ?"
        limit = (now_s - TIERS[-1].keep_s - TIERS[-1].chunk_s,)
        db.execute(f"DELETE FROM series WHERE metric IN ({gone})", limit)  # noqa: S608 (fixed texts)
        if db.execute("DELETE FROM metric WHERE active_until < ?", limit).rowcount:
            self._known.clear()


def _looked_up(db: sqlite3.Connection, metric: Metric, unit: str) -> list[int]:
    row = db.execute(_ID, _columns(metric)).fetchone()
    if row is None:
        insert = (
            "INSERT INTO metric (account, region, namespace, name, dimensions, active_until) VALUES (?, ?, ?, ?, ?, 0)"
        )
        row = (db.execute(insert, _columns(metric)).lastrowid, 0)
    number, active_until = row
    found = db.execute("SELECT id FROM series WHERE metric = ? AND unit = ?", (number, unit)).fetchone()
    if found is None:
        found = (db.execute("INSERT INTO series (metric, unit) VALUES (?, ?)", (number, unit)).lastrowid,)
    return [found[0], number, active_until]


def units(db: sqlite3.Connection, metric: Metric, unit: str | None) -> list[tuple[str, int]]:
    """(unit, series) of this unit, or of every one."""
    row = db.execute(_ID, _columns(metric)).fetchone()
    if row is None:
        return []
    found: list[tuple[str, int]] = db.execute(
        "SELECT unit, id FROM series WHERE metric = ? ORDER BY unit", (row[0],)
    ).fetchall()
    return [each for each in found if unit is None or each[0] == unit]


def page(
    db: sqlite3.Connection,
    account: str,
    region: str,
    namespace: str | None,
    name: str | None,
    dimensions: Sequence[tuple[str, str | None]],
    active_since_s: float | None,
    after: Metric | None,
) -> list[Metric]:
    """The next ones after `after`, by namespace, name and dimensions; empty when there are no more."""
    where, given = ["account = ?", "region = ?"], [account, region]
    more: list[str | float] = []
    for column, wanted in (("namespace", namespace), ("name", name)):
        if wanted is not None:
            where.append(f"{column} = ?")
            more.append(wanted)
    for dimension, value in dimensions:
        # A quote inside of a text is escaped in JSON, so nothing else has these bytes.
        where.append("instr(dimensions, ?) > 0")
        more.append(f"[{_json(dimension)}," if value is None else f"[{_json(dimension)},{_json(value)}]")
    if active_since_s is not None:
        where.append("active_until > ?")
        more.append(active_since_s)
    if after is not None:
        where.append("(namespace, name, dimensions) > (?, ?, ?)")
        more += _columns(after)[2:]
    query = (
        f"SELECT namespace, name, dimensions FROM metric WHERE {' AND '.join(where)} "  # noqa: S608 (fixed texts)
        f"ORDER BY namespace, name, dimensions LIMIT {_PAGE}"
    )
    rows = db.execute(query, (*given, *more))
    return [Metric(account, region, row[0], row[1], _dimensions(row[2])) for row in rows]


def _columns(metric: Metric) -> tuple[str, str, str, str, str]:
    return (*metric[:4], orjson.dumps(metric.dimensions).decode())


def _dimensions(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in orjson.loads(text))


def _json(text: str) -> str:
    return orjson.dumps(text).decode()
