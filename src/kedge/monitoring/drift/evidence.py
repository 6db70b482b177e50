"""Has a column drifted? Effect, interval and significance of each of its aspects in each window, and the alert. PURE.

An alert needs a change that is significant at what the budget (`spending`) gives this column in this window, and an
interval, at the same level, that reaches the size which the user calls material: what is surely smaller is no matter,
however significant it is. (To ask that of the estimate instead would miss half of the changes of just that size.)

Each window is judged alone, and with those before it, as far as a day: small windows, and columns whose level varies
from hour to hour, show a lasting change only together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kedge.monitoring.drift import tails
from kedge.monitoring.drift.aspects import Aspects
from kedge.monitoring.drift.baseline import HOUR_S, Column
from kedge.monitoring.drift.cells import Floats

MATERIAL = 0.25
"""In standard deviations of the baseline."""
LEAST_ROWS = 200
"""Of a window, or of the last ones together, to be judged."""
RECENT = 24
"""Windows that are judged together."""
_NEAR = 3.5

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """Each array has the shape (windows, aspects). Effects are in standard deviations of the baseline.

    effect: beside what is usual at that time. low, high: its interval at the level of an alert. p: two-sided; weighed:
    divided by the part of the column's error that the aspect has, so that the least of them is the column's.
    windows: how many each is of.
    """

    names: tuple[str, ...]
    windows: NDArray[np.int64]
    rows: Floats
    effect: Floats
    low: Floats
    high: Floats
    p: Floats
    weighed: Floats
    alerts: Bools


def judged(
    column: Column, counts: Floats, level: float, starts_s: Floats | None = None, window_s: float = HOUR_S,
    material: float = MATERIAL, least_rows: float = LEAST_ROWS
) -> Judged:  # fmt: skip
    """Each window alone. counts: shape (windows, cells and missing). level: what the column may spend on one of them.

    starts_s: of the windows; without them, or if the baseline has no times, no season is known.
    """
    moved = _moved(column, counts, starts_s, window_s)
    return _judged(column, counts, moved, np.ones(len(counts), np.int64), window_s, level, material, least_rows)


def recently(
    column: Column, counts: Floats, level: float, starts_s: Floats | None = None, window_s: float = HOUR_S,
    material: float = MATERIAL, least_rows: float = LEAST_ROWS
) -> Judged:  # fmt: skip
    """The same of each window together with those before it, RECENT of them at most."""
    each = _moved(column, counts, starts_s, window_s)
    held = _last(each.rows)

    def mean(of: Floats, rows: Floats, held: Floats) -> Floats:
        return np.divide(_last(rows * of), held, where=held > 0, out=np.zeros_like(_last(rows * of)))

    together = _Moved(
        mean(each.effect, each.rows, held), held, mean(each.regressors, each.rows[:, :1], held[:, :1]),
        mean(each.variance, each.rows, held), each.timed,
    )  # fmt: skip
    windows = np.minimum(np.arange(1, len(counts) + 1), RECENT)
    return _judged(column, _last(counts), together, windows, window_s, level, material, least_rows)


def _last(rows: Floats) -> Floats:
    total = np.cumsum(rows, axis=0)
    total[RECENT:] -= np.cumsum(rows, axis=0)[:-RECENT]
    return total


class _Moved(NamedTuple):
    """Each of shape (windows, aspects), but for the regressors of the season."""

    effect: Floats
    rows: Floats
    regressors: Floats
    variance: Floats
    """Of one row's score at that time, if nothing has drifted."""
    timed: bool
    """Whether the season is taken out; if not, a window may be of any time of it."""


def _moved(column: Column, counts: Floats, starts_s: Floats | None, window_s: float) -> _Moved:
    means, rows = column.aspects.means(counts)
    hours = None if starts_s is None else (starts_s + window_s / 2) / HOUR_S
    known = column.usual
    regressors = known.regressors(hours, len(counts))
    over_all = np.tile(column.aspects.variances, (len(counts), 1))
    variance = over_all if hours is None else known.variance(regressors)
    expected = _possible(column.aspects, known.expected(regressors))
    return _Moved(means - expected, rows, regressors, variance, hours is not None)


