"""What is usual: where an aspect's mean is expected at a time, and how much it varies there without any drift. PURE.

A baseline's rows in order say how the column behaves in time. They are cut into blocks (hours, where the rows have
times; else runs of rows) and each aspect's block means are looked at:

- A daily season, and a weekly one where there are two weeks (`season`): a window is compared with its own hour, and so
  is the variance of its rows, which is smaller there than over all hours.
- What is left varies more than independent rows would: bursts, rows that hang together, levels of an hour. Its excess
  is measured on runs of 1, 2, 4 ... blocks (batch means: Conway, "Some tactical problems in digital simulation", 1963),
  so that a window of any length gets what runs of its length have. The estimate has few degrees of freedom, fewer where
  the runs are autocorrelated, and Student's distribution says what that costs.

Where neither shows, rows are independent, and the error is theirs alone. A baseline that was shuffled hides both: give
its times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kedge.monitoring.drift.cells import Floats
from kedge.monitoring.drift.season import NONE, PLACED, Season, fit, season_of

_LEAST_GROUPS = 10
_EXCESS_AT = 0.0003
"""Significance from which runs are said to vary more than their rows."""
_SURELY_AT = 0.00001
"""Significance from which a part of the season is no chance. With fewer, hours that differ by chance make false alerts;
with more, true seasons that are small cost more power than they need to."""
_DOUBT = 0.5
"""Of the square of what may be chance: some five standard errors out, as wide as an error of all of it needs."""
_MOST_FREEDOM = 30.0
"""What makes the excess need not be normal: with more degrees than these its tail would be trusted too far out. They
are fewer for a skewed score: what moves a column multiplies the share that is far out, and so adds to it unevenly."""
_LEAST_PART = 0.2
"""Of an aspect's variance over all hours: no hour's is trusted to be less."""


@dataclass(frozen=True)
class Blocks:
    """rows, means, squares: of each block and aspect, shape (blocks, aspects). places: of each block in time.

    rows: as many independent ones as vary as much. hours: of the block's middle, since 1970; None where rows have no
    times. Then a block is `block_rows` rows long, and its place is its number.
    """

    rows: Floats
    means: Floats
    squares: Floats
    places: NDArray[np.int64]
    hours: Floats | None
    block_rows: float


@dataclass(frozen=True)
class Usual:
    """Of a column. Arrays have a column for each aspect, in the end what is missing.

    coefficients, squares: of the season's regressors, and of those of the 24 hours by themselves (`_Hours`), for the
    mean of a score and of its square. covariances: of the former, shape (aspects, regressors, regressors). variances:
    of one row's score, left beside the season.
    typical: the regressors of a window of any time; wanders: the variance of the season itself. bias: the square of
    what the hours seem to differ by from a season that is told in steps.
    excess: variance of runs of 1, 2, 4 ... blocks beyond that of as many independent rows; shape (lengths, aspects).
    freedom: its degrees; known: those of the variance at a time, endless without a season.
    forgets: whether the longest runs vary as less the longer they are, as what has no long memory does.
    block_rows: how many independent rows a block has on the whole, of each aspect.
    """

    season: Season
    typical: Floats
    wanders: Floats
    bias: Floats
    coefficients: Floats
    squares: Floats
    covariances: Floats
    variances: Floats
    excess: Floats
    freedom: Floats
    known: Floats
    forgets: NDArray[np.bool_]
    block_rows: Floats

    def regressors(self, hours: Floats | None, count: int) -> Floats:
        """Of `count` windows whose middles are at `hours` since 1970; of windows of any time if that is None."""
        if hours is None or not self.season:
            return np.tile(self.typical, (count, 1))
        return _columns(self.season, hours)

    def expected(self, regressors: Floats) -> Floats:
        return regressors @ self.coefficients

    def spread(self, regressors: Floats) -> Floats:
        """Variance of what is expected."""
        found: Floats = np.einsum("wk,akl,wl->wa", regressors, self.covariances, regressors, optimize=True)
        return found + self.bias

    def variance(self, regressors: Floats) -> Floats:
        """Of one row's score at a time."""
        if not self.season:
            return np.tile(self.variances, (len(regressors), 1))
        found = regressors @ self.squares - np.square(regressors @ self.coefficients)
        return np.maximum(found, _LEAST_PART * self.variances)

    def beyond(self, length: Floats, rows: Floats) -> tuple[Floats, Floats]:
        """(excess variance, degrees of freedom) of windows that are `length` blocks long, shape (windows, aspects).

        rows: of them. Fewer than the baseline has in that time may hang together as those do, row by row: then their
        mean varies more. (More rows need not vary less: what moves an hour moves all of them.)
        """
        scale = np.log2(np.maximum(length, 1.0)).astype(np.int64).clip(0, len(self.excess) - 1)
        longest = 2.0 ** (len(self.excess) - 1)
        fewer = np.where(self.forgets, np.minimum(longest / np.maximum(length, 1e-9), 1.0), 1.0)
        sparser = np.maximum(self.block_rows * np.maximum(length, 1.0) / np.maximum(rows, 1.0), 1.0)
        return (
            np.take_along_axis(self.excess, scale, axis=0) * fewer * sparser,
            np.minimum(np.take_along_axis(self.freedom, scale, axis=0), self.known),
        )


