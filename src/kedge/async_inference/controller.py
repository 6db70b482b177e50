"""Carries out what waits in the queues of asynchronous endpoints, on instances that have room for it.

The queue is the store's; in memory is only what is being carried out. An invocation leaves the queue in the transaction
that tells of its end, so it is there until its result is. After a kill it begins anew, unless its output is found.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random

from kedge import arn
from kedge.async_inference import config, metrics, notices
from kedge.async_inference.capturing import Capturing
from kedge.async_inference.execution import Execution
from kedge.async_inference.records import QUEUE, Failed, Item, Outcome, Times
from kedge.async_inference.turns import MOST_LOSSES, Place, Verdict, after_loss, is_refusal, next_place
from kedge.clock import Clock
from kedge.compute.base import Engine, TaskState, TaskStatus
from kedge.endpoints.mixing import mixed, serving
from kedge.endpoints.records import KIND, Endpoint, Fleet, Status, member_id
from kedge.errors import ServiceError
from kedge.events.records import Action
from kedge.logs import names
from kedge.logs.platform import PlatformLog
from kedge.loop import Lease, Signal, rest_s, with_lease
from kedge.metrics.series import Datum
from kedge.metrics.store import MetricStore
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from kedge.serving.direct import Lost, Refused, Unheard
from kedge.serving.meter import VariantPlace
from kedge.store.records import Author, Entry, LeaseLost, Resource, Scope
from kedge.store.store import Store
from kedge.topics import publishing

WAIT_S = 0.5
"""When to look again while something waits for an instance."""
SHUN_S = 0.5
"""How long an instance that would take nothing is left alone."""
RETRY_S = 1.0
TELL_S = 10.0
"""How often backlogs are told as metrics."""
ENDED_AT_ONCE = 32
"""Invocations that end together because their endpoint is gone, or their time is over."""
DELETED = "The endpoint was deleted before the invocation was carried out."

log = logging.getLogger(__name__)


@dataclass
class _Running:
    entry: Entry
    place: Place | None
    """None for one that only ends."""
    doom: str = ""
    """Why it is to end, given from outside."""
    work: asyncio.Task[Outcome] | None = None
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class _Queue:
    """An endpoint with asynchronous inference."""

    resource: Resource
    endpoint: Endpoint
    fleet: Fleet
    """Whose config counts: the old one's, while a new one comes."""
    concurrency: int
    instances: Mapping[str, tuple[str, str, float]] = field(default_factory=dict)
    """By id: its variant, the part of it, and the part's weight."""