def _judged(
    column: Column, counts: Floats, moved: _Moved, windows: NDArray[np.int64], window_s: float, level: float,
    material: float, least_rows: float
) -> Judged:  # fmt: skip
    effect, rows, known, asked = moved.effect, moved.rows, column.usual, column.aspects
    hours = np.repeat((windows * window_s / HOUR_S)[:, None], rows.shape[1], axis=1)
    length = rows / column.block_rows if column.block_rows else hours
    excess, freedom = known.beyond(length, rows / column.repeats)
    expected = _possible(asked, known.expected(moved.regressors))
    total = column.counts.sum() - np.append(np.full(len(asked.names) - 1, column.counts[-1]), 0.0)
    few = rows < least_rows
    held = np.where(few, max(least_rows, 1.0), rows) / column.repeats
    own = _variances(asked, counts)
    variance = _usual_variances(asked, expected, moved.variance, own, rows, total)
    # What varies neither in the baseline nor here, and differs, varies between the two: such as all rows missing.
    here = rows / np.maximum(total + rows, 1)
    variance = np.where(variance > 0, variance, here * (1 - here) * np.square(effect))
    # A season's estimate is as uncertain as its hour is: a share that is larger then varies more then.
    larger = np.maximum(variance / np.where(known.variances > 0, known.variances, np.inf), 1.0)
    spread = np.maximum(known.spread(moved.regressors) * larger, variance * column.repeats / np.maximum(total, 1))
    if not moved.timed:
        spread = spread + known.wanders
    errors = np.sqrt(variance / held + excess + spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.where(errors > 0, np.abs(effect) / errors, 0.0)
    p = 2 * special.ndtr(-apart)
    window, aspect = np.nonzero((apart > _NEAR) & ~few)
    if len(window):
        each_variance = variance[window, aspect]
        n = each_variance / (each_variance / held[window, aspect] + excess[window, aspect])
        m = each_variance / spread[window, aspect]
        scores = np.zeros((len(asked.names), len(column.counts)))
        scores[:-1, :-1] = asked.scores
        scores[-1] = asked.lowest[-1]
        scores[-1, -1] += asked.gaps[-1]
        both = _together(scores, column.counts, counts[window], aspect, n, m, expected[window, aspect], asked)
        p[window, aspect] = tails.probability(
            effect[window, aspect], errors[window, aspect], freedom[window, aspect], n, m,
            _scaled(scores[aspect], both, asked.gaps[aspect], each_variance, bool(known.season) and moved.timed), both,
            asked.gaps[aspect],
        )  # fmt: skip
    p[few] = 1.0
    weighed = np.minimum(p / asked.parts, 1.0)
    levels = np.broadcast_to(level * asked.parts, effect.shape)
    wide = np.sqrt(np.maximum(own, variance) / held + excess + spread) * tails.critical(levels, freedom)
    low, high = effect - wide, effect + wide
    alerts = (weighed < level) & (np.where(effect > 0, high, -low) >= material)
    return Judged(asked.names, windows, rows, effect, low, high, p, weighed, alerts)


def _scaled(scores: Floats, both: Floats, gaps: Floats, variance: Floats, seasonal: bool) -> Floats:
    """With the variance that they have at their time, where `both` is of all hours."""
    if not seasonal:
        return scores
    mean = (both * scores).sum(axis=1)
    over_all = (both * np.square(scores)).sum(axis=1) - np.square(mean)
    part = np.sqrt(np.divide(variance, over_all, where=over_all > 0, out=np.ones_like(over_all)))
    return scores * np.where(gaps > 0, 1.0, np.minimum(part, 1.0))[:, None]


def _variances(asked: Aspects, counts: Floats) -> Floats:
    """Of one row's score, in each window."""
    present = np.maximum(counts[:, :-1].sum(axis=1), 1)[:, None]
    mean = counts[:, :-1] @ asked.scores.T / present
    square = counts[:, :-1] @ np.square(asked.scores).T / present
    absent = counts[:, -1] / np.maximum(counts.sum(axis=1), 1)
    return np.column_stack([np.maximum(square - np.square(mean), 0), absent * (1 - absent) * asked.gaps[-1] ** 2])


def _usual_variances(
    asked: Aspects, expected: Floats, usual: Floats, own: Floats, rows: Floats, total: Floats
) -> Floats:
    """Of one row's score, in each window, if nothing has drifted: a share's follows from what is expected of it."""
    share = _share(asked, expected)
    variance = np.where(asked.gaps > 0, share * (1 - share) * np.square(asked.gaps), usual)
    # A score that never varied in the baseline, and does now, has the variance of both together.
    pooled = own * rows / np.maximum(total + rows, 1)
    return np.where(variance > 0, variance, pooled)


def _possible(asked: Aspects, expected: Floats) -> Floats:
    """A few sines or steps may say of a share that it is below 0 or above 1."""
    highest = np.where(asked.gaps > 0, asked.lowest + asked.gaps, np.inf)
    return np.clip(expected, np.where(asked.gaps > 0, asked.lowest, -np.inf), highest)


def _share(asked: Aspects, expected: Floats) -> Floats:
    """Of the larger value of a score that has two, where its mean is `expected`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (expected - asked.lowest) / asked.gaps
    return np.where(asked.gaps > 0, share, 0.0).clip(0, 1)


def _together(
    scores: Floats, baseline: Floats, windows: Floats, aspect: NDArray[np.int64], n: Floats, m: Floats,
    expected: Floats, asked: Aspects
) -> Floats:  # fmt: skip
    """Shares of the cells in a window and the baseline together, each weighted by its independent rows; the baseline's
    are those of the window's time, as far as a share is asked for."""
    last = len(baseline) - 1
    kept = np.where((aspect == len(asked.names) - 1)[:, None] | (np.arange(last + 1) < last), 1.0, 0.0)
    of_window, of_baseline = windows * kept, baseline * kept
    of_window = of_window / of_window.sum(axis=1, keepdims=True)
    of_baseline = of_baseline / of_baseline.sum(axis=1, keepdims=True)
    is_high = scores[aspect] > (asked.lowest + asked.gaps / 2)[aspect][:, None]
    high = (of_baseline * is_high).sum(axis=1)
    share = (expected - asked.lowest[aspect]) / np.maximum(asked.gaps[aspect], 1e-12)
    moves = (asked.gaps[aspect] > 0) & (high > 0) & (high < 1)
    up = np.where(moves, share.clip(0, 1) / np.where(moves, high, 1.0), 1.0)
    down = np.where(moves, (1 - share.clip(0, 1)) / np.where(moves, 1 - high, 1.0), 1.0)
    of_baseline = of_baseline * np.where(is_high, up[:, None], down[:, None])
    weight = (n / (n + m))[:, None]
    both: Floats = weight * of_window + (1 - weight) * of_baseline
    return both
