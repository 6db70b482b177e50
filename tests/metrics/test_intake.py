"""Reports of routers and samples of instances, into a real store: once, and with zeros where nothing was done."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kedge.clock import HandClock
from kedge.compute.used import Sample, Used
from kedge.metrics import platform
from kedge.metrics.idle import Idle
from kedge.metrics.instances import Instances
from kedge.metrics.intake import Intake
from kedge.metrics.platform import Served
from kedge.metrics.series import metric
from kedge.metrics.store import MetricStore
from kedge.serving.meter import Concurrent, Frame, Meter, Place, decode
from kedge.serving.reports import Tally

PLACE = Place("1" * 12, "us-east-1", "e", "blue", "i-1")
VARIANT = PLACE.of_variant
START = 1_700_000_040
"""The start of a minute."""


@pytest.fixture
def clock() -> HandClock:
    return HandClock(datetime.fromtimestamp(START, UTC))


@pytest.fixture
def store(tmp_path: Path, clock: HandClock) -> Iterator[MetricStore]:
    made = MetricStore(tmp_path / "metrics.db", clock)
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def report(boot: str, sequence: int, second: int, times: int, *concurrent: Concurrent) -> Frame:
    meter = Meter(boot)
    meter.sequence = sequence - 1
    for _ in range(times):
        meter.invocation(PLACE, 200, 1, 100.0, 1.0)
    return decode(meter.roll(second, concurrent))


def minutes(store: MetricStore, name: str = "Invocations", start: int = START) -> dict[int, tuple[float, float]]:
    """Minute -> (SampleCount, Sum)."""
    of = metric(VARIANT.account, VARIANT.region, "AWS/SageMaker", name, platform.by_variant(VARIANT))
    found = store.read(of, "None", 60, start, start + 1800)
    return {at: (each.count, each.total) for _, points in found for at, each in points.items()}


async def test_a_report_that_comes_again_counts_once(store, clock, threads):
    tally = Tally()
    intake = Intake(store, clock, threads, (tally.take,))
    for frame in (report("a", 1, START, 3), report("a", 2, START + 1, 4), report("a", 2, START + 1, 4)):
        await intake.take(frame)
    # The control process that comes next has forgotten everything but what is stored.
    later = Intake(store, clock, threads, (tally.take,))
    await later.take(report("a", 2, START + 1, 4))
    await later.take(report("b", 1, START + 1, 10))
    assert minutes(store) == {START: (17, 17)}
    assert tally.total == 17


async def test_what_several_routers_have_to_do_is_added_up(store, clock, threads):
    intake = Intake(store, clock, threads)
    for boot, requests in (("a", 4), ("b", 8)):
        await intake.take(report(boot, 1, START, 1, Concurrent(VARIANT, requests, 2)))
    await intake.step()
    assert not any(each.name == "ConcurrentRequestsPerModel" for each in store.metrics("1" * 12, "us-east-1"))
    clock.advance(1.0)
    await intake.step()
    of = metric("1" * 12, "us-east-1", "AWS/SageMaker", "ConcurrentRequestsPerModel", platform.by_variant(VARIANT))
    [(unit, points)] = store.read(of, None, 1, START, START + 10)
    assert (unit, {at: each.total for at, each in points.items()}) == ("Count", {START: 6.0}), "12 for 2 instances"


async def idle_step(idle: Idle) -> float:
    due_s = await idle.step()
    assert due_s >= 0
    return due_s


async def test_idle_minutes_are_told_once_each(store, clock, threads):
    served = [Served(VARIANT, "", START)]
    await Intake(store, clock, threads).take(report("a", 1, START + 61, 5))
    idle = Idle(store, clock, threads, lambda: served)
    assert await idle_step(idle) == 10.0, "what routers have kept may come now"
    clock.advance(10.0)
    for _ in range(3):
        clock.advance(await idle_step(idle))
    # Minutes 0 and 1 are over; and told; a new control process looks at them again, and finds them told.
    assert minutes(store) == {START: (1, 0), START + 60: (5, 5)}
    again = Idle(store, clock, threads, lambda: served)
    clock.advance(await idle_step(again))
    await idle_step(again)
    assert minutes(store) == {START: (1, 0), START + 60: (5, 5), START + 120: (1, 0)}
    assert minutes(store, "InvocationsPerInstance") == {START: (1, 0), START + 60: (5, 5), START + 120: (1, 0)}
    assert minutes(store, "ModelLatency") == {}, "no request, no latency"


async def test_no_zeros_from_before_the_variant_was(store, clock, threads):
    idle = Idle(store, clock, threads, lambda: [Served(VARIANT, "", START + 70)])
    clock.advance(200.0)
    await idle_step(idle)
    assert minutes(store) == {START + 60: (1, 0), START + 120: (1, 0)}


async def test_samples_of_instances_are_taken_once(store, clock, threads):
    labels = {"account": "1" * 12, "region": "us-east-1", "endpoint": "e", "variant": "blue"}
    samples = [
        Sample("s", n, START + 10.0 * n, 0.5, (Used("i-1", labels, cores, 1, 4, None),))
        for n, cores in ((1, 0.5), (2, 1.5))
    ]
    asked: list[tuple[str, int]] = []

    async def usage(boot: str, sequence: int) -> list[Sample]:
        asked.append((boot, sequence))
        return samples

    seen: list[int] = []
    for _ in range(2):  # two control processes
        instances = Instances(store, threads, usage, lambda sample: seen.append(sample.sequence))
        await instances.step()
        await instances.step()
    assert asked == [("", 0), ("s", 2), ("", 0), ("s", 2)]
    assert seen == [1, 2]
    of = metric("1" * 12, "us-east-1", "/aws/sagemaker/Endpoints", "CPUUtilization", platform.by_variant(VARIANT))
    [(_, points)] = store.read(of, None, 60, START, START + 60)
    assert (points[START].count, points[START].total / 2) == (2, 100.0)
