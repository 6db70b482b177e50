"""What is usual: where an aspect's mean is expected at a time, and how much it varies there without any drift. PURE.

A baseline's rows in order say how the column behaves in time. They are cut into blocks (hours, where the rows have
times; else runs of rows) and each aspect's block means are looked at:

- A daily season, and a weekly one where there are two weeks: taken out where it is significant, as two harmonics of the
  day, as its 24 hours where those leave some, as the days of the week, or as the hours of two kinds of days, such as
  working days and others. A window is compared with its own hour.
- What is left varies more than independent rows would: bursts, rows that hang together, levels of an hour. Its excess
  is measured on runs of 1, 2, 4 ... blocks (batch means: Conway, "Some tactical problems in digital simulation", 1963),
  so that a window of any length gets what runs of its length have. The estimate has few degrees of freedom, fewer where
  the runs are autocorrelated, and Student's distribution says what that costs.

Where neither shows, rows are independent, and the error is theirs alone. A baseline that was shuffled hides both: give
its times.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from kedge.monitoring.cells import Floats

DAY_H, WEEK_H = 24.0, 168.0
LEAST_DAYS = 2
"""Of a season: before that, an hour that differs has been seen once."""
_LEAST_GROUPS = 10
_SEASON_AT, _EXCESS_AT = 0.002, 0.001
"""Significance from which a season is taken out, and from which runs are said to vary more than their rows."""
_MOST_FREEDOM = 30.0
"""What makes the excess need not be normal: with more degrees than these its tail would be trusted too far out. They
are fewer for a skewed score: what moves a column multiplies the share that is far out, and so adds to it unevenly."""


@dataclass(frozen=True)
class Blocks:
    """rows, means: of each block and aspect, shape (blocks, aspects). places: of each block in time.

    hours: of the block's middle, since 1970; None where rows have no times. Then a block is `block_rows` rows long, and
    its place is its number.
    """

    rows: Floats
    means: Floats
    places: NDArray[np.int64]
    hours: Floats | None
    block_rows: float


@dataclass(frozen=True)
class Usual:
    """Of one aspect. variance: of one row's score."""

    variance: float
    rows: float
    season: str = ""
    coefficients: Floats = field(default_factory=lambda: np.zeros(1))
    covariance: Floats = field(default_factory=lambda: np.zeros((1, 1)))
    excess: Floats = field(default_factory=lambda: np.zeros(0))
    """Variance of runs of 1, 2, 4 ... blocks beyond that of as many independent rows; empty for none."""
    freedom: Floats = field(default_factory=lambda: np.zeros(0))
    forgets: bool = True
    """Whether the longest runs vary as less the longer they are, as what has no long memory does."""

    def expected(self, hours: Floats | None, count: int) -> tuple[Floats, Floats]:
        """(mean, variance of its estimate) for each of `count` windows."""
        if not self.season or hours is None:
            return np.full(count, self.coefficients[0]), np.full(count, self.covariance[0, 0])
        design = columns(self.season, hours)
        spread: Floats = ((design @ self.covariance) * design).sum(axis=1)
        return design @ self.coefficients, spread

    def beyond(self, length: Floats) -> tuple[Floats, Floats]:
        """(excess variance, degrees of freedom) of windows that are `length` blocks long."""
        if not len(self.excess):
            return np.zeros(len(length)), np.full(len(length), np.inf)
        scale = np.log2(np.maximum(length, 1.0)).astype(np.int64).clip(0, len(self.excess) - 1)
        longest = 2.0 ** (len(self.excess) - 1)
        fewer = np.minimum(longest / np.maximum(length, 1e-9), 1.0) if self.forgets else np.ones(len(length))
        return self.excess[scale] * fewer, self.freedom[scale]


def season_of(blocks: Blocks, variances: Floats) -> str:
    """Of a column: the widest that any of its aspects asks for, as what moves one moves the others, if less plainly."""
    found = ""
    for aspect, variance in enumerate(variances):
        rows = blocks.rows[:, aspect]
        held = rows > 0
        if blocks.hours is None or not held.any() or not variance:
            continue
        hours = blocks.hours[held]
        season = _season(blocks.means[held, aspect], rows[held], hours, float(variance))
        if columns(season, hours[:1]).shape[1] > columns(found, hours[:1]).shape[1]:
            found = season
    return found


def usual(blocks: Blocks, aspect: int, variance: float, kurtosis: float, season: str) -> Usual:
    """variance, kurtosis: of one row's score; the latter beyond a normal one's. season: the column's."""
    rows, means = blocks.rows[:, aspect], blocks.means[:, aspect]
    held = rows > 0
    rows, means, places = rows[held], means[held], blocks.places[held]
    hours = None if blocks.hours is None else blocks.hours[held]
    total = float(rows.sum())
    if not total or not variance:
        return Usual(variance, total)
    design = columns(season, hours) if season and hours is not None else np.ones((len(rows), 1))
    coefficients, inverse = _fit(design, means, rows)
    left = means - design @ coefficients
    excess, freedom, ratios, shows = _excess(left, rows, places, variance, kurtosis, design.shape[1])
    if not shows:
        return Usual(variance, total, season, coefficients, inverse * variance)
    weights = 1 / (variance / rows + excess[0])
    coefficients, inverse = _fit(design, means, weights)
    longer = max(1.0, ratios[-1] / max(ratios[0], 1.0))
    forgets = len(ratios) < 3 or ratios[-1] < 1.5 * ratios[-3]
    return Usual(variance, total, season, coefficients, inverse * longer, excess, freedom, forgets)


