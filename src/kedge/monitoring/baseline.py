"""What a baseline says of a column: its cells, its aspects, and what is usual of each. PURE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kedge.monitoring.aspects import Aspects, aspects
from kedge.monitoring.cells import Cells, Floats, blocks, categorical, numeric
from kedge.monitoring.usual import Blocks, Usual, season_of, usual

HOUR_S = 3600.0
_LEAST_HOURS = 20
"""With fewer, rows are cut into runs, as without times."""
_RUNS, _RUN_ROWS = 1000, 20
"""So many at most, of so many rows at least."""

Kind = Literal["numeric", "categorical"]


@dataclass(frozen=True)
class Column:
    """What a baseline says of one column. counts: one row, of the whole baseline."""

    cells: Cells
    counts: Floats
    aspects: Aspects
    usual: tuple[Usual, ...]
    block_rows: float
    """Rows in order of a block; 0 where blocks are hours."""


def column(values: ArrayLike, times_s: ArrayLike | None = None, kind: Kind = "numeric") -> Column:
    """The baseline's rows. times_s: of each row, in seconds since 1970; without them the rows are taken to be in order.

    Raises ValueError where there is no value.
    """
    rows = list(np.asarray(values, dtype=object)) if kind == "categorical" else np.asarray(values, dtype=np.float64)
    count = len(rows)
    if kind == "numeric":
        cells: Cells = numeric(np.asarray(rows, dtype=np.float64))
    else:
        levels, each = np.unique([str(row) for row in rows if row is not None], return_counts=True)
        cells = categorical(dict(zip(levels.tolist(), each.tolist(), strict=True)))
    order = np.arange(count)
    if times_s is not None:
        times = np.asarray(times_s, dtype=np.float64)
        hours, place = np.unique(np.floor(times / HOUR_S).astype(np.int64), return_inverse=True)
        if len(hours) >= _LEAST_HOURS:
            return learned(cells, blocks(cells, rows, place, len(hours)), hours.astype(np.float64) * HOUR_S)
        order[np.argsort(times, kind="stable")] = np.arange(count)
    wanted = max(1, min(_RUNS, count // _RUN_ROWS))
    return learned(cells, blocks(cells, rows, order * wanted // count, wanted))


def learned(cells: Cells, counts: Floats, starts_s: Floats | None = None) -> Column:
    """counts: shape (blocks, cells and missing), of hours that begin at starts_s; or of runs of rows, in order."""
    whole = counts.sum(axis=0)
    asked = aspects(cells, whole)
    means, rows = asked.means(counts)
    if starts_s is None:
        found = Blocks(rows, means, np.arange(len(counts)), None, float(counts.sum()) / len(counts))
    else:
        found = Blocks(rows, means, np.floor(starts_s / HOUR_S).astype(np.int64), starts_s / HOUR_S + 0.5, 0.0)
    each = zip(asked.variances, asked.kurtoses, strict=True)
    season = season_of(found, asked.variances)
    known = tuple(usual(found, place, float(var), float(kurt), season) for place, (var, kurt) in enumerate(each))
    return Column(cells, whole, asked, known, found.block_rows)
