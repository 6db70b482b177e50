"""HTTP/1.1 from the worker to a server beside it: connections that are kept, and one request at a time on each."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httptools

MAX_CONNECTIONS = 64
"""At once, to one server; further requests wait. Small servers accept few connections at a time."""
MAX_HEAD_BYTES = 64 * 1024
_READ_BYTES = 256 * 1024

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Stream]]


class BrokenAnswer(Exception):
    """The connection ended before the answer was whole, or what came is no HTTP; the message is a sentence."""


class AnswerTooLarge(Exception):
    """It has more bytes than it may."""


@dataclass
class Reply:
    """Names of headers are in lower case; of a repeated one the last counts."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


OnPart = Callable[[Reply, bytes], Awaitable[None]]
"""Is waited for before more is read."""


class Client:
    """For one event loop."""

    def __init__(self, connect: Connect, host: str) -> None:
        """connect: raises OSError. host: what the Host header says."""
        self._connect = connect
        self._host = host
        self._idle: deque[Stream] = deque()
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        limit_bytes: int,
        *,
        fresh: bool = False,
        on_part: OnPart | None = None,
    ) -> Reply:
        """fresh: on a connection of its own, however many there are. on_part: takes what there is of a good answer's
        body while more may follow; the reply has the rest, and limit_bytes holds for that.

        Raises OSError, BrokenAnswer and AnswerTooLarge. Cancelling it closes the connection, which is all that a server
        can learn of it.
        """
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += ["Connection: close"] if fresh else []
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        if fresh:
            return (await self._on(await self._connect(), request, limit_bytes, on_part, keep=False)) or Reply()
        async with self._free:
            while self._idle:
                stream = self._idle.pop()
                if stream[0].at_eof() or stream[1].is_closing():
                    stream[1].close()
                    continue
                reply = await self._on(stream, request, limit_bytes, on_part, may_be_stale=True)
                if reply is not None:
                    return reply
            found = await self._on(await self._connect(), request, limit_bytes, on_part)
            assert found is not None, "only a kept connection can be stale"
            return found

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()

    async def _on(
        self,
        stream: Stream,
        request: bytes,
        limit_bytes: int,
        on_part: OnPart | None,
        *,
        keep: bool = True,
        may_be_stale: bool = False,
    ) -> Reply | None:
        """None when a kept connection had been closed by the server before it said anything."""
        reader, writer = stream
        answer = _Answer(limit_bytes)
        kept = False
        try:
            writer.write(request)
            _acknowledge_at_once(writer)
            try:
                await _read(reader, answer, on_part)
            except (OSError, BrokenAnswer):
                if may_be_stale and not answer.begun:
                    return None
                raise
            kept = keep and answer.may_be_kept
            return answer.reply
        finally:
            if kept:
                self._idle.append(stream)
            else:
                writer.close()


class _Answer:
    """What httptools' parser makes of it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._count = 0
        self._head_bytes = 0
        self._is_measured = False
        self._has_head = False
        self.begun = False
        self.complete = False
        self.may_be_kept = False
        self.reply = Reply()

    def feed(self, data: bytes) -> None:
        """Raises BrokenAnswer and AnswerTooLarge."""
        self.begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, AnswerTooLarge):
                raise error.__context__ from None
            raise BrokenAnswer(f"The server's answer is not HTTP: {error}.") from error
        self._head_bytes += len(data)
        if not self._has_head and self._head_bytes > MAX_HEAD_BYTES:
            raise BrokenAnswer(f"The head of the server's answer has more than {MAX_HEAD_BYTES} bytes.")

    def take(self) -> bytes:
        """What has come of a good answer's body since this was asked last; nothing once it is complete."""
        if not self._has_head or self.complete or not 200 <= self.reply.status < 300:
            return b""
        part = b"".join(self._parts)
        self._parts.clear()
        self._count = 0
        return part

    def ended(self) -> None:
        """The connection is closed: the end of a body whose length nobody told. Raises BrokenAnswer."""
        if not self.complete:
            if not self._has_head or self._is_measured:
                raise BrokenAnswer("The server closed the connection before it had answered.")
            self.on_message_complete()
            self.may_be_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        self.reply.headers[key] = value.decode("latin-1").strip()
        self._is_measured = self._is_measured or key in ("content-length", "transfer-encoding")

    def on_headers_complete(self) -> None:
        self.reply.status = self._parser.get_status_code()
        self._has_head = True

    def on_body(self, part: bytes) -> None:
        self._count += len(part)
        if self._count > self._limit_bytes:
            raise AnswerTooLarge
        self._parts.append(part)

    def on_message_complete(self) -> None:
        if 100 <= self.reply.status < 200:
            self.reply, self._has_head, self._is_measured = Reply(), False, False
            return
        self.reply.body = b"".join(self._parts)
        self.may_be_kept = bool(self._parser.should_keep_alive())
        self.complete = True


def _acknowledge_at_once(writer: asyncio.StreamWriter) -> None:
    """Many a small server writes head and body apart, and its kernel keeps the body until the head is acknowledged."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


async def _read(reader: asyncio.StreamReader, answer: _Answer, on_part: OnPart | None) -> None:
    while not answer.complete:
        if on_part is not None and (part := answer.take()):
            await on_part(answer.reply, part)
        data = await reader.read(_READ_BYTES)
        if data:
            answer.feed(data)
        else:
            answer.ended()
