"""Tells of each change of a job's state, in the transaction that makes it."""

from __future__ import annotations

from kedge.jobs.events import SOURCE, STATE_CHANGES, arn_of, state_change
from kedge.store.records import Resource
from kedge.store.transaction import Transaction
from kedge.tags.attach import read


def announce(tx: Transaction, resource: Resource) -> None:
    """resource: as it is after the change."""
    tags = read(tx, resource.scope, arn_of(resource.scope, resource.document["name"], resource.kind))
    tx.emit(SOURCE, STATE_CHANGES[resource.kind], state_change(resource, tags), resource.scope)
