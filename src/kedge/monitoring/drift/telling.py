"""What an effect is in the column's own terms, for people to read: its middle, or a share, before and now. PURE."""

from __future__ import annotations

import numpy as np

from kedge.monitoring.drift.baseline import Column
from kedge.monitoring.drift.cells import Categorical, Floats


def was_and_is(column: Column, counts: Floats, aspect: str) -> str:
    """Such as "40.1 -> 46.2" (medians), "mean 3.1 -> 3.6", "10% -> 21%" (a level, or what is missing), or
    "above 51: 15% -> 30%".

    counts: one row, of the window. aspect: as a Finding has it. Medians, means and bounds are those of cells.
    """
    cells = column.cells
    if aspect == "missing":
        return _shares(column.counts, counts, np.arange(len(counts)) == len(counts) - 1)
    before, now = column.counts[:-1], counts[:-1]
    if isinstance(cells, Categorical):
        return _shares(before, now, np.array([f"level {each}" == aspect for each in (*cells.levels, "other")]))
    if aspect.startswith("above "):
        ranks = before.cumsum() / max(before.sum(), 1.0)
        last = int(np.abs(ranks - float(aspect.removeprefix("above "))).argmin())
        return f"above {cells.uppers[last]:.4g}: {_shares(before, now, np.arange(len(now)) > last)}"
    if aspect == "value":
        return f"mean {_mean(cells.middles, before)} -> {_mean(cells.middles, now)}"
    return f"{_median(cells.uppers, before)} -> {_median(cells.uppers, now)}"


def _shares(before: Floats, now: Floats, asked: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> str:
    return " -> ".join(f"{each[asked].sum() / max(each.sum(), 1.0):.1%}" for each in (before, now))


def _mean(middles: Floats, counts: Floats) -> str:
    return f"{middles @ (counts / counts.sum()):.4g}" if counts.sum() else "none"


def _median(uppers: Floats, counts: Floats) -> str:
    total = counts.sum()
    if not total:
        return "none"
    place = int(np.searchsorted(counts.cumsum(), total / 2))
    return f"{uppers[place]:.4g}" if place < len(uppers) else f"above {uppers[-1]:.4g}"
