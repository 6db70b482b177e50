"""The inference port: all connections of one router, whichever socket they came by.

HTTP/1.1 itself is spoken by `connection.py`. A request is handed on once its body is complete; what is refused, and how
large, slow or many anything may be, stands in `inbound.Limits`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from email.utils import formatdate

from kedge.serving.answers import RequestIds
from kedge.serving.connection import Connection
from kedge.serving.inbound import Inbound, Limits

log = logging.getLogger(__name__)

Handle = Callable[[Inbound], None]


class Front:
    def __init__(self, handle: Handle, limits: Limits, body_limit_bytes: int, ids: RequestIds) -> None:
        self.handle = handle
        self.ids = ids
        self.limits = limits
        self.body_limit_bytes = body_limit_bytes
        """No body may be larger, whichever endpoint it is for."""
        self.hash_while_reading = True
        self.connections: set[Connection] = set()
        self.held_bytes = 0
        self.stalled: dict[Connection, int] = {}
        """Bytes of their answers that these clients have not taken; who has been slow for longest is the first."""
        self.stalled_bytes = 0
        self.draining = False
        self.date = b""
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._tick()
        self._sweeper = asyncio.create_task(self._sweep())

    async def drain(self, grace_s: float, idle_grace_s: float = 0.5) -> None:
        """Answer what is there, each answer being its connection's last, and end within grace_s seconds.

        A client may be about to send on an idle connection, so those are closed a little later.
        """
        self.draining = True
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        while self.connections and loop.time() < start_s + grace_s:
            if loop.time() >= start_s + idle_grace_s:
                for connection in [each for each in self.connections if each.is_idle]:
                    connection.close()
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.cut_short()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def new_connection(self) -> Connection:
        return Connection(self)

    def stall(self, connection: Connection, waiting_bytes: int) -> None:
        """So many bytes wait for its client to take them; 0 is none. Whoever is too much is let go."""
        more_bytes = waiting_bytes - self.stalled.get(connection, 0)
        self.held_bytes += more_bytes
        self.stalled_bytes += more_bytes
        if waiting_bytes:
            self.stalled[connection] = waiting_bytes
        else:
            self.stalled.pop(connection, None)
        while self.stalled_bytes > self.limits.stalled_bytes:
            slowest = next(iter(self.stalled))
            log.warning("a client is let go: it has not taken %d bytes of its answer", self.stalled[slowest])
            self.stall(slowest, 0)
            slowest.abort()

    def _tick(self) -> None:
        # Clients of other SDKs set their clock by the Date header, errors and all.
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.limits.sweep_s)
            self._tick()
            now_s = loop.time()
            for connection in [each for each in self.connections if each.expires_s <= now_s]:
                connection.expire(now_s)
