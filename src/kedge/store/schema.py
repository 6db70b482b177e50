"""The tables of the resource store, and how an older database becomes a newer one.

Times are whole microseconds since 1970 in UTC. Text is compared byte by byte on both engines (PostgreSQL needs
COLLATE "C" for that), so that a list has one order wherever it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy import update as update_table

metadata = MetaData()

_text = Text().with_variant(Text(collation="C"), "postgresql")
_serial = BigInteger().with_variant(Integer, "sqlite")

schema_version = Table("kedge_schema", metadata, Column("version", Integer, nullable=False))

resources = Table(
    "resource",
    metadata,
    Column("id", _serial, primary_key=True, autoincrement=True),
    Column("account", _text, nullable=False),
    Column("region", _text, nullable=False),
    Column("kind", _text, nullable=False),
    Column("name", _text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Column("status", _text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("modified_at", BigInteger, nullable=False),
    Index("resource_by_name", "kind", "account", "region", "name", unique=True),
    Index("resource_by_creation", "kind", "account", "region", "created_at", "name"),
    Index("resource_by_change", "kind", "account", "region", "modified_at", "name"),
    Index("resource_by_status", "kind", "account", "region", "status", "name"),
    Index("resource_everywhere", "kind", "name", "account", "region"),
    Index("resource_everywhere_by_status", "kind", "status", "name", "account", "region"),
    sqlite_autoincrement=True,
)

history = Table(
    "history",
    metadata,
    Column("id", _serial, primary_key=True, autoincrement=True),
    Column("account", _text, nullable=False),
    Column("region", _text, nullable=False),
    Column("kind", _text, nullable=False),
    Column("name", _text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("status_before", Text),
    Column("status_after", Text),
    Index("history_of_resource", "kind", "account", "region", "name", "id"),
    Index("history_by_time", "at"),
    sqlite_autoincrement=True,
)

outbox = Table(
    "outbox",
    metadata,
    Column("number", _serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("account", Text),
    Column("region", Text),
    Column("source", Text, nullable=False),
    Column("detail_type", Text, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)

leases = Table(
    "lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

payloads = Table(
    "payload",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

queued = Table(
    "queued",
    metadata,
    Column("number", _serial, primary_key=True, autoincrement=True),
    Column("kind", _text, nullable=False),
    Column("queue", _text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index("queued_in_order", "kind", "queue", "number"),
    Index("queued_by_time", "kind", "due_at", "queue"),
    Index("queued_by_payload", "payload"),
    Index("queued_by_expiry", "kind", "expires_at"),
    sqlite_autoincrement=True,
)


def _add_queues(connection: Connection) -> None:
    metadata.create_all(connection, tables=[payloads, queued])


def _add_expiry(connection: Connection) -> None:
    if any(column["name"] == "expires_at" for column in inspect(connection).get_columns(queued.name)):
        return  # the step before this one has made the table as it is now
    connection.execute(text("ALTER TABLE queued ADD COLUMN expires_at BIGINT"))
    next(each for each in queued.indexes if each.name == "queued_by_expiry").create(connection)


def _index_statuses(connection: Connection) -> None:
    """Controllers look for what goes on, of every account, among all that has ended."""
    next(each for each in resources.indexes if each.name == "resource_everywhere_by_status").create(
        connection, checkfirst=True
    )


MIGRATIONS: Sequence[Callable[[Connection], None]] = (_add_queues, _add_expiry, _index_statuses)
"""MIGRATIONS[n] turns version n+1 into version n+2. Forward only: an older Kedge refuses a newer database."""


class NewerSchema(Exception):
    """The database was written by a newer Kedge."""


def prepare(connection: Connection, migrations: Sequence[Callable[[Connection], None]] = MIGRATIONS) -> int:
    """Bring the database to the newest version, inside the caller's write transaction. Returns that version."""
    newest = len(migrations) + 1
    if not inspect(connection).has_table(schema_version.name):
        metadata.create_all(connection)
        connection.execute(insert(schema_version).values(version=newest))
        return newest
    found = int(connection.execute(select(schema_version.c.version)).scalar_one())
    if found > newest:
        raise NewerSchema(
            f"The resource store has version {found} and this Kedge knows versions up to {newest}; "
            "start a newer Kedge, or use another data directory."
        )
    for migrate in migrations[found - 1 :]:
        migrate(connection)
    if found < newest:
        connection.execute(update_table(schema_version).values(version=newest))
    return newest
