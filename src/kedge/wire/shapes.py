"""One walk over botocore's shapes in each direction, shared by every protocol.

A protocol says how its own tree looks by a `Reader` or a `Writer`: where a member is found, what a list and a map look
like, and how a leaf is written. The walk knows the shapes; the reader and the writer do not decide anything else.

Operations see wire names, str, int, float, bool, bytes, lists, dicts and aware UTC datetimes.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from kedge.errors import SerializationFailed

ABSENT: Any = object()
"""What a reader answers where nothing was sent; None is a null that was."""

MAX_DEPTH = 64
"""Levels of nesting of a request. The deepest shape of SageMaker that is no recursion has 12."""

INTEGER_BITS = {"integer": 32, "long": 64}


@dataclass(frozen=True)
class Reader:
    """How a protocol's parsed request is looked into. Each function raises SerializationFailed, naming the path."""

    member: Callable[[Any, str, Shape], Any]
    """(node of a structure, wire name, shape of the member) -> its node, or ABSENT."""
    items: Callable[[Any, ListShape, str], list[Any]]
    entries: Callable[[Any, MapShape, str], Iterable[tuple[str, Any]]]
    structure: Callable[[Any, str], Any]
    """Checks that a node is a structure and answers it."""
    scalar: Callable[[Shape, Any, str], Any]


@dataclass(frozen=True)
class Writer:
    """How a protocol builds its answer from parts that are already written."""

    structure: Callable[[StructureShape, list[tuple[str, Shape, Any]]], Any]
    """(shape, [(wire name, member's shape, written member)])"""
    items: Callable[[ListShape, list[Any]], Any]
    entries: Callable[[MapShape, list[tuple[str, Any]]], Any]
    scalar: Callable[[Shape, Any], Any]
    each: Callable[[Shape], Callable[[Any], Any] | None] = lambda _shape: None
    """A quick way to write the items of a long list, for shapes that have one."""


MANY = 16
"""From this number of items a list is long."""


def wire_name(shape: Shape, default: str) -> str:
    return str(shape.serialization.get("name", default))


def lower_camel(name: str) -> str:
    """A member as AWS's messages write it: ProductionVariants is productionVariants."""
    return name[:1].lower() + name[1:]


def below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def item_path(path: str, index: int) -> str:
    """The path of a list's item; index counts from 0, AWS from 1."""
    return f"{path}.{index + 1}.member"


def read(shape: Shape, node: Any, reader: Reader, path: str = "", depth: int = 0) -> Any:
    """The value of a node. Members that the shape does not know are left out, nulls among items stay for the checks."""
    if depth > MAX_DEPTH:
        raise SerializationFailed(f"The request is nested more than {MAX_DEPTH} levels deep at '{path[:200]}'")
    if isinstance(shape, StructureShape):
        if shape.is_document_type:
            return reader.scalar(shape, node, path)
        return read_members(shape.members, reader.structure(node, path), reader, path, depth)
    if isinstance(shape, ListShape):
        return [
            None if item is None else read(shape.member, item, reader, item_path(path, index), depth + 1)
            for index, item in enumerate(reader.items(node, shape, path))
        ]
    if isinstance(shape, MapShape):
        return {
            key: None if value is None else read(shape.value, value, reader, below(path, key), depth + 1)
            for key, value in reader.entries(node, shape, path)
        }
    return reader.scalar(shape, node, path)


def read_members(members: Mapping[str, Shape], node: Any, reader: Reader, path: str, depth: int = 0) -> dict[str, Any]:
    """The members of a structure that were sent; a null counts as not sent."""
    found: dict[str, Any] = {}
    for name, member in members.items():
        value = reader.member(node, wire_name(member, name), member)
        if value is not ABSENT and value is not None:
            found[name] = read(member, value, reader, below(path, lower_camel(name)), depth + 1)
    return found


def write(shape: Shape, value: Any, writer: Writer) -> Any:
    if isinstance(shape, StructureShape):
        if shape.is_document_type:
            return writer.scalar(shape, value)
        return writer.structure(shape, write_members(shape.members, value, writer))
    if isinstance(shape, ListShape):
        each = writer.each(shape.member) if len(value) >= MANY else None
        if each is not None and None not in value:
            return writer.items(shape, [each(item) for item in value])
        return writer.items(shape, [None if item is None else write(shape.member, item, writer) for item in value])
    if isinstance(shape, MapShape):
        written = [(key, None if item is None else write(shape.value, item, writer)) for key, item in value.items()]
        return writer.entries(shape, written)
    return writer.scalar(shape, value)


def write_members(
    members: Mapping[str, Shape], value: Mapping[str, Any], writer: Writer
) -> list[tuple[str, Shape, Any]]:
    """The members that have a value; a null is not sent."""
    return [
        (wire_name(member, name), member, write(member, value[name], writer))
        for name, member in members.items()
        if value.get(name) is not None
    ]


def request_body(shape: StructureShape) -> dict[str, Shape]:
    """The members that stand in a request's body, not in path, query string or headers."""
    return _elsewhere(shape, {"uri", "querystring", "header", "headers"})


def response_body(shape: StructureShape) -> dict[str, Shape]:
    """The members that stand in an answer's body, not in its headers or status."""
    return _elsewhere(shape, {"statusCode", "header", "headers"})


def _elsewhere(shape: StructureShape, places: set[str]) -> dict[str, Shape]:
    return {
        name: member for name, member in shape.members.items() if member.serialization.get("location") not in places
    }


