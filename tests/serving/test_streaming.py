"""Answers in parts as the router gives them: a worker and a client as doubles, byte for byte."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from kedge.serving import frames
from kedge.serving.capture.records import Capture
from kedge.serving.frames import PART_BYTES, WINDOW_BYTES, Kind
from kedge.serving.meter import FIRST_CHUNK, FIRST_CHUNK_MODEL, FIRST_CHUNK_OVERHEAD, MID_STREAM_ERRORS, decode
from kedge.serving.table import Variant
from tests.serving.peers import Call, Client, Served, Worker, endpoint, never, request, running, table, until


@pytest.fixture
async def workers(tmp_path: Path):
    made: list[Worker] = []

    async def make(id: str, serve=never, **options) -> Worker:  # noqa: A002
        worker = await Worker(id, tmp_path / f"{id}.sock", serve, **options).start()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        await worker.close()


def variant(*workers: Worker, **options: Any) -> Variant:
    return Variant("v", 1.0, tuple(worker.instance for worker in workers), **options)


def asking(body: bytes = b"[1]", **headers: str) -> bytes:
    return request(body, **headers).replace(b"/invocations ", b"/invocations-response-stream ", 1)


def first(call: Call, part: bytes, **head: Any) -> None:
    head = {"status": 200, "content_type": "text/plain", **head}
    call.worker.write(frames.with_head(Kind.RESPONSE, call.stream, head, part))


def more(call: Call, part: bytes) -> None:
    call.worker.write(frames.frame(Kind.CHUNK, call.stream, part))


def end(call: Call) -> None:
    call.worker.write(frames.frame(Kind.END, call.stream))


async def head_of(client: Client) -> tuple[str, dict[str, str]]:
    async with asyncio.timeout(10):
        line, *lines = (await client.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (each.partition(": ") for each in lines if each)
    return line, {name.lower(): value for name, _, value in pairs}


async def piece_of(client: Client) -> bytes:
    """One chunk; nothing at the end."""
    async with asyncio.timeout(10):
        size = int(await client.reader.readuntil(b"\r\n"), 16)
        data = await client.reader.readexactly(size + 2)
    return data[:-2]


def events_of(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(each.headers, each.payload) for each in buffer]


async def events(client: Client) -> list[tuple[str, bytes]]:
    """(what it is, payload) of all that follow."""
    data = b""
    while piece := await piece_of(client):
        data += piece
    return [(head.get(":event-type") or head[":exception-type"], payload) for head, payload in events_of(data)]


def measured(served: Served) -> dict[str, float]:
    """The sum of each that was measured in the second that goes on."""
    reporter = served.router.reporter
    found = decode(reporter._meter.roll(1)).measured
    return {each.name: sum(value * count for value, count in each.values.weighted()) for each in found}


async def test_parts_as_they_come(workers):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served, served.client() as client:
        client.writer.write(asking(x_amzn_sagemaker_accept="text/plain", accept="application/vnd.amazon.eventstream"))
        await until(lambda: worker.calls)
        [call] = worker.calls
        assert (call.head["answer"], call.head["accept"]) == ("parts", "text/plain")
        first(call, b"one", custom_attributes="a=b")
        line, headers = await head_of(client)
        assert line == "HTTP/1.1 200 OK"
        assert headers["content-type"] == "application/vnd.amazon.eventstream"
        assert headers["x-amzn-sagemaker-content-type"] == "text/plain"
        assert headers["x-amzn-sagemaker-custom-attributes"] == "a=b"
        assert headers["x-amzn-invoked-production-variant"] == "v"
        assert headers["x-amzn-requestid"] == call.head["request_id"]
        [(head, payload)] = events_of(await piece_of(client))
        assert head == {
            ":message-type": "event",
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
        }
        assert payload == b"one"
        [now] = served.router.fleet.concurrent()
        assert now.requests == 1
        more(call, b"two")
        assert [payload for _, payload in events_of(await piece_of(client))] == [b"two"]
        more(call, b"")
        end(call)
        assert await events(client) == []
        assert not served.router.fleet.concurrent()
        found = measured(served)
        assert found.keys() == {FIRST_CHUNK, FIRST_CHUNK_MODEL, FIRST_CHUNK_OVERHEAD, MID_STREAM_ERRORS}
        assert found[MID_STREAM_ERRORS] == 0
        assert found[FIRST_CHUNK] == pytest.approx(found[FIRST_CHUNK_MODEL] + found[FIRST_CHUNK_OVERHEAD])
        # The connection goes on, also with an answer that comes whole.
        worker.serve = Call.answer
        assert (await client.send(request(b"[2]"))).body == b"[2]"
        client.writer.write(asking(b"[3]"))
        await head_of(client)
        assert await events(client) == [("PayloadPart", b"[3]")]


async def test_errors_before_and_after_the_first_part(workers):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served, served.client() as client:
        worker.serve = lambda call: call.error(500, "no")
        answer = await client.send(asking())
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (424, "ModelError")

        def breaking(call: Call) -> None:
            first(call, b"one")
            call.error(500, "no more")

        worker.serve = breaking
        client.writer.write(asking())
        await head_of(client)
        part, (kind, said) = await events(client)
        assert (part, kind) == (("PayloadPart", b"one"), "ModelStreamError")
        assert json.loads(said) == {"Message": "The model broke off its answer: no more", "ErrorCode": "StreamBroken"}
        assert measured(served)[MID_STREAM_ERRORS] == 1

        worker.serve = lambda call: first(call, b"one", content_type="a\r\nb: c")
        answer = await client.send(asking())
        assert answer.status == 424
        await until(lambda: worker.calls[-1].cancelled)


async def test_a_lost_instance_is_tried_again_only_before_the_first_part(workers):
    one, other = await workers("one"), await workers("other")
    async with running(table(endpoint(variant(one, other)))) as served, served.client() as client:
        await until(lambda: served.router.fleet.ready_count == 2)
        client.writer.write(asking())
        await until(lambda: one.calls or other.calls)
        at, left = (one, other) if one.calls else (other, one)
        at.die()
        await until(lambda: left.calls)
        first(left.calls[0], b"one")
        await head_of(client)
        await piece_of(client)
        left.die()
        [(kind, said)] = await events(client)
        assert (kind, json.loads(said)["ErrorCode"]) == ("ModelStreamError", "StreamBroken")


async def test_time_for_the_first_part_and_for_all(workers):
    worker = await workers("i-1")
    hurried = endpoint(variant(worker), timeout_s=0.05, stream_timeout_s=0.3)
    async with running(table(hurried)) as served, served.client() as client:
        answer = await client.send(asking())
        assert (answer.status, answer.json()["OriginalStatusCode"]) == (424, 0)
        worker.serve = lambda call: first(call, b"one")
        client.writer.write(asking())
        await head_of(client)
        part, (kind, said) = await events(client)
        assert (part, kind) == (("PayloadPart", b"one"), "ModelStreamError")
        assert json.loads(said)["ErrorCode"] == "ModelInvocationTimeExceeded"
        await until(lambda: worker.calls[-1].cancelled)


async def test_a_slow_client_gets_no_credit(workers):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served, served.client() as client:
        front = served.router.front
        client.writer.transport.pause_reading()
        client.writer.write(asking())
        await until(lambda: worker.calls)
        [call] = worker.calls
        sent = 0

        def has_credit() -> bool:
            return WINDOW_BYTES + sum(worker.credits) - sent >= PART_BYTES

        while has_credit():  # what the kernel takes for the client counts as taken
            (more if sent else first)(call, b"x" * PART_BYTES)
            sent += PART_BYTES
            await until(lambda: has_credit() or front.stalled_bytes)
        await until(lambda: front.stalled_bytes > WINDOW_BYTES // 2)
        assert front.stalled_bytes < 2 * WINDOW_BYTES
        client.writer.transport.resume_reading()
        await head_of(client)
        for _ in range(sent // PART_BYTES):
            assert len(await piece_of(client)) > PART_BYTES
        await until(lambda: WINDOW_BYTES + sum(worker.credits) - sent > WINDOW_BYTES // 2)
        assert front.stalled_bytes == 0
        # A worker that gives more than it may is not spoken to any longer.
        client.writer.transport.pause_reading()
        for _ in range(64):
            more(call, b"x" * PART_BYTES)
        await until(lambda: worker.connections == 2)


async def test_a_client_that_goes_cancels(workers):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served:
        async with served.client() as client:
            client.writer.write(asking())
            await until(lambda: worker.calls)
            first(worker.calls[0], b"one")
            await head_of(client)
        await until(lambda: worker.calls[0].cancelled)
        await until(lambda: not served.router.fleet.concurrent())
        assert measured(served)[MID_STREAM_ERRORS] == 0


async def test_http_1_0_and_a_router_that_ends(workers):
    worker = await workers("i-1", lambda call: first(call, b"one"))
    async with running(table(endpoint(variant(worker)))) as served:
        async with served.client() as client:
            client.writer.write(asking().replace(b"HTTP/1.1", b"HTTP/1.0"))
            _, headers = await head_of(client)
            assert "transfer-encoding" not in headers
            end(worker.calls[0])
            async with asyncio.timeout(10):
                assert [payload for _, payload in events_of(await client.reader.read())] == [b"one"]
        async with served.client() as client:
            client.writer.write(asking())
            await head_of(client)
            draining = asyncio.create_task(served.router.front.drain(5.0))
            await piece_of(client)
            end(worker.calls[1])
            assert await events(client) == []
            assert await client.is_closed()
            await draining
        async with served.client() as client:
            client.writer.write(asking())
            await head_of(client)
            await piece_of(client)
            await served.router.front.drain(0.0)
            assert [kind for kind, _ in await events(client)] == ["InternalStreamFailure"]
            assert await client.is_closed()
        await until(lambda: worker.calls[2].cancelled)


async def test_new_sessions_are_refused(workers):
    worker = await workers("i-1")
    async with running(table(endpoint(variant(worker)))) as served, served.client() as client:
        answer = await client.send(asking(x_amzn_sagemaker_session_id="NEW_SESSION"))
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "ValidationError")


async def test_captured_is_the_whole(workers):
    worker = await workers("i-1")
    capture = Capture(100, "b", "p", input=True, output=True)
    async with running(table(endpoint(variant(worker), capture=capture))) as served, served.client() as client:
        tap = served.router.tap
        for parts, what in (([b"1" * 1000] * 3, "taken"), ([b"x" * PART_BYTES] * 25, "dropped")):
            client.writer.write(asking())
            await until(lambda: worker.calls)
            call = worker.calls.pop()
            first(call, parts[0])
            for part in parts[1:]:
                more(call, part)
            end(call)
            await head_of(client)
            await events(client)
            assert tap.summary()[what] == 1
        assert [record[5] for record in tap._queue] == [b"1" * 3000]
