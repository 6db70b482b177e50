"""The process that compares: from pairs on a socket to reports, and what it does with a peer that speaks otherwise."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kedge.clock import HandClock
from kedge.home import Home, RootKey
from kedge.serving.meter import Frame
from kedge.serving.reports import ReportServer
from kedge.shadowing import tally
from kedge.shadowing.comparer import Comparer, FromRouter
from kedge.shadowing.feed import Feed
from kedge.shadowing.pairs import Pair
from tests.endpoints.world import ACCOUNT, REGION, START
from tests.serving.peers import until
from tests.shadowing.test_pure import pair


@pytest.fixture
def home(tmp_path: Path) -> Home:
    run = tmp_path / "run"
    run.mkdir()
    return Home(tmp_path, run, ACCOUNT, REGION, RootKey("AKIATEST", "secret"), b"\1" * 32)


async def test_pairs_become_reports(home: Home):
    frames: list[Frame] = []

    async def take(frame: Frame) -> None:
        frames.append(frame)

    reports = ReportServer(home.report_socket, take)
    await reports.start()
    comparer, feed = Comparer(home, HandClock(START)), Feed(home.shadow_socket)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: FromRouter(comparer), str(home.shadow_socket))
    for _ in range(10):
        assert feed.put(pair([1], [2]))
    replaced: Pair = pair([1], [1])._replace(generation="i-2")
    assert feed.put(replaced)
    await until(lambda: frames)
    await feed.close()
    await comparer.close()
    server.close()
    await reports.stop()
    told = [each for frame in frames for each in frame.told]
    assert {each.name for each in told} >= {tally.MATCHES, tally.LABEL_MATCHES}
    # What was learnt of the shadow that was replaced is not mixed with what came after it.
    assert [each.values.total for each in told if each.name == tally.MATCHES] == [1.0]


async def test_who_speaks_otherwise_is_sent_away(home: Home):
    comparer = Comparer(home, HandClock(START))
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: FromRouter(comparer), str(home.shadow_socket))
    reader, writer = await asyncio.open_unix_connection(str(home.shadow_socket))
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    server.close()
    await comparer.close()


async def test_the_feed_finds_who_comes_later(home: Home):
    feed = Feed(home.shadow_socket)
    assert feed.put(pair([1], [1]))
    await asyncio.sleep(0.02)
    comparer = Comparer(home, HandClock(START))
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: FromRouter(comparer), str(home.shadow_socket))
    await until(lambda: comparer._tallies)
    await feed.close()
    assert not feed.put(pair([1], [1]))
    server.close()
    await comparer.close()
