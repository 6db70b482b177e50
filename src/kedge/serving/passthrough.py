"""Invocations that came to the API port: passed on to a router over its Unix socket, and the answer passed back.

Nothing is read into memory or changed, the Host header included, because the signature covers it; the router verifies.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import httptools

from kedge import errors
from kedge.serving import answers
from kedge.serving.inbound import ORIGIN_HEADER

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_READ_BYTES = 256 * 1024
_OF_ONE_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"expect"}
)

_ORIGIN = ORIGIN_HEADER.encode()

log = logging.getLogger(__name__)


class Passthrough:
    """An ASGI application for POST /endpoints/NAME/..., whichever of the routers answers."""

    def __init__(self, sockets: Sequence[Path]) -> None:
        """sockets: each router's, home.router_socket(0) and so on."""
        self._sockets = list(sockets)
        self._turn = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = await self._connect()
        if connection is None:
            await _refuse(send, "No router is up to take the invocation; it may be starting.")
            return
        reader, writer = connection
        answer = _Answer()
        sending = asyncio.create_task(_send_request(scope, receive, writer))
        try:
            await _pass_back(reader, answer, send)
        except (OSError, httptools.HttpParserError) as error:
            log.warning("a router's answer broke off: %s", error)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()
        if not answer.started:
            await _refuse(send, "The router went away before it answered.")

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first = next(self._turn)
        for step in range(len(self._sockets)):
            path = self._sockets[(first + step) % len(self._sockets)]
            try:
                return await asyncio.open_unix_connection(path)
            except OSError:
                continue
        return None


async def _send_request(scope: Scope, receive: Receive, writer: asyncio.StreamWriter) -> None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    # Without a length the body is cut into chunks again, as it was on the wire.
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    target = scope.get("raw_path") or scope["path"].encode()
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    lines = [b"%s %s HTTP/1.1" % (scope["method"].encode(), target)]
    lines += [b"%s: %s" % each for each in headers if each[0] not in _OF_ONE_HOP and each[0] != _ORIGIN]
    lines.append(b"%s: %s %s" % (_ORIGIN, scope.get("scheme", "http").encode(), _address(scope).encode()))
    lines.append(b"connection: close")
    if chunked:
        lines.append(b"transfer-encoding: chunked")
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            writer.close()
            return
        body: bytes = event.get("body", b"")
        if body:
            writer.write(b"%x\r\n%s\r\n" % (len(body), body) if chunked else body)
            await writer.drain()
        if not event.get("more_body", False):
            break
    if chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    # The next thing to be received is that the client has gone: the router hears of it by the closed connection.
    while (await receive())["type"] != "http.disconnect":
        continue
    writer.close()


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


class _Answer:
    """What httptools' parser makes of the router's answer."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.head_is_there = False
        self.body: list[bytes] = []
        self.complete = False
        self.started = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in _OF_ONE_HOP:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.head_is_there = True

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True


async def _pass_back(reader: asyncio.StreamReader, answer: _Answer, send: Send) -> None:
    parser = httptools.HttpResponseParser(answer)
    while not answer.complete:
        data = await reader.read(_READ_BYTES)
        if not data:
            return
        parser.feed_data(data)
        if answer.head_is_there and not answer.started:
            answer.started = True
            await send({"type": "http.response.start", "status": parser.get_status_code(), "headers": answer.headers})
        if answer.started and (answer.body or answer.complete):
            body, answer.body = b"".join(answer.body), []
            await send({"type": "http.response.body", "body": body, "more_body": not answer.complete})


async def _refuse(send: Send, message: str) -> None:
    status, lines, body = answers.error(errors.ServiceUnavailable(message), str(uuid.uuid4()))
    pairs = [line.partition(b": ") for line in lines.split(b"\r\n") if line]
    headers = [(name.lower(), value) for name, _, value in pairs]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
