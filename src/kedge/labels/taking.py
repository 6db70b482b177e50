"""Takes labels: Kedge's own call, since AWS knows only files that somebody has to write."""

from __future__ import annotations

from typing import Any

from kedge.call import Call
from kedge.endpoints.descriptions import arn_of
from kedge.endpoints.records import KIND
from kedge.errors import ValidationFailed
from kedge.labels.records import QUEUE, prefix_of, queue_of, read
from kedge.store.store import Author

PATH = "/kedge/labels"


def take(call: Call, body: bytes) -> dict[str, Any]:
    """Keep labels; they are filed within seconds. Needs sagemaker:InvokeEndpoint: who may ask may say what was right.

    The endpoint has to be there; whether there was such an inference is seen when both are merged. Of two labels of one
    inference the later counts. Raises ValidationFailed.
    """
    name, labels = read(body)
    endpoint_arn = arn_of(call.scope.region, call.scope.account, name)
    call.require(call, "sagemaker:InvokeEndpoint", endpoint_arn, {})
    with call.store.transaction(Author(call.caller.arn, call.request_id, call.now)) as tx:
        resource = tx.get(call.scope, KIND, name.lower())
        if resource is None:
            raise ValidationFailed(f'Could not find endpoint "{endpoint_arn}".')
        found = resource.document["name"]
        tx.put(QUEUE, [queue_of(call.scope, found)], {"EndpointName": found, "Labels": labels})
    return {"EndpointName": found, "Labels": len(labels), "S3Uri": prefix_of(call.scope, found)}
