"""What the inference port answers when it does not answer with a prediction, in rest-json. PURE.

Texts are those that clients of the real runtime see and match on; where they come from stands at each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any
from urllib.parse import quote

from kedge import arn, errors
from kedge.logs import names
from kedge.serving.table import Endpoint
from kedge.wire import eventstream

MAX_MESSAGE_CHARS = 2048
_LAST_OF_ALL = errors.InternalFailure("An internal error happened; the router's log says which.")
_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container {}. Review the latency metrics for each "
    "container in Amazon CloudWatch, resolve the issue, and try again."
)
_LAST_DIGITS = tuple(f"{number:02x}" for number in range(0x100))
PRIMARY = "primary"
"""What the only container of a model is called."""


class BodyTooLarge(errors.RequestTooLarge):
    """The real runtime names no error type here, so that boto3 shows the code "413"."""

    code = ""


class ModelNotReady(errors.ServiceError):
    """The model of a multi-model endpoint is still being loaded; boto3 asks again for it."""

    code = "ModelNotReadyException"
    status = 429


class TooConcurrent(errors.Throttled):
    """A serverless variant has as much to do as it may."""

    status = 429


class NoSuchPath(errors.UnknownOperation):
    status = 404


class RequestIds:
    """Ids in a UUID's form: a random beginning for each maker of ids, then a count. Nothing relies on their secrecy."""

    def __init__(self, random: Random) -> None:
        digits = f"{random.getrandbits(80):020x}"
        self._start = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:]}-"
        self._count = 0
        self._block = f"{self._start}{0:010x}"
        """All but the last two digits, which 256 ids share: formatting a number costs more than adding texts."""

    def next(self) -> str:
        self._count += 1
        last = self._count & 0xFF
        if not last:
            self._block = f"{self._start}{self._count >> 8:010x}"
        return self._block + _LAST_DIGITS[last]


def error(failure: Exception, request_id: str) -> tuple[int, bytes, bytes]:
    """(status, header lines, body). What is no ServiceError is answered without saying what it was."""
    known = failure if isinstance(failure, errors.ServiceError) else _LAST_OF_ALL
    code, status = known.named_for("rest-json")
    members: dict[str, Any] = {"Message": known.message[:MAX_MESSAGE_CHARS], **known.members}
    lines = f"content-type: application/json\r\nx-amzn-RequestId: {request_id}\r\n"
    if code:
        lines += f"x-amzn-errortype: {code}\r\n"
    return status, lines.encode(), json.dumps(members).encode()


def too_large(limit_bytes: int) -> BodyTooLarge:
    """As seen in aws/sagemaker-python-sdk#171."""
    return BodyTooLarge(f"HTTP content length exceeded {limit_bytes} bytes.")


def no_endpoint(account: str, name: str) -> errors.RuntimeValidationError:
    return errors.RuntimeValidationError(f"Endpoint {name} of account {account} not found.")


def no_component(account: str, endpoint: str, name: str) -> errors.RuntimeValidationError:
    return errors.RuntimeValidationError(
        f"Inference component {name} of endpoint {endpoint} of account {account} not found."
    )


def gone(endpoint: Endpoint) -> errors.RuntimeValidationError:
    """It was there when the request came."""
    if endpoint.component:
        return no_component(endpoint.account, endpoint.name, endpoint.component)
    return no_endpoint(endpoint.account, endpoint.name)


def component_missing() -> errors.RuntimeValidationError:
    """As seen in langchain-ai/langchain#16150 and BerriAI/litellm#37766."""
    return errors.RuntimeValidationError(
        "Inference Component Name header is required for endpoints to which you plan to deploy inference components. "
        "Please include Inference Component Name header or consider using SageMaker models.",
        ErrorCode="INFERENCE_COMPONENT_NAME_MISSING",
    )


def component_not_allowed() -> errors.RuntimeValidationError:
    """As BerriAI/litellm tells of it."""
    return errors.RuntimeValidationError(
        "Inference Component Name header is not allowed for endpoints to which you dont plan to deploy inference "
        "components. Please remove the Inference Component Name header and try again."
    )


def only_asynchronous(endpoint: str) -> errors.RuntimeValidationError:
    return errors.RuntimeValidationError(
        f"Endpoint {endpoint} was made for asynchronous inference (AsyncInferenceConfig); it takes InvokeEndpointAsync "
        "only."
    )


def no_variant(endpoint: str, variant: str) -> errors.RuntimeValidationError:
    return errors.RuntimeValidationError(f'Variant "{variant}" is not a production variant of endpoint "{endpoint}".')


def overloaded(variant: str) -> errors.Throttled:
    return errors.Throttled(f"More requests arrive for variant {variant} than it can answer; try again later.")


def too_concurrent(variant: str, most: int) -> TooConcurrent:
    return TooConcurrent(
        f"Variant {variant} has {most} concurrent invocations, which is its MaxConcurrency; try again later."
    )


