"""Alarms on a real store and a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kedge.alarms.controller import Controller
from kedge.alarms.evaluate import State
from kedge.alarms.records import COMPOSITE, METRIC, Alarm, find
from kedge.alarms.transition import set_state
from kedge.clock import HandClock
from kedge.events.records import QUEUE, Action
from kedge.metrics.bands import band_of
from kedge.metrics.series import Datum, Metric, Summary
from kedge.metrics.store import MetricStore
from kedge.store.lease import Lease
from kedge.store.records import Author, Event, Resource, Scope
from kedge.store.store import Store

SCOPE = Scope("111122223333", "us-east-1")
T0 = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
TOPIC = "arn:aws:sns:us-east-1:111122223333:told"
POLICY = "arn:aws:autoscaling:us-east-1:111122223333:scalingPolicy:1:resource/sagemaker/x:policyName/p"


class Reader:
    """The metric store's `read`, counted; what is unreadable fails as a disk would."""

    def __init__(self, metrics: MetricStore) -> None:
        self.metrics, self.count = metrics, 0
        self.unreadable: set[str] = set()

    def read(
        self, metric: Metric, unit: str | None, period_s: int, start_s: int, end_s: int
    ) -> Sequence[tuple[str, Mapping[int, Summary]]]:
        self.count += 1
        if metric.name in self.unreadable:
            raise OSError(f"{metric.name} cannot be read")
        return self.metrics.read(metric, unit, period_s, start_s, end_s)


class World:
    def __init__(self, path: Path) -> None:
        self.clock = HandClock(T0)
        self.store = Store(path, durable=False)
        self.metrics = MetricStore(path.with_suffix(".metrics"), self.clock, durable=False)
        self.reader = Reader(self.metrics)
        self.start()

    def start(self) -> None:
        """A control process begins; what an earlier one knew is gone."""
        lease = Lease(self.store, "alarms", "node", self.clock, ttl_s=1e9)
        assert lease.hold()
        assert lease.held is not None
        self.held = lease.held
        bands = partial(band_of, self.store)
        self.controller = Controller(self.store, self.reader.read, self.clock, lease, bands=bands)

    def author(self) -> Author:
        return Author("test", "", self.clock.now())

    def put(self, name: str = "a", kind: str = METRIC, **config: Any) -> None:
        whole = {"AlarmName": name, "ActionsEnabled": True, **config}
        if kind == METRIC:
            one = {} if "Metrics" in config else {
                "Namespace": "app", "MetricName": "m", "Dimensions": [], "Statistic": "Sum", "Period": 10
            }  # fmt: skip
            rest = {"EvaluationPeriods": 1, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold"}
            whole = {**rest, **one, **whole}
        now_s = self.clock.now().timestamp()
        with self.store.transaction(self.author()) as tx:
            before = find(tx, SCOPE, name)
            if before is not None:
                tx.update(before, {**before.document, "config": whole, "seen": None})
            else:
                alarm = Alarm(whole, now_s, updated_at_s=now_s, transitioned_at_s=now_s, created_at_s=now_s)
                tx.insert(SCOPE, kind, name, alarm.document(), "INSUFFICIENT_DATA")

    def composite(self, name: str, rule: str, **config: Any) -> None:
        self.put(name, COMPOSITE, AlarmRule=rule, **config)

    def set(self, name: str, state: str) -> None:
        with self.store.transaction(self.author()) as tx:
            set_state(tx, self.get(name), State(state), "by hand", "", self.clock.now())

    def get(self, name: str = "a") -> Resource:
        found = find(self.store, SCOPE, name)
        assert found is not None
        return found

    def state(self, name: str = "a") -> str:
        return self.get(name).status

    def look(self) -> float:
        return self.controller.look(self.held)

    def passes(self, seconds: float, step: float = 0.25) -> None:
        """Time goes by, and the controller looks as often as it says."""
        end = self.clock.now() + timedelta(seconds=seconds)
        while self.clock.now() < end:
            self.clock.advance(step)
            self.look()

    def measure(self, value: float, name: str = "m", ago_s: float = 0.0) -> None:
        metric = Metric(SCOPE.account, SCOPE.region, "app", name, ())
        at_s = self.clock.now().timestamp() - ago_s
        self.metrics.put([Datum(metric, "None", at_s, 1, Summary.one(value))])

    def close(self) -> None:
        self.metrics.close()
        self.store.close()

    def actions(self) -> list[Action]:
        later = self.clock.now() + timedelta(days=1)
        return [Action.of(each.body) for each in self.store.due(QUEUE, QUEUE, later, 10_000)]

    def subjects(self) -> list[str]:
        return [each.subject for each in self.actions()]

    def events(self) -> list[Event]:
        return list(self.store.outbox(10_000))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "kedge.db")
    yield made
    made.close()
