from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import pytest
import uvicorn

from kedge.wire import server as module
from kedge.wire.server import Server


async def nothing(_scope: Any, _receive: Any, _send: Any) -> None:
    """No request comes."""


class Watched(Server):
    def __init__(self) -> None:
        super().__init__(uvicorn.Config(nothing, log_config=None, lifespan="off", loop="asyncio"))
        self.ticks = 0
        self.begun = asyncio.Event()

    async def on_tick(self, counter: int) -> bool:
        self.ticks += 1
        self.begun.set()
        return await super().on_tick(counter)


@pytest.mark.parametrize("by", ["signal", "end"])
async def test_it_ends_when_it_is_told_and_looks_no_sooner(by: str, monkeypatch):
    monkeypatch.setattr(module, "TICK_S", 600.0)
    server = Watched()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.begun.wait()
        if by == "signal":
            server.handle_exit(signal.SIGUSR1, None)
            server._captured_signals.clear()  # uvicorn would raise it again for whoever runs it
        else:
            server.end()
        await asyncio.wait_for(serving, 10)
    assert server.ticks == 2, "one to begin with, one to see that it should end"
    assert any(name == b"date" for name, _ in server.server_state.default_headers)
