"""Bytes between a listening socket inside an instance's network and an address outside, both ways, unread."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

MAX_CONNECTIONS = 256
"""Of one instance; more wait in the listener's queue."""
BUFFER_BYTES = 256 * 1024
"""What one direction of a connection holds for a receiver that is slower than its sender."""
_READ_BYTES = 64 * 1024


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def begin(self) -> socket.socket:
        """Without waiting: a socket that is connecting. Raises OSError."""
        sock = socket.socket(self.family)
        sock.setblocking(False)
        sock.connect_ex((self.host, self.port))
        return sock


class Target(Protocol):
    """Where a connection is passed on to."""

    def begin(self) -> socket.socket:
        """Without waiting: a socket that is connecting. Raises OSError."""


class Relays:
    """Uses the selector of the caller's loop; the data of each of its keys is called with the events."""

    def __init__(self, selector: selectors.BaseSelector, to: dict[socket.socket, Target]) -> None:
        """to: where each listening socket leads."""
        self._selector = selector
        self._to = to
        self._open = 0
        for listener in to:
            listener.setblocking(False)
        self._accept_more()

    def _accept_more(self) -> None:
        for listener in self._to:
            self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def _accept(self, _: int) -> None:
        for listener, address in self._to.items():
            with contextlib.suppress(OSError):  # nobody waits here, or no descriptor is left
                inside, _address = listener.accept()
                self._begin(inside, address)
            if self._open == MAX_CONNECTIONS:
                for each in self._to:
                    self._selector.unregister(each)
                return

    def _begin(self, inside: socket.socket, address: Target) -> None:
        try:
            outside = address.begin()
        except OSError:
            inside.close()
            return
        self._open += 1
        inside.setblocking(False)
        for sock in (inside, outside):
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _Connection(self._selector, inside, outside, self._ended)

    def _ended(self) -> None:
        if self._open == MAX_CONNECTIONS:
            self._accept_more()
        self._open -= 1


class _End:
    """One socket of a connection, with what is still to be sent to it."""

    def __init__(self, sock: socket.socket, *, connected: bool) -> None:
        self.sock = sock
        self.connected = connected
        self.unsent = bytearray()
        self.finished = False
        """It has sent all that it will."""
        self.told = False
        """It knows that the other end has."""


class _Connection:
    def __init__(
        self,
        selector: selectors.BaseSelector,
        inside: socket.socket,
        outside: socket.socket,
        ended: Callable[[], None],
    ) -> None:
        self._selector = selector
        self._ended = ended
        self._ends = (_End(inside, connected=True), _End(outside, connected=False))
        self._registered: dict[_End, int] = {}
        self._watch()

    def _step(self, at: int, events: int) -> None:
        here, other = self._ends[at], self._ends[1 - at]
        try:
            if events & selectors.EVENT_WRITE:
                here.connected = True  # or the next call says why not
                _send(here)
            if events & selectors.EVENT_READ:
                data = here.sock.recv(_READ_BYTES)
                _acknowledge_at_once(here.sock)
                here.finished = not data
                other.unsent += data
                if other.connected:
                    _send(other)
            for one, another in (self._ends, self._ends[::-1]):
                if one.finished and not another.unsent and another.connected and not another.told:
                    another.sock.shutdown(socket.SHUT_WR)
                    another.told = True
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        if all(end.told for end in self._ends):
            self._close()
        else:
            self._watch()

    def _watch(self) -> None:
        for at, end in enumerate(self._ends):
            other = self._ends[1 - at]
            reads = end.connected and not end.finished and len(other.unsent) < BUFFER_BYTES
            writes = bool(end.unsent) or not end.connected
            events = selectors.EVENT_READ * reads | selectors.EVENT_WRITE * writes
            known = self._registered.get(end, 0)
            if events == known:
                continue
            if not events:
                self._selector.unregister(end.sock)
            elif known:
                self._selector.modify(end.sock, events, lambda found, at=at: self._step(at, found))
            else:
                self._selector.register(end.sock, events, lambda found, at=at: self._step(at, found))
            self._registered[end] = events

    def _close(self) -> None:
        for end in self._ends:
            if self._registered.get(end):
                self._selector.unregister(end.sock)
            end.sock.close()
        self._ended()


def _acknowledge_at_once(sock: socket.socket) -> None:
    """Or a server that writes head and body apart is kept waiting in between by its own kernel."""
    if sock.family != socket.AF_UNIX and hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _send(end: _End) -> None:
    if end.unsent:
        del end.unsent[: end.sock.send(end.unsent)]
