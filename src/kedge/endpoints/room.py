"""What everything that runs, or is about to, takes of the machine."""

from __future__ import annotations

from kedge.endpoints.fleets import Sized, claimed
from kedge.endpoints.records import KIND, Endpoint, Status
from kedge.jobs import program_records as programs
from kedge.jobs import records as jobs
from kedge.store.store import Store
from kedge.store.transaction import Transaction

Claims = list[tuple[Sized, int]]
"""(size of an instance, how many)."""


def taken(tx: Store | Transaction) -> Claims:
    """Of endpoints and of jobs."""
    return serving(tx) + working(tx)


def serving(tx: Store | Transaction) -> Claims:
    endpoints = tx.list(None, KIND).items
    return [claim for each in endpoints for claim in claimed(Endpoint.of(each.document), Status(each.status))]


def working(tx: Store | Transaction) -> Claims:
    """Of jobs that have their share; those that wait for room take none."""
    found: Claims = []
    for status in (jobs.Status.IN_PROGRESS, jobs.Status.STOPPING):
        for each in tx.list(None, jobs.KIND, status=status).items:
            variant = jobs.TransformJob.of(each.document).variant
            found.append((variant, variant.desired_count))
        for kind in programs.LABELS:
            going = (programs.ProgramJob.of(each.document) for each in tx.list(None, kind, status=status).items)
            found += [(job.size, 1) for job in going if job.is_admitted]
    return found
