"""What a caller sees when the database is locked, full, gone or of another release; and what survives kill -9."""

from __future__ import annotations

import json
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from kedge.config import SettingError
from kedge.errors import ServiceUnavailable
from kedge.store import schema
from kedge.store.listing import Query
from kedge.store.store import Author, Scope, Store

HERE = Scope("000000000000", "us-east-1")
AUTHOR = Author("tester", "r", datetime(2026, 1, 1, tzinfo=UTC))


def add(store: Store, name: str) -> None:
    with store.transaction(AUTHOR) as tx:
        tx.insert(HERE, "model", name, {"Name": name})


WRITER = """
import os, sys
from datetime import UTC, datetime
from kedge.store.store import Author, Scope, Store
store, ledger, start = Store(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT), sys.argv[3]
for n in range(100_000):
    with store.transaction(Author("w", "r", datetime.now(UTC))) as tx:
        tx.insert(Scope("000000000000", "us-east-1"), "model", f"{start}-{n}", {"n": n})
        tx.emit("s", "d", {"name": f"{start}-{n}"})
    os.write(ledger, f"{start}-{n}\\n".encode())
    os.fsync(ledger)
    if n == 20:
        print("running", flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(url: str, open_store: Callable[..., Store], tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    for round_number in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(ledger), str(round_number)], stdout=subprocess.PIPE
        )
        try:
            assert writer.stdout is not None
            assert select.select([writer.stdout], [], [], 30)[0], "the writer did not start"
            assert writer.stdout.readline() == b"running\n"
        finally:
            writer.kill()
            writer.wait()
            writer.stdout.close()
        store = open_store()
        acknowledged = ledger.read_text().split()
        kept = {resource.name for resource in store.list(HERE, "model").items}
        announced = {event.detail["name"] for event in store.outbox(100_000)}
        assert set(acknowledged) <= kept
        assert announced == kept
        assert len(kept) <= len(acknowledged) + round_number + 1
        assert all(store.history(HERE, "model", name) for name in list(kept)[:5])


def test_a_lock_held_by_another_process_ends_in_a_clear_error(url: str, open_store: Callable[..., Store]) -> None:
    store = open_store(wait_s=0.2)
    other = open_store()
    with other.transaction(AUTHOR) as tx:
        tx.insert(HERE, "model", "theirs", {})
        with pytest.raises(ServiceUnavailable, match="another process is writing"):
            add(store, "mine")
        assert store.get(HERE, "model", "theirs") is None  # reading goes on
    add(store, "mine")


def test_too_many_writers_of_one_process(open_store: Callable[..., Store]) -> None:
    store = open_store(wait_s=0.1)
    with store.transaction(AUTHOR), ThreadPoolExecutor(1) as pool:
        refused = pool.submit(add, store, "m").exception()
    assert isinstance(refused, ServiceUnavailable)
    assert "too many writers" in refused.message


def test_a_transaction_inside_a_transaction_is_a_mistake(store: Store) -> None:
    with store.transaction(AUTHOR), pytest.raises(AssertionError):
        add(store, "m")


def test_a_database_of_a_newer_kedge_is_refused(url: str, store: Store) -> None:
    with store._writing() as connection:
        connection.execute(text("UPDATE kedge_schema SET version = 99"))
    with pytest.raises(ServiceUnavailable, match="version 99 and this Kedge knows versions up to 4"):
        Store(url)


def test_an_older_database_is_migrated_once(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/kedge.db")
    ran: list[str] = []
    with engine.begin() as connection:
        assert schema.prepare(connection, []) == 1
    for _ in range(2):
        with engine.begin() as connection:
            steps = [lambda c, to=to: ran.append(f"to {to}") for to in (2, 3, 4, 5)]
            assert schema.prepare(connection, steps) == 5
    with engine.begin() as connection, pytest.raises(schema.NewerSchema):
        schema.prepare(connection)
    engine.dispose()
    assert ran == ["to 2", "to 3", "to 4", "to 5"]


def test_a_database_from_before_there_were_queues_gets_them(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/kedge.db")
    with engine.begin() as connection:
        schema.prepare(connection, [])
        schema.metadata.drop_all(connection, tables=[schema.queued, schema.payloads])
    engine.dispose()
    store = Store(tmp_path / "kedge.db")
    with store.transaction(AUTHOR) as tx:
        tx.put("mail", ["a"], {})
        assert tx.waiting("mail", "a") == 1
    store.close()


def test_queues_from_before_entries_could_expire_go_on(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/kedge.db")
    with engine.begin() as connection:
        schema.prepare(connection, schema.MIGRATIONS[:1])
        connection.execute(text("DROP INDEX queued_by_expiry"))
        connection.execute(text("ALTER TABLE queued DROP COLUMN expires_at"))
        connection.execute(text("INSERT INTO payload VALUES ('p', 0, '{}')"))
        connection.execute(text("INSERT INTO queued VALUES (1, 'mail', 'a', 'p', 0, 0)"))
    engine.dispose()
    store = Store(tmp_path / "kedge.db")
    (entry,) = store.due("mail", "a", AUTHOR.at, 10)
    assert entry.expires_at is None
    assert store.overdue("mail", AUTHOR.at, 10) == []
    store.close()


def test_what_goes_on_everywhere_is_found_without_reading_what_has_ended(tmp_path: Path) -> None:
    """Also in a database from before there was an index for it."""
    engine = create_engine(f"sqlite:///{tmp_path}/kedge.db")
    with engine.begin() as connection:
        schema.prepare(connection, schema.MIGRATIONS[:2])
        connection.execute(text("DROP INDEX resource_everywhere_by_status"))
    engine.dispose()
    store = Store(tmp_path / "kedge.db")
    asked = Query(None, "job", status="InProgress").statement()
    with store._reading() as connection:
        words = str(asked.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = "".join(str(row) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {words}")))
    assert "resource_everywhere_by_status" in plan
    assert "TEMP B-TREE" not in plan
    store.close()


FULL_DISK = """
import resource, sys
from datetime import UTC, datetime
from kedge.errors import ServiceUnavailable
from kedge.store.store import Author, Scope, Store
store, scope, author = Store(sys.argv[1]), Scope("0", ""), Author("w", "r", datetime.now(UTC))
def add(n):
    with store.transaction(author) as tx:
        tx.insert(scope, "model", str(n), {"fill": "x" * 10_000})
