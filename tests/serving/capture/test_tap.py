"""The router's half of data capture, between a client and a worker of the tests and a capture process of theirs."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from kedge.serving import table as tables
from kedge.serving.capture import tap as taps
from kedge.serving.capture.frames import Announced, Decoder
from kedge.serving.capture.records import Capture
from kedge.serving.capture.tap import RECORD_BYTES, Tap
from kedge.serving.table import Variant
from tests.serving.peers import ACCOUNT, REGION, Worker, endpoint, request, running, table, until

BOTH = Capture(100, "b", "p", input=True, output=True, csv_types=("text/csv",))


class CaptureProcess:
    """Keeps what routers send, and says of it what a test wants."""

    def __init__(self, path, *, reads=True):
        self._path, self._reads = path, reads
        self.sources = {}
        self.records = []
        self.writer = None

    @asynccontextmanager
    async def running(self):
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        try:
            yield self
        finally:
            self.die()

    def die(self):
        self._server.close()
        if self.writer is not None:
            self.writer.transport.abort()

    def say(self, number=1, *, ends=False, **counts):
        said = {"spooled": 0, "dropped": 0, "withheld": 0, "problem": "", **counts}
        self.writer.write(json.dumps({"streams": {str(number): said}, "ends": ends}).encode() + b"\n")

    async def _accept(self, reader, writer):
        self.writer = writer
        if not self._reads:
            return
        decoder = Decoder()
        while data := await reader.read(1 << 18):
            for frame in decoder.feed(data):
                if isinstance(frame, Announced):
                    self.sources[frame.number] = frame.source
                else:
                    self.records.append(frame)
        writer.close()


@pytest.fixture
async def worker(tmp_path):
    made = await Worker("i-1", tmp_path / "i-1.sock").start()
    yield made
    await made.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "capture.sock"


def captured(worker, capture=BOTH, version=1):
    return table(endpoint(Variant("v", 1.0, (worker.instance,)), capture=capture), version=version)


@asynccontextmanager
async def serving(first, path, draw=lambda: 0.0, queue_bytes=taps.QUEUE_BYTES):
    tap = Tap(path, draw, queue_bytes)
    connecting = asyncio.create_task(tap.run())
    async with running(first, tap=tap) as served:
        yield served
    connecting.cancel()


async def test_what_was_answered_is_handed_on_as_it_was(worker, path):
    async with CaptureProcess(path).running() as process, serving(captured(worker), path) as served:
        answer = await served.invoke(
            b"1,2\n", content_type="text/csv", x_amzn_sagemaker_inference_id="i", x_amzn_sagemaker_custom_attributes="c"
        )
        await until(lambda: process.records)
    ((number, taken),) = process.records
    source = process.sources[number]
    assert (source.account, source.region, source.endpoint, source.variant) == (ACCOUNT, REGION, "an-endpoint", "v")
    assert source.capture == BOTH
    assert taken.event_id == answer.headers["x-amzn-requestid"]
    assert (taken.input, taken.input_type) == (b"1,2\n", "text/csv")
    assert (taken.output, taken.output_type) == (b"1,2\n", "application/json")
    assert (taken.inference_id, taken.attributes) == ("i", "c")


@pytest.mark.parametrize(
    ("capture", "bodies"),
    [(replace(BOTH, output=False), (b"[1]", b"")), (replace(BOTH, input=False), (b"", b"[1]"))],
)
async def test_a_side_that_nobody_asked_for_is_not_handed_on(worker, path, capture, bodies):
    async with CaptureProcess(path).running() as process, serving(captured(worker, capture), path) as served:
        await served.invoke(b"[1]")
        await until(lambda: process.records)
    assert (process.records[0][1].input, process.records[0][1].output) == bodies


async def test_the_draw_chooses(worker, path):
    draws = itertools.cycle([0.1, 0.3, 0.9])
    quarter = captured(worker, replace(BOTH, percent=25))
    async with CaptureProcess(path).running() as process, serving(quarter, path, lambda: next(draws)) as served:
        async with served.client() as client:
            for n in range(9):
                await client.send(request(b"%d" % n))
        await until(lambda: len(process.records) == 3)
        assert [taken.input for _, taken in process.records] == [b"0", b"3", b"6"]
        assert served.router.tap.summary()["taken"] == 3


async def test_only_answers_of_the_model_are_captured(worker, path):
    worker.serve = lambda call: call.error(500, "no") if call.body == b"bad" else call.answer()
    async with CaptureProcess(path).running() as process, serving(captured(worker), path) as served:
        assert (await served.invoke(b"bad")).status == 424
        assert (await served.invoke(b"[1]", name="another")).status == 400
        assert (await served.invoke(b"good")).status == 200
        await until(lambda: process.records)
    assert [taken.input for _, taken in process.records] == [b"good"]


async def test_without_capture_nothing_is_taken(worker, path):
    async with CaptureProcess(path).running() as process, serving(captured(worker, None), path) as served:
        assert (await served.invoke()).status == 200
    assert (process.records, served.router.tap.variants()) == ([], [])


async def test_while_the_process_is_away_records_wait_and_then_are_dropped(worker, path):
    room = 3 * (RECORD_BYTES + 6)
    async with serving(captured(worker), path, queue_bytes=room) as served:
        for n in range(5):
            assert (await served.invoke(b"[%d]" % n)).status == 200
        assert served.router.tap.summary() == {"connected": False, "queued_bytes": room, "taken": 5, "dropped": 2}
        async with CaptureProcess(path).running() as process:
            await until(lambda: len(process.records) == 3)
            assert [taken.input for _, taken in process.records] == [b"[0]", b"[1]", b"[2]"]
            assert served.router.tap.summary() == {"connected": True, "queued_bytes": 0, "taken": 5, "dropped": 2}


async def test_a_process_that_does_not_read_holds_up_nobody(worker, path):
    """The socket takes a few hundred KB, the transport a MiB; then the queue fills, and then records are dropped."""
    body = b"x" * 100_000
    process = CaptureProcess(path, reads=False)
    async with process.running(), serving(captured(worker), path, queue_bytes=2_000_000) as served:
        async with served.client() as client:
            await until(lambda: served.router.tap.summary()["connected"])
            for _ in range(60):
                assert (await client.send(request(body))).status == 200
        summary = served.router.tap.summary()
        assert summary["queued_bytes"] <= 2_000_000
        assert 20 < summary["dropped"] < 60


async def test_what_the_process_did_not_acknowledge_counts_as_dropped_when_it_dies(worker, path):
    process = CaptureProcess(path)
    losses: list[int] = []
    async with process.running(), serving(captured(worker), path) as served:
        for n in range(5):
            await served.invoke(b"[%d]" % n)
        await until(lambda: len(process.records) == 5)
        served.router.tap.lost = lambda: losses.append(1)
        process.say(spooled=2, dropped=1, withheld=1, problem="the bucket is gone")
        await until(lambda: served.router.tap.variants()[0]["dropped"])
        assert served.router.tap.variants() == [
            {
                "account": ACCOUNT, "region": REGION, "endpoint": "an-endpoint", "variant": "v", "taken": 5,
                "dropped": 1, "withheld": 1, "problem": "the bucket is gone",
            }
        ]  # fmt: skip
        assert len(losses) == 1
        process.die()
        await until(lambda: served.router.tap.summary()["dropped"] == 3)
        assert len(losses) == 2
        process.records.clear()
        async with process.running():
            await served.invoke(b"after")
            await until(lambda: process.records)
        assert process.records[0][1].input == b"after"


async def test_a_process_that_ends_gets_no_more_and_the_next_one_gets_the_rest(worker, path):
    process = CaptureProcess(path)
    async with process.running(), serving(captured(worker), path) as served:
        await served.invoke(b"before")
        await until(lambda: process.records)
        process.say(spooled=1, ends=True)
        await until(lambda: not served.router.tap.summary()["connected"])
        assert served.router.tap.summary()["dropped"] == 0
        await served.invoke(b"after")
        await until(lambda: len(process.records) == 2)


async def test_an_update_changes_what_is_captured_and_the_counts_go_on(worker, path):
    async with CaptureProcess(path).running() as process, serving(captured(worker), path) as served:
        await served.invoke(b"one")
        await until(lambda: len(process.records) == 1)
        served.router.swap(captured(worker, replace(BOTH, bucket="other"), version=2))
        await served.invoke(b"two")
        await until(lambda: len(process.records) == 2)
        served.router.swap(captured(worker, None, version=3))
        await served.invoke(b"three")
        served.router.swap(captured(worker, version=4))
        await served.invoke(b"four")
        await until(lambda: len(process.records) == 3)
        assert [process.sources[number].capture.bucket for number, _ in process.records] == ["b", "other", "b"]
        assert served.router.tap.variants()[0]["taken"] == 1, "a variant that was not captured for a while begins anew"


async def test_health_names_endpoints_to_nobody(worker, path):
    async with CaptureProcess(path).running(), serving(captured(worker), path) as served:
        await served.invoke()
        async with served.client() as client:
            health = (await client.send(b"GET /kedge/health HTTP/1.1\r\nhost: here\r\n\r\n")).json()
        assert health["capture"].keys() == {"connected", "queued_bytes", "taken", "dropped"}
        assert served.router.health(local=True)["capture"]["variants"][0]["endpoint"] == "an-endpoint"


async def test_a_router_that_ends_hands_on_what_it_has(worker, path):
    async with CaptureProcess(path).running() as process, serving(captured(worker), path) as served:
        await until(lambda: served.router.tap.summary()["connected"])
        for n in range(50):
            await served.invoke(b"[%d]" % n)
        await served.router.tap.close()
        assert len(process.records) == 50


def test_the_table_on_the_disk_holds_it():
    whole = table(endpoint(capture=BOTH))
    assert tables.decode(tables.encode(whole)).endpoints[0].capture == BOTH
    assert tables.decode(tables.encode(table(endpoint()))).endpoints[0].capture is None
