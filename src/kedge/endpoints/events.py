"""Tells of each change of an endpoint's state, in the transaction that makes it."""

from __future__ import annotations

from kedge.endpoints.descriptions import SOURCE, STATE_CHANGE, arn_of, state_change
from kedge.endpoints.records import Endpoint, Status
from kedge.store.store import Resource, Transaction
from kedge.tags.attach import read


def announce(tx: Transaction, resource: Resource) -> None:
    """resource: as it is after the change."""
    endpoint_arn = arn_of(resource.scope.region, resource.scope.account, resource.name)
    detail = state_change(
        Endpoint.of(resource.document),
        Status(resource.status),
        endpoint_arn,
        resource.created_at,
        resource.modified_at,
        read(tx, resource.scope, endpoint_arn),
    )
    tx.emit(SOURCE, STATE_CHANGE, detail, resource.scope)
