from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.clock import SystemClock
from kedge.serving import journal, reports
from kedge.serving.journal import Journal, drop, left
from kedge.serving.kept import Kept
from kedge.serving.meter import Frame, Meter, Place, decode
from kedge.serving.reports import Reporter

PLACE = Place("123456789012", "us-east-1", "an-endpoint", "AllTraffic", "i-1", "a-config", by_instance=True)
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c" * 60]),
        st.sampled_from([200, 404, 500, 0, -1]),
        st.integers(1, 100_000),
        st.floats(0, 1e9),
    ),
    max_size=60,
)


class Killed(Journal):
    """The lock of a process ends with it."""

    def __init__(self, folder: Path, boot: str = "boot") -> None:
        super().__init__(folder / f"{boot}.journal", folder)
        self.release()


def names(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def frames(folder: Path, boot: str = "boot") -> list[Frame]:
    return [decode(frame) for _, frame in left(folder / f"{boot}.journal")]


@settings(deadline=None, max_examples=50)
@given(CALLS)
def test_what_is_left_is_the_report_that_the_router_would_have_made(tmp_path_factory, calls):
    folder = tmp_path_factory.mktemp("journal")
    made, meter = Killed(folder), Meter("boot")
    meter.sequence = 6
    made.begin(1_700_000_000, 7)
    for variant, status, instances, latency_us in calls:
        place = PLACE._replace(variant=variant)
        if status < 0:
            made.refusal(place, "ThrottlingException")
            meter.refusal(place, "ThrottlingException")
        else:
            made.invocation(place, status, instances, latency_us, latency_us / 7)
            meter.invocation(place, status, min(instances, 0xFFFF), latency_us, latency_us / 7)
    expected = [] if meter.is_empty else [meter.roll(1_700_000_000, None)]
    assert [frame for _, frame in left(folder / "boot.journal")] == expected
    drop(folder / "boot.journal")
    assert list(folder.iterdir()) == []


def test_the_last_reports_are_there_and_what_was_taken_is_not(tmp_path: Path):
    made = Killed(tmp_path)
    for sequence in range(1, 10):
        made.begin(100 + sequence, sequence)
        for _ in range(sequence):
            made.invocation(PLACE, 200, 1, 10.0, 1.0)
    assert [(f.sequence, f.second, f.cells[0].invocations) for f in frames(tmp_path)] == [
        (n, 100 + n, n) for n in (6, 7, 8, 9)
    ]
    for sequence in (2, 7, 8):  # 2 is no more; what has its part now stays
        made.forget(sequence)
    assert [frame.sequence for frame in frames(tmp_path)] == [6, 9]
    assert all(frame.concurrent == () for frame in frames(tmp_path))


def test_nothing_of_an_earlier_report_is_in_a_later_one(tmp_path: Path):
    made = Killed(tmp_path)
    for sequence, times in enumerate((50, 3, 3, 3, 1), 1):
        made.begin(sequence, sequence)
        for _ in range(times):
            made.invocation(PLACE._replace(variant=f"v{sequence}"), 200, 1, 10.0, 1.0)
    *_, last = frames(tmp_path)
    assert [(cell.place.variant, cell.invocations) for cell in last.cells] == [("v5", 1)]


def test_a_full_part_takes_no_more(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 24 * 20)
    made = Killed(tmp_path)
    made.begin(1, 1)
    taken = sum(made.invocation(PLACE, 200, 1, 1.0, 1.0) for _ in range(50))
    assert 5 < taken < 20
    assert not made.refusal(PLACE._replace(instance=""), "ThrottlingException")
    [frame] = frames(tmp_path)
    assert frame.cells[0].invocations == taken


async def test_a_busy_second_is_told_in_several_reports(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 24 * 20)
    kept = Kept([tmp_path / "0"], tmp_path)
    reporter = Reporter(SystemClock(), "boot", kept=kept)
    for _ in range(100):
        reporter.invocation(PLACE, 200, 1, 0.001, 0.0001)
        reporter.refusal(PLACE._replace(instance=""), "ThrottlingException")
    reporter.roll()
    told = [decode(report.frame) for report in reporter._waiting]
    assert len(told) > 10
    assert sum(cell.invocations for frame in told for cell in frame.cells) == 100
    assert sum(cell.refused.get("ThrottlingException", 0) for frame in told for cell in frame.cells) == 100
    assert all(a.sequence + 1 == b.sequence for a, b in pairwise(told))
    await reporter.drain(0)
    kept.close()


async def test_what_a_killed_router_has_not_told_is_told_by_the_next(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(reports, "KEPT_AFTER_S", 60.0)
    folder = tmp_path / "0"
    dead = Reporter(SystemClock(), "dead", kept=Kept([folder], tmp_path))
    for _ in range(3):
        dead.invocation(PLACE, 200, 1, 0.001, 0.0001)
    dead.roll()
    for _ in range(4):
        dead.invocation(PLACE, 200, 1, 0.001, 0.0001)
    assert Kept([folder]).read(10) == [], "it lives"
    assert dead._journal is not None
    dead._journal.release()
    kept = Kept([folder], tmp_path)
    following = Reporter(SystemClock(), "next", kept=kept)
    told = [decode(report.frame) for report in following._waiting]
    told_of = [(frame.boot, frame.sequence, frame.cells[0].invocations) for frame in told]
    assert told_of == [("dead", 1, 3), ("dead", 2, 4)]
    assert names(folder) == ["dead-000000000001", "dead-000000000002", "next.journal"]
    assert names(tmp_path, "kedge-*") == ["kedge-next"]
    kept.close()
    assert names(tmp_path, "kedge-*") == []


async def test_a_router_that_ends_leaves_no_journal_but_what_it_holds(tmp_path: Path):
    kept = Kept([tmp_path / "0"], tmp_path)
    reporter = Reporter(SystemClock(), "boot", kept=kept)
    reporter.invocation(PLACE, 200, 1, 0.001, 0.0001)
    await reporter.drain(5.0)
    reporter.invocation(PLACE, 500, 1, 0.001, 0.0001)  # what ends after that
    kept.close()
    assert names(tmp_path) == ["0"]
    assert [each.sequence for each in Kept([tmp_path / "0"]).read(10)] == [1, 2]


def test_what_is_not_ours_is_not_read(tmp_path: Path, caplog):
    folder = tmp_path / "0"
    folder.mkdir()
    (tmp_path / "short").write_bytes(b"short")
    (folder / "short.journal").symlink_to(tmp_path / "short")
    (tmp_path / "odd").write_bytes(b"\x01" * journal.SEGMENTS * journal.SEGMENT_BYTES)
    (folder / "odd.journal").symlink_to(tmp_path / "odd")
    (folder / "gone.journal").symlink_to(tmp_path / "gone")
    (folder / "boot-000000000001").write_bytes(b"x")
    assert [each.boot for each in Kept([folder]).read(10)] == ["boot"]
    assert "5 bytes" in caplog.text
    assert [path.name for path in folder.iterdir()] == ["boot-000000000001"]


def test_without_shared_memory_the_router_serves_all_the_same(tmp_path: Path, caplog):
    kept = Kept([tmp_path / "0"], tmp_path / "not there")
    assert kept.journal("boot") is None
    assert "will not outlive it" in caplog.text
    kept.close()


def test_nobody_else_can_read_it(tmp_path: Path):
    Killed(tmp_path)
    found = (tmp_path / "kedge-boot").stat()
    assert (found.st_mode & 0o777, found.st_uid) == (0o600, os.getuid())


def test_what_nobody_looks_for_any_more_is_removed(tmp_path: Path):
    """Of four routers one lives, and one still has its data directory; of one that is gone it is not sure yet."""
    memory, now_s = tmp_path / "memory", 2_000_000_000.0
    memory.mkdir()
    lives = Journal(tmp_path / "lives.journal", memory)
    for boot in ("found", "lately", "long"):
        Journal(tmp_path / f"{boot}.journal", memory).release()
    for boot in ("lives", "lately", "long"):
        (tmp_path / f"{boot}.journal").unlink()
    (memory / "kedge-other").write_bytes(b"something else")
    for path in memory.iterdir():
        age_s = 60.0 if path.name == "kedge-lately" else 2 * journal.ABANDONED_S
        os.utime(path, (now_s - age_s, now_s - age_s))
    journal.sweep(memory, now_s)
    assert names(memory) == ["kedge-found", "kedge-lately", "kedge-lives", "kedge-other"]
    lives.release()
