"""JSON of any depth as rows of named values: members by dotted names, items of lists by number. PURE.

`{"customer": {"age": 41}, "items": [7, 9]}` is the row `customer.age`, `items.0`, `items.1`. What has no name but a
position, as in a list at the top or in CSV, has that position as its key until it is known what stands before it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

Row = dict[str | int, Any]
_NESTED = (dict, list)


def flattened(value: Any) -> Row:
    """One row of texts, numbers, booleans and None."""
    if isinstance(value, dict):
        for each in value.values():
            if each.__class__ in _NESTED:
                break
        else:
            return value  # as most are
    row: Row = {}
    if isinstance(value, list):
        for place, each in enumerate(value):
            if each.__class__ in _NESTED:
                _into(row, each, f"_c{place}")
            else:
                row[place] = each
    elif isinstance(value, dict):
        for key, each in value.items():
            _into(row, each, str(key))
    else:
        row[0] = value
    return row


def rows_within(value: Any, expected: int | None = None) -> list[Row]:
    """The rows that one JSON document holds; at least one.

    Each item is a row of a list of lists or objects, also as the only member of an object: `{"instances": [[1, 2]]}`.
    expected: how many rows the other side of a record has. Then items are rows wherever there are so many of them:
    plain values (`{"scores": [0.1, 0.7]}`), and those beside other members, which go into each row; and where one row
    is expected, what would be several is one.
    """
    found = _within(value, expected)
    return [flattened(value)] if expected == 1 and len(found) > 1 else found


def _within(value: Any, expected: int | None) -> list[Row]:
    if isinstance(value, list):
        if value and (_all_nested(value) or len(value) == expected):
            return [flattened(item) for item in value]
    elif isinstance(value, dict):
        lists = [key for key, each in value.items() if each.__class__ is list]
        if len(lists) == 1:
            (name,) = lists
            items, rest = value[name], {key: each for key, each in value.items() if key != name}
            nested = bool(items) and _all_nested(items)
            if (nested and not rest) or (items and len(items) == expected):
                beside = flattened(rest)
                return [{**beside, **(flattened(item) if nested else flattened({name: item}))} for item in items]
    return [flattened(value)]


def joined(output: Row, given: Row) -> Row:
    """One row of an answer and of what it was given: the answer's columns first, as SageMaker's analyzer has them.

    A name of both is the input's; the answer's is then `output.NAME`.
    """
    if not output.keys().isdisjoint(given):
        output = {(answer_name(key, given) if isinstance(key, str) else key): each for key, each in output.items()}
    before = sum(key.__class__ is int for key in output)
    if not before:
        return {**output, **given}
    return {**output, **{(key + before if isinstance(key, int) else key): each for key, each in given.items()}}


def answer_name(key: str, given: Container[Any]) -> str:
    """What a member of an answer is called beside those of its input."""
    return f"output.{key}" if key in given else key


def names_of(keys: Sequence[str | int], names: Sequence[str] | None) -> Mapping[str | int, str]:
    """What each key is called. names: the baseline's, in order; positions get the ones that no key has taken."""
    taken = {key for key in keys if isinstance(key, str)}
    free = [name for name in names or () if name not in taken]
    return {key: key if isinstance(key, str) else free[key] if key < len(free) else f"_c{key}" for key in keys}


def _into(row: Row, value: Any, name: str) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _into(row, each, f"{name}.{key}")
    elif isinstance(value, list):
        for place, each in enumerate(value):
            _into(row, each, f"{name}.{place}")
    else:
        row[name] = value


def _all_nested(items: list[Any]) -> bool:
    return all(item.__class__ in _NESTED for item in items)
