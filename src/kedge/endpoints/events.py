"""Tells of each change of an endpoint's state or deployment, in the transaction that makes it."""

from __future__ import annotations

from kedge.endpoints.descriptions import DEPLOYMENT_CHANGE, SOURCE, STATE_CHANGE, arn_of, state_change
from kedge.endpoints.records import Endpoint, Status
from kedge.store.store import Resource, Transaction
from kedge.tags.attach import read


def announce(tx: Transaction, resource: Resource) -> None:
    """resource: as it is after the change of its state."""
    _emit(tx, resource, STATE_CHANGE)


def announce_deployment(tx: Transaction, resource: Resource) -> None:
    """resource: as it is after a step of its deployment."""
    _emit(tx, resource, DEPLOYMENT_CHANGE)


def _emit(tx: Transaction, resource: Resource, detail_type: str) -> None:
    endpoint_arn = arn_of(resource.scope.region, resource.scope.account, resource.name)
    detail = state_change(
        Endpoint.of(resource.document),
        Status(resource.status),
        endpoint_arn,
        resource.created_at,
        resource.modified_at,
        read(tx, resource.scope, endpoint_arn),
    )
    tx.emit(SOURCE, detail_type, detail, resource.scope)
