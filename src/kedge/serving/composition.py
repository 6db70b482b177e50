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
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

from kedge.compute.batch_hints import Hints
from kedge.serving import frames, memory
from kedge.serving.asking import encoded_head
from kedge.serving.frames import FrameError
from kedge.serving.held import ServerOfMany
from kedge.serving.hosting import own_server
from kedge.serving.loaders import MULTI_MODEL, Loader, Processes
from kedge.serving.loading import Models
from kedge.serving.meter import CONTAINER_LATENCY
from kedge.serving.own_server import OwnServer
from kedge.serving.part import Part
from kedge.serving.places import Place, Running, Single, part_spec
from kedge.serving.runtimes import images
from kedge.serving.runtimes.base import Answer, Busy, InvocationError, last_line
from kedge.serving.streams import MAX_BODY_BYTES, Arrived, Cancelled, Failure, Peer
from kedge.serving.work import MAX_BYTES, MAX_REQUESTS
from kedge.serving.worker_io import MAX_CONNECTIONS, MAX_UNREAD_BYTES
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

_NO_BOUND_MS = 7 * 24 * 3600 * 1000
"""For a request whose sender gave none."""
_END_S = 10.0
EXPLAINED = ".explained"
"""What an explainer's own requests name as their container: they are for the model, not for it. No container has a
name with a dot."""
_CREDIT_BYTES = frames.PARTS_WINDOW_BYTES // 8


def run(spec: WorkerSpec, status: Status) -> int:
    """Start the containers and serve until SIGTERM; returns the exit code."""
    try:
        settle(spec)
        return asyncio.run(Front(spec, status).serve())
    except Exception as error:
        log.exception("the instance died")
        return status.end("died", last_line(error), EXIT_DIED)


class _Whole:
    """The end of an answer that came in parts."""


_WHOLE = _Whole()


class NotStarted(Exception):
    """A container cannot be loaded; the message says which and why."""


