"""CreateTransformJob, DescribeTransformJob, ListTransformJobs, StopTransformJob: what is wanted is written down.

A job holds a copy of its model, so that deleting the model changes nothing that runs. Names are never free again, as in
SageMaker, which deletes no job either.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.endpoints import configs, room
from kedge.endpoints.fleets import check_fits, variant_of_config
from kedge.endpoints.records import Variant
from kedge.errors import ResourceInUse, ResourceNotFound, ValidationFailed
from kedge.jobs import creating, plan
from kedge.jobs.announcing import announce
from kedge.jobs.events import arn_of, transform_description
from kedge.jobs.machine import JobMachine
from kedge.jobs.records import KIND, LABEL, Status, TransformJob
from kedge.store.store import AlreadyExists, Author, Resource, Transaction
from kedge.tags import attach

USAGE = "transform job usage"

Answer = dict[str, Any]


def create_transform_job(machine: JobMachine, call: Call, request: Mapping[str, Any]) -> Answer:
    kept, name = plan.checked(request), request["TransformJobName"]
    job_arn = arn_of(call.scope, name)
    try:
        with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
            variant = _variant(machine, call, tx, kept)
            check_fits([(variant, variant.desired_count)], room.taken(tx), machine.capacity(), USAGE)
            job = TransformJob(name, uuid.uuid4().hex, kept, variant)
            made = tx.insert(call.scope, KIND, name.lower(), job.document(), Status.IN_PROGRESS)
            attach.attach(tx, call.scope, job_arn, request.get("Tags", []))
            announce(tx, made)
    except AlreadyExists:
        raise ResourceInUse(f"Job name must be unique within an AWS account and region, and a job with this name "
                            f"already exists ({job_arn})") from None  # fmt: skip
    return {"TransformJobArn": job_arn}


def describe_transform_job(call: Call, request: Mapping[str, Any]) -> Answer:
    return transform_description(
        _found(call, call.store.get(call.scope, KIND, request["TransformJobName"].lower()), request)
    )


def list_transform_jobs(call: Call, request: Mapping[str, Any]) -> Answer:
    found, following = listing.resources(call, KIND, request)
    return {"TransformJobSummaries": [_summary(each) for each in found], **following}


def stop_transform_job(call: Call, request: Mapping[str, Any]) -> Answer:
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        found = _found(call, tx.get(call.scope, KIND, request["TransformJobName"].lower()), request)
        creating.stop(tx, found, "transform job")
    return {}


def _variant(machine: JobMachine, call: Call, tx: Transaction, kept: Mapping[str, Any]) -> Variant:
    """What its instances run. Raises ValidationFailed."""
    given = {
        "VariantName": LABEL,
        "ModelName": kept["ModelName"],
        "InstanceType": kept["TransformResources"]["InstanceType"],
        "InitialInstanceCount": kept["TransformResources"]["InstanceCount"],
    }
    models = configs.models_of(call, tx, {"ProductionVariants": [given]})
    variant, problem = variant_of_config(given, models, machine.kinds)
    if variant.direct or any(each.models for each in variant.containers):
        problem = f'Model "{variant.model}" takes requests that name a model or a container, which batches cannot.'
    if problem:
        raise ValidationFailed(problem)
    more = plan.environment_of(kept)
    containers = tuple(replace(each, environment={**each.environment, **more}) for each in variant.containers)
    return replace(variant, containers=containers)


def _found(call: Call, resource: Resource | None, request: Mapping[str, Any]) -> Resource:
    name = request["TransformJobName"]
    if resource is None or resource.document["name"] != name:
        raise ResourceNotFound(f"Could not find requested job with name: {name}")
    return resource


def _summary(resource: Resource) -> Answer:
    job = TransformJob.of(resource.document)
    shown: Answer = {
        "TransformJobName": job.name,
        "TransformJobArn": arn_of(resource.scope, job.name),
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.modified_at,
        "TransformJobStatus": resource.status,
    }
    if job.ended_at_s is not None:
        shown["TransformEndTime"] = datetime.fromtimestamp(job.ended_at_s, UTC)
    if job.failure_reason:
        shown["FailureReason"] = job.failure_reason
    return shown


def operations(machine: JobMachine) -> Mapping[str, Callable[[Call, Any], Answer]]:
    return {
        "sagemaker.CreateTransformJob": partial(create_transform_job, machine),
        "sagemaker.DescribeTransformJob": describe_transform_job,
        "sagemaker.ListTransformJobs": list_transform_jobs,
        "sagemaker.StopTransformJob": stop_transform_job,
    }
