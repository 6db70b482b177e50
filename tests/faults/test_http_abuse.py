"""Clients that abuse HTTP against a real router: whoever behaves is answered as before, and nothing leaks."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .clients import Broken, Clients, Connection, percentile, role_pids, run, signed
from .conftest import Server, until
from .hosted import GOOD, assert_unharmed, running

PATH = f"/endpoints/{GOOD}/invocations"
SPARE = 1000
"""Descriptors that this process and the router need for the rest."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("abuse")) as started:
        yield started


def health(server: Server) -> dict[str, int]:
    async def get() -> bytes:
        connection = await Connection.open(server)
        _, _, body = await connection.ask(b"GET /kedge/health HTTP/1.1\r\nHost: here\r\n\r\n")
        connection.close()
        return body

    found: dict[str, int] = json.loads(run(get))
    return found


def router_bytes(server: Server) -> int:
    (pid,) = role_pids(server, "router").values()
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_heads_that_trickle_and_bodies_without_an_end(server: Server):
    """500 of each, beside clients that behave. A head has 10 s; a body ends at the limit of its size."""

    async def trickle() -> int:
        connection = await Connection.open(server)
        answer = asyncio.ensure_future(connection.answer())
        line = b"POST /endpoints/good/invocations HTTP/1.1\r\nHost: a\r\n"
        for at in range(len(line)):
            if answer.done():
                break
            connection.writer.write(line[at : at + 1])
            await asyncio.sleep(1.0)
        status = (await answer)[0]
        connection.close()
        return status

    async def endless() -> int:
        connection = await Connection.open(server)
        answer = asyncio.ensure_future(connection.answer())
        connection.writer.write(f"POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
        sent = 0
        while not answer.done():
            connection.writer.write(piece)
            sent += 1
            assert sent < 100, "nobody stops it"
            await asyncio.wait(
                (asyncio.ensure_future(connection.writer.drain()), answer), return_when="FIRST_COMPLETED"
            )
        status = (await answer)[0]
        connection.close()
        return status

    async def abuse() -> tuple[list[int], list[int]]:
        trickling = asyncio.gather(*(trickle() for _ in range(500)))
        return [await endless() for _ in range(5)], await trickling

    with Clients(server, GOOD, 8, adds=10) as clients:
        endless_ones, trickling_ones = run(abuse)
    assert set(endless_ones) == {413}
    assert set(trickling_ones) == {408}
    assert clients.errors == []
    assert clients.answers > 200
    assert_unharmed(server)


def test_ten_thousand_idle_connections(server: Server):
    """As many as the limit of descriptors of this process, and the router's, allows; one more is told so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    until(lambda: health(server)["connections"] < 5, what="the end of other connections")
    count = min(9_990, hard - SPARE) // 90 * 90
    before = router_bytes(server)

    address, request = ("127.0.0.1", server.ready["inference_port"]), signed(server, GOOD, b"1")
    took_s = []
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        idle: list[socket.socket] = []
        while len(idle) < count:
            several = [stack.enter_context(socket.create_connection(address, 10)) for _ in range(90)]
            for sock in several:
                sock.sendall(b"GET /ping HTTP/1.1\r\nHost: here\r\n\r\n")
            for sock in several:
                assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            idle += several
        for sock in idle[:: count // 300]:
            began_s = time.monotonic()
            sock.sendall(request)
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
            took_s.append(time.monotonic() - began_s)
        if count == 9_990:
            more = [stack.enter_context(socket.create_connection(address, 10)) for _ in range(11)]
            assert more[-1].recv(65536).startswith(b"HTTP/1.1 503")
        each_bytes = (router_bytes(server) - before) / count
    print(f"{count} idle connections of {each_bytes / 1024:.1f} KiB, p99 {percentile(took_s, 0.99) * 1000:.1f} ms")
    assert percentile(took_s, 0.5) < 0.2
    assert each_bytes < 32 * 1024
    until(lambda: health(server)["connections"] < 10, what="the end of the idle connections")
    assert_unharmed(server)


def test_a_long_pipeline(server: Server):
    async def pipeline() -> None:
        connection = await Connection.open(server)
        requests = [signed(server, GOOD, b"%d" % number) for number in range(200)]
        count = 1600
        sending = asyncio.ensure_future(asyncio.to_thread(b"".join, requests * (count // 200)))
        connection.writer.write(await sending)
        for number in range(count):
            assert (await connection.answer())[::2] == (200, b"%d" % (number % 200 + 10))
        connection.close()

    with Clients(server, GOOD, 8, adds=10) as clients:
        run(pipeline)
    assert clients.errors == []
    assert_unharmed(server)


SMUGGLED = f"POST {PATH} HTTP/1.1\r\nHost: evil\r\nContent-Length: 3\r\n\r\n666".encode()
"""If it is ever answered, bytes of a body were taken for a request."""


def framed(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"POST {PATH} HTTP/1.1", "Host: a", *headers]).encode() + b"\r\n\r\n" + body


TWO_READINGS = {
    "length and chunked": framed("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "chunked and length": framed("Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED),
    "two lengths": framed("Content-Length: 0", f"Content-Length: {len(SMUGGLED)}", body=SMUGGLED),
    "a list of lengths": framed(f"Content-Length: 0, {len(SMUGGLED)}", body=SMUGGLED),
    "a length with a sign": framed("Content-Length: +0", body=SMUGGLED),
    "a length in hexadecimal": framed("Content-Length: 0x0", body=SMUGGLED),
    "a length with a tab": framed("Content-Length:\t0 0", body=SMUGGLED),
    "a blank before the colon": framed(f"Content-Length : {len(SMUGGLED)}", body=SMUGGLED),
    "a coding with a vertical tab": framed("Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a coding in a folded line": framed("Transfer-Encoding:", " chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "another coding": framed("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "two codings": framed("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=b"0\r\n\r\n" + SMUGGLED),
    "a quoted coding": framed('Transfer-Encoding: "chunked"', body=b"0\r\n\r\n" + SMUGGLED),
    "a bare line feed": framed("X: a\nTransfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a bare carriage return": framed("X: a\rTransfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a NUL in a header": framed("X: a\0b", body=SMUGGLED),
    "a chunk's size with a sign": framed("Transfer-Encoding: chunked", body=b"+0\r\n\r\n" + SMUGGLED),
    "a chunk's size in 0x": framed("Transfer-Encoding: chunked", body=b"0x0\r\n\r\n" + SMUGGLED),
    "a chunk's size that wraps": framed("Transfer-Encoding: chunked", body=b"10000000000000000\r\n\r\n" + SMUGGLED),
    "a chunk longer than it says": framed("Transfer-Encoding: chunked", body=b"1\r\nab\r\n0\r\n\r\n" + SMUGGLED),
    "a chunk that ends in a line feed": framed("Transfer-Encoding: chunked", body=b"1\na\n0\n\n" + SMUGGLED),
    "an upgrade with a body": framed(
        "Connection: Upgrade", "Upgrade: h2c", f"Content-Length: {len(SMUGGLED)}", body=SMUGGLED
    ),
}


@pytest.mark.parametrize("name", TWO_READINGS)
@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_what_could_be_read_in_two_ways_is_refused(server: Server, name: str, pieces: str):
    async def send() -> list[int]:
        connection = await Connection.open(server)
        data = TWO_READINGS[name]
        for at in range(0, len(data), len(data) if pieces == "whole" else 1):
            connection.writer.write(data[at : at + (len(data) if pieces == "whole" else 1)])
            await asyncio.sleep(0)
        statuses = []
        try:
            while True:
                statuses.append((await connection.answer())[0])
        except Broken:
            connection.close()
            return statuses

    assert run(send) == [400]
    assert_unharmed(server)
