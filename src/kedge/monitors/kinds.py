"""The four kinds of monitors, and what each one's job definition calls its parts. PURE."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    type: str
    """MonitoringType, and how the members of its job definition begin."""
    job: str
    """How the names of its processing jobs begin."""
    constraints: str
    """The file of a baselining job's output that its constraints are."""
    merges: bool = False
    """Captured records are joined with labels first."""

    @property
    def resource(self) -> str:
        """Of its job definitions, in the store and in ARNs."""
        return f"{_kebab(self.type)}-job-definition"

    @property
    def said(self) -> str:
        return self.resource.replace("-", " ")

    @property
    def is_clarify(self) -> bool:
        """Its program is told what to do by a configuration of its own."""
        return self.type in ("ModelBias", "ModelExplainability")


DATA_QUALITY = Kind("DataQuality", "model-monitoring", "constraints.json")
MODEL_QUALITY = Kind("ModelQuality", "model-quality-monitoring", "constraints.json", merges=True)
MODEL_BIAS = Kind("ModelBias", "model-bias-monitoring", "analysis.json", merges=True)
MODEL_EXPLAINABILITY = Kind("ModelExplainability", "model-explainability-monitoring", "analysis.json")
KINDS = {each.type: each for each in (DATA_QUALITY, MODEL_QUALITY, MODEL_BIAS, MODEL_EXPLAINABILITY)}


def _kebab(text: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text).lower()
