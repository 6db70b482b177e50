"""The rule of a composite alarm: its grammar, and whether it holds. PURE.

    expression := and ("OR" and)*       and := not ("AND" not)*        not := "NOT" not | atom
    atom       := "(" expression ")" | TRUE | FALSE | STATE "(" alarm ")"
                | AT_LEAST "(" number ["%"] "," ["NOT"] STATE "," "(" alarm ("," alarm)* ")" ")"
    STATE      := ALARM | OK | INSUFFICIENT_DATA        alarm := name | "name" | ARN | "ARN"

Operators and states are in capitals, TRUE and FALSE in any case. Names with blanks, commas or parentheses stand in
quotes. Source: PutCompositeAlarm in the CloudWatch API reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kedge.errors import ValidationFailed

if TYPE_CHECKING:
    from lark import Lark

MAX_ELEMENTS = 500
"""Alarms, TRUE, FALSE and pairs of parentheses."""
MAX_CHILDREN = 100
MAX_DEPTH = 100

GRAMMAR = r"""
start: _or
_or: any | _and
any: _and (_OR _and)+
_and: all | _not
all: _not (_AND _not)+
_not: negation | _atom
negation: NOT _not
_atom: group | true | false | state | at_least
group: "(" _or ")"
true: TRUE
false: FALSE
state: STATE "(" _reference ")"
at_least: "AT_LEAST" "(" threshold "," [NOT] STATE "," "(" _reference ("," _reference)* ")" ")"
threshold: NUMBER [PERCENT]
_reference: QUOTED | NAME
STATE.3: /(ALARM|OK|INSUFFICIENT_DATA)(?=\s*[(,])/
TRUE.3: /true(?![^\s()])/i
FALSE.3: /false(?![^\s()])/i
NOT: /NOT(?=[\s(])/
_AND: /AND(?=[\s(])/
_OR: /OR(?=[\s(])/
PERCENT: "%"
NUMBER: /[0-9]{1,9}/
QUOTED: /"[^"]*"/
NAME: /[^\s"(),]+/
%import common.WS
%ignore WS
"""


@dataclass(frozen=True)
class Is:
    """STATE(alarm)"""

    state: str
    alarm: str


@dataclass(frozen=True)
class AtLeast:
    number: int
    percent: bool
    negated: bool
    state: str
    alarms: tuple[str, ...]

    @property
    def needed(self) -> int:
        """How many alarms: a percentage is rounded up."""
        return math.ceil(self.number * len(self.alarms) / 100) if self.percent else self.number


@dataclass(frozen=True)
class Not:
    rule: Rule


@dataclass(frozen=True)
class AllOf:
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class AnyOf:
    rules: tuple[Rule, ...]


Rule = Is | AtLeast | Not | AllOf | AnyOf | bool


def holds(rule: Rule, states: Mapping[str, str]) -> bool:
    """states: by alarm as the rule names it. An alarm that is not there is in no state at all."""
    match rule:
        case bool():
            return rule
        case Is(state, alarm):
            return states.get(alarm) == state
        case AtLeast(negated=negated, state=state, alarms=alarms):
            return sum((states.get(alarm) == state) is not negated for alarm in alarms) >= rule.needed
        case Not(inner):
            return not holds(inner, states)
        case AllOf(rules):
            return all(holds(each, states) for each in rules)
        case AnyOf(rules):
            return any(holds(each, states) for each in rules)


def children(rule: Rule) -> tuple[str, ...]:
    """Every alarm that the rule names, as it names it, each once, in order."""
    return tuple(dict.fromkeys(_named(rule)))


def _named(rule: Rule) -> Iterator[str]:
    match rule:
        case Is(alarm=alarm):
            yield alarm
        case AtLeast(alarms=alarms):
            yield from alarms
        case Not(inner):
            yield from _named(inner)
        case AllOf(rules) | AnyOf(rules):
            for each in rules:
                yield from _named(each)


def parse(text: str) -> Rule:
    """Raises ValidationFailed, which says where the rule stops being one."""
    _check_depth(text)
    from lark.exceptions import UnexpectedInput

    counter = _Counter()
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise ValidationFailed(f"Invalid alarm rule: {_explained(text, error)}") from None
    built = _built(tree.children[0], counter)
    if counter.elements > MAX_ELEMENTS:
        raise ValidationFailed(
            f"Invalid alarm rule: it has {counter.elements} elements (alarms, TRUE, FALSE, parentheses); "
            f"at most {MAX_ELEMENTS} are allowed."
        )
    named = len(children(built))
    if named > MAX_CHILDREN:
        raise ValidationFailed(f"Invalid alarm rule: it names {named} alarms; at most {MAX_CHILDREN} are allowed.")
    return built


@lru_cache(4096)
def parsed(text: str) -> Rule:
    """Of a rule that was accepted before."""
    return parse(text)


@lru_cache(1)
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", propagate_positions=False, maybe_placeholders=True)


class _Counter:
    elements = 0


def _built(node: Any, counter: _Counter) -> Rule:
    match node.data:
        case "any":
            return AnyOf(tuple(_built(child, counter) for child in node.children))
        case "all":
            return AllOf(tuple(_built(child, counter) for child in node.children))
        case "negation":
            return Not(_built(node.children[1], counter))
        case "group":
            counter.elements += 1
            return _built(node.children[0], counter)
        case "true" | "false":
            counter.elements += 1
            return bool(node.data == "true")
        case "state":
            counter.elements += 1
            return Is(str(node.children[0]), _reference(node.children[1]))
        case "at_least":
            threshold, negated, state, *alarms = node.children
            counter.elements += len(alarms)
            found = AtLeast(
                int(threshold.children[0]),
                threshold.children[1] is not None,
                negated is not None,
                str(state),
                tuple(dict.fromkeys(map(_reference, alarms))),
            )
            if found.number < 1 or found.needed > len(found.alarms):
                raise ValidationFailed(
                    f"Invalid alarm rule: AT_LEAST asks for {found.number}{'%' if found.percent else ''} of "
                    f"{len(found.alarms)} alarms; it has to be from 1 to {100 if found.percent else len(found.alarms)}."
                )
            return found
    raise AssertionError(f"the grammar has no {node.data}")


def _reference(token: Any) -> str:
    text = str(token)
    if token.type == "QUOTED":
        text = text[1:-1]
        if not text:
            raise ValidationFailed('Invalid alarm rule: "" is not the name of an alarm.')
    return text


def _check_depth(text: str) -> None:
    """What is nested deeper than a rule can sensibly be is refused before it is parsed."""
    depth, quoted, negations = 0, False, text.count("NOT")
    for character in text:
        if character == '"':
            quoted = not quoted
        elif not quoted and character in "()":
            depth += 1 if character == "(" else -1
            if depth > MAX_DEPTH:
                raise ValidationFailed(f"Invalid alarm rule: it is nested more than {MAX_DEPTH} levels deep.")
    if negations > MAX_ELEMENTS:
        raise ValidationFailed(f"Invalid alarm rule: it has {negations} times NOT; at most {MAX_ELEMENTS} are allowed.")


def _explained(text: str, error: Any) -> str:
    position = error.pos_in_stream
    if getattr(getattr(error, "token", None), "type", "") == "$END":
        position = len(text)
    if position is None or position < 0 or position >= len(text):
        return "it ends where an operand, an operator or a parenthesis is expected."
    return f"it cannot be understood at character {position + 1}, from {text[position : position + 40]!r}."
