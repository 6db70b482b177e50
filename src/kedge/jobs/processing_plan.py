"""What a processing job may ask for, and what its program is given. PURE.

Source of the layout: "Build your own processing container" in the SageMaker developer guide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kedge.errors import ValidationFailed
from kedge.jobs import images
from kedge.jobs.program_plan import (
    DEFAULT_RUNTIME_S,
    Input,
    Output,
    ProgramPlan,
    check_address,
    check_one_instance,
    local,
    refuse,
    resource_config,
)

SHOWN = (
    "ProcessingJobName",
    "ProcessingInputs",
    "ProcessingOutputConfig",
    "ProcessingResources",
    "StoppingCondition",
    "AppSpecification",
    "Environment",
    "NetworkConfig",
    "RoleArn",
    "ExperimentConfig",
)
BELOW = "/opt/ml/processing"


def checked(request: Mapping[str, Any], runs: str) -> dict[str, Any]:
    """The members that are kept. runs: what its image stands for. Raises ValidationFailed."""
    cluster, specification = request["ProcessingResources"]["ClusterConfig"], request["AppSpecification"]
    check_one_instance("ProcessingResources.ClusterConfig.InstanceCount", cluster.get("InstanceCount", 1))
    if not cluster.get("InstanceType"):
        raise ValidationFailed("ProcessingResources.ClusterConfig.InstanceType is not given; it has to name a type.")
    refuse([(cluster.get("VolumeKmsKeyId"), "ProcessingResources.ClusterConfig.VolumeKmsKeyId")])
    if runs == images.PYTHON and not specification.get("ContainerEntrypoint"):
        raise ValidationFailed(
            f'AppSpecification.ContainerEntrypoint is not given; the image "{specification["ImageUri"]}" is run by the '
            "Python of this machine, so it has to name a command, such as python3 and a script."
        )
    for each in request.get("ProcessingInputs", ()):
        _check_input(each)
    for each in request.get("ProcessingOutputConfig", {}).get("Outputs", ()):
        _check_output(each)
    return {member: request[member] for member in SHOWN if member in request}


def plan_of(request: Mapping[str, Any], runs: str, arn: str, region: str) -> ProgramPlan:
    """request: what `checked` has kept. arn: of the job."""
    specification, cluster = request["AppSpecification"], request["ProcessingResources"]["ClusterConfig"]
    configured = request.get("ProcessingOutputConfig", {})
    inputs = tuple(
        Input(
            given["S3Uri"],
            local("LocalPath", given["LocalPath"], BELOW),
            manifest=given["S3DataType"] == "ManifestFile",
            gzip=given.get("S3CompressionType") == "Gzip",
        )
        for each in request.get("ProcessingInputs", ())
        if not each.get("AppManaged") and (given := each.get("S3Input"))
    )
    outputs = tuple(
        Output(given["S3Uri"], local("LocalPath", given["LocalPath"], BELOW), given["S3UploadMode"] == "Continuous")
        for each in configured.get("Outputs", ())
        if not each.get("AppManaged") and (given := each.get("S3Output"))
    )
    described = {"ProcessingJobArn": arn, **request}
    names = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), region)
    return ProgramPlan(
        inputs=inputs,
        outputs=outputs,
        files={
            "config/processingjobconfig.json": json.dumps(described, default=str),
            "config/resourceconfig.json": json.dumps(resource_config(cluster["InstanceType"])),
        },
        folders=("output", "processing", *(each.local for each in outputs), *(each.local for each in inputs)),
        entrypoint=tuple(specification.get("ContainerEntrypoint", ())),
        arguments=tuple(specification.get("ContainerArguments", ())),
        environment={**names, "PROCESSING_JOB_ARN": arn, **request.get("Environment", {})},
        most_s=request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_RUNTIME_S),
        kms_key=configured.get("KmsKeyId", ""),
        role=request["RoleArn"],
        isolated=bool(request.get("NetworkConfig", {}).get("EnableNetworkIsolation")),
    )


def _check_input(each: Mapping[str, Any]) -> None:
    where = f"ProcessingInputs.{each['InputName']}"
    refuse([(each.get("DatasetDefinition"), f"{where}.DatasetDefinition")])
    given = each.get("S3Input")
    if given is None:
        raise ValidationFailed(f"{where} has no S3Input; it has to name objects.")
    check_address(f"{where}.S3Input.S3Uri", given["S3Uri"])
    refuse([(given.get("S3InputMode") == "Pipe" and "Pipe", f"{where}.S3Input.S3InputMode")])
    if not each.get("AppManaged"):
        local(f"{where}.S3Input.LocalPath", given.get("LocalPath", ""), BELOW)


def _check_output(each: Mapping[str, Any]) -> None:
    where = f"ProcessingOutputConfig.{each['OutputName']}"
    refuse([(each.get("FeatureStoreOutput"), f"{where}.FeatureStoreOutput")])
    given = each.get("S3Output")
    if given is None:
        raise ValidationFailed(f"{where} has no S3Output; it has to say where its files go.")
    check_address(f"{where}.S3Output.S3Uri", given["S3Uri"])
    if not each.get("AppManaged"):
        local(f"{where}.S3Output.LocalPath", given.get("LocalPath", ""), BELOW)
