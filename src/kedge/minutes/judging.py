"""What a minute's drift comes to, as values of metrics. PURE.

A minute is judged alone and with the ones before it, as `monitoring.drift` does, by the part of the month's error that
a minute has. Each variant is judged by itself.
"""

from __future__ import annotations

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

Counts = Mapping[str, Floats]
"""Of each column of the baseline a row of counts."""


class Outcome(NamedTuple):
    """drifting: columns whose default alert fires, the farthest first. effect: of the farthest one; 0 without any.

    is_judged: whether any column had enough rows.
    """

    drifting: tuple[str, ...]
    effect: float
    is_judged: bool


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
        tuple(each.column for each in moved),
        abs(moved[0].effect) if moved else 0.0,
        any(each.rows >= LEAST_ROWS for each in found),
    )
