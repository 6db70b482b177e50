"""InvokeEndpointAsync: the invocation is stored, then acknowledged. What becomes of it is the dispatcher's."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from kedge.async_inference import config
from kedge.async_inference.records import DEFAULT_TIMEOUT_S, DEFAULT_TTL_S, MOST_WAITING, QUEUE, Item
from kedge.call import Call
from kedge.endpoints.mixing import serving
from kedge.endpoints.records import KIND, Endpoint, Status
from kedge.errors import RuntimeValidationError, ServiceError, Throttled
from kedge.objects import address
from kedge.serving import answers
from kedge.store.store import Author, Transaction

_NAMESPACE = uuid.UUID("6f1f3d5c-5e0b-4b52-9a3b-5a1f0b6f7a11")


def invoke_endpoint_async(call: Call, request: Mapping[str, Any]) -> dict[str, Any]:
    """Acknowledged once it is in the queue; asked again under the same request id it is there once."""
    _check_input(call, request)
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        item = _item(call, tx, request)
        if tx.waiting(QUEUE, item.uid) >= MOST_WAITING:
            raise Throttled(f"{MOST_WAITING} invocations of endpoint {item.endpoint} wait already; try again later.")
        expires = call.now + timedelta(seconds=request.get("RequestTTLSeconds", DEFAULT_TTL_S))
        tx.put(QUEUE, [item.uid], item.document(), f"async/{call.request_id}", expires=expires)
    failure = {"FailureLocation": item.failure} if item.failure else {}
    return {"InferenceId": item.inference_id, "OutputLocation": item.output, **failure}


def _check_input(call: Call, request: Mapping[str, Any]) -> None:
    """Raises RuntimeValidationError."""
    uri, body = request.get("InputLocation"), request.get("Body")
    if (uri is None) == (not body):
        given = "none is given" if uri is None else "both are given"
        raise RuntimeValidationError(f"An invocation has either InputLocation or a body; {given}.")
    if uri is None:
        return
    uri = _as_utf8(uri)
    try:
        bucket, key = address.parse(uri)
        if not key:
            raise ValueError("it has to name an object: s3://BUCKET/KEY")
    except ValueError as error:
        raise RuntimeValidationError(f'InputLocation is "{uri}"; {error}.') from None
    try:
        owner = call.objects.bucket(bucket).account
    except ServiceError as error:
        raise RuntimeValidationError(f'InputLocation is "{uri}": {error.message}') from error
    if owner != call.caller.account:
        raise RuntimeValidationError(f'InputLocation is "{uri}"; the bucket belongs to another account.')


def _as_utf8(header: str) -> str:
    """A header's text as boto3 has sent it: in UTF-8, where HTTP says latin-1. What is no UTF-8 stays as it is."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _item(call: Call, tx: Transaction, request: Mapping[str, Any]) -> Item:
    """Raises RuntimeValidationError."""
    name, scope = request["EndpointName"], call.scope
    found = tx.get(scope, KIND, name.lower())
    endpoint = Endpoint.of(found.document) if found is not None else None
    if found is None or endpoint is None or endpoint.name != name:
        raise answers.no_endpoint(scope.account, name)
    fleets = serving(endpoint)
    if not fleets or Status(found.status) in (Status.DELETING, Status.FAILED):
        raise answers.no_endpoint(scope.account, name)
    given = fleets[0].echo.get(config.MEMBER)
    if given is None:
        raise RuntimeValidationError(
            f"Endpoint {name} was not made for asynchronous inference: its config has no {config.MEMBER}. It takes "
            "InvokeEndpoint."
        )
    item = Item(
        inference_id=request.get("InferenceId") or str(uuid.uuid5(_NAMESPACE, call.request_id)),
        account=scope.account,
        region=scope.region,
        endpoint=name,
        uid=endpoint.uid,
        output="",
        input=_as_utf8(request.get("InputLocation", "")),
        body=request.get("Body") or b"",
        content_type=request.get("ContentType", ""),
        accept=request.get("Accept", ""),
        custom_attributes=request.get("CustomAttributes", ""),
        timeout_s=float(request.get("InvocationTimeoutSeconds", DEFAULT_TIMEOUT_S)),
    )
    extension, filename = request.get("S3OutputPathExtension", ""), request.get("Filename", "")
    item = item.bound_for(config.output_of(given), extension, filename)
    for uri in filter(None, (item.output, item.failure)):
        try:
            address.parse(uri)
        except ValueError as error:
            raise RuntimeValidationError(f'The result would go to "{uri[:256]}"; {error}.') from None
    return item


OPERATIONS = {"sagemaker-runtime.InvokeEndpointAsync": invoke_endpoint_async}
