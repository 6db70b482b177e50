"""CreateModel, DescribeModel, ListModels, DeleteModel.

A model is a description: it is stored as it was given, whatever image and address it names, since Terraform and test
suites invent those. Whether it can be served is found out by CreateEndpoint, which says so in its FailureReason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kedge.documents import Kind
from kedge.models.records import KIND, checked


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"EnableNetworkIsolation": False, **document}


MODEL = Kind(KIND, "model", "Model", checked, shown=_shown)
OPERATIONS = MODEL.operations()
