"""An endpoint is to go, by whoever may say so: the beginning of every deletion."""

from __future__ import annotations

from kedge.endpoints import past
from kedge.endpoints.events import announce
from kedge.endpoints.records import Endpoint, Status
from kedge.store.records import Resource
from kedge.store.transaction import Transaction


def end(tx: Transaction, resource: Resource) -> None:
    """In every state: what is under way ends. resource: as it is in `tx`."""
    if Status(resource.status) is not Status.DELETING:
        announce(tx, tx.update(resource, resource.document, Status.DELETING))
        past.note(tx, resource, Endpoint.of(resource.document), Status.DELETING)
