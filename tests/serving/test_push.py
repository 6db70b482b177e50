from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from kedge.serving import push
from kedge.serving import table as tables
from kedge.serving.push import MessageTooLarge, TableClient, TablePush, message, read_message
from kedge.serving.table import RoutingTable, TableRefused
from tests.serving.peers import endpoint, table, until


@asynccontextmanager
async def router(tmp_path, accept):
    client = TableClient(tmp_path / "control.sock", tmp_path / "routing.json", accept)
    client.load()
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def control(tmp_path):
    pusher = TablePush(tmp_path / "control.sock")
    await pusher.start()
    try:
        yield pusher
    finally:
        await pusher.stop()


async def test_publish_returns_when_every_router_serves_it(tmp_path):
    first, second = [], []
    async with control(tmp_path) as pusher, router(tmp_path, first.append), router(tmp_path, second.append):
        await until(lambda: pusher.routers == 2)
        for version in range(1, 6):
            whole = table(endpoint(), version=version)
            await pusher.publish(whole)
            assert first[-1] == second[-1] == whole
            assert len(first) == len(second) == version


async def test_a_new_router_gets_the_current_table(tmp_path):
    async with control(tmp_path) as pusher:
        await pusher.publish(table(version=7))
        seen = []
        async with router(tmp_path, seen.append):
            await until(lambda: seen)
        assert seen == [table(version=7)]


async def test_a_router_finds_a_new_control_process(tmp_path):
    seen = []
    async with router(tmp_path, seen.append):
        async with control(tmp_path) as pusher:
            await pusher.publish(table(version=1))
            await until(lambda: seen)
        async with control(tmp_path) as pusher:
            # The same table again is no news, but is acknowledged.
            await pusher.publish(table(version=1))
            await until(lambda: pusher.routers)
            await pusher.publish(table(version=2))
            assert [each.version for each in seen] == [1, 2]


async def test_the_accepted_table_is_kept_on_disk(tmp_path):
    file = tmp_path / "routing.json"
    async with control(tmp_path) as pusher, router(tmp_path, lambda accepted: None):
        await until(lambda: pusher.routers)
        await pusher.publish(table(version=1))
        await pusher.publish(table(version=2))
        await until(lambda: file.exists() and tables.decode(file.read_bytes()).version == 2)
    assert file.stat().st_mode & 0o777 == 0o600
    seen = []
    async with router(tmp_path, seen.append):
        assert seen == [table(version=2)]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": 99}'])
async def test_a_table_on_disk_that_cannot_be_used(tmp_path, data, caplog):
    (tmp_path / "routing.json").write_bytes(data)
    seen = []
    async with control(tmp_path) as pusher, router(tmp_path, seen.append):
        assert not seen
        assert "is not used" in caplog.text
        await until(lambda: pusher.routers)
        await pusher.publish(table(version=1))
        assert seen


async def test_an_older_table_is_refused(tmp_path):
    seen = []
    client = TableClient(tmp_path / "control.sock", tmp_path / "routing.json", seen.append)
    assert client._answer(tables.encode(table(version=5)))["accepted"]
    answer = client._answer(tables.encode(table(version=4)))
    assert answer == {"version": 4, "accepted": False, "reason": "version 4 is older than 5, which is served"}
    assert [each.version for each in seen] == [5]


async def test_a_refusal_is_logged_and_not_waited_for(tmp_path, caplog):
    async with control(tmp_path) as pusher:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
        await until(lambda: pusher.routers)
        publishing = asyncio.create_task(pusher.publish(table(version=3)))
        assert tables.decode(await read_message(reader, push.MAX_TABLE_BYTES)).version == 3
        writer.write(message(json.dumps({"version": 3, "accepted": False, "reason": "too odd"}).encode()))
        await publishing
        assert "refused routing table 3: too odd" in caplog.text
        writer.close()
        await until(lambda: not pusher.routers)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'{"format": 1}',
        tables.encode(table(version=9))[:-1],
        tables.encode(table(version=9)).replace(b'"version":9', b'"version":"9"'),
        tables.encode(table(version=9)).replace(b'"keys":', b'"keyz":'),
    ],
)
async def test_a_table_is_taken_whole_or_not_at_all(tmp_path, data, caplog):
    seen = []
    client = TableClient(tmp_path / "control.sock", tmp_path / "routing.json", seen.append)
    with caplog.at_level(logging.ERROR):
        answer = client._answer(data)
    assert not answer["accepted"]
    assert answer["reason"]
    assert "refused" in caplog.text
    assert not seen


async def test_a_table_that_cannot_be_put_to_use_is_refused(tmp_path):
    def accept(_: RoutingTable) -> None:
        raise TypeError("a variant without a name")

    client = TableClient(tmp_path / "control.sock", tmp_path / "routing.json", accept)
    assert "a variant without a name" in client._answer(tables.encode(table(version=1)))["reason"]
    # The version is still free: a repaired table may carry it.
    seen = []
    client._accept = seen.append
    assert client._answer(tables.encode(table(version=1)))["accepted"]
    assert seen


async def test_a_router_that_does_not_answer_holds_nobody_up(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(push, "ACKNOWLEDGED_IN_S", 0.05)
    async with control(tmp_path) as pusher:
        _, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
        await until(lambda: pusher.routers)
        await asyncio.wait_for(pusher.publish(table(version=1)), 2.0)
        assert "have not answered" in caplog.text
        writer.close()
        await until(lambda: not pusher.routers)


async def test_a_slow_router_gets_the_newest_table_only(tmp_path, monkeypatch):
    monkeypatch.setattr(push, "ACKNOWLEDGED_IN_S", 0.01)
    large = table(*[endpoint(name=f"endpoint-{n}") for n in range(1000)])
    async with control(tmp_path) as pusher:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
        await until(lambda: pusher.routers)
        for version in range(1, 30):
            await pusher.publish(replace(large, version=version))
        versions = []
        while not versions or versions[-1] < 29:
            versions.append(tables.decode(await read_message(reader, push.MAX_TABLE_BYTES)).version)
        assert len(versions) < 10
        writer.close()
        await until(lambda: not pusher.routers)


@pytest.mark.parametrize("answer", [b"{", b"[]", b'{"version": 1}', b'{"version": "x", "accepted": true}'])
async def test_a_router_that_answers_nonsense_is_let_go(tmp_path, answer):
    async with control(tmp_path) as pusher:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
        writer.write(message(answer))
        assert await reader.read() == b""
        writer.close()
        await until(lambda: not pusher.routers)


async def test_messages_have_a_limit():
    reader = asyncio.StreamReader()
    reader.feed_data(message(b"abc") + b"\xff\xff\xff\x7f")
    assert await read_message(reader, 10) == b"abc"
    with pytest.raises(MessageTooLarge):
        await read_message(reader, 10)
    reader = asyncio.StreamReader()
    reader.feed_data(message(b"abc")[:-1])
    reader.feed_eof()
    assert await read_message(reader, 10) is None


def test_an_unusable_table_is_a_refusal():
    with pytest.raises(TableRefused):
        tables.decode(b"null")
