"""JSON 1.0 and 1.1: one JSON object each way; the operation stands in X-Amz-Target."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from kedge.errors import SerializationFailed, ServiceError
from kedge.wire import plain
from kedge.wire.event_bodies import EventFormat, event_response
from kedge.wire.http import Request, Response
from kedge.wire.models import Codec, Target
from kedge.wire.plain import NotPlain
from kedge.wire.shapes import (
    ABSENT,
    MAX_DEPTH,
    SPECIAL_FLOATS,
    Reader,
    Writer,
    article,
    checked_integer,
    completed,
    epoch,
    finite,
    format_time,
    not_a,
    parse_time,
    plain_float,
    read,
    response_body,
    write,
    write_members,
)


def decode(target: Target, request: Request) -> dict[str, Any]:
    shape = target.model().input_shape
    node = parse_json(request.body)
    if shape is None:
        return {}
    try:
        return plain.read(shape, node, _QUICK, _read_scalar)
    except NotPlain:
        parameters: dict[str, Any] = read(shape, node, JSON_READER)
        return parameters


def encode(target: Target, result: dict[str, Any], request_id: str) -> Response:
    operation = target.model()
    shape = operation.output_shape
    if operation.has_event_stream_output:
        return event_response(operation, result, Response(200, {"x-amzn-requestid": request_id}), JSON_EVENTS)
    headers = {"content-type": content_type(target), "x-amzn-requestid": request_id}
    body = b"{}" if shape is None else json_text(write(shape, completed(operation, result), JSON_WRITER))
    return Response(200, headers, body)


def encode_error(target: Target, error: ServiceError, request_id: str) -> Response:
    code, status = error.named_for("json")
    headers = {
        "content-type": content_type(target),
        "x-amzn-requestid": request_id,
        "x-amzn-errortype": code,
    }
    headers |= query_error(target, error, code, status)
    return Response(status, headers, json_text({"__type": code} | error_body(target, error, code, JSON_WRITER)))


def content_type(target: Target) -> str:
    return f"application/x-amz-json-{target.json_version}"


def error_shape(target: Target, code: str) -> StructureShape | None:
    """The modelled shape of an error, None for AWS's common errors, which no model lists."""
    service = target.operation.service_model if target.operation is not None else None
    shapes = service.error_shapes if service is not None else ()
    return next((shape for shape in shapes if isinstance(shape, StructureShape) and _named(shape, code)), None)


def _named(shape: StructureShape, code: str) -> bool:
    return code in (shape.name, shape.error_code)


def error_body(target: Target, error: ServiceError, code: str, writer: Writer) -> dict[str, Any]:
    """The body of an error: its message under the name that the model gives it, and the further members."""
    shape = error_shape(target, code)
    if shape is None:
        return {"message": error.message} | error.members
    message_name = next((name for name in shape.members if name.lower() == "message"), "message")
    written = write_members(response_body(shape), {message_name: error.message} | error.members, writer)
    return {message_name: error.message} | {name: node for name, _, node in written}


def query_error(target: Target, error: ServiceError, code: str, status: int) -> dict[str, str]:
    """The header with the error's old name, for clients that ask for it."""
    if not target.query_mode:
        return {}
    return {"x-amzn-query-error": f"{_query_code(target, error, code)};{'Sender' if status < 500 else 'Receiver'}"}


def _query_code(target: Target, error: ServiceError, code: str) -> str:
    shape = error_shape(target, code)
    if shape is not None and shape.metadata.get("error", {}).get("code"):
        return str(shape.metadata["error"]["code"])
    return error.named_for("query")[0]


def parse_json(body: bytes) -> Any:
    """The parsed body; an empty one is an empty object. Raises SerializationFailed."""
    if not body:
        return {}
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise SerializationFailed(f"The body is not UTF-8: byte {error.start} is not valid") from None
    except RecursionError:
        raise SerializationFailed(f"The body is nested more than {MAX_DEPTH} levels deep") from None
    except json.JSONDecodeError as error:
        raise SerializationFailed(
            f"The body is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
        ) from None
    except ValueError as error:  # a key twice, NaN, an integer of thousands of digits
        raise SerializationFailed(f"The body is not JSON: {str(error)[:200]}") from None


