"""The series as OTLP has them: one ExportMetricsServiceRequest of cumulative sums, histograms and gauges. PURE.

Names, labels and values are those of /metrics; a counter is told without _total, which Prometheus' side of a collector
adds. Imported only where a collector is set: what it imports comes with the extra `otel`.

Sources: opentelemetry-proto 1.x, metrics/v1; OpenTelemetry, "Metrics Data Model": temporality, resets and gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Gauge,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Histogram as HistogramOf
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from kedge import __version__
from kedge.metrics.exposition import Family, Histogram, Labels

CONTENT_TYPE = "application/x-protobuf"
_UNITS = {"_seconds": "s", "_bytes": "By", "_ratio": "1"}
"""UCUM's, by the end of a name."""

Series = tuple[str, tuple[tuple[str, str], ...]]


class Starts:
    """Since when each counter counts: the process's begin, or the last look at which it was not there or had more."""

    def __init__(self, began_ns: int) -> None:
        self._looked_ns = began_ns
        self._known: dict[Series, tuple[int, float]] = {}

    def look(self, families: Iterable[Family], at_ns: int) -> dict[Series, int]:
        """By series. What is not among the families is forgotten: an endpoint of the same name begins anew."""
        found = {}
        for family in families:
            if family.kind == "gauge":
                continue
            for labels, value in family.samples:
                series = _series(family, labels)
                count = sum(value.counts) if isinstance(value, Histogram) else value
                since_ns, before = self._known.get(series, (self._looked_ns, 0.0))
                found[series] = (since_ns if count >= before else self._looked_ns, count)
        self._known, self._looked_ns = found, at_ns
        return {series: since_ns for series, (since_ns, _) in found.items()}


def request(
    families: Sequence[Family], since_ns: Mapping[Series, int], resource: Mapping[str, str], at_ns: int
) -> bytes:
    """since_ns: what `Starts` found. resource: attributes of who tells it. at_ns: when the families were taken.

    Times are Unix times.
    """
    metrics = [_metric(family, since_ns, at_ns) for family in families if family.samples]
    scope = ScopeMetrics(scope=InstrumentationScope(name="kedge", version=__version__), metrics=metrics)
    told = ResourceMetrics(resource=Resource(attributes=_attributes(resource)), scope_metrics=[scope])
    return bytes(ExportMetricsServiceRequest(resource_metrics=[told]).SerializeToString())


def rejected(body: bytes) -> str:
    """What the answer of a collector that took the request says of points that it did not take; "" if it took all."""
    try:
        partial = ExportMetricsServiceResponse.FromString(body).partial_success
    except DecodeError:
        return ""  # taken, and answered in words of its own
    if not partial.rejected_data_points:
        return ""
    return f"{partial.rejected_data_points} data points were rejected: {partial.error_message}"


def _metric(family: Family, since_ns: Mapping[Series, int], at_ns: int) -> Metric:
    unit = next((unit for end, unit in _UNITS.items() if family.name.endswith(end)), "")
    metric = Metric(name=family.name, description=family.help, unit=unit)
    if family.kind == "histogram":
        points = [
            _histogram(labels, value, since_ns[_series(family, labels)], at_ns)
            for labels, value in family.samples
            if isinstance(value, Histogram)
        ]
        metric.histogram.CopyFrom(
            HistogramOf(data_points=points, aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE)
        )
        return metric
    numbers = [
        _number(labels, value, since_ns.get(_series(family, labels), 0), at_ns)
        for labels, value in family.samples
        if not isinstance(value, Histogram)
    ]
    if family.kind == "counter":
        metric.sum.CopyFrom(
            Sum(data_points=numbers, aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE, is_monotonic=True)
        )
    else:
        metric.gauge.CopyFrom(Gauge(data_points=numbers))
    return metric


def _number(labels: Labels, value: float, since_ns: int, at_ns: int) -> NumberDataPoint:
    point = NumberDataPoint(attributes=_attributes(labels), start_time_unix_nano=since_ns, time_unix_nano=at_ns)
    if isinstance(value, int):
        point.as_int = value
    else:
        point.as_double = value
    return point


def _histogram(labels: Labels, value: Histogram, since_ns: int, at_ns: int) -> HistogramDataPoint:
    counts = [round(count) for count in value.counts]
    return HistogramDataPoint(
        attributes=_attributes(labels),
        start_time_unix_nano=since_ns,
        time_unix_nano=at_ns,
        count=sum(counts),
        sum=value.total,
        bucket_counts=counts,
        explicit_bounds=value.bounds,
    )


def _attributes(of: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in of.items()]


def _series(family: Family, labels: Labels) -> Series:
    return family.name, tuple(sorted(labels.items()))
