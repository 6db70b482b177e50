from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kedge.clock import HandClock
from kedge.errors import ServiceUnavailable
from kedge.serving.capture import delivery as deliveries
from kedge.serving.capture.delivery import Delivery
from kedge.serving.capture.recorder import Recorder
from kedge.serving.capture.records import Capture, Source, Taken
from kedge.serving.capture.spool import Spool, Target

AT = datetime(2026, 5, 1, 10, 30, tzinfo=UTC)
TARGET = Target("1", "r", "e", "v", "b", "p", "", int(AT.timestamp() // 3600))
OTHER = replace(TARGET, variant="w")


class Bucket:
    """Stands for the object store: takes objects, or says why not."""

    def __init__(self):
        self.objects = {}
        self.refuses = {}
        self.tries = 0
        self.lock = threading.Lock()

    def put(self, segment, key, body):
        with self.lock:
            self.tries += 1
            if reason := self.refuses.get(segment.target.variant):
                raise reason
            there = key in self.objects
            self.objects.setdefault(key, body)
            return not there


class World:
    def __init__(self, folder):
        self.folder = folder
        self.clock = HandClock(AT)
        self.bucket = Bucket()
        self.spool = Spool(folder, bytes(32), 1_000_000)
        self.delivery = Delivery(self.spool, self.bucket.put, self.clock)
        self.changes = []
        self.delivery.on_change(self.changes.append)

    def add(self, line=b"a\n", target=TARGET):
        self.delivery.added(self.spool.append(target, [line], self.clock.now().timestamp()))

    async def pass_s(self, seconds):
        """Time goes on, and what is due then has been tried."""
        self.clock.advance(seconds)
        self.delivery._wake.set()
        for _ in range(200):
            await asyncio.sleep(0.005)
            if not self.delivery._puts:
                break


@pytest.fixture
async def world(tmp_path):
    made = World(tmp_path / "capture")
    running = asyncio.create_task(made.delivery.run())
    yield made
    running.cancel()
    await made.delivery.finish(1.0)


async def test_what_is_captured_is_an_object_after_the_period(world):
    world.add(b"a\n")
    world.add(b"b\n")
    await world.pass_s(deliveries.PERIOD_S - 0.1)
    assert world.bucket.objects == {}
    await world.pass_s(0.1)
    (key,) = world.bucket.objects
    assert key.startswith("p/e/v/2026/05/01/10/30-00-000-")
    assert world.bucket.objects[key] == b"a\nb\n"
    assert list(world.folder.iterdir()) == []
    assert world.spool.bytes == 0


async def test_what_is_large_does_not_wait(world):
    """A sixteenth of the spool's bound is large."""
    world.add(b"x" * 40_000)
    await world.pass_s(0.0)
    assert len(world.bucket.objects) == 0
    world.add(b"x" * 40_000)
    await world.pass_s(0.0)
    assert len(world.bucket.objects) == 1


async def test_a_refusal_is_kept_said_and_tried_ever_more_rarely(world):
    world.bucket.refuses["v"] = ServiceUnavailable("no such thing")
    world.add()
    world.add(target=OTHER)
    await world.pass_s(deliveries.PERIOD_S)
    assert len(world.bucket.objects) == 1, "the other variant's is there"
    assert world.delivery.problem(TARGET.variant_key) == "no such thing"
    assert world.delivery.problem(OTHER.variant_key) == ""
    assert world.changes == [TARGET.variant_key]
    tries = []
    for _ in range(200):
        before = world.bucket.tries
        await world.pass_s(1.0)
        tries.append(world.bucket.tries - before)
    assert sum(tries[:10]) >= 3
    assert 1 <= sum(tries[-100:]) <= 2
    world.bucket.refuses.clear()
    await world.pass_s(deliveries.LONGEST_BACK_OFF_S)
    assert len(world.bucket.objects) == 2
    assert world.delivery.problem(TARGET.variant_key) == ""


async def test_of_a_variant_in_trouble_one_segment_is_tried_for_all(world):
    world.bucket.refuses["v"] = OSError("full")
    world.add()
    await world.pass_s(deliveries.PERIOD_S)
    for hour in range(1, 6):
        world.add(target=replace(TARGET, hour=TARGET.hour + hour))
    await world.pass_s(deliveries.PERIOD_S)
    before = world.bucket.tries
    await world.pass_s(deliveries.LONGEST_BACK_OFF_S)
    assert world.bucket.tries - before == 1
    world.bucket.refuses.clear()
    await world.pass_s(deliveries.LONGEST_BACK_OFF_S)
    await world.pass_s(0.1)
    assert len(world.bucket.objects) == 6


async def test_what_cannot_be_delivered_for_a_day_is_dropped(world):
    world.bucket.refuses["v"] = OSError("full")
    world.add()
    await world.pass_s(deliveries.PERIOD_S)
    assert list(world.folder.iterdir())
    await world.pass_s(deliveries.KEPT_S)
    assert list(world.folder.iterdir()) == []
    assert world.spool.bytes == 0


async def test_a_kill_after_the_put_makes_no_second_object(world, tmp_path):
    world.add(b"once\n")
    (file,) = world.folder.iterdir()
    left = file.read_bytes()
    await world.pass_s(deliveries.PERIOD_S)
    file.write_bytes(left)  # as if the process had died before it removed it
    spool = Spool(world.folder, bytes(32), 1_000_000)
    again = Delivery(spool, world.bucket.put, world.clock)
    again.take_up(spool.left())
    await again.finish(5.0)
    assert list(world.bucket.objects.values()) == [b"once\n"]
    assert world.bucket.tries == 2
    assert list(world.folder.iterdir()) == []


async def test_the_end_does_not_wait_for_the_period(world):
    world.add()
    await world.delivery.finish(5.0)
    assert len(world.bucket.objects) == 1


async def test_forgotten_is_forgotten(world):
    world.add()
    await world.delivery.forget()
    await world.pass_s(deliveries.PERIOD_S)
    assert world.bucket.objects == {}
    assert world.spool.bytes == 0


CAPTURE = Capture(100, "b", "p", input=True, output=False, csv_types=("text/csv",))


def taken(at: datetime, body: bytes = b"1") -> Taken:
    return Taken(at.timestamp(), "e", "", "", "text/csv", "", body, b"")


async def test_the_recorder_counts_what_it_spools_and_what_it_cannot(world):
    told: list[bytes] = []
    recorder = Recorder(world.spool, world.delivery, b"k", lambda _, lines: told.extend(lines))
    source = Source("1", "r", "e", "v", CAPTURE)
    hour = timedelta(hours=1)
    counts = recorder.record([(1, source, taken(AT)), (2, source, taken(AT)), (1, source, taken(AT + hour))])
    assert (counts.spooled, counts.dropped) == ({1: 2, 2: 1}, {})
    counts = recorder.record([(1, source, taken(AT, b"x" * 300_000))])
    assert (counts.spooled, counts.dropped) == ({}, {1: 1})
    assert "it may have 250000" in recorder.problem(TARGET.variant_key)
    recorder.record([(1, source, taken(AT))])
    assert recorder.problem(TARGET.variant_key) == ""
    recorder.record([(1, source, taken(AT, b"x" * 300_000))])
    recorder.delivery_changed(TARGET.variant_key)
    assert recorder.problem(TARGET.variant_key) == "", "what kept it from being delivered is over"
    await world.pass_s(deliveries.PERIOD_S)
    lines = [json.loads(line) for body in world.bucket.objects.values() for line in body.splitlines()]
    assert len(lines) == 4
    assert sorted(told) == sorted(line + b"\n" for body in world.bucket.objects.values() for line in body.splitlines())
    assert len(world.bucket.objects) == 2, "one for each hour"
