"""JSON objects, one a line, over a Unix socket; a line may lend file descriptors (SCM_RIGHTS).

The language between the supervisor, the roles and the fork server. Made for asyncio; `send_now` and `receive_now` are
the same for a program without a loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

MAX_LINE_BYTES = 8 * 1024 * 1024
MAX_DESCRIPTORS = 8
_PART_BYTES = 64 * 1024


class LineError(Exception):
    """The peer does not speak this language; the connection cannot go on."""


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
                data = _receive(self._socket, self.lent)
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
        return _object(line)

    async def write(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Raises OSError when the peer is gone. Lines of several writers do not mix."""
        data = memoryview(_bytes(message))
        async with self._writing:
            while data:
                try:
                    sent = _send(self._socket, data, descriptors)
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


def send_now(sock: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Write one line to a blocking socket."""
    data = memoryview(_bytes(message))
    while data:
        sent = _send(sock, data, descriptors)
        data, descriptors = data[sent:], ()


def receive_now(sock: socket.socket, lent: list[int]) -> dict[str, Any] | None:
    """Read one line from a blocking socket; None at the end. The peer waits for the answer before it sends another."""
    received = bytearray()
    while not received.endswith(b"\n"):
        if len(received) > MAX_LINE_BYTES:
            raise LineError(f"a line of more than {MAX_LINE_BYTES} bytes")
        data = _receive(sock, lent)
        if not data:
            return None
        received += data
    return _object(bytes(received))


def _receive(sock: socket.socket, lent: list[int]) -> bytes:
    data, descriptors, _, _ = socket.recv_fds(sock, _PART_BYTES, MAX_DESCRIPTORS, _CLOSE_ON_EXEC)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    lent.extend(descriptors)
    return data


def _send(sock: socket.socket, data: memoryview, descriptors: Sequence[int]) -> int:
    part = data[:_PART_BYTES]
    return socket.send_fds(sock, [part], list(descriptors)) if descriptors else sock.send(part)


def _bytes(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise LineError("a line that is not JSON") from error
    if not isinstance(found, dict):
        raise LineError("a line that is no object")
    return found


_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
