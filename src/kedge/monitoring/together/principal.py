"""Do rows still lie near the directions in which the baseline's columns go together? PCA's reconstruction error. PURE.

Columns that move together leave rows near a plane of few directions. When their relation changes rows leave it, and the
distance from it grows, though each column by itself may look as ever. Sources: Jackson and Mudholkar, "Control
procedures for residuals associated with principal component analysis", 1979; the standard error is Welch's (1947).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from kedge.monitoring.drift.cells import Floats

KEPT = 0.65
"""Of the variance, by as few directions as hold it: with nearly all of it there would be no distance left to grow."""
LEAST_ROWS = 50


class Reconstruction(NamedTuple):
    """error: mean distance of the rows from the baseline's plane, in standard deviations of a column. usual: the same
    of baseline rows that the plane was not fitted to. effect: their difference, in standard deviations of a row's
    distance in the baseline; low, high: its interval. p: two-sided."""

    error: float
    usual: float
    effect: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Plane:
    """centre, scale: of each column. directions: shape (kept, columns), orthonormal. distances: mean, deviation and
    number of those of rows that the plane was not fitted to."""

    centre: Floats
    scale: Floats
    directions: Floats
    distance: float
    deviation: float
    rows: int

    def distances(self, rows: Floats) -> Floats:
        """Of each row. What is missing counts as the column's mean."""
        scaled = np.nan_to_num((rows - self.centre) / self.scale, nan=0.0, posinf=0.0, neginf=0.0)
        left = scaled - scaled @ self.directions.T @ self.directions
        found: Floats = np.sqrt(np.square(left).sum(axis=1))
        return found


def plane(rows: ArrayLike, kept: float = KEPT) -> Plane:
    """rows: of the baseline, shape (rows, columns). Every second row fits it, the others say how far off rows are.

    Raises ValueError for fewer than LEAST_ROWS, or where fewer than two columns vary.
    """
    given = _matrix(rows)
    if len(given) < LEAST_ROWS:
        raise ValueError(f"{len(given)} rows are too few for a baseline; give {LEAST_ROWS} or more.")
    fitted, others = given[::2], given[1::2]
    finite = np.where(np.isfinite(fitted), fitted, np.nan)
    count = np.maximum(np.isfinite(finite).sum(axis=0), 1)
    centre = np.nansum(finite, axis=0) / count
    scale = np.sqrt(np.nansum(np.square(finite - centre), axis=0) / count)
    varies = scale > 0
    if varies.sum() < 2:
        raise ValueError("Fewer than two columns vary in the baseline; there is nothing that could go together.")
    scale = np.where(varies, scale, np.inf)
    scaled = np.nan_to_num((finite - centre) / scale)
    _, lengths, turned = np.linalg.svd(scaled, full_matrices=False)
    share = np.square(lengths).cumsum() / np.square(lengths).sum()
    # The last direction is never kept: rows would have no distance from a plane that is the whole space.
    number = min(int(np.searchsorted(share, kept - 1e-12)) + 1, int(varies.sum()) - 1)
    found = Plane(centre, scale, turned[:number], 0.0, 1.0, 0)
    distances = found.distances(others)
    return Plane(centre, scale, turned[:number], float(distances.mean()), float(distances.std(ddof=1)), len(others))


def moved(known: Plane, rows: ArrayLike, confidence: float = 0.95) -> Reconstruction:
    """rows: of a window, in the baseline's columns. Raises ValueError for fewer than two."""
    given = _matrix(rows)
    if given.shape[1] != len(known.centre):
        raise ValueError(f"The window has {given.shape[1]} columns, its baseline {len(known.centre)}.")
    if len(given) < 2:
        raise ValueError("A window needs two rows or more.")
    distances = known.distances(given)
    error = float(distances.mean())
    own, others = float(distances.var(ddof=1)) / len(given), known.deviation**2 / known.rows
    spread = np.sqrt(own + others)
    freedom = (own + others) ** 2 / (own**2 / (len(given) - 1) + others**2 / (known.rows - 1))
    apart = error - known.distance
    p = float(2 * special.stdtr(freedom, -abs(apart) / spread)) if spread > 0 else float(apart == 0)
    scale = known.deviation or 1.0
    wide = NormalDist().inv_cdf((1 + confidence) / 2) * float(spread) / scale
    return Reconstruction(error, known.distance, apart / scale, apart / scale - wide, apart / scale + wide, p)


def _matrix(rows: ArrayLike) -> Floats:
    given = np.asarray(rows, dtype=np.float64)
    if given.ndim != 2:
        raise ValueError(f"Rows have to be a table of rows and columns; this has {given.ndim} dimensions.")
    return given
