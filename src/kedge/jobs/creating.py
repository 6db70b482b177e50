"""A new processing or training job, in a transaction: what is wanted is written down, and the controller does it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kedge.compute.base import Capacity
from kedge.endpoints import room
from kedge.endpoints.fleets import Sizes, check_fits
from kedge.errors import ResourceInUse, ResourceLimitExceeded, ValidationFailed
from kedge.jobs import admission, images
from kedge.jobs.announcing import announce
from kedge.jobs.events import arn_of
from kedge.jobs.program_records import LABELS, PROCESSING, ProgramJob, Size, Stage
from kedge.jobs.records import Status
from kedge.store.records import Resource, Scope
from kedge.store.transaction import Transaction
from kedge.tags import attach

MOST_GOING = 1000
"""Processing and training jobs that run or wait, of all accounts."""
_USAGE = {PROCESSING: "processing job usage"}


def runs(image: str, *, has_engine: bool, mapped: bool = False) -> str:
    """What stands for the image; as images.choose. Raises ValidationFailed for one that nothing here runs."""
    found = images.choose(image, has_engine=has_engine, mapped=mapped)
    if not found:
        raise ValidationFailed(
            f'The image "{image}" is not known. Known repositories: {", ".join(images.known())}. Any other image runs '
            "where podman or docker is installed, or as the command to which KEDGE_IMAGES maps it."
        )
    return found


def size_of(instance_type: str, sizes: Sizes) -> Size:
    """Raises ValidationFailed for a type that is not known."""
    found = sizes(instance_type)
    return Size(instance_type, found.cores, found.memory_bytes, found.gpus)


def create(
    tx: Transaction,
    scope: Scope,
    kind: str,
    name: str,
    kept: Mapping[str, Any],
    what: tuple[str, Size],
    capacity: Capacity,
    now: datetime,
    tags: Sequence[Mapping[str, str]] = (),
    schedule: str = "",
) -> Resource:
    """kept: members of the request that are kept. what: (what its image stands for, its size). schedule: its ARN.

    Raises ResourceInUse, ResourceLimitExceeded.
    """
    job_arn = arn_of(scope, name, kind)
    if tx.get(scope, kind, name.lower()) is not None:
        raise ResourceInUse(
            f"Job name must be unique within an AWS account and region, and a job with this name already exists "
            f"({job_arn})"
        )
    image, size = what
    check_fits([(size, 1)], [], capacity, _USAGE.get(kind, "training job usage"))
    going = [
        ProgramJob.of(each.document)
        for each_kind in LABELS
        for status in (Status.IN_PROGRESS, Status.STOPPING)
        for each in tx.list(None, each_kind, status=status).items
    ]
    if len(going) >= MOST_GOING:
        raise ResourceLimitExceeded(
            f"{len(going)} processing and training jobs run or wait, of at most {MOST_GOING}; wait until one has ended."
        )
    taken = [Capacity(each.cores * n, each.memory_bytes * n, each.gpus * n) for each, n in room.taken(tx)]
    begins = all(each.is_admitted for each in going) and admission.fits(size, taken, capacity)
    job = ProgramJob(name, uuid.uuid4().hex, kept, image, size, now.timestamp(), schedule=schedule)
    job = job.at(Stage.STARTING if begins else Stage.WAITING, now.timestamp())
    made = tx.insert(scope, kind, name.lower(), job.document(), Status.IN_PROGRESS)
    attach.attach(tx, scope, job_arn, tags)
    announce(tx, made)
    return made


def stop(tx: Transaction, found: Resource, what: str) -> None:
    """what: "processing job" and the like. Raises ValidationFailed for one that has ended."""
    status = Status(found.status)
    if not status.goes_on:
        raise ValidationFailed(f"The request was rejected because the {what} is in status {status.value}.")
    if status is not Status.STOPPING:
        announce(tx, tx.update(found, found.document, Status.STOPPING))
