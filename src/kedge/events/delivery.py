"""Carries out actions: what something that has happened causes elsewhere.

An action names its target by an ARN, whose service says who does it. Doing it is a change in the same store, made in
the transaction that ends the action: so it is done once, and who asked is told once, whatever is killed meanwhile. An
action that cannot be done is kept as failed, with the reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from kedge import arn
from kedge.clock import Clock
from kedge.errors import ServiceError, ServiceUnavailable
from kedge.events.records import QUEUE, Action, Outcome, Told
from kedge.loop import REST_S, rest_s
from kedge.store.lease import Lease
from kedge.store.records import LeaseLost, Resource, Scope
from kedge.store.store import Author, Entry, Store
from kedge.store.transaction import Transaction

FAILED = "failed-action"
"""Kind of the resource that the last failed action of one source on one target is kept as: {"Action": ..., "Reason":
..., "Count": how many have failed}. An alarm may ask every minute: so there is one, not one a minute."""
KEEP_FAILED = timedelta(days=14)
"""As long as CloudWatch keeps the history of an alarm."""
PRUNE_PERIOD_S = 3600.0
MOST_ATTEMPTS = 10
"""Of an action by which a defect of ours shows itself; the pauses between them double from a second on."""
TOGETHER = 100

CarryOut = Callable[[Transaction, Action], Outcome]
"""Does an action through the transaction, and through nothing else."""

log = logging.getLogger(__name__)


class Deliveries:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease: Lease,
        targets: Mapping[str, CarryOut],
        told: Mapping[str, Told] | None = None,
    ) -> None:
        """targets: by the service in the ARN of the target. told: by the service in the ARN of who asks."""
        self._store, self._clock, self._lease = store, clock, lease
        self._targets = targets
        self._told = told or {}

    async def step(self) -> float:
        """Carry out whatever is due. Returns after how many seconds there may be more."""
        if self._lease.held is None:
            return REST_S
        return await asyncio.to_thread(self._step)

    def _step(self) -> float:
        while found := self._store.due(QUEUE, QUEUE, self._clock.now(), TOGETHER):
            for entry in found:
                try:
                    self._end(entry)
                except LeaseLost:
                    return REST_S
                except ServiceUnavailable:
                    raise  # it is the store that fails: the loop waits and tries again
                except Exception as error:
                    log.exception("action %s failed", entry.payload)
                    self._put_off(entry, error)
        following = self._store.next_due(QUEUE, self._clock.now())
        rest = rest_s(self._store)
        if following is None:
            return rest
        return min(rest, max(0.0, (following - self._clock.now()).total_seconds()))

    def _end(self, entry: Entry) -> None:
        action = Action.of(entry.body)
        with self._store.transaction(self._author(action), lease=self._lease.guard()) as tx:
            self._settle(tx, entry, action, self._carry_out(tx, action))

    def _carry_out(self, tx: Transaction, action: Action) -> Outcome:
        try:
            service = arn.parse(action.target_arn).service
        except ValueError as error:
            return Outcome(False, f"{error}.")
        carry_out = self._targets.get(service)
        if carry_out is None:
            known = ", ".join(sorted(self._targets))
            return Outcome(False, f"Nothing here carries out {action.target_arn}; there are targets of {known}.")
        return carry_out(tx, action)

    def _settle(self, tx: Transaction, entry: Entry, action: Action, outcome: Outcome) -> None:
        tx.forget(entry)
        if not outcome.succeeded:
            log.warning("action %s of %s failed: %s", action.id, action.source_arn or "nobody", outcome.reason)
            _keep(tx, action, outcome.reason)
        told = self._told.get(_service(action.source_arn))
        if told is not None:
            told(tx, action, outcome)

    def _put_off(self, entry: Entry, error: Exception) -> None:
        action = Action.of(entry.body)
        with self._store.transaction(self._author(action), lease=self._lease.guard()) as tx:
            if entry.attempts + 1 < MOST_ATTEMPTS:
                tx.postpone(entry, self._clock.now() + timedelta(seconds=2.0**entry.attempts))
            else:
                said = error.message if isinstance(error, ServiceError) else "an internal failure; the log has it"
                self._settle(tx, entry, action, Outcome(False, f"{MOST_ATTEMPTS} attempts failed: {said}"))

    def _author(self, action: Action) -> Author:
        return Author(action.source_arn or "events.amazonaws.com", "", self._clock.now())


def prune_failed(store: Store, now: datetime) -> int:
    """Forget failed actions that are old. Returns how many went."""
    count = 0
    for each in store.list(None, FAILED).items:
        if not _is_old(each, now):
            continue
        with store.transaction(Author("events.amazonaws.com", "", now)) as tx:
            current = tx.get(each.scope, FAILED, each.name)
            if current is not None and _is_old(current, now):
                tx.delete(current)
                count += 1
    return count


def _is_old(failed: Resource, now: datetime) -> bool:
    return Action.of(failed.document["Action"]).at < now - KEEP_FAILED


def _keep(tx: Transaction, action: Action, reason: str) -> None:
    scope, name = Scope(action.account, action.region), f"{action.source_arn}>{action.target_arn}"
    before = tx.get(scope, FAILED, name)
    if before is None:
        tx.insert(scope, FAILED, name, {"Action": action.document(), "Reason": reason, "Count": 1})
    else:
        count = before.document["Count"] + 1
        tx.observe(before, {"Action": action.document(), "Reason": reason, "Count": count})


def _service(text: str) -> str:
    return text.split(":")[2] if text.count(":") > 4 else ""