class Flow:
    """One request on its way through the containers; `Waiting` for the one that has it."""

    __slots__ = (
        "_arrived",
        "_body",
        "_content_type",
        "_flags",
        "_front",
        "_head",
        "_last",
        "_line",
        "_part",
        "_place",
        "_route",
        "_sent_s",
        "_stream",
        "_taken_bytes",
        "_told",
        "_unsent",
        "deadline_s",
        "done",
    )

    def __init__(self, front: Front, line: Line, arrived: Arrived, route: Sequence[Place], deadline_s: float | None):
        self._front, self._line, self._arrived, self._route = front, line, arrived, route
        self._place = 0
        self._body = arrived.request.body
        self._content_type = arrived.request.content_type
        self._part: Running | None = None
        self._stream = 0
        self._sent_s = 0.0
        self._told: list[frames.Told] = []
        """What was measured on the way."""
        self._flags = 0
        self._head = b""
        """Of an answer that comes in parts, once it has begun."""
        self._unsent: deque[bytes] = deque()
        """Parts of it for which the router has given no credit."""
        self._taken_bytes = 0
        """Of the parts that were sent: the container gets credit for them."""
        self._last: Failure | _Whole | None = None
        """What comes after the last part, once that is known."""
        self.deadline_s = deadline_s
        """On the loop's clock."""
        self.done = False

    @property
    def stream(self) -> int:
        return self._arrived.stream

    @property
    def size(self) -> int:
        return len(self._arrived.request.body)

    @property
    def target_model(self) -> str:
        return self._arrived.request.target_model

    @property
    def place(self) -> Place:
        return self._route[self._place]

    def begin(self) -> None:
        self.place.submit(self)

    def send_to(self, part: Running) -> None:
        request = self._arrived.request
        # Only the last container answers the client; what comes before it chooses what the next one reads.
        is_last = self._place == len(self._route) - 1
        streaming = self if is_last and self._arrived.in_parts else None
        given = {
            "content_type": self._content_type,
            "accept": request.accept if is_last else "",
            "custom_attributes": request.custom_attributes,
            "inference_id": request.inference_id,
            "target_model": request.target_model,
            "session_id": request.session_id,
            frames.EXPLANATIONS: request.enable_explanations,
            "answer": frames.IN_PARTS if streaming is not None else "",
        }
        fields = tuple((name, value) for name, value in given.items() if value)
        left_ms, timeout_ms = self._left_ms(), self._arrived.timeout_ms
        head = encoded_head(
            fields, request.request_id, left_ms, _NO_BOUND_MS if timeout_ms is None else max(1, int(timeout_ms))
        )
        self._part = part
        self._sent_s = self._front.now_s()
        self._stream = part.send(self, head, self._body, MAX_BODY_BYTES, streaming)

    def _left_ms(self) -> int:
        if self.deadline_s is None:
            return _NO_BOUND_MS
        return max(0, int((self.deadline_s - self._front.now_s()) * 1000))

    def tell(self, name: str, value: float) -> None:
        """A sample of the request; one of each name is enough, also when it has come to the place again."""
        if all(told[1] != name or told[0] for told in self._told):
            self._told.append(("", name, value))

    # What becomes of it.

    def begun(self) -> None:
        """It is never asked for."""

    def told(self, samples: object) -> None:
        """A container has nothing to tell that this process does not see itself."""

    def _took(self) -> None:
        """The container has answered, in one way or another."""
        if self._front.has_several and not self._head:
            took_us = (self._front.now_s() - self._sent_s) * 1e6
            self._told.append((self.place.name, CONTAINER_LATENCY, took_us))

    def part(self, head: dict[str, Any], part: bytes) -> None:
        """As asking.Streaming has it."""
        status = head.get("status", 200)
        if not isinstance(status, int) or not 200 <= status < 300:
            running, stream = self._part, self._stream
            self.answered(head, part)
            if running is not None:
                running.cancel(stream)
            return
        if not self._head:
            content_type, attributes = str(head.get("content_type") or ""), str(head.get("custom_attributes") or "")
            self._took()
            told, session = self._all_told(), _session_of(head)
            if told or session:
                self._head = frames.told_head(status, content_type, attributes, told, session)
                self._flags = frames.VARIES
            else:
                self._head = frames.response_head(status, content_type, attributes)
        self._unsent.append(part)
        self.go_on()

    def go_on(self) -> None:
        """Send what there is credit for, and give credit for it."""
        while self._unsent and self._line.part(self.stream, self._head, self._unsent[0], self._flags):
            self._taken_bytes += len(self._unsent.popleft())
        if self._part is not None and self._taken_bytes >= _CREDIT_BYTES:
            self._part.credit(self._stream, self._taken_bytes)
            self._taken_bytes = 0
        if self._last is not None and not self._unsent:
            self._finish(self._last)

    def answered(self, head: dict[str, Any], body: bytes) -> None:
        if self._head:
            self._leave()
            if body:
                self._unsent.append(body)
            self._last = _WHOLE
            self.go_on()
            return
        self._took()
        self._leave()
        status = head.get("status", 200)
        content_type, attributes = str(head.get("content_type") or ""), str(head.get("custom_attributes") or "")
        if not isinstance(status, int) or not 200 <= status < 300:
            code = status if isinstance(status, int) else 500
            self.fail(Failure(code, body[:2048].decode(errors="replace"), "model", self.place.name))
        elif self._place == len(self._route) - 1:
            self._finish(Answer(body, content_type, attributes, status, _session_of(head)))
        else:
            self._front.holds(len(body) - len(self._body))
            self._body, self._content_type = body, content_type
            self._place += 1
            self.place.submit(self)

    def failed(self, head: dict[str, Any]) -> None:
        self._leave()
        if head.get("ending"):
            self.place.submit(self)
            return
        self._took()
        status, kind = head.get("status", 500), str(head.get("kind", "model"))
        self.fail(Failure(status, str(head.get("message", "")), kind, self.place.name))

    def overran(self) -> None:
        self._took()
        self._leave()
        self.fail(Failure(500, f"The answer has more than {MAX_BODY_BYTES} bytes.", "model", self.place.name))

    def lost(self) -> None:
        self._took()
        self._leave()
        self.fail(Failure(503, f"Container {self.place.name} ended before it answered.", "lost", self.place.name))

    def fail(self, failure: Failure) -> None:
        if self._head:
            self._last = failure
            self.go_on()
        else:
            self._finish(failure)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._part is not None:
            self._part.cancel(self._stream)
            self._leave()
        else:
            self.place.forget(self)
        self._end()

    def _leave(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            self.place.left(self, part)

    def _finish(self, outcome: Answer | Failure | _Whole) -> None:
        if not self.done:
            self._end()
            if isinstance(outcome, _Whole):
                self._line.end(self.stream)
            else:
                self._line.answer(self.stream, outcome, self._all_told())

    def _all_told(self) -> list[frames.Told]:
        """And what was measured of no request in particular since the answer before."""
        told, self._told = self._told, []
        return told + self._front.take_told()

    def _end(self) -> None:
        self.done = True
        self._front.ended(self, self._line, len(self._body))


def _session_of(head: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the container says of a session."""
    return tuple((name, str(head[name])) for name in (frames.NEW_SESSION, frames.CLOSED_SESSION) if head.get(name))


class Going(Protocol):
    """A request that a line has brought and that is not answered."""

    def cancel(self) -> None:
        """Nobody waits for it any more."""

    def go_on(self) -> None:
        """There is credit for more of its answer."""


class Host(Protocol):
    """Whom a line's requests are for."""

    @property
    def hello(self) -> Mapping[str, Any]: ...

    @property
    def lines(self) -> set[Line]: ...

    def welcome(self, line: Line) -> bool:
        """False: there are as many as may be."""

    def room(self) -> int:
        """Bytes of requests that can be held now, besides what is."""

    def begin(self, line: Line, arrived: Arrived) -> None:
        """Puts it among the line's flows until it is answered."""

    def look(self) -> None:
        """Something has changed."""


class Line(asyncio.Protocol):
    """One connection by which requests come: a router's, or a process's of the instance."""

    def __init__(self, front: Host) -> None:
        self._front = front
        self._peer = Peer(front.hello, front.room)
        self._transport: asyncio.Transport | None = None
        self._full = False
        self._reading = False
        self.flows: dict[int, Going] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._front.welcome(self):
            self._transport.abort()
            return
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._front.lines.discard(self)
        for flow in list(self.flows.values()):
            flow.cancel()
        self._front.look()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._peer.receive(data)
        except FrameError as error:
            log.warning("a connection is closed: %s", error)
            if self._transport is not None:
                self._transport.abort()
            return
        self._reading = True
        for event in events:
            if isinstance(event, Arrived):
                self._front.begin(self, event)
            elif flow := self.flows.get(event.stream):
                if isinstance(event, Cancelled):
                    flow.cancel()
                else:
                    flow.go_on()
        self._reading = False
        self._flush()

    def answer(
        self, stream: int, outcome: Answer | InvocationError | Failure, told: Sequence[frames.Told] = ()
    ) -> None:
        self._peer.answer(stream, outcome, told)
        if not self._reading:
            self._flush()

    def part(self, stream: int, head: bytes, part: bytes, flags: int) -> bool:
        """As Peer.part."""
        sent = self._peer.part(stream, head, part, flags)
        if sent and not self._reading:
            self._flush()
        return sent

    def end(self, stream: int) -> None:
        """As Peer.end."""
        self._peer.end(stream)
        if not self._reading:
            self._flush()

    def close_door(self) -> None:
        """Requests that come from now on are to be sent elsewhere."""
        self._peer.closing = True

    @property
    def partial_bytes(self) -> int:
        return self._peer.partial_bytes

    @property
    def is_quiet(self) -> bool:
        return self._peer.quiet and (self._transport is None or not self._transport.get_write_buffer_size())

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._flush()
        self._front.look()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        transport = self._transport
        while transport is not None and not self._full and (data := self._peer.outgoing()):
            transport.write(data)
        if transport is not None and self._peer.backlog_bytes > MAX_UNREAD_BYTES:
            log.warning("a connection is closed: it does not take its answers")
            transport.abort()


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

    def welcome(self, line: Line) -> bool:
        if len(self.lines) >= MAX_CONNECTIONS or self._stopping:
            return False
        self.lines.add(line)
        return True

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
