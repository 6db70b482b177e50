"""Between ASGI and the wire's own Request and Response: a body is read in bounds, an answer is sent as it comes."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from kedge.errors import IncompleteBody, RequestTooLarge, SerializationFailed, ServiceError, Throttled
from kedge.wire.body_socket import BODY_SOCKET, BodySocket
from kedge.wire.http import Request, Response

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    body_bytes: int = 16 * 1024 * 1024
    """A body that is read before its operation runs, as sent and unpacked."""
    held_bytes: int = 256 * 1024 * 1024
    """All such bodies at one time."""
    requests: int = 512
    """Requests in progress."""
    body_idle_s: float = 60.0
    """Between two pieces of a body."""
    write_stall_s: float = 60.0
    """How long a client may take none of an answer."""
    linger_bytes: int = 64 * 1024 * 1024
    """How much of a refused body is thrown away, so that a client that sends before it reads gets its answer."""
    linger_s: float = 5.0


class RequestTimeout(ServiceError):
    code, status = "RequestTimeoutException", 408
    elsewhere = {"s3": ("RequestTimeout", 400)}


class Held:
    """Bytes of bodies that are in memory, over all requests. Used by one event loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0

    def take(self, count: int) -> None:
        """Raises Throttled."""
        if self._bytes + count > self._limit:
            raise Throttled("Rate exceeded: too many large requests are in progress.")
        self._bytes += count

    def give_back(self, count: int) -> None:
        self._bytes -= count


