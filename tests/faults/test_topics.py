"""What Publish has acknowledged arrives, whatever is killed before it does."""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from kedge.arn import Arn
from kedge.events.delivery import FAILED
from kedge.events.records import Action, write
from kedge.store.store import Author, Scope, Store
from tests.topics.subscriber import Subscriber

from .conftest import Server, until

OFTEN = {"healthyRetryPolicy": {"numRetries": 100, "minDelayTarget": 1, "maxDelayTarget": 1}}


def subscribed(server: Server, subscriber: Subscriber) -> str:
    """The ARN of a topic that it has confirmed its subscription to."""
    sns = server.client("sns")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    attributes = {"DeliveryPolicy": json.dumps(OFTEN)}
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=subscriber.url, Attributes=attributes)
    subscriber.confirm()
    return str(topic)


def messages(subscriber: Subscriber) -> set[str]:
    return {each["MessageId"] for each in subscriber.of("Notification")}


def test_a_message_outlives_control_and_then_everything(server):
    with Subscriber() as subscriber:
        topic = subscribed(server, subscriber)
        subscriber.answer = lambda _: 503
        sns = server.client("sns")
        first = sns.publish(TopicArn=topic, Message="before control dies")["MessageId"]
        before = server.kill("control")
        until(lambda: set(server.pids("control")) - set(before), what="a new control process")
        second = until(
            lambda: _published(server.client("sns"), topic, "before everything dies"), what="the next publish"
        )
        server.kill_everything()
        subscriber.received.clear()
        subscriber.answer = lambda _: 200
        server.up()
        until(lambda: messages(subscriber) == {first, second}, 30, what="both messages")
        key = (server.data / "topics" / "signing.key").read_bytes()
        sns = server.client("sns")
        third = sns.publish(TopicArn=topic, Message="after it all")["MessageId"]
        until(lambda: third in messages(subscriber), what="the last message")
        assert (server.data / "topics" / "signing.key").read_bytes() == key


def test_an_action_that_was_written_before_everything_died_is_carried_out(server):
    with Subscriber() as subscriber:
        topic = subscribed(server, subscriber)
        server.kill_everything()
        scope, now = Scope(server.ready["account"], server.ready["region"]), datetime.now(UTC)
        alarm = str(Arn("cloudwatch", scope.region, scope.account, "alarm:high"))
        store = Store(server.data / "kedge.db")
        with store.transaction(Author(alarm, "", now)) as tx:
            for number, target in enumerate((topic, topic + "-gone")):
                write(tx, Action(f"a{number}", scope.account, scope.region, target, "S", "text", {}, now, alarm))
        store.close()
        server.up()
        (message,) = subscriber.notified(1)
        assert (message["Subject"], message["Message"], message["TopicArn"]) == ("S", "text", topic)
        until(lambda: _failed(server, scope) == [f"Topic does not exist: {topic}-gone"], what="the failed action")
        assert len(subscriber.of("Notification")) == 1


def test_nothing_acknowledged_is_lost_while_control_is_killed(server):
    with Subscriber() as subscriber:
        topic = subscribed(server, subscriber)
        acknowledged: list[str] = []
        end = threading.Event()

        def publish_on() -> None:
            sns = server.client("sns")
            while not end.is_set():
                with contextlib.suppress(ClientError, BotoCoreError):
                    acknowledged.append(sns.publish(TopicArn=topic, Message=str(len(acknowledged)))["MessageId"])

        publisher = threading.Thread(target=publish_on)
        publisher.start()
        try:
            for round_number in range(5):
                seen, before = len(acknowledged), server.kill("control")
                until(lambda before=before: set(server.pids("control")) - set(before), what="a new control process")
                until(lambda seen=seen: len(acknowledged) > seen + 20, 30, what=f"work after kill {round_number}")
        finally:
            end.set()
            publisher.join()
        until(lambda: set(acknowledged) <= messages(subscriber), 60, what="every message")
        assert len(acknowledged) > 100


def _failed(server: Server, scope: Scope) -> list[str]:
    store = Store(server.data / "kedge.db")
    try:
        return [each.document["Reason"] for each in store.list(scope, FAILED).items]
    finally:
        store.close()


def _published(sns: Any, topic: str, text: str) -> str:
    with contextlib.suppress(ClientError, BotoCoreError):
        return str(sns.publish(TopicArn=topic, Message=text)["MessageId"])
    return ""
