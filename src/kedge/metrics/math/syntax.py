"""From the text of an expression to its tree, by the grammar of math.lark. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from kedge.metrics.math.values import MathRefused
from kedge.metrics.syntax_error import where

if TYPE_CHECKING:
    from lark import Lark, Token, UnexpectedInput

MOST_NESTED = 60
"""Depth of brackets and calls; the longest expression that AWS takes has room for more than Python's stack has."""


class Number(NamedTuple):
    value: float
    at: int


class Text(NamedTuple):
    value: str
    at: int


class Name(NamedTuple):
    """An id, or a word such as REPEAT where a function takes one."""

    name: str
    at: int


class Array(NamedTuple):
    elements: tuple[Node, ...]
    at: int


class Call(NamedTuple):
    function: str
    arguments: tuple[Node, ...]
    at: int


class Negated(NamedTuple):
    operand: Node
    at: int


class Chain(NamedTuple):
    """Operands with operators of one precedence between them; `symbols` has one element less."""

    operands: tuple[Node, ...]
    symbols: tuple[str, ...]
    at: int


Node = Number | Text | Name | Array | Call | Negated | Chain
"""`at` is the place of its first character in the expression, from 1."""


def read(text: str) -> Node:
    """Raises MathRefused."""
    from lark import UnexpectedInput

    try:
        root: Node = _parser().parse(text)  # type: ignore[assignment]  # the tree is built by _Builder
    except UnexpectedInput as error:
        raise MathRefused(_complaint(text, error)) from None
    if any(depth > MOST_NESTED for _, depth in walk(root)):
        raise MathRefused(f"The expression is nested more than {MOST_NESTED} deep.")
    return root


def walk(root: Node) -> Iterator[tuple[Node, int]]:
    """Every node with its depth, without recursion."""
    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting.extend((child, depth + 1) for child in children(node))


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Array(elements):
            return elements
        case Call(_, arguments):
            return arguments
        case Negated(operand):
            return (operand,)
        case Chain(operands):
            return operands
    return ()


@lru_cache(1)
def _parser() -> Lark:
    """Made by the first expression: importing lark takes a twentieth of a second."""
    from lark import Lark, Token, Transformer

    class Builder(Transformer[Token, Node]):
        def number(self, found: list[Token]) -> Node:
            return Number(float(found[0]), _place(found[0]))

        def text(self, found: list[Token]) -> Node:
            return Text(found[0][1:-1], _place(found[0]))

        def name(self, found: list[Token]) -> Node:
            return Name(str(found[0]), _place(found[0]))

        def call(self, found: list[Token | Node | None]) -> Node:
            name, *arguments = found
            assert isinstance(name, Token)
            return Call(str(name), _nodes(arguments), _place(name))

        def array(self, found: list[Token | Node | None]) -> Node:
            opened, *elements = found
            assert isinstance(opened, Token)
            return Array(_nodes(elements), _place(opened))

        def negated(self, found: list[Token | Node]) -> Node:
            operand = found[-1]
            assert not isinstance(operand, Token)
            first = found[0]
            assert isinstance(first, Token)
            return Negated(operand, _place(first)) if len(found) % 2 == 0 else operand

        def chain(self, found: list[Token | Node]) -> Node:
            operands = _nodes(found[::2])
            if len(operands) == 1:
                return operands[0]
            symbols = (str(token) for token in found[1::2])
            return Chain(operands, tuple(_SPELLED.get(symbol, symbol) for symbol in symbols), operands[0].at)

        power = chain

    return Lark.open_from_package(__package__ or "", "math.lark", parser="lalr", transformer=Builder())


_SPELLED = {"&&": "AND", "||": "OR"}


def _nodes(found: list[Token | Node | None] | list[Token | Node]) -> tuple[Node, ...]:
    return tuple(node for node in found if isinstance(node, Node))


def _place(token: Token) -> int:
    assert token.start_pos is not None
    return token.start_pos + 1


_OPERANDS = frozenset({"NUMBER", "IDENTIFIER", "OPENED", "LPAR", "MINUS", "TEXT"})
_EXPECTED = {"RPAR": '")"', "RSQB": '"]"', "COMMA": '","', "$END": "the end", "LPAR": '"("'}


def _complaint(text: str, error: UnexpectedInput) -> str:
    from lark import UnexpectedCharacters, UnexpectedToken

    expected: set[str] = set()
    if isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
    elif isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
    if {"NUMBER", "IDENTIFIER"} <= expected:
        wanted = ["an id, a number, a function or an opening bracket"]
        expected -= _OPERANDS
    else:
        wanted = ["an operator"] if "TIMES" in expected else []
    wanted += [words for name, words in _EXPECTED.items() if name in expected]
    return f"Syntax error {where(text, error)}: expected {' or '.join(wanted) or 'another character'}."
