"""What the engine is asked to run for one instance. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kedge.compute.base import Container, TaskSpec
from kedge.config import Settings
from kedge.endpoints import records
from kedge.endpoints.deployment import UID
from kedge.endpoints.records import Endpoint, Member
from kedge.endpoints.routing import is_asynchronous, wishes_of
from kedge.endpoints.zones import LABEL
from kedge.inference_components import placement
from kedge.serving.runtimes import images
from kedge.store.records import Scope

LARGE_BODIES = {"KEDGE_LARGEST_BODY_MIB": "1024"}
"""Read by kedge.serving.worker."""
ARTIFACTS = "artifacts"
"""The label that names the model data which the task reads: hashes, with a comma between two."""


def spec(
    scope: Scope, endpoint: Endpoint, member: Member, zone: str, settings: Settings, node: int | None = None
) -> TaskSpec:
    """settings: for what the variant and its models do not say themselves. Equal arguments give equal specs.

    node: of a copy of an inference component, the instance that it is placed on.
    """
    host = endpoint.host
    labels = {
        "endpoint": endpoint.name if host is None else host.endpoint,
        "variant": member.variant.name,
        "fleet": str(member.fleet),
        UID: endpoint.uid,
        LABEL: zone,
    }
    if host is not None:
        takes = placement.taken_by(member.variant).label()
        placed = {placement.HOST: host.uid, placement.NODE: str(node), placement.ROOM: takes}
        labels |= {placement.COMPONENT: endpoint.name, **placed}
    fleet = endpoint.fleet(member.fleet)
    large = fleet is not None and is_asynchronous(fleet)
    of_variant = spec_of(scope, member.id, member.variant, labels, settings.start_timeout_s, large_bodies=large)
    return replace(of_variant, drain_s=_drain_s(member.variant, settings))


def _drain_s(variant: records.Variant, settings: Settings) -> float:
    """As long as what it has read may take: an answer in parts only where the model names a time for it."""
    wishes = wishes_of([variant])
    return max(wishes.timeout_s or settings.invocation_timeout_s, wishes.stream_timeout_s or 0.0)


def spec_of(
    scope: Scope,
    id_: str,
    variant: records.Variant,
    labels: Mapping[str, str],
    start_timeout_s: float,
    *,
    large_bodies: bool = False,
) -> TaskSpec:
    """labels: that say what the instance is for. large_bodies: whether a request may have a GiB."""
    more = LARGE_BODIES if large_bodies else {}
    only = variant.containers[0] if is_plain(variant) else None
    return TaskSpec(
        id=id_,
        runtime=only.runtime if only else "",
        artifact_uri=only.sources[0].uri if only and only.sources else "",
        artifact_sha256=only.artifact_sha256 if only else "",
        environment={**_environment(scope, only), **more} if only else {},
        cores=variant.cores,
        memory_bytes=variant.memory_bytes,
        gpus=variant.gpus,
        labels={
            "account": scope.account,
            "region": scope.region,
            **labels,
            "instance_type": variant.instance_type,
            ARTIFACTS: ",".join(sorted(variant.artifacts)),
        },
        start_timeout_s=start_timeout_s if variant.start_timeout_s is None else variant.start_timeout_s,
        containers=() if only else tuple(_container(scope, each) for each in variant.containers),
        direct=variant.direct,
        execution_role=variant.execution_role,
        network_isolation=variant.network_isolation,
        explainer=dict(variant.explainer),
    )


def is_plain(variant: records.Variant) -> bool:
    """One container with one model: the instance itself is that container, with nothing in between."""
    if len(variant.containers) != 1:
        return False
    only = variant.containers[0]
    return not variant.explainer and not only.models and only.runtime not in images.OWN_SERVERS


def _container(scope: Scope, container: records.Container) -> Container:
    return Container(
        name=container.name,
        runtime=container.runtime,
        artifact_sha256=container.artifact_sha256,
        environment=_environment(scope, container),
        many_models=bool(container.models),
        keeps_models=container.keeps_models,
    )


def _environment(scope: Scope, container: records.Container) -> dict[str, str]:
    """The model's own variables, and the image that it names: by it an environment and a version are known."""
    region = dict.fromkeys(("SAGEMAKER_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"), scope.region)
    return {**region, **container.environment, "KEDGE_IMAGE": container.image}
