"""Output of tasks becomes events, once each, whatever ends when."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.clock import HandClock
from kedge.compute import ended, output
from kedge.compute.base import TaskSpec
from kedge.compute.records import OUTPUT, TaskRecord, write_task
from kedge.config import Settings
from kedge.home import Home, open_home
from kedge.logs import lines
from kedge.logs.follower import PERIOD_S, QUIET_AFTER_S, Follower
from kedge.logs.reading import Bounds, Question
from kedge.logs.records import KIND, as_ms
from kedge.logs.store import LogStore
from kedge.store.records import Author, Scope
from kedge.store.store import Store

SCOPE = Scope("111122223333", "us-east-1")
GROUP = "/aws/sagemaker/Endpoints/an-endpoint"
LABELS = {"account": SCOPE.account, "region": SCOPE.region, "endpoint": "an-endpoint", "variant": "v"}
NOW = datetime(2026, 11, 28, tzinfo=UTC)


class World:
    def __init__(self, home: Home) -> None:
        self.home = home
        self.clock = HandClock(NOW)
        self.store = Store(home.database)
        self.logs = LogStore(home.log_store)
        self.follower = Follower(self.logs, self.store, home, self.clock)

    def task(self, task_id: str, labels: dict[str, str] = LABELS) -> None:
        (self.home.tasks / task_id).mkdir()
        write_task(self.home, TaskRecord(TaskSpec(task_id, "base", "", "", labels=labels), "", ""))

    def write(self, task_id: str, data: bytes, at: datetime = NOW) -> None:
        path = self.home.tasks / task_id / OUTPUT
        with open(output.open_for_append(path), "ab") as file:
            file.write(data)
        os.utime(path, (at.timestamp(), at.timestamp()))

    def follow(self) -> None:
        while self.follower.step() is not None:
            pass

    def control_is_killed(self) -> None:
        """What it held in memory is gone."""
        self.follower = Follower(self.logs, self.store, self.home, self.clock)

    def said(self, stream: str = "") -> list[str]:
        group = self.store.get(SCOPE, KIND, GROUP)
        if group is None:
            return []
        streams = None
        if stream:
            found = self.logs.stream(group.id, stream)
            streams = [] if found is None else [found.id]
        answer = self.logs.read(Question(group.id, streams), Bounds(1_000_000, 2**40, 2**40))
        return [event.message for event in answer.events]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(open_home(Settings(data_dir=tmp_path / "data")))
    yield made
    made.logs.close()
    made.store.close()


def test_there_is_no_group_before_the_first_line(world):
    world.task("i-1")
    world.write("i-1", b"")
    world.follow()
    world.write("i-1", b"half a l")
    world.follow()
    assert world.store.get(SCOPE, KIND, GROUP) is None
    world.write("i-1", b"ine\n\n  two\r\nthr")
    world.follow()
    assert world.said("v/i-1") == ["half a line", "  two"]
    world.write("i-1", b"ee\n")
    world.follow()
    assert world.said() == ["half a line", "  two", "three"]


def test_what_a_task_said_last_is_read_after_it_is_gone(world):
    world.task("i-1")
    world.write("i-1", b"one\n")
    world.follow()
    world.write("i-1", b"Traceback\n  last words without an end")
    ended.keep(world.home, "i-1")
    ended.keep(world.home, "i-1")  # a supervisor that was killed on the way does it again
    (world.home.tasks / "i-1").rmdir()
    world.control_is_killed()
    world.follow()
    world.follow()
    assert world.said("v/i-1") == ["one", "Traceback", "  last words without an end"]
    assert list(world.home.outputs.iterdir()) == []
    assert world.logs.mark("i-1") == 0


def test_a_supervisor_killed_between_the_two_files_loses_nothing(world):
    world.task("i-1")
    world.write("i-1", b"one\n")
    os.replace(world.home.tasks / "i-1" / OUTPUT, world.home.outputs / "i-1.log")
    world.follow()
    assert world.said() == []
    ended.keep(world.home, "i-1")
    world.follow()
    assert world.said() == ["one"]


def test_output_of_what_is_no_instance_is_no_event(world):
    world.task("compile-1", labels={})
    world.write("compile-1", b"x\n")
    world.follow()
    ended.keep(world.home, "compile-1")
    world.follow()
    assert world.store.list(None, KIND).items == []
    assert list(world.home.outputs.iterdir()) == []


def test_a_follower_killed_anywhere_neither_loses_nor_repeats(world):
    draw = random.Random(3)
    want: list[str] = []
    world.task("i-1")
    for number in range(60):
        for index in range(draw.randrange(4)):
            want.append(f"{number} {index} " + "x" * draw.randrange(50))
            whole = f"{want[-1]}\n".encode()
            at = draw.randrange(len(whole))
            world.write("i-1", whole[:at])
            if draw.random() < 0.3:
                world.follower.step()
            world.write("i-1", whole[at:])
        if draw.random() < 0.5:
            world.follower.step()
        if draw.random() < 0.3:
            world.control_is_killed()
    world.follow()
    assert world.said("v/i-1") == want


def test_two_followers_at_once_take_each_line_once(world):
    """A control process that is being replaced may still be at its last step."""
    world.task("i-1")
    other = Follower(world.logs, world.store, world.home, world.clock)
    for number in range(10):
        world.write("i-1", f"{number}\n".encode())
        world.follower.step()
        other.step()
        world.write("i-1", f"{number} again\n".encode())
        other.step()
        world.follower.step()
    other.step()
    assert world.said() == [text for number in range(10) for text in (str(number), f"{number} again")]


def test_a_deleted_group_comes_again_with_the_next_line_alone(world):
    world.task("i-1")
    world.write("i-1", b"old\n")
    world.follow()
    with world.store.transaction(Author("t", "r", NOW)) as tx:
        tx.delete(tx.get(SCOPE, KIND, GROUP))
    world.write("i-1", b"new\n")
    world.follow()
    assert world.said() == ["new"]


def test_lines_have_the_time_at_which_they_were_written_and_stay_in_order(world):
    world.task("i-1")
    hour_ago = datetime(2026, 11, 27, 23, tzinfo=UTC)
    world.write("i-1", b"while nobody looked\n", at=hour_ago)
    world.follow()
    world.write("i-1", b"by a clock that was set back\n", at=datetime(2026, 11, 27, 22, tzinfo=UTC))
    world.follow()
    group = world.store.get(SCOPE, KIND, GROUP)
    found = world.logs.read(Question(group.id), Bounds(10, 2**20, 2**20)).events
    assert [(event.at_ms, event.ingested_ms) for event in found] == [(as_ms(hour_ago), as_ms(NOW))] * 2
    assert world.said() == ["while nobody looked", "by a clock that was set back"]


def test_lines_of_several_instances_are_in_the_order_in_which_they_can_be_seen(world):
    """Or who follows, asking for what is newer than the newest line, would never see the second one."""
    world.task("i-1")
    world.task("i-2")
    world.write("i-2", b"seen first\n", at=NOW - timedelta(seconds=1))
    world.follow()
    world.write("i-1", b"written first\n", at=NOW - timedelta(seconds=2))
    world.follow()
    world.task("i-3")
    world.write("i-3", b"of an hour ago\n", at=NOW - timedelta(hours=1))
    world.follow()
    assert world.said() == ["of an hour ago", "seen first", "written first"]


def test_old_output_that_was_given_back_to_the_disk_is_skipped(world, caplog):
    world.task("i-1")
    world.write("i-1", b"read\n")
    world.follow()
    for _ in range(8):
        world.write("i-1", b"x" * 65_535 + b"\n")
    world.write("i-1", b"the last\n")
    output.bound(world.home.tasks / "i-1" / OUTPUT, limit_bytes=65_536, kept_bytes=65_536)
    world.follow()
    said = world.said()
    assert (said[0], said[-1]) == ("read", "the last")
    assert len(said) < 8
    assert "given up before they were read" in caplog.text or "cut off" in caplog.text


def test_megabytes_come_in_several_commits(world):
    world.task("i-1")
    world.write("i-1", b"".join(b"%d %s\n" % (number, b"x" * 200) for number in range(100_000)))
    assert world.follower.step() == 0.0  # others get their turn
    world.follow()
    assert [line.split()[0] for line in world.said()] == [str(number) for number in range(100_000)]


def test_reset_leaves_nothing(world):
    world.task("i-1")
    world.write("i-1", b"one\n")
    world.follow()
    ended.keep(world.home, "i-1")
    (world.home.tasks / "i-1").rmdir()
    world.follower.forget()
    assert list(world.home.outputs.iterdir()) == []
    assert world.said() == []
    assert world.logs.mark("i-1") == 0


@given(st.lists(st.binary(max_size=8), max_size=12), st.booleans())
def test_cutting_takes_whole_lines_and_nothing_else(parts, ended):
    data = b"\n".join(parts)
    events, taken = lines.cut(data, ended=ended)
    assert taken == (len(data) if ended else data.rfind(b"\n") + 1)
    want = [line.removesuffix(b"\r").lstrip(b"\0").decode(errors="replace") for line in data[:taken].split(b"\n")]
    assert events == [line for line in want if line]


def test_a_line_without_end_becomes_several_events_at_characters():
    data = "é".encode() * lines.LONGEST_BYTES
    found = []
    while data:
        events, taken = lines.cut(data, ended=len(data) <= lines.LONGEST_BYTES)
        found += events
        data = data[taken:]
    assert "".join(found) == "é" * lines.LONGEST_BYTES
    assert max(len(event.encode()) for event in found) <= lines.LONGEST_BYTES
    assert len(lines.cut(b"x" * 600_000 + b"\n", ended=False)[0]) == 3


def test_when_nothing_comes_it_looks_less_often(world: World):
    world.task("i-1")
    world.write("i-1", b"one\n")
    world.follow()
    assert world.follower.period_s == PERIOD_S
    world.clock.advance(QUIET_AFTER_S + 1)
    world.follow()
    assert PERIOD_S < world.follower.period_s < 1
    world.write("i-1", b"two\n")
    world.follow()
    assert world.follower.period_s == PERIOD_S
