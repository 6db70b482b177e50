from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kedge.clock import SystemClock
from kedge.serving import reports
from kedge.serving.kept import Kept, folders_of
from kedge.serving.meter import Captured, Frame, Place, VariantPlace
from kedge.serving.push import message, read_message
from kedge.serving.reports import Reporter, ReportServer, Tally
from tests.serving.peers import until

PLACE = Place("123456789012", "us-east-1", "an-endpoint", "AllTraffic", "i-1")
KEY = PLACE[:4]


@pytest.fixture
async def reporter(tmp_path: Path):
    made = Reporter(SystemClock(), "boot")
    task = asyncio.create_task(made.run(tmp_path / "report.sock"))
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def control(tmp_path: Path, take):
    async def taken(frame: Frame) -> None:
        take(frame)

    server = ReportServer(tmp_path / "report.sock", taken)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def count(reporter: Reporter, times: int = 1) -> None:
    """As many requests, in a second of their own."""
    for _ in range(times):
        reporter.invocation(PLACE, 200, 1, 0.001, 0.0001)
    reporter.roll()


async def test_what_is_counted_arrives_and_is_kept_no_longer(reporter: Reporter, tmp_path: Path):
    tally = Tally()
    async with control(tmp_path, tally.take):
        count(reporter, 3)
        count(reporter, 4)
        await until(lambda: not reporter.waiting)
    assert tally.invocations == {KEY: 7}


async def test_the_second_ends_by_itself(reporter: Reporter, tmp_path: Path):
    tally = Tally()
    async with control(tmp_path, tally.take):
        reporter.invocation(PLACE, 200, 1, 0.001, 0.0001)
        assert not reporter.waiting
        await until(lambda: tally.total == 1)


async def test_what_capture_loses_is_told_without_a_request(tmp_path: Path):
    lost = [Captured(VariantPlace(*KEY), 0, 2, 0)]
    frames: list[Frame] = []
    reporter = Reporter(SystemClock(), "boot", captured=lambda: [lost.pop()] if lost else [])
    task = asyncio.create_task(reporter.run(tmp_path / "report.sock"))
    async with control(tmp_path, frames.append):
        reporter.news()
        await until(lambda: frames)
        reporter.roll()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(each.captured, each.cells) for each in frames] == [((Captured(VariantPlace(*KEY), 0, 2, 0),), ())]


