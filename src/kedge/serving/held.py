"""Models that a container's own server holds, by SageMaker's contract for containers with many models.

    POST /models {"model_name": NAME, "url": FOLDER}   load; 409: it is loaded already, 507: there is no room
    GET /models/NAME                                   404: it is not loaded
    DELETE /models/NAME                                unload
    POST /models/NAME/invoke                           as /invocations; 404: it is not loaded, 507: there is no room

NAME is made up for each time that a model is loaded; the one that requests have goes along in a header. For want of
room the least recently used model that is idle goes, and the same is asked again. Source: "Custom Containers Contract
for Multi-Model Endpoints" in SageMaker's developer guide.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from kedge.compute.base import MODEL
from kedge.compute.view import MODELS_DIR
from kedge.serving import memory
from kedge.serving.asking import Streaming, Waiting
from kedge.serving.http_client import AnswerTooLarge, BrokenAnswer, Reply
from kedge.serving.loaders import LOAD_WITHIN_S, FreeOne, Wanted
from kedge.serving.own_server import PING_TIMEOUT_S, OwnServer, text_of
from kedge.serving.places import Running, Single
from kedge.serving.runtimes.base import LoadError
from kedge.serving.runtimes.readiness import sample

log = logging.getLogger(__name__)

NOT_LOADED, ALREADY_LOADED, NO_ROOM = 404, 409, 507
UNLOAD_WITHIN_S = 60.0
_TARGET_MODEL = "X-Amzn-SageMaker-Target-Model"
_BROKEN = (OSError, BrokenAnswer, AnswerTooLarge)


class Held:
    """One model in the server; has the members of loaders.Loading."""

    pid = 0
    told_failure = False

    def __init__(self, server: ServerOfMany, wanted: Wanted, on_ready: Callable[[], None], free_one: FreeOne) -> None:
        self.ready = False
        self.stopping = False
        self.wants_room = False
        self.memory_bytes = 0
        self.reason = ""
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._of, self._wanted = server, wanted
        self._on_ready, self._free_one = on_ready, free_one
        self._in: OwnServer | None = None
        self._last_number = 0
        self._asked: dict[int, _Asked] = {}
        self._has_answered = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading = self._begin(self._load())

    @property
    def path(self) -> str:
        return f"/models/{self._wanted.folder}"

    @property
    def grace_s(self) -> float:
        return UNLOAD_WITHIN_S

    def send(
        self, waiting: Waiting, head: bytes, body: bytes, limit_bytes: int, streaming: Streaming | None = None
    ) -> int:
        """As OwnServer.send."""
        self._last_number += 1
        asked = self._asked[self._last_number] = _Asked(
            self, self._last_number, waiting, streaming, (head, body, limit_bytes)
        )
        self._pass_on(asked)
        return self._last_number

    def credit(self, stream: int, count: int) -> None:
        if self._in is not None and (asked := self._asked.get(stream)):
            self._in.credit(asked.number_there, count)

    def cancel(self, stream: int) -> None:
        if (asked := self._asked.pop(stream, None)) and self._in is not None:
            self._in.cancel(asked.number_there)

    def stop(self) -> None:
        """Unloads it. It ends with its server, where that is told to end."""
        if self.stopping or self.gone.done() or (self._in is not None and self._in.stopping):
            return
        self.stopping = True
        self.ready = False
        self._begin(self._unload())

    def kill(self) -> None:
        """Waits for the server no longer."""
        if not self.gone.done():
            self._loading.cancel()
            if self._in is not None:
                self._begin(self._tell_to_unload())
            self._end("")

    def reap(self) -> None:
        """It is no process."""

    # What the server says.

    def refused(self, asked: _Asked, head: dict[str, Any], body: bytes) -> None:
        """With one of the two statuses that may mean the model's place, and not the request."""
        self._begin(self._look_after(asked, head, body))

    def answered(self, asked: _Asked) -> None:
        self._has_answered = True
        self.left(asked)

    def left(self, asked: _Asked) -> None:
        self._asked.pop(asked.number, None)

    async def _look_after(self, asked: _Asked, head: dict[str, Any], body: bytes) -> None:
        is_full = head["status"] == NO_ROOM
        again = await self._free_one() if is_full else self._has_answered and await self._is_dropped()
        if asked.number not in self._asked:
            return
        if again and is_full and self.ready:
            self._pass_on(asked)
            return
        self.left(asked)
        if not again:
            asked.waiting.answered(head, body)
            return
        if not self.gone.done():
            self._end("The server has let it go.")
        asked.waiting.failed({"ending": True})

    async def _is_dropped(self) -> bool:
        try:
            return (await self._ask("GET", self.path, PING_TIMEOUT_S)).status == NOT_LOADED
        except _BROKEN:
            return False

    async def _load(self) -> None:
        self._in = server = await self._of.up()
        server.gone.add_done_callback(lambda _: self._server_ended(server))
        before = memory.bytes_of(server.pid)
        url = str(self._of.models_dir / self._wanted.folder / MODEL)
        load = json.dumps({"model_name": self._wanted.folder, "url": url}).encode()
        try:
            reply = await self._ask("POST", "/models", LOAD_WITHIN_S, load)
            if 200 <= reply.status < 300 or reply.status == ALREADY_LOADED:
                if (probe := sample(self._of.folder / self._wanted.folder / MODEL)) is not None:
                    await server.check(probe, f"{self.path}/invoke", {_TARGET_MODEL: self._header})
                self.memory_bytes = max(0, memory.bytes_of(server.pid) - before)
                self.ready = True
                self._on_ready()
                return
            self.wants_room = reply.status == NO_ROOM
            said = text_of(reply)
            reason = f"the server answered POST /models with {reply.status}{': ' if said else '.'}{said}"
        except LoadError as error:
            reason = str(error)
            await self._tell_to_unload()
        except _BROKEN as error:
            reason = f"POST /models: {str(error) or type(error).__name__}"
        self._end(reason)

    async def _unload(self) -> None:
        await self._tell_to_unload()
        self._end("")

    async def _tell_to_unload(self) -> None:
        try:
            reply = await self._ask("DELETE", self.path, UNLOAD_WITHIN_S)
        except _BROKEN as error:
            log.warning("DELETE %s: %s", self.path, str(error) or type(error).__name__)
        else:
            if not 200 <= reply.status < 300 and reply.status != NOT_LOADED:
                log.warning("DELETE %s was answered with %d: %s", self.path, reply.status, text_of(reply))

    async def _ask(self, method: str, path: str, within_s: float, body: bytes = b"") -> Reply:
        server = self._in
        assert server is not None
        headers = {"Accept": "application/json", _TARGET_MODEL: self._header}
        if body:
            headers["Content-Type"] = "application/json"
        return await server.ask(method, path, headers, body, within_s)

    @property
    def _header(self) -> str:
        name = self._wanted.name
        return name if name.isascii() and name.isprintable() else ""

    def _pass_on(self, asked: _Asked) -> None:
        assert self._in is not None
        head, body, limit_bytes = asked.request
        streaming = asked if asked.streaming is not None else None
        asked.number_there = self._in.send(asked, head, body, limit_bytes, streaming, path=f"{self.path}/invoke")

    def _server_ended(self, server: OwnServer) -> None:
        if not self.gone.done():
            self._end(server.reason)

    def _end(self, reason: str) -> None:
        self.ready = False
        self.reason = self.reason or reason
        if not self.gone.done():
            self.gone.set_result(None)

    def _begin(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Asked:
    """A request at the model; `Streaming` for the server that has it."""

    def __init__(
        self, held: Held, number: int, waiting: Waiting, streaming: Streaming | None, request: tuple[bytes, bytes, int]
    ) -> None:
        self.number, self.waiting, self.streaming, self.request = number, waiting, streaming, request
        self.number_there = 0
        self._held = held

    def begun(self) -> None:
        self.waiting.begun()

    def told(self, samples: object) -> None:
        self.waiting.told(samples)

    def part(self, head: dict[str, Any], part: bytes) -> None:
        assert self.streaming is not None
        self.streaming.part(head, part)

    def answered(self, head: dict[str, Any], body: bytes) -> None:
        if head["status"] in (NOT_LOADED, NO_ROOM):
            self._held.refused(self, head, body)
            return
        self._held.answered(self)
        self.waiting.answered(head, body)

    def failed(self, head: dict[str, Any]) -> None:
        self._held.left(self)
        self.waiting.failed(head)

    def overran(self) -> None:
        self._held.left(self)
        self.waiting.overran()

    def lost(self) -> None:
        self._held.left(self)
        self.waiting.lost()


class ServerOfMany:
    """The server, and what is loaded into it; implements loaders.Loader."""

    frees_one = True

    def __init__(
        self,
        name: str,
        begin: Callable[[Callable[[], None]], OwnServer],
        folder: Path,
        changed: Callable[[], None],
        failed: Callable[[str, bool], None],
        *,
        beside: bool,
        again: bool,
    ) -> None:
        """begin, changed, failed and again: as places.Single has them. folder: in which the models' folders appear, as
        this process sees it. beside: whether the server is in a container, which sees it elsewhere."""
        self._begin = begin
        self._up = asyncio.Event()
        self._single = Single(name, self._begun, changed, failed, again=again)
        self._server: OwnServer | None = None
        self.folder = folder
        is_shown = beside or (Path(MODELS_DIR).is_dir() and Path(MODELS_DIR).samefile(folder))
        self.models_dir = Path(MODELS_DIR) if is_shown else folder
        """The same folder as the server sees it."""
        self.own_bytes = 0

    @property
    def is_ready(self) -> bool:
        return self._single.is_ready

    def start(self) -> None:
        self._single.start()

    def stop(self) -> None:
        self._single.stop()

    def parts(self) -> Sequence[Running]:
        return self._single.parts()

    def load(self, wanted: Wanted, on_ready: Callable[[], None], free_one: FreeOne) -> Held:
        return Held(self, wanted, on_ready, free_one)

    async def up(self) -> OwnServer:
        """Once it takes requests."""
        await self._up.wait()
        assert self._server is not None
        return self._server

    def _begun(self, on_ready: Callable[[], None]) -> OwnServer:
        def ready() -> None:
            self._up.set()
            self.own_bytes = memory.bytes_of(server.pid)
            on_ready()

        server = self._server = self._begin(ready)
        server.gone.add_done_callback(lambda _: self._up.clear())
        return server
