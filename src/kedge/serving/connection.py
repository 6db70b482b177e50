"""One client's connection: HTTP/1.1 in, whole requests out, one at a time, and their answers back in order."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

import httptools

from kedge import errors
from kedge.serving import answers, head
from kedge.serving.inbound import ExpectationFailed, HeadTooLarge, Inbound, MalformedRequest, RequestTimeout

if TYPE_CHECKING:
    from kedge.serving.front import Front

log = logging.getLogger(__name__)

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_NEVER = math.inf
_JOIN_BYTES = 64 * 1024
_LINGER_BYTES = 64 * 1024 * 1024
_HEAD_SLACK_BYTES = 256 * 1024
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_ORIGIN = re.compile(rb"/[!-~\x80-\xff]*\Z")


class Connection(asyncio.Protocol):
    """From connection_made to connection_lost. Requests wait in `_queue`; `_current` is being handled."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_body_starts_s",
        "_chunk_bytes",
        "_chunked",
        "_current",
        "_discarded_bytes",
        "_expects",
        "_framing_bytes",
        "_front",
        "_hash",
        "_head_raw_bytes",
        "_headers",
        "_http_1_0",
        "_lingering",
        "_loop",
        "_parser",
        "_piece",
        "_queue",
        "_queued_bytes",
        "_reading",
        "_reading_paused",
        "_refusal",
        "_repeated",
        "_repeated_host",
        "_streaming",
        "_transport",
        "_url",
        "_wants_no_more",
        "_write_paused",
        "expires_s",
    )

    def __init__(self, front: Front) -> None:
        self._front = front
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser | None = None
        self._queue: deque[Inbound] = deque()
        self._queued_bytes = 0
        self._current: Inbound | None = None
        self._reading = ""
        """ "" between requests, "head" or "body" within one."""
        self._reading_paused = False
        self._write_paused = False
        self._wants_no_more = False
        self._lingering = False
        self._streaming = False
        """`_current` is being answered piece by piece."""
        self._discarded_bytes = 0
        self._refusal: errors.ServiceError | None = None
        self.expires_s = _NEVER
        self._head_raw_bytes = 0
        """Of all that was read since the first byte of a head that is incomplete, and with it."""
        self._chunk_bytes = 0
        self._framing_bytes = 0
        """Of all that was read since the last piece of a body: extensions of chunks, trailers."""
        self._forget_message()

    def _forget_message(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._repeated = 0
        self._repeated_host = False
        self._http_1_0 = False
        self._chunked = False
        self._expects = False
        self._piece = b""
        self._body: bytearray | None = None
        self._body_bytes = 0
        self._body_starts_s = 0.0
        self._hash: hashlib._Hash | None = None

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        front = self._front
        if len(front.connections) >= front.limits.connections:
            error = errors.ServiceUnavailable(f"This router has {front.limits.connections} connections already.")
            self._transport.write(self._bytes_of(*answers.error(error, self._front.ids.next()), close=True))
            self._transport.close()
            return
        front.connections.add(self)
        self._parser = httptools.HttpRequestParser(self)
        self.expires_s = self._loop.time() + front.limits.head_s

    def connection_lost(self, exc: Exception | None) -> None:
        front = self._front
        front.connections.discard(self)
        front.stall(self, 0)
        front.held_bytes -= self._body_bytes + self._queued_bytes
        self._queue.clear()
        self._queued_bytes = self._body_bytes = 0
        self._parser = self._transport = None
        self.expires_s = _NEVER
        if self._current is not None:
            inbound, self._current = self._current, None
            front.held_bytes -= len(inbound.body)
            if inbound.gone is not None:
                inbound.gone()

    def eof_received(self) -> bool:
        # A client that ends its side has given up on an answer, as every reverse proxy reads it.
        return False

    def pause_writing(self) -> None:
        self._write_paused = True
        self._stall()
        self._regulate()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._front.stall(self, 0)
        if self._streaming:
            self.expires_s = _NEVER
            inbound = self._current
            if inbound is not None and inbound.drained is not None:
                inbound.drained()
        elif not self._lingering:
            self.expires_s = self._loop.time() + self._front.limits.keep_alive_s
        self._next()
        self._regulate()

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > _LINGER_BYTES:
                self.abort()
            return
        if self._wants_no_more or (not self._reading and self._read_plain(data)):
            return
        # The parser joins the pieces of a header without a bound of its own.
        self._chunk_bytes = len(data)
        self._head_raw_bytes += len(data)
        self._framing_bytes += len(data)
        self._feed(data)
        if self._reading != "head":
            self._head_raw_bytes = 0
        if self._refusal is not None:
            self._queue_refusal(self._refusal)
        elif self._reading == "head":
            if self._head_raw_bytes > self._front.limits.head_bytes + _HEAD_SLACK_BYTES:
                self._queue_refusal(self._head_too_large())
        elif self._reading == "body" and self._framing_bytes > self._front.limits.head_bytes + _HEAD_SLACK_BYTES:
            most_bytes = self._front.limits.head_bytes
            self._queue_refusal(MalformedRequest(f"A chunk's extension, or trailers, may have {most_bytes} bytes."))
        elif self._reading == "body":
            limits, now_s = self._front.limits, self._loop.time()
            self.expires_s = min(now_s + limits.body_idle_s, self._body_starts_s + limits.body_s)
        if self._current is None:
            self._next()
        if self._queue:
            self._regulate()

    def _read_plain(self, data: bytes) -> bool:
        """Take what is one whole, plain request, unless it is too large: what is refused, the parser's way refuses."""
        plain = head.read(data)
        if plain is None:
            return False
        method, path, query, headers, body = plain
        front = self._front
        size = len(body)
        if size > front.body_limit_bytes or front.held_bytes + size > front.limits.held_bytes:
            return False
        inbound = Inbound(self, method, path, query, headers)
        inbound.body = body
        front.held_bytes += size
        self.expires_s = _NEVER
        if self._current is None and not self._queue and not self._write_paused:
            self._current = inbound
            front.handle(inbound)
        else:
            self._queue.append(inbound)
            self._queued_bytes += size
            self._regulate()
        return True

    def _feed(self, data: bytes) -> None:
        while data and self._parser is not None:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # No other protocol is spoken here: the request counts, the wish does not.
                data = data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserCallbackError as error:
                if self._refusal is None:
                    log.error("a connection's parser failed", exc_info=error)
                    self._refusal = errors.InternalFailure("The request could not be read.")
            except httptools.HttpParserError as error:
                if not self._wants_no_more:
                    self._refusal = MalformedRequest(f"This is not HTTP that is understood here: {error}.")
            return

    # What the parser tells.

    def on_message_begin(self) -> None:
        self._reading = "head"
        # The requests before it in a long pipeline do not count.
        self._head_raw_bytes = self._chunk_bytes
        if self._current is None:
            self.expires_s = self._loop.time() + self._front.limits.head_s

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading != "head":
            return  # a trailer: nothing here reads any
        key = _name(name)
        text = value.decode("latin-1").strip(" \t")
        headers = self._headers
        if key in headers:
            self._repeated += 1
            self._repeated_host |= key == "host"
            headers[key] = f"{headers[key]},{text}"
        else:
            headers[key] = text

    def on_headers_complete(self) -> None:
        parser, limits = self._parser, self._front.limits
        assert parser is not None
        headers = self._headers
        if self._head_raw_bytes > limits.head_bytes or len(headers) + self._repeated > limits.headers:
            size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in headers.items())
            if size > limits.head_bytes or len(headers) + self._repeated > limits.headers:
                raise self._refuse(self._head_too_large())
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise self._refuse(MalformedRequest(f"HTTP/{version} is not spoken here; HTTP/1.1 is."))
        self._http_1_0 = version == "1.0"
        if self._repeated_host or ("host" not in headers and not self._http_1_0):
            raise self._refuse(MalformedRequest("A request needs one Host header."))
        if not (_ORIGIN.match(self._url) or _ABSOLUTE.match(self._url)):
            raise self._refuse(MalformedRequest("The request's target has to be a path that begins with a slash."))
        coding = headers.get("transfer-encoding")
        if parser.should_upgrade() and (coding is not None or headers.get("content-length", "0") != "0"):
            # The parser would take the body for the other protocol's bytes, and thus perhaps for another request.
            raise self._refuse(MalformedRequest("Upgrade is not possible here; send the request without it."))
        if coding is not None:
            if coding.lower() != "chunked" or "content-length" in headers or self._http_1_0:
                said = f'Transfer-Encoding is "{coding[:64]}"'
                raise self._refuse(
                    MalformedRequest(f'{said}; in HTTP/1.1, "chunked" without a Content-Length is taken.')
                )
            self._chunked = True
        elif (length := headers.get("content-length")) is not None:
            if not (length.isascii() and length.isdigit()):
                raise self._refuse(MalformedRequest(f'Content-Length is "{length[:64]}"; it has to be one number.'))
            if int(length) > self._front.body_limit_bytes:
                raise self._refuse(answers.too_large(self._front.body_limit_bytes))
        expect = headers.get("expect")
        if expect is not None:
            if expect.lower() != "100-continue":
                raise self._refuse(ExpectationFailed(f'Expect is "{expect[:64]}"; 100-continue is the one known.'))
            self._expects = not self._http_1_0
        self._reading = "body"
        self._framing_bytes = 0
        self._body_starts_s = self._loop.time()
        if self._expects and self._current is None and not self._queue:
            self._continue()

    def on_body(self, piece: bytes) -> None:
        front = self._front
        size = len(piece)
        self._body_bytes += size
        self._framing_bytes = 0
        front.held_bytes += size
        self._expects = False
        if self._body_bytes > front.body_limit_bytes:
            raise self._refuse(answers.too_large(front.body_limit_bytes))
        if front.held_bytes > front.limits.held_bytes:
            raise self._refuse(errors.Throttled("This router holds as many bytes of requests as it may; try again."))
        if not self._piece:
            self._piece = piece
            return
        if self._body is None:
            # Pieces may be single bytes: they go into one buffer, not into a list of objects.
            self._body = bytearray(self._piece)
            if front.hash_while_reading:
                self._hash = hashlib.sha256(self._piece)
        self._body += piece
        if self._hash is not None:
            self._hash.update(piece)

    def on_message_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        if self._reading != "body":
            return
        url = self._url
        absolute = _ABSOLUTE.match(url)
        if absolute is not None:
            url = url[absolute.end() :]
            if not url.startswith(b"/"):
                url = b"/" + url
        path, _, query = url.decode("latin-1").partition("?")
        inbound = Inbound(self, parser.get_method().decode(), path, query, self._headers)
        inbound.answered_to(
            self._piece if self._body is None else bytes(self._body),
            self._hash.hexdigest() if self._hash is not None else "",
        )
        inbound.http_1_0 = self._http_1_0
        inbound.keep_alive = parser.should_keep_alive()
        self._wants_no_more = not inbound.keep_alive
        self._queue.append(inbound)
        self._queued_bytes += self._body_bytes
        self._reading = ""
        self._forget_message()
        self.expires_s = _NEVER

    def _refuse(self, error: errors.ServiceError) -> errors.ServiceError:
        """Raised through the parser, which stops there; data_received then finds it in `_refusal`."""
        self._refusal = error
        return error

    def _head_too_large(self) -> HeadTooLarge:
        limits = self._front.limits
        return HeadTooLarge(
            f"Request line and headers may have {limits.head_bytes} bytes in {limits.headers} headers together."
        )

    def _continue(self) -> None:
        self._expects = False
        if self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Taking turns.

    def _next(self) -> None:
        """Handle the next request, if there is one and nothing stands in its way."""
        while self._queue and self._current is None and not self._write_paused and not self._lingering:
            inbound = self._queue.popleft()
            self._current = inbound
            self._queued_bytes -= len(inbound.body)
            if inbound.refusal is not None:
                self._answer_refusal(inbound, inbound.refusal)
                return
            self._front.handle(inbound)
        if self._expects and self._current is None:
            self._continue()

    def origin(self) -> tuple[str, bool] | None:
        """(address of the client, whether by TLS); None on the Unix socket, where control speaks for clients."""
        transport = self._transport
        peer = transport.get_extra_info("peername") if transport is not None else None
        if transport is None or not isinstance(peer, tuple):
            return None
        return str(peer[0]), transport.get_extra_info("sslcontext") is not None

    def respond(self, inbound: Inbound, status: int, headers: bytes, body: bytes) -> None:
        transport = self._transport
        if inbound is not self._current or transport is None:
            return
        front = self._front
        self._current = None
        front.held_bytes -= len(inbound.body)
        close = not inbound.keep_alive or front.draining
        size = len(body)
        line = b"connection: close\r\n" if close else b"connection: keep-alive\r\n" if inbound.http_1_0 else b""
        joined = b"" if size > _JOIN_BYTES or inbound.method == "HEAD" else body
        transport.write(b"".join((_STATUS_LINES[status], headers, _length(size), line, front.date, b"\r\n", joined)))
        if joined is not body and inbound.method != "HEAD":
            transport.write(body)
        if close:
            self.close()
        elif self._queue or self._reading_paused:
            # Not from within `respond`: a long pipeline of requests answered at once must not nest.
            self._loop.call_soon(self._go_on)
        else:
            if not self._reading and not self._write_paused:
                self.expires_s = self._loop.time() + front.limits.keep_alive_s
            if self._expects:
                self._continue()

    def begin(self, inbound: Inbound, headers: bytes) -> None:
        transport = self._transport
        if inbound is not self._current or transport is None:
            return
        self._streaming = True
        if self._front.draining or inbound.http_1_0:
            inbound.keep_alive = False
        framing = b"" if inbound.http_1_0 else b"transfer-encoding: chunked\r\n"
        close = b"" if inbound.keep_alive else b"connection: close\r\n"
        transport.write(b"".join((_STATUS_LINES[200], headers, framing, close, self._front.date, b"\r\n")))

    def write(self, inbound: Inbound, data: bytes) -> bool:
        transport = self._transport
        if inbound is not self._current or transport is None:
            return False
        transport.write(data if inbound.http_1_0 else b"%x\r\n%s\r\n" % (len(data), data))
        if self._write_paused:
            self._front.stall(self, transport.get_write_buffer_size())
        return not self._write_paused

    def finish(self, inbound: Inbound) -> None:
        transport = self._transport
        if inbound is not self._current or transport is None:
            return
        self._current = None
        self._streaming = False
        self._front.held_bytes -= len(inbound.body)
        if not inbound.http_1_0:
            transport.write(b"0\r\n\r\n")
        if not inbound.keep_alive or self._front.draining:
            self.close()
            return
        if not self._reading and not self._write_paused:
            self.expires_s = self._loop.time() + self._front.limits.keep_alive_s
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._next()
        self._regulate()

    def _queue_refusal(self, error: errors.ServiceError) -> None:
        """The answers of requests that came before go first; nothing is read after it."""
        self._wants_no_more = True
        self._refusal = None
        self._front.held_bytes -= self._body_bytes
        self._reading = ""
        self._forget_message()
        inbound = Inbound(self, "", "", "", {})
        inbound.refusal = error
        self._queue.append(inbound)

    def _answer_refusal(self, inbound: Inbound, error: errors.ServiceError) -> None:
        """Say why, then let the client finish sending: a reset would take the answer away from it."""
        transport = self._transport
        self._current = None
        if transport is None:
            return
        self._lingering = True
        self._parser = None
        self.expires_s = self._loop.time() + self._front.limits.linger_s
        if self._reading_paused:
            self._reading_paused = False
            transport.resume_reading()
        transport.write(self._bytes_of(*answers.error(error, self._front.ids.next()), close=True))
        if transport.can_write_eof():
            transport.write_eof()

    def _bytes_of(self, status: int, headers: bytes, body: bytes, *, close: bool) -> bytes:
        connection = b"connection: close\r\n" if close else b""
        length = b"content-length: %d\r\n" % len(body)
        return b"".join((_STATUS_LINES[status], headers, length, connection, self._front.date, b"\r\n", body))

    def _regulate(self) -> None:
        """Stop reading while more is queued, or less is taken, than should be."""
        transport, limits = self._transport, self._front.limits
        if transport is None or self._lingering or transport.is_closing():
            return
        pause = (
            len(self._queue) >= limits.pipelined
            or (bool(self._queue) and self._queued_bytes > limits.pipelined_bytes)
            or self._write_paused
        )
        if pause and not self._reading_paused:
            transport.pause_reading()
        elif not pause and self._reading_paused:
            transport.resume_reading()
        self._reading_paused = pause

    def _stall(self) -> None:
        assert self._transport is not None
        self._front.stall(self, self._transport.get_write_buffer_size())
        self.expires_s = self._loop.time() + self._front.limits.write_stall_s

    # Ends.

    @property
    def is_idle(self) -> bool:
        return self._current is None and not self._queue and not self._reading and not self._write_paused

    def close(self) -> None:
        self._wants_no_more = True
        if self._transport is not None:
            self._transport.close()

    def cut_short(self) -> None:
        """The router ends: nobody waits any longer for what is being answered."""
        inbound = self._current
        if self._streaming and inbound is not None and inbound.cut is not None:
            inbound.cut()
        else:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def expire(self, now_s: float) -> None:
        """`expires_s` is over."""
        transport = self._transport
        if transport is None:
            return
        if self._write_paused:
            if transport.get_write_buffer_size() < self._front.stalled.get(self, 0):
                self._stall()
            else:
                self.abort()
        elif self._lingering:
            self.abort()
        elif self._reading_paused:
            self.expires_s = now_s + self._front.limits.head_s  # not the client's fault
        elif self._reading:
            self._queue_refusal(RequestTimeout(f"The request's {self._reading} did not arrive in time."))
            self._next()
        else:
            self.close()


@lru_cache(1024)
def _length(size: int) -> bytes:
    """The header that says so."""
    return b"content-length: %d\r\n" % size


@lru_cache(256)
def _name(name: bytes) -> str:
    """A header's name in lower case; clients send the same few over and over."""
    return name.decode("latin-1").lower()
