"""What is stored of a model, the rules that its shape cannot say, and what of it can be served. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
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
CODE = "code"
"""The folder of an artifact in which a script stands."""
SUBMIT_DIRECTORY = "SAGEMAKER_SUBMIT_DIRECTORY"
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Form(StrEnum):
    """How model data lies at its address."""

    ARCHIVE = "archive"
    """One object, a gzip-compressed tar archive, which is unpacked."""
    OBJECT = "object"
    """One object, which becomes one file under the last part of its key."""
    PREFIX = "prefix"
    """Every object whose key begins so becomes a file; the rest of the key is its path."""


@dataclass(frozen=True)
class Source:
    """Model data, and where it goes in the folder that a container sees."""

    uri: str
    form: Form = Form.ARCHIVE
    folder: str = ""
    """Name of a folder in the root; "" is the root itself. What another source has put into this folder is replaced."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Source:
        return cls(fields["uri"], Form(fields["form"]), fields["folder"])


@dataclass(frozen=True)
class Container:
    """What an instance needs to know of one container of a model."""

    name: str
    """ContainerHostname; without it "primary" where it is the only one, else container-1, container-2, ..."""
    image: str
    sources: tuple[Source, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    models: str = ""
    """Of a multi-model container: the address, ending with a slash, below which its models lie. `sources` then hold
    what belongs to each of them."""
    keeps_models: bool = True
    """Whether a model of a multi-model container stays loaded after it has answered."""


@dataclass(frozen=True)
class Servable:
    """What an instance needs to know of a model. `problem` says why there is no instance that could serve it."""

    containers: tuple[Container, ...] = ()
    direct: bool = False
    """A request names the one container that it is for."""
    execution_role: str = ""
    network_isolation: bool = False
    problem: str = ""


def checked(request: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a CreateModel request. Raises ValidationFailed."""
    _check_one_of_two(request)
    total = 0
    for path, container in containers(request):
        _check_container(path, container)
        total += _environment_bytes(path, container.get("Environment", {}))
    if total > MAX_ENVIRONMENT_BYTES:
        raise ValidationFailed(f"Environment has {total} bytes; at most {MAX_ENVIRONMENT_BYTES} are allowed.")
    _check_hostnames(request)
    return {name: request[name] for name in STORED if name in request}


def containers(model: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(where it stands, container) of each container of a request or document."""
    if model.get("PrimaryContainer") is not None:
        return [("PrimaryContainer", model["PrimaryContainer"])]
    return [(f"Containers[{at}]", container) for at, container in enumerate(model.get("Containers", []))]


def servable(model: Mapping[str, Any]) -> Servable:
    """model: a stored document. `problem` names the first thing that it asks for and that is not there."""
    name = model["ModelName"]
    given = containers(model)
    for path, container in given:
        if problem := _problem(path, container):
            return Servable(problem=f'Model "{name}" {problem}')
    hostnames = [
        container.get("ContainerHostname") or ("primary" if len(given) == 1 else f"container-{at}")
        for at, (_, container) in enumerate(given, 1)
    ]
    return Servable(
        tuple(_container(hostname, container) for hostname, (_, container) in zip(hostnames, given, strict=True)),
        direct=_is_direct(model),
        execution_role=model.get("ExecutionRoleArn", ""),
        network_isolation=model.get("EnableNetworkIsolation", False),
    )


def _check_one_of_two(request: Mapping[str, Any]) -> None:
    one, several = request.get("PrimaryContainer"), request.get("Containers")
    if (one is None) == (not several):
        given = "none is given" if one is None else "both are given"
        raise ValidationFailed(f"A model has either PrimaryContainer or Containers; {given}.")


def _check_container(path: str, container: Mapping[str, Any]) -> None:
    if not container.get("Image") and not container.get("ModelPackageName"):
        raise ValidationFailed(f"{path} names neither Image nor ModelPackageName; one of the two is needed.")
    if container.get("ModelDataUrl") and container.get("ModelDataSource"):
        raise ValidationFailed(f"{path} gives both ModelDataUrl and ModelDataSource; one of the two is allowed.")
    if container.get("Mode") == "MultiModel" and not container.get("ModelDataUrl"):
        raise ValidationFailed(
            f"{path} has Mode MultiModel; it needs ModelDataUrl, the prefix of all its models (ModelDataSource cannot "
            "give it)."
        )
    sources = [(f"{path}.ModelDataSource", container.get("ModelDataSource", {}).get("S3DataSource"))]
    channels: set[str] = set()
    for at, each in enumerate(container.get("AdditionalModelDataSources", [])):
        where = f"{path}.AdditionalModelDataSources[{at}]"
        if each["ChannelName"] in channels:
            raise ValidationFailed(f'{where} has the ChannelName "{each["ChannelName"]}", which another one has too.')
        channels.add(each["ChannelName"])
        sources.append((where, each["S3DataSource"]))
    for where, source in sources:
        if source is not None:
            _check_source(where, source)


def _check_source(path: str, source: Mapping[str, Any]) -> None:
    is_prefix = source["S3DataType"] == "S3Prefix"
    if is_prefix and source["CompressionType"] == "Gzip":
        raise ValidationFailed(f"{path} has S3DataType S3Prefix and CompressionType Gzip; a prefix is not compressed.")
    if is_prefix and not source["S3Uri"].endswith("/"):
        raise ValidationFailed(
            f'{path} has S3DataType S3Prefix and the S3Uri "{source["S3Uri"]}"; a prefix ends with a slash.'
        )


def _check_hostnames(request: Mapping[str, Any]) -> None:
    given = containers(request)
    missing = [path for path, container in given if not container.get("ContainerHostname")]
    if _is_direct(request):
        if not request.get("Containers"):
            raise ValidationFailed("InferenceExecutionConfig.Mode Direct needs Containers, not PrimaryContainer.")
        if missing:
            raise ValidationFailed(f"{missing[0]} has no ContainerHostname, which Mode Direct needs on each container.")
    if missing and len(missing) < len(given):
        raise ValidationFailed(
            f"{missing[0]} has no ContainerHostname; when one container of a model has it, each of them needs it."
        )
    hostnames = [container["ContainerHostname"] for _, container in given if container.get("ContainerHostname")]
    for hostname in hostnames:
        if hostnames.count(hostname) > 1:
            raise ValidationFailed(f'ContainerHostname "{hostname}" is given to more than one container.')


def _environment_bytes(path: str, environment: Mapping[str, str]) -> int:
    for key in environment:
        if not _VARIABLE.fullmatch(key):
            raise ValidationFailed(
                f'{path}.Environment has the key "{key}"; a key is made of letters, digits and "_", and starts with no '
                "digit."
            )
    return sum(len(key.encode()) + len(value.encode()) for key, value in environment.items())


def _is_direct(model: Mapping[str, Any]) -> bool:
    return bool(model.get("InferenceExecutionConfig", {}).get("Mode") == "Direct")


def _problem(path: str, container: Mapping[str, Any]) -> str:
    """Why no instance could run this container, as the rest of a sentence about its model; "" when one can."""
    if not container.get("Image"):
        return f"has no image for {path}: its model package names none."
    for where, source in _data_sources(path, container):
        for member in ("ManifestS3Uri", "HubAccessConfig"):
            if source.get(member):
                return f"gives {where}.{member}, {_NOT_SERVED}"
    addresses = [
        container.get("ModelDataUrl", ""),
        *(source["S3Uri"] for _, source in _data_sources(path, container)),
        _submitted(container),
    ]
    for uri in addresses:
        if uri and not uri.startswith("s3://"):
            return f"has its model data at {uri}; only s3:// addresses can be fetched."
    return ""


_NOT_SERVED = "which this release of Kedge stores but cannot serve."


def _data_sources(path: str, container: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    found = []
    if source := container.get("ModelDataSource", {}).get("S3DataSource"):
        found.append((f"{path}.ModelDataSource", source))
    for at, each in enumerate(container.get("AdditionalModelDataSources", [])):
        found.append((f"{path}.AdditionalModelDataSources[{at}]", each["S3DataSource"]))
    return found


def _container(name: str, container: Mapping[str, Any]) -> Container:
    sources = []
    url = container.get("ModelDataUrl", "")
    many = container.get("Mode") == "MultiModel"
    if url and not many:
        sources.append(Source(url))
    if source := container.get("ModelDataSource", {}).get("S3DataSource"):
        sources.append(_source(source, ""))
    for each in container.get("AdditionalModelDataSources", []):
        sources.append(_source(each["S3DataSource"], each["ChannelName"]))
    if code := _submitted(container):
        sources.append(Source(code, Form.ARCHIVE, CODE))
    return Container(
        name,
        container["Image"],
        tuple(sources),
        dict(container.get("Environment", {})),
        models=f"{url.rstrip('/')}/" if many else "",
        keeps_models=container.get("MultiModelConfig", {}).get("ModelCacheSetting") != "Disabled",
    )


def _source(given: Mapping[str, Any], folder: str) -> Source:
    if given["CompressionType"] == "Gzip":
        form = Form.ARCHIVE
    else:
        form = Form.PREFIX if given["S3DataType"] == "S3Prefix" else Form.OBJECT
    return Source(given["S3Uri"], form, folder)


def _submitted(container: Mapping[str, Any]) -> str:
    """Where the code lies, if not in the model data: the SDK's SKLearnModel and XGBoostModel ship it apart.

    A folder of the artifact (/opt/ml/model/code, file://...) is the script runtime's business.
    """
    value: str = container.get("Environment", {}).get(SUBMIT_DIRECTORY, "")
    return value if value.startswith("s3://") else ""
