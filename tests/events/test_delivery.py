"""Actions are carried out once, those who asked are told once, and what cannot be done is kept with its reason."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kedge.autoscaling import asking
from kedge.clock import HandClock
from kedge.events.delivery import FAILED, KEEP_FAILED, MOST_ATTEMPTS, Deliveries, prune_failed
from kedge.events.records import QUEUE, Action, Outcome, write
from kedge.loop import REST_S
from kedge.store.lease import Lease
from kedge.store.store import Author, Scope, Store
from kedge.store.transaction import Transaction
from kedge.topics import publishing, records

HERE = Scope("000000000000", "us-east-1")
TOPIC = records.topic_arn(HERE, "alerts")
SUBSCRIPTION = "alerts:6d0f0bb0-0000-4000-8000-000000000000"
ALARM = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:high"


class World:
    """A store, a topic with a confirmed subscription, and what was told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = HandClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.told: list[tuple[str, Outcome]] = []
        self.lease = Lease(store, "deliveries", "node", self.clock, ttl_s=1e9)
        self.lease.hold()
        with self.transaction() as tx:
            topic = tx.insert(HERE, records.TOPIC, "alerts", {"Attributes": {}, "Deleted": 0})
            document = records.new_subscription(topic, "http", "http://x/", "0", "me", "", self.clock.now())
            tx.insert(HERE, records.SUBSCRIPTION, SUBSCRIPTION, {**document, "State": records.CONFIRMED}, "alerts")
        self.deliveries = Deliveries(
            store, self.clock, self.lease,
            {"sns": publishing.carry_out, "autoscaling": asking.carry_out, "broken": self.broken},
            {"cloudwatch": self.tell},
        )  # fmt: skip
        self.defect: Exception | None = RuntimeError("a defect")

    def transaction(self):  # type: ignore[no-untyped-def]
        return self.store.transaction(Author("test", "", self.clock.now()))

    def ask(self, target: str, identity: str = "one", **changed: str) -> None:
        action = Action(identity, *(HERE.account, HERE.region), target, "subject", "text", {"a": 1}, self.clock.now())
        with self.transaction() as tx:
            write(tx, replace(action, **{"source_arn": ALARM, **changed}))

    def tell(self, tx: Transaction, action: Action, outcome: Outcome) -> None:
        assert action.attributes == {"a": 1}
        self.told.append((action.id, outcome))
        tx.insert(HERE, "told", f"{action.id}-{len(self.told)}", {})

    def broken(self, tx: Transaction, _action: Action) -> Outcome:
        tx.insert(HERE, "half-done", "x", {})
        if self.defect is not None:
            raise self.defect
        return Outcome(True)

    def step(self) -> float:
        return asyncio.run(self.deliveries.step())

    def waiting(self) -> list[str]:
        found = self.store.due(records.QUEUE, records.topic_arn(HERE, SUBSCRIPTION), self.clock.now(), 10)
        return [entry.body["Message"] for entry in found]

    def failed(self) -> list[str]:
        return [each.document["Reason"] for each in self.store.list(HERE, FAILED).items]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store(tmp_path / "kedge.db")
    yield World(store)
    store.close()


def test_an_action_on_a_topic_is_published(world: World) -> None:
    world.ask(TOPIC)
    world.step()
    world.step()
    assert world.waiting() == ["text"]
    ((identity, outcome),) = world.told
    assert (identity, outcome.succeeded) == ("one", True)
    assert outcome.reference
    assert world.failed() == []
    assert world.store.due(QUEUE, QUEUE, world.clock.now(), 10) == []


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nonsense", "is not an ARN"),
        ("arn:aws:lambda:us-east-1:000000000000:function:f", "Nothing here carries out arn:aws:lambda"),
        (
            "arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:x",
            "There is no scaling policy arn:aws:autoscaling",
        ),
        (TOPIC + "x", "Topic does not exist"),
        ("arn:aws:sns:us-east-1::alerts", "Invalid parameter"),
        (f"{TOPIC}:more", "Topic does not exist"),
    ],
)
def test_what_cannot_be_done_is_kept_and_told(world: World, target: str, told: str) -> None:
    world.ask(target)
    world.step()
    (reason,) = world.failed()
    assert told in reason
    assert world.told == [("one", Outcome(False, reason))]
    assert world.waiting() == []
    world.ask(target, "again")
    world.step()
    (kept,) = world.store.list(HERE, FAILED).items
    assert (kept.document["Count"], kept.document["Action"]["id"]) == (2, "again")


