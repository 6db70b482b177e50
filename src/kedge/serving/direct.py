"""One request to one instance, without a router: for work that comes from a queue or a job, and may be large.

A connection of its own carries it. The body goes out as it is read and the answer comes in as it is taken, so neither
is ever held whole here; whoever ends the `async with` early has the instance forget the request, if it has not begun.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kedge.serving import frames
from kedge.serving.frames import Frame, FrameError, Kind

_STREAM = 1
_READ_BYTES = 256 * 1024
_CREDIT_STEP_BYTES = frames.WINDOW_BYTES // 4


class Lost(Exception):
    """The instance was gone before it had answered to the end, or does not speak the protocol."""


class Unheard(Lost):
    """As Lost, of a request that no model has seen: the instance, which greets before it reads, had not greeted."""


class Refused(Exception):
    """The instance answered with ERROR."""

    def __init__(self, head: dict[str, Any]) -> None:
        super().__init__(str(head.get("message", "")))
        self.head = head


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    custom_attributes: str
    parts: AsyncIterator[bytes]
    """Raises Lost or Refused where it breaks off."""


@asynccontextmanager
async def asked(socket: str, instance: str, head: bytes, body: AsyncIterable[bytes]) -> AsyncIterator[Answer]:
    """The answer once it begins. head: of kedge.serving.asking.encoded_head. Raises Lost, Refused, and what `body`
    does."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket, limit=2 * _READ_BYTES)
    except OSError as error:
        raise Unheard(f"the instance cannot be reached: {error}") from error
    exchange = _Exchange(reader, writer, instance)
    sending = asyncio.create_task(exchange.send(head, body))
    try:
        yield await exchange.answer(sending)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


class _Exchange:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, instance: str) -> None:
        self._reader, self._writer, self._instance = reader, writer, instance
        self._decoder = frames.Decoder()
        self._frames: deque[Frame] = deque()
        self._window = frames.WINDOW_BYTES
        self._credited = asyncio.Event()
        self._received = 0
        """Bytes of the answer that were not credited yet."""
        self._is_greeted = False

    async def send(self, head: bytes, body: AsyncIterable[bytes]) -> None:
        write = self._writer.write
        try:
            write(frames.with_head(Kind.HELLO, 0, {"version": frames.VERSION}))
            write(frames.frame(Kind.REQUEST, _STREAM, head))
            async for data in body:
                view = memoryview(data)
                while view:
                    while self._window <= 0:
                        self._credited.clear()
                        await self._credited.wait()
                    part = bytes(view[: min(frames.PART_BYTES, self._window)])
                    view = view[len(part) :]
                    self._window -= len(part)
                    write(frames.frame(Kind.CHUNK, _STREAM, part))
                    await self._writer.drain()
            write(frames.frame(Kind.END, _STREAM))
            await self._writer.drain()
        except ConnectionError:
            return  # whoever reads the answer sees it too

    async def answer(self, sending: asyncio.Task[None]) -> Answer:
        """The head of the answer. A body that cannot be read to its end is the caller's to know at once."""
        first = asyncio.ensure_future(self._next())
        try:
            await asyncio.wait((first, sending), return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                sending.result()
            frame = await first
        finally:
            if not first.done():
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
        if frame.kind is not Kind.RESPONSE:
            raise Lost(f"the instance answered with {frame.kind.name}")
        head, part = self._head(frame)
        status, last = head.get("status", 200), bool(frame.flags & frames.LAST)
        return Answer(
            status if isinstance(status, int) and 100 <= status <= 599 else 500,
            str(head.get("content_type") or ""),
            str(head.get("custom_attributes") or ""),
            self._parts(part, last=last),
        )

    async def _parts(self, part: bytes, *, last: bool) -> AsyncIterator[bytes]:
        while True:
            if part:
                yield part
                self._credit(len(part))
            if last:
                return
            frame = await self._next()
            if frame.kind not in (Kind.CHUNK, Kind.END):
                raise Lost(f"the instance sent {frame.kind.name} within an answer")
            part, last = frame.payload, frame.kind is Kind.END or bool(frame.flags & frames.LAST)

    def _credit(self, count: int) -> None:
        self._received += count
        if self._received >= _CREDIT_STEP_BYTES:
            self._writer.write(frames.credit(_STREAM, self._received))
            self._received = 0

    async def _next(self) -> Frame:
        """The next frame of the answer. Raises Lost, Refused."""
        while True:
            while not self._frames:
                try:
                    data = await self._reader.read(_READ_BYTES)
                    if not data:
                        raise self._lost("the instance was gone before it had answered")
                    self._frames.extend(self._decoder.feed(data))
                except (OSError, FrameError) as error:
                    raise self._lost(f"the connection to the instance broke: {error}") from error
            frame = self._frames.popleft()
            if frame.kind is Kind.HELLO:
                self._greeted(frame)
            elif frame.kind is Kind.PING:
                self._writer.write(frames.frame(Kind.PING, frame.stream, frame.payload, frames.ACK))
            elif frame.kind is Kind.CREDIT:
                self._window += frame.credit()
                self._credited.set()
            elif frame.kind is Kind.ERROR:
                raise Refused(self._head(frame)[0])
            else:
                return frame

    def _lost(self, message: str) -> Lost:
        return Lost(message) if self._is_greeted else Unheard(message)

    def _greeted(self, frame: Frame) -> None:
        self._is_greeted = True
        found = self._head(frame)[0].get("instance")
        if found != self._instance:
            raise Lost(f"it is instance {found!r} that answers there, not {self._instance!r}")

    def _head(self, frame: Frame) -> tuple[dict[str, Any], bytes]:
        try:
            return frame.head()
        except FrameError as error:
            raise Lost(str(error)) from error
