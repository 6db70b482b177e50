"""How the log groups and streams of what runs here are named, as SageMaker names them. PURE."""

from __future__ import annotations


def endpoint_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def component_group(component: str) -> str:
    return f"/aws/sagemaker/InferenceComponents/{component}"


def instance_stream(variant: str, instance: str) -> str:
    return f"{variant}/{instance}"


TRANSFORM_GROUP = "/aws/sagemaker/TransformJobs"
JOB_GROUPS = {
    "processing_job": "/aws/sagemaker/ProcessingJobs",
    "training_job": "/aws/sagemaker/TrainingJobs",
}
"""By the label of a job's task; its label "stream" names the stream."""


def job_stream(job: str, instance: str) -> str:
    return f"{job}/{instance}"


def data_log_stream(variant: str, instance: str) -> str:
    """What the platform says of the asynchronous invocations that an instance had."""
    return f"{instance_stream(variant, instance)}/data-log"