class Dispatcher:
    def __init__(
        self,
        store: Store,
        objects: Objects,
        metric_store: MetricStore,
        platform_log: PlatformLog,
        engine: Engine,
        clock: Clock,
        lease: Lease,
        wake: Signal,
        random: Random,
        capturing: Capturing,
        want: Callable[[VariantPlace], None] = lambda _: None,
    ) -> None:
        """wake: notified when something was put into a queue, and when an endpoint has changed. want: told of a variant
        that has no instance for what waits."""
        self._want, self._capturing = want, capturing
        self._store, self._objects, self._metrics, self._log = store, objects, metric_store, platform_log
        self._engine, self._clock, self._lease, self._wake, self._random = engine, clock, lease, wake, random
        self._running: dict[int, _Running] = {}
        """By number of the entry."""
        self._shunned: dict[str, float] = {}
        """Instances that would take nothing, until when."""
        self._queues: dict[str, _Queue] = {}
        """By uid, as of the last pass."""
        self._gone: set[str] = set()
        """Queues whose endpoints are gone, as long as something may be in them."""
        self._swept_at_s = 0.0
        self._told_minute = 0
        self._ended: set[VariantPlace] = set()
        """Variants of which an invocation has ended since the last full minute."""

    def busy(self) -> frozenset[str]:
        """Instances that have invocations."""
        return frozenset(each.place.instance for each in self._running.values() if each.place is not None)

    async def close(self) -> None:
        """What is being carried out is carried out anew by the next process."""
        tasks = [each.task for each in self._running.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def step(self) -> float | None:
        """Begin whatever can be begun. Returns after how many seconds to look again."""
        return await with_lease(self._lease, self._pass)

    async def _pass(self, _held: tuple[str, int]) -> float | None:
        now = self._clock.now()
        resources, late = await asyncio.to_thread(self._load, now)
        before, self._queues = self._queues, _queues(resources)
        for entry in late:
            age_s = (now - entry.at).total_seconds()
            reason = f"The invocation has waited for {age_s:.0f} s, which is longer than it may."
            self._end(entry, Failed(reason, "ExpiredRequests"))
        alive = {uid for uid, each in self._queues.items() if Status(each.resource.status) is not Status.DELETING}
        for running in self._running.values():
            if running.entry.queue not in alive and running.work is not None and not running.doom:
                running.doom = DELETED
                running.work.cancel()
        self._gone |= (before.keys() | self._queues.keys()) - alive
        if self._clock.monotonic_s() >= self._swept_at_s:
            self._swept_at_s = self._clock.monotonic_s() + TELL_S
            backlogs = await asyncio.to_thread(self._store.backlogs, QUEUE)
            self._gone |= backlogs.keys() - alive
        observed = await self._engine.observe() if alive else ()
        ready = {task.id: task for task in observed if task.state is TaskState.READY}
        waits = False
        for uid in list(self._gone):
            if await self._end_all(uid, now):
                waits = True
            else:
                self._gone.discard(uid)
        for uid in alive:
            waits |= await self._begin(self._queues[uid], ready, now)
        return WAIT_S if waits or late else rest_s(self._store)

    def _load(self, now: datetime) -> tuple[list[Resource], list[Entry]]:
        late = self._store.overdue(QUEUE, now, ENDED_AT_ONCE)
        return self._store.list(None, KIND).items, [each for each in late if each.number not in self._running]

    async def _begin(self, queue: _Queue, ready: Mapping[str, TaskStatus], now: datetime) -> bool:
        """True when something may wait for room."""
        uid = queue.endpoint.uid
        places = self._places(queue, ready)
        free = sum(place.room for place in places)
        mine = [number for number, each in self._running.items() if each.entry.queue == uid]
        if not free and mine:
            return False  # whichever ends first has this called again
        found = await asyncio.to_thread(self._store.due, QUEUE, uid, now, free + len(mine) if free else 1)
        for entry in found:
            if entry.number in self._running or (entry.expires_at is not None and entry.expires_at <= now):
                continue
            place = next_place(places, self._random.random())
            if place is None:
                if not queue.instances and (variant := _heaviest(queue)) is not None:
                    self._want(variant)
                return True
            taken = replace(place, room=place.room - 1, busy=place.busy + 1)
            places = [taken if each is place else each for each in places]
            self._start(_Running(entry, place))
        return False

    def _places(self, queue: _Queue, ready: Mapping[str, TaskStatus]) -> list[Place]:
        now_s = self._clock.monotonic_s()
        self._shunned = {id_: until_s for id_, until_s in self._shunned.items() if until_s > now_s}
        busy = Counter(each.place.instance for each in self._running.values() if each.place is not None)
        return [
            Place(variant, weight, id_, ready[id_].socket, max(0, queue.concurrency - busy[id_]), busy[id_], part)
            for id_, (variant, part, weight) in queue.instances.items()
            if id_ in ready and id_ not in self._shunned
        ]

    async def _end_all(self, uid: str, now: datetime) -> bool:
        """True when there is more to end."""
        ending = sum(each.entry.queue == uid for each in self._running.values())
        found: Sequence[Entry] = await asyncio.to_thread(self._store.due, QUEUE, uid, now, ENDED_AT_ONCE + ending)
        for entry in found:
            if entry.number not in self._running and len(self._running) < 10 * ENDED_AT_ONCE:
                self._end(entry, Failed(DELETED))
        return bool(found)

    def _end(self, entry: Entry, outcome: Failed) -> None:
        """Without having been carried out."""
        if entry.number in self._running:
            return
        running = _Running(entry, None)
        self._running[entry.number] = running
        running.task = asyncio.create_task(self._until_ended(running, Item.of(entry.body), outcome))

    def _start(self, running: _Running) -> None:
        self._running[running.entry.number] = running
        running.task = asyncio.create_task(self._carry_out(running), name=f"invocation {running.entry.payload}")

    async def _carry_out(self, running: _Running) -> None:
        entry, place, item = running.entry, running.place, Item.of(running.entry.body)
        assert place is not None
        begun_at = self._clock.now()
        execution = Execution(AccountObjects(self._objects, item.account), item, place, entry.payload)
        if (queue := self._queues.get(entry.queue)) is not None:
            execution.kept = self._capturing.kept(queue.resource.scope, queue.endpoint, queue.fleet, place.variant)
        try:
            running.work = asyncio.create_task(execution.run())
            try:
                outcome = await running.work
            except asyncio.CancelledError:
                if not running.doom:
                    running.work.cancel()
                    raise
                outcome = Failed(running.doom)
            except (Lost, Refused) as error:
                if (given_up := await self._put_back(entry, place, error)) is None:
                    return
                outcome = given_up
            except Exception:
                log.exception("invocation %s of endpoint %s failed", item.inference_id, item.endpoint)
                outcome = Failed("An internal failure; the server's log has it.")
            took = execution.took
            times = Times(
                entry.at,
                begun_at,
                self._clock.now(),
                took.download_s * 1e6,
                took.upload_s * 1e6,
                took.model_s * 1e6,
            )
            if execution.kept is not None:
                execution.kept.ended(item, outcome, entry.payload.rpartition("/")[2])
            await self._tell_of_end(running, item, outcome, times)
        finally:
            self._running.pop(entry.number, None)
            self._wake.notify()

    async def _until_ended(self, running: _Running, item: Item, outcome: Outcome) -> None:
        try:
            await self._tell_of_end(running, item, outcome, Times(running.entry.at))
        finally:
            self._running.pop(running.entry.number, None)
            self._wake.notify()

    async def _put_back(self, entry: Entry, place: Place, error: Lost | Refused) -> Failed | None:
        """None when it is to be tried again."""
        self._shunned[place.instance] = self._clock.monotonic_s() + SHUN_S
        if isinstance(error, Unheard) or (isinstance(error, Refused) and is_refusal(error.head)):
            return None
        if after_loss(entry.attempts + 1) is Verdict.GIVE_UP:
            return Failed(
                f"{MOST_LOSSES} instances in turn ended while they had this invocation; it is not tried again. The "
                f"last one was {place.instance}: {error}."
            )
        log.warning("invocation %s is tried again: %s", entry.payload, error)
        try:
            await asyncio.to_thread(self._postpone, entry)
        except (ServiceError, LeaseLost) as failure:
            log.warning("invocation %s: %s", entry.payload, failure)
        return None

    def _postpone(self, entry: Entry) -> None:
        now = self._clock.now()
        with self._store.transaction(self._author(now), lease=self._lease.held) as tx:
            tx.postpone(entry, now)

    async def _tell_of_end(self, running: _Running, item: Item, outcome: Outcome, times: Times) -> None:
        """The failure's object, then the end of the entry with its notification, then metrics and the log."""
        if isinstance(outcome, Failed) and item.failure:
            await self._write_failure(item, outcome)
        while True:
            try:
                told = await asyncio.to_thread(self._forget, running.entry, item, outcome, times)
                break
            except LeaseLost as lost:
                log.info("invocation %s: %s; who has it now carries it out", item.inference_id, lost)
                return
            except ServiceError as error:
                log.warning("invocation %s cannot end: %s; next try in %g s", item.inference_id, error, RETRY_S)
                await self._clock.sleep(RETRY_S)
        variant, instance = (running.place.variant, running.place.instance) if running.place else (None, None)
        place = VariantPlace(item.account, item.region, item.endpoint, variant or self._any_variant(item))
        if place.variant:
            self._ended.add(place)
            await self._measure(metrics.of_invocation(place, outcome, times, self._clock.now(), told=told))
        if isinstance(outcome, Failed):
            log.info("invocation %s of endpoint %s failed: %s", item.inference_id, item.endpoint, outcome.reason)
        if instance is not None:
            said = outcome.reason if isinstance(outcome, Failed) else f"Completed: {item.output}"
            await self._write_log(item, names.data_log_stream(place.variant, instance), said)

    async def _write_failure(self, item: Item, outcome: Failed) -> None:
        objects = AccountObjects(self._objects, item.account)
        kind = outcome.content_type or "text/plain"
        try:
            await objects.put(item.failure, outcome.reason.encode(), kind, kms_key=item.kms_key)
        except (ServiceError, OSError, sqlite3.Error) as error:
            log.warning("the failure of invocation %s cannot be written: %s", item.inference_id, error)

    def _forget(self, entry: Entry, item: Item, outcome: Outcome, times: Times) -> bool:
        """False when somebody wanted to be notified and cannot be. Blocks."""
        now, topic = self._clock.now(), notices.topic_of(item, outcome)
        held = self._lease.held
        if held is None:
            raise LeaseLost("the lease ran out while an invocation was carried out")
        with self._store.transaction(self._author(now), lease=held) as tx:
            tx.forget(entry)
            if not topic:
                return True
            action = Action(
                id=entry.payload,
                account=item.account,
                region=item.region,
                target_arn=topic,
                subject="",
                message=notices.message(item, outcome, times, now),
                at=now,
                source_arn=arn.sagemaker(item.region, item.account, "endpoint", item.endpoint),
            )
            published = publishing.carry_out(tx, action)
        if not published.succeeded:
            log.warning("nobody is told of invocation %s: %s", item.inference_id, published.reason)
        return published.succeeded

    async def tell_backlogs(self) -> float:
        """Metrics of every queue, and zeros of the variants that had nothing to do."""
        if self._lease.held is None or not self._queues:
            return TELL_S
        now = self._clock.now()
        backlogs = await asyncio.to_thread(self._store.backlogs, QUEUE)
        ready = {task.id for task in await self._engine.observe() if task.state is TaskState.READY}
        minute = int(now.timestamp() // 60) * 60
        ended, is_new = self._ended, minute > self._told_minute > 0
        if minute > self._told_minute:
            self._told_minute, self._ended = minute, set()
        data: list[Datum] = []
        for uid, queue in self._queues.items():
            scope, name = queue.resource.scope, queue.endpoint.name
            instances = sum(id_ in ready for id_ in queue.instances)
            backlog = backlogs.get(uid)
            data += metrics.of_backlog(scope.account, scope.region, name, backlog, instances, now)
            if is_new:
                for place in _variants(queue) - ended:
                    data += metrics.idle(place, minute - 60)
        data += self._capturing.counted(now)
        scopes = ((each.resource.scope, each.endpoint.name) for each in self._queues.values())
        self._capturing.forget_others({(scope.account, scope.region, name) for scope, name in scopes})
        await self._measure(data)
        return TELL_S

    async def _measure(self, data: Iterable[Datum]) -> None:
        found = list(data)
        if not found:
            return
        try:
            await self._metrics.put_with_others(found)
        except (ServiceError, sqlite3.Error) as error:
            log.warning("metrics of asynchronous invocations are lost: %s", error)

    async def _write_log(self, item: Item, stream: str, said: str) -> None:
        scope, group = Scope(item.account, item.region), names.endpoint_group(item.endpoint)
        line = f"[sagemaker logs] [{item.inference_id}] {said}"
        try:
            await asyncio.to_thread(self._log.write, scope, group, stream, [line])
        except (ServiceError, sqlite3.Error) as error:
            log.warning("a line of %s is lost: %s", stream, error)

    def _any_variant(self, item: Item) -> str:
        """For metrics of an invocation that no variant had: the endpoint's first."""
        queue = self._queues.get(item.uid)
        return min((each.variant for each in _variants(queue)), default="") if queue is not None else ""

    def _author(self, now: datetime) -> Author:
        return Author("kedge:async-inference", "", now)


def _queues(resources: Collection[Resource]) -> dict[str, _Queue]:
    found = {}
    for resource in resources:
        endpoint = Endpoint.of(resource.document)
        fleets = serving(endpoint)
        given = fleets[0].echo.get(config.MEMBER) if fleets else None
        if given is not None:
            instances = dict(_instances(endpoint))
            found[endpoint.uid] = _Queue(resource, endpoint, fleets[0], config.concurrency_of(given), instances)
    return found


def _instances(endpoint: Endpoint) -> Iterator[tuple[str, tuple[str, str, float]]]:
    """As routers see them: those that are being added once they count, none that is being taken away."""
    for each in mixed(endpoint):
        sides = [("old", each.parts, 1 - each.share), ("new", (each.new,) if each.new else (), each.share)]
        for side, parts, share in sides:
            for fleet, variant in parts:
                for at in range(min(variant.current_count, variant.desired_count)):
                    id_ = member_id(endpoint.uid, fleet.number, variant, at)
                    yield id_, (each.name, side, float(each.weight * share))


def _heaviest(queue: _Queue) -> VariantPlace | None:
    """The variant that gets most of what is invoked."""
    live, scope = queue.endpoint.live, queue.resource.scope
    if live is None:
        return None
    found = max(live.variants, key=lambda variant: variant.desired_weight)
    return VariantPlace(scope.account, scope.region, queue.endpoint.name, found.name)


def _variants(queue: _Queue) -> set[VariantPlace]:
    scope, endpoint = queue.resource.scope, queue.endpoint
    return {VariantPlace(scope.account, scope.region, endpoint.name, each.name) for each in mixed(endpoint)}
