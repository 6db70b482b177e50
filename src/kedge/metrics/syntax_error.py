"""Where the parser stopped, in words that fit into a message for the caller. PURE."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lark import UnexpectedInput

_SHOWN = 20
"""Characters of the text that follow the place."""


def where(text: str, error: UnexpectedInput) -> str:
    """`at character 5, "m2 + 3"`, counted from 1, or `at its end`."""
    from lark import UnexpectedToken

    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    place = None if ended else error.pos_in_stream
    if place is None or place >= len(text):
        return "at its end"
    return f'at character {place + 1}, "{text[place : place + _SHOWN]}"'
