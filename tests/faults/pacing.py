"""Requests at a set rate on keep-alive connections, each sent when it is due, whatever became of the others."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

from .clients import ANSWERED_IN_S, Broken, Connection, signed
from .conftest import Server

_REQUESTS = 100
"""Signed before the load begins; the body of each is its number."""


@dataclass(frozen=True)
class Answered:
    due_s: float
    """When it was to be sent, by the monotonic clock."""
    took_s: float
    """From then on."""
    status: int
    """0: the connection broke."""
    body: bytes
    asked: bytes = b""


@dataclass
class Paced:
    """They are sent on a loop and in a thread of their own, from before `with`, which begins with the first answer."""

    server: Server
    endpoint: str
    rate_per_s: float = 300.0
    connections: int = 64
    answers: list[Answered] = field(default_factory=list)

    def __enter__(self) -> Paced:
        self._requests = [signed(self.server, self.endpoint, b"%d" % n) for n in range(_REQUESTS)]
        self._ending = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()))
        self._thread.start()
        until_s = time.monotonic() + ANSWERED_IN_S
        while not self.answers and self._thread.is_alive() and time.monotonic() < until_s:
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join(2 * ANSWERED_IN_S)
        assert not self._thread.is_alive(), "a client hangs"

    @property
    def failures(self) -> list[Answered]:
        return [each for each in self.answers if each.status != 200]

    async def _send(self) -> None:
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(self.connections):
            free.put_nowait(await Connection.open(self.server))
        begin_s, number = time.monotonic(), 0
        sent: set[asyncio.Task[None]] = set()
        while not self._ending:
            due_s = begin_s + number / self.rate_per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            task = asyncio.create_task(self._one(free, due_s, self._requests[number % _REQUESTS]))
            sent.add(task)
            task.add_done_callback(sent.discard)
            number += 1
        await asyncio.gather(*sent)
        while not free.empty():
            free.get_nowait().close()

    async def _one(self, free: asyncio.Queue[Connection], due_s: float, request: bytes) -> None:
        connection = await free.get()
        asked = request.rpartition(b"\r\n\r\n")[2]
        try:
            status, headers, body = await connection.ask(request)
        except Broken as error:
            status, headers, body = 0, {"connection": "close"}, str(error).encode()
        self.answers.append(Answered(due_s, time.monotonic() - due_s, status, body, asked))
        if headers.get("connection") == "close":
            connection.close()
            connection = await Connection.open(self.server)
        free.put_nowait(connection)
