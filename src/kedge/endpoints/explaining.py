"""ExplainerConfig: which variants have an explainer, and why one cannot. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.endpoints.records import Variant
from kedge.objects import address
from kedge.serving.explaining.config import BadExplainer, read

MEMBER = "ExplainerConfig"


def config_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ClarifyExplainerConfig of an endpoint config; none where nothing is to be explained."""
    found: Mapping[str, Any] = config.get(MEMBER, {}).get("ClarifyExplainerConfig", {})
    return found


def problem(config: Mapping[str, Any], variant: Variant) -> str:
    """Why the variant's answers cannot be explained as the endpoint config asks; "" when they can."""
    lead = f'Endpoint config "{config["EndpointConfigName"]}" has an {MEMBER}'
    for there, what in (
        (config.get("AsyncInferenceConfig"), "an AsyncInferenceConfig"),
        (config.get("ShadowProductionVariants"), "shadow variants"),
        (variant.is_room, "variants without a model, for inference components"),
        (variant.serverless, f"the serverless variant {variant.name}"),
        (variant.direct, f"a model on variant {variant.name} whose containers are invoked one by one"),
    ):
        if there:
            return f"{lead} and {what}; answers of those are not explained."
    try:
        explainer = read(config_of(config))
        if explainer.baseline_uri:
            address.parse(explainer.baseline_uri)
    except BadExplainer as bad:
        return f"{lead}. {bad}"
    except ValueError as error:
        return f'{lead}. ShapBaselineUri is "{explainer.baseline_uri}"; {error}.'
    if explainer.baseline_uri and variant.network_isolation:
        return f"{lead} with a ShapBaselineUri, which a model with network isolation cannot read; give ShapBaseline."
    return ""
