"""Rows on their way: a piece of some columns, and what could not be read. PURE."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

PIECE_BYTES = 12 << 20
PIECE_ROWS = 65_536
LONGEST_RECORD_BYTES = 64 << 20
MOST_COLUMNS = 50_000


class Unreadable(Exception):
    """The message says which file, what is wrong with it and what would be right."""


class Values(NamedTuple):
    series: pl.Series
    """Texts, numbers or booleans; null is missing."""
    integral: int = 0
    """Of floats: how many were written as integers."""


class Piece(NamedTuple):
    rows: int
    columns: dict[str, Values]


@dataclass
class Notes:
    """What was left out while reading, for the report. reasons: text to how often, the first few different ones."""

    left_out: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, rows: int = 1) -> None:
        self.left_out += rows
        if reason in self.reasons or len(self.reasons) < 10:
            self.reasons[reason] = self.reasons.get(reason, 0) + rows

    def told(self) -> str:
        """The most frequent reason, for a message."""
        return max(self.reasons, key=lambda reason: self.reasons[reason]) if self.reasons else ""
