"""From an endpoint config and its models to a fleet, and whether the machine has room for it. PURE.

What a config asks for and this release cannot do is found here. The config itself is stored all the same; the endpoint
fails with a reason that names the feature, since one that silently went without capture or encryption would be a lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kedge.compute.base import Capacity
from kedge.endpoints import capture, explaining, serverless, shifting
from kedge.endpoints.records import Container, Endpoint, Fleet, Status, Variant
from kedge.errors import ResourceLimitExceeded, ValidationFailed
from kedge.models.records import Servable, servable

ROUTING_STRATEGIES = ("RANDOM", "LEAST_OUTSTANDING_REQUESTS", "PREFIX_AWARE")
ECHOED = ("AsyncInferenceConfig", "MetricsConfig", "CrossRegionTrafficConfig", "ExplainerConfig")
ECHOED_OF_VARIANT = ("ManagedInstanceScaling", "RoutingConfig", "CapacityReservationConfig")
LARGEST_WEIGHT = (2 - 2**-23) * 2.0**127
"""VariantWeight is a float of 32 bits."""
_NO_CAPTURE = {"EnableCapture": False}
_GIB = 1024**3


class Size(Protocol):
    """What an InstanceType stands for."""

    @property
    def cores(self) -> float: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def gpus(self) -> int: ...


class Sized(Size, Protocol):
    """What takes room on a machine."""

    @property
    def instance_type(self) -> str: ...


Sizes = Callable[[str], Size]
"""Size of an InstanceType. Raises ValidationFailed for one that is not known."""
Choose = Callable[[str], str | None]
"""Runtime of an image; None for one that is not known."""


@dataclass(frozen=True)
class Kinds:
    """What there is to build a fleet from."""

    sizes: Sizes
    choose: Choose
    images: Sequence[str]
    """The images that `choose` knows, for messages."""


def new_fleet(
    number: int,
    config: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    kinds: Kinds,
    now_s: float,
    capture_rules: Mapping[str, str] | None = None,
) -> Fleet:
    """config, models: stored documents; models by name. capture_rules: tags of the config.

    Raises ValidationFailed for an unknown InstanceType.
    """
    problems = [unserved(config)]
    variants = []
    shadows = config.get("ShadowProductionVariants", [])
    for given in [*config["ProductionVariants"], *shadows]:
        variant, problem = variant_of_config(given, models, kinds)
        if variant.is_room:  # what runs there has the config's role, unless its model names one
            role, isolated = config.get("ExecutionRoleArn", ""), config.get("EnableNetworkIsolation", False)
            variant = replace(variant, execution_role=role, network_isolation=isolated)
        if explainer := explaining.config_of(config):
            variant = replace(variant, explainer=explainer)
            problem = problem or explaining.problem(config, variant)
        variants.append(variant)
        unfit = (_not_shadowed(variant) if shadows else "") or _not_asynchronous(config, variant)
        problems.append(problem or unfit)
    return Fleet(
        number=number,
        config=config["EndpointConfigName"],
        created_at_s=now_s,
        variants=tuple(variants),
        problem=next((problem for problem in problems if problem), ""),
        echo={name: config[name] for name in ECHOED if name in config},
        capture=config.get("DataCaptureConfig"),
        capture_rules=capture_rules or {},
        shadow=shadows[0]["VariantName"] if shadows else "",
    )


def unserved(config: Mapping[str, Any]) -> str:
    """The first feature that a config asks for and that is not there, as a sentence; "" when there is none."""
    name = config["EndpointConfigName"]

    def sentence(what: str) -> str:
        return f'Endpoint config "{name}" asks for {what}, which this release of Kedge stores but does not do.'

    if config.get("KmsKeyId"):
        return sentence("an encrypted volume (KmsKeyId)")
    is_room = not config["ProductionVariants"][0].get("ModelName")
    if is_room and capture.is_enabled(config.get("DataCaptureConfig", _NO_CAPTURE)):
        return sentence("data capture of inference components (DataCaptureConfig)")
    for variant in [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]:
        if what := _unserved_variant(variant):
            return sentence(f"{what} on variant {variant['VariantName']}")
    return ""


def _not_shadowed(variant: Variant) -> str:
    """Why a variant of an endpoint with a shadow cannot be one; "" when it can. The rule is SageMaker's."""
    if variant.serverless:
        return f"Variant {variant.name} is serverless; an endpoint with a shadow variant has instances."
    if len(variant.containers) > 1 or any(each.models for each in variant.containers):
        return (
            f'Model "{variant.model}" of variant {variant.name} has several containers, or loads models by name; an '
            "endpoint with a shadow variant serves models of one container with one model."
        )
    return ""


