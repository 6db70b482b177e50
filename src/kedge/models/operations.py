"""CreateModel, DescribeModel, ListModels, DeleteModel.

A model is a description: it is stored as it was given, whatever image and address it names, since Terraform and test
suites invent those. Whether it can be served is found out by CreateEndpoint, which says so in its FailureReason. What a
model package says is copied into the model that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kedge.call import Call
from kedge.documents import Kind
from kedge.models.records import KIND, checked, containers
from kedge.registry.lookup import found_package
from kedge.registry.records import deployable, package_arn


def create_model(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    checked(request)
    return MODEL.create(call, _with_packages(call, request))


def _with_packages(call: Call, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request with what each package that it names says. Raises ValidationFailed."""
    given = containers(request)
    if not any(container.get("ModelPackageName") for _, container in given):
        return request
    made: list[Mapping[str, Any]] = []
    for path, container in given:
        if text := container.get("ModelPackageName"):
            package, found = found_package(call.store, call.scope, text)
            own_arn = package_arn(call.scope.region, call.scope.account, package)
            made += deployable(found.document, own_arn, container, path)
        else:
            made.append(container)
    whole = {name: value for name, value in request.items() if name not in ("PrimaryContainer", "Containers")}
    if len(made) == 1 and request.get("PrimaryContainer") is not None:
        return {**whole, "PrimaryContainer": made[0]}
    return {**whole, "Containers": made}


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"EnableNetworkIsolation": False, **document}


MODEL = Kind(KIND, "model", "Model", checked, shown=_shown)
OPERATIONS: Mapping[str, Callable[[Call, Any], dict[str, Any]]] = {
    **MODEL.operations(),
    "sagemaker.CreateModel": create_model,
}
