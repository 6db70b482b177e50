"""Brings about what endpoint records want: load, decide (deployment.plan), apply. Remembers nothing that matters.

What it keeps in memory is pace (when to try again) and downloads under way (preparing.py); both are found again from
the store, the engine and the cache after a restart. The state of an endpoint is written last, when all that it says is
so.

Of several nodes with one store only the holder of the lease drives endpoints, and every write of a pass is guarded by
the token that the pass began with. Routing tables need no lease: each node hands them to its own routers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from kedge import arn
from kedge.clock import Clock
from kedge.compute.base import Engine, TaskState, TaskStatus
from kedge.config import Settings
from kedge.endpoints import deployment as steps
from kedge.endpoints import past, shifting
from kedge.endpoints.deployment import UID, Observed, Placing, plan, strays
from kedge.endpoints.events import announce, announce_deployment
from kedge.endpoints.fleets import check_fits
from kedge.endpoints.guards import ringing_for
from kedge.endpoints.others import Others
from kedge.endpoints.preparing import Preparation
from kedge.endpoints.publisher import Publisher, Push
from kedge.endpoints.records import COMPONENT, KIND, Endpoint, Member, Status, Variant
from kedge.endpoints.room import taken
from kedge.endpoints.served import Served
from kedge.endpoints.supply import Supply
from kedge.endpoints.tasks import ARTIFACTS, spec
from kedge.endpoints.trying import Trials
from kedge.endpoints.zones import Zones, moved
from kedge.endpoints.zoning import zones_of
from kedge.errors import ConcurrentChange, ResourceLimitExceeded, ServiceError
from kedge.home import Home
from kedge.identity.principals import Directory
from kedge.identity.records import AccessKey
from kedge.inference_components import placing
from kedge.inference_components.managing import Managing
from kedge.loop import REST_S, Signal, run, with_lease
from kedge.objects.files import Objects
from kedge.store.lease import Lease
from kedge.store.store import Author, LeaseLost, Resource, Store
from kedge.tags.attach import detach

PERIOD_S = 1.0
"""How long a pass waits at the most for what happens without a sign, while something is under way."""
RETRY_S = 30.0
"""After this long what failed outside of a deployment is tried again."""
COLLECT_S = 600.0
"""How often the cache is looked through for model data that nothing uses."""

log = logging.getLogger(__name__)


class Controller:
    def __init__(
        self,
        store: Store,
        engine: Engine,
        objects: Objects,
        push: Push,
        settings: Settings,
        home: Home,
        clock: Clock,
        changed: Signal,
        keys: Callable[[], Iterable[AccessKey]],
        lease: Lease,
        directory: Callable[[], Directory] = Directory,
        others: Others | None = None,
    ) -> None:
        """changed: notified after every commit of `store`. keys: the access keys that routers have to know.

        directory: what their owners may do. lease: what the node has to hold to drive endpoints.
        """
        self._others = others or Others()
        self._store, self._engine = store, engine
        self._settings, self._home, self._clock, self._changed = settings, home, clock, changed
        self._lease = lease
        lease.on_taken(changed.notify)
        self.publisher = Publisher(store, push, settings, home, clock, changed, keys, directory)
        self._not_before_s: dict[str, float] = {}
        """Endpoints (by uid) of which something failed that is to be tried again."""
        self._failed_since_s: dict[str, float] = {}
        self._collect_at_s = 0.0
        self._preparation = Preparation(store, objects, home, clock, self._hold, durable=not settings.ephemeral)
        self.trials = Trials(store, objects, home, clock, self._hold)
        self.supply = Supply(store, home, self._preparation.fetching)
        self.served = Served()
        self._managing = Managing(store, clock, engine.capacity)

    async def run(self) -> None:
        """For ever: endpoints, the routing table, and the engine's news. Cancel it to stop, then `close`."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run("routing", self.publisher.step, self._changed, self._clock))
            group.create_task(run("endpoints", self.step, self._changed, self._clock))
            group.create_task(self._forward_changes())

    async def close(self) -> None:
        """End the downloads. What was half-fetched is fetched again by the next process."""
        await self.trials.close()
        await self._preparation.close()
        await self.supply.close()

    async def step(self) -> float | None:
        """One pass over all endpoints; nothing without the lease."""
        return await with_lease(self._lease, self._pass)

    async def _pass(self, held: tuple[str, int]) -> float | None:
        """An endpoint that fails does not hold up the others. Raises LeaseLost."""
        resources, cached, ringing, zones = await asyncio.to_thread(self._load)
        tasks = {task.id: task for task in await self._engine.observe() if UID in task.labels}
        await self._collect(resources, tasks)
        pending = [(each.document["uid"], each.document["pending"]) for each in resources]
        self.trials.keep({(uid, fleet["number"]) for uid, fleet in pending if fleet})
        routed = self.publisher.routed(tasks) | self._others.busy()
        rested = self._rested(tasks)
        uids = {resource.document["uid"] for resource in resources}
        placings = {}
        if any(resource.kind == COMPONENT or _is_host(resource) for resource in resources):
            placings = await asyncio.to_thread(self._place, resources, tasks, zones, held)
        for stop in strays(tasks, uids, routed):
            await self._engine.stop(stop.task_id)
        for resource in resources:
            uid = resource.document["uid"]
            own = {id_: task for id_, task in tasks.items() if task.labels[UID] == uid}
            struck = any(zones.of_task(task) in zones.off for task in own.values())
            held_off = self._clock.monotonic_s() < self._not_before_s.get(uid, 0.0)
            if held_off and not struck and uid not in ringing and resource.status != Status.DELETING:
                continue
            if self._lease.held != held:  # the engine looks at no token, so look before it is asked for anything
                raise LeaseLost(f'lease "{held[0]}" ran out during a pass')
            serves, now_s = self.publisher.serves(resource), self._clock.now().timestamp()
            alarm, placed = ringing.get(uid, ""), placings.get(uid)
            seen = Observed(own, routed, serves, cached, rested, now_s, alarm, zones, placed)
            try:
                await self._advance(resource, seen, held)
            except ConcurrentChange:
                continue  # whoever changed it has woken the next pass
            except LeaseLost:
                raise
            except Exception:
                log.exception("endpoint %s: a step failed; next try in %.0f s", resource.name, RETRY_S)
                self._hold(uid)
        self._not_before_s = {uid: at for uid, at in self._not_before_s.items() if uid in uids}
        return REST_S if self._is_at_rest(resources) else self._due_s(resources)

    def _hold(self, uid: str) -> None:
        """Leave this endpoint alone for a while: what failed is tried again then."""
        self._not_before_s[uid] = self._clock.monotonic_s() + RETRY_S

    def _due_s(self, resources: Iterable[Resource]) -> float | None:
        """In how many seconds a deployment has baked or taken too long; what is overdue waits for something else."""
        now_s = self._clock.now().timestamp()
        ends_s = [shifting.due_at_s(Endpoint.of(each.document)) for each in resources if each.document.get("shift")]
        return min(
            (end_s - now_s for end_s in ends_s if end_s is not None and now_s < end_s < now_s + PERIOD_S), default=None
        )

    def _is_at_rest(self, resources: Iterable[Resource]) -> bool:
        """Whether nothing is to be done until something happens of which this process hears."""
        waiting = self._store.is_shared or self._preparation.is_busy or self._not_before_s or self._failed_since_s
        return not waiting and not any(Status(resource.status).in_transition for resource in resources)

    async def settle(self) -> None:
        """Wait for the downloads that are under way."""
        await self._preparation.settle()
        await self.supply.settle()

    def _load(self) -> tuple[list[Resource], frozenset[str], dict[str, str], Zones]:
        """(endpoints and inference components, model data in the cache, uid -> what an alarm says against its
        deployment, the zones)."""
        zones = zones_of(self._store, self._settings.zones)
        resources = [*self._store.list(None, KIND).items, *self._store.list(None, COMPONENT).items]
        guarded = [each for each in resources if each.document.get("shift")]
        ringing = {each.document["uid"]: said for each in guarded if (said := ringing_for(self._store, each))}
        with contextlib.suppress(FileNotFoundError):
            return resources, frozenset(entry.name for entry in self._home.artifacts.iterdir()), ringing, zones
        return resources, frozenset(), ringing, zones

    def _place(
        self, resources: Iterable[Resource], tasks: Mapping[str, TaskStatus], zones: Zones, held: tuple[str, int]
    ) -> dict[str, Placing]:
        """Of each inference component where its copies may run, by its uid; hosts get the instances that they need."""
        in_turn = sorted(resources, key=lambda each: each.id)  # who came first finds room first
        components = [_known(each) for each in in_turn if each.kind == COMPONENT]
        hosts = {each.document["uid"]: each for each in resources if _is_host(each)}
        seen = placing.look([_known(each) for each in hosts.values()], components, tasks, zones)
        refused = self._managing.step(hosts, seen.hosts, held)
        return {each.endpoint.uid: seen.placing(each.endpoint.uid, refused) for each in components}

    async def _advance(self, resource: Resource, seen: Observed, held: tuple[str, int]) -> None:
        endpoint, now_s = Endpoint.of(resource.document), seen.now_s
        actions = plan(endpoint, Status(resource.status), seen)
        # A zone goes off with all that is in it: what was asked of one instance should not be asked of the next to die.
        kills = [each.task_id for each in actions if isinstance(each, steps.Stop) and each.at_once]
        await asyncio.gather(*(self._engine.stop(id_, at_once=True) for id_ in kills))
        for action in actions:
            match action:
                case steps.Prepare(number):
                    self._preparation.begin(resource, endpoint, number, held)
                case steps.Start(member, zone, node):
                    await self._start(resource, endpoint, member, zone, node)
                case steps.Stop(task_id, at_once) if not at_once:
                    await self._engine.stop(task_id)
                case steps.StartMove(move):
                    if endpoint.host is not None or await asyncio.to_thread(self._has_room, move.to.variant):
                        await self._start(resource, endpoint, move.to, move.zone, move.node)
                case steps.EndMove(move):
                    await asyncio.to_thread(self._write, held, resource, moved(endpoint, move))
                case steps.Remove():
                    await asyncio.to_thread(self._remove, resource, held)
                case steps.Try():
                    assert endpoint.shift is not None
                    if endpoint.shift.trying_since_s is None:
                        await asyncio.to_thread(self._write, held, resource, shifting.trying(endpoint, now_s))
                    self.trials.begin(resource, endpoint, seen.tasks, held)
                case steps.Step():
                    await asyncio.to_thread(self._write, held, resource, shifting.stepped(endpoint, now_s))
                case steps.Bake():
                    await asyncio.to_thread(self._write, held, resource, shifting.baking(endpoint, now_s))
                case steps.Retire():
                    await asyncio.to_thread(self._write, held, resource, shifting.retired(endpoint, now_s))
                case steps.StepBack():
                    await asyncio.to_thread(self._write, held, resource, shifting.stepped_back(endpoint))
                case steps.Promote():
                    await asyncio.to_thread(self._write, held, resource, endpoint.promoted(now_s))
                case steps.GoInService():
                    # What was taken back may have answered requests in the meantime.
                    settled = replace(endpoint, divided_at_s=now_s) if endpoint.failure_reason else endpoint
                    await asyncio.to_thread(self._write, held, resource, settled, Status.IN_SERVICE)
                case steps.Fail(reason):
                    failed = endpoint.failed(reason)
                    await asyncio.to_thread(self._write, held, resource, failed, Status.FAILED)
                case steps.RollBack(reason):
                    back = shifting.turned_back(endpoint, reason)
                    # An inference component has no such status: it is being updated until it is in service.
                    resized = endpoint.pending is None and endpoint.host is None
                    status = Status.ROLLING_BACK if resized else None
                    await asyncio.to_thread(self._write, held, resource, back, status)
                case steps.StayMixed(reason):
                    stuck, status = shifting.stuck(endpoint, reason), Status.UPDATE_ROLLBACK_FAILED
                    if endpoint.host is not None:  # which has no such status, and goes on with both fleets
                        status = Status.IN_SERVICE
                    await asyncio.to_thread(self._write, held, resource, stuck, status)

    async def _start(self, resource: Resource, endpoint: Endpoint, member: Member, zone: str, node: int | None) -> None:
        await self._engine.start(spec(resource.scope, endpoint, member, zone, self._settings, node))

    def _has_room(self, variant: Variant) -> bool:
        """For one more instance, as long as a move takes."""
        try:
            check_fits([(variant, 1)], taken(self._store), self._engine.capacity())
        except ResourceLimitExceeded:
            return False
        return True

    def _write(
        self, held: tuple[str, int], resource: Resource, endpoint: Endpoint, status: Status | None = None
    ) -> None:
        """Raises ConcurrentChange when the record is not what the plan was made for, LeaseLost."""
        with self._store.transaction(self._author(), lease=held) as tx:
            written = tx.update(resource, endpoint.document(), status)
            if resource.kind != KIND:
                return  # AWS has neither events nor a history of deployments of inference components
            if status is not None:
                announce(tx, written)
            if resource.document.get("shift"):
                announce_deployment(tx, written)
            past.note(tx, resource, endpoint, status)

    def _remove(self, resource: Resource, held: tuple[str, int]) -> None:
        with self._store.transaction(self._author(), lease=held) as tx:
            tx.delete(resource)
            detach(
                tx,
                resource.scope,
                arn.sagemaker(resource.scope.region, resource.scope.account, resource.kind, resource.name),
            )

    async def _collect(self, resources: Iterable[Resource], tasks: Mapping[str, TaskStatus]) -> None:
        """Free the cache of what neither a record nor a task names. Only `step` starts downloads: none starts now."""
        is_fetching = self._preparation.is_busy or self._others.fetching.locked()
        if is_fetching or self._clock.monotonic_s() < self._collect_at_s:
            return
        async with self._others.fetching:
            await self._clear(resources, tasks)

    async def _clear(self, resources: Iterable[Resource], tasks: Mapping[str, TaskStatus]) -> None:
        with self.supply.at_rest() as at_rest:
            if not at_rest:
                return
            self._collect_at_s = self._clock.monotonic_s() + COLLECT_S
            fleets = [f for r in resources for e in (Endpoint.of(r.document),) for f in e.present]
            in_use = {sha256 for fleet in fleets for variant in fleet.variants for sha256 in variant.artifacts}
            in_use |= {each for task in tasks.values() for each in task.labels.get(ARTIFACTS, "").split(",")}
            in_use |= self._others.artifacts()
            await self._preparation.collect(in_use)

    def _rested(self, tasks: Mapping[str, TaskStatus]) -> frozenset[str]:
        now_s = self._clock.monotonic_s()
        failed = {id_ for id_, task in tasks.items() if task.state is TaskState.FAILED}
        self._failed_since_s = {id_: self._failed_since_s.get(id_, now_s) for id_ in failed}
        return frozenset(id_ for id_, since_s in self._failed_since_s.items() if now_s - since_s >= RETRY_S)

    async def _forward_changes(self) -> None:
        """Whatever happens to an instance wakes the loops."""
        while True:
            with contextlib.suppress(ServiceError, OSError):
                async for status in self._engine.changes():
                    self.supply.heard(status)
                    self.served.heard(status)
                    self._changed.notify()
            await self._clock.sleep(1.0)

    def _author(self) -> Author:
        return Author("kedge:endpoints", "", self._clock.now())


def _known(resource: Resource) -> placing.Known:
    return placing.Known(Endpoint.of(resource.document), Status(resource.status))


def _is_host(resource: Resource) -> bool:
    """Whether inference components may run on it, now or soon."""
    fleets = (resource.document.get("live"), resource.document.get("pending"))
    return any(variant.get("is_room", False) for fleet in fleets if fleet for variant in fleet["variants"])
