"""A server that is not Kedge's, as a container of an instance: asked over HTTP as SageMaker asks a container.

GET /ping says whether it is ready, POST /invocations asks it; what one that holds many models is asked besides is in
`held`. Requests go to it as they come and many at once: what it does with them is its own affair. It is there for as
long as its `host` is: a program that this process starts, or a container that a sidecar runs beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from kedge.compute import batch_hints
from kedge.compute.batch_hints import Hints
from kedge.serving import frames
from kedge.serving.asking import Streaming, Waiting
from kedge.serving.http_client import AnswerTooLarge, BrokenAnswer, Client, OnPart, Reply, Stream
from kedge.serving.runtimes.base import Answer, InvocationError, LoadError, ModelFailure
from kedge.serving.runtimes.context import MAX_SESSION, SESSION_HEADERS
from kedge.serving.runtimes.readiness import Sample, sample
from kedge.serving.streams import MAX_BODY_BYTES

log = logging.getLogger(__name__)

INVOCATIONS = "/invocations"
PING_TIMEOUT_S = 2.0
PING_EVERY_S = 5.0
SILENT_S = 60.0
"""A server that gives neither an answer nor a 200 to its ping for so long is replaced: as long as a model may take for
one answer, since a small server does one thing at a time."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.25
_LAST_WORDS_S = 0.3
"""How long after a lost connection the end of the server may become known."""
_MESSAGE_CHARACTERS = 2048
NO_HEADERS: Mapping[str, str] = {}
_HEADERS = {
    "content_type": "Content-Type",
    "accept": "Accept",
    "custom_attributes": "X-Amzn-SageMaker-Custom-Attributes",
    "inference_id": "X-Amzn-SageMaker-Inference-Id",
    "target_model": "X-Amzn-SageMaker-Target-Model",
    "session_id": "X-Amzn-SageMaker-Session-Id",
}
"""From the names of a request's head to those by which SageMaker's containers know them."""


class Host(Protocol):
    """What the server runs in."""

    @property
    def pid(self) -> int:
        """0 where its processes are not this machine's to name."""

    @property
    def ended(self) -> asyncio.Future[str]:
        """Why it ended, once it has."""

    @property
    def was_killed(self) -> bool: ...

    @property
    def grace_s(self) -> float:
        """How long it may take to end by itself."""

    async def connect(self) -> Stream:
        """To the server's port. Raises OSError."""

    def stop(self) -> None:
        """SIGTERM to it."""

    def kill(self) -> None: ...

    def reap(self) -> None:
        """Look whether it has ended; for the handler of SIGCHLD."""


class _Window:
    """How much more of an answer its reader takes; beyond that it is left with the server."""

    def __init__(self) -> None:
        self._left_bytes = frames.PARTS_WINDOW_BYTES
        self._has_room = asyncio.Event()
        self._has_room.set()

    def add(self, count: int) -> None:
        self._left_bytes += count
        if self._left_bytes > 0:
            self._has_room.set()

    async def take(self, count: int) -> None:
        """It has been given so much; returns when it may be given more."""
        self._left_bytes -= count
        if self._left_bytes <= 0:
            self._has_room.clear()
            await self._has_room.wait()


