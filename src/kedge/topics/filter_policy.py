"""Does a subscription want this message? PURE.

A policy maps names to lists of conditions; all names have to be satisfied, each by one condition of its list. Its scope
is the message's attributes, or its body when that is a JSON object.

Source: "Amazon SNS subscription filter policies" in the SNS developer guide; the texts of refusals are recorded ones.
"""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

ATTRIBUTES, BODY = "MessageAttributes", "MessageBody"
MOST_KEYS = 5
MOST_COMBINATIONS = 150

Policy = Mapping[str, Any]
Flat = Mapping[str, list[Any]]
"""Values by dotted name."""

_RANGES: Mapping[str, Callable[[float, float], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class PolicyRefused(ValueError):
    """In AWS's words."""


class NestingRefused(PolicyRefused):
    """A policy for attributes that has levels."""


def checked(text: str, scope: str) -> Policy:
    """Raises PolicyRefused."""
    try:
        policy = json.loads(text)
    except (ValueError, RecursionError):
        raise PolicyRefused("failed to parse JSON.") from None
    if not isinstance(policy, dict):
        raise PolicyRefused("Filter must be a JSON object")
    combinations, keys = 1, 0
    for depth, (_, conditions) in _rules(policy):
        if depth > 1 and scope == ATTRIBUTES:
            raise NestingRefused("Filter policy scope MessageAttributes does not support nested filter policy")
        if not conditions:
            raise PolicyRefused("Empty arrays are not allowed")
        for condition in conditions:
            _check(condition)
        keys += 1
        combinations *= len(conditions) * depth
    if keys > MOST_KEYS:
        raise PolicyRefused(f"Filter policy can not have more than {MOST_KEYS} keys")
    if combinations > MOST_COMBINATIONS:
        raise PolicyRefused("Filter policy is too complex")
    return policy


def matches(policy: Policy, scope: str, attributes: Mapping[str, Mapping[str, str]], body: str) -> bool:
    """attributes: {name: {"Type": ..., "Value": ...}} as a notification has them."""
    if scope == ATTRIBUTES:
        return _holds(policy, {name: _values(each) for name, each in attributes.items()}, "")
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(parsed, dict):
        return False
    flat: dict[str, list[Any]] = {}
    _flatten(parsed, "", flat)
    return _holds(policy, flat, "")


def _rules(policy: Policy, depth: int = 1) -> Iterator[tuple[int, tuple[str, list[Any]]]]:
    """(level, (name, conditions)) of all. Raises PolicyRefused."""
    for name, value in policy.items():
        if name == "$or" and isinstance(value, list) and len(value) > 1 and all(isinstance(e, dict) for e in value):
            for each in value:
                yield from _rules(each, depth)
        elif isinstance(value, dict):
            yield from _rules(value, depth + 1)
        elif isinstance(value, list):
            yield depth, (name, value)
        else:
            raise PolicyRefused(f'"{name}" must be an object or an array')


def _check(condition: Any) -> None:
    if isinstance(condition, list):
        raise PolicyRefused("Match value must be String, number, true, false, or null")
    if not isinstance(condition, dict):
        return
    if len(condition) != 1:
        raise PolicyRefused("Only one key allowed in match expression")
    ((operator, operand),) = condition.items()
    if operator in ("prefix", "suffix", "equals-ignore-case"):
        if not isinstance(operand, str):
            raise PolicyRefused(f"{operator} match pattern must be a string")
    elif operator == "anything-but":
        _check_anything_but(operand)
    elif operator == "exists":
        if not isinstance(operand, bool):
            raise PolicyRefused("exists match pattern must be either true or false.")
    elif operator == "numeric":
        _check_numeric(operand)
    elif operator == "cidr":
        try:
            ipaddress.ip_network(operand if isinstance(operand, str) else "", strict=False)
        except ValueError:
            raise PolicyRefused("Malformed CIDR, one '/' required") from None
    else:
        raise PolicyRefused(f"Unrecognized match type {operator}")


def _check_anything_but(operand: Any) -> None:
    if isinstance(operand, dict):
        if len(operand) != 1 or next(iter(operand)) not in ("prefix", "suffix"):
            raise PolicyRefused("Unsupported anything-but pattern: prefix and suffix are taken")
        _check(operand)
        return
    listed = operand if isinstance(operand, list) else [operand]
    if not listed or not all(isinstance(each, str) or _is_number(each) for each in listed):
        raise PolicyRefused("anything-but match value must be a string, a number, or a list of them")


def _check_numeric(operand: Any) -> None:
    if not isinstance(operand, list):
        raise PolicyRefused("Value of numeric must be an array.")
    if not operand or not isinstance(operand[0], str):
        raise PolicyRefused(f"Invalid member in numeric match: {operand[0] if operand else ']'}")
    if operand[0] not in _RANGES:
        raise PolicyRefused(f"Unrecognized numeric range operator: {operand[0]}")
    if len(operand) < 2 or not _is_number(operand[1]):
        raise PolicyRefused(f"Value of {'equals' if operand[0] == '=' else operand[0]} must be numeric")
    if len(operand) == 2:
        return
    if operand[0] not in (">", ">="):
        raise PolicyRefused("Too many elements in numeric expression")
    if not isinstance(operand[2], str):
        raise PolicyRefused(f"Bad value in numeric range: {operand[2]}")
    if operand[2] not in ("<", "<="):
        raise PolicyRefused(f"Bad numeric range operator: {operand[2]}")
    if len(operand) < 4 or not _is_number(operand[3]):
        raise PolicyRefused(f"Value of {operand[2]} must be numeric")
    if operand[3] <= operand[1]:
        raise PolicyRefused("Bottom must be less than top")
    if len(operand) > 4:
        raise PolicyRefused("Too many terms in numeric range expression")


def _holds(policy: Policy, flat: Flat, prefix: str) -> bool:
    for name, value in policy.items():
        if name == "$or" and isinstance(value, list) and len(value) > 1 and all(isinstance(e, dict) for e in value):
            if not any(_holds(each, flat, prefix) for each in value):
                return False
        elif isinstance(value, dict):
            if not _holds(value, flat, f"{prefix}{name}."):
                return False
        elif not any(_fits(condition, flat.get(prefix + name)) for condition in value):
            return False
    return True


def _fits(condition: Any, values: list[Any] | None) -> bool:
    """values: of the message under this name; None: it has none of that name."""
    if isinstance(condition, dict):
        ((operator, operand),) = condition.items()
        if operator == "exists":
            return bool((values is not None) == operand)
        return values is not None and any(_operates(operator, operand, value) for value in values)
    if condition is None:
        return values is not None and any(value is None for value in values)
    return values is not None and any(_equal(condition, value) for value in values)


def _operates(operator: str, operand: Any, value: Any) -> bool:
    if operator == "numeric":
        pairs = zip(operand[::2], operand[1::2], strict=True)
        return _is_number(value) and all(_RANGES[sign](value, bound) for sign, bound in pairs)
    if operator == "anything-but":
        if isinstance(operand, dict):
            ((inner, text),) = operand.items()
            return not _operates(inner, text, value)
        listed = operand if isinstance(operand, list) else [operand]
        return not any(_equal(each, value) for each in listed)
    if not isinstance(value, str):
        return False
    if operator == "prefix":
        return value.startswith(operand)
    if operator == "suffix":
        return value.endswith(operand)
    if operator == "equals-ignore-case":
        return value.casefold() == str(operand).casefold()
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(operand, strict=False)
    except ValueError:
        return False


def _equal(condition: Any, value: Any) -> bool:
    """1 is 1.0, and no number is true or false."""
    if isinstance(condition, bool) or isinstance(value, bool):
        return condition is value
    return bool(condition == value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _values(attribute: Mapping[str, str]) -> list[Any]:
    """What a message attribute offers to conditions: bytes offer nothing."""
    kind, value = attribute["Type"], attribute["Value"]
    if kind.startswith("Number"):
        try:
            return [float(value)]
        except ValueError:
            return []
    if kind == "String.Array":
        try:
            listed = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        return listed if isinstance(listed, list) else [listed]
    return [value] if kind.startswith("String") else []


def _flatten(value: Any, name: str, flat: dict[str, list[Any]]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _flatten(inner, f"{name}.{key}" if name else key, flat)
    elif isinstance(value, list):
        for each in value:
            _flatten(each, name, flat)
    else:
        flat.setdefault(name, []).append(value)
