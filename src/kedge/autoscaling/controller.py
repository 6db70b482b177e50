"""Scales by itself: load what is known, decide (policy.decide), apply. Nothing is remembered but the last two minutes.

Once a second every target is looked at: whether its endpoint is still there, whether a scheduled action is due, whether
an alarm has asked for one of its policies, what the fast path wants. A change is one transaction: the endpoint's new
size, the activity, the cooldown. So a control process may be killed at any instant.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, timedelta

from kedge.alarms.watched import Read
from kedge.autoscaling import acting, schedule, waking
from kedge.autoscaling.concurrency import Recent
from kedge.autoscaling.known import Known, KnownTarget
from kedge.autoscaling.policy import UNSCALABLE, Decision, Limits, decide
from kedge.autoscaling.records import ACTIVITY, POLICY, Policy, Scheduled, Target, moment
from kedge.autoscaling.removal import deregister
from kedge.autoscaling.serverless import Serverless
from kedge.autoscaling.wishes import Wishes, triggered_by
from kedge.clock import Clock
from kedge.endpoints.records import Status
from kedge.endpoints.scaling import Room, Unscalable
from kedge.errors import ConcurrentChange, ResourceLimitExceeded
from kedge.loop import REST_S, Lease, Signal, run, with_lease
from kedge.store.records import Author, LeaseLost
from kedge.store.store import Store
from kedge.store.transaction import Transaction

PERIOD_S = 1.0
SOON_S = 0.1
"""While a request waits for an instance that cannot be asked for yet."""
PRUNE_PERIOD_S = 3600.0
KEPT = timedelta(weeks=6)
"""Activities."""
AUTHOR = "application-autoscaling.amazonaws.com"

log = logging.getLogger(__name__)


class Controller:
    def __init__(
        self,
        store: Store,
        read: Read,
        recent: Recent,
        clock: Clock,
        lease: Lease,
        room: Room,
        heard: Callable[[], bool],
        serverless_idle_s: float = 300.0,
        has_serverless: Callable[[], bool] = lambda: True,
    ) -> None:
        """read: of the metric store. heard: whether every router is connected, so that silence means no requests.

        serverless_idle_s: after how long without a request a serverless variant has no instance. has_serverless:
        whether there may be any.
        """
        self._store, self._recent, self._clock, self._lease, self._room = store, recent, clock, lease, room
        self._heard = heard
        self._known = Known(store)
        self._wishes = Wishes(store, read, recent.samples)
        self._waking = waking.Waking(store, recent, clock, room)
        self._serverless = Serverless(store, recent, clock, room, serverless_idle_s, has_serverless)
        self._wake = Signal()
        store.on_commit(self._committed)
        lease.on_taken(self._wake.notify)

    def _committed(self) -> None:
        if not self._known.targets:  # else it looks each second anyway
            self._wake.notify()

    async def run(self) -> None:
        self._wake.attach(asyncio.get_running_loop())
        self._recent.on_wanted = self._wake.notify
        await run("autoscaling", self.step, self._wake, self._clock, period_s=PERIOD_S)

    async def step(self) -> float | None:
        return await with_lease(self._lease, self._step)

    async def _step(self, held: tuple[str, int]) -> float:
        if self._known.is_empty and self._serverless.at_rest and not self._recent.wanted:
            return REST_S  # nothing is scaled: a commit or a wish is waited for
        return await asyncio.to_thread(self.look, held)

    def look(self, held: tuple[str, int]) -> float:
        """One pass. Returns after how many seconds the next one is due. Blocks. Raises LeaseLost."""
        self._known.refresh()
        self._serverless.refresh()
        targets, heard = self._known.targets, self._heard()
        followed = {each.place for each in targets if each.is_followed} | self._serverless.places
        self._recent.sample(followed, heard=heard)
        self._serverless.look(held, self._author(), heard=heard)
        waits = self._waking.look(self._known, held, self._author())
        for known in targets:
            try:
                self._advance(known, held)
            except ConcurrentChange:
                continue  # whoever changed it: the next pass sees it
            except LeaseLost:
                raise
            except Exception:
                log.exception("%s could not be scaled", known.target.resource_id)
        return SOON_S if waits else PERIOD_S

    def _advance(self, known: KnownTarget, held: tuple[str, int]) -> None:
        endpoint, target = known.endpoint, known.target
        if endpoint is None or endpoint.status == Status.DELETING:
            with self._transaction(held) as tx:
                deregister(tx, known.resource)
            return
        if target.running and not Status(endpoint.status).in_transition:
            with self._transaction(held) as tx:
                acting.finish(tx, known.resource, endpoint, self._clock.now())
            return
        if self._begin_scheduled(known, held):
            return
        if endpoint.status != Status.IN_SERVICE or known.variant is None:
            self._refuse(known, held)
        elif self._clock.now().timestamp() >= target.not_before_s:
            self._scale(known, known.capacity, held)

    def _begin_scheduled(self, known: KnownTarget, held: tuple[str, int]) -> bool:
        """The bounds that scheduled actions set, in the order of their times; what was missed once. True: some were."""
        now = self._clock.now()
        due = []
        for found in known.scheduled:
            action = Scheduled.of(found.document)
            begin = found.created_at if action.start_s is None else moment(action.start_s)
            seen_to = moment(max(action.seen_to_s, (action.start_s or 0.0) - 1))
            end = None if action.end_s is None else moment(action.end_s)
            at = schedule.due(schedule.parse(action.schedule, action.zone, begin), seen_to, now, end)
            if at is not None:
                due.append((at, found, action))
        if not due:
            return False
        target = known.target
        with self._transaction(held) as tx:
            for at, found, action in sorted(due, key=lambda each: (each[0], each[2].name)):
                tx.observe(found, replace(action, seen_to_s=at.timestamp()).document())
                if not target.suspended.scheduled:
                    target = self._bounded(tx, known, target, action, now)
            if target != known.target:
                tx.update(known.resource, target.document())
        return True

    def _bounded(self, tx: Transaction, known: KnownTarget, target: Target, action: Scheduled, now: datetime) -> Target:
        minimum = target.minimum if action.minimum is None else action.minimum
        maximum = target.maximum if action.maximum is None else action.maximum
        cause = f"scheduled action name {action.name} was triggered"
        if minimum > maximum:
            reason = f"the minimum capacity ({minimum}) would be greater than the maximum capacity ({maximum})."
            acting.fail(tx, known.resource, known.capacity, cause, reason, now, holds_up=False)
            return target
        owed = f"minimum capacity was set to {minimum} and maximum capacity to {maximum}, because {cause}"
        return replace(target, minimum=minimum, maximum=maximum, owed=owed, not_before_s=0.0)

    def _refuse(self, known: KnownTarget, held: tuple[str, int]) -> None:
        """Alarms have asked, but the endpoint changes: while the alarm lasts it asks again in a minute."""
        cause = triggered_by(known.policies)
        if not cause or known.target.running:
            return
        with self._transaction(held) as tx:
            self._heed(tx, known)
            acting.not_scaled(tx, known.resource, known.capacity, UNSCALABLE, cause, self._clock.now())

    def _scale(self, known: KnownTarget, current: int, held: tuple[str, int]) -> None:
        target, now_s = known.target, self._clock.now().timestamp()
        limits = Limits.of(target)
        if target.owed:
            wanted = limits.within(current)
            if wanted != current:
                self._begin(known, current, Decision(wanted), target.owed, held)
            else:
                with self._transaction(held) as tx:
                    tx.observe(known.resource, replace(target, owed="").document())
            return
        cause = triggered_by(known.policies)
        wishes = self._wishes.fast(known, current, now_s)
        if not cause and all(wish.capacity == current for wish in wishes):
            return
        wishes += self._wishes.by_alarms(known, current, now_s)
        decision = decide(current, limits, wishes, now_s)
        if decision.capacity is not None and decision.wish is not None:
            self._begin(known, current, decision, decision.wish.cause, held)
        elif cause:
            with self._transaction(held) as tx:
                self._heed(tx, known)
                if decision.not_scaled and decision.wish is not None:
                    acting.not_scaled(
                        tx, known.resource, current, decision.not_scaled, decision.wish.cause, self._clock.now()
                    )

    def _begin(self, known: KnownTarget, current: int, decision: Decision, cause: str, held: tuple[str, int]) -> None:
        assert decision.capacity is not None, "a decision to begin something"
        found, now = known.resource, self._clock.now()
        try:
            with self._transaction(held) as tx:
                self._heed(tx, known)
                acting.begin(tx, found, current, decision.capacity, cause, decision.wish, now, self._room)
        except ResourceLimitExceeded as error:
            with self._transaction(held) as tx:
                self._heed(tx, known)
                acting.fail(tx, found, decision.capacity, cause, error.message, now)
        except Unscalable as error:
            log.info("%s: %s", known.target.resource_id, error)  # it has changed since it was read

    def _heed(self, tx: Transaction, known: KnownTarget) -> None:
        """The alarms that have asked until now are heard; one that has asked since is not forgotten."""
        for policy in known.policies:
            found = tx.get(known.resource.scope, POLICY, f"{known.resource.name}|{policy.name}")
            if not policy.asked or found is None:
                continue
            now = Policy.of(found.document)
            left = {name: at_s for name, at_s in now.asked.items() if policy.asked.get(name) != at_s}
            tx.observe(found, replace(now, asked=left).document())

    def prune(self) -> None:
        """Forget old activities. Blocks."""
        before = self._clock.now() - KEPT
        for each in self._store.list(None, ACTIVITY, created_before=before).items:
            with self._store.transaction(self._author()) as tx:
                found = tx.get(each.scope, ACTIVITY, each.name)
                if found is not None:
                    tx.delete(found)

    def _transaction(self, held: tuple[str, int]) -> AbstractContextManager[Transaction]:
        return self._store.transaction(self._author(), lease=held)

    def _author(self) -> Author:
        return Author(AUTHOR, "", self._clock.now())
