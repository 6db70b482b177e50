"""The query protocol: a form with dotted names comes in, XML goes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from kedge.errors import SerializationFailed, ServiceError
from kedge.wire.aws_json import error_shape
from kedge.wire.http import Request, Response
from kedge.wire.models import Codec, Target, fields
from kedge.wire.shapes import (
    ABSENT,
    MAX_DEPTH,
    Reader,
    completed,
    read_members,
    read_text,
    response_body,
    wire_name,
    write_members,
)
from kedge.wire.xml import DECLARATION, XML_WRITER, escape

MAX_PARTS = 200_000
"""Parts of all names of one form together."""


@dataclass
class Field:
    """A node of the tree that the dotted names span: `Tags.member.1.Key=a` is Tags, member, 1, Key."""

    value: str | None = None
    children: dict[str, Field] = field(default_factory=dict)

    def numbered(self, path: str) -> list[Field]:
        """The children 1, 2, 3 ... in order; a gap is closed. Raises SerializationFailed for any other name."""
        for name in self.children:
            if not (name.isascii() and name.isdigit() and len(name) < 10):
                raise SerializationFailed(f"'{name[:100]}' at '{path}' is not the number of an item")
        return [self.children[name] for name in sorted(self.children, key=int)]


def tree(form: dict[str, str]) -> Field:
    """Raises SerializationFailed."""
    root, left = Field(), MAX_PARTS
    for name, value in form.items():
        parts = name.split(".")
        if len(parts) > 2 * MAX_DEPTH:
            raise SerializationFailed(f"The field '{name[:200]}' is nested more than {MAX_DEPTH} levels deep")
        left -= len(parts)
        if left < 0:
            raise SerializationFailed(f"The names of the form have more than {MAX_PARTS} parts")
        node = root
        for part in parts:
            node = node.children.setdefault(part, Field())
        node.value = value
    return root


def decode(target: Target, request: Request) -> dict[str, Any]:
    shape = target.model().input_shape
    if not isinstance(shape, StructureShape):
        return {}
    form = fields(request.query) | fields(request.body)
    return read_members(shape.members, tree(form), FORM_READER, "")


def _member(node: Field, name: str, shape: Shape) -> Any:
    found = node.children.get(name)
    if isinstance(shape, ListShape) and shape.serialization.get("flattened"):
        # Flattened items may go by a name of their own instead of the list's.
        found = node.children.get(wire_name(shape.member, name), found)
    return ABSENT if found is None else found


def _items(node: Field, shape: ListShape, path: str) -> list[Any]:
    if shape.serialization.get("flattened"):
        return node.numbered(path)
    inner = node.children.get(wire_name(shape.member, "member"))
    if inner is None and node.value:
        raise SerializationFailed(f"'{node.value[:100]}' at '{path}' can not be converted to a List")
    return inner.numbered(path) if inner is not None else []


def _entries(node: Field, shape: MapShape, path: str) -> list[tuple[str, Any]]:
    inner = node if shape.serialization.get("flattened") else node.children.get("entry", Field())
    key_name, value_name = wire_name(shape.key, "key"), wire_name(shape.value, "value")
    pairs = []
    for entry in inner.numbered(path):
        key, value = entry.children.get(key_name), entry.children.get(value_name)
        if key is None or key.value is None or value is None:
            raise SerializationFailed(f"An entry at '{path}' lacks its {key_name} or {value_name}")
        pairs.append((key.value, value))
    return pairs


def _structure(node: Field, path: str) -> Any:
    if node.value:
        raise SerializationFailed(f"'{node.value[:100]}' at '{path}' can not be converted to a Structure")
    return node


def _scalar(shape: Shape, node: Field, path: str) -> Any:
    if node.value is None:
        raise SerializationFailed(f"The field at '{path}' has parts where a single value belongs")
    return read_text(shape, node.value, path)


def encode(target: Target, result: dict[str, Any], request_id: str) -> Response:
    operation = target.model()
    shape, inner = operation.output_shape, ""
    if isinstance(shape, StructureShape):
        content = XML_WRITER.structure(shape, write_members(shape.members, completed(operation, result), XML_WRITER))
        wrapper = shape.serialization.get("resultWrapper", f"{operation.name}Result")
        inner = f"<{wrapper}>{content.text}</{wrapper}>"
    namespace = operation.service_model.metadata.get("xmlNamespace", "")
    text = (
        f'<{operation.name}Response xmlns="{escape(namespace)}">{inner}'
        f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata></{operation.name}Response>"
    )
    return Response(200, {"content-type": "text/xml", "x-amzn-requestid": request_id}, text.encode())


def encode_error(target: Target, error: ServiceError, request_id: str) -> Response:
    code, status = error.named_for("query")
    kind = "Sender" if status < 500 else "Receiver"
    shape, members = error_shape(target, code), ""
    if shape is not None:
        code = str(shape.metadata.get("error", {}).get("code", code))
        modelled = {name: member for name, member in response_body(shape).items() if name.lower() != "message"}
        members = XML_WRITER.structure(shape, write_members(modelled, error.members, XML_WRITER)).text
    text = (
        f"{DECLARATION}<ErrorResponse><Error><Type>{kind}</Type><Code>{escape(code)}</Code>"
        f"<Message>{escape(error.message)}</Message>{members}</Error>"
        f"<RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
    )
    return Response(status, {"content-type": "text/xml", "x-amzn-requestid": request_id}, text.encode())


FORM_READER = Reader(_member, _items, _entries, _structure, _scalar)
QUERY = Codec(decode, encode, encode_error)
