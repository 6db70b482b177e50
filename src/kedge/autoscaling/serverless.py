"""Serverless variants have the instances that their load needs: none while nothing is asked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from kedge.autoscaling.concurrency import Recent
from kedge.autoscaling.demand import Load, instances
from kedge.clock import Clock
from kedge.endpoints import serverless
from kedge.endpoints.records import KIND, Endpoint, Status, Variant
from kedge.endpoints.routing import wishes_of
from kedge.endpoints.scaling import Room, follow
from kedge.errors import ConcurrentChange, ResourceLimitExceeded
from kedge.serving.meter import VariantPlace
from kedge.store.records import Author, Resource
from kedge.store.store import Store

RETRY_S = 10.0
"""After a change for which there was no room."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Known:
    resource: Resource
    variant: Variant
    """Of the live fleet."""
    idle_after_s: float


class Serverless:
    def __init__(
        self,
        store: Store,
        recent: Recent,
        clock: Clock,
        room: Room,
        idle_after_s: float,
        has_some: Callable[[], bool],
    ) -> None:
        """idle_after_s: where a model names no time of its own. has_some: whether there may be such variants."""
        self._has_some = has_some
        self._store, self._recent, self._clock, self._room = store, recent, clock, room
        self._idle_after_s = idle_after_s
        self._commits = 0
        self._seen = -1
        self._known: dict[VariantPlace, _Known] = {}
        self._since_s: dict[VariantPlace, float] = {}
        """When each was seen first."""
        self._out_s: dict[VariantPlace, float] = {}
        """When instances were added."""
        self._not_before_s: dict[VariantPlace, float] = {}
        store.on_commit(self._committed)

    def _committed(self) -> None:
        self._commits += 1

    @property
    def at_rest(self) -> bool:
        """No such variant had an instance at the last look, and nothing was written since: a wish is waited for."""
        if not self._has_some():
            return True
        awake = any(known.variant.current_count for known in self._known.values())
        return not awake and self._commits == self._seen and not self._store.is_shared

    @property
    def places(self) -> set[VariantPlace]:
        return set(self._known)

    def refresh(self) -> None:
        """Blocks."""
        if not self._has_some():
            self._known, self._seen = {}, -1
            return
        commits = self._commits
        if commits == self._seen and not self._store.is_shared:
            return
        self._known = {}
        for resource in self._store.list(None, KIND).items:
            live = resource.document["live"]
            if live and any(each.get("serverless") for each in live["variants"]):
                self._know(resource)
        now_s = self._clock.monotonic_s()
        self._since_s = {place: self._since_s.get(place, now_s) for place in self._known}
        self._out_s = {place: at_s for place, at_s in self._out_s.items() if place in self._known}
        self._seen = commits

    def _know(self, resource: Resource) -> None:
        endpoint = Endpoint.of(resource.document)
        if endpoint.live is None or not serverless.may_follow(endpoint, Status(resource.status)):
            return
        for variant in endpoint.live.production:
            if variant.serverless:
                place = VariantPlace(resource.scope.account, resource.scope.region, endpoint.name, variant.name)
                idle_after_s = wishes_of([variant]).serverless_idle_s or self._idle_after_s
                self._known[place] = _Known(resource, variant, idle_after_s)

    def look(self, held: tuple[str, int], author: Author, *, heard: bool) -> None:
        """heard: whether every router is connected, so that silence means no requests. Blocks."""
        now_s = self._clock.monotonic_s()
        waiting = set(self._recent.waited_for())
        for place, known in self._known.items():
            if now_s < self._not_before_s.get(place, 0.0):
                continue
            self._not_before_s.pop(place, None)
            idle_s = now_s - max(self._since_s[place], self._recent.busy_at_s(place)) if heard else 0.0
            since_out_s = now_s - self._out_s.get(place, float("-inf"))
            load = Load(self._recent.samples(place), place in waiting, idle_s, since_out_s)
            config, current = known.variant.serverless, known.variant.current_count
            provisioned = serverless.provisioned(known.variant)
            wanted = instances(load, current, provisioned, config[serverless.MOST], known.idle_after_s)
            if wanted > current or (wanted < current and serverless.may_sleep(Status(known.resource.status))):
                self._change(place, known, wanted, held, author)

    def _change(self, place: VariantPlace, known: _Known, wanted: int, held: tuple[str, int], author: Author) -> None:
        now_s, current = self._clock.monotonic_s(), known.variant.current_count
        while wanted != current:
            try:
                with self._store.transaction(author, lease=held) as tx:
                    follow(tx, known.resource, known.variant.name, wanted, self._room)
            except ConcurrentChange:
                return  # it has changed since it was read: the next pass sees it
            except ResourceLimitExceeded as error:
                log.warning(
                    "serverless variant %s of endpoint %s cannot have %d instances: %s",
                    *(place.variant, place.endpoint, wanted, error),
                )
                self._not_before_s[place] = now_s + RETRY_S
                wanted = current + (wanted - current) // 2  # as many as there is room for, or nearly
                continue
            if wanted > current:
                self._out_s[place] = now_s
            return
