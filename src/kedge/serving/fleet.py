"""Every endpoint that the table names, as this router serves it: the split of its traffic, and each variant's
instances with the requests that wait for one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator
from random import Random
from typing import Protocol

from kedge import errors
from kedge.serving import answers, choose
from kedge.serving.admission import Admission, Verdict
from kedge.serving.capture.records import Source
from kedge.serving.capture.tap import Stream, Tap
from kedge.serving.meter import Concurrent, Place, Told
from kedge.serving.retry import Budget
from kedge.serving.sessions import Session, holder_of
from kedge.serving.table import BY_CONFIG, BY_INSTANCE, Endpoint, Instance, RoutingTable, Variant
from kedge.serving.upstream import MAX_OUTSTANDING, Upstream
from kedge.shadowing.mirror import Mirror, Mirrors

log = logging.getLogger(__name__)

_MOST_CLOSED = 10_000
MAX_WAITING = 1000
"""Requests per variant that wait until an instance is healthy again."""


class Job(Protocol):
    """A request on its way to an instance."""

    affinity: str
    """What its instance should have loaded already: the name of a model; "" for no preference."""
    pinned: str
    """Id of the instance that holds its session, and that alone can answer it; "" for none."""
    prefix: str
    """Of what its body begins with (choose.prefix_key), where that chooses the instance; else ""."""
    is_suspect: bool
    """An instance died with it in flight, so it may have been the cause."""
    lost_with: Upstream | None
    """The instance that died with it: another one is rather asked, since this one may die at every request."""
    refused_by: Collection[Upstream]
    """Instances that were too busy for it."""
    to_new: bool
    """It was drawn for the variant's new instances (Pool.draw_new); what it cannot get there the others give."""

    def send_to(self, upstream: Upstream) -> None: ...

    def reroute(self) -> None:
        """The variant that it waited for is gone."""

    def wake(self) -> None:
        """It is the first to wait for a variant that has no instance: one is to be started."""

    def shed(self) -> None:
        """More arrive than can be answered, and it has waited too long to be of use."""


