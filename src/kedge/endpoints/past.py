"""What is kept of a deployment once it is over: a line of history, in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kedge.endpoints import shifting
from kedge.endpoints.records import Endpoint, Fleet, Status
from kedge.store.records import Resource, Scope
from kedge.store.store import Store
from kedge.store.transaction import Transaction

KIND = "endpoint-deployment"
SUCCEEDED, ROLLED_BACK, ROLLBACK_FAILED, FAILED, DELETED = (
    "Succeeded",
    "RolledBack",
    "RollbackFailed",
    "Failed",
    "Deleted",
)
SHOWN = 100
"""The most deployments of the past that are read."""

Line = dict[str, Any]


def note(tx: Transaction, before: Resource, after: Endpoint, status: Status | None) -> None:
    """Where the change from `before` to `after` and `status` ends a deployment, what became of it."""
    was = Endpoint.of(before.document)
    outcome = outcome_of(was, after, status)
    if outcome is not None and was.pending is not None:
        reason = after.failure_reason if outcome in (ROLLED_BACK, ROLLBACK_FAILED, FAILED) else ""
        tx.note(before.scope, KIND, before.name, {**line(was, was.pending), "Outcome": outcome, "Reason": reason})


def outcome_of(before: Endpoint, after: Endpoint, status: Status | None) -> str | None:
    """status: that is written with the change; None where it stays. None: nothing has ended."""
    if before.pending is None:
        return None
    if status in (Status.FAILED, Status.DELETING):
        return FAILED if status is Status.FAILED else DELETED
    if after.pending is not None:
        return None
    if status is Status.UPDATE_ROLLBACK_FAILED:
        return ROLLBACK_FAILED
    assert after.live is not None
    return SUCCEEDED if after.live.number == before.pending.number else ROLLED_BACK


def line(endpoint: Endpoint, pending: Fleet) -> Line:
    """How it went so far. Times are seconds since 1970."""
    shift = endpoint.shift
    return {
        "Uid": endpoint.uid,
        "From": "" if endpoint.live is None else endpoint.live.config,
        "To": pending.config,
        "Kind": shifting.policy_of(endpoint).kind if shift is not None and shift.policy else "",
        "DeploymentConfig": {} if shift is None else dict(shift.policy),
        "StartTime": pending.created_at_s,
        "Steps": [] if shift is None else list(shift.steps),
        "Hurried": shift is not None and shift.hurried,
        "Trial": None if shift is None or shift.trial is None else dict(shift.trial),
    }


def lines(store: Store, scope: Scope, name: str) -> list[Line]:
    """What became of the deployments of the endpoint of that name, the newest first."""
    notes = store.notes(scope, KIND, name, limit=SHOWN)
    return [{**each.after, "EndTime": each.at.timestamp()} for each in notes if each.after is not None]


def served_before(past: Iterable[Mapping[str, Any]], endpoint: Endpoint) -> str:
    """The config that this endpoint had before its present one; "" where none is known. past: newest first."""
    for each in past:
        if each["Uid"] == endpoint.uid and each["Outcome"] == SUCCEEDED and each["To"] == endpoint.config:
            return str(each["From"])
    return ""
