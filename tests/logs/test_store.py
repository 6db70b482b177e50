"""The log store by itself: order, pages, marks, what is joined and erased."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kedge.logs.block import Event
from kedge.logs.pattern import parse
from kedge.logs.reading import Answer, Bounds, Question
from kedge.logs.store import LogStore, Mark
from kedge.logs.tables import DAY_MS
from kedge.logs.upkeep import TOGETHER

GROUP, OTHER = 7, 8
NOW = 20_000 * DAY_MS
PLENTY = Bounds(10_000, 2**20, 2**30)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LogStore]:
    opened = LogStore(tmp_path / "logs.db")
    yield opened
    opened.close()


def told(answer: Answer) -> list[str]:
    return [event.message for event in answer.events]


def every(store: LogStore, question: Question, bounds: Bounds) -> list[Event]:
    """All pages. Each goes on where the one before ended, and there are not more than there can be."""
    found: list[Event] = []
    for _ in range(10_000):
        answer = store.read(question, bounds)
        found += answer.events
        if answer.rest is None:
            return found
        where = {"before" if question.newest_first else "after": answer.rest}
        question = Question(**{**vars(question), **where})
    raise AssertionError("the pages do not end")


def test_events_of_many_streams_come_as_one_sequence_forwards_and_backwards_joined_or_not(store):
    draw = random.Random(5)
    put: list[tuple[int, int, str]] = []
    for number in range(200):
        stream = f"s{draw.randrange(5)}"
        at = sorted(NOW + draw.randrange(2000) for _ in range(draw.randrange(1, 8)))
        messages = [f"{number}/{index} {'odd' if draw.random() < 0.2 else 'even'}" for index in range(len(at))]
        assert store.put(GROUP, stream, at, messages, NOW, create=True)
        put += [
            (time, len(put) + index, message) for index, (time, message) in enumerate(zip(at, messages, strict=True))
        ]
    store.put(OTHER, "s1", [NOW], ["of another group"], NOW, create=True)
    want = [message for _, _, message in sorted(put)]
    small = Bounds(7, 2**20, 2**30)
    little = Bounds(50, 2**20, 1)  # ends after each block that it looks at
    for _ in range(2):
        for bounds in (PLENTY, small, little, Bounds(10_000, 100, 2**30)):
            assert [event.message for event in every(store, Question(GROUP), bounds)] == want
            backwards = every(store, Question(GROUP, newest_first=True), bounds)
            assert [event.message for event in reversed(backwards)] == want
        odd = Question(GROUP, pattern=parse("odd"), start_ms=NOW + 500, end_ms=NOW + 1500)
        wanted = [m for at, _, m in sorted(put) if "odd" in m and NOW + 500 <= at < NOW + 1500]
        assert [event.message for event in every(store, odd, small)] == wanted
        one = store.stream(GROUP, "s3")
        assert one is not None
        of_one = every(store, Question(GROUP, streams=[one.id]), small)
        assert of_one == [event for event in every(store, Question(GROUP), PLENTY) if event.stream == one.id]
        assert of_one == every(store, Question(GROUP, streams=[one.id], newest_first=True), small)[::-1]
        while store.join():
            pass


def test_many_small_blocks_become_few(store, tmp_path):
    for number in range(TOGETHER**2):
        store.put(GROUP, "s", [NOW + number], [f"line {number}"], NOW, create=True)
    before = store.stored_bytes(GROUP)
    while store.join():
        pass
    with store._file.read() as db:
        assert db.execute("SELECT count(*), sum(events) FROM block").fetchone() == (1, TOGETHER**2)
    assert store.stored_bytes(GROUP) == before
    assert told(store.read(Question(GROUP), Bounds(3, 2**20, 2**30))) == ["line 0", "line 1", "line 2"]


def test_a_mark_moves_with_its_events_once(store):
    assert store.mark("file") == 0
    assert store.put(GROUP, "s", [NOW], ["a"], NOW, mark=Mark("file", 0, 10), create=True)
    assert not store.put(GROUP, "s", [NOW], ["a"], NOW, mark=Mark("file", 0, 10), create=True)
    assert store.mark("file") == 10
    assert store.put(GROUP, "s", [], [], NOW, mark=Mark("file", 10, 12))
    assert not store.put(GROUP, "none", [NOW], ["b"], NOW, mark=Mark("file", 12, 20))
    assert told(store.read(Question(GROUP), PLENTY)) == ["a"]
    store.forget_mark("file")
    assert store.mark("file") == 0


def test_a_mark_stays_where_its_events_were_not_taken(store):
    assert not store.put(GROUP, "none", [NOW], ["b"], NOW, mark=Mark("file", 0, 20))
    assert store.mark("file") == 0


def test_streams_by_name_by_time_and_by_prefix(store):
    for name, at in (("a/1", 5), ("a/2", 9), ("b", 7)):
        store.put(GROUP, name, [NOW + at], ["x"], NOW, create=True)
    assert store.create_stream(GROUP, "empty", NOW)
    assert not store.create_stream(GROUP, "empty", NOW)
    names = [each.name for each in store.streams(GROUP)]
    assert names == ["a/1", "a/2", "b", "empty"]
    assert [each.name for each in store.streams(GROUP, prefix="a/")] == ["a/1", "a/2"]
    newest = store.streams(GROUP, by_last=True, descending=True)
    assert [each.name for each in newest] == ["a/2", "b", "a/1", "empty"]
    after = store.streams(GROUP, by_last=True, descending=True, after=(newest[0].last_ms, newest[0].name), limit=2)
    assert [each.name for each in after] == ["b", "a/1"]
    assert [each.name for each in store.streams(GROUP, after=(0, "a/2"))] == ["b", "empty"]


def test_what_is_deleted_is_gone_and_does_not_come_back(store):
    store.put(GROUP, "a", [NOW], ["old"], NOW, create=True)
    store.put(GROUP, "b", [NOW], ["stays"], NOW, create=True)
    assert store.delete_stream(GROUP, "a")
    assert not store.delete_stream(GROUP, "a")
    assert told(store.read(Question(GROUP), PLENTY)) == ["stays"]
    store.put(GROUP, "a", [NOW], ["new"], NOW, create=True)
    stream = store.stream(GROUP, "a")
    assert stream is not None
    assert told(store.read(Question(GROUP, streams=[stream.id]), PLENTY)) == ["new"]
    assert store.groups() == {GROUP}
    store.delete_group(GROUP)
    assert store.groups() == set()
    assert told(store.read(Question(GROUP), PLENTY)) == []


def test_a_deletion_that_was_cut_off_shows_nothing_and_is_finished_later(store):
    store.put(GROUP, "a", [NOW], ["secret"], NOW, create=True)
    store._file.write(lambda db: db.execute("INSERT INTO doomed SELECT id FROM stream"))
    assert told(store.read(Question(GROUP), PLENTY)) == []
    store.erase_deleted()
    assert store.stored_bytes(GROUP) == 0


def test_blocks_are_erased_when_all_of_them_has_expired(store):
    for day in range(5):
        store.put(GROUP, "s", [NOW + day * DAY_MS], [f"day {day}"], NOW, create=True)
    assert store.expire(GROUP, NOW + 2 * DAY_MS + 1) == 3
    assert told(store.read(Question(GROUP), PLENTY)) == ["day 3", "day 4"]


def test_it_is_there_after_a_restart_and_a_newer_format_is_refused(tmp_path):
    first = LogStore(tmp_path / "logs.db")
    first.put(GROUP, "s", [NOW], ["kept"], NOW, create=True)
    first.flush()
    first.close()
    again = LogStore(tmp_path / "logs.db")
    assert told(again.read(Question(GROUP), PLENTY)) == ["kept"]
    again.wipe()
    assert told(again.read(Question(GROUP), PLENTY)) == []
    again.close()
