"""Queues of what has to be done or handed over at least once: rows in the store's own database.

A queue has a kind and a name; nobody makes one or ends one. What is put into many queues is stored once and goes with
the last entry that means it. An entry that was tried in vain is due again later and holds up no other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from kedge.store import schema
from kedge.store.listing import moment
from kedge.store.records import Backlog, Entry

_q, _p = schema.queued, schema.payloads


def is_known(connection: Connection, identity: str) -> bool:
    return connection.execute(select(_p.c.id).where(_p.c.id == identity)).scalar_one_or_none() is not None


def put(
    connection: Connection, kind: str, names: Collection[str], identity: str, body: str, at: int, expires_at: int | None
) -> None:
    connection.execute(insert(_p).values(id=identity, at=at, body=body))
    shared = {"kind": kind, "payload": identity, "attempts": 0, "due_at": at, "expires_at": expires_at}
    connection.execute(insert(_q), [{**shared, "queue": name} for name in names])


def postpone(connection: Connection, number: int, due_at: int) -> None:
    mine = update(_q).where(_q.c.number == number)
    connection.execute(mine.values(attempts=_q.c.attempts + 1, due_at=due_at))


def forget(connection: Connection, number: int, identity: str) -> None:
    connection.execute(delete(_q).where(_q.c.number == number))
    others = select(_q.c.number).where(_q.c.payload == identity)
    connection.execute(delete(_p).where(_p.c.id == identity, ~others.exists()))


def count(connection: Connection, kind: str, queue: str) -> int:
    found = select(func.count()).select_from(_q).where(_q.c.kind == kind, _q.c.queue == queue)
    return int(connection.execute(found).scalar_one())


def empty(connection: Connection, kind: str, queue: str) -> None:
    found = select(_q.c.number, _q.c.payload).where(_q.c.kind == kind, _q.c.queue == queue)
    for row in connection.execute(found).all():
        forget(connection, row.number, row.payload)


def due_queues(connection: Connection, kind: str, now: int, limit: int) -> list[str]:
    found = select(_q.c.queue).where(_q.c.kind == kind, _q.c.due_at <= now).distinct().limit(limit)
    return list(connection.execute(found).scalars())


def due(connection: Connection, kind: str, queue: str, now: int, limit: int) -> list[Entry]:
    mine = (_q.c.kind == kind, _q.c.queue == queue, _q.c.due_at <= now)
    return _entries(connection, mine, limit)


def overdue(connection: Connection, kind: str, now: int, limit: int) -> list[Entry]:
    return _entries(connection, (_q.c.kind == kind, _q.c.expires_at <= now), limit)


def backlogs(connection: Connection, kind: str) -> dict[str, Backlog]:
    counted = (
        select(_q.c.queue, func.count().label("count"), func.min(_q.c.number).label("first"))
        .where(_q.c.kind == kind)
        .group_by(_q.c.queue)
        .subquery()
    )
    found = (
        select(counted.c.queue, counted.c.count, _p.c.at)
        .join(_q, _q.c.number == counted.c.first)
        .join(_p, _p.c.id == _q.c.payload)
    )
    return {queue: Backlog(count, moment(at)) for queue, count, at in connection.execute(found)}


def _entries(connection: Connection, where: Sequence[ColumnElement[bool]], limit: int) -> list[Entry]:
    found = (
        select(_q, _p.c.body, _p.c.at)
        .join(_p, _p.c.id == _q.c.payload)
        .where(*where)
        .order_by(_q.c.number)
        .limit(limit)
    )
    return [
        Entry(
            row.number,
            row.queue,
            row.payload,
            json.loads(row.body),
            moment(row.at),
            row.attempts,
            moment(row.due_at),
            None if row.expires_at is None else moment(row.expires_at),
        )
        for row in connection.execute(found)
    ]


def next_due(connection: Connection, kind: str, after: int) -> datetime | None:
    earliest = select(func.min(_q.c.due_at)).where(_q.c.kind == kind, _q.c.due_at > after)
    found = connection.execute(earliest).scalar_one_or_none()
    return None if found is None else moment(int(found))
