"""What the operations share: who acts, what they find, and pages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from kedge.autoscaling.errors import InvalidNextToken, ObjectNotFound
from kedge.autoscaling.records import TARGET, Target
from kedge.autoscaling.resource import INSTANCES, PROVISIONED, Scalable
from kedge.autoscaling.scaled import arn_of, scaled
from kedge.call import Call
from kedge.endpoints import serverless
from kedge.endpoints.records import Endpoint, Status
from kedge.errors import ValidationFailed
from kedge.listing import opened, sealed
from kedge.store.listing import SortBy
from kedge.store.records import Author, Resource
from kedge.store.transaction import Transaction

MOST_RESULTS = 50

Request = Mapping[str, Any]
Result = dict[str, Any]
Handler = Callable[[Call, Request], Result]


def author(call: Call) -> Author:
    return Author(call.caller.arn, call.request_id, call.now)


def require(call: Call, scalable: Scalable) -> None:
    """Whoever has something scaled has to be allowed to scale it. Raises AccessDenied."""
    action, scaled = "sagemaker:UpdateEndpointWeightsAndCapacities", arn_of(scalable, call.scope)
    if scalable.component:
        action = "sagemaker:UpdateInferenceComponentRuntimeConfig"
    call.require(call, action, scaled, {})


def endpoint_of(call: Call, tx: Transaction, scalable: Scalable) -> Endpoint:
    """The inference component, or the endpoint, which has the variant. Raises ValidationFailed."""
    resource = scaled(tx, call.scope, scalable)
    where, what = arn_of(scalable, call.scope), "inference component" if scalable.component else "endpoint"
    if resource is None or resource.status == Status.DELETING:
        raise ValidationFailed(f'Could not find {what} "{where}".')
    if resource.status == Status.FAILED:
        raise ValidationFailed(f'{what.capitalize()} "{where}" has status Failed; it cannot be scaled.')
    endpoint = Endpoint.of(resource.document)
    fleet = endpoint.live or endpoint.pending
    if scalable.component:
        return endpoint
    variant = None if fleet is None else fleet.variant(scalable.variant)
    if variant is None:
        raise ValidationFailed(f'Endpoint "{where}" has no variant "{scalable.variant}".')
    if scalable.dimension == PROVISIONED and not serverless.provisioned(variant):
        raise ValidationFailed(
            f'Variant "{variant.name}" of endpoint "{where}" has no provisioned concurrency; {PROVISIONED} is for '
            "serverless variants with ProvisionedConcurrency."
        )
    if scalable.dimension == INSTANCES and variant.serverless:
        raise ValidationFailed(
            f'Variant "{variant.name}" of endpoint "{where}" is serverless, and has no instances to scale; '
            f"{PROVISIONED} scales its provisioned concurrency."
        )
    return endpoint


def target_of(call: Call, tx: Transaction, scalable: Scalable) -> Resource:
    """Raises ObjectNotFound."""
    found = tx.get(call.scope, TARGET, scalable.key)
    if found is None:
        raise ObjectNotFound(f"No scalable target registered for {scalable.said()}")
    endpoint = scaled(tx, call.scope, scalable)
    if endpoint is None or endpoint.document["uid"] != Target.of(found.document).uid:
        raise ObjectNotFound(f"No scalable target registered for {scalable.said()}")
    return found


def page(
    call: Call,
    request: Request,
    kind: str,
    prefix: str,
    fits: Callable[[Resource], bool] = lambda _: True,
    *,
    sort_by: SortBy = "name",
) -> tuple[list[Resource], Result]:
    """(resources of one page, {"NextToken": ...} unless it is the last). Newest first when sorted by time.

    Raises ValidationFailed, InvalidNextToken.
    """
    limit = request.get("MaxResults", MOST_RESULTS)
    if not 1 <= limit <= MOST_RESULTS:
        raise ValidationFailed(f"MaxResults is {limit}; it has to be 1 to {MOST_RESULTS}.")
    question = _question(call, kind, request)
    after: str | None = None
    found: list[Resource] = []
    try:
        if request.get("NextToken"):
            after = opened(request["NextToken"], question)
        while True:
            some = call.store.list(
                call.scope,
                kind,
                name_prefix=prefix,
                sort_by=sort_by,
                descending=sort_by != "name",
                limit=limit - len(found),
                after=after,
            )
            found += [each for each in some.items if fits(each)]
            after = some.next
            if after is None or len(found) == limit:
                break
    except ValidationFailed as error:
        raise InvalidNextToken(error.message) from None
    return found, {} if after is None else {"NextToken": sealed(after, question)}


def _question(call: Call, kind: str, request: Request) -> str:
    asked = {name: str(value) for name, value in request.items() if name not in ("NextToken", "MaxResults")}
    whole = [call.scope.account, call.scope.region, kind, sorted(asked.items())]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:32]
