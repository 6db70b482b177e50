"""What can be scaled: a ResourceId and a ScalableDimension, read. PURE."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kedge.errors import ValidationFailed

NAMESPACE = "sagemaker"
INSTANCES = "sagemaker:variant:DesiredInstanceCount"
PROVISIONED = "sagemaker:variant:DesiredProvisionedConcurrency"
COPIES = "sagemaker:inference-component:DesiredCopyCount"
_VARIANT = re.compile(r"endpoint/(?P<endpoint>[a-zA-Z0-9-]{1,63})/variant/(?P<variant>[a-zA-Z0-9-]{1,63})")
FORMS: Mapping[str, re.Pattern[str]] = {
    INSTANCES: _VARIANT,
    PROVISIONED: _VARIANT,
    COPIES: re.compile(r"inference-component/(?P<component>[a-zA-Z0-9-]{1,63})"),
}
"""How the ResourceId of a dimension is written."""
_WRITTEN = {
    INSTANCES: "endpoint/NAME/variant/NAME",
    PROVISIONED: "endpoint/NAME/variant/NAME",
    COPIES: "inference-component/NAME",
}
WORDS = {INSTANCES: "instance count", PROVISIONED: "provisioned concurrency", COPIES: "copy count"}
"""What a dimension is called in activities."""


@dataclass(frozen=True)
class Scalable:
    id: str
    """ResourceId, as its owner writes it."""
    dimension: str
    endpoint: str = ""
    variant: str = ""
    component: str = ""
    """Of the three names, those that its ResourceId has."""

    @property
    def key(self) -> str:
        """The same for the same variant: names of endpoints differ by more than their case."""
        if self.component:
            return f"inference-component/{self.component.lower()}|{self.dimension}"
        return f"endpoint/{self.endpoint.lower()}/variant/{self.variant}|{self.dimension}"

    def said(self) -> str:
        """As AWS's messages name it."""
        return f"service namespace: {NAMESPACE}, resource ID: {self.id}, scalable dimension: {self.dimension}"


def check_namespace(request: Mapping[str, Any]) -> None:
    """Raises ValidationFailed."""
    given = request["ServiceNamespace"]
    if given != NAMESPACE:
        raise ValidationFailed(f'ServiceNamespace is "{given}"; Kedge scales resources of "{NAMESPACE}" alone.')


def of(request: Mapping[str, Any]) -> Scalable:
    """What a request names in full. Raises ValidationFailed."""
    check_namespace(request)
    return parse(request["ResourceId"], request["ScalableDimension"])


def parse(resource_id: str, dimension: str) -> Scalable:
    """Raises ValidationFailed."""
    check_dimension(dimension)
    found = FORMS[dimension].fullmatch(resource_id)
    if found is None:
        raise ValidationFailed(f'ResourceId is "{resource_id}"; for {dimension} it has to be {_WRITTEN[dimension]}.')
    return Scalable(resource_id, dimension, **found.groupdict())


def dimension_of(resource_id: str) -> str:
    """That a resource is scaled in, of which nothing else is said."""
    return COPIES if resource_id.startswith("inference-component/") else INSTANCES


def check_dimension(dimension: str) -> None:
    """Raises ValidationFailed."""
    if dimension not in FORMS:
        raise ValidationFailed(
            f"ScalableDimension is {dimension}; for namespace {NAMESPACE} it has to be {' or '.join(FORMS)}."
        )


def prefix(request: Mapping[str, Any]) -> str:
    """What the keys begin with of all that a Describe request asks for, "" for every one. Raises ValidationFailed."""
    check_namespace(request)
    resource_id, dimension = request.get("ResourceId"), request.get("ScalableDimension")
    if dimension is not None:
        check_dimension(dimension)
        if resource_id is None:
            raise ValidationFailed("ScalableDimension is given without a ResourceId; both have to be given, or none.")
    if resource_id is None:
        return ""
    if dimension is None:
        first = dimension_of(resource_id)
        return parse(resource_id, first).key.removesuffix(first)
    return f"{parse(resource_id, dimension).key}|"


def keys(resource_id: str, dimension: str | None) -> set[str]:
    """Of what a ResourceId names, in one dimension or in all. Raises ValidationFailed."""
    first = dimension_of(resource_id)
    every = [dimension] if dimension else [each for each, form in FORMS.items() if form is FORMS[first]]
    return {parse(resource_id, each).key for each in every}
