"""What an experiment may be, beyond the shapes of the API; whether its endpoint is fit for it. PURE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kedge.endpoints.records import Endpoint
from kedge.errors import ValidationFailed
from kedge.inference_experiments.records import (
    PROMOTE,
    REMOVE,
    RETAIN,
    Stop,
    hardware_of,
    model_variant,
    percent_of,
    shadow_of,
    source_of,
    staying,
)


def check(document: Mapping[str, Any]) -> None:
    """Raises ValidationFailed for what contradicts itself."""
    source, shadow = source_of(document), shadow_of(document)
    if source == shadow:
        raise ValidationFailed(f'Variant "{shadow}" cannot be the shadow of itself; name another one.')
    _check_variants("ModelVariants", document["ModelVariants"], (source, shadow))
    if model_variant(document, shadow) is None:
        raise ValidationFailed(f'ModelVariants says nothing of the shadow variant "{shadow}"; its model is needed.')
    percent = percent_of(document)
    if percent < 0:
        raise ValidationFailed(f"SamplingPercentage is {percent}; it has to be 0 to 100.")
    storage = document.get("DataStorageConfig")
    if storage is not None and not storage["Destination"].startswith("s3://"):
        raise ValidationFailed(
            f'DataStorageConfig.Destination is "{storage["Destination"]}"; it has to be s3://BUCKET or s3://BUCKET/PREFIX.'
        )
    if document["EndTime"] <= document["StartTime"]:
        raise ValidationFailed("The Schedule's EndTime is not after its StartTime.")


def check_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Of an experiment that runs: hardware, percentage and storage may change. Raises ValidationFailed."""
    if after["StartTime"] != before["StartTime"]:
        raise ValidationFailed("The experiment is running: of its Schedule only EndTime can be changed.")
    if (source_of(after), shadow_of(after)) != (source_of(before), shadow_of(before)):
        raise ValidationFailed("The experiment is running: its variants cannot be exchanged for others.")
    for each in after["ModelVariants"]:
        old = model_variant(before, each["VariantName"])
        if old is not None and old["ModelName"] != each["ModelName"]:
            raise ValidationFailed(
                f'The experiment is running: variant "{each["VariantName"]}" keeps the model "{old["ModelName"]}".'
            )


def check_stop(document: Mapping[str, Any], stop: Stop) -> None:
    """Raises ValidationFailed for an end that cannot be."""
    source, shadow = source_of(document), shadow_of(document)
    actions = stop.actions
    for name in actions:
        if name not in (source, shadow):
            raise ValidationFailed(
                f'ModelVariantActions names "{name}"; the experiment\'s variants are "{source}" and "{shadow}".'
            )
    of_source, of_shadow = actions.get(source), actions.get(shadow, REMOVE)
    if of_source == PROMOTE:
        raise ValidationFailed(f'Variant "{source}" is a production variant already; only "{shadow}" can be promoted.')
    if of_source == REMOVE and of_shadow != PROMOTE:
        raise ValidationFailed(f'Variant "{source}" can be removed only when "{shadow}" is promoted.')
    if of_source == RETAIN and of_shadow == PROMOTE:
        raise ValidationFailed(
            f'Variant "{shadow}" takes the place of "{source}" when it is promoted: "{source}" has to be removed.'
        )
    _check_variants("DesiredModelVariants", stop.variants, staying(document, stop))
    for each in stop.variants:
        before = model_variant(document, each["VariantName"])
        if before is not None and before["ModelName"] != each["ModelName"]:
            raise ValidationFailed(
                f'DesiredModelVariants gives variant "{each["VariantName"]}" the model "{each["ModelName"]}"; it keeps '
                f'"{before["ModelName"]}".'
            )


def unfit(document: Mapping[str, Any], endpoint: Endpoint) -> str:
    """Why the experiment cannot begin on the endpoint; "" when it can."""
    fleet = endpoint.live or endpoint.pending
    assert fleet is not None, "an endpoint has a fleet"
    source, shadow = source_of(document), shadow_of(document)
    names = [each.name for each in fleet.production]
    if fleet.shadow:
        return f'Endpoint "{endpoint.name}" has the shadow variant "{fleet.shadow}" already.'
    if names != [source]:
        return (
            f'Endpoint "{endpoint.name}" has the production variants {", ".join(names)}; an experiment needs exactly '
            f'the one that it is on, "{source}".'
        )
    if shadow in names:
        return f'Endpoint "{endpoint.name}" has a variant "{shadow}" already.'
    wanted = model_variant(document, source)
    if wanted is not None and wanted["ModelName"] != fleet.production[0].model:
        return (
            f'Variant "{source}" serves the model "{fleet.production[0].model}"; an experiment does not exchange it '
            f'for "{wanted["ModelName"]}".'
        )
    return ""


def _check_variants(member: str, variants: Sequence[Mapping[str, Any]], allowed: Sequence[str]) -> None:
    seen: set[str] = set()
    for each in variants:
        name = each["VariantName"]
        if name in seen:
            raise ValidationFailed(f'The variant name "{name}" was non-unique within {member}.')
        if name not in allowed:
            raise ValidationFailed(f'{member} names "{name}"; it may name {" and ".join(allowed)}.')
        seen.add(name)
        count = hardware_of(each)["InstanceCount"]
        if count < 1:
            raise ValidationFailed(f'InstanceCount of variant "{name}" is {count}; at least 1 instance is needed.')