def _not_asynchronous(config: Mapping[str, Any], variant: Variant) -> str:
    """InvokeEndpointAsync has no member that names a model or a container."""
    if not config.get("AsyncInferenceConfig"):
        return ""
    if variant.direct or any(each.models for each in variant.containers):
        return (
            f'Model "{variant.model}" of variant {variant.name} takes requests that name a model or a container, which '
            "asynchronous invocations cannot."
        )
    return ""


def _unserved_variant(variant: Mapping[str, Any]) -> str:
    for member, what in (
        ("InstancePools", "pools of several instance types"),
        ("CoreDumpConfig", "core dumps"),
        ("EnableSSMAccess", "SSM access"),
    ):
        if variant.get(member):
            return f"{what} ({member})"
    if variant.get("ModelName") and variant.get("ManagedInstanceScaling", {}).get("Status") == "ENABLED":
        return "managed instance scaling of a model's instances (ManagedInstanceScaling)"
    strategy = variant.get("RoutingConfig", {}).get("RoutingStrategy", "RANDOM")
    return "" if strategy in ROUTING_STRATEGIES else f"the routing strategy {strategy} (RoutingConfig)"


def variant_of_config(
    given: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]], kinds: Kinds
) -> tuple[Variant, str]:
    """given: a ProductionVariant. The second is why it cannot be served, if so."""
    name = given.get("ModelName", "")
    served = servable(models[name]) if name else Servable()
    instance_type, config = given.get("InstanceType", ""), given.get(serverless.MEMBER, {})
    size: Size | None = kinds.sizes(instance_type) if instance_type else None
    if config:
        instance_type, size = serverless.TYPE, serverless.Share.of(config)
    containers, problem = _containers(name, served, kinds)
    timeout_s = given.get("ContainerStartupHealthCheckTimeoutInSeconds")
    download_s = given.get("ModelDataDownloadTimeoutInSeconds")
    return (
        Variant(
            name=given["VariantName"],
            model=name,
            containers=containers,
            instance_type=instance_type,
            cores=size.cores if size else 0.0,
            memory_bytes=size.memory_bytes if size else 0,
            gpus=size.gpus if size else 0,
            desired_count=serverless.at_first(config) if config else given.get("InitialInstanceCount", 0),
            desired_weight=given.get("InitialVariantWeight", 1.0),
            routing=given.get("RoutingConfig", {}).get("RoutingStrategy", "RANDOM"),
            start_timeout_s=None if timeout_s is None else float(timeout_s),
            download_timeout_s=None if download_s is None else float(download_s),
            direct=served.direct,
            execution_role=served.execution_role,
            network_isolation=served.network_isolation,
            echo={member: given[member] for member in ECHOED_OF_VARIANT if member in given},
            serverless=config,
            is_room=not name,
        ),
        problem,
    )


def _containers(model: str, served: Servable, kinds: Kinds) -> tuple[tuple[Container, ...], str]:
    """The model's containers with their runtimes, and why it cannot be served, if so."""
    problem = served.problem
    containers = []
    for each in served.containers:
        runtime = kinds.choose(each.image) or ""
        if not runtime and not problem:
            problem = (
                f'The image "{each.image}" of model "{model}" is not known. Known images: {", ".join(kinds.images)}. '
                "Any other runs where podman or docker is installed, or as the command to which KEDGE_IMAGES maps it."
            )
        containers.append(
            Container(each.name, each.image, runtime, each.sources, each.environment, each.models, each.keeps_models)
        )
    return tuple(containers), problem


def retained(fleet: Fleet, live: Fleet, excluded: Collection[str]) -> Fleet:
    """The fleet with the counts and weights of live variants of the same name, and with the live fleet's data capture.

    What is or was serverless follows its load, and has no count to keep. excluded: VariantPropertyTypes.
    """

    def kept(variant: Variant) -> Variant:
        before = live.variant(variant.name)
        if before is None:
            return variant
        if "DesiredInstanceCount" not in excluded and not (variant.serverless or before.serverless):
            variant = replace(variant, desired_count=before.desired_count)
        if "DesiredWeight" not in excluded:
            variant = replace(variant, desired_weight=before.desired_weight)
        return variant

    if "DataCaptureConfig" not in excluded:
        fleet = replace(fleet, capture=live.capture, capture_rules=live.capture_rules)
    return replace(fleet, variants=tuple(kept(variant) for variant in fleet.variants))


