"""A server that pushes to a collector: what clients sent is what the collector was told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from sklearn.dummy import DummyClassifier

from kedge.cli.server import Server as Client
from kedge.metrics.exporting import PERIOD_S
from kedge.testing import Kedge
from tests.faults.conftest import Server, until
from tests.metrics.collector import Collector, attributes, collecting

ENDPOINT = "told"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def server(collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("KEDGE_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("KEDGE_OTLP_HEADERS", "x-scope=kedge")
    made = Server(tmp_path / "data")
    try:
        made.up()
        Kedge(Client.of(made.ready)).deploy(DummyClassifier(strategy="constant", constant=7).fit([[0]], [7]), ENDPOINT)
        yield made
    finally:
        made.down()


def invoke(server: Server, times: int) -> None:
    runtime = server.client("sagemaker-runtime")
    for _ in range(times):
        runtime.invoke_endpoint(EndpointName=ENDPOINT, Body=b"1", ContentType="text/csv")


def health(server: Server) -> dict[str, Any]:
    with urlopen(f"{server.ready['api_url']}/kedge/health", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def told_at_ns(request: ExportMetricsServiceRequest) -> int:
    [metric, *_] = request.resource_metrics[0].scope_metrics[0].metrics
    found: int = metric.sum.data_points[0].time_unix_nano
    return found


def test_what_was_sent_is_told(server: Server, collector: Collector):
    invoke(server, 11)
    until(lambda: collector.invocations(ENDPOINT) == 11, 30, "a push with 11")
    assert collector.arrived[-1][0] == "/v1/metrics"
    assert collector.arrived[-1][1]["x-scope"] == "kedge"
    instance = collector.resource()["service.instance.id"]
    [latencies] = collector.points("kedge_endpoint_model_latency_seconds")
    assert (latencies.count, sum(latencies.bucket_counts)) == (11, 11)
    assert latencies.sum > 0
    [invocations] = collector.points("kedge_endpoint_invocations")
    assert attributes(invocations)["variant_name"] == "AllTraffic"
    began_ns, told_ns = invocations.start_time_unix_nano, invocations.time_unix_nano
    assert began_ns < told_ns <= time.time_ns()
    until(lambda: collector.points("kedge_instance_memory_bytes"), 30, "what the instance uses")

    # A control process that is killed begins its counters anew, and says so.
    server.kill("control")
    until(lambda: collector.points("kedge_endpoint_invocations")[0].start_time_unix_nano > told_ns, 40, "a new start")
    assert collector.invocations(ENDPOINT) == 0
    assert collector.resource()["service.instance.id"] == instance

    # One that ends tells what it counted last, without waiting for the next push to be due.
    invoke(server, 5)
    until(lambda: health(server)["invocations"] == 5, 15, "the router's report")
    server.down()
    assert collector.invocations(ENDPOINT) == 5
    before_ns, last_ns = (told_at_ns(each) for each in collector.taken[-2:])
    assert last_ns - before_ns < PERIOD_S * 1e9


def test_a_collector_that_never_answers_holds_up_nothing(server: Server, collector: Collector):
    collector.hold.clear()
    before = len(collector.arrived)
    until(lambda: len(collector.arrived) > before, 40, "a push that waits")
    began_s = time.monotonic()
    invoke(server, 20)
    server.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
    assert time.monotonic() - began_s < 8, "less than the push may take"
    began_s = time.monotonic()
    server.down()
    assert time.monotonic() - began_s < 15


def test_without_the_extra_the_start_says_what_to_install(tmp_path: Path):
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()  # hides the one that is installed
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "KEDGE_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    command = [sys.executable, "-m", "kedge", "up", "--ephemeral", "--api-port", "0", "--inference-port", "0"]
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False, text=True)
    assert done.returncode != 0
    assert 'pip install "kedge[otel]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_who_has_no_collector_pays_nothing():
    program = "import sys, kedge.app; sys.exit('opentelemetry' in sys.modules or 'google.protobuf' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
