"""What the engine is asked to run for one instance. PURE."""

from __future__ import annotations

from kedge.compute.base import TaskSpec
from kedge.endpoints.deployment import UID
from kedge.endpoints.records import Endpoint, Member
from kedge.store.records import Scope

ARTIFACT = "artifact"
"""The label that names the model data which the task reads."""


def spec(scope: Scope, endpoint: Endpoint, member: Member, start_timeout_s: float) -> TaskSpec:
    """start_timeout_s: for a variant that names no time of its own. Equal records give equal specs."""
    variant = member.variant
    region = dict.fromkeys(("SAGEMAKER_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"), scope.region)
    return TaskSpec(
        id=member.id,
        runtime=variant.runtime,
        artifact_uri=variant.model_data_url,
        artifact_sha256=variant.artifact_sha256,
        environment={**region, **variant.environment},
        cores=variant.cores,
        memory_bytes=variant.memory_bytes,
        gpus=variant.gpus,
        labels={
            "account": scope.account,
            "region": scope.region,
            "endpoint": endpoint.name,
            "variant": variant.name,
            "fleet": str(member.fleet),
            "instance_type": variant.instance_type,
            UID: endpoint.uid,
            ARTIFACT: variant.artifact_sha256,
        },
        start_timeout_s=start_timeout_s if variant.start_timeout_s is None else variant.start_timeout_s,
    )