class Pool:
    """One variant's instances.

    Of the requests that may have killed an instance, each instance gets only one at a time: the others would be taken
    for the cause when it dies again.
    """

    def __init__(self, place: Place, variant: Variant, random: Random, now_s: float) -> None:
        """place: under which requests are counted that reach no instance."""
        self.place = place
        self.variant = variant
        self.budget = Budget(now_s)
        self.capture: Stream | None = None
        """Takes what is answered; None where nothing is captured."""
        self.mirror: Mirror | None = None
        """Copies what is answered to a shadow; None where there is none."""
        self._admission = Admission()
        self._admitted: dict[Job, None] = {}
        """In the order in which they came."""
        self._begun: dict[Job, None] = {}
        """Of these, the answers that have begun to come: nobody waits for their turn any more."""
        self._random = random
        self._upstreams: dict[Instance, Upstream] = {}
        self._ready: list[Upstream] = []
        self._joinable = False
        """Whether the instances answer several requests in one batch, as those said that were ready last."""
        self._suspects: dict[Job, None] = {}
        self._waiting: dict[Job, None] = {}
        self._new: frozenset[Instance] = frozenset()
        self._new_share = 0.0
        self._split: choose.Split | None = None
        """Between the variant's instances and its new ones, while both serve."""
        self._closed = False
        self.lost_s = -math.inf
        """When an instance was lost last that had requests, on the loop's clock."""
        self._peak = 0
        """The most requests at a time since this was told last; only of a serverless variant."""

    def update(self, variant: Variant, metrics_by: Collection[str] = ()) -> None:
        """metrics_by: of its endpoint."""
        self.variant = variant
        self._share(variant)
        instances = variant.every_instance
        for instance in self._upstreams.keys() - set(instances):
            self._upstreams.pop(instance).leave()
        for instance in instances:
            config = instance.config if BY_CONFIG in metrics_by else ""
            place = self.place._replace(instance=instance.id, config=config, by_instance=BY_INSTANCE in metrics_by)
            if instance in self._upstreams:
                self._upstreams[instance].place = place
                self._upstreams[instance].retry_now()
            else:
                self._upstreams[instance] = Upstream(instance, place, self._changed)
        self._changed()

    def _share(self, variant: Variant) -> None:
        share = variant.new_share
        self._new = frozenset(variant.new)
        if not variant.new:
            self._split = None
        elif self._split is None or share != self._new_share:
            self._split = choose.Split((1.0 - share, share), self._random)
        self._new_share = share

    def draw_new(self, key: str = "") -> bool:
        """Whether the next request is for the new instances. key: requests with the same go to the same."""
        if self._split is None:
            return False
        if key:
            return choose.uniform(f"new/{key}") <= self._new_share
        return self._split.draw() == 1

    def close(self) -> None:
        """The table has no such variant any more."""
        self._closed = True
        for upstream in self._upstreams.values():
            upstream.leave()
        self._upstreams.clear()
        self._ready.clear()
        stranded = [*self._suspects, *self._waiting]
        self._suspects.clear()
        self._waiting.clear()
        for job in stranded:
            job.reroute()

    def admit(self, job: Job, now_s: float, timeout_s: float) -> None:
        """Take it on, to be submitted, and told of by `depart`. Raises Throttled or ServiceUnavailable."""
        most = self.variant.most_concurrent
        if most:
            if self.concurrent >= most:
                raise answers.too_concurrent(self.variant.name, most)
            self._peak = max(self._peak, self.concurrent + 1)
        ready, admission = self._ready, self._admission
        was_overloaded = admission.overloaded
        verdict = admission.arrive(now_s, timeout_s, len(ready), joinable=self._joinable)
        if admission.overloaded and not was_overloaded:
            log.warning("variant %s is overloaded: more requests arrive than it can answer", self.variant.name)
            self._shed(admission.allowed(len(ready), joinable=self._joinable))
        if verdict is Verdict.TAKE:
            self._admitted[job] = None
        elif verdict is Verdict.OVERLOADED:
            raise answers.overloaded(self.variant.name)
        else:
            raise errors.ServiceUnavailable(
                f"What waits for variant {self.variant.name} takes longer than the time-out; try again later."
            )

    def depart(self, job: Job, now_s: float, arrived_s: float, *, answered: bool) -> None:
        """What was admitted has ended. arrived_s: the now_s with which it was."""
        if job in self._admitted:
            del self._admitted[job]
            self._admission.leave(now_s, arrived_s, answered=answered)
        elif self._begun:
            self._begun.pop(job, None)

    def begin(self, job: Job, now_s: float, arrived_s: float) -> None:
        """The first part of its answer is there, and more follows. As for `depart`, which comes later."""
        if job in self._admitted:
            del self._admitted[job]
            self._begun[job] = None
            self._admission.leave(now_s, arrived_s, answered=True)

    def _shed(self, keep: int) -> None:
        """All but those that instances are at, and the newest."""
        for job in list(self._admitted)[len(self._ready) : -keep]:
            job.shed()

    def submit(self, job: Job) -> None:
        """Send the job now, or as soon as an instance is there for it. Raises ServiceUnavailable or Throttled."""
        if self._closed:  # an instance that left has given it back: here it would wait for one that never comes
            job.reroute()
            return
        if job.pinned:
            self._submit_pinned(job)
            return
        upstream = self._pick(job)
        if upstream is not None:
            job.send_to(upstream)
            return
        if self._ready and not job.is_suspect:
            raise errors.Throttled(f"The instance has {MAX_OUTSTANDING} unanswered requests; try again later.")
        if len(self._waiting) + len(self._suspects) >= MAX_WAITING:
            raise errors.ServiceUnavailable(
                f"No instance of the variant is healthy, and {MAX_WAITING} requests wait for one already."
            )
        sleeps = not (self._upstreams or self._waiting or self._suspects)
        (self._suspects if job.is_suspect else self._waiting)[job] = None
        self._hurry()
        if sleeps:
            job.wake()

    def _submit_pinned(self, job: Job) -> None:
        """It waits for nothing: what an instance held that is being started again is gone."""
        found = [each for each in self._ready if each.instance.id == job.pinned]
        if not found or (job.is_suspect and found[0].suspect is not None):
            raise answers.session_held_up(self.variant.name)
        upstream = found[0]
        if upstream.outstanding >= MAX_OUTSTANDING:
            raise errors.Throttled(f"The instance has {MAX_OUTSTANDING} unanswered requests; try again later.")
        if job.is_suspect:
            upstream.suspect = job
        job.send_to(upstream)

    def instance_of(self, session: Session) -> str:
        """The id of its instance; "" where the variant has none that holds it."""
        return next((i.id for i in self._upstreams if holder_of(i.id) == session.holder), "")

    def forget(self, job: Job) -> None:
        """It waits no more."""
        self._suspects.pop(job, None)
        self._waiting.pop(job, None)
        self._hurry()

    def release(self, upstream: Upstream, job: Job) -> None:
        """The job is done on this instance, one way or the other."""
        if upstream.suspect is job:
            upstream.suspect = None
            if self._suspects:
                self._send_waiting()

    def others(self, job: Job) -> bool:
        """Whether some healthy instance has not refused it yet."""
        return any(upstream not in job.refused_by for upstream in self._ready)

    @property
    def ready_count(self) -> int:
        return len(self._ready)

    @property
    def concurrent(self) -> int:
        """Requests that are at an instance, or wait for one."""
        return len(self._admitted) + len(self._begun)

    def told(self) -> Concurrent | None:
        """What there is to do, or was since this was asked last; None for nothing."""
        variant, peak, self._peak = self.variant, self._peak, 0
        if not (self.concurrent or peak):
            return None
        place = self.place.of_variant
        return Concurrent(place, self.concurrent, len(self._ready), variant.most_concurrent, variant.provisioned, peak)

    def _changed(self, upstream: Upstream | None = None) -> None:
        self._ready = [each for each in self._upstreams.values() if each.ready]
        if self._ready:
            self._joinable = self._ready[0].joinable
        self._send_waiting()

    def _send_waiting(self) -> None:
        for queue in (self._suspects, self._waiting):
            for job in list(queue):
                upstream = self._pick(job)
                if upstream is None:
                    break
                del queue[job]
                job.send_to(upstream)
        self._hurry()

    def _hurry(self) -> None:
        wanted = bool(self._waiting or self._suspects)
        for upstream in self._upstreams.values():
            upstream.hurry(wanted)

    def _pick(self, job: Job) -> Upstream | None:
        if self._split is not None:
            drawn = [each for each in self._ready if (each.instance in self._new) == job.to_new]
            if (chosen := self._pick_of(drawn, job)) is not None:
                return chosen
        return self._pick_of(self._ready, job)

    def _pick_of(self, ready: list[Upstream], job: Job) -> Upstream | None:
        if job.is_suspect:
            ready = [each for each in ready if each.suspect is None]
            ready = [each for each in ready if each is not job.lost_with] or ready
        if job.refused_by:
            ready = [each for each in ready if each not in job.refused_by]
        if not ready:
            return None
        if len(ready) == 1:
            chosen = ready[0]
        else:
            outstanding = [each.outstanding for each in ready]
            if job.affinity:
                index = choose.at_home(job.affinity, [each.instance.id for each in ready], outstanding)
            elif job.prefix and not self._admission.overloaded:
                ids, threshold = [each.instance.id for each in ready], self.variant.prefix_threshold
                index = choose.by_prefix(job.prefix, ids, outstanding, threshold, self._random.random())
            else:
                # With a queue that is kept short, an even draw would leave some of them idle.
                routing = "LEAST_OUTSTANDING_REQUESTS" if self._admission.overloaded else self.variant.routing
                index = choose.instance(routing, outstanding, self._random.random())
            chosen = ready[index]
        if chosen.outstanding >= MAX_OUTSTANDING:
            return None
        if job.is_suspect:
            chosen.suspect = job
        return chosen


