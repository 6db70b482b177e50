r"""The models' patterns are Java's; this turns them into Python's.

What differs: `\p{...}` classes, `\z`, surrogate pairs, a quantifier on `$`, and the reach of `\w`, `\d` and `\s`, which
is ASCII in Java.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

_POSIX = {
    "ASCII": r"\x00-\x7f",
    "Alnum": "0-9A-Za-z",
    "Alpha": "A-Za-z",
    "Digit": "0-9",
    "Lower": "a-z",
    "Upper": "A-Z",
    "Print": r"\x20-\x7e",
    "Graph": r"\x21-\x7e",
    "Punct": r"!-/:-@\[-`{-~",
    "Space": r" \t\n\x0b\f\r",
    "XDigit": "0-9A-Fa-f",
}

# No assigned letter, mark, number, symbol, punctuation or separator lies above, save for the variation selectors.
_LAST_ASSIGNED = 0x33480
_VARIATION_SELECTORS = range(0xE0100, 0xE01F0)


_REWRITTEN = {"[a-z0-9]([-a-z0-9]*[a-z0-9]){0,39}?": "[a-z0-9]([-a-z0-9]*[a-z0-9])?"}
"""Patterns that take exponential time on a text that does not match -> one that matches the same texts."""


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A model's pattern, to be matched in full. Raises re.error for what is no pattern in Java either."""
    return re.compile(python_pattern(pattern), re.ASCII)


def python_pattern(pattern: str) -> str:
    r"""`[\p{L}_]+` with the ranges of all letters in place of `\p{L}`."""
    pattern = _REWRITTEN.get(pattern, pattern)
    pattern = re.sub(r"\\u(D[89AB][0-9A-F]{2})\\u(D[C-F][0-9A-F]{2})", _one_character, pattern, flags=re.IGNORECASE)
    pattern = re.sub(r"(?<!\\)\$\{\d+(?:,\d*)?\}", "$", pattern)
    pattern = pattern.replace(r"\z", r"\Z")
    inside = _inside_class(pattern)
    return re.sub(
        r"\\p\{(\w+)\}",
        lambda found: _class(found[1]) if inside[found.start()] else f"[{_class(found[1])}]",
        pattern,
    )


def _one_character(pair: re.Match[str]) -> str:
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


def _inside_class(pattern: str) -> list[bool]:
    """For each character, whether it stands between square brackets."""
    inside, at, open_class = [], 0, False
    while at < len(pattern):
        width = 2 if pattern[at] == "\\" else 1
        if width == 1 and pattern[at] in "[]":
            open_class = pattern[at] == "["
        inside += [open_class] * width
        at += width
    return inside


def _class(name: str) -> str:
    if name in _POSIX:
        return _POSIX[name]
    ranges = _categories().get(name)
    if not ranges:
        raise re.error(f"unknown class \\p{{{name}}}")
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges)


@cache
def _categories() -> dict[str, list[tuple[int, int]]]:
    """Ranges of code points by Unicode's general category, one letter (L) or two (Lu)."""
    found: dict[str, list[tuple[int, int]]] = {}
    for category, first, last in _runs():
        for name in (category[0], category):
            ranges = found.setdefault(name, [])
            if ranges and ranges[-1][1] == first - 1:
                ranges[-1] = (ranges[-1][0], last)
            else:
                ranges.append((first, last))
    return found


def _runs() -> Iterator[tuple[str, int, int]]:
    for span in (range(_LAST_ASSIGNED), _VARIATION_SELECTORS):
        first, category = span.start, unicodedata.category(chr(span.start))
        for code in span[1:]:
            following = unicodedata.category(chr(code))
            if following != category:
                yield category, first, code - 1
                first, category = code, following
        yield category, first, span.stop - 1
