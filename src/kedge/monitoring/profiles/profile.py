"""What is known of a data set after any number of rows, in bounded memory; two merge into that of both. PURE."""

from __future__ import annotations

from kedge.monitoring.profiles.column import Column
from kedge.monitoring.profiles.tally import CAPACITY

_MOST_ENTRIES = 2_000_000
"""Of all tallies together, beyond which each holds fewer."""
_LEAST_CAPACITY = 128


class Profile:
    __slots__ = ("columns", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.columns: dict[str, Column] = {}
        """In the order in which they were first seen."""

    def column(self, name: str) -> Column:
        found = self.columns.get(name)
        if found is None:
            found = self.columns[name] = Column(capacity(len(self.columns) + 1))
        return found

    def missing(self, name: str) -> int:
        """Rows without a value, or without the column."""
        return self.rows - self.columns[name].present

    def merge(self, other: Profile) -> None:
        self.rows += other.rows
        for name, column in other.columns.items():
            self.column(name).merge(column)


def capacity(columns: int) -> int:
    """Entries that the tally of a data set's n-th column may have."""
    return max(_LEAST_CAPACITY, min(CAPACITY, _MOST_ENTRIES // columns))
