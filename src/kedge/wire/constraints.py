"""The checks that the models hold: required members, lengths, ranges, enumerations and patterns.

All that is wrong is said at once, in AWS's words: "2 validation errors detected: Value 'x' at 'modelName' failed to
satisfy constraint: Member must have length less than or equal to 63; Value ...".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape

from kedge.errors import (
    DocumentMissing,
    DocumentRefused,
    InvalidParameter,
    RuntimeValidationError,
    ServiceError,
    StorageClassRefused,
    ValidationFailed,
)
from kedge.wire.patterns import compiled
from kedge.wire.shapes import below, item_path, lower_camel

_SAID_IN_ORDER = {"StateValue": ["INSUFFICIENT_DATA", "ALARM", "OK"]}
"""Values that AWS was recorded to list in another order than its model does: CloudWatch's, of SetAlarmState."""

MAX_ERRORS = 20
"""So many are listed at most; a list of a thousand bad items is no better explained by a thousand sentences."""

MAX_SHOWN = 1024
"""Characters of a value in a message."""

MAX_MATCHED = 8192
"""A text is matched with a pattern up to the length that its shape allows, or up to this where it names none."""

OPEN_ENUMS = {
    "InstanceType": (r"ml\.[a-z0-9-]+(\.[a-z0-9-]+)+", "AWS adds types faster than clients update; ours has a table"),
    "BucketLocationConstraint": (r"[a-z0-9-]{1,64}", "a region that botocore does not know is still a region"),
    "ChecksumMode": (r"(?i:enabled)", "the SDKs for Java and C++ send small letters, and S3 takes them"),
}
"""Enumerations that are held to a pattern instead: end of the shape's name -> (pattern, reason)."""

NOT_CHECKED = {
    **{
        f"cloudwatch.Entity{shape}.{bound}": "what is wrong with an entity is told in a header, and the data is taken"
        for shape in (
            "KeyAttributesMap",
            "KeyAttributesMapKeyString",
            "KeyAttributesMapValueString",
            "AttributesMap",
            "AttributesMapKeyString",
            "AttributesMapValueString",
        )
        for bound in ("min", "max")
    },
    "sagemaker-runtime.BodyBlob.max": "the setting body_limit_bytes is the limit; 6 MB is too little for many",
    "s3.CopySource.pattern": "older models ask for a slash in front, which botocore itself leaves out",
}
"""Constraints of the models that are not enforced: service.Shape.constraint -> reason."""

_FINITE = "Member must be a finite number"
"""No operation has a use for NaN or an infinity, which a client may write as text; JSON could not keep them."""

_Problem = tuple[str, Any, str]
"""(path, value, constraint) of one failed check."""


class _Sensitive:
    """Stands for a value that must not be shown."""


def check(operation: OperationModel, parameters: Mapping[str, Any]) -> None:
    """Raises ValidationFailed, for S3 one of its kinds, or the runtime's own RuntimeValidationError."""
    shape = operation.input_shape
    if shape is None:
        return
    service = operation.service_model.service_name
    if _sound(service, shape)(parameters):
        return
    problems = []
    for problem in _problems(service, shape, parameters, ""):
        problems.append(problem)
        if len(problems) == MAX_ERRORS:
            break
    if problems:
        raise _refusal(service, shape, problems[0])(_message(problems))


def _refusal(service: str, shape: StructureShape, first: _Problem) -> type[ServiceError]:
    """S3 tells apart what is wrong in the body, that there is none, and what is wrong beside it."""
    if service == "sagemaker-runtime":
        return RuntimeValidationError
    if service == "logs":
        return InvalidParameter
    if service != "s3":
        return ValidationFailed
    path, value, _ = first
    top, _, below_top = path.partition(".")
    member = next(member for name, member in shape.members.items() if lower_camel(name) == top)
    if "location" in member.serialization:
        return StorageClassRefused if member.name == "StorageClass" else ValidationFailed
    if value is None and not below_top:
        return DocumentMissing
    # Of the values in its documents, S3 answers for the names of events by themselves.
    return ValidationFailed if below_top.endswith(".events") else DocumentRefused


