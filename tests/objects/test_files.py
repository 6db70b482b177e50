from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BufferedReader, BytesIO
from pathlib import Path

import pytest

from kedge.objects import index_versions
from kedge.objects.bodies import BodyFile
from kedge.objects.errors import BucketNotEmpty, NoSuchBucket, NoSuchKey, PreconditionFailed
from kedge.objects.files import CHUNK_BYTES, Objects, StoreInUse
from kedge.objects.records import Attributes, ObjectInfo
from tests.objects.conftest import ACCOUNT, Body, files_under
from tests.objects.putting import put_bytes

NOW = datetime(2030, 1, 2, tzinfo=UTC)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until, "waited 10 s"
        time.sleep(0.005)


def test_what_is_put_is_found_again_also_by_the_next_process(folder, objects):
    made = put_bytes(objects, "bucket", "a/b", b"hello", Attributes({"ContentType": "text/plain"}, {"k": "v"}))
    assert (made.size, made.etag) == (5, hashlib.md5(b"hello").hexdigest())
    objects.close()
    again = Objects(folder)
    try:
        assert again.head("bucket", "a/b") == made
        with again.open("bucket", "a/b") as file:
            assert file.read() == b"hello"
        assert [bucket.name for bucket in again.buckets(ACCOUNT)] == ["bucket"]
    finally:
        again.close()
        objects.__init__(folder)  # the fixture closes it


def test_the_platform_reads_an_archive_straight_from_the_store(objects):
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("model.bin")
        content = os.urandom(3_000_000)
        info.size = len(content)
        archive.addfile(info, BytesIO(content))
    put_bytes(objects, "bucket", "model.tar.gz", packed.getvalue())
    with objects.open("bucket", "model.tar.gz") as file, tarfile.open(fileobj=file) as archive:
        member = archive.extractfile("model.bin")
        assert member is not None
        assert member.read() == content


def test_absent_things(objects):
    assert objects.head("bucket", "none") is None
    with pytest.raises(NoSuchKey):
        objects.open("bucket", "none")
    for call in (objects.head, objects.open, lambda bucket, key: put_bytes(objects, bucket, key, b"")):
        with pytest.raises(NoSuchBucket):
            call("nowhere", "key")


def test_bucket_names_are_shared_by_all_accounts(objects):
    assert objects.create_bucket("bucket", "999999999999", "eu-west-1") is False
    assert objects.bucket("bucket").account == ACCOUNT


def test_only_an_empty_bucket_goes(folder, objects):
    put_bytes(objects, "bucket", "k", b"x")
    with pytest.raises(BucketNotEmpty):
        objects.delete_bucket("bucket")
    objects.deletions.delete("bucket", "k")
    objects.delete_bucket("bucket")
    with pytest.raises(NoSuchBucket):
        objects.bucket("bucket")
    assert files_under(folder) == []


def test_a_bucket_made_anew_is_another_one(objects):
    before = objects.bucket("bucket")
    objects.delete_bucket(before)
    objects.create_bucket("bucket", "999999999999", "us-east-1")
    with pytest.raises(NoSuchBucket):
        objects.list_page(before, "", "", None, 10)


def test_a_reader_keeps_what_it_opened(folder, objects):
    old = os.urandom(3 * CHUNK_BYTES)
    put_bytes(objects, "bucket", "k", old)
    file = objects.open("bucket", "k")
    assert file.read(10) == old[:10]
    put_bytes(objects, "bucket", "k", b"new")
    objects.deletions.delete("bucket", "k")
    assert len(files_under(folder)) == 1
    assert file.read() == old[10:]
    file.seek(5)
    assert file.read(3) == old[5:8]
    file.close()
    assert files_under(folder) == []


def test_listing_keys_goes_over_pages(objects):
    keys = [f"a/{n:04}" for n in range(1500)]
    bucket, blank = objects.bucket("bucket"), ObjectInfo("bucket", "", 0, "", NOW, Attributes(), {}, "", ())

    def put_all(db):  # 1,500 puts would be 4,500 fsyncs
        for key in [*keys, "b"]:
            index_versions.put_version(db, bucket, replace(blank, key=key))

    objects._index.write(put_all)
    assert list(objects.list_keys("bucket", "a/")) == keys


