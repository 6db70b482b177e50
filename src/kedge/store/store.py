"""The resource store: (account, region, kind, name) -> document, with versions, history, an outbox and leases.

A change and the events that it causes are committed together. Once `transaction` has ended without an error the change
survives kill -9 of every process; on a durable store also loss of power. Writers take turns on both engines, so what a
transaction has read stays true until it ends. Every method may be called from any thread.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from kedge.errors import ServiceUnavailable
from kedge.home import sync
from kedge.store import engine as engines
from kedge.store import queues, schema
from kedge.store.listing import Query, SortBy, micros, moment, storable
from kedge.store.records import (
    AlreadyExists,
    Author,
    Backlog,
    Change,
    Document,
    Entry,
    Event,
    LeaseLost,
    Page,
    Resource,
    Scope,
)
from kedge.store.transaction import Transaction, get_resource, list_resources

__all__ = [
    "AlreadyExists",
    "Author",
    "Backlog",
    "Change",
    "Document",
    "Entry",
    "Event",
    "LeaseLost",
    "Page",
    "Resource",
    "Scope",
    "Store",
    "Transaction",
]

log = logging.getLogger(__name__)

_PRUNE_BATCH = 500
"""Rows of a table deleted in one transaction: other writers get their turn in between."""


class Store:
    def __init__(self, path_or_url: str | Path, *, durable: bool = True, wait_s: float = 5.0) -> None:
        """A SQLite file, sqlite:///FILE or postgresql://USER@HOST/NAME; it is made or migrated when needed.

        durable: False skips the disk's flushes, for state that goes with the process. wait_s: how long a call waits
        for other writers or a free connection before it is refused.
        Raises SettingError for an address that cannot be, ServiceUnavailable for a database that cannot be used.
        """
        url = engines.address(path_or_url)
        self._file = Path(url.database) if url.drivername == "sqlite" and url.database else None
        if self._file is not None:
            engines.create_file(self._file)
        self._engine = engines.connect(url, durable=durable, wait_s=wait_s)
        self._reader = engines.reader_of(self._engine)
        self._wait_s = wait_s
        self._turn = threading.Lock()
        self._writer: int | None = None
        self._callbacks: tuple[Callable[[], None], ...] = ()
        self._put_callbacks: tuple[Callable[[], None], ...] = ()
        self._inode = self._file_id()
        try:
            with self._writing() as connection:
                schema.prepare(connection)
        except schema.NewerSchema as error:
            self.close()
            raise ServiceUnavailable(str(error)) from error
        except BaseException:
            self.close()
            raise
        if self._file is not None and durable:
            sync(self._file.parent)

    @classmethod
    def open(cls, path_or_url: str | Path, *, durable: bool = True, wait_s: float = 5.0) -> Store:
        return cls(path_or_url, durable=durable, wait_s=wait_s)

    def close(self) -> None:
        self._engine.dispose()

    def get(self, scope: Scope, kind: str, name: str) -> Resource | None:
        with self._reading() as connection:
            return get_resource(connection, scope, kind, name)

    def list(
        self,
        scope: Scope | None,
        kind: str,
        *,
        name_contains: str = "",
        name_prefix: str = "",
        status: str = "",
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        modified_after: datetime | None = None,
        modified_before: datetime | None = None,
        sort_by: SortBy = "name",
        descending: bool = False,
        limit: int | None = None,
        after: str | None = None,
        has_slash: bool | None = None,
    ) -> Page:
        """A page of resources. scope None: of every account and region. limit None: all of them.

        name_contains ignores the case of A to Z. `after` is the `next` of the page before, and belongs to the same
        sort; ValidationFailed is raised for any other text.
        """
        query = Query(
            scope,
            kind,
            name_contains,
            status,
            created_after,
            created_before,
            modified_after,
            modified_before,
            sort_by,
            descending,
            limit,
            after,
            name_prefix,
            has_slash,
        )
        with self._reading() as connection:
            return list_resources(connection, query)

    @contextmanager
    def transaction(self, author: Author, *, lease: tuple[str, int] | None = None) -> Iterator[Transaction]:
        """One change, all of it or nothing. With `lease` (name, token), LeaseLost is raised for a stale token.

        Do no slow work inside: every other writer waits. An exception undoes what was done.
        """
        with self._writing() as connection:
            if lease is not None and not _holds(connection, *lease):
                raise LeaseLost(f'lease "{lease[0]}" is no longer held with token {lease[1]}')
            transaction = Transaction(connection, author)
            yield transaction
        if transaction.changed:
            _announce(self._callbacks)
        if transaction.queued:
            _announce(self._put_callbacks)

    @property
    def is_shared(self) -> bool:
        """Whether others may commit to it, of which `on_commit` tells nothing."""
        return self._file is None

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call it after each transaction that changed something, on the thread that made the change."""
        self._callbacks = (*self._callbacks, callback)

    def on_put(self, callback: Callable[[], None]) -> None:
        """The same after each transaction that put something into a queue."""
        self._put_callbacks = (*self._put_callbacks, callback)

    def history(self, scope: Scope, kind: str, name: str, limit: int = 100) -> Sequence[Change]:
        """The newest changes of one resource, newest first, also of one that is deleted."""
        if not (storable(name) and storable(kind)):
            return []
        h = schema.history
        found = select(h).where(
            h.c.kind == kind, h.c.account == scope.account, h.c.region == scope.region, h.c.name == name
        )
        with self._reading() as connection:
            return [_change(row) for row in connection.execute(found.order_by(h.c.id.desc()).limit(limit))]

    def notes(
        self,
        scope: Scope,
        kind: str,
        name: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        descending: bool = True,
        limit: int = 100,
        after: int | None = None,
    ) -> Sequence[Change]:
        """Lines that `Transaction.note` wrote, in the order of their writing or against it.

        name None: of every name. since is included, until is not. after: the id of the last line that was read.
        """
        if not storable(name or ""):
            return []
        h = schema.history
        found = select(h).where(h.c.kind == kind, h.c.account == scope.account, h.c.region == scope.region)
        if name is not None:
            found = found.where(h.c.name == name)
        if since is not None:
            found = found.where(h.c.at >= micros(since))
        if until is not None:
            found = found.where(h.c.at < micros(until))
        if after is not None:
            found = found.where(h.c.id < after if descending else h.c.id > after)
        found = found.order_by(h.c.id.desc() if descending else h.c.id.asc()).limit(limit)
        with self._reading() as connection:
            return [_change(row) for row in connection.execute(found)]

    def versions(self, kind: str) -> dict[tuple[Scope, str], tuple[int, int]]:
        """(scope, name) -> (id, version) of all resources of a kind: what a reader of many compares before it reads."""
        t = schema.resources
        columns = select(t.c.account, t.c.region, t.c.name, t.c.id, t.c.version).where(t.c.kind == kind)
        scopes: dict[tuple[str, str], Scope] = {}
        with self._reading() as connection:
            return {
                (scopes.setdefault((account, region), Scope(account, region)), name): (its_id, version)
                for account, region, name, its_id, version in connection.execute(columns)
            }

    def prune(self, now: datetime, *, history: timedelta, events: timedelta) -> int:
        """Delete some of the history older than `history` and of the events older than `events`.

        Returns how many rows went. One call is one short transaction: call it until it returns 0.
        """
        old = ((schema.history, schema.history.c.id, history), (schema.outbox, schema.outbox.c.number, events))
        gone = 0
        with self._writing() as connection:
            for table, key, keep in old:
                batch = select(key).where(table.c.at < micros(now - keep)).order_by(key).limit(_PRUNE_BATCH)
                gone += connection.execute(delete(table).where(key.in_(batch))).rowcount
        return gone

    def outbox(self, limit: int = 100) -> Sequence[Event]:
        """The oldest events that were not yet marked as delivered, oldest first."""
        o = schema.outbox
        with self._reading() as connection:
            return [_event(row) for row in connection.execute(select(o).order_by(o.c.number).limit(limit))]

    def delivered(self, ids: Iterable[str]) -> None:
        """Forget these events. Ids that are gone already change nothing."""
        o = schema.outbox
        known = list(ids)
        with self._writing() as connection:
            for start in range(0, len(known), 500):
                connection.execute(delete(o).where(o.c.id.in_(known[start : start + 500])))

    def due_queues(self, kind: str, now: datetime, limit: int) -> Sequence[str]:
        """Names of queues in which something is due."""
        with self._reading() as connection:
            return queues.due_queues(connection, kind, micros(now), limit)

    def due(self, kind: str, queue: str, now: datetime, limit: int) -> Sequence[Entry]:
        """What is due in a queue, in the order in which it was put."""
        with self._reading() as connection:
            return queues.due(connection, kind, queue, micros(now), limit)

    def overdue(self, kind: str, now: datetime, limit: int) -> Sequence[Entry]:
        """What has expired in any queue of this kind, in the order in which it was put."""
        with self._reading() as connection:
            return queues.overdue(connection, kind, micros(now), limit)

    def backlogs(self, kind: str) -> dict[str, Backlog]:
        """Every queue of this kind that is not empty, due or not, by its name."""
        with self._reading() as connection:
            return queues.backlogs(connection, kind)

    def next_due(self, kind: str, after: datetime) -> datetime | None:
        """The first time after `after` at which an entry of any queue of this kind is due."""
        with self._reading() as connection:
            return queues.next_due(connection, kind, micros(after))

    def acquire(self, name: str, holder: str, now: datetime, ttl: timedelta, *, inherit: bool = False) -> int | None:
        """A new token for the lease, or None while somebody has it; who has it goes on by `renew`.

        inherit: take it also from `holder` itself, whose earlier process is followed by the one that asks.
        Tokens of one name only grow, so a transaction guarded by an older one changes nothing.
        """
        t = schema.leases
        with self._writing() as connection:
            row = connection.execute(select(t).where(t.c.name == name)).one_or_none()
            expires_at = micros(now + ttl)
            if row is None:
                connection.execute(insert(t).values(name=name, holder=holder, token=1, expires_at=expires_at))
                return 1
            if row.expires_at > micros(now) and not (inherit and row.holder == holder):
                return None
            token = int(row.token) + 1
            connection.execute(
                update(t).where(t.c.name == name).values(holder=holder, token=token, expires_at=expires_at)
            )
            return token

    def renew(self, name: str, token: int, now: datetime, ttl: timedelta) -> bool:
        """False when the lease went to another holder, or was released."""
        t = schema.leases
        with self._writing() as connection:
            mine = update(t).where(t.c.name == name, t.c.token == token)
            return connection.execute(mine.values(expires_at=micros(now + ttl))).rowcount == 1

    def release(self, name: str, token: int) -> None:
        """Give the lease back at once. A stale token changes nothing."""
        t = schema.leases
        with self._writing() as connection:
            mine = update(t).where(t.c.name == name, t.c.token == token)
            connection.execute(mine.values(holder="", token=token + 1, expires_at=0))

    def wipe(self) -> None:
        """Drop all resources, history, events and queues. Leases stay: they belong to processes that still run."""
        with self._writing() as connection:
            for table in (schema.resources, schema.history, schema.outbox, schema.queued, schema.payloads):
                connection.execute(delete(table))
        _announce(self._callbacks)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._reader.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise engines.unavailable(error) from error

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Writers of this process queue here: waiting for SQLite's own lock is a loop of sleeps."""
        me = threading.get_ident()
        assert self._writer != me, "a transaction inside a transaction of the same thread"
        if not self._turn.acquire(timeout=self._wait_s):
            raise ServiceUnavailable("The resource store is not available: too many writers wait.")
        self._writer = me
        try:
            self._check_file()
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise engines.unavailable(error) from error
        finally:
            self._writer = None
            self._turn.release()

    def _check_file(self) -> None:
        """SQLite goes on writing to a file that was removed; what is acknowledged then would be lost."""
        if self._file_id() != self._inode:
            raise ServiceUnavailable(
                f"The resource store is not available: {self._file} was removed or replaced. Start Kedge again."
            )

    def _file_id(self) -> tuple[int, int] | None:
        if self._file is None:
            return None
        try:
            found = os.stat(self._file)
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _announce(callbacks: Iterable[Callable[[], None]]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:
            log.exception("a callback failed after a commit; the change stands")


def _holds(connection: Connection, name: str, token: int) -> bool:
    t = schema.leases
    return connection.execute(select(t.c.token).where(t.c.name == name)).scalar_one_or_none() == token


def _decoded(text: str | None) -> Document | None:
    return None if text is None else json.loads(text)


def _change(row: Row[Any]) -> Change:
    return Change(
        row.id,
        Scope(row.account, row.region),
        row.kind,
        row.name,
        row.version,
        moment(row.at),
        row.principal,
        row.request_id,
        _decoded(row.before),
        _decoded(row.after),
        row.status_before,
        row.status_after,
    )


def _event(row: Row[Any]) -> Event:
    scope = None if row.account is None else Scope(row.account, row.region)
    return Event(row.id, moment(row.at), row.source, row.detail_type, json.loads(row.detail), scope)
