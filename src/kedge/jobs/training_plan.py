"""What a training job may ask for, and what its program is given. PURE.

Source of the layout: "Use your own training algorithms" in the SageMaker developer guide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kedge.errors import ValidationFailed
from kedge.jobs import images, script_mode
from kedge.jobs.program_plan import (
    DEFAULT_RUNTIME_S,
    MODEL,
    OUTPUT_DATA,
    Input,
    Output,
    ProgramPlan,
    check_address,
    check_one_instance,
    local,
    refuse,
    resource_config,
)
from kedge.jobs.program_records import Size
from kedge.objects import address

SHOWN = (
    "TrainingJobName",
    "HyperParameters",
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "VpcConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "DebugHookConfig",
    "TensorBoardOutputConfig",
    "ExperimentConfig",
    "ProfilerConfig",
    "ProfilerRuleConfigurations",
    "Environment",
    "RetryStrategy",
)
_UNSERVED = (
    "DebugRuleConfigurations",
    "ServerlessJobConfig",
    "MlflowConfig",
    "ModelPackageConfig",
)
_CHECKPOINTS = "/opt/ml/checkpoints"


def checked(request: Mapping[str, Any], runs: str) -> dict[str, Any]:
    """The members that are kept. runs: what its image stands for. Raises ValidationFailed."""
    resources, algorithm = request.get("ResourceConfig", {}), request["AlgorithmSpecification"]
    refuse((request.get(member), member) for member in _UNSERVED)
    refuse((resources.get(m), f"ResourceConfig.{m}") for m in ("VolumeKmsKeyId", "InstanceGroups", "TrainingPlanArn"))
    check_one_instance("ResourceConfig.InstanceCount", resources.get("InstanceCount", 1))
    if not resources.get("InstanceType"):
        raise ValidationFailed("ResourceConfig.InstanceType is not given; it has to name a type.")
    check_address("OutputDataConfig.S3OutputPath", request["OutputDataConfig"]["S3OutputPath"])
    mode = algorithm["TrainingInputMode"]
    for channel in request.get("InputDataConfig", ()):
        _check_channel(channel, mode)
    if checkpoints := request.get("CheckpointConfig"):
        check_address("CheckpointConfig.S3Uri", checkpoints["S3Uri"])
        local("CheckpointConfig.LocalPath", checkpoints.get("LocalPath", _CHECKPOINTS), "/opt/ml")
    if runs == images.PYTHON and not algorithm.get("ContainerEntrypoint"):
        script, source = script_mode.program(request.get("HyperParameters", {}), request.get("Environment", {}))
        if not script:
            raise ValidationFailed(
                f'The image "{algorithm["TrainingImage"]}" is run in script mode only: the hyperparameter '
                f"{script_mode.PROGRAM} has to name a script of the archive at {script_mode.SUBMIT_DIRECTORY}, as the "
                "SDK's estimators do with an entry_point."
            )
        if source.startswith("s3:"):
            check_address(script_mode.SUBMIT_DIRECTORY, source)
        _relative(script)
    if images.is_module(runs):
        raise ValidationFailed(f'The image "{algorithm["TrainingImage"]}" is one of processing jobs.')
    return {member: request[member] for member in SHOWN if member in request}


def model_uri(request: Mapping[str, Any], name: str) -> str:
    """S3ModelArtifacts."""
    output = request["OutputDataConfig"]
    packed = output.get("CompressionType", "GZIP") != "NONE"
    return address.below(output["S3OutputPath"], name, "output", "model.tar.gz" if packed else "model/")


def plan_of(request: Mapping[str, Any], runs: str, size: Size, arn: str, region: str) -> ProgramPlan:
    """request: what `checked` has kept. arn: of the job."""
    algorithm, output, name = request["AlgorithmSpecification"], request["OutputDataConfig"], request["TrainingJobName"]
    hyperparameters = request.get("HyperParameters", {})
    channels = request.get("InputDataConfig", ())
    config = {each["ChannelName"]: _channel_config(each, algorithm["TrainingInputMode"]) for each in channels}
    inputs = [_input(each) for each in channels]
    outputs = []
    if checkpoints := request.get("CheckpointConfig"):
        where = local("CheckpointConfig.LocalPath", checkpoints.get("LocalPath", _CHECKPOINTS), "/opt/ml")
        inputs.append(Input(checkpoints["S3Uri"].rstrip("/") + "/", where, required=False))
        outputs.append(Output(checkpoints["S3Uri"], where, continuous=True))
    names = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION", "SAGEMAKER_REGION"), region)
    environment = {**names, "TRAINING_JOB_NAME": name, "TRAINING_JOB_ARN": arn}
    entrypoint, source, work_dir = tuple(algorithm.get("ContainerEntrypoint", ())), "", ""
    arguments = tuple(algorithm.get("ContainerArguments", ()))
    if runs == images.PYTHON:
        environment |= script_mode.environment(name, hyperparameters, list(config), config, size)
    if runs == images.PYTHON and not entrypoint:
        script, source = script_mode.program(hyperparameters, request.get("Environment", {}))
        source, work_dir = source if source.startswith("s3:") else "", script_mode.CODE_DIR
        shell = script.endswith(".sh")
        entrypoint = ("/bin/sh", script) if shell else ("python3", script)
        arguments = script_mode.arguments(script_mode.own(hyperparameters))
    elif runs == images.CONTAINER and not entrypoint and not arguments:
        arguments = ("train",)
    return ProgramPlan(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        files={
            "input/config/hyperparameters.json": json.dumps(hyperparameters),
            "input/config/inputdataconfig.json": json.dumps(config),
            "input/config/resourceconfig.json": json.dumps(resource_config(size.instance_type)),
        },
        folders=(
            *(MODEL, OUTPUT_DATA, "output/intermediate", "input/data", "code"),
            *(each.local for each in inputs),
        ),
        source=source,
        entrypoint=entrypoint,
        arguments=arguments,
        work_dir=work_dir,
        environment={**environment, **request.get("Environment", {})},
        most_s=request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_RUNTIME_S),
        kms_key=output.get("KmsKeyId", ""),
        role=request["RoleArn"],
        isolated=bool(request.get("EnableNetworkIsolation")),
        model_uri=model_uri(request, name),
        output_data_uri=address.below(output["S3OutputPath"], name, "output", "output.tar.gz"),
        packed=output.get("CompressionType", "GZIP") != "NONE",
    )


def _check_channel(channel: Mapping[str, Any], mode: str) -> None:
    where, source = f"InputDataConfig.{channel['ChannelName']}", channel["DataSource"]
    for member in ("FileSystemDataSource", "DatasetSource"):
        refuse([(source.get(member), f"{where}.DataSource.{member}")])
    given = source.get("S3DataSource")
    if given is None:
        raise ValidationFailed(f"{where}.DataSource has no S3DataSource; it has to name objects.")
    kind = given["S3DataType"]
    refuse(
        [
            (channel.get("InputMode", mode) == "Pipe" and "Pipe", f"{where}.InputMode"),
            (channel.get("RecordWrapperType") == "RecordIO" and "RecordIO", f"{where}.RecordWrapperType"),
            (kind not in ("S3Prefix", "ManifestFile") and kind, f"{where}.DataSource.S3DataSource.S3DataType"),
        ]
    )
    check_address(f"{where}.DataSource.S3DataSource.S3Uri", given["S3Uri"])


def _input(channel: Mapping[str, Any]) -> Input:
    given = channel["DataSource"]["S3DataSource"]
    return Input(
        given["S3Uri"],
        f"input/data/{channel['ChannelName']}",
        manifest=given["S3DataType"] == "ManifestFile",
        gzip=channel.get("CompressionType") == "Gzip",
    )


def _channel_config(channel: Mapping[str, Any], mode: str) -> dict[str, str]:
    source = channel["DataSource"]["S3DataSource"]
    found = {
        "TrainingInputMode": channel.get("InputMode", mode),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    return {**found, "ContentType": channel["ContentType"]} if "ContentType" in channel else found


def _relative(script: str) -> None:
    if script.startswith("/") or ".." in script.split("/"):
        raise ValidationFailed(f'{script_mode.PROGRAM} is "{script}"; it has to be a path in the archive.')
