"""Texts of policies with wildcards and variables, and whether they match. PURE.

`*` is any run of characters, `?` is one; both match every character, `/` and `:` too. `${key}` stands for a value of
the request, `${key, 'default'}` for the default where the request has none, and `${*}`, `${?}`, `${$}` for the
character itself. What a variable stands for is never read as a wildcard.

Source: "IAM policy elements: Variables and tags".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

Values = tuple[str, ...]
Lookup = Callable[[str], Values | None]
"""A key of the request's context, in lower case -> its values; None: the request has no such key."""

ANY, ONE = "\x00*", "\x00?"
"""Wildcards among tokens: no text of a policy holds a NUL."""

Tokens = tuple[str, ...]

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_DEFAULTED = re.compile(r"([^,']+),\s*'([^']*)'\Z")
"""Of a text without blanks at its ends. No two parts can match the same blanks, so it takes linear time."""


class Template:
    """One text of a policy. keys: those of the context that it needs, in lower case."""

    __slots__ = ("_fixed", "_parts", "keys", "text")

    def __init__(self, text: str, *, variables: bool, fold: bool = False) -> None:
        """variables: the policy's version knows them. fold: the case of letters does not count."""
        self.text = text
        parts: list[str | tuple[str, str | None]] = []
        start = 0
        for found in _VARIABLE.finditer(text) if variables else ():
            parts += _wild(text[start : found.start()])
            start = found.end()
            inner = found[1].strip()
            if inner in ("*", "?", "$"):
                parts.append(inner)
                continue
            defaulted = _DEFAULTED.match(inner)
            name, default = (defaulted[1], defaulted[2]) if defaulted else (inner, None)
            parts.append((name.strip().lower(), default))
        parts += _wild(text[start:])
        self._parts = parts
        self.keys = frozenset(part[0] for part in parts if isinstance(part, tuple))
        self._fixed = matcher(tuple(part for part in parts if isinstance(part, str)), fold) if not self.keys else None

    def matches(self, value: str, lookup: Lookup) -> bool:
        fixed = self._fixed
        if fixed is not None:
            return fixed(value)
        tokens = self.tokens(lookup)
        return tokens is not None and matcher(tokens)(value)

    def tokens(self, lookup: Lookup) -> Tokens | None:
        """None where the request lacks a variable that has no default, or has several values for it."""
        if not self.keys:
            return tuple(part for part in self._parts if isinstance(part, str))
        tokens: list[str] = []
        for part in self._parts:
            if isinstance(part, str):
                tokens.append(part)
                continue
            values = lookup(part[0])
            if values is not None and len(values) != 1:
                return None
            value = values[0] if values else part[1]
            if value is None:
                return None
            tokens.append(value.replace("\0", ""))
        return tuple(tokens)

    def plain(self, lookup: Lookup) -> str | None:
        """The text with its variables filled in and wildcards as they stand, for operators that know none."""
        tokens = self.tokens(lookup)
        return None if tokens is None else "".join(token[1:] if token in (ANY, ONE) else token for token in tokens)


@lru_cache(4096)
def matcher(tokens: Tokens, fold: bool = False) -> Callable[[str], bool]:
    """A test of whole texts, in time that grows with the text's length, however many wildcards there are."""
    if ANY not in tokens and ONE not in tokens and not fold:
        want = "".join(tokens)
        return lambda value: value == want
    if tokens == (ANY,):
        return lambda _value: True
    segments: list[str] = [""]
    for token in tokens:
        if token == ANY:
            segments.append("")
        else:
            segments[-1] += "." if token == ONE else re.escape(token)
    first, *rest = segments
    pattern = first
    if rest:
        # Each middle part is taken where it is found first; the atomic group keeps it from being tried elsewhere.
        pattern += "".join(f"(?>.*?{segment})" for segment in rest[:-1] if segment) + f".*{rest[-1]}"
    compiled = re.compile(pattern, re.DOTALL | (re.IGNORECASE if fold else 0))
    return lambda value: compiled.fullmatch(value) is not None


def fixed(text: str, *, fold: bool = False) -> Callable[[str], bool]:
    """A test for a text with wildcards and without variables."""
    return matcher(tuple(_wild(text)), fold)


def filled(context: Mapping[str, Values]) -> Lookup:
    """How a plain mapping is asked."""
    return context.get


def _wild(text: str) -> list[str]:
    """Literal runs and wildcards."""
    found = []
    for piece in re.split(r"([*?])", text.replace("\0", "")):
        if piece:
            found.append(f"\0{piece}" if piece in "*?" else piece)
    return found
