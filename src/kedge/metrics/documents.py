"""What a JSON document may hold, as tables of shapes, and what is wrong with one that a caller sent. PURE.

Messages and paths are written as CloudWatch writes those of dashboards: `/widgets/0/x`, `Should be <= 23`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

LARGEST = 2.0**360
"""Of a value of a metric, below 0 too. JSON has larger numbers, which nobody could draw."""


class Problem(NamedTuple):
    path: str
    message: str
    is_error: bool = True
    """False: worth saying, and no reason to refuse the document."""


Check = Callable[[Any, str], Iterator[Problem]]
"""(value, its path) -> what is wrong with it."""


def parse(text: str) -> Any:
    """The document. Raises ValueError, also for what no other reader takes: NaN, nesting without end."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def text(*choices: str, check: Callable[[str], str] | None = None) -> Check:
    """check: says what is wrong with a text, or nothing."""

    def look(value: Any, path: str) -> Iterator[Problem]:
        if not isinstance(value, str):
            yield Problem(path, "Should be string")
        elif choices and value not in choices:
            yield Problem(path, f"Should be equal to one of the allowed values: {', '.join(choices)}")
        elif check is not None and (wrong := check(value)):
            yield Problem(path, wrong)

    return look


def number(low: float = -LARGEST, high: float = LARGEST) -> Check:
    return _number(low, high, whole=False)


def integer(low: float = -LARGEST, high: float = LARGEST) -> Check:
    return _number(low, high, whole=True)


def _number(low: float, high: float, *, whole: bool) -> Check:
    def look(value: Any, path: str) -> Iterator[Problem]:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            yield Problem(path, f"Should be {'integer' if whole else 'number'}")
        elif value < low:
            yield Problem(path, f"Should be >= {low:g}")
        elif value > high:
            yield Problem(path, f"Should be <= {high:g}")

    return look


def flag(value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield Problem(path, "Should be boolean")


def anything(value: Any, path: str) -> Iterator[Problem]:
    yield from ()


def array(element: Check, least: int = 0, most: int | None = None) -> Check:
    def look(value: Any, path: str) -> Iterator[Problem]:
        if not isinstance(value, list):
            yield Problem(path, "Should be array")
            return
        if len(value) < least:
            yield Problem(path, f"Should NOT have fewer than {least} items")
        if most is not None and len(value) > most:
            yield Problem(path, f"Should NOT have more than {most} items")
        for place, each in enumerate(value):
            yield from element(each, f"{path}/{place}")

    return look


@dataclass(frozen=True)
class Members:
    """An object. Members that are not known are said and no error: a newer console may know them."""

    known: Mapping[str, Check]
    required: tuple[str, ...] = ()

    def __call__(self, value: Any, path: str) -> Iterator[Problem]:
        if not isinstance(value, dict):
            yield Problem(path, "Should be object")
            return
        for name in self.required:
            if name not in value:
                yield Problem(path, f'Should have required property "{name}"')
        for name, each in value.items():
            check = self.known.get(name)
            if check is None:
                yield Problem(path, f'Should NOT have the additional property "{name}"', is_error=False)
            else:
                yield from check(each, f"{path}/{name}")