def check_weight(variant: str, weight: float) -> None:
    """Raises ValidationFailed."""
    if weight > LARGEST_WEIGHT:
        raise ValidationFailed(f"The weight of variant {variant} is {weight:g}; it is at most {LARGEST_WEIGHT:g}.")


def check_weights(fleet: Fleet) -> None:
    """Raises ValidationFailed when no variant would answer a request, or a weight is none that AWS can hold."""
    for variant in fleet.variants:
        check_weight(variant.name, variant.desired_weight)
    if not any(variant.desired_weight > 0 for variant in fleet.production):
        names = ", ".join(variant.name for variant in fleet.production)
        raise ValidationFailed(f"The weights of all variants ({names}) are 0; at least one has to be above 0.")


def claimed(endpoint: Endpoint, status: Status) -> list[tuple[Variant, int]]:
    """(variant, instances) that an endpoint takes of the machine, the ones to come and the ones to go included."""
    if status is Status.FAILED:
        return []
    live = endpoint.live.variants if endpoint.live else ()
    beside = endpoint.beside.variants if endpoint.beside else ()
    serving = [(v, max(v.current_count, v.desired_count)) for v in live] + [(v, v.current_count) for v in beside]
    return serving + coming(endpoint)


def coming(endpoint: Endpoint) -> list[tuple[Variant, int]]:
    """(variant, instances) that the pending fleet claims beside the live one: in batches no more than one batch.

    A rolling deployment to instances of another size claims both fleets whole.
    """
    live, pending = endpoint.live, endpoint.pending
    if pending is None:
        return []
    if live is None or endpoint.shift is None or shifting.policy_of(endpoint).kind != shifting.ROLLING:
        return [(v, v.desired_count - _taken_over(v, live)) for v in pending.variants]
    policy, steps = shifting.policy_of(endpoint), shifting.steps_of(endpoint)
    claims = []
    for variant in pending.variants:
        before, count = live.variant(variant.name), variant.desired_count
        if before is not None and before.instance_type == variant.instance_type:
            count = max(0, policy.most(before.desired_count, count, steps) - before.desired_count)
        claims.append((variant, count))
    return claims


def _taken_over(variant: Variant, live: Fleet | None) -> int:
    """How many instances of the live fleet it takes over as they are: room for components has nothing to start."""
    before = None if live is None else live.variant(variant.name)
    if before is None or not (variant.is_room and before.is_room) or before.instance_type != variant.instance_type:
        return 0
    return min(before.desired_count, variant.desired_count)


def check_fits(
    more: Iterable[tuple[Sized, int]],
    taken: Sequence[tuple[Sized, int]],
    capacity: Capacity,
    usage: str = "endpoint usage",
) -> None:
    """Raises ResourceLimitExceeded, in AWS's form, for the first variant that finds no room.

    more: (variant, further instances). taken: what is claimed already. usage: what AWS calls it.
    """
    cores = capacity.cores - sum(v.cores * count for v, count in taken)
    memory = capacity.memory_bytes - sum(v.memory_bytes * count for v, count in taken)
    gpus = capacity.gpus - sum(v.gpus * count for v, count in taken)
    for variant, count in more:
        rooms = [
            math.floor(left / need + 1e-9)
            for left, need in ((cores, variant.cores), (memory, variant.memory_bytes), (gpus, variant.gpus))
            if need
        ]
        room = max(0, min(rooms, default=count))
        if room < count:
            current = sum(n for v, n in taken if v.instance_type == variant.instance_type)
            kind = variant.instance_type
            raise ResourceLimitExceeded(
                f"The account-level service limit '{kind} for {usage}' is {current + room} Instances, with "
                f"current utilization of {current} Instances and a request delta of {count} Instances. {kind} takes "
                f"{variant.cores:g} cores, {variant.memory_bytes / _GIB:g} GiB of memory and {variant.gpus} GPUs; this "
                f"machine lends {capacity.cores:g} cores, {capacity.memory_bytes / _GIB:.0f} GiB and {capacity.gpus} "
                f"GPUs, of which {max(0.0, cores):g} cores, {max(0, memory) / _GIB:.0f} GiB and {max(0, gpus)} GPUs "
                "are free. Delete an endpoint, ask for fewer or smaller instances, or raise cpu_overcommit or "
                "memory_overcommit."
            )
        cores -= variant.cores * count
        memory -= variant.memory_bytes * count
        gpus -= variant.gpus * count
        taken = [*taken, (variant, count)]
