"""CreateTrainingJob, DescribeTrainingJob, ListTrainingJobs, StopTrainingJob."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kedge import listing
from kedge.call import Call
from kedge.errors import ResourceNotFound, ValidationFailed
from kedge.jobs import creating, training_plan
from kedge.jobs.events import arn_of, training_description
from kedge.jobs.machine import JobMachine
from kedge.jobs.program_records import TRAINING
from kedge.store.records import Author, Resource

Answer = dict[str, Any]


def create_training_job(machine: JobMachine, call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["TrainingJobName"]
    image = request.get("AlgorithmSpecification", {}).get("TrainingImage")
    if not image:
        raise ValidationFailed("AlgorithmSpecification.TrainingImage is not given; it has to name an image.")
    runs = machine.runs(image)
    kept = training_plan.checked(request, runs)
    size = creating.size_of(kept["ResourceConfig"]["InstanceType"], machine.sizes)
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        creating.create(
            tx, call.scope, TRAINING, name, kept, (runs, size), machine.capacity(), call.now, request.get("Tags", ())
        )
    return {"TrainingJobArn": arn_of(call.scope, name, TRAINING)}


def describe_training_job(call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["TrainingJobName"]
    return training_description(_found(call.store.get(call.scope, TRAINING, name.lower()), name))


def list_training_jobs(call: Call, request: Mapping[str, Any]) -> Answer:
    for member in ("WarmPoolStatusEquals", "TrainingPlanArnEquals"):
        if request.get(member):
            return {"TrainingJobSummaries": []}  # no job here has one
    found, following = listing.resources(call, TRAINING, request)
    return {"TrainingJobSummaries": [_summary(each) for each in found], **following}


def stop_training_job(call: Call, request: Mapping[str, Any]) -> Answer:
    name = request["TrainingJobName"]
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        creating.stop(tx, _found(tx.get(call.scope, TRAINING, name.lower()), name), "training job")
    return {}


def _found(resource: Resource | None, name: str) -> Resource:
    if resource is None or resource.document["name"] != name:
        raise ResourceNotFound("Requested resource not found.")
    return resource


def _summary(resource: Resource) -> Answer:
    shown = training_description(resource)
    members = ("TrainingJobName", "TrainingJobArn", "CreationTime", "LastModifiedTime", "TrainingJobStatus")
    more = [member for member in ("TrainingEndTime", "SecondaryStatus") if member in shown]
    return {member: shown[member] for member in (*members, *more)}


def operations(machine: JobMachine) -> Mapping[str, Callable[[Call, Any], Answer]]:
    return {
        "sagemaker.CreateTrainingJob": partial(create_training_job, machine),
        "sagemaker.DescribeTrainingJob": describe_training_job,
        "sagemaker.ListTrainingJobs": list_training_jobs,
        "sagemaker.StopTrainingJob": stop_training_job,
    }
