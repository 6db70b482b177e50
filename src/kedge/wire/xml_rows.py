"""Long lists in XML: a function for each shape, made once, writes an item in a few string operations.

The general walk decides for every member of every item how it is written; for a page of a thousand objects that is
most of the time that the answer takes. What is written is the same (a test compares the two).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from kedge.wire.shapes import wire_name, write_text

Inner = Callable[[Any], str]
"""value -> the text inside its element."""

_DEEPEST = 4


class Unsuited(Exception):
    """A shape that is left to the general walk."""


def inner_of(shape: Shape, escape: Callable[[str], str], namespace: Callable[[Shape], str], depth: int = 0) -> Inner:
    """Raises Unsuited."""
    if isinstance(shape, MapShape) or depth > _DEEPEST:
        raise Unsuited
    if isinstance(shape, StructureShape):
        return _structure(shape, escape, namespace, depth)
    if isinstance(shape, ListShape):
        tag = wire_name(shape.member, "member")
        return _each(tag, shape.member, escape, namespace, depth)
    kind = shape.type_name
    if kind in ("integer", "long"):
        return str
    if kind in ("string", "character"):
        return escape
    if kind == "timestamp":
        return lambda value: _moment(shape, value)
    return lambda value: escape(write_text(shape, value, "iso8601"))


@lru_cache(maxsize=1024)
def _moment(shape: Shape, value: datetime) -> str:
    return write_text(shape, value, "iso8601")


def _structure(
    shape: StructureShape, escape: Callable[[str], str], namespace: Callable[[Shape], str], depth: int
) -> Inner:
    if shape.is_document_type:
        raise Unsuited
    members: list[tuple[str, Inner]] = []
    for name, member in shape.members.items():
        if member.serialization.get("xmlAttribute"):
            raise Unsuited
        if isinstance(member, ListShape) and member.serialization.get("flattened"):
            tag = wire_name(member.member, wire_name(member, name))
            members.append((name, _each(tag, member.member, escape, namespace, depth)))
        else:
            members.append((name, _one(wire_name(member, name), member, escape, namespace, depth)))

    def write(value: Any) -> str:
        get = value.get
        return "".join([inner(found) for name, inner in members if (found := get(name)) is not None])

    return write


def _one(tag: str, shape: Shape, escape: Callable[[str], str], namespace: Callable[[Shape], str], depth: int) -> Inner:
    inner, start, end = inner_of(shape, escape, namespace, depth + 1), f"<{tag}{namespace(shape)}>", f"</{tag}>"
    return lambda value: start + inner(value) + end


def _each(tag: str, shape: Shape, escape: Callable[[str], str], namespace: Callable[[Shape], str], depth: int) -> Inner:
    one = _one(tag, shape, escape, namespace, depth)
    return lambda values: "".join([one(value) for value in values])