def usual(blocks: Blocks, variances: Floats, kurtoses: Floats) -> Usual:
    """variances, kurtoses: of one row's score of each aspect; the latter beyond a normal one's."""
    rows, means = blocks.rows, blocks.means
    held = rows[:, 0] > 0
    season = NONE
    if blocks.hours is not None and held.any():
        season = season_of(means[held], rows[held, 0], blocks.hours[held], variances)
    design = np.ones((len(rows), 1)) if blocks.hours is None or not season else season.columns(blocks.hours)
    total = float(rows[:, 0].sum())
    weights = rows[:, 0] / max(total, 1.0)
    coefficients, inverses = _fits(design, means, rows)
    squares, _ = _fits(design, blocks.squares, rows)
    fitted = design @ coefficients
    if season:
        around = np.maximum(design @ squares - np.square(fitted), _LEAST_PART * variances)
        within = weights @ around
    else:
        within, around = variances, np.tile(variances, (len(rows), 1))
    found = _excess(means - fitted, rows, blocks.places, around, kurtoses, design, inverses[0])
    covariances = inverses * within[:, None, None]
    for aspect in np.flatnonzero(found.shows):
        with np.errstate(divide="ignore"):
            each = np.where(rows[:, aspect] > 0, 1 / (within[aspect] / rows[:, aspect] + found.excess[0, aspect]), 0.0)
        coefficients[:, aspect], inverse = fit(design, means[:, aspect], each)
        ratios = found.ratios[:, aspect]
        covariances[aspect] = inverse * max(1.0, ratios[-1] / max(ratios[0], 1.0))
    covariances = _doubted(season, coefficients, covariances)
    known = total / design.shape[1] / (1 + np.maximum(kurtoses, 0.0) / 2) if season else np.full(len(variances), np.inf)
    bias = np.zeros(len(within))
    if season and blocks.hours is not None and season.whole() != season:
        by_hour = _Hours.of(season, blocks, fitted, within * np.maximum(found.ratios[0], 1.0))
        bias = by_hour.bias(season, within, total)
        coefficients, squares, covariances = by_hour.joined(coefficients, squares, covariances)
        design = _columns(season, blocks.hours)
    typical = weights @ design
    wanders = weights @ np.square(design @ coefficients - typical @ coefficients)
    shows = found.shows
    longest = len(found.ratios)
    return Usual(
        season, typical, wanders, bias, coefficients, squares, covariances, within,
        np.where(shows, found.excess, 0.0), np.where(shows, found.freedom, np.inf), np.maximum(known, 1.0),
        ~shows | (longest < 3) | (found.ratios[-1] < 1.5 * found.ratios[max(longest - 3, 0)]),
        rows[held].mean(axis=0) if held.any() else np.zeros(rows.shape[1]),
    )  # fmt: skip


