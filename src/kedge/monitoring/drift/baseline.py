"""What a baseline says of a column: its cells, its aspects, and what is usual of each. PURE."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kedge.monitoring.drift.aspects import Aspects, aspects
from kedge.monitoring.drift.cells import Cells, Floats, blocks, categorical, numeric
from kedge.monitoring.drift.repeats import repeating
from kedge.monitoring.drift.usual import Blocks, Usual, usual

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
    usual: Usual
    block_rows: float
    """Rows in order of a block; 0 where blocks are hours."""
    repeats: float = 1.0
    """How many rows tell as much as one."""

    @property
    def has_times(self) -> bool:
        """Without them no season can be known."""
        return not self.block_rows


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
    order, in_order = np.arange(count), np.arange(count)
    if times_s is not None:
        times = np.asarray(times_s, dtype=np.float64)
        in_order = np.argsort(times, kind="stable")
    repeats = repeating(np.asarray(values, dtype=object if kind == "categorical" else np.float64)[in_order])
    if times_s is not None:
        hours, place = np.unique(np.floor(times / HOUR_S).astype(np.int64), return_inverse=True)
        if len(hours) >= _LEAST_HOURS:
            return learned(cells, blocks(cells, rows, place, len(hours)), hours.astype(np.float64) * HOUR_S, repeats)
        order[in_order] = np.arange(count)
    wanted = max(1, min(_RUNS, count // _RUN_ROWS))
    return learned(cells, blocks(cells, rows, order * wanted // count, wanted), None, repeats)


def learned(cells: Cells, counts: Floats, starts_s: Floats | None = None, repeats: float = 1.0) -> Column:
    """counts: shape (blocks, cells and missing), of hours that begin at starts_s; or of runs of rows, in order.

    repeats: how many rows tell as much as one, see `repeats`.
    """
    whole = counts.sum(axis=0)
    asked = aspects(cells, whole)
    means, rows = asked.means(counts)
    squares = asked.squares(counts)
    if starts_s is None:
        places, hours, block_rows = np.arange(len(counts)), None, float(counts.sum()) / len(counts)
    else:
        places, hours, block_rows = np.floor(starts_s / HOUR_S).astype(np.int64), starts_s / HOUR_S + 0.5, 0.0
    found = Blocks(rows / repeats, means, squares, places, hours, block_rows)
    return Column(cells, whole, asked, usual(found, asked.variances, asked.kurtoses), block_rows, repeats)


def seasoned(column: Column, counts: Floats, starts_s: Floats) -> Column:
    """The column with the season of windows that were seen since, for a baseline without times or of few days.

    counts: of windows of an hour at most, shape (windows, cells and missing); two days of them, better two weeks.
    Only how hours and days differ is theirs. What the column is on the whole, and how much it varies beside the season,
    stays the baseline's. Windows that have drifted far have another season by ranks, which are no longer in the middle.
    """
    asked = column.aspects
    means, rows = asked.means(counts)
    hours = starts_s / HOUR_S
    places = np.floor(hours).astype(np.int64)
    found = Blocks(rows / column.repeats, means, asked.squares(counts), places, np.floor(hours) + 0.5, 0.0)
    seen, own = usual(found, asked.variances, asked.kurtoses), column.usual
    if not seen.season:
        return column
    # Scores that are all larger by so much keep their variance.
    more = own.typical @ own.coefficients - seen.typical @ seen.coefficients
    coefficients, squares = seen.coefficients.copy(), seen.squares + 2 * more * seen.coefficients
    coefficients[0] += more
    squares[0] += np.square(more)
    covariances = seen.covariances.copy()
    covariances[:, 0, 0] += own.spread(own.typical[None, :])[0]
    joined = replace(
        seen, coefficients=coefficients, squares=squares, covariances=covariances,
        excess=own.excess, freedom=own.freedom, forgets=own.forgets, block_rows=own.block_rows,
    )  # fmt: skip
    return replace(column, usual=joined)
