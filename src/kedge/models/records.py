"""What is stored of a model, the rules that its shape cannot say, and what of it can be served. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kedge.errors import ValidationFailed

KIND = "model"
STORED = (
    "ModelName",
    "PrimaryContainer",
    "Containers",
    "InferenceExecutionConfig",
    "ExecutionRoleArn",
    "VpcConfig",
    "EnableNetworkIsolation",
)
MAX_ENVIRONMENT_BYTES = 32 * 1024
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True)
class Servable:
    """What an instance needs to know of a model. `problem` says why there is no instance that could serve it."""

    image: str = ""
    model_data_url: str = ""
    environment: Mapping[str, str] | None = None
    problem: str = ""


def checked(request: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a CreateModel request. Raises ValidationFailed."""
    one, several = request.get("PrimaryContainer"), request.get("Containers")
    if bool(one) == bool(several):
        given = "both are given" if one else "none is given"
        raise ValidationFailed(f"A model has either PrimaryContainer or Containers; {given}.")
    for path, container in containers(request):
        if not container.get("Image") and not container.get("ModelPackageName"):
            raise ValidationFailed(f"{path} names neither Image nor ModelPackageName; one of the two is needed.")
        if container.get("ModelDataUrl") and container.get("ModelDataSource"):
            raise ValidationFailed(f"{path} gives both ModelDataUrl and ModelDataSource; one of the two is allowed.")
        _check_environment(path, container.get("Environment", {}))
    if request.get("InferenceExecutionConfig", {}).get("Mode") == "Direct":
        if not several:
            raise ValidationFailed("InferenceExecutionConfig.Mode Direct needs Containers, not PrimaryContainer.")
        for path, container in containers(request):
            if not container.get("ContainerHostname"):
                raise ValidationFailed(f"{path} has no ContainerHostname, which Mode Direct needs on each container.")
    hostnames = [
        container["ContainerHostname"] for _, container in containers(request) if "ContainerHostname" in container
    ]
    for hostname in hostnames:
        if hostnames.count(hostname) > 1:
            raise ValidationFailed(f'ContainerHostname "{hostname}" is given to more than one container.')
    return {name: request[name] for name in STORED if name in request}


def containers(model: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(where it stands, container) of each container of a request or document."""
    if model.get("PrimaryContainer"):
        return [("PrimaryContainer", model["PrimaryContainer"])]
    return [(f"Containers[{at}]", container) for at, container in enumerate(model.get("Containers", []))]


def servable(model: Mapping[str, Any]) -> Servable:
    """model: a stored document. Names the first thing that it asks for and that is not there."""
    name = model["ModelName"]
    given = containers(model)
    if len(given) > 1:
        return _unserved(name, f"has {len(given)} Containers (an inference pipeline)")
    path, container = given[0]
    if model.get("InferenceExecutionConfig", {}).get("Mode") == "Direct":
        return _unserved(name, "asks for InferenceExecutionConfig.Mode Direct")
    if container.get("ModelPackageName"):
        return _unserved(name, f"names a model package ({path}.ModelPackageName)")
    if container.get("Mode") == "MultiModel":
        return _unserved(name, f"is a multi-model container ({path}.Mode MultiModel)")
    if container.get("AdditionalModelDataSources"):
        return _unserved(name, f"asks for {path}.AdditionalModelDataSources")
    url = container.get("ModelDataUrl", "")
    if source := container.get("ModelDataSource", {}).get("S3DataSource"):
        if (source["S3DataType"], source["CompressionType"]) != ("S3Object", "Gzip"):
            return _unserved(name, f"has model data that is no single gzip archive ({path}.ModelDataSource)")
        url = source["S3Uri"]
    if url and not url.startswith("s3://"):
        return Servable(problem=f'Model "{name}" has its model data at {url}; only s3:// addresses can be fetched.')
    return Servable(container["Image"], url, dict(container.get("Environment", {})))


def _unserved(name: str, what: str) -> Servable:
    return Servable(problem=f'Model "{name}" {what}, which this release of Kedge stores but cannot serve.')


def _check_environment(path: str, environment: Mapping[str, str]) -> None:
    total = 0
    for key, value in environment.items():
        if not _VARIABLE.fullmatch(key):
            raise ValidationFailed(
                f'{path}.Environment has the key "{key}"; a key is made of letters, digits and "_", and starts with no '
                "digit."
            )
        total += len(key.encode()) + len(value.encode())
    if total > MAX_ENVIRONMENT_BYTES:
        raise ValidationFailed(f"{path}.Environment has {total} bytes; at most {MAX_ENVIRONMENT_BYTES} are allowed.")
