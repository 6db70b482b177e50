"""The series as the published messages of OTLP read them, and since when they count."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from kedge.metrics import otlp
from kedge.metrics.exposition import Family, Histogram
from kedge.metrics.otlp import Starts
from tests.metrics.collector import attributes

CUMULATIVE = 2
"""AGGREGATION_TEMPORALITY_CUMULATIVE."""


def counter(count: float, **labels: str) -> Family:
    return Family("kedge_a", "counter", "What it is.", [(labels, count)])


def test_each_kind_is_told_as_what_it_is():
    families = [
        counter(3, x="y"),
        Family("kedge_b_bytes", "gauge", "Now.", [({}, 7)]),
        Family("kedge_b_ratio", "gauge", "Now.", [({}, 0.5)]),
        Family("kedge_c_seconds", "histogram", "How long.", [({"x": "y"}, Histogram((0.1, 1.0), [2, 0, 1], 5.25))]),
        Family("kedge_none", "gauge", "Nowhere.", []),
    ]
    body = otlp.request(families, Starts(1000).look(families, 5000), {"service.name": "kedge"}, 5000)
    [resource] = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert attributes(resource.resource) == {"service.name": "kedge"}
    [scope] = resource.scope_metrics
    a, size, share, c = scope.metrics
    assert (a.name, a.description, a.unit) == ("kedge_a", "What it is.", "")
    assert (a.sum.is_monotonic, a.sum.aggregation_temporality) == (True, CUMULATIVE)
    [point] = a.sum.data_points
    assert (point.as_int, attributes(point)) == (3, {"x": "y"})
    assert (point.start_time_unix_nano, point.time_unix_nano) == (1000, 5000)
    assert (size.gauge.data_points[0].as_int, size.unit) == (7, "By")
    assert (share.gauge.data_points[0].as_double, share.unit) == (0.5, "1")
    [point] = c.histogram.data_points
    assert (c.histogram.aggregation_temporality, c.unit, attributes(point)) == (CUMULATIVE, "s", {"x": "y"})
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([0.1, 1.0], [2, 0, 1])
    assert (point.count, point.sum, point.start_time_unix_nano) == (3, 5.25, 1000)


def test_a_counter_that_begins_anew_says_so():
    starts = Starts(1)
    series = ("kedge_a", (("x", "y"),))
    assert starts.look([counter(5, x="y")], 10) == {series: 1}
    assert starts.look([counter(5, x="y")], 20) == {series: 1}
    assert starts.look([counter(2, x="y")], 30) == {series: 20}, "fewer than before: counted since the last look"
    assert starts.look([counter(9, x="y")], 40) == {series: 20}
    assert starts.look([], 50) == {}
    assert starts.look([counter(9, x="y")], 60) == {series: 50}, "it was not there"


def test_what_a_collector_rejected():
    partial = ExportMetricsPartialSuccess(rejected_data_points=2, error_message="too old")
    said = ExportMetricsServiceResponse(partial_success=partial).SerializeToString()
    assert otlp.rejected(said) == "2 data points were rejected: too old"


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\xff"])
def test_a_collector_that_took_all(body: bytes):
    assert otlp.rejected(body) == ""
