"""XML as AWS's query and REST protocols use it: a parser that expands nothing, and a writer.

A document type declaration is refused as such, so no entity can be declared, expanded or fetched.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from xml.parsers import expat

from botocore.model import ListShape, MapShape, Shape, StructureShape

from kedge.errors import SerializationFailed
from kedge.wire.shapes import ABSENT, MAX_DEPTH, Reader, Writer, read_text, wire_name, write_text
from kedge.wire.xml_rows import Unsuited, inner_of

MAX_ELEMENTS = 200_000
"""Elements of one request. Completing an upload of 10,000 parts takes some 40,000."""

# XML 1.0 cannot hold these, not even as references.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_PLAIN = re.compile(r"[0-9A-Za-z_./:+ -]*")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;"})


@dataclass
class Node:
    """An element. Names are without namespace; `text` is the element's own."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def named(self, name: str) -> list[Node]:
        return [child for child in self.children if child.name == name]


def parse(body: bytes) -> Node:
    """The root element. Raises SerializationFailed."""
    root = Node("")
    open_nodes, texts = [root], [[""]]
    count = itertools.count(1)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(open_nodes) > MAX_DEPTH:
            raise SerializationFailed(f"The XML is nested more than {MAX_DEPTH} levels deep")
        if next(count) > MAX_ELEMENTS:
            raise SerializationFailed(f"The XML has more than {MAX_ELEMENTS} elements")
        node = Node(_local(name), {_local(key): value for key, value in attributes.items()})
        open_nodes[-1].children.append(node)
        open_nodes.append(node)
        texts.append([])

    def end(_name: str) -> None:
        open_nodes.pop().text = "".join(texts.pop())

    def doctype(*_: Any) -> None:
        raise SerializationFailed("The XML has a document type declaration, which is not allowed")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # LookupError: an encoding that there is not
        raise SerializationFailed(f"The XML you provided was not well-formed: {error}") from None
    return root.children[0]


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _member(node: Node, name: str, shape: Shape) -> Any:
    if shape.serialization.get("xmlAttribute"):
        return node.attributes.get(name.rpartition(":")[2], ABSENT)
    if shape.serialization.get("flattened") and isinstance(shape, ListShape | MapShape):
        # botocore writes a flattened list under its own name and reads it under that of its items.
        found = node.named(name) or (node.named(wire_name(shape.member, name)) if isinstance(shape, ListShape) else [])
        # An element of its own holds what the reader of lists and maps looks for.
        return Node(name, children=found) if found else ABSENT
    found = node.named(name)
    return found[0] if found else ABSENT


def _items(node: Node, shape: ListShape, _path: str) -> list[Any]:
    if shape.serialization.get("flattened"):
        return node.children
    return node.named(wire_name(shape.member, "member"))


def _entries(node: Node, shape: MapShape, path: str) -> list[tuple[str, Any]]:
    entries = node.children if shape.serialization.get("flattened") else node.named("entry")
    key_name, value_name = wire_name(shape.key, "key"), wire_name(shape.value, "value")
    pairs = []
    for entry in entries:
        keys, values = entry.named(key_name), entry.named(value_name)
        if not keys or not values:
            raise SerializationFailed(f"An entry at '{path}' lacks its {key_name} or {value_name}")
        pairs.append((keys[0].text, values[0]))
    return pairs


def _structure(node: Any, path: str) -> Any:
    if not isinstance(node, Node):
        raise SerializationFailed(f"An element is missing at '{path}'")
    return node


def _scalar(shape: Shape, node: Any, path: str) -> Any:
    return read_text(shape, node.text if isinstance(node, Node) else node, path)


@dataclass(frozen=True)
class Content:
    """What stands in an element: its text, or the parts of which each repeats the element (a flattened list)."""

    text: str = ""
    attributes: str = ""
    parts: tuple[Content, ...] | None = None


def element(name: str, shape: Shape, content: Content) -> str:
    if content.parts is not None:
        return "".join(element(name, shape, part) for part in content.parts)
    return f"<{name}{_namespace(shape)}{content.attributes}>{content.text}</{name}>"


def _namespace(shape: Shape) -> str:
    namespace = shape.serialization.get("xmlNamespace")
    if not namespace:
        return ""
    if isinstance(namespace, str):
        return f' xmlns="{escape(namespace)}"'
    prefix = f":{namespace['prefix']}" if namespace.get("prefix") else ""
    return f' xmlns{prefix}="{escape(namespace["uri"])}"'


def escape(text: str) -> str:
    """Text for an element or a quoted attribute; what XML cannot hold becomes U+FFFD."""
    if _PLAIN.fullmatch(text):
        return text
    return _ILLEGAL.sub("\ufffd", text).translate(_ESCAPES)


def _write_structure(_shape: StructureShape, members: list[tuple[str, Shape, Content]]) -> Content:
    text, attributes = [], []
    for name, shape, content in members:
        if shape.serialization.get("xmlAttribute"):
            attributes.append(f' {name}="{content.text}"')
        else:
            text.append(element(_repeated_name(name, shape), shape, content))
    return Content("".join(text), "".join(attributes))


def _repeated_name(name: str, shape: Shape) -> str:
    flattened = isinstance(shape, ListShape) and shape.serialization.get("flattened")
    return wire_name(shape.member, name) if flattened and isinstance(shape, ListShape) else name


def _write_items(shape: ListShape, items: list[Content]) -> Content:
    if shape.serialization.get("flattened"):
        return Content(parts=tuple(items))
    name = wire_name(shape.member, "member")
    return Content("".join(element(name, shape.member, item) for item in items))


def _write_entries(shape: MapShape, entries: list[tuple[str, Content]]) -> Content:
    key_name, value_name = wire_name(shape.key, "key"), wire_name(shape.value, "value")
    parts = [
        element(key_name, shape.key, Content(escape(key))) + element(value_name, shape.value, value)
        for key, value in entries
    ]
    if shape.serialization.get("flattened"):
        return Content(parts=tuple(Content(part) for part in parts))
    return Content("".join(f"<entry>{part}</entry>" for part in parts))


def _write_scalar(shape: Shape, value: Any) -> Content:
    return Content(escape(write_text(shape, value, "iso8601")))


@lru_cache(maxsize=256)
def _write_each(shape: Shape) -> Callable[[Any], Content] | None:
    try:
        inner = inner_of(shape, escape, _namespace)
    except Unsuited:
        return None
    return lambda value: Content(inner(value))


XML_READER = Reader(_member, _items, _entries, _structure, _scalar)
XML_WRITER = Writer(_write_structure, _write_items, _write_entries, _write_scalar, _write_each)
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
