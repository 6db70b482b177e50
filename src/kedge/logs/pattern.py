"""Filter patterns: which messages FilterLogEvents shows. PURE.

Terms, as far as they go: `A B` (all of them), `?A ?B` (any of them), `-A` (none of them), "a phrase". A term is a part
of the message, case counts. Every other pattern of CloudWatch Logs is refused: an answer to half a question misleads.
Source: "Filter pattern syntax for metric filters, subscription filters, filter log events, and Live Tail".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kedge.logs.block import Block

_TERM = re.compile(r'\s*(?P<sign>[?-]?)(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"]+))(?=\s|$)')
_WORD = re.compile(r"\w+")


class PatternRefused(ValueError):
    """The message says what is wrong, or not offered."""


@dataclass(frozen=True)
class Pattern:
    every: tuple[bytes, ...] = ()
    some: tuple[bytes, ...] = ()
    none: tuple[bytes, ...] = ()

    def matching(self, block: Block, among: range) -> Sequence[int]:
        """Indices, ascending, of the events among these that match."""
        if self.every:
            rarest, *others = sorted(self.every, key=len, reverse=True)
            if any(term not in block.text for term in others):
                return ()
            found = set(block.having(rarest, among))
            for term in others:
                found.intersection_update(block.having(term, among) if found else ())
        elif self.some:
            found = {index for term in self.some for index in block.having(term, among)}
        else:
            found = set(among) if self.none else set()
            if not self.none:
                return among
        for term in self.none:
            found.difference_update(block.having(term, among) if found else ())
        return sorted(found)


EVERYTHING = Pattern()


def parse(text: str) -> Pattern:
    """Raises PatternRefused."""
    stripped = text.strip()
    for sign, what in (("{", "JSON"), ("[", "space-delimited")):
        if stripped.startswith(sign):
            raise PatternRefused(f"Invalid filter pattern: {what} patterns such as '{text}' are not offered yet.")
    found: dict[str, list[bytes]] = {"": [], "?": [], "-": []}
    at = 0
    while at < len(stripped):
        match = _TERM.match(stripped, at)
        if match is None:
            raise PatternRefused(f"Invalid filter pattern: a quote is open, or stands within a word, in '{text}'.")
        at = match.end()
        quoted, word = match["quoted"], match["word"]
        if word is not None and word.startswith("%"):
            raise PatternRefused(f"Invalid filter pattern: regular expressions such as '{word}' are not offered yet.")
        if word is not None and not _WORD.fullmatch(word):
            raise PatternRefused(
                f"Invalid filter pattern: the term '{word}' has characters other than letters, digits and '_'; "
                f'put it into quotes: "{word}".'
            )
        term = word if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        if not term:
            raise PatternRefused(f"Invalid filter pattern: there is an empty term in '{text}'.")
        found[match["sign"]].append(term.encode())
    if found["?"] and (found[""] or found["-"]):
        raise PatternRefused(
            f"Invalid filter pattern: '{text}' mixes terms with '?' and others; AWS's own documentation contradicts "
            "itself on what that means."
        )
    return Pattern(tuple(found[""]), tuple(found["?"]), tuple(found["-"]))