def columns(season: str, hours: Floats) -> Floats:
    """The regressors of a season, one row for each of `hours`.

    season: words, such as "hours days"; "kind0000011" has its own hours for days marked 1, counted from Thursday.
    """
    parts = [np.ones((len(hours), 1))]
    day = np.floor(hours % WEEK_H / DAY_H).astype(np.int64)
    of_day = _dummies(np.floor(hours % DAY_H).astype(np.int64), 24)
    for word in season.split():
        if word == "harmonics":
            angle = 2 * np.pi * hours / DAY_H
            parts.append(np.column_stack([np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]))
        elif word == "hours":
            parts.append(of_day)
        elif word == "days":
            parts.append(_dummies(day, 7))
        else:
            other = np.array([mark == "1" for mark in word.removeprefix("kind")])[day]
            parts.append(of_day * np.where(other, 1.0, -1.0)[:, None])
    return np.hstack(parts)


def _dummies(places: NDArray[np.int64], count: int) -> Floats:
    """One regressor fewer than there are places; the last is where the others are all -1, so they sum to nothing."""
    table = np.vstack([np.eye(count - 1), -np.ones(count - 1)])
    return table[places]


def _season(means: Floats, rows: Floats, hours: Floats | None, variance: float) -> str:
    """The simplest that the block means ask for."""
    if hours is None or np.ptp(hours) < LEAST_DAYS * DAY_H - 1:
        return ""
    found = _wider("", ["harmonics", "hours"], means, rows, hours, variance)
    if np.ptp(hours) < 2 * WEEK_H - 1:
        return found
    with_days = _wider(found, [f"{found} days"], means, rows, hours, variance)
    if with_days == found:
        return found
    day = np.floor(hours % WEEK_H / DAY_H).astype(np.int64)
    level = np.bincount(day, rows * means, 7) / np.maximum(np.bincount(day, rows, 7), 1)
    ordered = np.sort(level)
    parted = ordered[np.diff(ordered).argmax()]
    kind = "kind" + "".join("1" if each <= parted else "0" for each in level)
    return _wider(with_days, [f"hours days {kind}"], means, rows, hours, variance)


def _wider(found: str, wider: list[str], means: Floats, rows: Floats, hours: Floats, variance: float) -> str:
    """The last of `wider` of which each fits better than the one before, by more than chance would."""
    for season in wider:
        one, two = columns(found, hours), columns(season, hours)
        if two.shape[1] > len(rows) // 2 or np.linalg.matrix_rank(two.T @ two) < two.shape[1]:
            continue
        less = _squares(one, means, rows) - _squares(two, means, rows)
        if stats.chi2.sf(less / variance, two.shape[1] - one.shape[1]) < _SEASON_AT:
            found = season
    return found


def _fit(design: Floats, means: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(coefficients, inverse of the weighted cross product)."""
    inverse: Floats = np.asarray(np.linalg.inv((design * weights[:, None]).T @ design), dtype=np.float64)
    return inverse @ (design.T @ (weights * means)), inverse


def _squares(design: Floats, means: Floats, rows: Floats) -> float:
    coefficients, _ = _fit(design, means, rows)
    return float(rows @ np.square(means - design @ coefficients))


def _excess(
    left: Floats, rows: Floats, places: NDArray[np.int64], variance: float, kurtosis: float, fitted: int
) -> tuple[Floats, Floats, list[float], bool]:
    """(excess variance, degrees of freedom, variance beside that of independent rows; of runs of 1, 2, 4 ...), and
    whether there is any."""
    excess, freedom, ratios, shows = [], [], [], False
    length = 1
    while True:
        _, group = np.unique((places - places.min()) // length, return_inverse=True)
        held = np.bincount(group, rows)
        if len(held) - fitted < _LEAST_GROUPS and length > 1:
            break
        mean = np.bincount(group, rows * left) / held
        free = max(len(held) - (fitted if length < DAY_H / 2 else 1), 1)
        ratio = float(held @ np.square(mean)) / (variance * free)
        # A share's mean in few rows is skewed, so the sum of squares varies more than chi-squared does.
        wider = 1 + max(kurtosis, 0.0) * float((1 / held).mean()) / 2
        shows = shows or (
            free >= _LEAST_GROUPS and bool(stats.chi2.sf(free * ratio / wider, free / wider) < _EXCESS_AT)
        )
        ratios.append(ratio)
        excess.append(max(ratio - 1, 0.0) * variance / float(held.mean()))
        freedom.append(min(_freedom(mean, free), _MOST_FREEDOM / (1 + max(kurtosis, 0.0) / 6)))
        length *= 2
    return np.array(excess), np.array(freedom), ratios, shows


def _freedom(means: Floats, free: float) -> float:
    """Fewer where neighbours are alike: of an autoregression, as many as Bartlett's formula leaves."""
    around = means - means.mean()
    squares = float(around @ around)
    alike = max(float(around[1:] @ around[:-1]) / squares, 0.0) if squares else 0.0
    return max(free * (1 - alike**2) / (1 + alike**2), 1.0)
