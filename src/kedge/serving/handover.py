"""Requests that a router takes and control answers: InvokeEndpointAsync. Both halves of the Unix socket between them.

One connection carries one request: a message with its head, one with its body (push.py has the framing), and back the
answer's head and body. While control is away the router holds the request and tries again, always under the same id, so
that what control has stored before it died is not stored twice. Nobody is answered before control has said that it is
stored.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from kedge import errors
from kedge.serving import answers
from kedge.serving.inbound import Inbound
from kedge.serving.push import MessageTooLarge, listen, message, read_message
from kedge.wire.http import Request, Response

PATIENCE_S = 45.0
"""How long a request is held while control is away: less than the 60 s for which clients wait."""
RETRY_S = 0.05
MOST_HELD = 1024
"""Requests that one router holds at once, and that control has in hand."""
HEAD_BYTES = 128 * 1024
BODY_BYTES = 1024 * 1024
"""More than the operation takes, so that it is the operation that says what it takes."""

Answer = Callable[[Request, str], Awaitable[Response]]
"""(request, its id) -> what is answered. Never raises."""

log = logging.getLogger(__name__)


class Handover:
    """The router's half."""

    def __init__(self, path: Path, patience_s: float = PATIENCE_S) -> None:
        self._path = path
        self._patience_s = patience_s
        self._held: set[asyncio.Task[None]] = set()

    def take(self, inbound: Inbound, request_id: str) -> None:
        """Raises Throttled, BodyTooLarge. The request is answered when control has answered."""
        if len(inbound.body) > BODY_BYTES:
            raise answers.too_large(BODY_BYTES)
        if len(self._held) >= MOST_HELD:
            raise errors.Throttled(f"{MOST_HELD} asynchronous invocations wait already to be queued; try again later.")
        task = asyncio.get_running_loop().create_task(self._bring(inbound, request_id))
        self._held.add(task)
        task.add_done_callback(self._held.discard)

        def forget() -> None:
            task.cancel()

        inbound.gone = forget

    async def _bring(self, inbound: Inbound, request_id: str) -> None:
        address, secure = inbound.origin()
        head = {
            "id": request_id,
            "method": inbound.method,
            "path": inbound.path,
            "query": inbound.query,
            "headers": inbound.headers,
            "client": address,
            "secure": secure,
        }
        asked = message(json.dumps(head).encode()) + message(inbound.body)
        try:
            async with asyncio.timeout(self._patience_s):
                status, lines, body = await self._until_answered(asked)
        except TimeoutError:
            away = errors.ServiceUnavailable("The control process, which queues invocations, is not there.")
            status, lines, body = answers.error(away, request_id)
        inbound.gone = None
        inbound.respond(status, lines, body)

    async def _until_answered(self, asked: bytes) -> tuple[int, bytes, bytes]:
        while True:
            try:
                found = await self._ask(asked)
            except OSError:
                found = None
            except (MessageTooLarge, ValueError, KeyError) as error:
                log.error("an answer of control cannot be read: %r", error)
                found = None
            if found is not None:
                return found
            await asyncio.sleep(RETRY_S)

    async def _ask(self, asked: bytes) -> tuple[int, bytes, bytes] | None:
        """None when control went away before it answered."""
        reader, writer = await asyncio.open_unix_connection(self._path)
        try:
            writer.write(asked)
            await writer.drain()
            head, body = await read_message(reader, HEAD_BYTES), await read_message(reader, BODY_BYTES)
        finally:
            writer.close()
        if head is None or body is None:
            return None
        said = json.loads(head)
        lines = "".join(f"{name}: {value}\r\n" for name, value in said["headers"].items())
        return int(said["status"]), lines.encode(), body


class Receiving:
    """Control's half."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path, self._answer = path, answer
        self._server: asyncio.Server | None = None
        self._in_hand: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await listen(self._path, self._accept)

    async def stop(self) -> None:
        """What has not been answered goes to the next control process."""
        if self._server is not None:
            self._server.close()
        for task in self._in_hand:
            task.cancel()
        await asyncio.gather(*self._in_hand, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._in_hand) >= MOST_HELD:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._in_hand.add(task)
        task.add_done_callback(self._in_hand.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head, body = await read_message(reader, HEAD_BYTES), await read_message(reader, BODY_BYTES)
            if head is None or body is None:
                return
            given = json.loads(head)
            request = Request(
                given["method"],
                given["path"],
                given["query"],
                given["headers"],
                body,
                given["client"],
                given["secure"],
            )
            response = await self._answer(request, given["id"])
            assert isinstance(response.body, bytes), "only whole answers go back"
            told = json.dumps({"status": response.status, "headers": response.headers}).encode()
            writer.write(message(told) + message(response.body))
            await writer.drain()
        except OSError as error:
            log.info("a router did not wait for its answer: %s", error)
        except (MessageTooLarge, ValueError, KeyError, TypeError) as error:
            log.error("what a router handed over cannot be read: %r", error)
        finally:
            writer.close()
