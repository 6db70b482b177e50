"""The calls by which a retraining makes its model and brings it into service, as anybody would make them. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kedge.errors import ValidationFailed
from kedge.monitors.records import time
from kedge.monitors.retraining.records import Run
from kedge.monitors.retraining.settings import AUTO, Settings
from kedge.monitors.windows import text
from kedge.objects import address

Request = dict[str, Any]
CANARY_PERCENT, BAKE_S = 10, 300
"""Where neither the tags nor the endpoint say how it is deployed."""
OF = "kedge:retraining-of"
"""The tag of everything that is made, with the name of the schedule."""
FROM, UNTIL = "KEDGE_RETRAIN_FROM", "KEDGE_RETRAIN_UNTIL"
"""Variables of the training job: of which time the labelled records are meant; files hold whole hours."""
_PACKAGED = ("Image", "ModelDataUrl", "Environment", "ContainerHostname")
_CONTENT = ["text/csv", "application/json"]


def training_job(template: Mapping[str, Any], run: Run, settings: Settings) -> Request:
    """CreateTrainingJob: the template's, but for its name and for the channels with what was labelled lately."""
    own = (settings.channel, settings.csv)
    channels = [each for each in template.get("InputDataConfig", ()) if each.get("ChannelName") not in own]
    source = {"S3DataType": "ManifestFile", "S3Uri": run.data, "S3DataDistributionType": "FullyReplicated"}
    recent = [{"ChannelName": settings.channel, "DataSource": {"S3DataSource": source}, "InputMode": "File"}]
    if settings.csv:
        rows = {**source, "S3DataType": "S3Prefix", "S3Uri": f"{rows_uri(run)}/"}
        recent.append(
            {
                "ChannelName": settings.csv, "DataSource": {"S3DataSource": rows}, "ContentType": "text/csv",
                "InputMode": "File",
            }
        )  # fmt: skip
    kept = {name: value for name, value in template.items() if name != "ExperimentConfig"}
    start_s, end_s = run.span_s
    span = {FROM: text(time(start_s)), UNTIL: text(time(end_s))}
    return {
        **kept,
        "TrainingJobName": run.made,
        "InputDataConfig": [*channels, *recent],
        "Environment": {**kept.get("Environment", {}), **span},
        "Tags": tagged(template.get("Tags", ()), run),
    }


def manifest(bucket: str, keys: Sequence[str]) -> list[Any]:
    return [{"prefix": f"s3://{bucket}/"}, *keys]


def manifest_uri(output: str, run: Run) -> str:
    """output: S3Uri of the monitor's reports."""
    return address.below(output, "retraining", run.made, "manifest.json")


def rows_uri(run: Run) -> str:
    """Where the same records lie as CSV: beside the manifest."""
    return address.below(run.data.rpartition("/")[0], "rows")


def container(model: Mapping[str, Any], model_uri: str) -> Request:
    """The one container of the model that serves, with the new model data. Raises ValidationFailed."""
    given = [model["PrimaryContainer"]] if "PrimaryContainer" in model else list(model.get("Containers", ()))
    if len(given) != 1:
        raise ValidationFailed(
            f'The model "{model["ModelName"]}" has {len(given)} containers; a retraining replaces the model data of '
            "one that is alone."
        )
    own = {
        member: value for member, value in given[0].items()
        if member not in ("ModelDataSource", "ModelPackageName", "InferenceSpecificationName")
    }  # fmt: skip
    if own.get("Mode") == "MultiModel":
        raise ValidationFailed(
            f'The model "{model["ModelName"]}" serves many models; a retraining replaces a single one.'
        )
    return {**own, "ModelDataUrl": model_uri}


def model_package(own: Mapping[str, Any], run: Run, settings: Settings, job_arn: str) -> Request:
    """CreateModelPackage: a version of the group. own: its container."""
    said = {member: own[member] for member in _PACKAGED if member in own}
    return {
        "ModelPackageGroupName": settings.group,
        "ModelPackageDescription": f"Retrained for the monitor {run.schedule}: {run.verdict}"[:1024],
        "ModelApprovalStatus": "Approved" if settings.approval == AUTO else "PendingManualApproval",
        "InferenceSpecification": {
            "Containers": [said], "SupportedContentTypes": _CONTENT, "SupportedResponseMIMETypes": _CONTENT,
        },
        "CustomerMetadataProperties": {"kedge-training-job": job_arn, "kedge-data": run.data},
        "ClientToken": run.uid,
    }  # fmt: skip


def model(live: Mapping[str, Any], own: Mapping[str, Any], run: Run) -> Request:
    """CreateModel. live: of the model whose place it takes. own: its container."""
    kept = {
        member: live[member] for member in ("ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation") if member in live
    }
    if run.package:
        own = {"ModelPackageName": run.package, **{m: own[m] for m in own if m not in (*_PACKAGED, "ModelDataUrl")}}
    return {"ModelName": run.made, "PrimaryContainer": dict(own), **kept, "Tags": tagged((), run)}


def chosen(config: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    """The variant whose model is replaced. Raises ValidationFailed."""
    variants = config["ProductionVariants"]
    found = [each for each in variants if each["VariantName"] == settings.variant] if settings.variant else variants
    names = ", ".join(each["VariantName"] for each in variants)
    if len(found) != 1:
        said = f'has no variant "{settings.variant}"' if settings.variant else f"has {len(found)} variants"
        raise ValidationFailed(
            f'The endpoint config "{config["EndpointConfigName"]}" {said}; the tag kedge:retrain-variant has to name '
            f"one of {names}."
        )
    if not found[0].get("ModelName"):
        raise ValidationFailed(
            f'The variant "{found[0]["VariantName"]}" has no model of its own; models of inference components are not '
            "retrained."
        )
    variant: Mapping[str, Any] = found[0]
    return variant


def endpoint_config(
    live: Mapping[str, Any], tags: Sequence[Mapping[str, str]], run: Run, settings: Settings
) -> Request:
    """CreateEndpointConfig: the one that serves, with the new model. tags: its own, of which some are rules."""
    name = chosen(live, settings)["VariantName"]
    variants = [
        {**each, "ModelName": run.made} if each["VariantName"] == name else each for each in live["ProductionVariants"]
    ]
    return {**live, "EndpointConfigName": run.made, "ProductionVariants": variants, "Tags": tagged(tags, run)}


def update(run: Run, settings: Settings, *, has_policy: bool) -> Request:
    """UpdateEndpoint. has_policy: the endpoint was deployed by a DeploymentConfig before."""
    own = settings.canary is not None or settings.bake_s is not None or bool(settings.alarm)
    asked: Request = {"EndpointName": run.endpoint, "EndpointConfigName": run.made, "RetainAllVariantProperties": True}
    if has_policy and not own:
        return {**asked, "RetainDeploymentConfig": True}
    bake_s = BAKE_S if settings.bake_s is None else settings.bake_s
    policy: Request = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "CANARY",
                "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": settings.canary or CANARY_PERCENT},
                "WaitIntervalInSeconds": bake_s,
            },
            "TerminationWaitInSeconds": bake_s,
        }
    }
    if settings.alarm:
        policy["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": settings.alarm}]}
    return {**asked, "DeploymentConfig": policy}


def tagged(given: Sequence[Mapping[str, str]], run: Run) -> list[dict[str, str]]:
    kept = [dict(each) for each in given if each["Key"] != OF and not each["Key"].lower().startswith("aws:")]
    return [*kept, {"Key": OF, "Value": run.schedule}]
