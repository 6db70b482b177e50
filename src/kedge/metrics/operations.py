"""What may be asked of the metric store, by "service.Operation"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kedge.call import Call
from kedge.metrics.put_operations import put_metric_data
from kedge.metrics.read_operations import get_metric_data, get_metric_statistics, list_metrics
from kedge.metrics.store import MetricStore

_HANDLERS: Mapping[str, Callable[[MetricStore, Call, Any], Any]] = {
    "cloudwatch.GetMetricData": get_metric_data,
    "cloudwatch.GetMetricStatistics": get_metric_statistics,
    "cloudwatch.ListMetrics": list_metrics,
    "cloudwatch.PutMetricData": put_metric_data,
}


def operations(store: MetricStore) -> dict[str, Callable[[Call, Any], Any]]:
    return {name: partial(handler, store) for name, handler in _HANDLERS.items()}
