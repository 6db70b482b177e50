"""The index: formats of before and after, and changes that are committed together."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from kedge.objects.files import Objects
from kedge.objects.index import FORMAT, Index, IndexRefused
from tests.objects.putting import put_bytes

FORMAT_1 = """
CREATE TABLE bucket (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, account TEXT NOT NULL, region TEXT NOT NULL,
    created INTEGER NOT NULL);
CREATE TABLE object (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL,
    checksums TEXT NOT NULL, checksum_type TEXT NOT NULL, upload TEXT NOT NULL, attributes TEXT NOT NULL,
    pieces TEXT NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID;
CREATE TABLE upload (
    bucket INTEGER NOT NULL, key BLOB NOT NULL, id TEXT NOT NULL, started INTEGER NOT NULL, attributes TEXT NOT NULL,
    checksum_algorithm TEXT NOT NULL, checksum_type TEXT NOT NULL, PRIMARY KEY (bucket, key, id)) WITHOUT ROWID;
CREATE TABLE part (
    upload TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, modified INTEGER NOT NULL,
    checksums TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY (upload, number)) WITHOUT ROWID;
CREATE TABLE body (file TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO bucket VALUES (7, 'bucket', '111122223333', 'us-east-1', 1700000000000000);
INSERT INTO object VALUES (7, CAST('a/b' AS BLOB), 5, '5d41402abc4b2a76b9719d911017c592', 1700000001000000,
    '{"CRC32": "NhCmhg=="}', 'FULL_OBJECT', '', '[{"ContentType": "text/plain"}, {"k": "v"}]',
    '[["ab00000000000000000000000000000f", 5]]');
INSERT INTO body VALUES ('ab00000000000000000000000000000f');
PRAGMA user_version = 1;
"""


def test_a_store_of_the_first_format_is_brought_up_to_date(tmp_path):
    folder = tmp_path / "objects"
    (folder / "bodies" / "ab").mkdir(parents=True)
    (folder / "bodies" / "ab" / "ab00000000000000000000000000000f").write_bytes(b"hello")
    old = sqlite3.connect(folder / "index.db")
    old.executescript(FORMAT_1)
    old.close()
    for _ in range(2):
        store = Objects(folder)
        try:
            info = store.version("bucket", "a/b", "null")
            assert (info.attributes.headers, info.attributes.metadata) == ({"ContentType": "text/plain"}, {"k": "v"})
            assert info.checksums == {"CRC32": "NhCmhg=="}
            body = store.open_body("bucket", "a/b", "null")
            assert body.read_at(0, 10) == b"hello"
            body.close()
            store.set_versioning("bucket", "Enabled")
            put_bytes(store, "bucket", "a/b", b"newer")
            assert store.version("bucket", "a/b", "null").size == 5
        finally:
            store.close()


def test_an_index_of_a_newer_release_is_refused(tmp_path):
    newer = sqlite3.connect(tmp_path / "index.db")
    newer.execute(f"PRAGMA user_version = {FORMAT + 1}")
    newer.close()
    with pytest.raises(IndexRefused, match=str(FORMAT + 1)):
        Index(tmp_path / "index.db", durable=False)


@pytest.fixture
def index(tmp_path):
    index = Index(tmp_path / "index.db", durable=False)
    yield index
    index.close()


def name(db: sqlite3.Connection, file: str) -> str:
    db.execute("INSERT INTO body VALUES (?)", (file,))
    return file


def files(index: Index) -> set[str]:
    with index.read() as db:
        return {file for (file,) in db.execute("SELECT file FROM body")}


def test_changes_that_come_together_are_committed_together(tmp_path):
    commits = []
    index = Index(tmp_path / "index.db", durable=False, committed=lambda: commits.append(1))
    busy, go = threading.Event(), threading.Event()

    def slow(db: sqlite3.Connection) -> str:
        busy.set()
        assert go.wait(10)
        return name(db, "slow")

    results: dict[str, object] = {}

    def make(file: str) -> None:
        try:
            results[file] = index.write(lambda db: name(db, file) if file != "bad" else 1 / 0)
        except ZeroDivisionError as error:
            results[file] = error

    first = threading.Thread(target=lambda: results.setdefault("slow", index.write(slow)))
    first.start()
    assert busy.wait(10)
    others = [threading.Thread(target=make, args=(file,)) for file in ("a", "b", "bad", "c")]
    for thread in others:
        thread.start()
    while len(index._waiting) < 4:
        threading.Event().wait(0.001)
    go.set()
    for thread in (first, *others):
        thread.join(10)
    assert len(commits) == 2
    assert isinstance(results.pop("bad"), ZeroDivisionError)
    assert results == {each: each for each in ("slow", "a", "b", "c")}
    assert files(index) == {"slow", "a", "b", "c"}
    index.close()


def test_a_change_that_fails_leaves_nothing_of_itself(index):
    def half(db: sqlite3.Connection) -> None:
        name(db, "half")
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 (it has no message)
        index.write(half)
    assert index.write(lambda db: name(db, "next")) == "next"
    assert files(index) == {"next"}


def test_a_commit_that_fails_is_told_to_all(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    index = Index(folder / "index.db", durable=False)
    index._writer.execute("CREATE TRIGGER never AFTER INSERT ON body BEGIN SELECT RAISE(ROLLBACK, 'no room'); END")
    with pytest.raises(sqlite3.IntegrityError, match="no room"):
        index.write(lambda db: name(db, "x"))
    index._writer.execute("DROP TRIGGER never")
    assert index.write(lambda db: name(db, "y")) == "y"
    assert files(index) == {"y"}
    index.close()
    shutil.rmtree(folder)
    assert not Path(folder).exists()
