"""Smithy RPC v2 with CBOR: the operation stands in the path, one CBOR map goes each way.

    POST /service/GraniteServiceVersion20100801/operation/PutMetricData
    smithy-protocol: rpc-v2-cbor
    content-type: application/cbor

Source: Smithy's "RPC v2 CBOR protocol".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from botocore.model import Shape

from kedge.errors import SerializationFailed, ServiceError
from kedge.wire.aws_json import JSON_READER, JSON_WRITER, error_body, query_error, wrong_type
from kedge.wire.cbor import EpochTime, cbor_bytes, parse_cbor
from kedge.wire.event_bodies import EventFormat, event_response
from kedge.wire.http import Request, Response
from kedge.wire.models import Codec, Target
from kedge.wire.shapes import checked_integer, completed, epoch, format_time, not_a, read, write

PROTOCOL = "rpc-v2-cbor"
"""What the header smithy-protocol says, each way."""

MEDIA_TYPE = "application/cbor"


def decode(target: Target, request: Request) -> dict[str, Any]:
    _check_head(request)
    shape = target.model().input_shape
    node = parse_cbor(request.body) if request.body else {}
    if shape is None:
        return {}
    parameters: dict[str, Any] = read(shape, node, CBOR_READER)
    return parameters


def _check_head(request: Request) -> None:
    """Raises SerializationFailed. A request of two protocols is refused: what stands in front of the server might have
    let it pass for the other one's operation."""
    headers = request.headers
    protocol = headers.get("smithy-protocol")
    if protocol != PROTOCOL:
        raise SerializationFailed(f'smithy-protocol is "{(protocol or "")[:64]}"; it has to be {PROTOCOL}.')
    if "x-amz-target" in headers or "x-amzn-target" in headers:
        raise SerializationFailed(f"A request of {PROTOCOL} must not have the header X-Amz-Target.")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != MEDIA_TYPE and (request.body or media_type):
        raise SerializationFailed(f'Content-Type is "{media_type[:64]}"; it has to be {MEDIA_TYPE}.')


def encode(target: Target, result: dict[str, Any], request_id: str) -> Response:
    operation = target.model()
    shape = operation.output_shape
    headers = _headers(request_id)
    if shape is None:
        return Response(200, headers)
    if operation.has_event_stream_output:
        return event_response(operation, result, Response(200, headers), CBOR_EVENTS)
    headers["content-type"] = MEDIA_TYPE
    return Response(200, headers, cbor_bytes(write(shape, completed(operation, result), CBOR_WRITER)))


def encode_error(target: Target, error: ServiceError, request_id: str) -> Response:
    code, status = error.named_for("json")
    headers = _headers(request_id) | {"content-type": MEDIA_TYPE} | query_error(target, error, code, status)
    return Response(status, headers, cbor_bytes({"__type": code} | error_body(target, error, code, CBOR_WRITER)))


def _headers(request_id: str) -> dict[str, str]:
    return {"smithy-protocol": PROTOCOL, "x-amzn-requestid": request_id}


def _read_scalar(shape: Shape, node: Any, path: str) -> Any:
    kind = shape.type_name
    try:
        match kind, node:
            case (("string" | "character"), str()) | ("boolean", bool()) | ("blob", bytes()) | ("structure", _):
                return node
            case (("integer" | "long" | "float" | "double" | "timestamp"), bool()):
                raise wrong_type(node, kind, path)
            case (("integer" | "long"), int()):
                return checked_integer(node, kind)
            case (("float" | "double"), int() | float()):
                return float(node)
            case "timestamp", int() | float():
                return epoch(float(node))
            case _:
                raise wrong_type(node, kind, path)
    except (ValueError, ArithmeticError):
        raise not_a(kind, path) from None


def _write_scalar(shape: Shape, value: Any) -> Any:
    match shape.type_name:
        case "timestamp":
            when: datetime = value
            return EpochTime(float(format_time(when, "unixTimestamp")))
        case "float" | "double":
            return float(value)
        case "blob":
            return bytes(value)
    return value


CBOR_READER = replace(JSON_READER, scalar=_read_scalar)
"""Parsed CBOR is of the same Python types as parsed JSON; only its leaves differ."""
CBOR_WRITER = replace(JSON_WRITER, scalar=_write_scalar)
CBOR_EVENTS = EventFormat(MEDIA_TYPE, lambda shape, value: cbor_bytes(write(shape, value, CBOR_WRITER)), initial=True)
SMITHY_RPC_V2_CBOR = Codec(decode, encode, encode_error)