add(0)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
added = 1
try:
    for added in range(1, 1000):
        add(added)
except ServiceUnavailable as error:
    print(error)
assert store.get(scope, "model", "0") is not None
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert len(store.list(scope, "model").items) == added
add(added)
assert len(store.list(scope, "model").items) == added + 1
"""


def test_a_disk_that_takes_no_more_refuses_writes_and_serves_reads(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "kedge.db")], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith("The resource store is not available: its disk failed"), child.stdout


def test_a_removed_file_is_noticed_before_anything_is_acknowledged(tmp_path: Path) -> None:
    store = Store(tmp_path / "kedge.db")
    add(store, "m")
    (tmp_path / "kedge.db").unlink()
    with pytest.raises(ServiceUnavailable, match="removed or replaced"):
        add(store, "n")
    store.close()


def test_files_that_are_no_database(tmp_path: Path) -> None:
    (tmp_path / "kedge.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(ServiceUnavailable, match="is no database"):
        Store(tmp_path / "kedge.db")
    with pytest.raises(ServiceUnavailable, match="cannot be opened"):
        Store(tmp_path / "no" / "such" / "folder" / "kedge.db")


def test_the_file_is_private_durable_and_in_wal_mode(tmp_path: Path) -> None:
    store = Store(tmp_path / "kedge.db")
    add(store, "m")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    with store._writing() as connection:
        asked = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    store.close()
    with sqlite3.connect(tmp_path / "kedge.db") as plain:
        assert json.loads(plain.execute("SELECT document FROM resource").fetchone()[0]) == {"Name": "m"}
    plain.close()


def test_a_lost_connection_is_replaced(postgresql_server: str, open_store: Callable[..., Store], url: str) -> None:
    if not url.startswith("postgresql"):
        pytest.skip("SQLite has no connection to lose")
    import psycopg

    store = open_store(wait_s=1)
    add(store, "m")
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'kedge' AND pid <> pg_backend_pid()"
    with psycopg.connect(f"host={postgresql_server} user=kedge dbname=postgres", autocommit=True) as connection:
        connection.execute(kill)
        add(store, "n")

        def cut_off() -> None:
            with store.transaction(AUTHOR) as tx:
                tx.insert(HERE, "model", "o", {})
                connection.execute(kill)
                tx.insert(HERE, "model", "p", {})

        with pytest.raises(ServiceUnavailable, match="does not answer"):
            cut_off()
    assert [resource.name for resource in store.list(HERE, "model").items] == ["m", "n"]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    started = time.monotonic()
    with pytest.raises(ServiceUnavailable, match="does not answer") as raised:
        Store(f"postgresql://someone:geheim@/db?host={tmp_path}")
    assert time.monotonic() - started < 10
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize("url", ["mysql://user:geheim@host/db", "sqlite:///:memory:", "sqlite://", "://", "x://[/"])
def test_an_address_that_cannot_be(url: str) -> None:
    with pytest.raises(SettingError, match="database_url") as raised:
        Store(url)
    assert "geheim" not in str(raised.value)
