"""What a minute's drift comes to, as values of metrics. PURE.

A minute is judged alone and with the ones before it, as `monitoring.drift` does, by the part of the month's error that
a minute has. Each variant is judged by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kedge.monitoring.drift import judging as drift
from kedge.monitoring.drift.baseline import Column
from kedge.monitoring.drift.cells import Floats
from kedge.monitoring.drift.evidence import LEAST_ROWS, RECENT
from kedge.monitoring.drift.judging import Finding, Settings

MINUTE_S = 60
DRIFTING, EFFECT = "DriftingColumns", "DriftEffect"
MOST_NAMED = 10
"""Columns of a minute that have a metric of their own."""
LONGEST_NAME = 1024

Counts = Mapping[str, Floats]
"""Of each column of the baseline a row of counts."""


class Outcome(NamedTuple):
    """effects: of the columns whose default alert fires, the farthest first.

    is_judged: whether any column had enough rows.
    """

    effects: Mapping[str, float]
    is_judged: bool

    @property
    def farthest(self) -> float:
        """0 where no column drifts."""
        return next(iter(self.effects.values()), 0.0)

    @property
    def named(self) -> dict[str, float]:
        """Of the columns that have a metric of their own: the farthest ones whose names a dimension can hold."""
        fit = {name: effect for name, effect in self.effects.items() if _can_be_a_dimension(name)}
        return dict(itertools.islice(fit.items(), MOST_NAMED))


def recent(minutes: Mapping[int, Counts], minute: int) -> dict[int, Counts]:
    """Those that have a part in what is judged at `minute`."""
    return {at: each for at, each in minutes.items() if minute - RECENT < at <= minute}


def judged(known: Mapping[str, Column], minutes: Mapping[int, Counts], minute: int) -> Outcome:
    """minutes: counts by minute since 1970; one that is not there had no records."""
    first = max(min(minutes, default=minute), minute - RECENT + 1)
    windows = {}
    for name, column in known.items():
        empty = np.zeros(column.cells.count + 1)
        windows[name] = np.array([minutes[at][name] if at in minutes else empty for at in range(first, minute + 1)])
    starts_s = MINUTE_S * np.arange(first, minute + 1, dtype=np.float64)
    found: list[Finding] = drift.findings(known, windows, starts_s, Settings(window_s=float(MINUTE_S)))[-1]
    moved = sorted((each for each in found if each.alerts), key=lambda each: -abs(each.effect))
    return Outcome(
        {each.column: abs(each.effect) for each in moved},
        any(each.rows >= LEAST_ROWS for each in found),
    )


def _can_be_a_dimension(name: str) -> bool:
    """Of CloudWatch: 1 to 1,024 printable characters of ASCII, and one of them no space."""
    return name.isascii() and name.isprintable() and bool(name.strip()) and len(name) <= LONGEST_NAME
