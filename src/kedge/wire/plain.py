"""The quick way for requests in which nothing is wrong: for each shape a function that is made once.

The walks in shapes.py and constraints.py know at every leaf where they are, because that is what a refusal has to say.
Most requests are not refused. What is made here does the same without paths, and answers that it is not plain whenever
it is not sure; then the walk does it again and finds the words. So nothing passes here that the walk would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from kedge.errors import SerializationFailed
from kedge.wire.shapes import wire_name


class NotPlain(Exception):
    """Somewhere is something that has to be looked at more closely."""


Read = Callable[[Any], Any]
Scalar = Callable[[Shape, Any, str], Any]
"""As Reader.scalar: (shape, node, path) -> value. Raises SerializationFailed."""


def read(shape: StructureShape, node: Any, quick: Mapping[str, Read], scalar: Scalar) -> dict[str, Any]:
    """The members of a parsed request whose structures are dicts and whose lists are lists. Raises NotPlain.

    quick: name of a leaf's type -> what reads one, raising NotPlain or ValueError. scalar: for all other leaves.
    """
    try:
        found: dict[str, Any] = _reader(shape, _Leaves(quick, scalar))(node)
    except (ValueError, OverflowError, SerializationFailed):
        raise NotPlain from None
    return found


class _Leaves:
    """Compared by what it is made of: one for each protocol."""

    def __init__(self, quick: Mapping[str, Read], scalar: Scalar) -> None:
        self.quick, self.scalar = quick, scalar

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Leaves) and self.scalar is other.scalar

    def __hash__(self) -> int:
        return hash(self.scalar)


@lru_cache(4096)
def _reader(shape: StructureShape, leaves: _Leaves) -> Read:
    return _reader_of(shape, leaves, ())


def _reader_of(shape: Shape, leaves: _Leaves, within: tuple[str, ...]) -> Read:
    if shape.name in within:
        return _not_plain  # a shape inside of itself may go as deep as it likes
    within = (*within, shape.name)
    if isinstance(shape, StructureShape) and not shape.is_document_type:
        members = {
            wire_name(member, name): (name, _reader_of(member, leaves, within))
            for name, member in shape.members.items()
        }
        return lambda node: _structure(members, node)
    if isinstance(shape, ListShape):
        each = _reader_of(shape.member, leaves, within)
        return lambda node: _list(each, node)
    if isinstance(shape, MapShape):
        value, key = _reader_of(shape.value, leaves, within), _reader_of(shape.key, leaves, within)
        return lambda node: _map(key, value, node)
    if shape.type_name in leaves.quick:
        return leaves.quick[shape.type_name]
    return lambda node: leaves.scalar(shape, node, "")


def _structure(members: Mapping[str, tuple[str, Read]], node: Any) -> dict[str, Any]:
    if type(node) is not dict:
        raise NotPlain
    found = {}
    for key, value in node.items():
        if value is not None and (member := members.get(key)) is not None:
            found[member[0]] = member[1](value)
    return found


def _list(each: Read, node: Any) -> list[Any]:
    if type(node) is not list or None in node:
        raise NotPlain
    return [each(item) for item in node]


def _map(key: Read, value: Read, node: Any) -> dict[str, Any]:
    if type(node) is not dict or None in node.values():
        raise NotPlain
    return {key(name): value(item) for name, item in node.items()}


def _not_plain(_node: Any) -> Any:
    raise NotPlain