def _doubted(season: Season, coefficients: Floats, covariances: Floats) -> Floats:
    """What of the season was found by a narrow margin may be chance: then what it changes is error, all of it.

    A part was taken in because it showed, so it is larger than it would be without that choice, and its covariance does
    not say so. What leaving it out would change is added to that, unless it shows so plainly that chance makes no such.
    Shapes as in `Usual`.
    """
    found = covariances.copy()
    for group in season.groups():
        contrasts = np.zeros((len(group.shows), len(coefficients)))
        contrasts[:, group.regressors] = group.shows
        shown = coefficients.T @ contrasts.T
        with_all = covariances @ contrasts.T
        weights = np.linalg.pinv(contrasts @ with_all, hermitian=True) @ shown[:, :, None]
        squares = (shown[:, None, :] @ weights)[:, 0, 0]
        chance = float(special.chdtrc(len(contrasts), squares).min()) * group.places * math.sqrt(len(squares))
        if chance > _SURELY_AT:
            changes = with_all @ weights
            found += _DOUBT * changes @ changes.transpose(0, 2, 1)
    return found


@dataclass(frozen=True)
class _Hours:
    """The 24 hours by themselves, beside a season that is told in fewer numbers.

    A season follows a course only roughly where it has a corner or a peak, and what it leaves there may be too little
    to show in the baseline, yet enough to make false alerts day after day. So an hour is expected between the two: the
    nearer to its own mean, the more all hours together leave beside the season, which is nothing where that is chance
    (James and Stein, 1961; Efron and Morris, "Stein's estimation rule and its competitors", 1973).

    means, squares, covariances: of the regressors of `Season.whole`, as in `Usual`. less: what they leave less than the
    season does, in variances of a row; free: how much of that is chance. parts: of an hour's own mean, of each aspect;
    they are alike, as aspects of one column are.
    """

    means: Floats
    squares: Floats
    covariances: Floats
    less: Floats
    free: int
    parts: Floats

    @classmethod
    def of(cls, season: Season, blocks: Blocks, fitted: Floats, variances: Floats) -> _Hours:
        """fitted: by the season, of each block. variances: of one row, hours' own levels included."""
        assert blocks.hours is not None
        rows, design = blocks.rows, season.whole().columns(blocks.hours)
        means, inverses = _fits(design, blocks.means, rows)
        squares, _ = _fits(design, blocks.squares, rows)
        left = np.square(blocks.means - fitted) - np.square(blocks.means - design @ means)
        with np.errstate(divide="ignore", invalid="ignore"):
            less = np.where(variances > 0, (rows * left).sum(axis=0) / variances, 0.0)
            free = design.shape[1] - season.columns(blocks.hours[:1]).shape[1]
        together = max(float(less[variances > 0].mean()), 1e-12) if (variances > 0).any() else np.inf
        part = min(max(1 - max(free - 2, 0) / together, 0.0), 1.0)
        return cls(means, squares, inverses * variances[:, None, None], less, free, np.full(len(less), part))

    def bias(self, season: Season, variances: Floats, rows: float) -> Floats:
        """Twice what the hours leave less, beyond chance: no hour is much further off than all are.

        Of what is placed, such as steps; what is left beside sines has been found not to show."""
        if not any(kind in PLACED for kind, _ in season.profiles):
            return np.zeros(len(variances))
        found: Floats = 2 * np.maximum(self.less - (self.free + math.sqrt(2 * self.free)), 0.0) * variances / rows
        return found

    def joined(self, coefficients: Floats, squares: Floats, covariances: Floats) -> tuple[Floats, Floats, Floats]:
        """Those of the season, and its regressors' beside the hours' (`_columns`)."""
        own, width = self.parts, len(coefficients)
        both = np.zeros((len(own), width + len(self.means), width + len(self.means)))
        both[:, :width, :width] = covariances * (1 - own)[:, None, None]
        both[:, width:, width:] = self.covariances * own[:, None, None]
        return (
            np.vstack([(1 - own) * coefficients, own * self.means]),
            np.vstack([(1 - own) * squares, own * self.squares]),
            both,
        )


