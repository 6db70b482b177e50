"""Heads that are too long or too slow, over a real uvicorn on a free port."""

import asyncio
import http.client
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from kedge.wire.connection import BoundedHttp

Connect = Callable[[], socket.socket]
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n"


class Small(BoundedHttp):
    head_bytes = 1000
    head_s = 0.3


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body, takes longer than a head may, answers with the body's length."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await asyncio.sleep(Small.head_s * 1.5)
    body = str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(slow, http=Small, log_config=None, lifespan="off", loop="asyncio", timeout_keep_alive=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def connect(port: int) -> Iterator[Connect]:
    opened: list[socket.socket] = []

    def connect() -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", port), timeout=10))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


def to_the_end(connection: socket.socket) -> bytes:
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:  # it was closed while more was on its way
        pass
    return received


@pytest.mark.parametrize(
    "head",
    [
        REQUEST + b"X: " + b"a" * 2000 + b"\r\n\r\n",
        b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        REQUEST + b"".join(b"X%d: a\r\n" % i for i in range(300)) + b"\r\n",
    ],
)
def test_a_head_that_is_too_long(connect: Connect, head: bytes) -> None:
    connection = connect()
    connection.sendall(head)
    assert to_the_end(connection).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("endless", [REQUEST + b"X: ", b"GET /", b"\r\n"])
def test_a_head_without_an_end_is_not_kept(connect: Connect, endless: bytes) -> None:
    connection = connect()
    connection.sendall(endless)
    filler = b"\r\n" * 250 if endless == b"\r\n" else b"a" * 500
    sent = 0
    while not select.select([connection], [], [], 0.001)[0] and sent < 10_000_000:
        connection.sendall(filler)
        sent += len(filler)
    assert b"has more than 1000 bytes" in to_the_end(connection)


@pytest.mark.parametrize("begun", [b"1;", b"1\r\na\r\n0\r\nX: ", b"1\r\na\r\n0\r\n"])
def test_what_frames_a_body_is_not_without_a_bound(connect: Connect, begun: bytes) -> None:
    connection = connect()
    connection.sendall(REQUEST + b"Transfer-Encoding: chunked\r\n\r\n" + begun)
    filler = b"X: aaa\r\n" * 60 if begun.endswith(b"0\r\n") else b"a" * 500
    sent = 0
    while not select.select([connection], [], [], 0.001)[0] and sent < 10_000_000:
        connection.sendall(filler)
        sent += len(filler)
    assert b"may have 1000 bytes" in to_the_end(connection)


def test_chunks_with_extensions_and_trailers_are_a_body(connect: Connect) -> None:
    connection = connect()
    chunks = (b"1;chunk-signature=" + b"a" * 64 + b"\r\nx\r\n") * 100
    head = REQUEST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    connection.sendall(head + chunks + b"0\r\nX-T: " + b"t" * 500 + b"\r\n\r\n")
    assert to_the_end(connection).endswith(b"\r\n\r\n100")


@pytest.mark.parametrize("part", [b"GET / HT", REQUEST, b"\r\n"])
def test_a_head_that_is_too_slow(connect: Connect, part: bytes) -> None:
    connection = connect()
    connection.sendall(part)
    assert b"did not come within 0.3 s" in to_the_end(connection)


def test_a_connection_that_is_never_used_ends_without_a_word(connect: Connect) -> None:
    assert to_the_end(connect()) == b""


def test_a_slow_answer_and_an_idle_connection_are_not_slow_heads(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(2):  # the second on the same connection
        connection.request("POST", "/", b"x" * 500_000)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"500000")
    connection.close()


def test_requests_in_one_piece_are_counted_apart(connect: Connect) -> None:
    connection = connect()
    one = REQUEST + b"Content-Length: 600\r\nX: " + b"a" * 600 + b"\r\n\r\n" + b"b" * 600
    connection.sendall(one * 2 + REQUEST + b"Connection: close\r\n\r\n")
    assert to_the_end(connection).count(b"HTTP/1.1 200 ") == 3


def test_an_unfinished_head_behind_a_request_does_not_break_into_its_answer(connect: Connect) -> None:
    connection = connect()
    connection.sendall(REQUEST + b"\r\n" + b"GET / HT")
    received = to_the_end(connection)
    assert b" 400 " not in received
    assert received.count(b"HTTP/1.1") <= 1
