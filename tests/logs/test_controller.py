"""What the log store does by itself: expired events and what groups have left go, all else stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kedge.logs import controller, records
from kedge.logs.reading import Bounds, Question
from kedge.logs.records import KIND, as_ms
from kedge.logs.store import LogStore
from kedge.store.records import Author, Scope
from kedge.store.store import Store

SCOPE = Scope("111122223333", "us-east-1")
NOW = datetime(2026, 11, 28, tzinfo=UTC)


class World:
    def __init__(self, folder: Path) -> None:
        self.store, self.logs = Store(folder / "kedge.db"), LogStore(folder / "logs.db")

    def group(self, name: str, retention_days: int | None) -> int:
        document = records.document() | ({} if retention_days is None else {"RetentionDays": retention_days})
        with self.store.transaction(Author("t", "r", NOW)) as tx:
            return tx.insert(SCOPE, KIND, name, document).id

    def said(self, group: int) -> list[str]:
        return [event.message for event in self.logs.read(Question(group), Bounds(100, 2**20, 2**30)).events]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.logs.close()
    made.store.close()


def test_what_is_expired_or_left_over_goes_and_nothing_else(world):
    kept, short = world.group("kept", None), world.group("short", 7)
    for group in (kept, short):
        for days in (20, 8, 6):
            at_ms = as_ms(NOW - timedelta(days=days))
            world.logs.put(group, "s", [at_ms], [f"{days} days ago"], at_ms, create=True)
    left = world.group("left", None)
    world.logs.put(left, "s", [as_ms(NOW)], ["of a group that is gone"], as_ms(NOW), create=True)
    with world.store.transaction(Author("t", "r", NOW)) as tx:
        tx.delete(tx.get(SCOPE, KIND, "left"))
    controller.erase(world.logs, world.store, NOW)
    assert world.said(kept) == ["20 days ago", "8 days ago", "6 days ago"]
    assert world.said(short) == ["6 days ago"]
    assert world.said(left) == []
    assert world.logs.groups() == {kept, short}
    controller.erase(world.logs, world.store, NOW + timedelta(days=1, seconds=1))
    assert world.said(short) == []
    assert world.logs.stored_bytes(short) == 0


def test_keeping_joins_until_nothing_is_left_to_join(world):
    group = world.group("g", None)
    for number in range(200):
        world.logs.put(group, "s", [as_ms(NOW) + number], [str(number)], as_ms(NOW), create=True)
    controller.keep(world.logs)
    assert not world.logs.join()
    assert world.said(group) == [str(number) for number in range(100)]
