"""The Condition of a statement: does it hold for this request? PURE.

All operators have to hold, and within an operator all keys; of the values of a key one is enough, and for an operator
that negates none may match. Source: "IAM JSON policy elements: Condition operators" and "Multivalued context keys".
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from kedge.identity.patterns import Lookup, Template, matcher

Test = Callable[[str, Template, Lookup], bool]
"""(value of the request, value of the policy, context) -> whether they match, before any negation."""

_QUALIFIED = re.compile(r"(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Condition:
    """One operator on one key."""

    key: str
    """In lower case."""
    test: Test | None
    """None: the operator is Null."""
    values: tuple[Template, ...]
    negated: bool = False
    if_exists: bool = False
    qualifier: str = ""
    """ "", "forallvalues" or "foranyvalue"."""

    def holds(self, lookup: Lookup) -> bool:
        given = lookup(self.key)
        if self.test is None:
            return all(value.text.lower() == ("true" if not given else "false") for value in self.values)
        if self.qualifier == "forallvalues":
            return all(self._fits(each, lookup) for each in given or ())
        if not given:
            return self.if_exists or (self.negated and self.qualifier == "")
        if self.qualifier == "foranyvalue":
            return any(self._fits(each, lookup) for each in given)
        matched = any(self._matches(each, lookup) for each in given)
        return not matched if self.negated else matched

    @property
    def keys(self) -> frozenset[str]:
        return frozenset({self.key}).union(*(value.keys for value in self.values))

    def _fits(self, given: str, lookup: Lookup) -> bool:
        return self._matches(given, lookup) != self.negated

    def _matches(self, given: str, lookup: Lookup) -> bool:
        test = self.test
        assert test is not None
        return any(test(given, value, lookup) for value in self.values)


class UnknownOperator(ValueError):
    """The message names it."""


def conditions(document: Mapping[str, Any], *, variables: bool) -> tuple[Condition, ...]:
    """A statement's Condition. Raises UnknownOperator, and ValueError for what is no map of maps of values."""
    found = []
    for operator, keys in document.items():
        test, negated, if_exists, qualifier = parsed(operator)
        if not isinstance(keys, Mapping):
            raise ValueError(f'the condition operator "{operator[:64]}" needs a map of keys')
        for key, given in keys.items():
            values = tuple(Template(_text(value), variables=variables) for value in _many(given))
            found.append(Condition(key.lower(), test, values, negated, if_exists, qualifier))
    return tuple(found)


def parsed(operator: str) -> tuple[Test | None, bool, bool, str]:
    """(test, negated, if exists, qualifier) of an operator's name. Raises UnknownOperator."""
    match = _QUALIFIED.match(operator)
    name = match[2].lower() if match else ""
    if match is None or name not in OPERATORS or (name == "null" and (match[1] or match[3])):
        raise UnknownOperator(f'"{operator[:64]}" is no condition operator')
    test, negated = OPERATORS[name]
    return test, negated, bool(match[3]), (match[1] or "").lower()


def _many(given: Any) -> list[Any]:
    values = given if isinstance(given, list) else [given]
    if any(isinstance(value, dict | list) or value is None for value in values):
        raise ValueError("a condition's value is a text, a number, a boolean or a list of these")
    return values


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _equals(given: str, value: Template, lookup: Lookup) -> bool:
    return given == value.plain(lookup)


def _equals_ignoring_case(given: str, value: Template, lookup: Lookup) -> bool:
    wanted = value.plain(lookup)
    return wanted is not None and given.lower() == wanted.lower()


def _like(given: str, value: Template, lookup: Lookup) -> bool:
    return value.matches(given, lookup)


def _arn(given: str, value: Template, lookup: Lookup) -> bool:
    """Part by part: a wildcard does not reach across the colons before the resource."""
    tokens = value.tokens(lookup)
    if tokens is None:
        return False
    parts: list[list[str]] = [[]]
    for token in tokens:
        first, *more = token.split(":", max(0, 6 - len(parts))) if len(parts) < 6 else [token]
        parts[-1].append(first)
        parts += [[piece] for piece in more]
    wanted = [tuple(piece for piece in part if piece) for part in parts]
    found = given.split(":", 5)
    return len(found) == len(wanted) == 6 and all(matcher(w)(f) for w, f in zip(wanted, found, strict=True))


def _boolean(given: str, value: Template, lookup: Lookup) -> bool:
    wanted = value.plain(lookup)
    return wanted is not None and given.lower() == wanted.lower() and given.lower() in ("true", "false")


def _binary(given: str, value: Template, lookup: Lookup) -> bool:
    try:
        wanted = value.plain(lookup)
        return wanted is not None and base64.b64decode(given, validate=True) == base64.b64decode(wanted, validate=True)
    except (binascii.Error, ValueError):
        return False


def _address(given: str, value: Template, lookup: Lookup) -> bool:
    wanted = value.plain(lookup)
    return wanted is not None and _is_within(given, wanted)


@lru_cache(4096)
def _is_within(address: str, network: str) -> bool:
    import ipaddress  # seldom asked for, and slow to import

    try:
        found = ipaddress.ip_address(address)
        mapped = getattr(found, "ipv4_mapped", None)
        return (mapped or found) in ipaddress.ip_network(network, strict=False)
    except (ValueError, TypeError):
        return False


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _moment(text: str) -> float | None:
    """Seconds since 1970 of an ISO 8601 time or of such a number."""
    number = _number(text)
    if number is not None:
        return number
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _ordered(read: Callable[[str], float | None], compare: Callable[[float, float], bool]) -> Test:
    def test(given: str, value: Template, lookup: Lookup) -> bool:
        text = value.plain(lookup)
        left, right = read(given), None if text is None else read(text)
        return left is not None and right is not None and compare(left, right)

    return test


_COMPARISONS: Mapping[str, tuple[Callable[[float, float], bool], bool]] = {
    "equals": (lambda a, b: a == b, False),
    "notequals": (lambda a, b: a == b, True),
    "lessthan": (lambda a, b: a < b, False),
    "lessthanequals": (lambda a, b: a <= b, False),
    "greaterthan": (lambda a, b: a > b, False),
    "greaterthanequals": (lambda a, b: a >= b, False),
}

OPERATORS: Mapping[str, tuple[Test | None, bool]] = {
    "stringequals": (_equals, False),
    "stringnotequals": (_equals, True),
    "stringequalsignorecase": (_equals_ignoring_case, False),
    "stringnotequalsignorecase": (_equals_ignoring_case, True),
    "stringlike": (_like, False),
    "stringnotlike": (_like, True),
    "bool": (_boolean, False),
    "binaryequals": (_binary, False),
    "ipaddress": (_address, False),
    "notipaddress": (_address, True),
    "arnequals": (_arn, False),
    "arnlike": (_arn, False),
    "arnnotequals": (_arn, True),
    "arnnotlike": (_arn, True),
    "null": (None, False),
    **{f"numeric{name}": (_ordered(_number, test), negated) for name, (test, negated) in _COMPARISONS.items()},
    **{f"date{name}": (_ordered(_moment, test), negated) for name, (test, negated) in _COMPARISONS.items()},
}
"""By name in lower case: the test, and whether the operator negates it."""
