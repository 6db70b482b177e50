"""A connection by which requests come to an instance of several processes, and whom they are for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

from kedge.serving import frames
from kedge.serving.frames import FrameError
from kedge.serving.runtimes.base import Answer, InvocationError
from kedge.serving.streams import Arrived, Cancelled, Failure, Peer, refusal
from kedge.serving.worker_io import MAX_UNREAD_BYTES

log = logging.getLogger(__name__)


class Going(Protocol):
    """A request that a line has brought and that is not answered."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""

    def go_on(self) -> None:
        """There is credit for more of its answer."""


class Host(Protocol):
    """Whom a line's requests are for."""

    @property
    def hello(self) -> Mapping[str, Any]: ...

    @property
    def lines(self) -> set[Line]: ...

    def welcome(self, line: Line) -> str:
        """Puts it among the lines, or says why not."""

    def room(self) -> int:
        """Bytes of requests that can be held now, besides what is."""

    def begin(self, line: Line, arrived: Arrived) -> None:
        """Puts it among the line's flows until it is answered."""

    def look(self) -> None:
        """Something has changed."""


class Line(asyncio.Protocol):
    """One connection by which requests come: a router's, or a process's of the instance."""

    def __init__(self, front: Host) -> None:
        self._front = front
        self._peer = Peer(front.hello, front.room)
        self._transport: asyncio.Transport | None = None
        self._full = False
        self._reading = False
        self.flows: dict[int, Going] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if why := self._front.welcome(self):
            self._transport.write(refusal(why))
            self._transport.close()
            return
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._front.lines.discard(self)
        for flow in list(self.flows.values()):
            flow.cancel()
        self._front.look()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._peer.receive(data)
        except FrameError as error:
            log.warning("a connection is closed: %s", error)
            if self._transport is not None:
                self._transport.abort()
            return
        self._reading = True
        for event in events:
            if isinstance(event, Arrived):
                self._front.begin(self, event)
            elif flow := self.flows.get(event.stream):
                if isinstance(event, Cancelled):
                    flow.cancel()
                else:
                    flow.go_on()
        self._reading = False
        self._flush()

    def answer(
        self, stream: int, outcome: Answer | InvocationError | Failure, told: Sequence[frames.Told] = ()
    ) -> None:
        self._peer.answer(stream, outcome, told)
        if not self._reading:
            self._flush()

    def part(self, stream: int, head: bytes, part: bytes, flags: int) -> bool:
        """As Peer.part."""
        sent = self._peer.part(stream, head, part, flags)
        if sent and not self._reading:
            self._flush()
        return sent

    def end(self, stream: int) -> None:
        """As Peer.end."""
        self._peer.end(stream)
        if not self._reading:
            self._flush()

    def close_door(self) -> None:
        """Requests that come from now on are to be sent elsewhere."""
        self._peer.closing = True

    @property
    def partial_bytes(self) -> int:
        return self._peer.partial_bytes

    @property
    def is_quiet(self) -> bool:
        return self._peer.quiet and (self._transport is None or not self._transport.get_write_buffer_size())

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._flush()
        self._front.look()

    def close(self) -> None:
        """Once whatever the router could send before it knew that this ends is read, too, and given back."""
        if self._transport is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self._transport.get_extra_info("socket").shutdown(socket.SHUT_RD)

    def _flush(self) -> None:
        transport = self._transport
        while transport is not None and not self._full and (data := self._peer.outgoing()):
            transport.write(data)
        if transport is not None and self._peer.backlog_bytes > MAX_UNREAD_BYTES:
            log.warning("a connection is closed: it does not take its answers")
            transport.abort()
