from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kedge.clock import HandClock
from kedge.metrics import detector_controller, detectors
from kedge.metrics.bands import band_of, make_detectors
from kedge.metrics.detectors import DETECTOR
from kedge.metrics.math import MathRefused, Series, Value, Window, evaluate, parse
from kedge.metrics.series import Metric
from kedge.store.records import Author, Resource, Scope
from kedge.store.store import Store

SCOPE = Scope("111122223333", "us-east-1")
NOW = datetime(2026, 3, 16, 12, tzinfo=UTC)
START = int(NOW.timestamp()) - 3600
WINDOW = Window(START, START + 3600, 60)
METRIC = Metric(*SCOPE.__dict__.values(), "N", "M", (("Host", "a"),))
M1 = {
    "Id": "m1",
    "MetricStat": {
        "Metric": {"Namespace": "N", "MetricName": "M", "Dimensions": [{"Name": "Host", "Value": "a"}]},
        "Period": 60, "Stat": "Sum",
    },
}  # fmt: skip
E1 = {"Id": "e1", "Expression": "m1 * 2", "Period": 60}
BAND = {"Id": "ad1", "Expression": "ANOMALY_DETECTION_BAND(m1, 3)"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "kedge.db")
    yield opened
    opened.close()


async def trained(store: Store, watches: Any) -> None:
    with store.transaction(Author("test", "r", NOW)) as tx:
        tx.insert(SCOPE, DETECTOR, detectors.id_of(watches), detectors.document(watches, {}, {}), detectors.PENDING)

    def read(detector: Resource, period_s: int, start_s: int, end_s: int) -> list[tuple[int, float]]:
        return [(at, period_s + at // period_s % 3) for at in range(end_s - 86_400, end_s, period_s)]

    await detector_controller.step(store, read, HandClock(NOW))


def bands(store: Store, expression: str, period_s: int = 60) -> list[Series]:
    plain = Series("M", period_s, {START: 60.0}, METRIC, "Sum")
    known: dict[str, Value] = {"m1": plain, "e1": Series("e1", period_s, {START: 120.0}, derived=True)}
    band = band_of(store, SCOPE, [M1, E1, BAND], known, WINDOW)
    found = evaluate(parse(expression), known, WINDOW, lambda *asked: [], band)
    assert isinstance(found, list)
    return found


async def test_the_band_of_a_metric_is_around_what_it_was(store):
    await trained(store, detectors.of_metric({"Namespace": "N", "MetricName": "M", "Stat": "Sum",
                                              "Dimensions": [{"Name": "Host", "Value": "a"}]}))  # fmt: skip
    upper, lower = bands(store, "ANOMALY_DETECTION_BAND(m1)")
    assert (upper.label, lower.label) == ("M High", "M Low")
    assert len(upper.points) == len(lower.points) == 60
    assert all(59 > low > 55 and 63 < upper.points[at] < 67 for at, low in lower.points.items())
    wide, _ = bands(store, "ANOMALY_DETECTION_BAND(m1, 4)")
    assert wide.points[START] > upper.points[START]
    assert [at - START for at in bands(store, "ANOMALY_DETECTION_BAND(m1)", 600)[0].points] == list(range(0, 3600, 600))


async def test_a_sum_over_another_period_is_larger(store):
    await trained(store, detectors.of_metric({"Namespace": "N", "MetricName": "M", "Stat": "Sum",
                                              "Dimensions": [{"Name": "Host", "Value": "a"}]}))  # fmt: skip
    upper, lower = bands(store, "ANOMALY_DETECTION_BAND(m1)", 600)
    assert lower.points[START] < 600 < upper.points[START] < 700


async def test_the_band_of_an_expression(store):
    await trained(store, detectors.of_math([{**M1, "ReturnData": False}, {"Id": "e1", "Expression": "m1 * 2"}]))
    upper, _ = bands(store, "ANOMALY_DETECTION_BAND(e1)")
    assert 60 < upper.points[START] < 70
    with pytest.raises(MathRefused, match="takes a metric or the id of an expression"):
        bands(store, "ANOMALY_DETECTION_BAND(m1 * 2)")


async def test_without_a_detector_there_is_no_band(store):
    assert [series.points for series in bands(store, "ANOMALY_DETECTION_BAND(m1)")] == [{}, {}]
    assert [series.points for series in bands(store, "ANOMALY_DETECTION_BAND(e1)")] == [{}, {}]


async def test_what_a_band_needs_is_made_once(store):
    def make(*queries: Any) -> list[str]:
        with store.transaction(Author("test", "r", NOW)) as tx:
            make_detectors(tx, SCOPE, queries)
        return [each.name for each in store.list(SCOPE, DETECTOR).items]

    of_metric = {"Namespace": "N", "MetricName": "M", "Stat": "Sum", "Dimensions": [{"Name": "Host", "Value": "a"}]}
    assert make(M1, E1) == []
    assert make(M1, BAND) == make(M1, BAND) == [detectors.id_of(detectors.of_metric(of_metric))]
    of_math = detectors.of_math([{**M1, "ReturnData": False}, {"Id": "e1", "Expression": "m1 * 2"}])
    assert detectors.id_of(of_math) in make(M1, E1, {"Id": "x", "Expression": "FIRST(ANOMALY_DETECTION_BAND(e1))"})
    for wrong in ("ANOMALY_DETECTION_BAND(m1 + 1)", "ANOMALY_DETECTION_BAND(m9)"):
        with pytest.raises(MathRefused):
            make(M1, {"Id": "x", "Expression": wrong})
    assert len(make(M1)) == 2
