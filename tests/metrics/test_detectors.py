from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kedge.clock import HandClock
from kedge.errors import ValidationFailed
from kedge.metrics import detector_controller, detectors
from kedge.metrics.anomaly import Model
from kedge.metrics.detectors import DETECTOR, MODEL, DetectorRefused
from kedge.store.records import Author, Resource, Scope
from kedge.store.store import Store

SCOPE = Scope("111122223333", "us-east-1")
NOW = datetime(2026, 3, 16, 12, tzinfo=UTC)
METRIC = {"Namespace": "N", "MetricName": "M", "Stat": "Average", "Dimensions": [{"Name": "b", "Value": "2"}]}
QUERY = {"Id": "m1", "ReturnData": False, "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "Sum"}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "kedge.db")
    yield opened
    opened.close()


def put(store: Store, watches: Any = None, **configuration: Any) -> str:
    watches = watches or detectors.of_metric(METRIC)
    name = detectors.id_of(watches)
    document = detectors.document(watches, configuration, {})
    with store.transaction(Author("test", "r", NOW)) as tx:
        found = tx.get(SCOPE, DETECTOR, name)
        if found is None:
            tx.insert(SCOPE, DETECTOR, name, document, detectors.PENDING)
        else:
            tx.update(found, document, detectors.PENDING)
    return name


def state(store: Store, name: str) -> str:
    found = store.get(SCOPE, DETECTOR, name)
    assert found is not None
    return found.status


class Values:
    """What would be read, and what was asked for."""

    def __init__(self, days: float) -> None:
        self.days = days
        self.asked: list[tuple[str, int]] = []

    def __call__(self, detector: Resource, period_s: int, start_s: int, end_s: int) -> list[tuple[int, float]]:
        self.asked.append((detector.name, period_s))
        assert (start_s % period_s, end_s % period_s) == (0, 0)
        since = max(start_s, int(end_s - self.days * 86_400))
        draw = random.Random(1)
        return [(at, period_s + draw.gauss(0, 1)) for at in range(since, end_s, max(period_s, 900))]


async def test_a_detector_is_trained_and_again_every_hour(store):
    clock, read, name = HandClock(NOW), Values(days=14), put(store)
    assert state(store, name) == "PENDING_TRAINING"
    assert await detector_controller.step(store, read, clock) is not None
    assert state(store, name) == "TRAINED"
    assert read.asked == [(name, 60), (name, 300), (name, 3600)]
    model = store.get(SCOPE, MODEL, name)
    assert model is not None
    models = [Model.from_json(each) for each in model.document["Models"]]
    assert [(each.period_s, each.season) for each in models] == [(s, "hour of the week") for s in (60, 300, 3600)]
    low, high = models[1].band(NOW.timestamp(), UTC, 2)
    assert low < 300 < high
    assert await detector_controller.step(store, read, clock) is None
    clock.advance(3599)
    assert await detector_controller.step(store, read, clock) is None
    clock.advance(1)
    assert await detector_controller.step(store, read, clock) is not None
    assert len(read.asked) == 6


async def test_too_little_data_is_said_and_tried_again(store):
    clock, read, name = HandClock(NOW), Values(days=0.01), put(store)
    await detector_controller.step(store, read, clock)
    assert state(store, name) == "TRAINED_INSUFFICIENT_DATA"
    assert await detector_controller.step(store, read, clock) is None
    clock.advance(detectors.RETRY_S)
    read.days = 3
    await detector_controller.step(store, read, clock)
    assert state(store, name) == "TRAINED"


async def test_one_that_cannot_be_read_holds_up_no_other(store):
    names = [put(store, detectors.of_metric({**METRIC, "MetricName": f"M{n}"})) for n in range(2)]
    values = Values(days=3)

    def read(detector: Resource, *window: int) -> list[tuple[int, float]]:
        if detector.name == min(names):
            raise ValidationFailed("an expression of another release")
        return values(detector, *window)

    for _ in names:
        await detector_controller.step(store, read, HandClock(NOW))
    assert [state(store, name) for name in sorted(names)] == ["TRAINED_INSUFFICIENT_DATA", "TRAINED"]


async def test_another_configuration_trains_anew(store):
    clock, read, name = HandClock(NOW), Values(days=14), put(store)
    await detector_controller.step(store, read, clock)
    everything = [{"StartTime": NOW - timedelta(days=60), "EndTime": NOW}]
    put(store, ExcludedTimeRanges=everything)
    assert state(store, name) == "PENDING_TRAINING"
    await detector_controller.step(store, read, clock)
    assert state(store, name) == "TRAINED_INSUFFICIENT_DATA"


async def test_what_was_changed_or_deleted_meanwhile_is_left_alone(store):
    clock, name = HandClock(NOW), put(store)

    def deleting(detector: Resource, *window: int) -> list[tuple[int, float]]:
        if store.get(SCOPE, DETECTOR, name) is not None:
            with store.transaction(Author("test", "r", NOW)) as tx:
                tx.delete(detector)
        return []

    await detector_controller.step(store, deleting, clock)
    assert store.get(SCOPE, DETECTOR, name) is None
    assert store.get(SCOPE, MODEL, name) is None


async def test_one_step_trains_one_of_many(store):
    names = {put(store, detectors.of_metric({**METRIC, "MetricName": f"M{n}"})) for n in range(3)}
    read, clock = Values(days=3), HandClock(NOW)
    while await detector_controller.step(store, read, clock) is not None:
        assert len(read.asked) <= 9
    assert {name for name, _ in read.asked} == names
    assert {state(store, name) for name in names} == {"TRAINED"}


def test_what_watches_the_same_has_the_same_id():
    one = {**METRIC, "Dimensions": [{"Name": "a", "Value": "1"}, {"Name": "b", "Value": "2"}]}
    other = {**METRIC, "Dimensions": list(reversed(one["Dimensions"]))}
    assert detectors.id_of(detectors.of_metric(one)) == detectors.id_of(detectors.of_metric(other))
    assert detectors.id_of(detectors.of_metric(one)) != detectors.id_of(detectors.of_metric({**one, "Stat": "p99"}))
    expression = {"Id": "e1", "Expression": "m1 * 2"}
    assert detectors.of_math([QUERY, expression]) == detectors.of_math([{**expression, "ReturnData": True}, QUERY])
    assert detectors.periods_s(detectors.of_math([QUERY, expression])) == (60,)


@pytest.mark.parametrize(
    ("queries", "says"),
    [
        ([], "holds 0 queries"),
        ([QUERY] * 11, "holds 11 queries"),
        ([QUERY, {"Id": "m1", "Expression": "1"}], "an Id more than once"),
        ([{"Id": "e1"}], "has to have MetricStat or Expression"),
        ([QUERY], "Exactly one query"),
        ([QUERY, {"Id": "e1", "Expression": "m1"}, {"Id": "e2", "Expression": "m1"}], "Exactly one query"),
        ([{"Id": "e1", "Expression": "1"}], "the same Period"),
        ([{**QUERY, "MetricStat": {**QUERY["MetricStat"], "Period": 10}}, {"Id": "e1", "Expression": "m1"}], "Period"),
        ([QUERY, {"Id": "e1", "Expression": "m1 +"}], "Syntax error"),
        ([QUERY, {"Id": "e1", "Expression": "[m1] + [m1]"}], "Unsupported operand type"),
        ([QUERY, {"Id": "e1", "Expression": "AVG(m1)"}], "has to be one time series"),
        ([QUERY, {"Id": "e1", "Expression": "[m1, m1]"}], "has to be one time series"),
        ([QUERY, {"Id": "e1", "Expression": "m2"}], "is the id of no query"),
        ([QUERY, {"Id": "e1", "Expression": "SUM(METRICS())"}], "cannot use METRICS"),
        ([QUERY, {"Id": "e1", "Expression": "FIRST(ANOMALY_DETECTION_BAND(m1))"}], "cannot use ANOMALY_DETECTION_BAND"),
    ],
)
def test_expressions_that_cannot_be_watched(queries, says):
    with pytest.raises(DetectorRefused, match=says):
        detectors.of_math(queries)


@pytest.mark.parametrize("name", ["Mars/Olympus", "/etc/passwd", "../UTC", "", "Europe"])
def test_zones_that_are_none(name):
    with pytest.raises(DetectorRefused, match="no name of the tz database"):
        detectors.zone(name)