def _message(problems: list[_Problem]) -> str:
    texts = []
    for path, value, constraint in problems:
        shown = "" if isinstance(value, _Sensitive) else " null" if value is None else f" '{_shown(value)}'"
        texts.append(f"Value{shown} at '{path}' failed to satisfy constraint: {constraint}")
    count = f"{len(texts)} validation error{'s' if len(texts) > 1 else ''} detected"
    return f"{count}: {'; '.join(texts)}"


def _shown(value: Any) -> str:
    """A value as Java prints it, which is how AWS's messages show it."""
    match value:
        case None:
            text = "null"
        case bool():
            text = "true" if value else "false"
        case list():
            text = "[" + ", ".join(_shown(item) for item in value[:MAX_SHOWN]) + "]"
        case dict():
            text = "{" + ", ".join(f"{key}={_shown(item)}" for key, item in list(value.items())[:MAX_SHOWN]) + "}"
        case _:
            text = str(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


Sound = Callable[[Any], bool]
"""Whether a value satisfies everything. It may say no of what does; then `_problems` finds nothing."""


@lru_cache(4096)
def _sound(service: str, shape: Shape) -> Sound:
    """The same checks as one function, made once, for requests in which nothing is wrong."""
    return _sound_in(service, shape, ())


def _sound_in(service: str, shape: Shape, within: tuple[str, ...]) -> Sound:
    if shape.name in within:
        return lambda value: next(_problems(service, shape, value, ""), None) is None
    within = (*within, shape.name)
    low, high = _bounds(service, shape)
    least, most = -math.inf if low is None else low, math.inf if high is None else high
    if isinstance(shape, StructureShape) and not shape.is_document_type:
        members = {name: _sound_in(service, member, within) for name, member in shape.members.items()}
        return partial(_sound_structure, tuple(shape.required_members), members)
    if isinstance(shape, ListShape):
        item = _sound_in(service, shape.member, within)
        return lambda value: least <= len(value) <= most and None not in value and all(map(item, value))
    if isinstance(shape, MapShape):
        key, item = _sound_in(service, shape.key, within), _sound_in(service, shape.value, within)
        return lambda value: (
            least <= len(value) <= most
            and all(map(key, value))
            and None not in value.values()
            and all(map(item, value.values()))
        )
    if shape.type_name in ("double", "float", "integer", "long"):
        return lambda value: least <= value <= most and -math.inf < value < math.inf
    if shape.type_name in ("boolean", "timestamp"):
        return lambda value: True
    pattern, enum = _pattern(service, shape), frozenset(_enum(shape))
    if shape.type_name == "string" and pattern is None:
        return lambda value: least <= len(value) <= most and (not enum or value in enum)
    return lambda value: next(_violated(service, shape, value), None) is None


def _sound_structure(required: tuple[str, ...], members: Mapping[str, Sound], value: Mapping[str, Any]) -> bool:
    for name in required:
        if value.get(name) is None:
            return False
    for name, each in value.items():  # noqa: SIM110 (a generator for every structure takes its time)
        if each is not None and name in members and not members[name](each):
            return False
    return True


def _problems(service: str, shape: Shape, value: Any, path: str) -> Iterator[_Problem]:
    if value is None:
        yield path, None, "Member must not be null"
        return
    for constraint in _violated(service, shape, value):
        yield path, _Sensitive() if shape.metadata.get("sensitive") else value, constraint
    if isinstance(shape, StructureShape) and not shape.is_document_type:
        for name in shape.required_members:
            if value.get(name) is None:
                yield below(path, lower_camel(name)), None, "Member must not be null"
        for name, member in shape.members.items():
            if value.get(name) is not None:
                yield from _problems(service, member, value[name], below(path, lower_camel(name)))
    elif isinstance(shape, ListShape):
        if _is_leaf(shape.member):
            yield from _joined(service, shape.member, value, value, path, "Member")
        else:
            for index, item in enumerate(value):
                yield from _problems(service, shape.member, item, item_path(path, index))
    elif isinstance(shape, MapShape):
        yield from _joined(service, shape.key, value, value.keys(), path, "Map keys")
        if _is_leaf(shape.value):
            yield from _joined(service, shape.value, value, value.values(), path, "Map value")
        else:
            for key, item in value.items():
                yield from _problems(service, shape.value, item, below(path, f"{key}.member"))


def _joined(
    service: str, shape: Shape, whole: Any, leaves: Iterable[Any], path: str, subject: str
) -> Iterator[_Problem]:
    """AWS reports the leaves of a list or map once, on the whole, with all that its leaves have to satisfy."""
    leaves = list(leaves)
    null = any(leaf is None for leaf in leaves)
    if null or any(True for leaf in leaves for _ in _violated(service, shape, leaf)):
        shown = _Sensitive() if shape.metadata.get("sensitive") else whole
        rules = _all(service, shape) + [_FINITE] * any(map(_endless, leaves)) + ["Member must not be null"] * null
        yield path, shown, f"{subject} must satisfy constraint: [{', '.join(rules)}]"


def _is_leaf(shape: Shape) -> bool:
    return not isinstance(shape, StructureShape | ListShape | MapShape)


def _all(service: str, shape: Shape) -> list[str]:
    """Every constraint of a leaf, in AWS's order."""
    low, high = _bounds(service, shape)
    noun = "length" if _is_measured(shape) else "value"
    texts = [f"Member must have {noun} less than or equal to {high}"] if high is not None else []
    texts += [f"Member must have {noun} greater than or equal to {low}"] if low is not None else []
    pattern, enum = _pattern(service, shape), _enum(shape)
    texts += [_enum_text(enum)] if enum else []
    return texts + ([_pattern_text(pattern)] if pattern else [])


def _violated(service: str, shape: Shape, value: Any) -> Iterator[str]:
    """What a value itself breaks, not its parts."""
    if not _has_bounds(shape, value):
        return
    if _endless(value):
        yield _FINITE
        return
    low, high = _bounds(service, shape)
    measured = _is_measured(shape)
    size, noun = (len(value), "length") if measured else (value, "value")
    if high is not None and size > high:
        yield f"Member must have {noun} less than or equal to {high}"
    if low is not None and size < low:
        yield f"Member must have {noun} greater than or equal to {low}"
    if not isinstance(value, str):
        return
    enum, pattern = _enum(shape), _pattern(service, shape)
    if enum and value not in enum:
        yield _enum_text(enum)
    if pattern is not None:
        limit = MAX_MATCHED if high is None else high
        if high is None and size > limit:
            yield f"Member must have length less than or equal to {limit}"
        # A pattern can take long on a text that is longer than it was made for.
        if value not in _open_values(shape) and (size > limit or not compiled(pattern).fullmatch(value)):
            yield _pattern_text(pattern)


def _endless(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _has_bounds(shape: Shape, value: Any) -> bool:
    # The stream of a body that is still to come has no length yet.
    return isinstance(value, str | bytes | int | float | list | dict) and shape.type_name != "structure"


def _is_measured(shape: Shape) -> bool:
    return shape.type_name in ("string", "character", "blob", "list", "map")


def _bounds(service: str, shape: Shape) -> tuple[int | float | None, int | float | None]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    return (
        None if f"{service}.{shape.name}.min" in NOT_CHECKED else low,
        None if f"{service}.{shape.name}.max" in NOT_CHECKED else high,
    )


def _open_pattern(shape: Shape) -> str | None:
    return next((pattern for end, (pattern, _) in OPEN_ENUMS.items() if shape.name.endswith(end)), None)


def _enum(shape: Shape) -> list[str]:
    if not isinstance(shape, StringShape) or _open_pattern(shape) is not None:
        return []
    return _SAID_IN_ORDER.get(shape.name, list(shape.enum))


def _open_values(shape: Shape) -> list[str]:
    """The values of an open enumeration that the model does list, such as "system" among the instance types."""
    return list(shape.enum) if isinstance(shape, StringShape) and _open_pattern(shape) is not None else []


def _pattern(service: str, shape: Shape) -> str | None:
    """The pattern of a string; an open enumeration's stands in for its values."""
    if isinstance(shape, StringShape) and shape.enum and (pattern := _open_pattern(shape)) is not None:
        return pattern
    return None if f"{service}.{shape.name}.pattern" in NOT_CHECKED else shape.metadata.get("pattern")


def _enum_text(values: list[str]) -> str:
    return f"Member must satisfy enum value set: [{', '.join(values)}]"


def _pattern_text(pattern: str) -> str:
    # The service's own patterns start with ^, which the published models leave out.
    return f"Member must satisfy regular expression pattern: {pattern if pattern.startswith('^') else '^' + pattern}"