def _columns(season: Season, hours: Floats) -> Floats:
    """The season's regressors, and those of the 24 hours by themselves unless it has no others."""
    whole = season.whole()
    found = season.columns(hours)
    return found if whole == season else np.hstack([found, whole.columns(hours)])


def _fits(design: Floats, means: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """(coefficients, inverses) of each aspect; those of the same rows are fitted together."""
    coefficients = np.empty((design.shape[1], means.shape[1]))
    inverses = np.empty((means.shape[1], design.shape[1], design.shape[1]))
    same = (rows == rows[:, :1]).all(axis=0)
    for columns in (np.flatnonzero(same), np.flatnonzero(~same)):
        if len(columns):
            coefficients[:, columns], inverses[columns] = fit(design, means[:, columns], rows[:, columns[0]])
    return coefficients, inverses


@dataclass(frozen=True)
class _Excess:
    """excess, freedom, ratios: shape (lengths, aspects). ratios: variance beside that of independent rows."""

    excess: Floats
    freedom: Floats
    ratios: Floats
    shows: NDArray[np.bool_]


def _excess(
    left: Floats, rows: Floats, places: NDArray[np.int64], variances: Floats, kurtoses: Floats, design: Floats,
    inverse: Floats
) -> _Excess:  # fmt: skip
    """Of runs of 1, 2, 4 ... blocks. left, rows, variances: shape (blocks, aspects); design, inverse: of their fit."""
    excess, freedom, ratios = [], [], []
    shows = np.zeros(left.shape[1], dtype=np.bool_)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(variances > 0, left / np.sqrt(variances), 0.0)
    variance = (rows * variances).sum(axis=0) / np.maximum(rows.sum(axis=0), 1e-12)
    length = 1
    while True:
        group = (places - places.min()) // length
        begins = np.flatnonzero(np.diff(group, prepend=-1))
        held = np.add.reduceat(rows, begins, axis=0)
        full = held[:, 0] > 0
        held = held[full]
        # What the fit takes from runs of this length: the season of a day is nearly gone from those of half a day.
        of_run = np.add.reduceat(rows[:, :1] * design, begins, axis=0)[full] / np.maximum(held[:, :1], 1e-12)
        taken = float(held[:, 0] @ ((of_run @ inverse) * of_run).sum(axis=1))
        if len(held) - taken < _LEAST_GROUPS and length > 1:
            break
        mean = np.add.reduceat(rows * scaled, begins, axis=0)[full] / np.maximum(held, 1e-12)
        free = max(len(held) - taken, 1.0)
        ratio = (held * np.square(mean)).sum(axis=0) / free
        # A share's mean in few rows is skewed, so the sum of squares varies more than chi-squared does.
        wider = 1 + np.maximum(kurtoses, 0.0) * (1 / np.maximum(held, 1e-12)).mean(axis=0) / 2
        if free >= _LEAST_GROUPS:
            shows |= special.chdtrc(free / wider, free * ratio / wider) < _EXCESS_AT
        ratios.append(ratio)
        excess.append(np.maximum(ratio - 1, 0.0) * variance / held.mean(axis=0))
        freedom.append(np.minimum(_freedom(mean, free), _MOST_FREEDOM / (1 + np.maximum(kurtoses, 0.0) / 6)))
        length *= 2
    return _Excess(np.array(excess), np.array(freedom), np.array(ratios), shows & (variance > 0))


def _freedom(means: Floats, free: float) -> Floats:
    """Fewer where neighbours are alike: of an autoregression, as many as Bartlett's formula leaves."""
    around = means - means.mean(axis=0)
    squares = np.square(around).sum(axis=0)
    alike = np.maximum((around[1:] * around[:-1]).sum(axis=0) / np.where(squares > 0, squares, 1.0), 0.0)
    found: Floats = np.maximum(free * (1 - alike**2) / (1 + alike**2), 1.0)
    return found
