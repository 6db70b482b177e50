"""A body that threads take from its socket, past the event loop and the HTTP parser.

The loop is good at many bodies that come slowly. One that comes as fast as a disk takes it costs the loop a wake-up,
the parser's callbacks and several copies for every few hundred KiB, and all other requests wait for these. So the
protocol of a connection (connection.py) can lend its socket until the body has ended. A thread receives only what is
there: it is the loop that waits for more, so that a slow client holds no thread.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable

BODY_SOCKET = "kedge.body_socket"
"""Extension of an ASGI scope: () -> BodySocket, or None. To be asked before the first `receive`."""
LENT_BYTES = 1024 * 1024
"""A body of which fewer bytes are to come is not worth it."""
PATIENCE_S = 0.01
"""How long a thread waits for more. On its way through the loop the body would lose about a tenth of that."""
PIECE_BYTES = 256 * 1024
"""What the loop takes at once."""


class BodySocket:
    """What is left of the body of one request. `fill` is for one thread at a time, all else for the event loop."""

    def __init__(
        self, first: bytes, to_come_bytes: int, connection: socket.socket, give_back: Callable[[bool], None]
    ) -> None:
        """first: what has come already. connection: a descriptor of its own that does not block; it is closed here.
        give_back: told, once, whether the whole body was taken from the connection.
        """
        self.left_bytes = len(first) + to_come_bytes
        """That nobody has been given."""
        self.gone = False
        """The client has closed the connection before the end."""
        self._first = memoryview(first)
        self._connection = connection
        self._give_back = give_back
        self._given_back = False
        self._lock = threading.Lock()
        """Held while the socket is used, since closing it meanwhile would make its number another file's."""
        self._closed = False

    def fill(self, buffer: memoryview) -> int:
        """Bytes of the body: a full buffer, or fewer when it ends or when no more come for PATIENCE_S.

        None after `give_back`, and when the client has gone.
        """
        with self._lock:
            count = self._receive(buffer[: self.left_bytes], PATIENCE_S)
        if self._closed:
            self._close()
        return count

    async def readable(self) -> None:
        """Returns when `fill` or `piece` has something to do."""
        if self._first or self.gone or self._closed or not self.left_bytes:
            return
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        loop.add_reader(self._connection, came.set)
        try:
            await came.wait()
        finally:
            loop.remove_reader(self._connection)

    def piece(self) -> bytes:
        """What has come, without waiting: for who reads on the loop."""
        buffer = memoryview(bytearray(min(PIECE_BYTES, self.left_bytes)))
        return bytes(buffer[: self._receive(buffer, 0)])

    def give_back(self) -> None:
        """The connection is the loop's again; with the rest of the body still in it, if there is one."""
        if self._given_back:
            return
        self._given_back = self._closed = True
        self._close()
        self._give_back(not self.left_bytes)

    def _receive(self, buffer: memoryview, patience_s: float) -> int:
        count = min(len(buffer), len(self._first))
        buffer[:count] = self._first[:count]
        self._first = self._first[count:]
        while count < len(buffer) and not self._closed and not self.gone:
            try:
                received = self._connection.recv_into(buffer[count:])
            except BlockingIOError:
                if not patience_s or not self._comes_within(patience_s):
                    break
                continue
            except OSError:  # it was reset
                received = 0
            self.gone = received == 0
            count += received
        self.left_bytes -= count
        return count

    def _comes_within(self, patience_s: float) -> bool:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(patience_s * 1000))

    def _close(self) -> None:
        """At once, or else `fill` does it as soon as it is done with the socket."""
        if self._lock.acquire(blocking=False):
            try:
                self._connection.close()
            finally:
                self._lock.release()
