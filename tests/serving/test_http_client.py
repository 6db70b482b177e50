"""The client that asks an own server, against servers of every manner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from kedge.serving.http_client import MAX_HEAD_BYTES, AnswerTooLarge, BrokenAnswer, Client

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """Answers one request after the other with what is in its list; None closes the connection."""

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if b"close" in answer.lower() or b"-" not in answer:
                    break
        except asyncio.IncompleteReadError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: bytes | None) -> AsyncIterator[tuple[Client, Peer]]:
    peer = Peer(answers)
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Client(lambda: asyncio.open_connection("127.0.0.1", port), "localhost:8080")
    try:
        yield client, peer
    finally:
        client.close()
        server.close()
        await server.wait_closed()


async def ask(client: Client, body: bytes = b"x", limit: int = 1000) -> tuple[int, bytes]:
    reply = await client.ask("POST", "/invocations", {"Accept": "a/b"}, body, limit)
    return reply.status, reply.body


async def test_a_connection_is_kept_for_the_next_request():
    async with serving(OK, OK) as (client, peer):
        assert await ask(client, b"1") == (200, b"ok")
        assert await ask(client, b"2") == (200, b"ok")
        assert peer.connections == 1
        assert peer.requests[1].startswith(b"POST /invocations HTTP/1.1\r\nHost: localhost:8080\r\n")
        assert peer.requests[1].endswith(b"Accept: a/b\r\n\r\n2")


async def test_a_kept_connection_that_the_server_has_closed_costs_no_request():
    closing = OK.replace(b"\r\n\r\n", b"\r\nX-Then: close\r\n\r\n", 1)
    async with serving(closing, OK) as (client, peer):
        assert await ask(client) == (200, b"ok")
        assert await ask(client) == (200, b"ok")
        assert peer.connections == 2


@pytest.mark.parametrize(("answer", "want"), [
    (b"HTTP/1.1 200 OK\r\n\r\nto the end", (200, b"to the end")),
    (b"HTTP/1.0 418 No\r\nContent-Length: 1\r\n\r\nx", (418, b"x")),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", (200, b"abc")),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", (200, b"x")),
    (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
])  # fmt: skip
async def test_every_manner_of_ending_a_body_is_read(answer: bytes, want: tuple[int, bytes]):
    async with serving(answer) as (client, _):
        assert await ask(client) == want


@pytest.mark.parametrize("answer", [
    None,
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf",
    b"no HTTP at all\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"a" * 2 * MAX_HEAD_BYTES,
])  # fmt: skip
async def test_what_is_no_answer_is_said_to_be_none(answer: bytes | None):
    async with serving(answer) as (client, _):
        with pytest.raises(BrokenAnswer):
            await ask(client)


@pytest.mark.parametrize("head", [b"Content-Length: 11\r\n", b""])
async def test_an_answer_that_is_too_large_is_not_read_to_its_end(head: bytes):
    async with serving(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"x" * 11) as (client, _):
        with pytest.raises(AnswerTooLarge):
            await ask(client, limit=10)
