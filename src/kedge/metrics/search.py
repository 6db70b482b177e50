"""Which metrics a SEARCH finds: `{Namespace, Dimension} term AND NOT "exact" OR MetricName=part`. PURE.

A schema names the namespace and, if it names dimensions, exactly those that a metric has to have. Terms look at the
metric's name, its namespace, and the names and values of its dimensions; behind `MetricName=`, `Namespace=`,
`:aws.AccountId=` or the name of a dimension they look at that alone.

"Quoted" text is the whole string, with case. Other text is cut into tokens, at what is no letter or digit, where small
letters are followed by capitals and where digits begin, and matches where a string has the same tokens in a row. The
documentation asks for `couNT` and `count1` not to find `CustomCount1`, for `Count1` and `COUNT` to find it, and for
`network/errors` to find `NetworkErrors2`. What agrees with all of it: between delimiters of the query, one token alone
is compared without case, and several that stand together with case. Text also matches a string that is the same
without delimiters and case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from kedge.metrics.math.values import MathRefused
from kedge.metrics.series import Metric
from kedge.metrics.syntax_error import where

if TYPE_CHECKING:
    from lark import Lark, Token

LONGEST_QUERY = 1024
MOST_SERIES = 500
"""What one SEARCH returns at most."""
ACTIVE_S = 14 * 86_400
"""Metrics without a point for that long are not found."""
_MOST_NESTED = 60

_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PIECE = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True)
class Term:
    text: str
    is_exact: bool
    prefix: str = ""

    def matches(self, metric: Metric) -> bool:
        return any(self._finds(string) for string in self._looked_at(metric))

    def _looked_at(self, metric: Metric) -> Iterator[str]:
        if not self.prefix:
            yield metric.name
            yield metric.namespace
            for name, value in metric.dimensions:
                yield name
                yield value
        elif self.prefix in ("MetricName", "Namespace"):
            yield metric.name if self.prefix == "MetricName" else metric.namespace
        elif self.prefix == ":aws.AccountId":
            yield "LOCAL" if self.text == "LOCAL" else metric.account
        else:
            yield from (value for name, value in metric.dimensions if name == self.prefix)

    def _finds(self, string: str) -> bool:
        if self.is_exact:
            return string == self.text
        return _whole(string) == _whole(self.text) or self._is_within(_tokens(string))

    def _is_within(self, tokens: tuple[str, ...]) -> bool:
        asked = self._asked
        starts = range(len(tokens) - len(asked) + 1)
        return bool(asked) and any(
            all(
                token == want if with_case else token.lower() == want
                for token, (want, with_case) in zip(tokens[start:], asked, strict=False)
            )
            for start in starts
        )

    @cached_property
    def _asked(self) -> tuple[tuple[str, bool], ...]:
        """(token, whether case counts)."""
        pieces = (_tokens(piece) for piece in _PIECE.findall(self.text))
        return tuple(
            (token if len(piece) > 1 else token.lower(), len(piece) > 1) for piece in pieces for token in piece
        )


@dataclass(frozen=True)
class All:
    parts: tuple[Node, ...]

    def matches(self, metric: Metric) -> bool:
        return all(part.matches(metric) for part in self.parts)


@dataclass(frozen=True)
class Either:
    parts: tuple[Node, ...]

    def matches(self, metric: Metric) -> bool:
        return any(part.matches(metric) for part in self.parts)


@dataclass(frozen=True)
class Denied:
    part: Node

    def matches(self, metric: Metric) -> bool:
        return not self.part.matches(metric)


Node = Term | All | Either | Denied


@dataclass(frozen=True)
class Search:
    namespace: str | None
    """None: every namespace."""
    dimensions: frozenset[str] | None
    """None: whichever a metric has."""
    terms: Node | None

    def matches(self, metric: Metric) -> bool:
        if self.namespace is not None and metric.namespace != self.namespace:
            return False
        if self.dimensions is not None and {name for name, _ in metric.dimensions} != self.dimensions:
            return False
        return self.terms is None or self.terms.matches(metric)

    @property
    def metric_name(self) -> str | None:
        """The only name that metrics found can have, where the query says so: spares looking at the others."""
        required = self.terms.parts if isinstance(self.terms, All) else (self.terms,)
        names = (part for part in required if isinstance(part, Term) and part.is_exact)
        return next((term.text for term in names if term.prefix == "MetricName"), None)


@lru_cache(1024)
def parse(query: str) -> Search:
    """Raises MathRefused."""
    from lark import UnexpectedInput

    if len(query) > LONGEST_QUERY:
        raise MathRefused(f"The query of SEARCH has {len(query)} characters; at most {LONGEST_QUERY} are allowed.")
    try:
        found: Search = _parser().parse(query)  # type: ignore[assignment]  # it is built by Builder
    except UnexpectedInput as error:
        raise MathRefused(
            f"Syntax error in the query of SEARCH {where(query, error)}: expected terms with AND, OR, NOT and "
            "parentheses, behind {Namespace, DimensionName, ...} or without it."
        ) from None
    if found.namespace is None and found.terms is None:
        raise MathRefused("The query of SEARCH has neither a schema in braces nor a term.")
    if found.terms is not None and _depth(found.terms) > _MOST_NESTED:
        raise MathRefused(f"The query of SEARCH is nested more than {_MOST_NESTED} deep.")
    return found


def tokens(string: str) -> tuple[str, ...]:
    """All that are made of a string: itself without delimiters, then its parts, in lower case."""
    whole, parts = _whole(string), tuple(token.lower() for token in _tokens(string))
    return parts if parts == (whole,) else (whole, *parts)


@lru_cache(65_536)
def _tokens(string: str) -> tuple[str, ...]:
    return tuple(_TOKEN.findall(string))


@lru_cache(65_536)
def _whole(string: str) -> str:
    return "".join(_PIECE.findall(string)).lower()


def _depth(root: Node) -> int:
    deepest, waiting = 0, [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        parts = node.parts if isinstance(node, All | Either) else (node.part,) if isinstance(node, Denied) else ()
        waiting.extend((part, depth + 1) for part in parts)
    return deepest


@lru_cache(1)
def _parser() -> Lark:
    from lark import Lark, Token, Transformer

    class Builder(Transformer[Token, Search]):
        def start(self, found: list[list[str] | Node | None]) -> Search:
            schema, terms = found
            assert not isinstance(terms, list)
            if not isinstance(schema, list):
                return Search(None, None, terms)
            return Search(schema[0], frozenset(schema[1:]) if schema[1:] else None, terms)

        def schema(self, found: list[str]) -> list[str]:
            return found

        def part(self, found: list[Token]) -> str:
            return _unquoted(found[0])

        def either(self, found: list[Node]) -> Node:
            return found[0] if len(found) == 1 else Either(tuple(found))

        def both(self, found: list[Node]) -> Node:
            return found[0] if len(found) == 1 else All(tuple(found))

        def denied(self, found: list[Node]) -> Node:
            inner = found[0]
            return inner.part if isinstance(inner, Denied) else Denied(inner)

        def term(self, found: list[Token | None]) -> Term:
            prefix, text = found
            assert text is not None
            name = "" if prefix is None else _unquoted(prefix.rstrip("= \t\r\n"))
            return Term(_unquoted(text), text.startswith('"'), name)

    return Lark.open_from_package(
        __package__ or "", "search.lark", parser="lalr", transformer=Builder(), maybe_placeholders=True
    )


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else str(text)