async def test_a_body_that_fails_leaves_nothing(folder, objects):
    put_bytes(objects, "bucket", "k", b"old")
    for chunks in ([b"x" * 10], [b"y" * CHUNK_BYTES] * 3):
        with pytest.raises(ZeroDivisionError):
            await objects.put("bucket", "k", Body(chunks, error=ZeroDivisionError()), Attributes())
    assert objects.open("bucket", "k").read() == b"old"
    assert len(files_under(folder)) == 1


async def test_a_check_is_asked_when_the_body_is_there(folder, objects):
    def absent(present):
        if present is not None:
            raise PreconditionFailed("If-None-Match")

    puts = [objects.put("bucket", "k", Body([b"%d" % n] * 3), Attributes(), absent) for n in range(8)]
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert sum(isinstance(result, PreconditionFailed) for result in results) == 7
    assert len(files_under(folder)) == 1


async def test_a_cancelled_put_is_whole_or_not_there(folder, objects):
    body = [os.urandom(CHUNK_BYTES)] * 4
    for turns in range(0, 1000, 50):
        putting = asyncio.ensure_future(objects.put("bucket", "k", Body(body), Attributes()))
        for _ in range(turns):
            await asyncio.sleep(0)
        putting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await putting
    present = objects.head("bucket", "k")
    if present is not None:
        with objects.open("bucket", "k") as file:
            assert hashlib.md5(file.read()).hexdigest() == present.etag
    wait_until(lambda: len(files_under(folder)) == (0 if objects.head("bucket", "k") is None else 1))


async def test_a_cancelled_get_leaves_nothing_open(folder, objects):
    put_bytes(objects, "bucket", "k", b"x")
    for turns in range(6):
        opening = asyncio.ensure_future(objects.run(objects.open_body, "bucket", "k"))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await opening).close()
    await objects.run(objects.deletions.delete, "bucket", "k")
    wait_until(lambda: files_under(folder) == [])


async def test_many_puts_at_once_to_one_key(folder, objects):
    bodies = [os.urandom(100_000) for _ in range(20)]
    made = await asyncio.gather(*(objects.put("bucket", "k", Body([body]), Attributes()) for body in bodies))
    assert {each.etag for each in made} == {hashlib.md5(body).hexdigest() for body in bodies}
    assert objects.open("bucket", "k").read() in bodies
    assert len(files_under(folder)) == 1


async def test_slow_uploads_hold_no_thread(objects):
    """More uploads wait for their clients than there are threads, and another put goes through."""
    gate = asyncio.Event()

    class Slow(Body):
        async def __aiter__(self):
            yield b"x" * CHUNK_BYTES
            await gate.wait()
            yield b"y"

    slow = [asyncio.ensure_future(objects.put("bucket", f"slow{n}", Slow([]), Attributes())) for n in range(40)]
    await asyncio.sleep(0)
    made = await asyncio.wait_for(objects.put("bucket", "quick", b"z", Attributes()), 10)
    assert made.size == 1
    gate.set()
    assert {each.size for each in await asyncio.gather(*slow)} == {CHUNK_BYTES + 1}


def test_a_start_sweeps_what_no_object_names(folder, objects):
    put_bytes(objects, "bucket", "k", b"kept")
    orphan = folder / "bodies" / "ab" / ("ab" + "0" * 30)
    orphan.write_bytes(b"left by a crash")
    objects.close()
    objects.__init__(folder)
    wait_until(lambda: not orphan.exists())
    assert objects.open("bucket", "k").read() == b"kept"


def test_a_sweep_spares_what_is_being_read(folder, objects):
    put_bytes(objects, "bucket", "k", b"read")
    body = objects.open_body("bucket", "k")
    bucket = objects.bucket("bucket")  # the moment between a delete's commit and its unlinking
    _, files = objects._index.write(lambda db: index_versions.delete_key(db, bucket, "k", NOW))
    objects._sweep()
    assert body.read_at(0, 10) == b"read"
    objects._bodies.remove(files)
    body.close()
    assert files_under(folder) == []


async def test_a_sweep_spares_what_is_being_written(folder, objects):
    """The window between the file and its row is where a sweep could do harm."""
    stop = asyncio.Event()

    async def sweep_again_and_again():
        while not stop.is_set():
            await objects.run(objects._sweep)

    sweeping = asyncio.ensure_future(sweep_again_and_again())
    for n in range(40):
        await objects.put("bucket", f"k{n}", b"x" * n, Attributes())
    stop.set()
    await sweeping
    assert [len(objects.open("bucket", f"k{n}").read()) for n in range(40)] == list(range(40))


