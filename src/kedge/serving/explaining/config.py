"""ClarifyExplainerConfig as an explainer takes it, and what of it cannot be done here. PURE.

Source: "Online explainability with SageMaker Clarify" in the SageMaker developer guide, and ClarifyExplainerConfig.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

CSV, LINES = "text/csv", "application/jsonlines"
TYPES = (CSV, LINES)
FEATURES = "$features"
_ALL = "`true`"
_DEFAULT_PAYLOAD_MB = 6
_MIB = 1024 * 1024


class BadExplainer(ValueError):
    """The message says which member is wrong and what would be right."""


@dataclass(frozen=True)
class Explainer:
    enable: str = _ALL
    """JMESPath of a record of the model's answer: whether it is explained."""
    features_attribute: str = ""
    content_template: str = ""
    most_records: int = 0
    """Of a request to the model; 0 is as many as seem right."""
    most_bytes: int = _DEFAULT_PAYLOAD_MB * _MIB
    probability_index: int | None = None
    label_index: int | None = None
    probability_attribute: str = ""
    label_attribute: str = ""
    label_headers: tuple[str, ...] = ()
    feature_headers: tuple[str, ...] = ()
    baseline: str = ""
    baseline_uri: str = ""
    baseline_type: str = CSV
    samples: int | None = None
    use_logit: bool = False
    seed: int | None = None


def read(given: Mapping[str, Any]) -> Explainer:
    """given: a ClarifyExplainerConfig. Raises BadExplainer."""
    inference, shap = given.get("InferenceConfig", {}), given["ShapConfig"]
    if shap.get("TextConfig") or "text" in inference.get("FeatureTypes", ()):
        raise BadExplainer(
            "ShapConfig.TextConfig and the feature type text ask for explanations of parts of texts, which this "
            "release of Kedge does not give; features are numerical or categorical."
        )
    baseline = shap["ShapBaselineConfig"]
    inline, uri = baseline.get("ShapBaseline", ""), baseline.get("ShapBaselineUri", "")
    if bool(inline) == bool(uri):
        raise BadExplainer(
            "ShapBaselineConfig has to have either ShapBaseline or ShapBaselineUri; "
            f"{'both are' if inline else 'none is'} given."
        )
    kind = baseline.get("MimeType", CSV)
    if kind not in TYPES:
        raise BadExplainer(f'ShapBaselineConfig.MimeType is "{kind}"; it has to be one of {", ".join(TYPES)}.')
    headers, types = inference.get("FeatureHeaders", ()), inference.get("FeatureTypes", ())
    if headers and types and len(headers) != len(types):
        raise BadExplainer(f"There are {len(headers)} FeatureHeaders and {len(types)} FeatureTypes.")
    template = inference.get("ContentTemplate", "")
    if template and FEATURES not in template:
        raise BadExplainer(f"InferenceConfig.ContentTemplate is {template!r}; it has to have {FEATURES} in it.")
    found = Explainer(
        enable=given.get("EnableExplanations") or _ALL,
        features_attribute=inference.get("FeaturesAttribute", ""),
        content_template=template,
        most_records=inference.get("MaxRecordCount", 0),
        most_bytes=inference.get("MaxPayloadInMB", _DEFAULT_PAYLOAD_MB) * _MIB,
        probability_index=inference.get("ProbabilityIndex"),
        label_index=inference.get("LabelIndex"),
        probability_attribute=inference.get("ProbabilityAttribute", ""),
        label_attribute=inference.get("LabelAttribute", ""),
        label_headers=tuple(inference.get("LabelHeaders", ())),
        feature_headers=tuple(headers),
        baseline=inline,
        baseline_uri=uri,
        baseline_type=kind,
        samples=shap.get("NumberOfSamples"),
        use_logit=bool(shap.get("UseLogit")),
        seed=shap.get("Seed"),
    )
    for member, expression in (
        ("EnableExplanations", found.enable),
        ("InferenceConfig.FeaturesAttribute", found.features_attribute),
        ("InferenceConfig.ProbabilityAttribute", found.probability_attribute),
        ("InferenceConfig.LabelAttribute", found.label_attribute),
    ):
        if expression:
            compiled(member, expression)
    return found


def compiled(member: str, expression: str) -> Any:
    """A JMESPath expression. Raises BadExplainer."""
    try:
        return jmespath.compile(expression)
    except (JMESPathError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise BadExplainer(f"{member} is {expression!r}, which is no JMESPath expression: {said}") from None
