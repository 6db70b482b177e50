"""Gives hosts the instances that their copies need, and takes away what they do not: thin around managed.py.

In memory is only since when fewer instances would be enough; after a restart that is counted anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from kedge.clock import Clock
from kedge.compute.base import Capacity
from kedge.endpoints.records import Status
from kedge.endpoints.scaling import Size, resize
from kedge.errors import ConcurrentChange, ResourceLimitExceeded, ValidationFailed
from kedge.inference_components.managed import Managed, grown, shrunk
from kedge.inference_components.placing import Key, Occupancy
from kedge.store.store import Author, Resource, Store

AUTHOR = "kedge:managed-instance-scaling"
REFUSED = "Ask for fewer or smaller copies, add instances, or enable ManagedInstanceScaling."
TOO_LARGE = "No instance of that type holds such a copy."

log = logging.getLogger(__name__)


class Managing:
    def __init__(self, store: Store, clock: Clock, capacity: Callable[[], Capacity]) -> None:
        self._store, self._clock, self._capacity = store, clock, capacity
        self._idle_since_s: dict[Key, float] = {}

    def step(
        self, hosts: Mapping[str, Resource], seen: Mapping[Key, Occupancy], held: tuple[str, int]
    ) -> dict[Key, str]:
        """Why a variant gets no more instances, where its copies find no room. hosts: by uid. Blocks."""
        refused: dict[Key, str] = {}
        waiting: dict[Key, float] = {}
        for key, occupancy in seen.items():
            managed = Managed.of(occupancy.variant)
            resource = hosts[key[0]]
            if occupancy.unplaced and occupancy.lacking is None:
                refused[key] = TOO_LARGE
            elif managed is None:
                refused[key] = REFUSED
            elif resource.status == Status.IN_SERVICE:
                count = grown(managed, occupancy)
                if count > occupancy.variant.desired_count:
                    refused |= self._grow(key, occupancy, resource, count, held)
                elif occupancy.unplaced:
                    refused[key] = f"MaxInstanceCount is {managed.maximum}."
                elif (fewer := shrunk(managed, occupancy)) < occupancy.variant.desired_count:
                    waiting[key] = self._idle_since_s.get(key, self._clock.monotonic_s())
                    if self._clock.monotonic_s() - waiting[key] >= managed.idle_s:
                        del waiting[key]
                        self._resize(resource, occupancy, fewer, held)
        self._idle_since_s = waiting
        return refused

    def _grow(
        self, key: Key, occupancy: Occupancy, resource: Resource, count: int, held: tuple[str, int]
    ) -> dict[Key, str]:
        try:
            self._resize(resource, occupancy, count, held)
        except (ResourceLimitExceeded, ValidationFailed) as error:
            return {key: f"No further instance can be added: {error.message}"}
        return {}

    def _resize(self, resource: Resource, occupancy: Occupancy, count: int, held: tuple[str, int]) -> None:
        log.info("endpoint %s: variant %s gets %d instance(s)", resource.name, occupancy.variant.name, count)
        try:
            with self._store.transaction(Author(AUTHOR, "", self._clock.now()), lease=held) as tx:
                resize(tx, resource, {occupancy.variant.name: Size(count)}, self._capacity)
        except ConcurrentChange:
            return  # whoever changed it has woken the next pass
