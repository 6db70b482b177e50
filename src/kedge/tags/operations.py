"""AddTags, ListTags and DeleteTags, on any SageMaker resource that exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kedge import arn
from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.listing import opened, sealed
from kedge.store.store import Author, Scope, Store, Transaction
from kedge.tags.attach import merged, read, without, write

NAMES = {
    "data-quality-job-definition": "data quality job definition",
    "endpoint-config": "endpoint configuration",
    "inference-component": "inference component",
    "inference-experiment": "inference experiment",
    "model-bias-job-definition": "model bias job definition",
    "model-explainability-job-definition": "model explainability job definition",
    "model-package": "model package",
    "model-package-group": "model package group",
    "model-quality-job-definition": "model quality job definition",
    "monitoring-schedule": "monitoring schedule",
}
"""What messages call a kind of resource, where that is not its name in the ARN."""


def add_tags(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        scope, name = _existing(call, tx, request["ResourceArn"])
        tags = merged(read(tx, scope, name), request["Tags"])
        write(tx, scope, name, tags)
    return {"Tags": tags}


def list_tags(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    scope, name = _existing(call, call.store, request["ResourceArn"])
    tags = read(call.store, scope, name)
    start = 0
    if request.get("NextToken"):
        cursor = opened(request["NextToken"], name)
        start = int(cursor) if cursor.isdecimal() else 0
    limit = request.get("MaxResults", len(tags) or 1)
    following = {"NextToken": sealed(str(start + limit), name)} if start + limit < len(tags) else {}
    return {"Tags": tags[start : start + limit], **following}


def delete_tags(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        scope, name = _existing(call, tx, request["ResourceArn"])
        write(tx, scope, name, without(read(tx, scope, name), request["TagKeys"]))
    return {}


def _existing(call: Call, store: Store | Transaction, text: str) -> tuple[Scope, str]:
    """Whose the resource is, and its ARN as tags are kept under. Raises ValidationFailed when there is none."""
    try:
        parsed = arn.parse(text)
    except ValueError as error:
        raise ValidationFailed(f"{error}.") from None
    kind, _, name = parsed.resource.partition("/")
    scope = Scope(parsed.account, parsed.region)
    known = parsed.service == "sagemaker" and scope == call.scope and name
    if not known or store.get(scope, kind, name.lower()) is None:
        raise ValidationFailed(f'Could not find {NAMES.get(kind, kind)} "{text}".')
    return scope, arn.sagemaker(scope.region, scope.account, kind, name)


OPERATIONS: Mapping[str, Callable[[Call, Any], dict[str, Any]]] = {
    "sagemaker.AddTags": add_tags,
    "sagemaker.ListTags": list_tags,
    "sagemaker.DeleteTags": delete_tags,
}
