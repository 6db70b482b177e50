"""What `messages` has, for asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kedge.compute.messages import MAX_LINE_BYTES, LineError, as_line, from_line, receive_some, send_some


class Lines:
    """One end of a connection. Descriptors that come with a line wait in `lent` for the reader of that line."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._received = bytearray()
        self._searched = 0
        self._writing = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self.lent: list[int] = []

    async def read(self) -> dict[str, Any] | None:
        """The next object; None once the peer is gone. Raises LineError."""
        while (end := self._received.find(b"\n", self._searched)) < 0:
            self._searched = len(self._received)
            if self._searched > MAX_LINE_BYTES:
                raise LineError(f"a line of more than {MAX_LINE_BYTES} bytes")
            try:
                data = receive_some(self._socket, self.lent)
            except BlockingIOError:
                await self._possible("reader")
                continue
            except ConnectionError:  # a peer that was killed
                data = b""
            if not data:
                return None
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._searched = 0
        return from_line(line)

    async def write(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Raises OSError when the peer is gone. Lines of several writers do not mix."""
        data = memoryview(as_line(message))
        async with self._writing:
            while data:
                try:
                    sent = send_some(self._socket, data, descriptors)
                except BlockingIOError:
                    await self._possible("writer")
                    continue
                data, descriptors = data[sent:], ()

    def peer_pid(self) -> int | None:
        """The process that connected, as the kernel knows it; None where the kernel does not say."""
        option = getattr(socket, "SO_PEERCRED", None)
        if option is None:
            return None
        return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, option, 4), sys.byteorder)

    def close(self) -> None:
        """Who still waits in read or write is told that the connection is gone."""
        for kind, waiting in self._waiting.items():
            getattr(waiting.get_loop(), "remove_" + kind)(self._socket.fileno())
            if not waiting.done():
                waiting.set_exception(ConnectionResetError("the connection is closed"))
        self._waiting.clear()
        self._socket.close()
        for descriptor in self.lent:
            os.close(descriptor)
        self.lent.clear()

    async def _possible(self, kind: str) -> None:
        """Until the socket can be read ("reader") or written ("writer"). One reader and one writer at a time."""
        if self._socket.fileno() < 0:
            raise ConnectionResetError("the connection is closed")
        loop = asyncio.get_running_loop()
        waiting = self._waiting[kind] = loop.create_future()
        getattr(loop, "add_" + kind)(self._socket.fileno(), _finish, waiting)
        try:
            await waiting
        finally:
            if self._waiting.pop(kind, None) is not None:
                getattr(loop, "remove_" + kind)(self._socket.fileno())


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
