"""Delivers what waits for subscribers, and forgets subscriptions that nobody has confirmed.

Each subscription is served by one task at a time, which sends one message after another: so messages arrive in the
order in which they were published, except one that has to be tried again. A subscription whose last attempt failed
waits for a place among its like, and one that has not answered for a second gives its place up to those that do: so a
dead or slow subscriber delays no other. Only more than MOST_TOGETHER that fall silent in the same seconds do, for as
long as an attempt may take. A message leaves its queue after the subscriber has taken it: a crash in between sends it
again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kedge.clock import Clock
from kedge.loop import REST_S, Signal, rest_s
from kedge.store.lease import Lease
from kedge.store.store import Author, Entry, LeaseLost, Resource, Store
from kedge.topics import delivery_policy, message, records
from kedge.topics.delivery_policy import DeliveryPolicy
from kedge.topics.outgoing import Answer, Outgoing
from kedge.topics.signing import Signer

MOST_QUICK = 128
"""Subscriptions that are served at one time and answer."""
MOST_FAILING = 128
"""Those whose last attempt failed."""
MOST_TOGETHER = 512
"""All of them, with those that have not answered yet: each holds a connection."""
MOST_QUEUES = 100_000
"""Looked at together."""
SLOW_S = 1.0
"""After this long without an answer a subscription no longer counts as quick."""
TOGETHER = 10
"""Messages of a queue that are read at once."""
TURN = 100
"""Messages of one subscription after which another gets its place."""
EXPIRY_PERIOD_S = 600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parcel:
    """A message, ready to be sent."""

    entry: Entry
    url: str
    headers: dict[str, str]
    body: bytes
    policy: DeliveryPolicy


class Courier:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease: Lease,
        signer: Signer,
        outgoing: Outgoing,
        wake: Signal,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """lease: what the node has to hold to deliver. wake: wakes whoever calls `step`. draw: 0 to 1, for jitter."""
        self._store, self._clock, self._lease = store, clock, lease
        self._signer, self._outgoing = signer, outgoing
        self._wake = wake
        self._draw = draw
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._began_s: dict[str, float] = {}
        """When the attempt began that is under way."""
        self._failing: set[str] = set()
        """Subscriptions whose last attempt failed. Forgotten at a restart, which costs each of them one attempt."""
        self.server = ""
        """The URL of this server in messages."""

    async def step(self) -> float:
        """See that every subscription with something due is served. Returns when the next one is due."""
        if self._lease.held is None:
            return REST_S
        now = self._clock.now()
        due, following = await asyncio.to_thread(self._look, now)
        quick, failing = self._places()
        waits = False
        for queue in due:
            if queue in self._serving:
                continue
            if queue in self._failing:
                has_place, failing = failing > 0, failing - 1
            else:
                has_place, quick = quick > 0, quick - 1
            if has_place:
                task = asyncio.create_task(self._serve(queue), name=queue)
                self._serving[queue] = task
                task.add_done_callback(self._served)
            waits = waits or not has_place
        rest = SLOW_S if waits else rest_s(self._store)
        return rest if following is None else min(rest, max(0.0, (following - now).total_seconds()))

    def _look(self, now: datetime) -> tuple[Sequence[str], datetime | None]:
        """(queues in which something is due, when the next entry is)."""
        return self._store.due_queues(records.QUEUE, now, MOST_QUEUES), self._store.next_due(records.QUEUE, now)

    async def close(self) -> None:
        """What is on its way is broken off; it will be sent again."""
        tasks = list(self._serving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _places(self) -> tuple[int, int]:
        """(for subscriptions that answer, for those whose last attempt failed): how many more can be served."""
        now_s = self._clock.monotonic_s()
        slow = {queue for queue, began_s in self._began_s.items() if now_s - began_s > SLOW_S}
        failing = sum(queue in self._failing for queue in self._serving)
        quick = sum(queue not in self._failing and queue not in slow for queue in self._serving)
        return min(MOST_QUICK - quick, MOST_TOGETHER - len(self._serving)), MOST_FAILING - failing

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.pop(task.get_name(), None)
        self._began_s.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: delivery failed", task.get_name(), exc_info=error)
            self._failing.add(task.get_name())
            return  # the next step comes by itself, not at once
        self._wake.notify()

    async def _serve(self, queue: str) -> None:
        """Until nothing is due, an attempt fails, or its turn is over."""
        try:
            await self._send_some(queue)
        except LeaseLost as lost:
            log.info("%s; whoever has it now delivers", lost)

    async def _send_some(self, queue: str) -> None:
        left = TURN
        while left > 0:
            parcels = await asyncio.to_thread(self._pack, queue)
            if not parcels:
                self._failing.discard(queue)  # the last attempt did not fail, or the subscription is gone
                return
            for parcel in parcels:
                left -= 1
                self._began_s[queue] = self._clock.monotonic_s()
                answer = await self._outgoing.post(parcel.url, parcel.headers, parcel.body)
                await asyncio.to_thread(self._settle, parcel, answer)
                if not answer.delivered:
                    self._failing.add(queue)
                    return
                self._failing.discard(queue)
                if parcel.policy.receives_per_s is not None:
                    await self._clock.sleep(1 / parcel.policy.receives_per_s)

    def _pack(self, queue: str) -> list[Parcel]:
        """The oldest messages that are due. What waits for nobody any more is thrown away."""
        entries = self._store.due(records.QUEUE, queue, self._clock.now(), TOGETHER)
        if not entries:
            return []
        scope, topic_name, identity = records.parse_arn(queue, "SubscriptionArn")
        subscription = self._store.get(scope, records.SUBSCRIPTION, f"{topic_name}:{identity}")
        topic = self._store.get(scope, records.TOPIC, topic_name)
        if subscription is None or topic is None:
            with self._store.transaction(self._author(), lease=self._lease.guard()) as tx:
                tx.empty(records.QUEUE, queue)
            return []
        return [self._parcel(entry, topic, subscription) for entry in entries]

    def _parcel(self, entry: Entry, topic: Resource, subscription: Resource) -> Parcel:
        given, of_topic = subscription.document["Attributes"], topic.document["Attributes"]
        topic_arn, own_arn = records.topic_arn(topic.scope, topic.name), records.subscription_arn(subscription)
        policy = delivery_policy.effective(of_topic.get("DeliveryPolicy"), given.get("DeliveryPolicy"))
        body = message.envelope(entry.body, topic_arn, own_arn, self.server)
        raw = given.get("RawMessageDelivery") == "true" and body["Type"] == message.NOTIFICATION
        headers = message.headers(body, own_arn, policy.content_type, raw=raw)
        if raw:
            content = body["Message"].encode(errors="replace")
        else:
            content = json.dumps(self._signed(body, of_topic.get("SignatureVersion", "1")), indent=2).encode()
        return Parcel(entry, subscription.document["Endpoint"], headers, content, policy)

    def _signed(self, body: dict[str, Any], version: str) -> dict[str, Any]:
        signature: dict[str, Any] = {
            "SignatureVersion": version,
            "Signature": self._signer.sign(message.to_sign(body), version),
            "SigningCertURL": f"{self.server}{self._signer.path}",
        }
        last = ("UnsubscribeURL", "MessageAttributes")
        ordered = {name: value for name, value in body.items() if name not in last} | signature
        return ordered | {name: body[name] for name in last if name in body}

    def _settle(self, parcel: Parcel, answer: Answer) -> None:
        entry, now = parcel.entry, self._clock.now()
        delay_s = parcel.policy.delay_s(entry.attempts, self._draw()) if answer.retryable else None
        with self._store.transaction(self._author(), lease=self._lease.guard()) as tx:
            if not answer.delivered and delay_s is not None:
                tx.postpone(entry, now + timedelta(seconds=delay_s))
            else:
                tx.forget(entry)
        if not answer.delivered:
            following = "given up" if delay_s is None else f"tried again in {delay_s:.1f} s"
            log.warning(
                "%s: message %s not delivered (%s); %s", entry.queue, entry.body["MessageId"], answer.reason, following
            )

    def _author(self) -> Author:
        return Author("sns.amazonaws.com", "", self._clock.now())


def expire(store: Store, now: datetime) -> int:
    """Forget subscriptions that nobody has confirmed, or restored, in time. Returns how many went."""
    count = 0
    for found in store.list(None, records.SUBSCRIPTION).items:
        if not records.is_expired(found.document, now):
            continue
        with store.transaction(Author("sns.amazonaws.com", "", now)) as tx:
            current = tx.get(found.scope, records.SUBSCRIPTION, found.name)
            if current is not None and records.is_expired(current.document, now):
                tx.empty(records.QUEUE, records.subscription_arn(current))
                tx.delete(current)
                count += 1
    return count
