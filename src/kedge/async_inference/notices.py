"""What topics are told of an invocation. PURE.

Source: "Monitor asynchronous inference" in the SageMaker developer guide; where the response stands is ours.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from kedge.async_inference.records import Completed, Failed, Item, Outcome, Times
from kedge.topics.message import iso

LARGEST_RESPONSE_BYTES = 128 * 1024
SUCCESS, ERROR = "SUCCESS_NOTIFICATION_TOPIC", "ERROR_NOTIFICATION_TOPIC"


def topic_of(item: Item, outcome: Outcome) -> str:
    """ARN; "" where nobody wants to be told."""
    return item.success_topic if isinstance(outcome, Completed) else item.error_topic


def message(item: Item, outcome: Outcome, times: Times, now: datetime) -> str:
    """JSON."""
    request = {"contentType": item.content_type, "endpointName": item.endpoint}
    if item.input:
        request["inputLocation"] = item.input
    told: dict[str, Any] = {
        "awsRegion": item.region,
        "eventTime": iso(now),
        "receivedTime": iso(times.received_at),
        "invocationStatus": "Completed" if isinstance(outcome, Completed) else "Failed",
        "requestParameters": request,
    }
    if isinstance(outcome, Completed):
        told["responseParameters"] = {"contentType": outcome.content_type, "outputLocation": item.output}
    else:
        told["failureReason"] = outcome.reason
        if item.failure:
            told["responseParameters"] = {"contentType": _type(outcome), "outputLocation": item.failure}
    wanted = (SUCCESS if isinstance(outcome, Completed) else ERROR) in item.included_in
    if wanted and outcome.response is not None and len(outcome.response) <= LARGEST_RESPONSE_BYTES:
        told["responseBody"] = _body(outcome.response)
    told |= {
        "inferenceId": item.inference_id,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }
    return json.dumps(told)


def _type(outcome: Failed) -> str:
    return outcome.content_type or "text/plain"


def _body(response: bytes) -> dict[str, str]:
    try:
        return {"content": response.decode(), "encoding": "UTF-8"}
    except UnicodeDecodeError:
        return {"content": base64.b64encode(response).decode(), "encoding": "BASE64"}
