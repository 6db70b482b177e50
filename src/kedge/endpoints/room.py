"""What everything that runs, or is about to, takes of the machine."""

from __future__ import annotations

from kedge.endpoints.fleets import claimed
from kedge.endpoints.records import KIND, Endpoint, Status, Variant
from kedge.jobs import records as jobs
from kedge.store.store import Store
from kedge.store.transaction import Transaction


def taken(tx: Store | Transaction) -> list[tuple[Variant, int]]:
    """(variant, instances), of endpoints and of transform jobs."""
    endpoints = tx.list(None, KIND).items
    found = [claim for each in endpoints for claim in claimed(Endpoint.of(each.document), Status(each.status))]
    for status in (jobs.Status.IN_PROGRESS, jobs.Status.STOPPING):
        for each in tx.list(None, jobs.KIND, status=status).items:
            variant = jobs.TransformJob.of(each.document).variant
            found.append((variant, variant.desired_count))
    return found