def no_session(session: str, endpoint: str) -> errors.RuntimeValidationError:
    return errors.RuntimeValidationError(
        f'Session "{session[:256]}" of endpoint {endpoint} does not exist, has expired or was closed. NEW_SESSION as '
        "SessionId opens another."
    )


def session_held_up(variant: str) -> errors.ServiceUnavailable:
    return errors.ServiceUnavailable(
        f"The instance of variant {variant} that holds the session is not healthy; open another session."
    )


def no_target_model(endpoint: str) -> errors.RuntimeValidationError:
    """As seen in aws/amazon-sagemaker-examples#1026."""
    return errors.RuntimeValidationError(
        f"Endpoint {endpoint} is not a multi-model endpoint and does not support target model header."
    )


def target_model_missing(request_id: str) -> errors.RuntimeValidationError:
    """As seen in aws/sagemaker-tensorflow-serving-container#166."""
    return errors.RuntimeValidationError(f"Request {request_id} is missing a target model header.")


def no_target_container(endpoint: str) -> errors.RuntimeValidationError:
    return errors.RuntimeValidationError(
        f"Endpoint {endpoint} is not configured for direct invocation and does not support target container hostname "
        "header."
    )


def target_container_missing(request_id: str, known: Sequence[str]) -> errors.RuntimeValidationError:
    return errors.RuntimeValidationError(
        f"Request {request_id} is missing a target container hostname header; the endpoint is configured for direct "
        f"invocation of {', '.join(known)}."
    )


def unknown_container(endpoint: str, hostname: str, known: Sequence[str]) -> errors.RuntimeValidationError:
    return errors.RuntimeValidationError(
        f"Container {hostname} does not exist in endpoint {endpoint}; its containers are {', '.join(known)}."
    )


def model_error(
    endpoint: Endpoint, stream: str, status: int, message: str, container: str = PRIMARY
) -> errors.ModelError:
    """The model answered with an error. message: the body of its answer. Text: seen in SageMaker's public issues.

    stream: VARIANT/INSTANCE of which the model is, where its log says more.
    """
    message = message.encode(errors="replace").decode()  # an exception's text may hold what is no character
    lead = f"Received {_side(status)} error ({status}) from {container}"
    tail = f"See {_log_page(endpoint)} in account {endpoint.account} for more information."
    text = f'{lead} with message "{message}". {tail}'
    if len(text) > MAX_MESSAGE_CHARS:
        text = f'{lead} with message "{message[: MAX_MESSAGE_CHARS - len(text)]}". {tail}'
    return _model_error(endpoint, stream, status, text, message)


def answer_too_large(endpoint: Endpoint, stream: str) -> errors.ModelError:
    text = (
        f"Received server error (500) from primary and could not load the entire response body. See "
        f"{_log_page(endpoint)} in account {endpoint.account} for more information."
    )
    return _model_error(endpoint, stream, 500, text, f"The answer has more than {endpoint.body_limit_bytes} bytes.")


def timed_out(endpoint: Endpoint, stream: str, container: str = PRIMARY) -> errors.ModelError:
    return model_error(endpoint, stream, 0, _TIMED_OUT.format(container), container)


def stream_error(code: str, text: str) -> bytes:
    """The last event of an answer that has begun. code: ModelInvocationTimeExceeded or StreamBroken."""
    told = json.dumps({"Message": text[:MAX_MESSAGE_CHARS], "ErrorCode": code}).encode()
    return eventstream.exception("ModelStreamError", "application/json", told)


def stream_failure() -> bytes:
    """The last event of an answer that has begun, when it is not the model's fault."""
    told = json.dumps({"Message": _LAST_OF_ALL.message}).encode()
    return eventstream.exception("InternalStreamFailure", "application/json", told)


def instance_lost(endpoint: Endpoint, stream: str, deaths: int) -> errors.ModelError:
    """The real runtime's word for a reset is the one for a time-out's status: there was no answer at all."""
    times = "twice" if deaths > 1 else "once"
    return model_error(
        endpoint,
        stream,
        0,
        f"The instance that ran this invocation ended {times} before it answered; it is not tried again.",
    )


def _model_error(endpoint: Endpoint, stream: str, status: int, text: str, original: str) -> errors.ModelError:
    return errors.ModelError(
        text,
        OriginalStatusCode=status,
        OriginalMessage=original[:MAX_MESSAGE_CHARS],
        LogStreamArn=arn.log_stream(endpoint.region, endpoint.account, _log_group(endpoint), stream),
    )


def _side(status: int) -> str:
    return "client" if 400 <= status < 500 else "server"


def _log_group(endpoint: Endpoint) -> str:
    return names.component_group(endpoint.component) if endpoint.component else names.endpoint_group(endpoint.name)


def _log_page(endpoint: Endpoint) -> str:
    region = quote(endpoint.region)
    return (
        f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        f"#logEventViewer:group={_log_group(endpoint)}"
    )
