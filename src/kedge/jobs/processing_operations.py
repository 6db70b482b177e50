"""CreateProcessingJob, DescribeProcessingJob, ListProcessingJobs, StopProcessingJob."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.errors import ResourceNotFound
from kedge.jobs import creating, processing_plan
from kedge.jobs.events import arn_of, processing_description, processing_end
from kedge.jobs.machine import JobMachine
from kedge.jobs.program_records import PROCESSING, ProgramJob
from kedge.store.records import Author, Resource

Answer = dict[str, Any]


def create_processing_job(machine: JobMachine, call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["ProcessingJobName"]
    runs = machine.runs(request["AppSpecification"]["ImageUri"])
    kept = processing_plan.checked(request, runs)
    size = creating.size_of(kept["ProcessingResources"]["ClusterConfig"]["InstanceType"], machine.sizes)
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        creating.create(
            tx, call.scope, PROCESSING, name, kept, (runs, size), machine.capacity(), call.now, request.get("Tags", ())
        )
    return {"ProcessingJobArn": arn_of(call.scope, name, PROCESSING)}


def describe_processing_job(call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["ProcessingJobName"]
    return processing_description(_found(call.store.get(call.scope, PROCESSING, name.lower()), name))


def list_processing_jobs(call: Call, request: Mapping[str, Any]) -> Answer:
    found, following = listing.resources(call, PROCESSING, request)
    return {"ProcessingJobSummaries": [_summary(each) for each in found], **following}


def stop_processing_job(call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["ProcessingJobName"]
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        creating.stop(tx, _found(tx.get(call.scope, PROCESSING, name.lower()), name), "processing job")
    return {}


def _found(resource: Resource | None, name: str) -> Resource:
    if resource is None or resource.document["name"] != name:
        raise ResourceNotFound(f"Could not find requested job with name: {name}")
    return resource


def _summary(resource: Resource) -> Answer:
    job = ProgramJob.of(resource.document)
    return {
        "ProcessingJobName": job.name,
        "ProcessingJobArn": arn_of(resource.scope, job.name, PROCESSING),
        "CreationTime": resource.created_at,
        "LastModifiedTime": resource.modified_at,
        "ProcessingJobStatus": resource.status,
        **processing_end(job),
    }


def operations(machine: JobMachine) -> Mapping[str, Callable[[Call, Any], Answer]]:
    return {
        "sagemaker.CreateProcessingJob": partial(create_processing_job, machine),
        "sagemaker.DescribeProcessingJob": describe_processing_job,
        "sagemaker.ListProcessingJobs": list_processing_jobs,
        "sagemaker.StopProcessingJob": stop_processing_job,
    }
