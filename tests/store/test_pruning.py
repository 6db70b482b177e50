"""What is old goes, a little at a time; what is not, and the resources themselves, stay."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from kedge.clock import HandClock
from kedge.store.pruning import prune
from kedge.store.store import Author, Scope, Store

HERE = Scope("000000000000", "us-east-1")
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def fill(store: Store, prefix: str, seconds: float, count: int = 510) -> None:
    with store.transaction(Author("tester", "r", T0 + timedelta(seconds=seconds))) as tx:
        for number in range(count):
            tx.insert(HERE, "model", f"{prefix}-{number}", {})
            tx.emit("s", "d", {"from": prefix})


def test_a_batch_is_small_and_takes_the_oldest(store: Store) -> None:
    fill(store, "old", 0)
    fill(store, "new", 5, count=20)
    woken: list[int] = []
    store.on_commit(lambda: woken.append(1))
    now = T0 + timedelta(seconds=11)
    keep = {"history": timedelta(seconds=10), "events": timedelta(seconds=6)}
    assert [store.prune(now, **keep) for _ in range(3)] == [1000, 20, 0]
    assert store.history(HERE, "model", "old-7") == []
    assert len(store.history(HERE, "model", "new-7")) == 1
    assert {event.detail["from"] for event in store.outbox(2000)} == {"new"}
    assert len(store.list(HERE, "model").items) == 530
    assert woken == []


async def test_pruning_goes_on_until_nothing_old_is_left(store: Store) -> None:
    fill(store, "old", 0)
    clock = HandClock(T0 + timedelta(days=90, seconds=1))
    fill(store, "new", timedelta(days=90).total_seconds(), count=1)
    pruning = asyncio.create_task(prune(store, timedelta(days=90), clock))
    async with asyncio.timeout(10):
        while not pruning.done():
            await asyncio.sleep(0.001)
            clock.advance(0.1)
    assert [event.detail["from"] for event in store.outbox()] == ["new"]
    assert store.history(HERE, "model", "old-509") == []
    assert len(store.history(HERE, "model", "new-0")) == 1
