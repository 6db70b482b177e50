"""An instance of several containers, of one that loads models by name, or with an explainer: the process that speaks to
the routers.

It runs no code of a model. Each container, and each model of a multi-model container, is a process of its own (`part`),
with its own environment, artifact and current directory, and does its own batching. A request goes through the
containers in turn (each answer is the next one's request), or to the one that it names. Everything happens on one
thread, so the process can fork whenever a part is to be started. An explainer is a part, too: requests go to it, and it
asks for what the containers answer on a connection of its own.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kedge.compute.batch_hints import Hints
from kedge.serving import frames, memory
from kedge.serving.flow import Flow
from kedge.serving.held import ServerOfMany
from kedge.serving.hosting import own_server
from kedge.serving.line import Line
from kedge.serving.loaders import MULTI_MODEL, Loader, Processes
from kedge.serving.loading import Models
from kedge.serving.own_server import OwnServer
from kedge.serving.part import Part
from kedge.serving.places import Place, Running, Single, part_spec
from kedge.serving.runtimes import images
from kedge.serving.runtimes.base import Busy, last_line
from kedge.serving.streams import MAX_BODY_BYTES, Arrived, Failure
from kedge.serving.work import MAX_BYTES, MAX_REQUESTS
from kedge.serving.worker_io import FULL, MAX_CONNECTIONS
from kedge.serving.worker_setup import (
    EXIT_DIED,
    EXIT_LOAD_FAILED,
    ContainerSpec,
    Entrance,
    Status,
    WorkerSpec,
    listen,
    settle,
)

log = logging.getLogger(__name__)

_END_S = 10.0
EXPLAINED = ".explained"
"""What an explainer's own requests name as their container: they are for the model, not for it. No container has a
name with a dot."""


def run(spec: WorkerSpec, status: Status) -> int:
    """Start the containers and serve until SIGTERM; returns the exit code."""
    try:
        settle(spec)
        return asyncio.run(Front(spec, status).serve())
    except Exception as error:
        log.exception("the instance died")
        return status.end("died", last_line(error), EXIT_DIED)


class NotStarted(Exception):
    """A container cannot be loaded; the message says which and why."""


class Front:
    """The whole instance. Made in its loop by `serve`."""

    def __init__(self, spec: WorkerSpec, status: Status) -> None:
        self._spec, self._status = spec, status
        self.hello = {
            "instance": spec.id,
            "joinable": False,
            "max_requests": MAX_REQUESTS,
            "max_body_bytes": MAX_BODY_BYTES,
        }
        self.has_several = len(spec.containers) > 1
        self.lines: set[Line] = set()
        self._places: list[Place] = []
        self._explainer: Single | None = None
        self._joining: asyncio.Task[None] | None = None
        """The explainer's own connection, as it becomes a line."""
        self._held_bytes = 0
        self._count = 0
        self._stopping = False

    def now_s(self) -> float:
        return self._loop.time()

    async def serve(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._problem: str | None = None
        self._is_final = True
        for number, handler in ((signal.SIGTERM, self._stop), (signal.SIGCHLD, self._reap)):
            self._loop.add_signal_handler(number, handler)
        self._places = [self._place(at, each) for at, each in enumerate(self._spec.parts)]
        if self._spec.explainer:
            self._explainer = self._explaining()
        try:
            entrance = await self._start()
        except NotStarted as error:
            await self._end_parts()
            if not self._is_final:
                return self._status.end("died", str(error), EXIT_DIED)
            return self._status.end("failed", str(error), EXIT_LOAD_FAILED)
        if entrance is None:
            await self._end_parts()
            return self._status.end("stopped", "", 0)
        try:
            server = await self._loop.create_unix_server(lambda: Line(self), sock=entrance.socket)
            self._status.tell({"state": "ready", **self._batch()})
            while not self._stopping and self._problem is None:
                await self._change()
            server.close()
            entrance.remove()
            await self._drain()
        finally:
            entrance.remove()
        await self._end_parts()
        if self._problem is not None and not self._stopping:
            return self._status.end("died", self._problem, EXIT_DIED)
        return self._status.end("stopped", "", 0)

    async def _start(self) -> Entrance | None:
        """The door, once every container is loaded; None when it is to stop before that. Raises NotStarted."""
        places = self._every_place()
        for each in places:
            each.start()
        while not all(each.is_ready for each in places):
            if self._problem is not None:
                raise NotStarted(self._problem)
            if self._stopping:
                return None
            await self._change()
        try:
            return listen(Path(self._spec.socket), self._spec.listener)
        except OSError as error:
            raise NotStarted(f"The instance cannot listen: {error}.") from error

    async def _change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def _drain(self) -> None:
        """Everything that was read is answered; what comes now goes elsewhere."""
        for line in list(self.lines):
            line.close_door()
        while self._problem is None and not all(not line.flows and line.is_quiet for line in self.lines):
            await self._change()
        for line in list(self.lines):
            line.close()
        while self.lines and self._problem is None:
            await self._change()

    async def _end_parts(self) -> None:
        for each in self._every_place():
            each.stop()
        waiting = [part.gone for part in self._parts() if not part.gone.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=max(_END_S, *(part.grace_s + 1 for part in self._parts())))
        for part in self._parts():
            part.kill()

    def _place(self, at: int, container: ContainerSpec) -> Place:
        if container.many_models:
            return Models(at, self._spec, container, self._loader(container), self._tell_wants, self._beside)
        spec = part_spec(self._spec, container)
        if container.runtime not in images.OWN_SERVERS:
            return Single(container.name, lambda ready: Part(spec, ready, lambda: None), self._changed.set, self._fail)
        return Single(
            container.name,
            lambda ready: own_server(spec, container, ready),
            self._changed.set,
            self._fail,
            again=self._may_be_brought_back(container),
        )

    def _loader(self, container: ContainerSpec) -> Loader:
        if container.runtime not in images.OWN_SERVERS:
            return Processes(self._spec, container)
        spec = part_spec(self._spec, container)
        spec = replace(spec, environment={**MULTI_MODEL, **spec.environment})
        return ServerOfMany(
            container.name,
            lambda ready: own_server(spec, container, ready),
            Path(self._spec.models_dir),
            self._changed.set,
            self._fail,
            beside=bool(container.door),
            again=self._may_be_brought_back(container),
        )

    def _may_be_brought_back(self, container: ContainerSpec) -> bool:
        """An own server alone is only where others go on meanwhile; nobody here can bring back a container."""
        return container.runtime == images.SERVER and len(self._spec.parts) > 1

    def _explaining(self) -> Single:
        """The explainer, which has a connection of its own to ask on."""
        from kedge.serving.explaining import process

        name = "explainer"
        spec = part_spec(self._spec, ContainerSpec(name, "", ""))
        instance = self._spec.id

        def main(spec: WorkerSpec, status: Status, entrance: Entrance, asks: socket.socket | None) -> int:
            assert asks is not None
            return process.serve(spec, status, entrance, asks, instance)

        def begin(ready: Callable[[], None]) -> Running:
            ours, theirs = socket.socketpair()
            part = Part(spec, ready, lambda: None, main, theirs)
            ours.setblocking(False)
            self._joining = self._loop.create_task(self._take_line(ours))
            return part

        return Single(name, begin, self._changed.set, self._fail)

    async def _take_line(self, connection: socket.socket) -> None:
        await self._loop.create_unix_connection(lambda: Line(self), sock=connection)

    def _every_place(self) -> list[Place]:
        return [*self._places, self._explainer] if self._explainer is not None else self._places

    def _parts(self) -> list[Running]:
        return [part for place in self._every_place() for part in place.parts()]

    def _beside(self, place: Place) -> int:
        """Bytes that the other containers take."""
        return sum(memory.bytes_of(part.pid) for each in self._places if each is not place for part in each.parts())

    def _batch(self) -> dict[str, Hints]:
        """What the first container says of batches: it is the one that they are sent to."""
        first = next((part for part in self._places[0].parts() if isinstance(part, OwnServer)), None)
        return {"batch": first.batch} if first is not None and first.batch else {}

    def _tell_wants(self) -> None:
        wants: dict[str, str] = {}
        loaded = 0
        for each in self._places:
            if isinstance(each, Models):
                wants |= each.wants
                loaded += each.loaded
        self._status.want(wants, loaded)

    def take_told(self) -> list[frames.Told]:
        return [told for each in self._places if isinstance(each, Models) for told in each.take_told()]

    # What lines and flows tell.

    def welcome(self, line: Line) -> str:
        if self._stopping:
            return "The instance is ending."
        if len(self.lines) >= MAX_CONNECTIONS:
            return FULL
        self.lines.add(line)
        return ""

    def room(self) -> int:
        return MAX_BYTES - self._held_bytes - sum(line.partial_bytes for line in self.lines)

    def begin(self, line: Line, arrived: Arrived) -> None:
        route: list[Place] = self._places
        is_own = arrived.container == EXPLAINED
        if self._explainer is not None and not is_own:
            route = [self._explainer]
        elif self._spec.direct:
            route = [each for each in self._places if each.name == arrived.container]
        if not route:
            line.answer(arrived.stream, Failure(400, f"There is no container {arrived.container[:64]}.", "target"))
            return
        if self._count >= MAX_REQUESTS and not is_own:  # an explanation that has begun goes on
            busy = Failure(Busy.status, "The instance holds as many requests as it can.", Busy.kind)
            line.answer(arrived.stream, busy)
            return
        deadline_s = None if arrived.deadline_ms is None else self._loop.time() + arrived.deadline_ms / 1000
        flow = Flow(self, line, arrived, route, deadline_s)
        line.flows[arrived.stream] = flow
        self._count += 1
        self._held_bytes += flow.size
        flow.begin()

    def holds(self, more_bytes: int) -> None:
        self._held_bytes += more_bytes

    def ended(self, flow: Flow, line: Line, size: int) -> None:
        line.flows.pop(flow.stream, None)
        self._count -= 1
        self._held_bytes -= size
        self.look()

    def look(self) -> None:
        """Something that `serve` may wait for has changed."""
        self._changed.set()

    def _fail(self, problem: str, is_final: bool) -> None:
        self._problem = self._problem or problem
        self._is_final = is_final
        self._changed.set()

    def _stop(self) -> None:
        self._stopping = True
        self._changed.set()

    def _reap(self) -> None:
        for part in self._parts():
            part.reap()
