"""What a scraper reads: both text formats, counters that only grow, histograms that add up."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kedge.clock import HandClock
from kedge.compute.used import GpuUsage, Sample, Used
from kedge.metrics import exposition
from kedge.metrics.exposition import OPEN_METRICS, TEXT, Family, Histogram
from kedge.metrics.totals import BOUNDS_S, Totals
from kedge.serving.meter import Concurrent, Meter, Place, decode

PLACE = Place("1" * 12, "us-east-1", "e", "blue", "i-1")
AT = {"endpoint_name": "e", "variant_name": "blue", "account_id": "1" * 12, "region": "us-east-1"}
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""What Prometheus 2.42 sends."""


def test_both_formats():
    families = [
        Family("kedge_a", "counter", "What\nit \\ is.", [({"x": 'say "\n\\"'}, 3), ({}, 0.5)]),
        Family("kedge_b", "gauge", "Now.", []),
        Family("kedge_c_seconds", "histogram", "How long.", [({"x": "y"}, Histogram((0.1, 1.0), [2, 0, 1], 5.25))]),
    ]
    histogram = (
        'kedge_c_seconds_bucket{x="y",le="0.1"} 2.0\n'
        'kedge_c_seconds_bucket{x="y",le="1.0"} 2.0\n'
        'kedge_c_seconds_bucket{x="y",le="+Inf"} 3.0\n'
        'kedge_c_seconds_sum{x="y"} 5.25\n'
        'kedge_c_seconds_count{x="y"} 3.0\n'
    )
    rest = (
        "# HELP kedge_b Now.\n# TYPE kedge_b gauge\n"
        "# HELP kedge_c_seconds How long.\n# TYPE kedge_c_seconds histogram\n" + histogram
    )
    samples = 'kedge_a_total{x="say \\"\\n\\\\\\""} 3.0\nkedge_a_total 0.5\n'
    assert exposition.written(families, TEXT).decode() == (
        "# HELP kedge_a_total What\\nit \\\\ is.\n# TYPE kedge_a_total counter\n" + samples + rest
    )
    assert exposition.written(families, OPEN_METRICS).decode() == (
        "# HELP kedge_a What\\nit \\\\ is.\n# TYPE kedge_a counter\n" + samples + rest + "# EOF\n"
    )


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("application/openmetrics-text", OPEN_METRICS),
        (PROMETHEUS, OPEN_METRICS),
        ("application/openmetrics-text;q=0.2, text/plain", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=much, text/plain;q=0.1", TEXT),
    ],
)  # fmt: skip
def test_which_format_is_answered(accept: str, form: str):
    assert exposition.content_type(accept) == form


@pytest.fixture
def clock() -> HandClock:
    return HandClock(datetime(2026, 1, 1, tzinfo=UTC))


def samples(totals: Totals, name: str, *places) -> list:
    [family] = [each for each in totals.families(places or [PLACE.of_variant]) if each.name == name]
    return list(family.samples)


def report(totals: Totals, *latencies_us: float, status: int = 200, concurrent: int = 0) -> None:
    meter = Meter("boot")
    for each in latencies_us:
        meter.invocation(PLACE, status, 1, each, 100.0)
    totals.take(decode(meter.roll(1, [Concurrent(PLACE.of_variant, concurrent, 1)])))


def test_a_variant_without_traffic_is_told_with_zeros(clock: HandClock):
    totals = Totals(clock)
    assert samples(totals, "kedge_endpoint_invocations") == [(AT, 0)]
    [(_, histogram)] = samples(totals, "kedge_endpoint_model_latency_seconds")
    assert (sum(histogram.counts), histogram.total) == (0, 0)
    refused = {labels["error_code"]: n for labels, n in samples(totals, "kedge_endpoint_refused")}
    assert refused == {"ServiceUnavailable": 0, "ThrottlingException": 0, "ValidationError": 0}


def test_counters_grow_and_histograms_hold_every_request(clock: HandClock):
    totals = Totals(clock)
    report(totals, 500.0, 501.0, 70_000_000.0)
    report(totals, 2_000.0, status=404)
    report(totals, 2_000.0, status=0)
    assert samples(totals, "kedge_endpoint_invocations") == [(AT, 5)]
    errors = {labels["kind"]: n for labels, n in samples(totals, "kedge_endpoint_model_errors")}
    assert errors == {"4xx": 1, "5xx": 0, "other": 1}
    [(_, histogram)] = samples(totals, "kedge_endpoint_model_latency_seconds")
    by_bound = dict(zip((*BOUNDS_S, float("inf")), histogram.counts, strict=True))
    # A bound belongs to its bucket.
    assert {bound: n for bound, n in by_bound.items() if n} == {0.0005: 1, 0.001: 1, 0.0025: 2, float("inf"): 1}
    assert histogram.total == pytest.approx(70.005001)


def test_what_is_no_more_is_forgotten(clock: HandClock):
    totals = Totals(clock)
    report(totals, 500.0)
    other = PLACE.of_variant._replace(endpoint="other")
    assert [labels["endpoint_name"] for labels, _ in samples(totals, "kedge_endpoint_invocations", other)] == ["other"]
    assert samples(totals, "kedge_endpoint_invocations") == [(AT, 0)], "an endpoint of the same name begins anew"


def test_a_router_that_says_nothing_any_more_has_nothing_to_do(clock: HandClock):
    totals = Totals(clock)
    report(totals, concurrent=7)
    assert samples(totals, "kedge_endpoint_concurrent_requests") == [(AT, 7)]
    clock.advance(5)
    assert samples(totals, "kedge_endpoint_concurrent_requests") == [(AT, 0)]


def test_instances(clock: HandClock):
    labels = {"account": "1" * 12, "region": "us-east-1", "endpoint": "e", "variant": "blue"}
    used = Used("i-1", labels, 0.25, 1000, 4000, None, (GpuUsage(3, 0.5, 0.25),))
    gone = Used("i-2", {**labels, "variant": "gone"}, 0.25, 1000, 4000, None)
    totals = Totals(clock)
    totals.take_usage(Sample("b", 1, 0.0, 0.75, (used, gone)))
    at = {**AT, "instance_id": "i-1"}
    assert samples(totals, "kedge_instance_cpu_cores") == [(at, 0.25)]
    assert samples(totals, "kedge_instance_memory_bytes") == [(at, 1000)]
    assert samples(totals, "kedge_instance_loaded_models") == []
    assert samples(totals, "kedge_instance_gpu_busy_ratio") == [({**at, "gpu": "3"}, 0.5)]
    assert samples(totals, "kedge_disk_used_ratio") == [({}, 0.75)]
    clock.advance(60)
    assert samples(totals, "kedge_instance_cpu_cores") == []
