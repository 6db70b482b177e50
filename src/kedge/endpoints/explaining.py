"""ExplainerConfig: which variants have an explainer, and why one cannot. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.endpoints import serverless
from kedge.endpoints.records import Variant
from kedge.errors import ValidationFailed
from kedge.objects import address
from kedge.serving.explaining.config import BadExplainer, read

MEMBER = "ExplainerConfig"


def config_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ClarifyExplainerConfig of an endpoint config; none where nothing is to be explained."""
    found: Mapping[str, Any] = config.get(MEMBER, {}).get("ClarifyExplainerConfig", {})
    return found


def check(config: Mapping[str, Any]) -> None:
    """Online explainability is there for real-time endpoints, with one model or many. Raises ValidationFailed.

    Source: "Online explainability with SageMaker Clarify" in the SageMaker developer guide.
    """
    if config_of(config) and (what := _not_real_time(config)):
        raise ValidationFailed(
            f"{MEMBER} is given with {what}; only answers of real-time endpoints whose variants have models are "
            "explained."
        )


def problem(config: Mapping[str, Any], variant: Variant) -> str:
    """Why the variant's answers cannot be explained as the endpoint config asks; "" when they can."""
    lead = f'Endpoint config "{config["EndpointConfigName"]}" has an {MEMBER}'
    direct = f"a model on variant {variant.name} whose containers are invoked one by one" if variant.direct else ""
    if what := _not_real_time(config) or direct:
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


def _not_real_time(config: Mapping[str, Any]) -> str:
    """What of the config keeps its answers from being explained; "" where nothing does."""
    if config.get("AsyncInferenceConfig"):
        return "an AsyncInferenceConfig"
    if config.get("ShadowProductionVariants"):
        return "ShadowProductionVariants"
    for variant in config["ProductionVariants"]:
        if not variant.get("ModelName"):
            return f"variant {variant['VariantName']}, which has no model but inference components"
        if variant.get(serverless.MEMBER):
            return f"variant {variant['VariantName']}, which is serverless"
    return ""