def completed(operation: OperationModel, result: Mapping[str, Any]) -> dict[str, Any]:
    """The result with the lists that AWS always sends: every list at the top of a List operation's answer.

    The models require only some of them (ListTags.Tags is optional), but SDKs index them all.
    """
    shape = operation.output_shape
    if not isinstance(shape, StructureShape) or not operation.name.startswith("List"):
        return dict(result)
    return {name: [] for name, member in shape.members.items() if isinstance(member, ListShape)} | dict(result)


def mistakes(shape: Shape | None, value: Any, path: str = "") -> list[str]:
    """What an operation's result has that its shape does not know, or lacks that it requires. For tests."""
    if shape is None:
        return [f"{name} is unknown" for name in value]
    if isinstance(shape, StructureShape) and shape.serialization.get("eventstream"):
        return []
    if isinstance(shape, StructureShape) and not shape.is_document_type:
        found = [f"{below(path, name)} is unknown" for name in value if name not in shape.members]
        found += [f"{below(path, name)} is missing" for name in shape.required_members if value.get(name) is None]
        for name, member in shape.members.items():
            if value.get(name) is not None:
                found += mistakes(member, value[name], below(path, name))
        return found
    if isinstance(shape, ListShape):
        return [text for index, item in enumerate(value) for text in mistakes(shape.member, item, f"{path}.{index}")]
    if isinstance(shape, MapShape):
        return [text for key, item in value.items() for text in mistakes(shape.value, item, below(path, key))]
    return []


def read_text(shape: Shape, text: str, path: str) -> Any:
    """A leaf that arrived as text: in XML, a form, a header, a path or a query string. Raises SerializationFailed."""
    kind = shape.type_name
    try:
        if kind == "timestamp":
            return parse_time(text)
        if kind == "boolean":
            return {"true": True, "false": False}[text.strip().lower()]
        if kind in INTEGER_BITS:
            return checked_integer(int(_number(text)), kind)
        if kind in ("float", "double"):
            return finite(float(_number(text))) if text not in SPECIAL_FLOATS else SPECIAL_FLOATS[text]
        if kind == "blob":
            return base64.b64decode(text, validate=True)
    except (ValueError, KeyError, OverflowError, binascii.Error):
        raise SerializationFailed(f"'{text[:100]}' at '{path}' can not be converted to {article(kind)}") from None
    return text


def write_text(shape: Shape, value: Any, time_format: str) -> str:
    """A leaf as text. time_format: where the model names none: "iso8601" or "rfc822"."""
    kind = shape.type_name
    if kind == "timestamp":
        return str(format_time(value, shape.serialization.get("timestampFormat", time_format)))
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind in ("float", "double"):
        return str(plain_float(float(value)))
    return str(value)


def article(kind: str) -> str:
    """A kind of shape as AWS's messages call it: "an Integer"."""
    names = {"integer": "an Integer", "list": "a List", "structure": "a Structure"}
    return names.get(kind, f"a {kind.capitalize()}")


def not_a(kind: str, path: str) -> SerializationFailed:
    """A value of the right type that does not fit, such as a number of too many bits."""
    bits = f" of {INTEGER_BITS[kind]} bits" if kind in INTEGER_BITS else ""
    return SerializationFailed(f"The value at '{path}' can not be converted to {article(kind)}{bits}")


def checked_integer(number: int, kind: str) -> int:
    """Raises ValueError for what does not fit 32 (integer) or 64 bits (long)."""
    half = 1 << (INTEGER_BITS[kind] - 1)
    if not -half <= number < half:
        raise ValueError(kind)
    return number


SPECIAL_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def finite(number: float) -> float:
    """Raises ValueError: a number like 1e999 is infinite only because it does not fit."""
    if not math.isfinite(number):
        raise ValueError("too large")
    return number


def plain_float(number: float) -> float | str:
    """A float as JSON and XML can carry it."""
    if math.isnan(number):
        return "NaN"
    return number if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")


def _number(text: str) -> str:
    # Python's own parsers take underscores, surrounding spaces and words.
    if len(text) > 400 or not text.strip("+-") or any(letter not in "0123456789+-.eE" for letter in text):
        raise ValueError(text[:100])
    return text


def parse_time(text: str) -> datetime:
    """ISO 8601, RFC 822 or epoch seconds. Raises ValueError or OverflowError."""
    text = text.strip()
    if "," in text:
        return _utc(parsedate_to_datetime(text))
    if "-" in text[1:] or ":" in text:
        return _utc(datetime.fromisoformat(text))
    return epoch(float(_number(text)))


def epoch(seconds: float) -> datetime:
    """Raises ValueError or OverflowError outside the years 1 to 9999."""
    try:
        # Whole milliseconds: the float nearest to a fraction of a second is not quite that fraction.
        return datetime.fromtimestamp(round(finite(seconds), 3), UTC)
    except OSError as error:
        raise ValueError(str(error)) from None


def _utc(when: datetime) -> datetime:
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def format_time(when: datetime, time_format: str) -> str | int | float:
    """Seconds with milliseconds for "unixTimestamp", else text. when: aware."""
    match time_format.lower():
        case "unixtimestamp":
            seconds = round(when.timestamp(), 3)
            return int(seconds) if seconds == int(seconds) else seconds
        case "rfc822":
            return format_datetime(when.astimezone(UTC), usegmt=True)
        case _:
            when = when.astimezone(UTC)
            fraction = f".{when.microsecond // 1000:03d}" if when.microsecond >= 1000 else ""
            return when.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"