class Incoming:
    """A request whose head has arrived. The body can be taken once, by `chunks` or by `read`.

    Or, once it is `lent`, by threads: `fill` for as long as there is `more`.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, held: Held) -> None:
        headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        path = scope.get("raw_path") or scope["path"].encode()
        query = scope["query_string"].decode("latin-1")
        self.request = Request(
            scope["method"],
            path.decode("latin-1"),
            query,
            headers,
            client=(scope.get("client") or ("",))[0],
            secure=scope.get("scheme") == "https",
        )
        self._lend = (scope.get("extensions") or {}).get(BODY_SOCKET)
        self._lent: BodySocket | None = None
        self._receive = receive
        self._limits = limits
        self._held = held
        self._taken = 0
        self._started = False
        self.complete = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self.disconnected = False
        self._timed_out = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """Raises RequestTimeout, or IncompleteBody when the client goes away."""
        while self._lent is not None and await self.more():
            if piece := self._lent.piece():
                yield piece
        while not self.complete:
            self._started = True
            async with self._in_time():
                message = await self._receive()
            if message["type"] == "http.disconnect":
                raise self._gone()
            self.complete = not message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    def lent(self) -> bool:
        """Whether the rest of the body goes past the loop from now on: only where the connection can, and it pays."""
        if self._lend is not None and not self._started:
            self._lent = self._lend()
        self._started = self._started or self._lent is not None
        return self._lent is not None

    async def more(self) -> bool:
        """Whether there is more of a body that was lent; returns when it comes. Raises as `chunks` does."""
        assert self._lent is not None, "the body was not lent"
        if self._lent.left_bytes and not self._lent.gone:
            async with self._in_time():
                await self._lent.readable()
        if self._lent.left_bytes and not self._lent.gone:
            return True
        self.complete = True
        self._lent.give_back()
        if self._lent.gone:
            await self.gone()
            raise self._gone()
        return False

    def fill(self, buffer: memoryview) -> int:
        """In a thread: how many bytes of the body came into the buffer. None may mean that `more` has to be asked."""
        assert self._lent is not None, "the body was not lent"
        return self._lent.fill(buffer)

    def _gone(self) -> IncompleteBody:
        self.disconnected = self.complete = True
        return IncompleteBody("The connection was closed before the whole body came.")

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.body_idle_s):
                yield
        except TimeoutError:
            self._timed_out = True
            raise RequestTimeout(
                f"Your socket connection to the server was not read from or written to within "
                f"{self._limits.body_idle_s:g} s: no more of the body came."
            ) from None

    async def read(self, limit: int | None = None) -> bytes:
        """The whole body. limit: bytes, of all such bodies by default.

        Raises RequestTooLarge, Throttled, RequestTimeout or IncompleteBody.
        """
        limit = self._limits.body_bytes if limit is None else limit
        length = self.request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            raise RequestTooLarge(f"The body has {int(length)} bytes; at most {limit} are taken.")
        body = bytearray()
        async for piece in self.chunks():
            if len(body) + len(piece) > limit:
                raise RequestTooLarge(f"The body has more than {limit} bytes, which is the most that is taken.")
            self._held.take(len(piece))
            self._taken += len(piece)
            body += piece
        return bytes(body)

    async def gone(self) -> None:
        """Returns when the client has closed the connection."""
        while not self.disconnected:
            self.disconnected = (await self._receive())["type"] == "http.disconnect"

    def release(self) -> None:
        """The body that was read is no longer in memory; one that was lent is no longer waited for."""
        if self._lent is not None:
            self._lent.give_back()
        self._held.give_back(self._taken)
        self._taken = 0

    async def settle(self) -> bool:
        """Throws away what has not been read; whether the connection can carry another request."""
        if self._timed_out:
            return False
        if self.complete:
            return not self.disconnected
        if not self._started and "100-continue" in self.request.headers.get("expect", "").lower():
            return False  # asking for the body only to throw it away would be worse
        left = self._limits.linger_bytes
        try:
            async with asyncio.timeout(self._limits.linger_s):
                async for piece in self.chunks():
                    left -= len(piece)
                    if left < 0:
                        return False
        except (TimeoutError, ServiceError):
            return False
        return True


async def reply(response: Response, incoming: Incoming, send: Send, limits: Limits) -> None:
    """Sends an answer; closes a streamed body whatever happens."""
    body = response.body
    try:
        if incoming.disconnected:
            return
        keep = await incoming.settle()
        headers = dict(response.headers)
        if not keep:
            headers["connection"] = "close"
        if isinstance(body, bytes) and incoming.request.method != "HEAD" and response.status not in (204, 304):
            headers["content-length"] = str(len(body))
        raw = [(_header_bytes(name), _header_bytes(value)) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": raw})
        if isinstance(body, bytes) or incoming.request.method == "HEAD":
            text = body if isinstance(body, bytes) and incoming.request.method != "HEAD" else b""
            await send({"type": "http.response.body", "body": text})
        else:
            await _stream(body, incoming, send, limits)
    finally:
        if not isinstance(body, bytes) and hasattr(body, "aclose"):
            await body.aclose()


async def _stream(body: AsyncIterator[bytes], incoming: Incoming, send: Send, limits: Limits) -> None:
    """An answer that breaks off is left without its end, upon which the server closes the connection."""
    gone = asyncio.create_task(incoming.gone())
    passing = asyncio.create_task(_pass_on(body, send, limits))
    try:
        # Events may be far apart: that the client has gone is not left to the next one to find out.
        await asyncio.wait((passing, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        passing.cancel()
        (ended,) = await asyncio.gather(passing, return_exceptions=True)
    match ended:
        case None:
            await send({"type": "http.response.body", "body": b""})
        case TimeoutError():
            log.info("a client took nothing for %g s; its answer is broken off", limits.write_stall_s)
        case asyncio.CancelledError():
            return
        case _:
            request = incoming.request
            log.error("the answer to %s %s broke off", request.method, request.path, exc_info=ended)


async def _pass_on(body: AsyncIterator[bytes], send: Send, limits: Limits) -> None:
    async for piece in body:
        async with asyncio.timeout(limits.write_stall_s):
            await send({"type": "http.response.body", "body": piece, "more_body": True})


def _header_bytes(text: str) -> bytes:
    """A header cannot hold a line's end, or what is answered could write headers of its own."""
    text = text.translate({0: " ", 10: " ", 13: " "})
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def unzipped_request(request: Request, body: bytes, limit: int) -> Request:
    """The request with its body as it was before the client compressed it, and no word of that.

    Raises SerializationFailed or RequestTooLarge.
    """
    encoding = request.headers.get("content-encoding")
    if encoding is None:
        return replace(request, body=body)
    headers = {name: value for name, value in request.headers.items() if name != "content-encoding"}
    return replace(request, headers=headers, body=unzipped(body, encoding, limit))


def unzipped(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding: gzip, once, or none. Raises SerializationFailed or RequestTooLarge."""
    codings = [name for part in encoding.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not codings:
        return body
    if codings not in (["gzip"], ["x-gzip"]):
        raise SerializationFailed(f'Content-Encoding is "{encoding[:64]}"; gzip is taken.')
    plain, rest = bytearray(), body
    try:
        while rest:
            member = zlib.decompressobj(wbits=31)
            plain += member.decompress(rest, limit + 1 - len(plain))
            if len(plain) > limit:
                raise RequestTooLarge(f"The body unpacks to more than {limit} bytes, which is the most that is taken.")
            if not member.eof:
                raise SerializationFailed("The body is cut short: its gzip data has no end.")
            rest = member.unused_data
    except zlib.error as error:
        raise SerializationFailed(f"The body is not gzip: {error}") from None
    return bytes(plain)
