"""What uvicorn's protocol lacks: bounds on the head of a request, and bodies that are taken past the event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from kedge.wire.body_socket import BODY_SOCKET, LENT_BYTES, BodySocket

HEAD_BYTES = 64 * 1024
"""Request line and headers; S3 and the inference port take less, or as much."""
HEAD_S = 10.0
"""From the first byte of a head until its last. Between requests, and before the first, uvicorn's keep-alive counts."""


class HeadTooLong(Exception):
    """The parser turns it into its own error, and uvicorn that into a 400 and the end of the connection."""


class BoundedHttp(HttpToolsProtocol):
    """For uvicorn's setting `http`."""

    head_bytes = HEAD_BYTES
    head_s = HEAD_S

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_due: asyncio.TimerHandle | None = None
        self._unused_until: asyncio.TimerHandle | None = None
        self._in_head = True
        """Whether the next byte belongs to a head."""
        self._begun = False
        """Whether the first byte of a head has come, and not its last."""
        self._heads = 0
        self._pending_bytes = 0
        """Of a head that is not complete. What came with the end of the request before does not count."""
        self._framing_bytes = 0
        """Of all that was read since the last piece of a body: extensions of chunks, trailers."""
        self._body_left: int | None = None
        """Bytes of the present body that the parser has not seen; None where no length was said."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._unused_until = self.loop.call_later(self.timeout_keep_alive, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        self._used()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._used()
        heads, was_in_head = self._heads, self._in_head
        self._framing_bytes += len(data)
        super().data_received(data)
        if not self._in_head and self._framing_bytes > self.head_bytes and not self.transport.is_closing():
            self._refuse_body(f"A chunk's extension, or trailers, may have {self.head_bytes} bytes.")
        # Empty lines before a head are no part of it, but may not go on for ever either.
        only_head = was_in_head and heads == self._heads
        if self.transport.is_closing() or not (self._begun or only_head):
            return
        self._expect_head()
        if only_head:
            self._pending_bytes += len(data)
            if self._pending_bytes > self.head_bytes:
                self._refuse(f"The head of the request has more than {self.head_bytes} bytes.")

    def on_message_begin(self) -> None:
        self._begun = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer: nothing here reads any
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_came()
        self._framing_bytes = 0
        self._in_head = self._begun = False
        self._heads += 1
        self._pending_bytes = 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.head_bytes:
            raise HeadTooLong
        self._body_left = self._said_length()
        super().on_headers_complete()
        if self._body_left is not None and self.scheme == "http":
            extensions: dict[str, Any] = {BODY_SOCKET: partial(self._lend_body, self.cycle)}
            self.cycle.scope["extensions"] = extensions

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        if self._body_left is not None:
            self._body_left -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def _said_length(self) -> int | None:
        said = {name: value for name, value in self.headers if name in (b"content-length", b"transfer-encoding")}
        length = said.get(b"content-length", b"")
        return int(length) if b"transfer-encoding" not in said and length.isdigit() else None

    def _lend_body(self, cycle: RequestResponseCycle) -> BodySocket | None:
        """The rest of the body of the request that is being answered; nothing is read on the loop meanwhile."""
        open_one = self.transport.get_extra_info("socket")
        left = self._body_left or 0
        if cycle is not self.cycle or not cycle.more_body or left < LENT_BYTES or self.transport.is_closing():
            return None
        if open_one is None or self.parser.should_upgrade():
            return None
        self.flow.pause_reading()
        if cycle.waiting_for_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        first, cycle.body = bytes(cycle.body), bytearray()
        connection = socket.socket(fileno=os.dup(open_one.fileno()))
        connection.setblocking(False)
        return BodySocket(first, left, connection, self._body_is_back)

    def _body_is_back(self, whole: bool) -> None:
        if self.transport.is_closing() or self.parser is None:
            return
        if whole:
            # The parser still waits for a body that it will never see.
            self.on_message_complete()
            self.parser = httptools.HttpRequestParser(self)
            if hasattr(self.parser, "set_dangerous_leniencies"):  # as uvicorn does
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.flow.resume_reading()

    def _used(self) -> None:
        if self._unused_until is not None:
            self._unused_until.cancel()
            self._unused_until = None

    def _expect_head(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(self.head_s, self._head_is_late)

    def _head_came(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None

    def _head_is_late(self) -> None:
        if not self.transport.is_closing():
            self._refuse(f"The head of the request did not come within {self.head_s:g} s.")

    def _refuse_body(self, why: str) -> None:
        if self.cycle.response_started:
            self.transport.close()
        else:
            self.send_400_response(why)

    def _refuse(self, why: str) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response(why)
        else:  # the answer to the request before is under way: nothing may be written into it
            self.transport.close()