class OwnServer:
    """Has the members of `part.Part`, of which it takes the place."""

    def __init__(
        self, instance_id: str, host: Host, artifact: str, on_ready: Callable[[], None], *, batch: bool = False
    ) -> None:
        """batch: it is asked how it wants batches to be sent."""
        self.instance_id = instance_id
        self.ready = False
        self.stopping = False
        self.memory_bytes = 0
        self.reason = ""
        self.told_failure = False
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._host = host
        self._artifact = artifact
        self._asks_batch = batch
        self.batch: Hints = {}
        """What it said of that, once it is ready."""
        self._on_ready = on_ready
        self._client = Client(host.connect, "localhost:8080")
        self._asking: dict[int, asyncio.Task[None]] = {}
        self._windows: dict[int, _Window] = {}
        self._last_stream = 0
        self._alive_s = self._loop.time()
        self._occupied = 0
        """How many requests it is given all the time that they are allowed."""
        host.ended.add_done_callback(lambda ended: self._ended(ended.result()))
        self._living = self._loop.create_task(self._live())

    @property
    def pid(self) -> int:
        return self._host.pid

    @property
    def was_killed(self) -> bool:
        return self._host.was_killed

    @property
    def outstanding(self) -> int:
        return len(self._asking)

    @property
    def grace_s(self) -> float:
        return self._host.grace_s

    def send(
        self,
        waiting: Waiting,
        head: bytes,
        body: bytes,
        limit_bytes: int,
        streaming: Streaming | None = None,
        *,
        path: str = INVOCATIONS,
    ) -> int:
        """One request, only while `ready`; returns its number. head: as asking.encoded_head gives it; the rest as
        Wire.send."""
        self._last_stream += 1
        number = self._last_stream
        on_part: OnPart | None = None
        if streaming is not None:
            window = self._windows[number] = _Window()
            on_part = self._passing(streaming, window)
        task = self._loop.create_task(self._ask(waiting, path, head, body, limit_bytes, on_part))
        self._asking[number] = task
        task.add_done_callback(lambda _: self._forget(number))
        return number

    def credit(self, stream: int, count: int) -> None:
        if window := self._windows.get(stream):
            window.add(count)

    def _forget(self, number: int) -> None:
        self._asking.pop(number, None)
        self._windows.pop(number, None)

    def _passing(self, streaming: Streaming, window: _Window) -> OnPart:
        async def on_part(reply: Reply, part: bytes) -> None:
            self._alive_s = self._loop.time()
            head = _head_of(reply)
            for start in range(0, len(part), frames.PART_BYTES):
                streaming.part(head, part[start : start + frames.PART_BYTES])
            await window.take(len(part))

        return on_part

    def cancel(self, stream: int) -> None:
        if task := self._asking.get(stream):
            task.cancel()

    def stop(self) -> None:
        if not self.stopping and not self.gone.done():
            self.stopping = True
            self.ready = False
            self._living.cancel()
            self._host.stop()
            self._loop.call_later(self._host.grace_s, self.kill)

    def kill(self) -> None:
        if not self.gone.done():
            self._host.kill()

    def reap(self) -> None:
        self._host.reap()

    async def _live(self) -> None:
        """Until it is ready; then look after it until it is silent for too long."""
        try:
            await self._until_ping()
            if self._artifact and (found := sample(Path(self._artifact))) is not None:
                await self.check(found)
            if self._asks_batch:
                self.batch = await self._execution_parameters()
        except LoadError as error:
            self._give_up(str(error), told_failure=True)
            return
        self.ready = True
        self._alive_s = self._loop.time()
        self._on_ready()
        while self._occupied or self._loop.time() - self._alive_s < SILENT_S:
            await asyncio.sleep(PING_EVERY_S)
            await self._ping()
        self._give_up(f"The server gave neither an answer nor a 200 to GET /ping for {SILENT_S:g} s.")

    def _give_up(self, reason: str, *, told_failure: bool = False) -> None:
        self.ready = False
        self.reason, self.told_failure = reason, told_failure
        self._host.kill()

    async def _until_ping(self) -> None:
        said, pause_s = "", _FIRST_PAUSE_S
        while (now := await self._ping()) is not None:
            # Each answer once: the last of them stands in the instance's output when its time is over.
            if now != said:
                log.info("not ready yet: %s", now)
                said = now
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 1.5 * pause_s)

    async def _ping(self) -> str | None:
        """None when it is well, else what it did instead."""
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                reply = await self._client.ask("GET", "/ping", {}, b"", MAX_BODY_BYTES, fresh=True)
        except TimeoutError:
            return f"GET /ping was not answered within {PING_TIMEOUT_S:g} s"
        except ConnectionRefusedError:
            return "nobody listens on its port"
        except (OSError, BrokenAnswer, AnswerTooLarge) as error:
            return f"GET /ping: {str(error) or type(error).__name__}"
        if reply.status != 200:
            return f"GET /ping was answered with {reply.status}"
        self._alive_s = self._loop.time()
        return None

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, within_s: float | None = None
    ) -> Reply:
        """On a connection of its own. Meanwhile the server may be silent: a small one loads a model, and nothing else.

        Raises OSError, also TimeoutError, BrokenAnswer and AnswerTooLarge.
        """
        self._occupied += 1
        try:
            async with asyncio.timeout(within_s):
                return await self._client.ask(method, path, headers, body, MAX_BODY_BYTES, fresh=True)
        finally:
            self._occupied -= 1
            self._alive_s = self._loop.time()

    async def _execution_parameters(self) -> Hints:
        """Nothing where it does not know the question: most servers do not."""
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                reply = await self.ask("GET", batch_hints.PATH, {}, b"")
        except (OSError, TimeoutError, BrokenAnswer, AnswerTooLarge) as error:
            log.info("GET %s: %s", batch_hints.PATH, str(error) or type(error).__name__)
            return {}
        return batch_hints.hints_of(reply.body) if reply.status == 200 else {}

    async def check(self, probe: Sample, path: str = INVOCATIONS, more: Mapping[str, str] = NO_HEADERS) -> None:
        """more: headers. Raises LoadError."""
        request = probe.request
        fields = {"content_type": request.content_type, "accept": request.accept}
        try:
            reply = await self.ask("POST", path, {**_headers(fields), **more}, request.body)
        except (OSError, BrokenAnswer, AnswerTooLarge) as error:
            probe.check(ModelFailure(str(error) or type(error).__name__))
            return
        outcome: Answer | InvocationError = Answer(reply.body, reply.headers.get("content-type", ""), "", reply.status)
        if not 200 <= reply.status < 300:
            outcome = ModelFailure(text_of(reply), reply.status)
        probe.check(outcome)

    async def _ask(
        self, waiting: Waiting, path: str, head: bytes, body: bytes, limit_bytes: int, on_part: OnPart | None
    ) -> None:
        fields: dict[str, Any] = json.loads(head[4:])
        try:
            reply = await self._client.ask("POST", path, _headers(fields), body, limit_bytes, on_part=on_part)
        except AnswerTooLarge:
            waiting.overran()
        except (OSError, BrokenAnswer) as error:
            if await self._is_gone():
                waiting.lost()
            else:
                said = str(error) if isinstance(error, BrokenAnswer) else f"The server cannot be reached: {error}."
                waiting.failed({"status": 500, "message": said[:_MESSAGE_CHARACTERS], "kind": "model"})
        else:
            self._alive_s = self._loop.time()
            waiting.answered(_head_of(reply), reply.body)

    async def _is_gone(self) -> bool:
        """Whether the connection was lost because the server ended, which may be known a moment later."""
        await asyncio.wait({self.gone}, timeout=_LAST_WORDS_S)
        return self.gone.done()

    def _ended(self, reason: str) -> None:
        self.ready = False
        self._living.cancel()
        self._client.close()
        self.reason = self.reason or reason
        self.gone.set_result(None)


def _headers(fields: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(fields[field]) for field, name in _HEADERS.items() if fields.get(field)}


def _head_of(reply: Reply) -> dict[str, Any]:
    attributes = reply.headers.get("x-amzn-sagemaker-custom-attributes", "")
    said = {name: reply.headers[header] for header, name in SESSION_HEADERS.items() if header in reply.headers}
    return {
        "status": reply.status,
        "content_type": _printable(reply.headers.get("content-type", "")),
        "custom_attributes": _printable(attributes)[:1024],
        **{name: _printable(value)[:MAX_SESSION] for name, value in said.items()},
    }


def _printable(value: str) -> str:
    """What may stand in a header of the answer."""
    return value if value.isascii() and value.isprintable() else ""


def text_of(reply: Reply) -> str:
    """The beginning of its body."""
    return reply.body[:_MESSAGE_CHARACTERS].decode(errors="replace")


async def bounded(connecting: Any, within_s: float) -> Stream:
    """A connection that has to be there soon. Raises OSError."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            stream: Stream = await connecting
            return stream
    raise OSError(f"no connection within {within_s:g} s")
