"""What must not be captured: rules on columns of CSV and places in JSON, given by tags of an endpoint config. PURE.

    kedge:capture-drop = 3 customer.address        leave it out
    kedge:capture-hash = input/customer_id         the same value gives the same 32 digits, which say nothing of it
    kedge:capture-mask = csv/2 json/instances.-.2  stars, whatever it was

A key may go on with a colon and any text, since a tag's value has at most 256 characters: kedge:capture-drop:2. Tags
take few characters, so a space within a name is written "+". docs/capture.md describes all of it.

A body to which a rule cannot be applied is not written at all: what cannot be read cannot be shown to be free of it.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

TAG = "kedge:capture"
DROP, HASH, MASK = ACTIONS = ("drop", "hash", "mask")
INPUT, OUTPUT = SIDES = ("input", "output")
CSV, JSON = FORMS = ("csv", "json")
EACH = "-"
"""A step to every element of an array, or every member of an object."""
MASKED = "****"
_HASH_DIGITS = 32


class BadRule(ValueError):
    """A tag that is no rule; the message says which, and what would be right."""


@dataclass(frozen=True)
class Rule:
    action: str
    path: tuple[str, ...]
    side: str = ""
    form: str = ""
    """"" is both, here and above."""

    @property
    def column(self) -> str:
        """The path, taken as the name of a CSV column."""
        return ".".join(self.path)

    def applies(self, side: str, form: str) -> bool:
        return self.side in ("", side) and self.form in ("", form)


def parse(tags: Mapping[str, str]) -> tuple[Rule, ...]:
    """The rules among a resource's tags, by the tags' keys. Raises BadRule."""
    rules: list[Rule] = []
    for key in sorted(tags):
        if key.lower().startswith(TAG):
            action = _action(key)
            items = tags[key].split()
            if not items:
                raise BadRule(f'Tag "{key}" is empty; it has to name columns or places, such as "3 customer.email".')
            rules += [_rule(key, action, item) for item in items]
    return tuple(rules)


def _action(key: str) -> str:
    name = key.split(":", 2)[1] if key.startswith(f"{TAG}-") else ""
    action = name.removeprefix("capture-")
    if action not in ACTIONS:
        known = ", ".join(f"{TAG}-{each}" for each in ACTIONS)
        raise BadRule(f'Tag "{key}" is no rule of data capture; the rules are {known}, each also with ":" and a text.')
    return action


def _rule(key: str, action: str, item: str) -> Rule:
    *limits, path = item.split("/")
    side = form = ""
    for limit in limits:
        if limit in SIDES and not side:
            side = limit
        elif limit in FORMS and not form:
            form = limit
        else:
            raise BadRule(
                f'Tag "{key}" has "{item}"; before the last "/" there may be one of input, output and one of csv, json.'
            )
    steps = tuple(step.replace("+", " ") for step in path.split("."))
    if not all(steps):
        raise BadRule(f'Tag "{key}" has "{item}"; it has to be a column or the steps to a place, such as a.b.-.c.')
    return Rule(action, steps, side, form)


def applied(rules: Sequence[Rule], side: str, form: str, text: str, key: bytes) -> str | None:
    """The text with what the rules say hidden. None: a rule cannot be applied to it, so nothing may be shown.

    form: CSV, JSON, or "" for neither. key: of the hashes.
    """
    if not form:
        return None if any(rule.side in ("", side) for rule in rules) else text
    wanted = [rule for rule in rules if rule.applies(side, form)]
    if not wanted:
        return text
    try:
        return _in_csv(wanted, text, key) if form == CSV else _in_json(wanted, text, key)
    except (ValueError, RecursionError, csv.Error):
        return None


def digest(value: str, key: bytes) -> str:
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:_HASH_DIGITS]


def _in_csv(rules: Sequence[Rule], text: str, key: bytes) -> str | None:
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    named = rows[0] if rows else []
    columns: list[tuple[int, str, int]] = []
    for rule in rules:
        if _is_number(rule.column):
            columns.append((int(rule.column), rule.action, 0))
        elif rule.column in named:
            columns += [(at, rule.action, 1) for at, name in enumerate(named) if name == rule.column]
        else:
            return None
    for at, action, first in columns:
        for row in rows[first:]:
            if at < len(row) and row[at]:
                row[at] = "" if action == DROP else _hidden(action, row[at], key)
    end = "\r\n" if "\r\n" in text else "\n"
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows(rows)
    return out.getvalue() if text.endswith(("\n", "\r")) else out.getvalue().removesuffix(end)


def _in_json(rules: Sequence[Rule], text: str, key: bytes) -> str:
    try:
        return _document(rules, text, key)
    except json.JSONDecodeError:
        lines = text.split("\n")
        return "\n".join(_document(rules, line, key) if line.strip() else line for line in lines)


def _document(rules: Sequence[Rule], text: str, key: bytes) -> str:
    value = json.loads(text)
    for rule in rules:
        _walk(value, rule.path, partial(_hide, rule.action, key))
    return json.dumps(value, separators=(",", ":"))


def _walk(node: Any, path: Sequence[str], hide: Callable[[Any, Any], None]) -> None:
    """A name goes into every element of an array; a number is a place in it, or a name in an object."""
    step, rest = path[0], path[1:]
    places: Sequence[Any]
    if isinstance(node, dict):
        places = list(node) if step == EACH else [step] if step in node else []
    elif isinstance(node, list) and (step == EACH or _is_number(step)):
        places = range(len(node)) if step == EACH else [int(step)] if int(step) < len(node) else []
    elif isinstance(node, list):
        for each in node:
            _walk(each, path, hide)
        return
    else:
        return
    for place in places:
        if rest:
            _walk(node[place], rest, hide)
        else:
            hide(node, place)


def _hide(action: str, key: bytes, holder: Any, at: Any) -> None:
    value = holder[at]
    if action == DROP and isinstance(holder, dict):
        del holder[at]
    elif action == DROP:
        holder[at] = None  # what comes after it keeps its place
    elif value is not None:
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))
        holder[at] = _hidden(action, text, key)


def _hidden(action: str, value: str, key: bytes) -> str:
    return digest(value, key) if action == HASH else MASKED


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
