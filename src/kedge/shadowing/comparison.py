"""How two answers to the same request differ: as a whole, label by label, number by number. PURE.

An answer in JSON, JSON Lines or CSV is compared place by place. A label is a text, a truth value or a whole number; a
row of probabilities (numbers from 0 to 1 that add up to 1) is a label, too: the place of the largest. Any other form is
compared byte by byte.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from kedge.serving.capture.record import mime_of
from kedge.shadowing.pairs import Answer, Pair

RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-6, 1e-9
"""Numbers closer than that are the same: other machines and versions round differently."""
MOST_PLACES = 10_000
"""Of an answer; the places after them are left out of the comparison."""
MOST_COLUMNS = 16
"""Of a row; all further ones are taken as the last."""
_SUM_TOLERANCE = 1e-3
_JSON_LINES = ("application/jsonlines", "application/x-jsonlines")

Cell = tuple[str, float | str]
"""(column, value): one place of an answer, as its distribution counts it."""


@dataclass
class Difference:
    same: bool = True
    """The whole answer: the status, the form, every label, and every number within the tolerance."""
    labels: int = 0
    labels_same: int = 0
    numbers: list[float] = field(default_factory=list)
    """Absolute differences of the numbers that both have in the same place."""


def difference(pair: Pair) -> Difference:
    production, copied = pair.production, pair.copied
    if _is_good(production) != _is_good(copied):
        return Difference(same=False)
    if not _is_good(production):
        return Difference(same=production.status == copied.status)
    if not pair.whole:
        return Difference(same=pair.same)
    documents = document(production), document(copied)
    if documents[0] is None or documents[1] is None:
        return Difference(same=pair.same)
    found = Difference()
    _Walk(found).compare(documents[0][0], documents[1][0])
    return found


def document(answer: Answer) -> tuple[Any] | None:
    """What a body says, in a tuple of its own since it may say null; None for a form that is not understood."""
    mime = mime_of(answer.content_type)
    try:
        if mime in _JSON_LINES:
            return ([orjson.loads(line) for line in answer.body.splitlines() if line.strip()],)
        if mime == "application/json" or mime.endswith("+json"):
            return (orjson.loads(answer.body),)
        if mime == "text/csv":
            lines = answer.body.decode().splitlines()
            return ([[_value(each.strip()) for each in line.split(",")] for line in lines if line.strip()],)
    except (ValueError, OverflowError):
        return None
    return None


def cells(answer: Answer) -> Iterator[Cell]:
    """What the answer adds to the distribution of its columns. A column is a place in a row, or the names before it."""
    if not _is_good(answer) or (said := document(answer)) is None:
        return
    for at, cell in enumerate(_cells(said[0], "", nested=False)):
        if at >= MOST_PLACES:
            return
        yield cell


class _Walk:
    def __init__(self, found: Difference) -> None:
        self._found = found
        self._left = MOST_PLACES

    def compare(self, one: Any, other: Any) -> None:
        if self._left <= 0:
            return
        if isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                self._found.same = False
            for name in one.keys() & other.keys():
                self.compare(one[name], other[name])
        elif isinstance(one, list) and isinstance(other, list):
            self._compare_lists(one, other)
        else:
            self._left -= 1
            self._compare_places(one, other)

    def _compare_lists(self, one: list[Any], other: list[Any]) -> None:
        if len(one) != len(other):
            self._found.same = False
        if _are_probabilities(one) and _are_probabilities(other) and len(one) == len(other):
            self._label(one.index(max(one)) == other.index(max(other)))
        for left, right in zip(one, other, strict=False):
            self.compare(left, right)

    def _compare_places(self, one: Any, other: Any) -> None:
        found = self._found
        if _is_number(one) and _is_number(other):
            found.numbers.append(abs(one - other))
            found.same &= math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
            if isinstance(one, int) and isinstance(other, int):
                self._label(one == other)
            return
        agree = type(one) is type(other) and one == other
        found.same &= agree
        if not _is_number(one) and not isinstance(one, dict | list):
            self._label(agree)

    def _label(self, agree: bool) -> None:
        self._found.labels += 1
        self._found.labels_same += agree


def _cells(node: Any, column: str, *, nested: bool) -> Iterator[Cell]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _cells(value, f"{column}.{name}" if column else name, nested=nested)
    elif isinstance(node, list):
        is_row = nested and not any(isinstance(each, dict | list) for each in node) and len(node) > 1
        for at, each in enumerate(node):
            yield from _cells(each, f"{column}[{min(at, MOST_COLUMNS - 1)}]" if is_row else column, nested=True)
    elif _is_number(node):
        yield column, float(node)
    else:
        yield column, str(node)


def _value(text: str) -> Any:
    """A cell of CSV."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else text
    return text


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_probabilities(values: list[Any]) -> bool:
    return (
        len(values) > 1
        and all(isinstance(each, float) and 0 <= each <= 1 for each in values)
        and abs(math.fsum(values) - 1) <= _SUM_TOLERANCE
    )


def _is_good(answer: Answer) -> bool:
    return 200 <= answer.status < 300
