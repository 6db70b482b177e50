"""The endpoint configs that an experiment makes of the one that its endpoint had. PURE."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from kedge.endpoints.records import Fleet, Variant
from kedge.inference_experiments.records import (
    PROMOTE,
    REMOVE,
    RETAIN,
    Document,
    Stop,
    hardware_of,
    model_variant,
    percent_of,
    shadow_of,
    source_of,
)

_STEM_CHARS = 40


def name_of(experiment: Mapping[str, Any], number: int) -> str:
    """Of the experiment's config of that number: at most 63 characters, and no other experiment's."""
    stem = experiment["Name"][:_STEM_CHARS].rstrip("-")
    digest = hashlib.sha256(f"{experiment['Name']}/{experiment['Created']}".encode()).hexdigest()[:10]
    return f"{stem}-{digest}-{number}"


def with_shadow(experiment: Mapping[str, Any], base: Mapping[str, Any], live: Fleet, name: str) -> Document:
    """What runs while the experiment does. base: the endpoint config that the endpoint has. live: its fleet."""
    source, shadow = source_of(experiment), shadow_of(experiment)
    production = _sized(_member(base, source), live.variant(source), model_variant(experiment, source))
    copied = model_variant(experiment, shadow)
    assert copied is not None, "checked when the experiment was made"
    weight = production["InitialVariantWeight"] * percent_of(experiment) / 100
    found = {
        **base,
        "EndpointConfigName": name,
        "ProductionVariants": [production],
        "ShadowProductionVariants": [_variant_of(copied, weight)],
    }
    if storage := experiment.get("DataStorageConfig"):
        found["DataCaptureConfig"] = _capture(storage)
    return found


def afterwards(
    experiment: Mapping[str, Any],
    stop: Stop,
    running: Mapping[str, Any],
    base: Mapping[str, Any] | None,
    live: Fleet,
    name: str,
) -> Document:
    """What the endpoint has when the experiment is over.

    running: the config with the shadow. base: the one before it, None when it is not there any more. Capture is again
    what it was then. live: the fleet that serves.
    """
    source, shadow = source_of(experiment), shadow_of(experiment)
    wanted = {each["VariantName"]: each for each in stop.variants}
    action = stop.actions.get(shadow, REMOVE)
    production = _sized(_member(running, source), live.variant(source), wanted.get(source))
    copied = _sized(_member(running, shadow), live.variant(shadow), wanted.get(shadow))
    found = {**running, "EndpointConfigName": name}
    del found["ShadowProductionVariants"]
    if action == PROMOTE:
        found["ProductionVariants"] = [{**copied, "InitialVariantWeight": 1.0}]
    else:
        found["ProductionVariants"] = [production]
    if action == RETAIN:
        found["ShadowProductionVariants"] = [copied]
    if "DataStorageConfig" in experiment:
        del found["DataCaptureConfig"]
        if base is not None and "DataCaptureConfig" in base:
            found["DataCaptureConfig"] = base["DataCaptureConfig"]
    return found


def _member(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    variants = [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]
    found: Mapping[str, Any] = next(each for each in variants if each["VariantName"] == name)
    return found


def _sized(variant: Mapping[str, Any], live: Variant | None, wanted: Mapping[str, Any] | None) -> Document:
    """With the weight and the count that it has now, unless something else is wanted."""
    found = dict(variant)
    if live is not None:
        found |= {"InitialVariantWeight": live.desired_weight, "InitialInstanceCount": live.desired_count}
    return {**found, **_hardware(wanted)} if wanted is not None else found


def _variant_of(wanted: Mapping[str, Any], weight: float) -> Document:
    return {
        "VariantName": wanted["VariantName"],
        "ModelName": wanted["ModelName"],
        "InitialVariantWeight": weight,
        **_hardware(wanted),
    }


def _hardware(wanted: Mapping[str, Any]) -> Document:
    given = hardware_of(wanted)
    return {"InstanceType": given["InstanceType"], "InitialInstanceCount": given["InstanceCount"]}


def _capture(storage: Mapping[str, Any]) -> Document:
    """All requests and answers of both variants."""
    found: Document = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": storage["Destination"],
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    }
    if "KmsKey" in storage:
        found["KmsKeyId"] = storage["KmsKey"]
    if "ContentType" in storage:
        found["CaptureContentTypeHeader"] = storage["ContentType"]
    return found
