"""Pushes to a collector that takes them, does not, and takes them again; and one that never answers."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kedge import tls
from kedge.clock import SystemClock
from kedge.config import Settings, header_pairs
from kedge.home import open_home
from kedge.metrics import exporting
from kedge.metrics.exporting import PERIOD_S, Exporting, Outcome, pause_s
from kedge.metrics.exposition import Family
from kedge.metrics.platform import Served
from kedge.metrics.scraping import Scraping
from kedge.metrics.totals import Totals
from kedge.serving.meter import Meter, Place, decode
from tests.metrics.collector import Collector, collecting

PLACE = Place("1" * 12, "us-east-1", "e", "blue", "i-1")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def totals() -> Totals:
    return Totals(SystemClock())


@pytest.fixture
async def export(collector: Collector, totals: Totals) -> AsyncIterator[Exporting]:
    with ThreadPoolExecutor(1) as threads:
        served = [Served(PLACE.of_variant, "", 0.0)]
        scraping = Scraping(totals, threads, lambda: served, lambda: 2)
        headers = header_pairs("Authorization=Bearer%20abc, x-scope=1")
        made = Exporting(f"{collector.url}/otel/", headers, "node-1", SystemClock(), scraping.families)
        yield made
        await made.close()


def count(totals: Totals, times: int) -> None:
    meter = Meter("boot")
    for _ in range(times):
        meter.invocation(PLACE, 200, 1, 700.0, 100.0)
    totals.take(decode(meter.roll(1, [])))


async def test_a_push(export: Exporting, collector: Collector, totals: Totals):
    count(totals, 3)
    assert await export.step() == PERIOD_S
    count(totals, 4)
    assert await export.step() == PERIOD_S
    path, headers = collector.arrived[0]
    assert path == "/otel/v1/metrics"
    assert headers["content-type"] == "application/x-protobuf"
    assert (headers["authorization"], headers["x-scope"]) == ("Bearer abc", "1")
    assert collector.resource()["service.name"] == "kedge"
    assert collector.resource()["service.instance.id"] == "node-1"
    assert collector.invocations("e") == 7
    [latencies] = collector.points("kedge_endpoint_model_latency_seconds")
    assert (latencies.count, latencies.sum) == (7, pytest.approx(7 * 0.0007))
    assert [each.as_int for each in collector.points("kedge_routers")] == [2]
    starts = {each.start_time_unix_nano for each in collector.points("kedge_endpoint_invocations")}
    assert all(0 < each < latencies.time_unix_nano for each in starts)


async def test_what_a_lost_push_told_is_in_the_next(
    export: Exporting, collector: Collector, totals: Totals, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "kedge.metrics.exporting")
    collector.answers = [(503, {}, b""), (503, {}, b""), (429, {"Retry-After": "17"}, b""), (400, {}, b"no")]
    count(totals, 2)
    assert 1 <= await export.step() <= 2
    assert 2 <= await export.step() <= 4
    assert await export.step() == 17
    assert 30 <= await export.step() <= 60
    count(totals, 3)
    assert await export.step() == PERIOD_S
    assert collector.invocations("e") == 5
    said = [each.getMessage().rpartition("/v1/metrics")[2] for each in caplog.records]
    assert said == [": status 503", ": status 429", ": status 400", " are taken again"], "each once"


async def none() -> list[Family]:
    return []


async def test_over_tls_the_collector_has_to_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = open_home(Settings(data_dir=tmp_path / "data"))
    files = tls.prepare(Settings(data_dir=home.path, tls=True), home, datetime.now(UTC))
    assert files is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    with collecting(context) as collector:
        stranger = Exporting(collector.url, {}, "node-1", SystemClock(), none)
        assert await stranger.step() < PERIOD_S
        assert not collector.arrived
        monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
        export = Exporting(collector.url, {}, "node-1", SystemClock(), none)
        assert await export.step() == PERIOD_S
        await export.close()
        assert len(collector.taken) == 2


async def test_a_collector_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    export = Exporting(f"http://127.0.0.1:{port}", {}, "node-1", SystemClock(), none)
    assert await export.step() <= 2
    await export.close()


async def test_a_collector_that_never_answers_holds_up_nothing(
    export: Exporting, collector: Collector, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exporting, "TIMEOUT_S", 0.3)
    collector.hold.clear()
    step = asyncio.create_task(export.step())
    turns = 0
    while not step.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 5, "the loop went on meanwhile"
    assert await step < PERIOD_S
    async with asyncio.timeout(1):
        await export.close()  # no last push to one that did not take the one before


def test_pauses_grow_to_a_bound():
    down = Outcome("down")
    assert [pause_s(down, n, 1.0) for n in (1, 2, 3, 6, 5000)] == [2, 4, 8, 60, 60]
    assert pause_s(down, 1, 0.0) == 1
    assert pause_s(Outcome("bad", retryable=False), 1, 1.0) == 60
    assert pause_s(Outcome("busy", asked_s=1e9), 1, 1.0) == exporting.LONGEST_ASKED_PAUSE_S
