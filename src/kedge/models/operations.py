"""CreateModel, DescribeModel, ListModels, DeleteModel.

A model is a description: it is stored as it was given, whatever image and address it names, since Terraform and test
suites invent those. Whether it can be served is found out by CreateEndpoint, which says so in its FailureReason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kedge import arn, listing
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.models.records import KIND, checked
from kedge.store.store import AlreadyExists, Author, Resource
from kedge.tags.attach import attach, detach


def create_model(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    document = checked(request)
    name = request["ModelName"]
    model_arn = _arn(call, name)
    try:
        with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
            tx.insert(call.scope, KIND, name.lower(), document)
            attach(tx, call.scope, model_arn, request.get("Tags", []))
    except AlreadyExists:
        raise ValidationFailed(f'Cannot create already existing model "{model_arn}".') from None
    return {"ModelArn": model_arn}


def describe_model(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    model = call.store.get(call.scope, KIND, request["ModelName"].lower())
    if model is None:
        raise _missing(call, request["ModelName"])
    return {
        **model.document,
        "ModelArn": _arn(call, model.name),
        "CreationTime": model.created_at,
        "EnableNetworkIsolation": model.document.get("EnableNetworkIsolation", False),
    }


def list_models(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    models, following = listing.resources(call, KIND, request)
    return {"Models": [_summary(call, model) for model in models], **following}


def delete_model(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Endpoints that serve it go on: they hold a copy of what it said."""
    name = request["ModelName"]
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        model = tx.get(call.scope, KIND, name.lower())
        if model is None:
            raise _missing(call, name)
        tx.delete(model)
        detach(tx, call.scope, _arn(call, name))
    return {}


def _summary(call: Call, model: Resource) -> dict[str, Any]:
    name = model.document["ModelName"]
    return {"ModelName": name, "ModelArn": _arn(call, name), "CreationTime": model.created_at}


def _arn(call: Call, name: str) -> str:
    return arn.sagemaker(call.scope.region, call.scope.account, KIND, name)


def _missing(call: Call, name: str) -> ValidationFailed:
    return ValidationFailed(f'Could not find model "{_arn(call, name)}".')


OPERATIONS: Mapping[str, Callable[[Call, Any], dict[str, Any]]] = {
    "sagemaker.CreateModel": create_model,
    "sagemaker.DescribeModel": describe_model,
    "sagemaker.ListModels": list_models,
    "sagemaker.DeleteModel": delete_model,
}
