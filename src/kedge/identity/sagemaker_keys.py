"""What conditions of SageMaker's own can ask about a request: by condition key, the members that give its values. PURE.

A key of which a request gives no value is left out. Source: "Actions, resources, and condition keys for Amazon
SageMaker" in the service authorization reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kedge.identity.patterns import Values

_SCHEDULED = "MonitoringScheduleConfig.MonitoringJobDefinition"
_VARIANTS = ("ProductionVariants", "ShadowProductionVariants")
_OUTPUTS = (
    "DataQualityJobOutputConfig",
    "ModelQualityJobOutputConfig",
    "ModelBiasJobOutputConfig",
    "ModelExplainabilityJobOutputConfig",
)
_RESOURCES = (
    "ResourceConfig",
    "TransformResources",
    "ProcessingResources.ClusterConfig",
    "JobResources.ClusterConfig",
    f"{_SCHEDULED}.MonitoringResources.ClusterConfig",
)
"""The machines of a job."""
_NETWORKS = ("NetworkConfig", f"{_SCHEDULED}.NetworkConfig")
_STOPPING = ("StoppingCondition", f"{_SCHEDULED}.StoppingCondition")

_KEYS: Mapping[str, tuple[str, ...]] = {
    "acceleratortypes": tuple(f"{each}.AcceleratorType" for each in _VARIANTS),
    "instancetypes": (
        *(f"{each}.InstanceType" for each in (*_VARIANTS, *_RESOURCES)),
        *(f"{each}.InstancePools.InstanceType" for each in _VARIANTS),
        "ResourceConfig.InstanceGroups.InstanceType",
    ),
    "intercontainertrafficencryption": (
        "EnableInterContainerTrafficEncryption",
        *(f"{each}.EnableInterContainerTrafficEncryption" for each in _NETWORKS),
    ),
    "keepaliveperiod": ("ResourceConfig.KeepAlivePeriodInSeconds",),
    "maxruntimeinseconds": tuple(f"{each}.MaxRuntimeInSeconds" for each in _STOPPING),
    "modelapprovalstatus": ("ModelApprovalStatus",),
    "modelname": tuple(f"{each}.ModelName" for each in _VARIANTS),
    "networkisolation": ("EnableNetworkIsolation", *(f"{each}.EnableNetworkIsolation" for each in _NETWORKS)),
    "outputkmskey": tuple(
        f"{each}.KmsKeyId"
        for each in (
            *("OutputDataConfig", "ProcessingOutputConfig", "TransformOutput", *_OUTPUTS),
            f"{_SCHEDULED}.MonitoringOutputConfig",
        )
    ),
    "serverlessmaxconcurrency": tuple(f"{each}.ServerlessConfig.MaxConcurrency" for each in _VARIANTS),
    "serverlessmemorysize": tuple(f"{each}.ServerlessConfig.MemorySizeInMB" for each in _VARIANTS),
    "volumekmskey": ("KmsKeyId", *(f"{each}.VolumeKmsKeyId" for each in _RESOURCES)),
    "vpcsecuritygroupids": tuple(
        f"{each}.SecurityGroupIds" for each in ("VpcConfig", *(f"{one}.VpcConfig" for one in _NETWORKS))
    ),
    "vpcsubnets": tuple(f"{each}.Subnets" for each in ("VpcConfig", *(f"{one}.VpcConfig" for one in _NETWORKS))),
}
"""Members on the way by their names; a list stands for each of its items."""
_PATHS = {f"sagemaker:{key}": [path.split(".") for path in paths] for key, paths in _KEYS.items()}


def of_request(given: Mapping[str, Any]) -> dict[str, Values]:
    """By condition key in lower case."""
    if len(given) < 2:
        return {}  # it names a resource, and says nothing of it
    found = {
        key: tuple(dict.fromkeys(said(value) for path in paths for value in _at(given, path)))
        for key, paths in _PATHS.items()
    }
    return {key: values for key, values in found.items() if values}


def said(value: object) -> str:
    """As a condition has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _at(given: Any, path: list[str]) -> Iterator[object]:
    if isinstance(given, list | tuple):
        for each in given:
            yield from _at(each, path)
    elif not path:
        yield given
    elif isinstance(given, Mapping) and given.get(path[0]) is not None:
        yield from _at(given[path[0]], path[1:])
