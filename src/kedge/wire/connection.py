"""Bounds on what a connection may send before there is a request: uvicorn's protocol has none for the head."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
        super().data_received(data)
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

    def on_headers_complete(self) -> None:
        self._head_came()
        self._in_head = self._begun = False
        self._heads += 1
        self._pending_bytes = 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.head_bytes:
            raise HeadTooLong
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

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

    def _refuse(self, why: str) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response(why)
        else:  # the answer to the request before is under way: nothing may be written into it
            self.transport.close()
