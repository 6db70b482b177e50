"""Each store test runs on SQLite and, where PostgreSQL's programs are installed, on PostgreSQL."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kedge.store.store import Store


def _programs() -> Path | None:
    found = shutil.which("initdb")
    places = [found] if found else sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    return Path(places[-1]).parent if places else None


def _as_other_user() -> tuple[list[str], int, int]:
    """PostgreSQL refuses to run as root: (command prefix, uid, gid) of a user that it accepts."""
    if os.getuid() != 0:
        return [], os.getuid(), os.getgid()
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = users.get("postgres") or users["nobody"]
    prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return prefix, user.pw_uid, user.pw_gid


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The folder of the server's Unix socket."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb is not installed")
    prefix, uid, gid = _as_other_user()
    folder = tempfile.mkdtemp(prefix="kedge-pg-")
    os.chown(folder, uid, gid)
    make = [*prefix, str(programs / "initdb"), "-D", f"{folder}/data", "-U", "kedge", "-A", "trust", "-E", "UTF8"]
    subprocess.run([*make, "--no-sync"], check=True, capture_output=True, cwd=folder)
    run = [*prefix, str(programs / "postgres"), "-D", f"{folder}/data", "-k", folder]
    settings = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200"]
    with open(f"{folder}/log", "wb") as log:
        server = subprocess.Popen([*run, *settings], stdout=log, stderr=log, cwd=folder)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(f"host={folder} user=kedge dbname=postgres").close()
                break
            except psycopg.OperationalError:
                assert server.poll() is None, Path(folder, "log").read_text()
                assert time.monotonic() < deadline, Path(folder, "log").read_text()
                time.sleep(0.02)
        yield folder
    finally:
        server.terminate()
        try:
            server.wait(2)
        except subprocess.TimeoutExpired:  # it waits for clients; end it at once
            server.kill()
            server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/kedge.db"
    import psycopg

    folder = request.getfixturevalue("postgresql_server")
    with psycopg.connect(f"host={folder} user=kedge dbname=postgres", autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")  # a new schema takes a tenth of a new database's time
        connection.execute("CREATE SCHEMA public")
    return f"postgresql://kedge@/postgres?host={folder}"


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[..., Store]]:
    """Opens the test's database, as often as asked, and closes every store at the end."""
    opened: list[Store] = []

    def opener(**options: object) -> Store:
        opened.append(Store(url, **options))  # type: ignore[arg-type]
        return opened[-1]

    yield opener
    for each in opened:
        each.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store()