async def test_it_waits_for_control_and_is_bounded(reporter: Reporter, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(reports, "BACKLOG", 3)
    for times in (1, 10, 100, 1000):
        count(reporter, times)
    assert (reporter.waiting, reporter.dropped) == (3, 1)
    tally = Tally()
    async with control(tmp_path, tally.take):
        await until(lambda: not reporter.waiting)
    assert tally.total == 1110, "the oldest was dropped"


async def test_what_was_taken_and_not_acknowledged_counts_once(reporter: Reporter, tmp_path: Path):
    tally, seen = Tally(), []

    async def takes_and_dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await read_message(reader, 1 << 20)
        assert data is not None
        tally.take(reports.decode(data))
        writer.close()

    path = tmp_path / "report.sock"
    server = await asyncio.start_unix_server(takes_and_dies, path)
    count(reporter, 5)
    await until(lambda: tally.total == 5)
    server.close()
    assert reporter.waiting == 1

    def take(frame: Frame) -> None:
        seen.append(frame.sequence)
        tally.take(frame)

    async with control(tmp_path, take):
        count(reporter, 2)
        await until(lambda: not reporter.waiting)
    assert seen == [1, 2]
    assert tally.total == 7


async def test_what_cannot_be_stored_is_asked_for_again(reporter: Reporter, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(reports, "RECONNECT_S", 0.01)
    tally, full = Tally(), [True]

    def take(frame: Frame) -> None:
        if full[0]:
            full[0] = False
            raise OSError("no space left")
        tally.take(frame)

    async with control(tmp_path, take):
        count(reporter, 5)
        await until(lambda: not reporter.waiting)
    assert tally.total == 5
    assert "no space left" in caplog.text


async def test_what_was_not_taken_outlives_the_router(tmp_path: Path, monkeypatch):
    """Three routers, of which the first two die while control is away; the second was one of two."""
    monkeypatch.setattr(reports, "KEPT_AFTER_S", 0.0)
    folder = tmp_path / "reports"
    for boot, number, times in (("first", 0, 1), ("second", 1, 10)):
        kept = Kept(folders_of(folder, number, 2))
        dead = Reporter(SystemClock(), boot, kept=kept)
        count(dead, times)
        count(dead, 100 * times)
        await until(lambda: len(list((folder / str(number)).iterdir())) == 2)  # noqa: B023
        kept.close()
    (folder / "0" / ".first-000000000003").write_bytes(b"half")
    kept = Kept(folders_of(folder, 0, 1))
    reporter = Reporter(SystemClock(), "third", kept=kept)
    count(reporter, 1000)
    seen = []
    tally = Tally()

    def take(frame: Frame) -> None:
        seen.append((frame.boot, frame.sequence))
        tally.take(frame)

    async with control(tmp_path, take):
        task = asyncio.create_task(reporter.run(tmp_path / "report.sock"))
        await until(lambda: not reporter.waiting)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    kept.close()
    assert seen == [("first", 1), ("first", 2), ("second", 1), ("second", 2), ("third", 1)]
    assert tally.total == 101 + 1010 + 1000
    assert [path for path in folder.glob("*/*") if path.is_file()] == []


async def test_a_router_that_ends_while_control_is_away_leaves_its_reports(tmp_path: Path):
    kept = Kept([tmp_path / "0"])
    reporter = Reporter(SystemClock(), "boot", kept=kept)
    reporter.invocation(PLACE, 200, 1, 0.001, 0.0001)
    await reporter.drain(5.0)
    kept.close()
    assert [each.sequence for each in Kept([tmp_path / "0"]).read(10)] == [1]


async def test_a_full_disk_costs_no_report(reporter: Reporter, tmp_path: Path, monkeypatch, caplog):
    monkeypatch.setattr(reports, "KEPT_AFTER_S", 0.0)
    kept = Kept([tmp_path / "0"])
    (tmp_path / "0").rmdir()
    reporter = Reporter(SystemClock(), "boot", kept=kept)
    count(reporter)
    await until(lambda: "kept in memory alone" in caplog.text)
    assert reporter.waiting == 1
    kept.close()


async def test_a_frame_that_control_cannot_read_does_not_hold_up_the_next(reporter: Reporter, tmp_path: Path, caplog):
    refused, taken = [], []

    async def refuses_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (data := await read_message(reader, 1 << 20)) is not None:
            sequence = reports.decode(data).sequence
            if sequence == 1:
                refused.append(sequence)
                writer.write(message(b'{"refused": "format 9"}'))
            else:
                taken.append(sequence)
                writer.write(message(b'{"boot": "boot", "sequence": %d}' % sequence))
        writer.close()

    server = await asyncio.start_unix_server(refuses_the_first, tmp_path / "report.sock")
    count(reporter)
    count(reporter)
    await until(lambda: not reporter.waiting)
    server.close()
    assert (refused, taken, reporter.dropped) == ([1], [2], 1)
    assert "control refuses a report: format 9" in caplog.text


async def test_bytes_that_are_no_frame_are_answered(tmp_path: Path):
    async with control(tmp_path, lambda frame: None):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "report.sock")
        writer.write(message(b"[9]"))
        answer = await read_message(reader, 1 << 16)
        assert answer is not None
        assert b"refused" in answer
        writer.close()


async def test_the_last_words_of_a_router_that_ends(reporter: Reporter, tmp_path: Path):
    tally = Tally()
    async with control(tmp_path, tally.take):
        count(reporter)
        await until(lambda: tally.total == 1)
        reporter.invocation(PLACE, 200, 1, 0.001, 0.0001)
        await reporter.drain(5.0)
        assert tally.total == 2
