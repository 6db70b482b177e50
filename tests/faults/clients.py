"""Many clients at once, byte for byte: keep-alive connections that ask, check each answer, and never retry."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .conftest import Server, until

ANSWERED_IN_S = 20.0
_REQUESTS = 512
"""Signed before the load begins; each has another body."""


class Broken(Exception):
    """The connection ended before the answer was whole."""


def signed(server: Server, endpoint: str, body: bytes, kind: str = "application/json") -> bytes:
    """One whole request to the inference port."""
    url = f"{server.ready['inference_url'].rstrip('/')}/endpoints/{endpoint}/invocations"
    request = AWSRequest("POST", url, data=body, headers={"Content-Type": kind})
    credentials = Credentials(server.ready["access_key_id"], server.ready["secret_access_key"])
    SigV4Auth(credentials, "sagemaker", server.ready["region"]).add_auth(request)
    lines = [f"POST /endpoints/{endpoint}/invocations HTTP/1.1", f"Host: 127.0.0.1:{server.ready['inference_port']}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name.lower() != "host"]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    dialled_s: float

    @classmethod
    async def open(cls, server: Server, **options: Any) -> Connection:
        began_s = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ready["inference_port"], **options)
        return cls(reader, writer, began_s)

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body). Raises Broken."""
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        try:
            async with asyncio.timeout(ANSWERED_IN_S):
                first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, OSError) as error:
            raise Broken(repr(error)) from error
        except TimeoutError:
            raise Broken(f"no answer within {ANSWERED_IN_S:.0f} s") from None
        return int(first.split()[1]), headers, body

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True)
class Failure:
    what: str
    dialled_s: float
    """When its connection was begun; infinity: there is none."""
    at_s: float


@dataclass
class Clients:
    """So many connections, each of which asks again when it has its answer; a new one for each that ends.

    They run on a loop and in a thread of their own, from `with` to the end of it.
    """

    server: Server
    endpoint: str
    connections: int = 64
    adds: int = 0
    """What the endpoint's model adds to its input."""
    requests_each: int = 10**9
    """After so many on one connection, a new one is made."""
    took_s: list[float] = field(default_factory=list)
    """Of each good answer."""
    good_at_s: list[float] = field(default_factory=list)
    """When each of them was there."""
    failures: list[Failure] = field(default_factory=list)

    def __enter__(self) -> Clients:
        self._requests = [(signed(self.server, self.endpoint, b"%d" % n), n) for n in range(_REQUESTS)]
        self._ending = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join(2 * ANSWERED_IN_S)
        assert not self._thread.is_alive(), "a client hangs"

    @property
    def answers(self) -> int:
        return len(self.took_s)

    @property
    def errors(self) -> list[str]:
        return [each.what for each in self.failures]

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(number) for number in range(self.connections)))

    async def _one(self, turn: int) -> None:
        while not self._ending:
            try:
                connection = await Connection.open(self.server)
            except OSError as error:
                self.failures.append(Failure(f"no connection: {error!r}", float("inf"), time.monotonic()))
                await asyncio.sleep(0.01)
                continue
            turn = await self._converse(connection, turn)
            connection.close()

    async def _converse(self, connection: Connection, turn: int) -> int:
        for _ in range(self.requests_each):
            if self._ending:
                break
            request, value = self._requests[turn % _REQUESTS]
            turn += self.connections
            began_s = time.monotonic()
            try:
                status, headers, body = await connection.ask(request)
            except Broken as error:
                self._fail(str(error), connection)
                break
            if status != 200 or body != b"%d" % (value + self.adds):
                self._fail(f"{value} was answered {status} {body!r}", connection)
            else:
                self.good_at_s.append(time.monotonic())
                self.took_s.append(self.good_at_s[-1] - began_s)
            if headers.get("connection") == "close":
                break
        return turn

    def _fail(self, what: str, connection: Connection) -> None:
        self.failures.append(Failure(what, connection.dialled_s, time.monotonic()))


def run(work: Callable[[], Coroutine[Any, Any, Any]], timeout_s: float = 60.0) -> Any:
    """What a coroutine returns, on a loop of its own."""

    async def bounded() -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await work()
        finally:
            await asyncio.sleep(0)  # transports that were aborted end in the next turn

    return asyncio.run(bounded())


def ask(server: Server, endpoint: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""

    async def once() -> tuple[int, dict[str, str], bytes]:
        connection = await Connection.open(server)
        try:
            return await connection.ask(signed(server, endpoint, body))
        finally:
            connection.close()

    found: tuple[int, dict[str, str], bytes] = run(once)
    return found


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@dataclass(frozen=True)
class Kill:
    began_s: float
    over_s: float
    """When the process was gone: until then it may have accepted connections."""


def send(pid: int, number: signal.Signals = signal.SIGKILL) -> Kill:
    """A signal that ends the process, and its end."""
    began_s = time.monotonic()
    os.kill(pid, number)
    until(lambda: not lives(pid), what="the end of a process")
    return Kill(began_s, time.monotonic())


def lives(pid: int) -> bool:
    """False also for a process that has ended and waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def unexplained(failures: list[Failure], kills: list[Kill]) -> list[Failure]:
    """All but those whose connection was there when a router was killed, and was lost by that."""
    return [
        each
        for each in failures
        if not any(each.dialled_s <= kill.over_s and kill.began_s <= each.at_s <= kill.over_s + 2.0 for kill in kills)
    ]


def role_pids(server: Server, role: str) -> dict[str, int]:
    """Task -> process, by the supervisor's records, which are sooner read than `kedge status`."""
    if role == "instance":
        return instance_pids(server)
    roles = json.loads((server.data / "run.json").read_bytes())["roles"]
    return {each["task"]: each["process"]["pid"] for each in roles if each["role"] == role}


def instance_pids(server: Server, endpoint: str = "") -> dict[str, int]:
    """Of the instances that are ready."""
    return {
        each["spec"]["id"]: each["process"]["pid"] for each in records(server, endpoint) if each["state"] == "ready"
    }


def records(server: Server, endpoint: str = "") -> list[dict[str, Any]]:
    """Of the tasks of one endpoint, or of all."""
    found = []
    for path in sorted(server.data.glob("tasks/*/record.json")):
        record = json.loads(path.read_bytes())
        if endpoint in ("", record["spec"]["labels"].get("endpoint")):
            found.append(record)
    return found
