"""Who is served when: dead subscribers delay nobody, queues have an end, and what nobody confirms goes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kedge.clock import SystemClock
from kedge.loop import Signal, run
from kedge.store.lease import Lease
from kedge.store.store import Author, Resource, Scope, Store
from kedge.topics import message, publishing, records
from kedge.topics.addresses import parse
from kedge.topics.controller import MOST_QUICK, Courier, expire
from kedge.topics.outgoing import Outgoing
from kedge.topics.signing import Signer
from tests.faults.conftest import until
from tests.topics.subscriber import Subscriber

HERE = Scope("000000000000", "us-east-1")
T0 = datetime(2026, 1, 1, tzinfo=UTC)
AUTHOR = Author("test", "", T0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "kedge.db", durable=False)
    with opened.transaction(AUTHOR) as tx:
        tx.insert(HERE, records.TOPIC, "alerts", {"Attributes": {}, "Deleted": 0})
    yield opened
    opened.close()


def subscribe(store: Store, *endpoints: str, state: str = records.CONFIRMED) -> list[Resource]:
    with store.transaction(AUTHOR) as tx:
        topic = tx.get(HERE, records.TOPIC, "alerts")
        assert topic is not None
        return [
            tx.insert(
                HERE, records.SUBSCRIPTION, f"alerts:{uuid.uuid4()}",
                {**records.new_subscription(topic, "http", each, HERE.account, "me", "", T0), "State": state}, "alerts",
            )
            for each in endpoints
        ]  # fmt: skip


def publish(store: Store, text: str) -> None:
    with store.transaction(AUTHOR) as tx:
        topic = tx.get(HERE, records.TOPIC, "alerts")
        assert topic is not None
        publishing.publish(tx, topic, message.checked({"Message": text}, str(uuid.uuid4()), "arn", T0))


@pytest.fixture
async def courier(store: Store, tmp_path: Path) -> AsyncIterator[Courier]:
    clock, wake = SystemClock(), Signal()
    wake.attach(asyncio.get_running_loop())
    store.on_put(wake.notify)
    lease = Lease(store, "deliveries", "node", clock, ttl_s=600)
    lease.hold()
    made = Courier(store, clock, lease, Signer(tmp_path, b"x"), Outgoing(parse("all")), wake)
    stepping = asyncio.create_task(run("topics", made.step, wake, clock))
    yield made
    stepping.cancel()
    await made.close()


async def arrived(subscriber: Subscriber, count: int) -> list[str]:
    found = await asyncio.to_thread(subscriber.notified, count, 8)
    return [each["Message"] for each in found]


async def test_more_dead_subscribers_than_there_are_places_delay_nobody(store: Store, courier: Courier) -> None:
    held: list[asyncio.StreamWriter] = []

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    hung = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = hung.sockets[0].getsockname()[1]
    subscribe(store, *(f"http://127.0.0.1:{port}/{number}" for number in range(MOST_QUICK + 20)))
    await asyncio.to_thread(publish, store, "first")
    await asyncio.to_thread(until, lambda: len(held) >= MOST_QUICK, 8, "so many attempts under way")
    with Subscriber() as healthy:
        subscribe(store, healthy.url)
        for number in range(20):
            await asyncio.to_thread(publish, store, str(number))
        assert await arrived(healthy, 20) == [str(number) for number in range(20)]
    await courier.close()
    for writer in held:
        writer.close()
    hung.close()


async def test_what_is_taken_leaves_the_queue(store: Store, courier: Courier) -> None:
    with Subscriber() as subscriber:
        subscribe(store, subscriber.url)
        publish(store, "one")
        assert await arrived(subscriber, 1) == ["one"]
        later = SystemClock().now() + timedelta(days=1)
        await asyncio.to_thread(until, lambda: not store.due_queues(records.QUEUE, later, 10), 8, "an empty queue")
        assert len(subscriber.received) == 1


async def test_what_waits_for_nobody_goes(store: Store, courier: Courier) -> None:
    with store.transaction(AUTHOR) as tx:
        tx.put(records.QUEUE, [records.topic_arn(HERE, "alerts:gone"), records.topic_arn(HERE, "gone:gone")], {})
    later = SystemClock().now() + timedelta(days=1)
    await asyncio.to_thread(until, lambda: not store.due_queues(records.QUEUE, later, 10), 8, "empty queues")


def test_a_queue_that_is_full_takes_no_more(store: Store) -> None:
    full, empty = subscribe(store, "http://a/", "http://b/")
    with store.transaction(AUTHOR) as tx:
        tx.put(records.QUEUE, [records.subscription_arn(full)] * publishing.MOST_WAITING, {"Message": "old"})
    publish(store, "new")
    with store.transaction(AUTHOR) as tx:
        assert tx.waiting(records.QUEUE, records.subscription_arn(full)) == publishing.MOST_WAITING
        assert tx.waiting(records.QUEUE, records.subscription_arn(empty)) == 1


def test_nobody_but_the_confirmed_gets_messages(store: Store) -> None:
    subscribe(store, "http://a/", state=records.PENDING)
    subscribe(store, "http://b/", state=records.CANCELLED)
    publish(store, "new")
    assert store.due_queues(records.QUEUE, T0, 10) == []


def test_what_nobody_confirms_in_two_days_goes(store: Store) -> None:
    subscribe(store, "http://a/", state=records.PENDING)
    subscribe(store, "http://b/", state=records.CANCELLED)
    (kept,) = subscribe(store, "http://c/")
    assert expire(store, T0 + timedelta(days=2, seconds=-1)) == 0
    assert expire(store, T0 + timedelta(days=2)) == 2
    assert [each.name for each in store.list(HERE, records.SUBSCRIPTION).items] == [kept.name]
