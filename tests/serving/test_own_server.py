"""An own server that does one thing at a time: how long it may be silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from kedge.serving import own_server
from kedge.serving.http_client import Stream
from kedge.serving.own_server import OwnServer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class OneAtATime:
    """Answers whoever comes, in turn; POST is answered once `go_on` is set. Implements own_server.Host."""

    pid = 0
    was_killed = False
    grace_s = 1.0

    def __init__(self) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.go_on = asyncio.Event()
        self._turn = asyncio.Lock()
        self._port = 0
        self._serving: set[asyncio.Task[None] | None] = set()

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.current_task())
        async with self._turn:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    await self.go_on.wait()
                writer.write(OK)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def end(self) -> None:
        self.go_on.set()
        self.kill()
        await asyncio.gather(*filter(None, self._serving))

    async def connect(self) -> Stream:
        return await asyncio.open_connection("127.0.0.1", self._port)

    def stop(self) -> None:
        self.kill()

    def kill(self) -> None:
        if not self.ended.done():
            self.ended.set_result("killed")

    def reap(self) -> None:
        """It is no process."""


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OneAtATime]:
    for name, seconds in (("PING_TIMEOUT_S", 0.05), ("PING_EVERY_S", 0.02), ("SILENT_S", 0.2)):
        monkeypatch.setattr(own_server, name, seconds)
    made = OneAtATime()
    server = await made.start()
    yield made
    await made.end()
    server.close()


async def started(host: OneAtATime) -> OwnServer:
    ready = asyncio.Event()
    server = OwnServer("i", host, "", ready.set)
    await asyncio.wait_for(ready.wait(), 10)
    return server


async def test_while_it_loads_a_model_it_is_not_taken_for_dead(host: OneAtATime):
    server = await started(host)
    loading = asyncio.create_task(server.ask("POST", "/models", {}, b"{}", 30.0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(server.gone), 6 * own_server.SILENT_S)
    host.go_on.set()
    assert (await loading).status == 200
    assert server.ready


async def test_beyond_its_time_it_is(host: OneAtATime):
    server = await started(host)
    with pytest.raises(TimeoutError):
        await server.ask("POST", "/models", {}, b"{}", 0.1)
    await asyncio.wait_for(server.gone, 10)
    assert "neither an answer nor a 200" in server.reason