class Route:
    """One endpoint."""

    def __init__(
        self, endpoint: Endpoint, random: Random, now_s: float, tap: Tap, mirrors: Mirrors | None = None
    ) -> None:
        self.endpoint = endpoint
        self._mirrors = mirrors
        self._shadow: Pool | None = None
        self._random = random
        self._tap = tap
        self._pools: dict[str, Pool] = {}
        self._split = choose.Split((), random)
        self._named_weights: tuple[tuple[str, float], ...] = ()
        self.keeps_sessions = False
        """Whether its model has opened one, so that an id of no session is none."""
        self._closed_sessions: dict[Session, None] = {}
        """Those that have not expired yet."""
        self.update(endpoint, now_s)

    def update(self, endpoint: Endpoint, now_s: float) -> None:
        before, self.endpoint = self.endpoint, endpoint
        named_weights = tuple((variant.name, variant.weight) for variant in endpoint.variants)
        if named_weights != self._named_weights:
            self._named_weights = named_weights
            self._split = choose.Split([weight for _, weight in named_weights], self._random)
        if (endpoint.variants, endpoint.metrics_by) != (before.variants, before.metrics_by) or not self._pools:
            self._update_pools(endpoint, now_s)
        for name, pool in self._pools.items():
            pool.capture = self._captured(endpoint, name)
        if endpoint.shadow is not None or self._shadow is not None:
            self._update_shadow(endpoint, endpoint.shadow, now_s)

    def _update_pools(self, endpoint: Endpoint, now_s: float) -> None:
        names = {variant.name for variant in endpoint.variants}
        gone = [self._pools.pop(name) for name in self._pools.keys() - names]
        for variant in endpoint.variants:
            if variant.name not in self._pools:
                place = Place(endpoint.account, endpoint.region, endpoint.key, variant.name, "")
                self._pools[variant.name] = Pool(place, variant, self._random, now_s)
            self._pools[variant.name].update(variant, endpoint.metrics_by)
        for pool in gone:
            pool.close()

    def _update_shadow(self, endpoint: Endpoint, variant: Variant | None, now_s: float) -> None:
        """Its pool is none of those from which requests are answered."""
        gone = self._shadow
        if variant is not None and self._mirrors is not None:
            if gone is not None and gone.variant.name == variant.name and gone.mirror is not None:
                gone.mirror.update(endpoint)
                shadow, gone = gone, None
            else:
                place = Place(endpoint.account, endpoint.region, endpoint.key, variant.name, "")
                shadow = Pool(place, variant, self._random, now_s)
                shadow.mirror = self._mirrors.mirror(shadow, endpoint)
            shadow.update(variant, endpoint.metrics_by)
            shadow.capture = self._captured(endpoint, variant.name)
            self._shadow = shadow
        else:
            self._shadow = None
        for pool in self._pools.values():
            pool.mirror = self._shadow.mirror if self._shadow is not None else None
        if gone is not None:
            gone.close()

    def _captured(self, endpoint: Endpoint, variant: str) -> Stream | None:
        if endpoint.capture is None:
            return None
        return self._tap.stream(Source(endpoint.account, endpoint.region, endpoint.name, variant, endpoint.capture))

    def close(self) -> None:
        pools, self._pools = self._every_pool(), {}
        self._shadow = None
        for pool in pools:
            pool.close()

    def draw(self, key: str = "") -> str:
        """The next request's variant. key: requests with the same get the same one, while the weights stay.

        Raises ServiceUnavailable when no variant takes traffic.
        """
        try:
            if key:
                return self._named_weights[choose.sticky(key, *zip(*self._named_weights, strict=True))][0]
            return self._named_weights[self._split.draw()][0]
        except choose.NoTraffic:
            raise errors.ServiceUnavailable(
                f"Every variant of endpoint {self.endpoint.name} has weight 0; name one by TargetVariant."
            ) from None

    def pool(self, variant: str) -> Pool | None:
        return self._pools.get(variant)

    def holder(self, session: Session, now_s: float) -> tuple[Pool, str] | None:
        """Whose it is, and the instance's id; None once it is over or its instance has gone. now_s: since 1970."""
        if session.expires_s <= now_s or session in self._closed_sessions:
            return None
        for pool in self._pools.values():
            if instance := pool.instance_of(session):
                return pool, instance
        return None

    def close_session(self, session: Session, now_s: float) -> None:
        """The model says that it is over. Other routers hear it from the model."""
        if len(self._closed_sessions) >= _MOST_CLOSED:
            over = [each for each in self._closed_sessions if each.expires_s <= now_s]
            for each in over or list(self._closed_sessions)[: _MOST_CLOSED // 2]:
                del self._closed_sessions[each]
        self._closed_sessions[session] = None

    def concurrent(self) -> Iterator[Concurrent]:
        """Of the variants that have something to do, or had since this was asked last."""
        for pool in self._every_pool():
            told = pool.told()
            if told is not None:
                yield told

    def told(self) -> Iterator[Told]:
        """What has become of copies since this was asked last."""
        if self._shadow is not None and self._shadow.mirror is not None:
            yield from self._shadow.mirror.told()

    @property
    def ready_count(self) -> int:
        return sum(pool.ready_count for pool in self._every_pool())

    def _every_pool(self) -> list[Pool]:
        return [*self._pools.values(), *([self._shadow] if self._shadow is not None else [])]


class Fleet:
    """All endpoints of the table that was accepted last."""

    def __init__(self, random: Random, tap: Tap, mirrors: Mirrors | None = None) -> None:
        """mirrors: None copies nothing to shadows."""
        self._random = random
        self._tap = tap
        self._mirrors = mirrors
        self._routes: dict[tuple[str, str, str], Route] = {}
        self.session_key = b""
        """By which ids of sessions are sealed."""

    def swap(self, table: RoutingTable, now_s: float) -> None:
        """Serve this table from now on. What stays the same keeps its connections and its place in the split."""
        self.session_key = bytes.fromhex(table.seal_key)
        wanted = {(each.account, each.region, each.key): each for each in table.endpoints}
        gone = [self._routes.pop(key) for key in self._routes.keys() - wanted.keys()]
        for key, endpoint in wanted.items():
            route = self._routes.get(key)
            if route is None:
                self._routes[key] = Route(endpoint, self._random, now_s, self._tap, self._mirrors)
            else:
                route.update(endpoint, now_s)
        for route in gone:
            route.close()
        self._tap.keep({key for key, endpoint in wanted.items() if endpoint.capture is not None})

    def find(self, account: str, region: str, name: str) -> Route | None:
        """name: as for RoutingTable.find."""
        return self._routes.get((account, region, name))

    def concurrent(self) -> list[Concurrent]:
        return [each for route in self._routes.values() for each in route.concurrent()]

    def told(self) -> list[Told]:
        """What has become of copies since this was asked last."""
        return [each for route in self._routes.values() for each in route.told()]

    def close(self) -> None:
        for route in self._routes.values():
            route.close()
        self._routes.clear()

    @property
    def ready_count(self) -> int:
        """Healthy instances."""
        return sum(route.ready_count for route in self._routes.values())