def test_a_message_that_no_topic_takes_is_a_failure(world: World) -> None:
    world.ask(TOPIC, message="")
    world.ask(TOPIC, "two", message="x" * 300_000)
    world.step()
    reasons = [outcome.reason for _, outcome in world.told]
    assert reasons == ["Invalid parameter: Empty message", "Invalid parameter: Message too long"]


def test_a_long_subject_is_cut(world: World) -> None:
    world.ask(TOPIC, subject="ALARM:\n" + "x" * 200)
    world.step()
    (entry,) = world.store.due(records.QUEUE, records.topic_arn(HERE, SUBSCRIPTION), world.clock.now(), 10)
    assert entry.body["Subject"] == "ALARM: " + "x" * 93


def test_policies_of_topics_are_asked(world: World) -> None:
    def set_policy(effect: str, principal: str) -> None:
        with world.transaction() as tx:
            topic = tx.get(HERE, records.TOPIC, "alerts")
            assert topic is not None
            text = (
                f'{{"Statement": {{"Effect": "{effect}", "Principal": {principal}, "Action": "sns:Publish", '
                f'"Resource": "{TOPIC}", "Condition": {{"ArnLike": {{"aws:SourceArn": "{ALARM}"}}}}}}}}'
            )
            tx.update(topic, {**topic.document, "Attributes": {"Policy": text}})

    set_policy("Allow", '{"Service": "cloudwatch.amazonaws.com"}')
    world.ask(TOPIC, "allowed")
    world.ask(TOPIC, "another alarm", source_arn=ALARM + "er")
    world.step()
    assert [outcome.succeeded for _, outcome in world.told] == [True, False]
    set_policy("Allow", '{"Service": "events.amazonaws.com"}')
    world.ask(TOPIC, "another service")
    world.step()
    set_policy("Deny", '"*"')
    world.ask(TOPIC, "denied")
    world.step()
    assert [outcome.succeeded for _, outcome in world.told[2:]] == [False, False]
    assert world.waiting() == ["text"]


def test_another_account_needs_to_be_let_in(world: World) -> None:
    world.ask(TOPIC, account="111111111111")
    world.step()
    assert [outcome.succeeded for _, outcome in world.told] == [False]


def test_a_defect_undoes_what_was_half_done_and_holds_up_nobody(world: World) -> None:
    world.ask("arn:aws:broken:us-east-1:000000000000:x")
    world.ask(TOPIC, "two")
    world.step()
    assert [identity for identity, _ in world.told] == ["two"]
    assert world.store.list(HERE, "half-done").items == []
    world.clock.advance(1)
    world.defect = None
    world.step()
    assert [identity for identity, _ in world.told] == ["two", "one"]


def test_a_defect_that_stays_ends_as_a_failure(world: World) -> None:
    world.ask("arn:aws:broken:us-east-1:000000000000:x")
    for _ in range(MOST_ATTEMPTS):
        world.step()
        world.clock.advance(1000)
    assert world.failed() == [f"{MOST_ATTEMPTS} attempts failed: an internal failure; the log has it"]
    assert len(world.told) == 1
    world.clock.advance(KEEP_FAILED.total_seconds())
    assert prune_failed(world.store, world.clock.now()) == 1
    assert world.failed() == []


def test_without_the_lease_nothing_is_done(world: World) -> None:
    world.ask(TOPIC)
    other = Lease(world.store, "deliveries", "other", world.clock, ttl_s=10)
    world.lease.release()
    assert other.hold()
    world.step()
    assert world.told == []


def test_it_says_when_it_is_due_again(world: World) -> None:
    assert world.step() == REST_S
    world.ask("arn:aws:broken:us-east-1:000000000000:x")
    assert world.step() == 1.0
