"""What the REST protocols share: members in path, query string, headers and status code; what a body is read for."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from botocore.model import ListShape, MapShape, Shape, StructureShape

from kedge.errors import SerializationFailed, ValidationFailed
from kedge.wire.http import Request, Response
from kedge.wire.models import MAX_FIELDS, Target
from kedge.wire.shapes import (
    ABSENT,
    Reader,
    lower_camel,
    read,
    read_members,
    read_text,
    request_body,
    wire_name,
    write_text,
)

NO_BODY = frozenset({204, 304})


def read_located(shape: StructureShape, target: Target, request: Request) -> dict[str, Any]:
    """The members outside the body. Raises ValidationFailed for a text that is not what its member is."""
    query = _query(request.query)
    found: dict[str, Any] = {}
    for name, member in shape.members.items():
        try:
            value = _read_member(member, wire_name(member, name), lower_camel(name), target, request, query)
        except SerializationFailed as error:
            raise ValidationFailed(error.message) from None
        if value is not ABSENT:
            found[name] = value
    return found


def _query(text: str) -> dict[str, list[str]]:
    """Every value of every name. Raises ValidationFailed."""
    named: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise ValidationFailed("The query string is not percent-encoded UTF-8") from None
    for name, value in pairs:
        named.setdefault(name, []).append(value)
    return named


def _read_member(
    member: Shape,
    key: str,
    path: str,
    target: Target,
    request: Request,
    query: Mapping[str, list[str]],
) -> Any:
    match member.serialization.get("location"):
        case "uri" if key in target.labels:
            return read_text(member, _unquoted(target.labels[key], path), path)
        case "header" if key.lower() in request.headers:
            return _read_header(member, request.headers[key.lower()], path)
        case "headers":
            prefix = key.lower() if key != path else ""
            prefixed = {k[len(prefix) :]: v for k, v in request.headers.items() if k.startswith(prefix)}
            return prefixed or ABSENT
        case "querystring" if isinstance(member, MapShape):
            if isinstance(member.value, ListShape):
                return dict(query) or ABSENT
            return {k: values[0] for k, values in query.items()} or ABSENT
        case "querystring" if isinstance(member, ListShape) and key in query:
            return [read_text(member.member, value, path) for value in query[key]]
        case "querystring" if key in query:
            return read_text(member, query[key][0], path)
        case _:
            return ABSENT


def _unquoted(text: str, path: str) -> str:
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeError:
        raise ValidationFailed(f"The path is not percent-encoded UTF-8 at '{path}'") from None


def _read_header(shape: Shape, text: str, path: str) -> Any:
    if isinstance(shape, ListShape):
        return [read_text(shape.member, item, path) for item in _split(shape.member, text)]
    if is_json_header(shape):
        try:
            return json.loads(base64.b64decode(text, validate=True))
        except (ValueError, RecursionError, binascii.Error):
            raise SerializationFailed(f"The header at '{path}' is not base64 of JSON") from None
    return read_text(shape, text, path)


def _split(member: Shape, text: str) -> list[str]:
    """The items of a header's list. A quoted item may hold commas; so does a date in RFC 822's form."""
    if member.type_name == "timestamp" and member.serialization.get("timestampFormat", "rfc822").lower() == "rfc822":
        halves = [half.strip() for half in text.split(",")]
        return [", ".join(halves[at : at + 2]) for at in range(0, len(halves), 2)]
    items = [found[0].strip() for found in re.finditer(r'\s*"(?:\\.|[^"\\])*"\s*|[^,]+', text)]
    return [re.sub(r"\\(.)", r"\1", item[1:-1]) if item.startswith('"') else item for item in items if item]


def is_json_header(shape: Shape) -> bool:
    return bool(shape.serialization.get("jsonvalue")) and shape.serialization.get("location") == "header"


def write_located(shape: StructureShape, result: Mapping[str, Any], response: Response) -> None:
    """Puts headers and the status code that stand in the result into the response."""
    for name, member in shape.members.items():
        value, key = result.get(name), wire_name(member, name)
        if value is None:
            continue
        match member.serialization.get("location"):
            case "header":
                response.headers[key.lower()] = _write_header(member, value)
            case "headers":
                prefix = member.serialization.get("name", "")
                response.headers |= {(prefix + k).lower(): v for k, v in value.items()}
            case "statusCode":
                response.status = value


def _write_header(shape: Shape, value: Any) -> str:
    if isinstance(shape, ListShape):
        return ", ".join(_quoted(shape.member, write_text(shape.member, item, "rfc822")) for item in value)
    if is_json_header(shape):
        return base64.b64encode(json.dumps(value).encode()).decode()
    return write_text(shape, value, "rfc822")


def _quoted(member: Shape, text: str) -> str:
    if member.type_name == "string" and any(mark in text for mark in ',"'):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def payload_member(shape: Shape | None) -> tuple[str, Shape] | None:
    """The member that is the whole body, if one is."""
    if not isinstance(shape, StructureShape):
        return None
    name = shape.serialization.get("payload")
    return (name, shape.members[name]) if name else None


def raw_payload(value: Any) -> Any:
    """A string or blob as the body's bytes; an iterator of bytes stays one."""
    return value.encode() if isinstance(value, str) else value


def decode_with(reader: Reader, parse: Callable[[bytes], Any], target: Target, request: Request) -> dict[str, Any]:
    """The parameters of a request. parse: a body's bytes -> its root node; raises SerializationFailed."""
    shape = target.model().input_shape
    if not isinstance(shape, StructureShape):
        return {}
    parameters = read_located(shape, target, request)
    payload = payload_member(shape)
    if payload is None:
        members = request_body(shape)
        if members and request.body:
            parameters |= read_members(members, reader.structure(parse(request.body), ""), reader, "")
    elif request.body:
        name, member = payload
        parameters[name] = _read_payload(member, request.body, reader, parse)
    return parameters


def _read_payload(member: Shape, body: bytes, reader: Reader, parse: Callable[[bytes], Any]) -> Any:
    if member.type_name == "blob":
        return body
    if member.type_name == "string":
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise SerializationFailed("The body is not UTF-8") from None
    node = parse(body)
    return None if node is None else read(member, node, reader)
