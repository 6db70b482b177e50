"""What tells processing jobs from training jobs, where both are carried out alike. PURE."""

from __future__ import annotations

from kedge.compute.base import CONTAINER, Container, Job, TaskSpec
from kedge.jobs import images, processing_plan, training_plan
from kedge.jobs.events import arn_of
from kedge.jobs.program_plan import HOST, ProgramPlan
from kedge.jobs.program_records import LABELS, PROCESSING, STREAM, Outcome, ProgramJob
from kedge.logs import names
from kedge.store.records import Scope

GROUPS = {kind: names.JOB_GROUPS[label] for kind, label in LABELS.items()}
"""Log groups."""
START_WITHIN_S = 1860.0
"""Until its program runs: what its requirements.txt names may have to be installed first."""
STOP_GRACE_S = 120.0
"""Between SIGTERM and SIGKILL. Source: StopTrainingJob."""


def plan_of(kind: str, scope: Scope, job: ProgramJob) -> ProgramPlan:
    arn = arn_of(scope, job.name, kind)
    if kind == PROCESSING:
        return processing_plan.plan_of(job.request, job.runs, arn, scope.region)
    return training_plan.plan_of(job.request, job.runs, job.size, arn, scope.region)


def image_of(kind: str, job: ProgramJob) -> str:
    if kind == PROCESSING:
        return str(job.request["AppSpecification"]["ImageUri"])
    return str(job.request["AlgorithmSpecification"]["TrainingImage"])


def spec_of(kind: str, scope: Scope, job: ProgramJob, plan: ProgramPlan) -> TaskSpec:
    """What the engine is asked to run. Equal arguments give equal specs."""
    environment = {**plan.environment, "KEDGE_IMAGE": image_of(kind, job)}
    module = job.runs if images.is_module(job.runs) and not plan.entrypoint else ""
    contained = job.runs == images.CONTAINER
    return TaskSpec(
        id=job.task,
        runtime="",
        artifact_uri="",
        artifact_sha256="",
        environment={} if contained else environment,
        cores=job.size.cores,
        memory_bytes=job.size.memory_bytes,
        gpus=job.size.gpus,
        labels={
            "account": scope.account,
            "region": scope.region,
            LABELS[kind]: job.name,
            STREAM: job.stream,
            "instance_type": job.size.instance_type,
        },
        start_timeout_s=START_WITHIN_S,
        stop_grace_s=STOP_GRACE_S,
        containers=(Container(HOST, CONTAINER, "", environment),) if contained else (),
        execution_role=plan.role,
        network_isolation=plan.isolated,
        job=Job(job.folder, module, plan.entrypoint, plan.arguments, plan.work_dir),
    )


def failure_of(outcome: Outcome) -> str:
    """FailureReason of a program that did not end well, in SageMaker's form."""
    return f"AlgorithmError: {outcome.failure or outcome.reason}, exit code: {outcome.exit_status}"