def test_one_process_at_a_time(folder, objects, monkeypatch):
    monkeypatch.setattr("kedge.objects.files._LOCK_WAIT_S", 0.0)
    with pytest.raises(StoreInUse, match="objects"):
        Objects(folder)


def test_wiping_is_quick_and_whole(folder, objects):
    for n in range(50):
        put_bytes(objects, "bucket", f"k{n}", b"x" * 1000)
    held = objects.open("bucket", "k1")
    began = time.monotonic()
    objects.wipe()
    assert time.monotonic() - began < 0.5  # 50 ms on an idle machine
    with pytest.raises(NoSuchBucket):
        objects.head("bucket", "k1")
    assert held.read() == b"x" * 1000
    held.close()
    wait_until(lambda: files_under(folder) == [])
    assert objects.create_bucket("bucket", ACCOUNT, "us-east-1")


FULL = """
import asyncio, resource, sys
from pathlib import Path
from kedge.objects.errors import StorageFull
from kedge.objects.files import Objects
from kedge.objects.records import Attributes
store = Objects(Path(sys.argv[1]))
store.create_bucket("bucket", "1", "us-east-1")
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
asyncio.run(store.put("bucket", "fits", b"x" * 1_000_000, Attributes()))
try:
    asyncio.run(store.put("bucket", "fits", b"y" * 3_000_000, Attributes()))
except StorageFull as error:
    print(error.status, error.code)
print(store.head("bucket", "fits").size, len(list((Path(sys.argv[1]) / "bodies").glob("*/*"))))
store.deletions.delete("bucket", "fits")
store.close()
"""


def test_a_full_disk_is_said_and_leaves_the_old_object(tmp_path):
    """A limit on the size of a file stands for a disk without room; the process needs its own."""
    assert resource.RLIMIT_FSIZE is not None
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout.split() == ["503", "ServiceUnavailable", "1000000", "1"]


WRITER = """
import asyncio, hashlib, os, random, sys
from pathlib import Path
from kedge.objects.files import Objects
from kedge.objects.records import Attributes
store = Objects(Path(sys.argv[1]))
store.create_bucket("bucket", "1", "us-east-1")
if int(sys.argv[3]) >= 4:
    store.set_versioning("bucket", "Enabled")
ledger = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
draw = random.Random(int(sys.argv[3]))
while True:
    key = f"k{draw.randrange(20)}"
    body = draw.randbytes(draw.choice((0, 10, 5_000, 400_000)))
    if draw.random() < 0.2:
        os.write(ledger, f"deleting {key} -\\n".encode())
        store.deletions.delete("bucket", key)
        said = "deleted -"
    else:
        os.write(ledger, f"putting {key} {hashlib.md5(body).hexdigest()}\\n".encode())
        asyncio.run(store.put("bucket", key, body, Attributes()))
        said = "put " + hashlib.md5(body).hexdigest()
    os.write(ledger, f"{said.split()[0]} {key} {said.split()[1]}\\n".encode())
    os.fsync(ledger)
"""


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_loses_nothing_acknowledged_and_shows_nothing_partial(tmp_path, seed):
    folder, ledger = tmp_path / "objects", tmp_path / "ledger"
    for each in range(2):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(ledger), str(seed * 2 + each)])
        try:
            lines = 100 * each + 40 + 37 * seed
            wait_until(lambda want=lines: ledger.exists() and ledger.read_bytes().count(b"\n") > want)
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        check_against(folder, ledger)


def check_against(folder: Path, ledger: Path) -> None:
    may_be: dict[str, set[str]] = {}  # "-" is no object
    for line in ledger.read_text().splitlines():
        what, key, etag = line.split()
        if what in ("putting", "deleting"):
            may_be.setdefault(key, {"-"}).add(etag)  # asked for, not acknowledged: both are right
        else:
            may_be[key] = {etag}
    store = Objects(folder)
    try:
        for key, allowed in may_be.items():
            info = store.head("bucket", key)
            assert ("-" if info is None else info.etag) in allowed, key
            if info is not None:
                with store.open("bucket", key) as file:
                    assert hashlib.md5(file.read()).hexdigest() == info.etag
        rows = store.list_versions("bucket", "", "", None, 10_000).rows
        for row in rows:
            if not row.marker:
                with BufferedReader(BodyFile(store.open_body("bucket", row.key, row.version))) as file:
                    assert hashlib.md5(file.read()).hexdigest() == row.etag
        wait_until(lambda: len(files_under(folder)) == sum(not row.marker for row in rows))
    finally:
        store.close()
