"""The database behind the store: SQLite in a file or PostgreSQL, and its failures in plain words."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from kedge.config import SettingError
from kedge.errors import ServiceUnavailable

_WRITE_LOCK = 0x6B656467
"""Key of the PostgreSQL advisory lock that makes writers take turns ("kedg")."""

_SQLITE_CAUSES = {
    "SQLITE_BUSY": "another process is writing to it",
    "SQLITE_LOCKED": "another process is writing to it",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "its file is read-only",
    "SQLITE_CANTOPEN": "its file cannot be opened",
    "SQLITE_IOERR": "its disk failed to read or write",
    "SQLITE_CORRUPT": "its file is damaged; restore it from a backup",
    "SQLITE_NOTADB": "its file is no database; restore it from a backup",
}
_POSTGRESQL_CAUSES = {
    "55P03": "another process is writing to it",
    "57014": "a statement took too long",
    "53100": "the disk is full",
    "53300": "it has no connection left",
    "25006": "it is read-only",
    "28P01": "it refused the password",
    "3D000": "there is no such database",
    "42501": "the user lacks a privilege",
}


def address(path_or_url: str | Path) -> URL:
    """The database's address. Raises SettingError when it is neither SQLite's nor PostgreSQL's."""
    text = str(path_or_url)
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1) if text.startswith("postgres://") else text)
    except (ArgumentError, ValueError):
        raise SettingError("database_url is not an address like postgresql://USER@HOST/NAME") from None
    backend = url.drivername.split("+")[0]
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite", database=str(Path(url.database).absolute()))
    raise SettingError(
        f"database_url is {url.render_as_string(hide_password=True)}; "
        "it has to be sqlite:///FILE or postgresql://USER@HOST/NAME"
    )


def connect(url: URL, *, durable: bool, wait_s: float) -> Engine:
    """wait_s: how long a call waits for another writer or a free connection.

    durable: False gives up safety on power loss (never on kill -9), for state that is thrown away anyway."""
    pool: dict[str, Any] = {"pool_size": 8, "max_overflow": 56, "pool_timeout": wait_s}
    if url.drivername == "sqlite":
        engine = create_engine(url, connect_args={"timeout": wait_s}, **pool)
        event.listen(engine, "connect", _prepare_sqlite if durable else _prepare_throw_away_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # keepalives and tcp_user_timeout end a connection whose other side has vanished without a word.
    options = f"-c lock_timeout={int(wait_s * 1000)} -c statement_timeout=30000"
    arguments = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10, "options": options}
    try:
        engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, **pool)
    except ImportError:
        raise SettingError(
            'database_url names PostgreSQL, whose driver is not installed; pip install "kedge[postgresql]"'
        ) from None
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def reader_of(engine: Engine) -> Engine:
    """The same connections without transactions: each statement by itself sees one committed state."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def create_file(path: Path) -> None:
    """An empty file that only its owner may read: documents may hold secrets. SQLite's side files copy the mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ServiceUnavailable(f"The resource store {path} cannot be opened: {error.strerror}.") from error


def unavailable(error: SQLAlchemyError) -> ServiceUnavailable:
    """The failure as an answer: one sentence, without statement, values or password."""
    cause = "it does not answer"
    if isinstance(error, PoolTimeout):
        cause = "every connection is in use"
    elif isinstance(error, DBAPIError):
        if isinstance(error.orig, sqlite3.Error):
            name = getattr(error.orig, "sqlite_errorname", "") or ""
            cause = next((text for code, text in _SQLITE_CAUSES.items() if name.startswith(code)), str(error.orig))
        elif not error.connection_invalidated:
            state = getattr(error.orig, "sqlstate", None) or ""
            cause = _POSTGRESQL_CAUSES.get(state, cause)
    return ServiceUnavailable(f"The resource store is not available: {cause}.")


def _is_reader(connection: Connection) -> bool:
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"


def _begin_sqlite(connection: Connection) -> None:
    if not _is_reader(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_postgresql(connection: Connection) -> None:
    """Writers take turns as they do in SQLite, so a check and the write after it see the same state."""
    if not _is_reader(connection):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    _pragmas(connection, "FULL")


def _prepare_throw_away_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    _pragmas(connection, "OFF")


def _pragmas(connection: sqlite3.Connection, synchronous: str) -> None:
    # The driver's own BEGIN would come before a write only, and without IMMEDIATE: ours is sent by _begin_sqlite.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA journal_size_limit = 67108864")
