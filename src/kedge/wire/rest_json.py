"""REST with JSON: members in path, query string and headers, the rest in a JSON body."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from botocore.model import StructureShape

from kedge.errors import ServiceError
from kedge.wire.aws_json import JSON_EVENTS, JSON_READER, JSON_WRITER, error_body, error_shape, json_text, parse_json
from kedge.wire.event_bodies import event_response
from kedge.wire.http import Request, Response
from kedge.wire.models import Codec, Target
from kedge.wire.rest import NO_BODY, decode_with, payload_member, raw_payload, write_located
from kedge.wire.shapes import (
    completed,
    response_body,
    write,
    write_members,
)


def decode(target: Target, request: Request) -> dict[str, Any]:
    return decode_with(JSON_READER, parse_json, target, request)


def encode(target: Target, result: dict[str, Any], request_id: str) -> Response:
    operation = target.model()
    response = Response(int(operation.http.get("responseCode", 200)), {"x-amzn-requestid": request_id})
    shape = operation.output_shape
    if not isinstance(shape, StructureShape):
        return response
    if operation.has_event_stream_output:
        write_located(shape, result, response)
        return event_response(operation, result, response, REST_JSON_EVENTS)
    result = completed(operation, result)
    payload = payload_member(shape)
    if payload is None:
        response.headers["content-type"] = "application/json"
        response.body = json_text(
            {name: node for name, _, node in write_members(response_body(shape), result, JSON_WRITER)}
        )
    elif result.get(payload[0]) is not None:
        name, member = payload
        if member.type_name in ("blob", "string"):
            response.body = raw_payload(result[name])
        else:
            response.headers["content-type"] = "application/json"
            response.body = json_text(write(member, result[name], JSON_WRITER))
    write_located(shape, result, response)
    return response


def encode_error(target: Target, error: ServiceError, request_id: str) -> Response:
    code, status = error.named_for("rest-json")
    headers = {"content-type": "application/json", "x-amzn-requestid": request_id, "x-amzn-errortype": code}
    if status in NO_BODY:
        return Response(status, headers)
    response = Response(status, headers, json_text(error_body(target, error, code, JSON_WRITER)))
    shape = error_shape(target, code)
    if shape is not None:
        write_located(shape, error.members, response)
        response.status = status
    return response


REST_JSON_EVENTS = replace(JSON_EVENTS, initial=False)
REST_JSON = Codec(decode, encode, encode_error)
