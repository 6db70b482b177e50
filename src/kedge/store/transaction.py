"""What may be done inside one transaction of the store: read, change, record, announce."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from kedge.errors import ConcurrentChange, ValidationFailed
from kedge.store import queues, schema
from kedge.store.listing import Query, micros, moment, storable
from kedge.store.records import AlreadyExists, Author, Document, Entry, Page, Resource, Scope


class Transaction:
    """What may be done inside `Store.transaction`. It sees its own changes."""

    def __init__(self, connection: Connection, author: Author) -> None:
        self._connection = connection
        self._author = author
        self._at = micros(author.at)
        self.changed = False
        self.queued = False

    def get(self, scope: Scope, kind: str, name: str) -> Resource | None:
        return get_resource(self._connection, scope, kind, name)

    def list(self, scope: Scope | None, kind: str, **query: Any) -> Page:
        """Like Store.list."""
        return list_resources(self._connection, Query(scope, kind, **query))

    def insert(self, scope: Scope, kind: str, name: str, document: Document, status: str = "") -> Resource:
        """Raises AlreadyExists."""
        if not storable(name):
            raise ValidationFailed("A name holds a character that cannot be stored.")
        if self.get(scope, kind, name) is not None:
            raise AlreadyExists(scope, kind, name)
        text = _encode(document)
        result = self._connection.execute(
            insert(schema.resources).values(
                account=scope.account,
                region=scope.region,
                kind=kind,
                name=name,
                version=1,
                document=text,
                status=status,
                created_at=self._at,
                modified_at=self._at,
            )
        )
        self._record(scope, kind, name, 1, None, text, None, status)
        key = result.inserted_primary_key
        assert key is not None
        at = moment(self._at)
        return Resource(scope, kind, name, 1, json.loads(text), status, at, at, int(key[0]))

    def update(self, resource: Resource, document: Document, status: str | None = None) -> Resource:
        """The new document; status None keeps the old one. Raises ConcurrentChange if `resource` is stale."""
        row = self._current(resource)
        return self._write(resource, row, _encode(document), row.status if status is None else status, recorded=True)

    def observe(self, resource: Resource, document: Document | None = None, status: str | None = None) -> Resource:
        """Like update but without history, for what was seen rather than wanted: heartbeats, states, counts.

        What is equal already is not written and wakes nobody. modified_at moves only with the status.
        """
        row = self._current(resource)
        text = row.document if document is None else _encode(document)
        status = row.status if status is None else status
        if text == row.document and status == row.status:
            return _resource(row)
        return self._write(resource, row, text, status, recorded=False)

    def delete(self, resource: Resource) -> None:
        """Raises ConcurrentChange if `resource` is stale or gone."""
        row = self._current(resource)
        self._connection.execute(delete(schema.resources).where(schema.resources.c.id == row.id))
        where = resource.scope, resource.kind, resource.name
        self._record(*where, row.version + 1, row.document, None, row.status, None)

    def emit(
        self, source: str, detail_type: str, detail: Document, scope: Scope | None = None, *, identity: str = ""
    ) -> str:
        """Put an event into the outbox, delivered at least once after the commit. Returns its id.

        identity: the id of an event that may have been put before; while it waits there it is not put again.
        """
        if identity:
            waiting = select(schema.outbox.c.id).where(schema.outbox.c.id == identity)
            if self._connection.execute(waiting).scalar_one_or_none() is not None:
                return identity
        identity = identity or str(uuid.uuid4())
        self._connection.execute(
            insert(schema.outbox).values(
                id=identity,
                at=self._at,
                account=scope and scope.account,
                region=scope and scope.region,
                source=source,
                detail_type=detail_type,
                detail=_encode(detail),
            )
        )
        self.changed = True
        return identity

    def put(
        self,
        kind: str,
        names: Collection[str],
        body: Document,
        identity: str = "",
        *,
        expires: datetime | None = None,
    ) -> str:
        """Put `body` at the end of each of these queues, due at once; it is stored once. Returns its id.

        No history is written of queues. What has been put under `identity` before, and waits still, is not put again.
        expires: when `Store.overdue` begins to tell of it; nothing else becomes of it by itself.
        """
        identity = identity or str(uuid.uuid4())
        if names and not queues.is_known(self._connection, identity):
            end = None if expires is None else micros(expires)
            queues.put(self._connection, kind, names, identity, _encode(body), self._at, end)
            self.queued = True
        return identity

    def postpone(self, entry: Entry, due: datetime) -> None:
        """One more attempt was made in vain; the next is due then."""
        queues.postpone(self._connection, entry.number, micros(due))

    def forget(self, entry: Entry) -> None:
        """It is done, or given up."""
        queues.forget(self._connection, entry.number, entry.payload)

    def waiting(self, kind: str, queue: str) -> int:
        """How many entries there are in a queue."""
        return queues.count(self._connection, kind, queue)

    def empty(self, kind: str, queue: str) -> None:
        queues.empty(self._connection, kind, queue)

    def note(self, scope: Scope, kind: str, name: str, document: Document) -> None:
        """A line of history of its own, of something that happened to what `name` names; `Store.notes` reads it.

        It is kept as long as all history, also when no resource of that kind and name is there (any more).
        """
        self._record(scope, kind, name, 0, None, _encode(document), None, None)

    def _current(self, resource: Resource) -> Row[Any]:
        row = _row(self._connection, resource.scope, resource.kind, resource.name)
        if row is None:
            raise ConcurrentChange(f'{resource.kind} "{resource.name}" was deleted by another request; try again.')
        if (row.id, row.version) != (resource.id, resource.version):
            raise ConcurrentChange(f'{resource.kind} "{resource.name}" was changed by another request; try again.')
        return row

    def _write(self, resource: Resource, row: Row[Any], text: str, status: str, *, recorded: bool) -> Resource:
        version = row.version + 1
        modified_at = self._at if recorded or status != row.status else row.modified_at
        t = schema.resources
        self._connection.execute(
            update(t)
            .where(t.c.id == row.id)
            .values(version=version, document=text, status=status, modified_at=modified_at)
        )
        self.changed = True
        scope, kind, name = resource.scope, resource.kind, resource.name
        if recorded:
            self._record(scope, kind, name, version, row.document, text, row.status, status)
        created_at, changed_at = moment(row.created_at), moment(modified_at)
        return Resource(scope, kind, name, version, json.loads(text), status, created_at, changed_at, row.id)

    def _record(
        self,
        scope: Scope,
        kind: str,
        name: str,
        version: int,
        before: str | None,
        after: str | None,
        status_before: str | None,
        status_after: str | None,
    ) -> None:
        self.changed = True
        self._connection.execute(
            insert(schema.history).values(
                account=scope.account,
                region=scope.region,
                kind=kind,
                name=name,
                version=version,
                at=self._at,
                principal=self._author.principal,
                request_id=self._author.request_id,
                before=before,
                after=after,
                status_before=status_before,
                status_after=status_after,
            )
        )


def _row(connection: Connection, scope: Scope, kind: str, name: str) -> Row[Any] | None:
    t = schema.resources
    if not storable(name):
        return None
    where = (t.c.kind == kind, t.c.account == scope.account, t.c.region == scope.region, t.c.name == name)
    return connection.execute(select(t).where(*where)).one_or_none()


def get_resource(connection: Connection, scope: Scope, kind: str, name: str) -> Resource | None:
    row = _row(connection, scope, kind, name)
    return None if row is None else _resource(row)


def list_resources(connection: Connection, query: Query) -> Page:
    assert query.limit is None or query.limit > 0, "a page has at least one row"
    if not all(map(storable, (query.name_contains, query.name_prefix, query.status))):
        return Page([], None)
    rows = connection.execute(query.statement()).all()
    if query.limit is None or len(rows) <= query.limit:
        return Page([_resource(row) for row in rows], None)
    rows = rows[: query.limit]
    return Page([_resource(row) for row in rows], query.cursor(rows[-1]))


def _encode(document: Document) -> str:
    """Keys keep their order. Raises TypeError or ValueError for what JSON has no word for: that is our mistake."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False)


def _resource(row: Row[Any]) -> Resource:
    return Resource(
        Scope(row.account, row.region),
        row.kind,
        row.name,
        row.version,
        json.loads(row.document),
        row.status,
        moment(row.created_at),
        moment(row.modified_at),
        row.id,
    )
