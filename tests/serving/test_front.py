"""HTTP on the inference port: what is taken, what is refused, and what a client may not do."""

from __future__ import annotations

import asyncio
import hashlib
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kedge.serving.inbound import Limits
from kedge.serving.table import Variant
from tests.serving.peers import Client, Worker, endpoint, never, request, running, table, until

PATH = b"/endpoints/an-endpoint/invocations"


@pytest.fixture
async def worker(tmp_path):
    worker = await Worker("i-1", tmp_path / "i-1.sock").start()
    yield worker
    await worker.close()


def one(worker: Worker, **options):
    return table(endpoint(Variant("AllTraffic", 1.0, (worker.instance,)), **options))


def post(*headers: bytes, body: bytes = b"", target: bytes = PATH, version: bytes = b"1.1") -> bytes:
    lines = [b"POST %s HTTP/%s" % (target, version), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (post(b"Host: a", b"Content-Length: 3", body=b"abc"), b"abc"),
        (post(b"HOST:a", b"content-LENGTH:   3  ", body=b"abc"), b"abc"),
        (post(b"Host: a"), b""),
        (post(b"Content-Length: 3", body=b"abc", version=b"1.0"), b"abc"),
        (b"\r\n\r\n" + post(b"Host: a", b"Content-Length: 3", body=b"abc"), b"abc"),
        (post(b"Host: a", b"Content-Length: 3", body=b"abc", target=b"http://a" + PATH), b"abc"),
        (post(b"Host: a", b"Content-Length: 3", body=b"abc", target=b"HTTPS://a:1" + PATH + b"?x=y"), b"abc"),
        (post(b"Host: a", b"Transfer-Encoding: chunked", body=b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), b"abc"),
        (post(b"Host: a", b"Transfer-Encoding: Chunked", body=b"3;x=y\r\nabc\r\n0\r\nHost: b\r\n\r\n"), b"abc"),
        (post(b"Host: a", b"Connection: Upgrade", b"Upgrade: h2c"), b""),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
async def test_what_is_taken(worker, raw, body, piece_bytes):
    async with running(one(worker)) as served, served.client() as client:
        for start in range(0, len(raw), piece_bytes):
            client.writer.write(raw[start : start + piece_bytes])
            await client.writer.drain()
            await asyncio.sleep(0)
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, body)
        if b"HTTP/1.0" not in raw:
            assert (await client.send(request(b"[again]"))).body == b"[again]"
        else:
            assert await client.is_closed()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (post(b"Host: a", version=b"2.0"), 400),
        (post(b"Host: a", version=b"0.9"), 400),
        (post(b"Host: a", target=b"x"), 400),
        (post(b"Host: a", target=b"*"), 400),
        (post(), 400),
        (post(b"Host: a", b"Host: b"), 400),
        (post(b"Host: a", b"Content-Length: -1"), 400),
        (post(b"Host: a", b"Content-Length: +1"), 400),
        (post(b"Host: a", b"Content-Length: 0x10"), 400),
        (post(b"Host: a", b"Content-Length: 1 1"), 400),
        (post(b"Host: a", b"Content-Length: "), 400),
        (post(b"Host: a", b"Content-Length: " + b"9" * 30), 400),
        (post(b"Host: a", b"Content-Length: " + b"9" * 5000), 400),
        (post(b"Host: a", b"Content-Length: 1", b"Content-Length: 1", body=b"a"), 400),
        (post(b"Host: a", b"Content-Length: 1", b"Content-Length: 2", body=b"ab"), 400),
        (post(b"Host: a", b"Content-Length: 1, 1", body=b"a"), 400),
        (post(b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (post(b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
        (post(b"Host: a", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
        (post(b"Host: a", b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"), 400),
        (post(b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (post(b"Host: a", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"), 400),
        (post(b"Host: a", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"), 400),
        (post(b"Host: a", b"Transfer-Encoding: chunked", body=b"-1\r\na\r\n0\r\n\r\n"), 400),
        (post(b"Host: a", b"Transfer-Encoding: chunked", body=b"ffffffffffffffffff\r\na\r\n"), 400),
        (post(b"Host: a", b"Transfer-Encoding: chunked", body=b"2\r\nabc\r\n0\r\n\r\n"), 400),
        (post(b"Host: a", b"X: a\0b"), 400),
        (post(b"Host: a", b"X : a"), 400),
        (post(b"Host: a", b"X: a", b" folded"), 400),
        (post(b"Host: a", b"X\xe9: a"), 400),
        (b"POST " + PATH + b" HTTP/1.1\nHost: a\n\n", 400),
        (post(b"Host: a", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3", body=b"abc"), 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (post(b"Host: a", b"Expect: a-miracle"), 417),
        (post(b"Host: a", b"X: " + b"x" * 70_000), 431),
        (post(b"Host: a", target=PATH + b"?" + b"x" * 70_000), 431),
        (post(b"Host: a", *(b"X-%d: a" % n for n in range(300))), 431),
        (post(b"Host: a", *(b"X: a" for n in range(300))), 431),
        (post(b"Host: a", b"Content-Length: 1048577"), 413),
        (post(b"Host: a", b"Transfer-Encoding: chunked", body=b"100001\r\n" + b"x" * 1048577), 413),
    ],
)
async def test_what_is_refused(worker, raw, status):
    async with running(one(worker, body_limit_bytes=1 << 20)) as served, served.client() as client:
        client.writer.write(raw)
        answer = await client.answer()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert answer.json()["Message"]
        assert await client.is_closed()
        await until(lambda: not served.router.front.held_bytes)
    assert not worker.calls


async def test_an_endless_head_is_refused_while_it_comes(worker):
    async with running(one(worker)) as served, served.client() as client:
        client.writer.write(b"POST " + PATH + b" HTTP/1.1\r\nHost: a\r\nX: ")
        for _ in range(100):
            client.writer.write(b"x" * 10_000)
            await asyncio.sleep(0)
        assert (await client.answer()).status == 431


@pytest.mark.parametrize("begun", [b"1;", b"1;a=", b"1\r\na\r\n0\r\nX: ", b"1\r\na\r\n0\r\n"])
async def test_what_frames_a_body_has_no_end_without_a_bound(worker, begun):
    """The parser keeps a trailer until its end, and copies it with each piece."""
    filler = (b"X-Y: " + b"x" * 1000 + b"\r\n") * 10 if begun.endswith(b"0\r\n") else b"x" * 10_000
    async with running(one(worker)) as served, served.client() as client:
        client.writer.write(post(b"Host: a", b"Transfer-Encoding: chunked") + begun)
        for _ in range(100):
            client.writer.write(filler)
            await asyncio.sleep(0)
        answer = await client.answer()
        assert (answer.status, answer.json()["Message"]) == (
            400,
            "A chunk's extension, or trailers, may have 65536 bytes.",
        )
        await until(lambda: not served.router.front.held_bytes)
    assert not worker.calls


async def test_chunks_of_single_bytes_with_extensions_and_trailers_are_a_body(worker):
    extension = b";chunk-signature=" + b"a" * 64
    chunks = b"".join(b"1%s\r\n%c\r\n" % (extension, byte) for byte in b"[1]" + b" " * 3000)
    async with running(one(worker)) as served, served.client() as client:
        raw = post(b"Host: a", b"Transfer-Encoding: chunked") + chunks + b"0\r\nX-T: " + b"t" * 10_000 + b"\r\n\r\n"
        assert (await client.send(raw)).body == b"[1]" + b" " * 3000


async def test_pipelining_keeps_the_order(worker):
    async with running(one(worker)) as served, served.client() as client:
        bodies = [b"[%d]" % n for n in range(500)]
        client.writer.write(b"".join(map(request, bodies)))
        assert [(await client.answer()).body for _ in bodies] == bodies
        # A refusal comes after the answers to what was asked before it.
        client.writer.write(request(b"[last]") + b"nonsense\r\n\r\n" + request(b"[never]"))
        assert (await client.answer()).body == b"[last]"
        assert (await client.answer()).status == 400
        assert await client.is_closed()
    assert worker.calls[-1].body == b"[last]"


async def test_pipelining_is_bounded(worker):
    """While one request is answered slowly, reading stops after a few more."""
    worker.serve = never
    async with running(one(worker)) as served, served.client() as client:
        one_request = request(b"x" * 30_000)
        client.writer.write(one_request)
        await until(lambda: worker.calls)
        held = [0]
        for _ in range(60):
            client.writer.write(one_request * 10)
            await asyncio.sleep(0)
            held.append(served.router.front.held_bytes)
        assert max(held) < 2_000_000
        assert client.writer.transport.get_write_buffer_size() > 1_000_000
        worker.serve = type(worker).serve
        worker.calls[0].answer()
        for _ in range(601):
            assert (await client.answer()).status == 200


async def test_the_answer_to_the_last_request_closes(worker):
    async with running(one(worker)) as served, served.client() as client:
        client.writer.write(request(b"[1]", connection="close") + request(b"[2]"))
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"[1]", "close")
        assert await client.is_closed()
    assert len(worker.calls) == 1


async def test_http_1_0_may_keep_the_connection(worker):
    raw = post(b"Content-Length: 1", b"Connection: keep-alive", body=b"1", version=b"1.0")
    async with running(one(worker)) as served, served.client() as client:
        for _ in range(3):
            answer = await client.send(raw)
            assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


async def test_expect_continue(worker):
    async with running(one(worker, body_limit_bytes=1 << 20)) as served, served.client() as client:
        client.writer.write(post(b"Host: a", b"Content-Length: 3", b"Expect: 100-continue"))
        assert await client.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.send(b"abc")).body == b"abc"
        # One that sends its body at once needs no invitation, and a body too large gets none.
        client.writer.write(post(b"Host: a", b"Content-Length: 3", b"Expect: 100-continue", body=b"def"))
        while (answer := await client.answer()).status == 100:
            pass
        assert answer.body == b"def"
        answer = await client.send(post(b"Host: a", b"Content-Length: 9999999", b"Expect: 100-continue"))
        assert answer.status == 413


async def test_an_invitation_waits_for_the_answer_before_it(worker):
    worker.serve = never
    async with running(one(worker)) as served, served.client() as client:
        client.writer.write(request(b"[1]") + post(b"Host: a", b"Content-Length: 3", b"Expect: 100-continue"))
        await until(lambda: worker.calls)
        worker.serve = type(worker).serve
        worker.calls[0].answer()
        assert (await client.answer()).body == b"[1]"
        assert await client.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await client.send(b"abc")).body == b"abc"


async def test_head_has_no_body(worker):
    async with running(one(worker)) as served, served.client() as client:
        client.writer.write(b"HEAD /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await client.answer("HEAD")
        assert (answer.status, answer.headers["content-length"]) == (200, "2")
        assert (await client.send(request(b"[1]"))).body == b"[1]"


async def test_large_chunked_bodies_are_hashed_as_they_come(worker):
    seen = []
    async with running(one(worker)) as served:
        served.router.front.hash_while_reading = True
        handle = served.router.front.handle

        def look(inbound):
            seen.append((inbound.body_sha256(), inbound.body))
            handle(inbound)

        served.router.front.handle = look
        body = bytes(itertools.islice(itertools.cycle(range(251)), 500_000))
        pieces = [b"%x\r\n%s\r\n" % (len(p), p) for p in (body[n : n + 9999] for n in range(0, len(body), 9999))]
        async with served.client() as client:
            client.writer.write(post(b"Host: a", b"Transfer-Encoding: chunked"))
            for piece in [*pieces, b"0\r\n\r\n"]:
                client.writer.write(piece)
                await client.writer.drain()
            assert (await client.answer()).body == body
    assert seen == [(hashlib.sha256(body).hexdigest(), body)]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"POST ", 408),
        (post(b"Host: a", b"Content-Length: 3", body=b"ab"), 408),
        (request(b"[1]"), 200),
    ],
)
async def test_slow_clients(worker, sent, status):
    limits = Limits(head_s=0.05, body_idle_s=0.05, keep_alive_s=0.05, sweep_s=0.01)
    async with running(one(worker), limits) as served, served.client() as client:
        client.writer.write(sent)
        if status is not None:
            assert (await client.answer()).status == status
        assert await client.is_closed()


async def test_a_body_that_trickles(worker):
    """Each piece comes in time, the whole does not."""
    limits = Limits(body_idle_s=5.0, body_s=0.05, sweep_s=0.01)
    async with running(one(worker), limits) as served, served.client() as client:
        client.writer.write(post(b"Host: a", b"Content-Length: 100000"))
        answer = asyncio.create_task(client.answer())
        while not answer.done():
            client.writer.write(b"x")
            await asyncio.sleep(0.001)
        assert (await answer).status == 408


async def test_a_client_that_does_not_read(worker):
    """It is let go; until then no more than its answer is held."""
    limits = Limits(write_stall_s=0.05, sweep_s=0.01)
    body = b"x" * (8 << 20)
    async with running(one(worker, body_limit_bytes=len(body)), limits) as served:
        front = served.router.front
        _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
        writer.write(request(body) + request(b"[2]"))
        await until(lambda: worker.calls)
        await until(lambda: not front.connections)
        assert front.held_bytes == 0
        writer.close()
    assert len(worker.calls) == 1


async def test_of_clients_that_do_not_read_the_first_is_let_go_for_the_last(worker):
    body = b"x" * (8 << 20)
    async with running(one(worker, body_limit_bytes=len(body)), Limits(stalled_bytes=10 << 20)) as served:
        front, writers = served.router.front, []
        for number in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
            writers.append(writer)
            writer.write(request(body))
            await until(lambda: len(worker.calls) == number + 1 and front.stalled_bytes)  # noqa: B023
            assert front.stalled_bytes <= 10 << 20
        await until(lambda: len(front.connections) < 3)
        assert (await served.invoke()).status == 200
        for writer in writers:
            writer.close()
        await until(lambda: not front.connections)
        assert front.held_bytes == front.stalled_bytes == 0


async def test_a_client_that_reads_late_gets_all(worker):
    body = b"x" * (8 << 20)
    async with running(one(worker, body_limit_bytes=len(body))) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
        client = Client(reader, writer)
        writer.write(request(body) + request(b"[2]"))
        await until(lambda: served.router.front.held_bytes > 0 and worker.calls)
        reader._limit = 1 << 20
        reader._maybe_resume_transport()
        assert (await client.answer()).body == body
        assert (await client.answer()).body == b"[2]"
        await until(lambda: served.router.front.held_bytes == 0)
        client.close()


async def test_too_many_connections(worker):
    async with running(one(worker), Limits(connections=2, sweep_s=0.01)) as served:
        async with served.client() as first, served.client() as second:
            assert (await first.send(request())).status == 200
            assert (await second.send(request())).status == 200
            async with served.client() as third:
                assert (await third.answer()).status == 503
                assert await third.is_closed()
        await until(lambda: not served.router.front.connections)
        assert (await served.invoke()).status == 200


async def test_too_many_bytes(worker):
    worker.serve = never
    async with running(one(worker), Limits(held_bytes=100_000, sweep_s=0.01)) as served:
        async with served.client() as first:
            first.writer.write(request(b"x" * 90_000))
            await until(lambda: worker.calls)
            answer = await served.invoke(b"x" * 20_000)
            assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ThrottlingException")
        await until(lambda: not served.router.front.held_bytes)
        worker.serve = type(worker).serve
        assert (await served.invoke(b"x" * 20_000)).status == 200


async def test_draining_finishes_what_is_there(worker):
    worker.serve = never
    async with running(one(worker)) as served, served.client() as busy, served.client() as idle:
        await idle.send(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        busy.writer.write(request(b"[1]"))
        await until(lambda: worker.calls)
        draining = asyncio.create_task(served.router.front.drain(5.0, 0.1))
        await asyncio.sleep(0)
        # Whoever was about to ask on an open connection is still answered.
        answer = await idle.send(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        worker.calls[0].answer()
        answer = await busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"[1]", "close")
        await draining


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(0, 200), st.binary(min_size=1, max_size=8))
def test_no_bytes_break_it(pieces, place, wrong):
    """Random bytes within and around a request: an answer or an end, never an exception, and nothing is held after."""

    async def run() -> None:
        raw = request(b"[1]")
        broken = raw[:place] + wrong + raw[place:]
        async with running(table()) as served:
            for data in [broken, *pieces]:
                async with served.client() as client:
                    client.writer.write(data)
                    client.writer.write_eof()
                    await client.reader.read()
            await until(lambda: not served.router.front.connections)
            assert served.router.front.held_bytes == 0

    asyncio.run(run())
