"""What the cells of a numeric column are scored with, and which score sees best what is hardest to see in it. PURE."""

from __future__ import annotations

import math

import numpy as np

from kedge.monitoring.drift.cells import Floats, Numeric

_LOOKED_FOR = 0.25
"""The change that a score is chosen for, in standard deviations; the choice is much the same for others."""
_COUNTS_FROM = 0.5
"""Share of rows whose value has a cell of its own, from which a column counts something."""
_SIGMAS = 1.349
"""Between the quartiles of a normal column."""


def scores(cells: Numeric, shares: Floats) -> dict[str, Floats]:
    """By name, as `aspects` says of each. shares: of the cells in the baseline."""
    above = shares.cumsum()
    below = above - shares
    middle = (above + below) / 2
    held = shares > 0
    centre = (2 * middle - 1) * np.sqrt(middle * (1 - middle).clip(0))
    beyond = (below * (1 - below).clip(0)) ** 1.5 - (above * (1 - above).clip(0)) ** 1.5
    centre[held] = beyond[held] / (1.5 * shares[held])
    return {"shift": middle, "centre": centre, "value": _between_0_and_1(cells.middles)}


def sees_best(each: dict[str, Floats], cells: Numeric, shares: Floats) -> str:
    """Of two ways to drift by as much, the score that moves most in the one in which the best moves least.

    One is that large values are more frequent (shares tilted by the value), as of counts and amounts; the other is that
    all values are larger, if they are no counts. The baseline alone says which, so a window's error is what it was.
    """
    standard = {name: _standard(score, shares) for name, score in each.items()}
    tilted = {name: _LOOKED_FOR * abs(float(shares @ (score * standard["value"]))) for name, score in standard.items()}
    hardest = tilted
    if shares @ _one_value(cells) < _COUNTS_FROM:
        moved = _moved(cells, shares) - shares
        shifted = {name: abs(float(moved @ score)) for name, score in standard.items()}
        hardest = min((shifted, tilted), key=lambda effects: max(effects.values()))
    return max(hardest, key=lambda name: hardest[name])


def _between_0_and_1(values: Floats) -> Floats:
    """Halves first: the largest numbers differ by more than there are numbers for."""
    halves = values / 2 - values[0] / 2
    found: Floats = halves / (halves[-1] or 1.0)
    return found


def _standard(score: Floats, shares: Floats) -> Floats:
    around = score - shares @ score
    deviation = math.sqrt(float(shares @ np.square(around)))
    return around / deviation if deviation else np.zeros(len(around))


def _one_value(cells: Numeric) -> Floats:
    """1 for cells that hold a single value."""
    uppers = cells.uppers
    narrow = np.nextafter(uppers[1:], -np.inf) <= uppers[:-1]
    return np.concatenate([[0.0], narrow.astype(np.float64), [0.0]])


def _moved(cells: Numeric, shares: Floats) -> Floats:
    """Shares of the cells if all values were larger, by what the middle half of them says of their deviation."""
    below, ends, values = shares.cumsum()[:-1], _between_0_and_1(cells.uppers), _between_0_and_1(cells.middles)
    deviation = math.sqrt(float(shares @ np.square(values - shares @ values)))
    low, high = np.interp([0.25, 0.75], below, ends)
    by = _LOOKED_FOR * min(deviation, (high - low) / _SIGMAS or deviation)
    found: Floats = np.diff(np.interp(ends - by, ends, below), prepend=0.0, append=1.0)
    return found
