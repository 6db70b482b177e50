"""From a Specification to the fleet of copies that it asks for. PURE.

What it asks for and this release cannot do is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kedge.endpoints.fleets import Kinds, variant_of_config
from kedge.endpoints.records import Fleet, Variant
from kedge.errors import ValidationFailed
from kedge.inference_components.placement import size_of, taken_by

_MIB = 1024**2
_TIMEOUTS = ("ModelDataDownloadTimeoutInSeconds", "ContainerStartupHealthCheckTimeoutInSeconds")
Given = Mapping[str, Any]


def merged(before: Given, given: Given) -> dict[str, Any]:
    """An update names what changes. A model takes the place of a container, and the other way round."""
    one_of_two = {"ModelName": "Container", "Container": "ModelName"}
    gone = {other for name, other in one_of_two.items() if name in given}
    return {name: value for name, value in {**before, **given}.items() if name not in gone or name in given}


def check(given: Given) -> None:
    """Raises ValidationFailed."""
    if "BaseInferenceComponentName" in given:
        raise ValidationFailed(
            f'BaseInferenceComponentName is "{given["BaseInferenceComponentName"]}"; this release of Kedge has no '
            "adapter inference components."
        )
    if "InstanceType" in given:
        raise ValidationFailed(
            "Specification.InstanceType is for variants of several instance types, which Kedge has not."
        )
    if ("ModelName" in given) == ("Container" in given):
        both = "both are" if "ModelName" in given else "none is"
        raise ValidationFailed(f"A Specification has either ModelName or Container; {both} given.")
    container = given.get("Container", {})
    if "Container" in given and "Image" not in container:
        raise ValidationFailed("Specification.Container names no Image, which is needed.")
    if "ContainerMetricsConfig" in container:
        raise ValidationFailed(
            "Container.ContainerMetricsConfig asks for metrics of the container's, which Kedge does not read."
        )
    if "ComputeResourceRequirements" not in given:
        raise ValidationFailed("Specification.ComputeResourceRequirements is missing; it says what each copy takes.")
    _check_requirements(given["ComputeResourceRequirements"])


def _check_requirements(given: Given) -> None:
    least, most = given["MinMemoryRequiredInMb"], given.get("MaxMemoryRequiredInMb")
    if most is not None and most < least:
        raise ValidationFailed(
            f"MinMemoryRequiredInMb is {least} and MaxMemoryRequiredInMb {most}; the first must not be above the "
            "second."
        )
    accelerators = given.get("NumberOfAcceleratorDevicesRequired", 0)
    if accelerators != int(accelerators):
        raise ValidationFailed(
            f"NumberOfAcceleratorDevicesRequired is {accelerators:g}; Kedge gives a copy whole accelerators only."
        )
    if "AcceleratorPartitionType" in given:
        raise ValidationFailed(
            f'AcceleratorPartitionType is "{given["AcceleratorPartitionType"]}"; Kedge gives a copy whole accelerators '
            "only."
        )


def model_of(name: str, given: Given) -> dict[str, Any] | None:
    """What a Specification's Container says, as the document of a model; None where it names a model."""
    container = given.get("Container")
    if container is None:
        return None
    primary = {"Image": container["Image"], "Environment": container.get("Environment", {})}
    if container.get("ArtifactUrl"):
        primary["ModelDataUrl"] = container["ArtifactUrl"]
    return {"ModelName": name, "PrimaryContainer": primary}


def new_fleet(
    number: int,
    name: str,
    given: Given,
    model: Given,
    copies: int,
    host: Fleet,
    room: Variant,
    kinds: Kinds,
    now_s: float,
) -> Fleet:
    """The copies of inference component `name`. given: checked. model: a stored document. room: the host's variant.

    Raises ValidationFailed where no instance of that type holds a copy.
    """
    asked = {
        "VariantName": room.name,
        "ModelName": model["ModelName"],
        "InstanceType": room.instance_type,
        "InitialInstanceCount": copies,
        "RoutingConfig": {"RoutingStrategy": room.routing},
        **{member: value for member, value in given.get("StartupParameters", {}).items() if member in _TIMEOUTS},
    }
    variant, problem = variant_of_config(asked, {model["ModelName"]: model}, kinds)
    if not problem and any(each.models for each in variant.containers):
        problem = f'Model "{variant.model}" loads models by name; an inference component serves one model.'
    needs = given["ComputeResourceRequirements"]
    most = needs.get("MaxMemoryRequiredInMb")
    variant = replace(
        variant,
        cores=float(needs.get("NumberOfCpuCoresRequired", 0.0)),
        memory_bytes=room.memory_bytes if most is None else min(room.memory_bytes, most * _MIB),
        reserved_bytes=needs["MinMemoryRequiredInMb"] * _MIB,
        gpus=int(needs.get("NumberOfAcceleratorDevicesRequired", 0)),
        execution_role=variant.execution_role or room.execution_role,
        network_isolation=variant.network_isolation or room.network_isolation,
        scheduling=given.get("SchedulingConfig", {}),
        echo={},
    )
    if not size_of(room).holds(taken_by(variant)):
        raise ValidationFailed(
            f"A copy takes {variant.cores:g} cores, {needs['MinMemoryRequiredInMb']} MB of memory and {variant.gpus} "
            f"accelerators; an instance of variant {room.name} ({room.instance_type}) has {room.cores:g} cores, "
            f"{room.memory_bytes // _MIB} MB and {room.gpus}."
        )
    shown = {"Specification": dict(given)}
    if "MetricsConfig" in host.echo:
        shown["MetricsConfig"] = host.echo["MetricsConfig"]
    return Fleet(number, name, now_s, (variant,), problem, shown)
