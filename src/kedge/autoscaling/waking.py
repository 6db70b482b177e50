"""A variant without instances is given one when a request waits for it."""

from __future__ import annotations

import logging

from kedge.autoscaling import acting
from kedge.autoscaling.concurrency import Recent
from kedge.autoscaling.known import Known
from kedge.autoscaling.scaled import at, scale_at
from kedge.clock import Clock
from kedge.endpoints.records import Endpoint, Status
from kedge.endpoints.scaling import Room, Unscalable
from kedge.errors import ConcurrentChange, ServiceError
from kedge.serving.meter import VariantPlace
from kedge.store.records import Author, LeaseLost
from kedge.store.store import Store

CAUSE = "a request waits for the variant, which has no instance"
AWAKE_S = 60.0
"""What was woken stays for so long at least: its metrics know nothing of the request yet."""
RETRY_S = 10.0
"""After a wake that failed."""

log = logging.getLogger(__name__)


class Waking:
    def __init__(self, store: Store, recent: Recent, clock: Clock, room: Room) -> None:
        self._store, self._recent, self._clock, self._room = store, recent, clock, room
        self._not_before_s: dict[VariantPlace, float] = {}

    def look(self, known: Known, held: tuple[str, int], author: Author) -> bool:
        """Whether a variant is to be woken and cannot be yet, so that it should be looked at again soon. Blocks."""
        now_s = self._clock.monotonic_s()
        self._not_before_s = {place: at_s for place, at_s in self._not_before_s.items() if at_s > now_s}
        waits = False
        for place in self._recent.waited_for():
            if place in self._not_before_s:
                continue
            try:
                waits = self._look(place, known, held, author) or waits
            except (ConcurrentChange, Unscalable):
                waits = True  # it has changed since it was read
            except LeaseLost:
                raise
            except ServiceError as error:
                log.warning("variant %s of endpoint %s cannot be woken: %s", place.variant, place.endpoint, error)
                self._not_before_s[place] = now_s + RETRY_S
        return waits

    def _look(self, place: VariantPlace, known: Known, held: tuple[str, int], author: Author) -> bool:
        resource = at(self._store, place)
        endpoint = None if resource is None else Endpoint.of(resource.document)
        variant = endpoint.live.variant(place.variant) if endpoint is not None and endpoint.live else None
        if resource is None or endpoint is None or variant is None:
            return False
        if variant.desired_count:
            self._recent.has_one(place)
            return False
        if variant.serverless:
            return False  # as many as it needs come by its own rule
        if resource.status != Status.IN_SERVICE:
            return Status(resource.status) in (Status.UPDATING, Status.ROLLING_BACK)
        if endpoint.failure_reason and self._has_just_failed(resource.modified_at.timestamp()):
            self._not_before_s[place] = self._clock.monotonic_s() + RETRY_S
            return False
        target = known.find(place)
        if target is not None and (target.target.suspended.scale_out or target.target.maximum < 1):
            return False
        with self._store.transaction(author, lease=held) as tx:
            if target is None:
                scale_at(tx, place, 1, self._room)
            else:
                wanted = max(1, target.target.minimum)
                held_s = max([AWAKE_S, *(policy.in_cooldown_s for policy in target.policies)])
                acting.begin(tx, target.resource, 0, wanted, CAUSE, None, author.at, self._room, held_s=held_s)
        self._recent.has_one(place)
        return False

    def _has_just_failed(self, changed_at_s: float) -> bool:
        return self._clock.now().timestamp() - changed_at_s < RETRY_S
