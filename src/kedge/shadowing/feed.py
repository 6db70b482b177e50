"""The router's way to hand pairs of answers on without waiting: one connection, a bounded queue, and what finds no room
is not compared.

They are compared in the capture process, as records are encoded there: reading two documents and walking through them
takes many times what it takes to pass an answer on, and the router's loop is every client's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import cast

from kedge.shadowing.pairs import Pair, encode

QUEUE_BYTES = 16 * 1024 * 1024
"""Of one router, while the capture process is away or behind."""
WRITE_AFTER_S = 0.005
RECONNECT_S = 0.25
CLOSE_WITHIN_S = 0.5
_WRITE_BYTES = 1024 * 1024


class Feed:
    """Connects when there is something to compare. Everything happens on the loop's thread."""

    def __init__(self, socket_path: Path, queue_bytes: int = QUEUE_BYTES) -> None:
        self._path = socket_path
        self._queue_bytes = queue_bytes
        self._queue: deque[bytes] = deque()
        self._held_bytes = 0
        self._is_due = False
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False

    def put(self, pair: Pair) -> bool:
        """False when there is no room for it, or nobody takes it any more."""
        if self._closed:
            return False
        data = encode(pair)
        if self._held_bytes + len(data) > self._queue_bytes:
            return False
        self._held_bytes += len(data)
        self._queue.append(data)
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(WRITE_AFTER_S, self._write)
        return True

    async def close(self) -> None:
        """Hand on what waits, as far as that is quick, and take no more."""
        self._closed = True
        if self._connection is not None:
            self._write()
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await self._connection.finish()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)

    def connected(self, connection: _Connection) -> None:
        self._connection = connection
        self.can_write()

    def disconnected(self) -> None:
        self._connection = None

    def can_write(self) -> None:
        self._write()

    def _write(self) -> None:
        self._is_due = False
        if self._connection is None:
            if not self._closed and (self._connecting is None or self._connecting.done()):
                self._connecting = asyncio.create_task(self._connect(), name="shadow answers")
            return
        while self._queue and self._connection is not None and self._connection.takes:
            data = self._queue.popleft()
            self._held_bytes -= len(data)
            self._connection.write(data)

    async def _connect(self) -> None:
        """Until somebody takes them. What waits is bounded."""
        loop = asyncio.get_running_loop()
        while self._connection is None:
            with suppress(OSError):
                await loop.create_unix_connection(lambda: _Connection(self), str(self._path))
                return
            await asyncio.sleep(RECONNECT_S)


class _Connection(asyncio.Protocol):
    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._transport: asyncio.Transport | None = None
        self.takes = False
        self._ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BYTES)
        self.takes = True
        self._feed.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.takes = False
        self._ended.set()
        self._feed.disconnected()

    def pause_writing(self) -> None:
        self.takes = False

    def resume_writing(self) -> None:
        self.takes = True
        self._feed.can_write()

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def finish(self) -> None:
        """Until all that was written has been read."""
        if self._transport is not None and not self._ended.is_set():
            self._transport.write_eof()
            await self._ended.wait()
