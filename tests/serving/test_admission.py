"""What clients would see of a variant in front of instances of a known speed, without any of it being there."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.serving.admission import Admission, Verdict

SERVICE_S = 0.005


@dataclass
class Simulated:
    """Instances that answer one request at a time, oldest first. Requests that are let go leave the queue."""

    instances: int = 1
    service_s: float = SERVICE_S
    timeout_s: float = 60.0
    admission: Admission = field(default_factory=Admission)
    answered: list[tuple[float, float]] = field(default_factory=list)
    """(when, latency), in seconds"""
    verdicts: list[tuple[float, Verdict]] = field(default_factory=list)
    _queue: deque[float] = field(default_factory=deque)
    _busy: list[tuple[float, float]] = field(default_factory=list)
    """(done, arrived) of what is at an instance."""

    def arrive(self, now_s: float) -> bool:
        self.run_until(now_s)
        was = self.admission.overloaded
        verdict = self.admission.arrive(now_s, self.timeout_s, self.instances, joinable=False)
        self.verdicts.append((now_s, verdict))
        if self.admission.overloaded and not was:
            keep = self.admission.allowed(self.instances, joinable=False)
            while len(self._queue) > keep:
                self.admission.leave(now_s, self._queue.popleft(), answered=False)
        if verdict is Verdict.TAKE:
            self._queue.append(now_s)
            self._begin(now_s)
        return verdict is Verdict.TAKE

    def run_until(self, now_s: float) -> Iterator[float] | None:
        while self._busy and self._busy[0][0] <= now_s:
            done_s, arrived_s = heapq.heappop(self._busy)
            self.admission.leave(done_s, arrived_s, answered=True)
            self.answered.append((done_s, done_s - arrived_s))
            self._begin(done_s)
        return None

    def _begin(self, now_s: float) -> None:
        while self._queue and len(self._busy) < self.instances:
            heapq.heappush(self._busy, (now_s + self.service_s, self._queue.popleft()))

    def refusals(self) -> int:
        return sum(verdict is not Verdict.TAKE for _, verdict in self.verdicts)


def open_loop(simulated: Simulated, rate_per_s: float, seconds: float, start_s: float = 0.0) -> None:
    for number in range(int(rate_per_s * seconds)):
        simulated.arrive(start_s + number / rate_per_s)
    simulated.run_until(start_s + seconds)


def closed_loop(simulated: Simulated, clients: int, seconds: float) -> None:
    """Each client sends its next request when it has its answer."""
    for _ in range(clients):
        assert simulated.arrive(0.0)
    seen, now_s = 0, 0.0
    while now_s < seconds:
        now_s = simulated._busy[0][0]
        simulated.run_until(now_s)
        for _ in range(len(simulated.answered) - seen):
            assert simulated.arrive(now_s), f"refused after {now_s:.2f} s"
        seen = len(simulated.answered)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@pytest.mark.parametrize("instances", [1, 4])
@pytest.mark.parametrize("times", [1.15, 1.5, 3.0, 20.0])
def test_overload_costs_neither_goodput_nor_latency(times: float, instances: int):
    simulated = Simulated(instances)
    capacity_per_s = instances / SERVICE_S
    open_loop(simulated, capacity_per_s / 2, 2.0)
    open_loop(simulated, times * capacity_per_s, 60.0, start_s=2.0)
    under_load = [(when, took) for when, took in simulated.answered if when >= 2.0]
    assert len(under_load) >= 0.98 * 60.0 * capacity_per_s
    settled = [took for when, took in under_load if when >= 20.0]
    assert percentile(settled, 0.99) <= 2 * SERVICE_S * 1.001
    if times >= 3:
        assert percentile([took for _, took in under_load], 0.99) <= 2 * SERVICE_S * 1.001, "from its first moment on"


@pytest.mark.parametrize("clients", [1, 64, 256, 1000])
@pytest.mark.parametrize("service_s", [0.0005, 0.005, 0.05, 1.0])
def test_clients_that_wait_for_their_answers_are_never_refused(clients: int, service_s: float):
    simulated = Simulated(service_s=service_s, timeout_s=1e9)
    closed_loop(simulated, clients, seconds=max(5.0, 3 * clients * service_s))
    assert not simulated.refusals()


def test_a_burst_is_carried():
    simulated = Simulated()
    open_loop(simulated, 100.0, 2.0)
    for number in range(90):
        assert simulated.arrive(2.0 + number * 1e-4)
    open_loop(simulated, 100.0, 2.0, start_s=2.5)
    assert not simulated.refusals()


def test_it_is_over_when_the_load_is():
    simulated = Simulated()
    open_loop(simulated, 600.0, 5.0)
    assert simulated.admission.overloaded
    before = simulated.refusals()
    open_loop(simulated, 150.0, 5.0, start_s=5.0)
    assert not simulated.admission.overloaded
    assert simulated.refusals() - before <= 5


def test_an_outage_is_no_overload():
    """The instance is away for two seconds in which so many come as it answers in one."""
    simulated = Simulated()
    open_loop(simulated, 100.0, 2.0)
    simulated.instances = 0
    open_loop(simulated, 100.0, 2.0, start_s=2.0)
    simulated.instances = 1
    open_loop(simulated, 100.0, 4.0, start_s=4.0)
    assert not simulated.refusals()
    assert len(simulated.answered) >= 790


def test_on_a_busy_machine_the_queue_is_as_long_as_it_has_to_be():
    """Now and then a request takes six times as long: two in flight would leave the instance idle meanwhile."""
    admission, now_s = Admission(), 0.0
    for number in range(400):
        admission.arrive(now_s, 60.0, 1, joinable=False)
        took_s = 6 * SERVICE_S if number % 5 == 0 else SERVICE_S
        admission.leave(now_s + took_s, now_s, answered=True)
        now_s += 2 * took_s
    admission._rate_per_s = 100.0
    admission.arrive(now_s, 60.0, 1, joinable=False)
    assert admission.allowed(1, joinable=False) == 3


def test_what_cannot_make_its_deadline_is_refused_at_once():
    simulated = Simulated(service_s=1.0, timeout_s=5.0)
    for number in range(40):
        simulated.arrive(number * 0.5)
    simulated.run_until(100.0)
    assert max(took for _, took in simulated.answered[10:]) <= 5.0 + 2 * simulated.service_s
    assert {verdict for _, verdict in simulated.verdicts} == {Verdict.TAKE, Verdict.HOPELESS}


def test_a_pause_of_the_instance_makes_nothing_hopeless():
    """The first thing that is measured of it is a pause; then 64 clients are answered as ever."""
    simulated = Simulated(timeout_s=4.0)
    closed_loop(simulated, 64, 0.15)
    simulated._busy = [(done_s + 2.5, arrived_s) for done_s, arrived_s in simulated._busy]
    seen, now_s = len(simulated.answered), 0.0
    while now_s < 6.0:
        now_s = simulated._busy[0][0]
        simulated.run_until(now_s)
        for _ in range(len(simulated.answered) - seen):
            assert simulated.arrive(now_s), f"refused after {now_s:.2f} s"
        seen = len(simulated.answered)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 0.05), min_size=1, max_size=500), st.integers(1, 3))
def test_what_was_taken_on_is_counted_until_it_leaves(gaps: list[float], instances: int):
    simulated, now_s = Simulated(instances), 0.0
    for gap in gaps:
        now_s += gap
        simulated.arrive(now_s)
        assert simulated.admission.in_flight == len(simulated._queue) + len(simulated._busy)
    simulated.run_until(now_s + 100.0)
    assert simulated.admission.in_flight == 0
