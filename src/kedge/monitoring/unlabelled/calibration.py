"""What a probability of the model's is worth: how often its rows were positive. PURE.

A model that says 0.9 need not be right nine times of ten. Isotonic regression takes the order that the scores give and
nothing else (Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates",
2002), by pooling adjacent violators (Ayer et al., "An empirical distribution function for sampling with incomplete
information", 1955). Its steps say how many labels each rests on, and so how uncertain it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kedge.monitoring.drift.cells import Floats

LEAST_ROWS = 200
"""Of labelled rows: fewer say next to nothing of a probability's worth."""


@dataclass(frozen=True)
class Calibration:
    """Steps, of ascending scores. lowest: the smallest score of each. worth: the share of positive rows in it.

    variances: of that share, by the rows that it is of; with half a row of either class added (Jeffreys' prior), as a
    step that saw no failure has not shown that there are none.
    """

    lowest: Floats
    worth: Floats
    variances: Floats

    def steps(self, scores: Floats) -> NDArray[np.int64]:
        """The step of each score; those below the first one are in it."""
        found: NDArray[np.int64] = np.searchsorted(self.lowest, scores, side="right") - 1
        return found.clip(0)


def calibration(scores: ArrayLike, positive: ArrayLike) -> Calibration:
    """scores: of labelled rows, finite. positive: whether each turned out to be so.

    Raises ValueError for fewer rows than LEAST_ROWS, or for rows of one class.
    """
    given = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(positive, dtype=np.float64)
    if given.shape != truth.shape or given.ndim != 1:
        raise ValueError(f"There have to be as many scores as labels, in one dimension; {given.shape}, {truth.shape}.")
    if not np.isfinite(given).all():
        raise ValueError("A score is no finite number.")
    if len(given) < LEAST_ROWS:
        raise ValueError(f"{len(given)} labelled rows are too few to calibrate by; give {LEAST_ROWS} or more.")
    if not 0 < truth.mean() < 1:
        raise ValueError("All labelled rows are of one class; a calibration needs both.")
    distinct, place = np.unique(given, return_inverse=True)
    rows = np.bincount(place).astype(np.float64)
    hits = np.bincount(place, truth).astype(np.float64)
    begins, held, true = _pooled(rows, hits)
    share = (true + 0.5) / (held + 1)
    return Calibration(distinct[begins], true / held, share * (1 - share) / held)


def _pooled(rows: Floats, hits: Floats) -> tuple[list[int], Floats, Floats]:
    """(first place, rows, hits) of each step: neighbours whose shares do not ascend are one."""
    begins: list[int] = []
    held: list[float] = []
    true: list[float] = []
    for place, (count, hit) in enumerate(zip(rows.tolist(), hits.tolist(), strict=True)):
        begins.append(place)
        held.append(count)
        true.append(hit)
        while len(held) > 1 and true[-2] * held[-1] >= true[-1] * held[-2]:
            count, hit = held.pop(), true.pop()
            begins.pop()
            held[-1] += count
            true[-1] += hit
    return begins, np.array(held), np.array(true)