def json_text(node: Any) -> bytes:
    return json.dumps(node, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    node = dict(pairs)
    if len(node) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the name "{twice[:100]}" stands twice in one object')
    return node


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def wrong_type(node: Any, kind: str, path: str) -> SerializationFailed:
    """AWS's text, and where: "STRING_VALUE can not be converted to an Integer"."""
    names = {
        type(None): "NULL_VALUE",
        str: "STRING_VALUE",
        bytes: "EMBEDDED_OBJECT",
        list: "START_ARRAY",
        dict: "START_OBJECT",
    }
    sent = names.get(type(node), "NUMBER_VALUE") if not isinstance(node, bool) else f"{str(node).upper()}_VALUE"
    return SerializationFailed(f"{sent} can not be converted to {article(kind)}" + (f" at '{path}'" if path else ""))


def _read_member(node: dict[str, Any], name: str, _shape: Shape) -> Any:
    return node.get(name, ABSENT)


def _read_items(node: Any, _shape: ListShape, path: str) -> list[Any]:
    if not isinstance(node, list):
        raise wrong_type(node, "list", path)
    return node


def _read_entries(node: Any, _shape: MapShape, path: str) -> list[tuple[str, Any]]:
    if not isinstance(node, dict):
        raise wrong_type(node, "map", path)
    return [(_text(key, path), value) for key, value in node.items()]


def _read_structure(node: Any, path: str) -> Any:
    if not isinstance(node, dict):
        raise wrong_type(node, "structure", path)
    return node


def _read_scalar(shape: Shape, node: Any, path: str) -> Any:
    kind = shape.type_name
    try:
        match kind, node:
            case "structure", _:
                return _document(node)
            case (("string" | "character"), str()):
                return _text(node, path)
            case "boolean", bool():
                return node
            case (("integer" | "long" | "float" | "double" | "timestamp"), bool()):
                raise wrong_type(node, kind, path)
            case (("integer" | "long"), int()):
                return checked_integer(node, kind)
            case (("integer" | "long"), float()) if node.is_integer():
                return checked_integer(int(node), kind)
            case (("float" | "double"), int() | float()):
                return finite(float(node))
            case (("float" | "double"), str()) if node in SPECIAL_FLOATS:
                return SPECIAL_FLOATS[node]
            case "timestamp", int() | float():
                return epoch(float(node))
            case "timestamp", str():
                return parse_time(node)
            case "blob", str():
                return base64.b64decode(node, validate=True)
            case _:
                raise wrong_type(node, kind, path)
    except (ValueError, ArithmeticError, binascii.Error):
        raise not_a(kind, path) from None


def _text(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SerializationFailed(f"The text at '{path}' holds half of a surrogate pair") from None
    return text


def _document(node: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _document(child, depth + 1)
    return node


def _write_structure(_shape: StructureShape, members: list[tuple[str, Shape, Any]]) -> dict[str, Any]:
    return {name: node for name, _, node in members}


def _write_scalar(shape: Shape, value: Any) -> Any:
    kind = shape.type_name
    if kind == "timestamp":
        return format_time(value, shape.serialization.get("timestampFormat", "unixTimestamp"))
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind in ("float", "double"):
        return plain_float(float(value))
    return value


def _plain_text(node: Any) -> str:
    if type(node) is not str:
        raise NotPlain
    if not node.isascii():
        node.encode()
    return node


def _plain_double(node: Any) -> float:
    if type(node) is not float and type(node) is not int:
        raise NotPlain
    return finite(float(node))


def _plain_long(node: Any) -> int:
    if type(node) is not int:
        raise NotPlain
    return checked_integer(node, "long")


def _plain_time(node: Any) -> datetime:
    if type(node) is not float and type(node) is not int:
        raise NotPlain
    return epoch(float(node))


_QUICK: Mapping[str, plain.Read] = {
    "string": _plain_text,
    "double": _plain_double,
    "long": _plain_long,
    "timestamp": _plain_time,
}

JSON_READER = Reader(_read_member, _read_items, _read_entries, _read_structure, _read_scalar)
JSON_WRITER = Writer(_write_structure, lambda _, items: items, lambda _, entries: dict(entries), _write_scalar)
JSON_EVENTS = EventFormat(
    "application/json", lambda shape, value: json_text(write(shape, value, JSON_WRITER)), initial=True
)
AWS_JSON = Codec(decode, encode, encode_error)
