"""The router's peers as test doubles: a worker that speaks frames, and a client that speaks HTTP byte for byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedge.clock import SystemClock
from kedge.serving import frames
from kedge.serving.capture.tap import Tap
from kedge.serving.frames import Kind
from kedge.serving.inbound import Limits
from kedge.serving.routing import Router
from kedge.serving.table import Endpoint, Instance, Key, RoutingTable, Variant

ACCOUNT, REGION = "123456789012", "eu-central-1"
KEY = Key("AKIATESTTESTTESTTEST", "a-secret-of-no-value", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)


@dataclass
class Call:
    """One request as a worker got it."""

    worker: Worker
    stream: int
    head: dict[str, Any]
    body: bytes
    cancelled: bool = False

    def answer(self, body: bytes | None = None, **head: Any) -> None:
        head = {"status": 200, "content_type": "application/json", **head}
        for each in frames.message(Kind.RESPONSE, self.stream, head, self.body if body is None else body):
            self.worker.write(each)

    def error(self, status: int, message: str, kind: str = "model", **more: Any) -> None:
        head = {"status": status, "message": message, "kind": kind, **more}
        self.worker.write(frames.with_head(Kind.ERROR, self.stream, head))


Serve = Callable[[Call], None]


@dataclass
class Worker:
    """Answers by `serve`; keeps what it was sent. `die` is what kill -9 looks like from outside."""

    id: str
    socket: Path
    serve: Serve = Call.answer
    greeting: dict[str, Any] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    credits: list[int] = field(default_factory=list)
    pings: list[bytes] = field(default_factory=list)
    connections: int = 0
    turned_away: int = 0
    """So many connections are closed before anything is read on them."""
    refusal: bytes = b""
    """What is said on those."""
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def instance(self) -> Instance:
        return Instance(self.id, str(self.socket))

    async def start(self) -> Worker:
        self.socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self.socket)
        return self

    def die(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.die()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def write(self, data: bytes) -> None:
        for writer in self._writers:
            writer.write(data)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.connections <= self.turned_away:
            writer.write(self.refusal)
            writer.transport.abort()
            return
        self._writers.append(writer)
        task = asyncio.ensure_future(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = {"version": frames.VERSION, "instance": self.id, "joinable": False, **self.greeting}
        writer.write(frames.with_head(Kind.HELLO, 0, hello))
        decoder = frames.Decoder()
        partial: dict[int, Call] = {}
        with suppress(ConnectionError):
            while data := await reader.read(1 << 18):
                for frame in decoder.feed(data):
                    self._take(frame, partial)
        if writer in self._writers:
            self._writers.remove(writer)
        writer.close()

    def _take(self, frame: frames.Frame, partial: dict[int, Call]) -> None:
        if frame.kind is Kind.REQUEST:
            call = Call(self, frame.stream, *frame.head())
            partial[frame.stream] = call
        elif frame.kind in (Kind.CHUNK, Kind.END):
            call = partial[frame.stream]
            call.body += frame.payload
            self.write(frames.credit(frame.stream, len(frame.payload)))
        elif frame.kind is Kind.CANCEL:
            for call in self.calls:
                call.cancelled |= call.stream == frame.stream
            return
        elif frame.kind is Kind.CREDIT:
            self.credits.append(frame.credit())
            return
        elif frame.kind is Kind.PING:
            self.pings.append(frame.payload)
            return
        else:
            return
        if frame.flags & frames.LAST or frame.kind is Kind.END:
            del partial[frame.stream]
            self.calls.append(call)
            self.serve(call)


def never(call: Call) -> None:
    """A model that takes its time."""


def endpoint(*variants: Variant, name: str = "an-endpoint", **options: Any) -> Endpoint:
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{name}"
    return Endpoint(ACCOUNT, REGION, name, arn, tuple(variants), **options)


def table(*endpoints: Endpoint, version: int = 1, **options: Any) -> RoutingTable:
    unsigned = {"auth_required": False, "default_account": ACCOUNT, "default_region": REGION, "seal_key": "00" * 32}
    return RoutingTable(version, tuple(endpoints), (KEY,), **{**unsigned, **options})


@asynccontextmanager
async def running(first: RoutingTable | None, limits: Limits | None = None, **options: Any) -> AsyncIterator[Served]:
    tap = options.get("tap") or Tap(Path("/nowhere"), lambda: 0.0)
    body_limit_bytes = options.get("body_limit_bytes", 1 << 20)
    feed = options.get("feed")
    router = Router(0, SystemClock(), limits or Limits(sweep_s=0.02), body_limit_bytes, tap, feed=feed)
    if first is not None:
        router.swap(first)
    router.front.start()
    server = await asyncio.get_running_loop().create_server(router.front.new_connection, "127.0.0.1", 0)
    try:
        yield Served(router, server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await router.front.drain(0.0)
        router.fleet.close()
        await until(lambda: not router.front.connections)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self, method: str = "POST") -> Answer:
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(": ") for line in head[1:] if line)
            headers = {name.lower(): value for name, _, value in pairs}
            length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
            return Answer(int(head[0].split()[1]), headers, await self.reader.readexactly(length))

    async def is_closed(self) -> bool:
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                return await self.reader.read(1) == b""
        return True

    async def send(self, data: bytes) -> Answer:
        self.writer.write(data)
        return await self.answer()

    def close(self) -> None:
        self.writer.close()


@dataclass
class Served:
    router: Router
    port: int

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            yield client
        finally:
            client.close()

    async def invoke(self, body: bytes = b"[1]", name: str = "an-endpoint", **headers: str) -> Answer:
        async with self.client() as client:
            return await client.send(request(body, name, **headers))


def request(body: bytes = b"[1]", name: str = "an-endpoint", **headers: str) -> bytes:
    """headers: underscores stand for hyphens."""
    lines = "".join(f"{key.replace('_', '-')}: {value}\r\n" for key, value in headers.items())
    head = f"POST /endpoints/{name}/invocations HTTP/1.1\r\nhost: here\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
    return head.encode("latin-1") + body


async def until(condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
    """Poll until the condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 (what is waited for is in other processes too)
            await asyncio.sleep(0.001)
