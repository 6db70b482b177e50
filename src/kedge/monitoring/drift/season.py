"""A column's season: which hours of the day, and which days, differ without any drift, in as few numbers as fit. PURE.

What a baseline of two weeks says of one hour of the day is as uncertain as a window of some 800 rows is, so a window
beside it would need twice the rows that it has: a shift of the material size would be missed. A season that is told by
few numbers costs little. So the simplest profile of a day is taken of which nothing significant is left:

- none; one or two harmonics of the day (a sine); steps at a few hours, such as the beginning and the end of work; a
  line that begins anew at an hour or two, such as a counter's; three or four harmonics; and only where none of them
  fits, each of the 24 hours by itself.
- Of a baseline of two weeks or more: a level of its own for one kind of days, such as those without work, or for each
  of the seven; and a profile of its own for each kind, where theirs differ.

All aspects of a column have one season, chosen by the one that shows it most plainly: what moves one moves the others.
Steps are found one by one, each where it leaves least (Scott and Knott, "A cluster analysis method for grouping means
in the analysis of variance", 1974, cut as a regression tree is).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from kedge.monitoring.drift.cells import Floats

DAY_H, WEEK_H = 24, 168
LEAST_DAYS = 2
"""Before that, an hour that differs has been seen once."""
_SHOWS_AT, _LEFT_AT = 0.01, 0.005
"""Significance from which a sine is taken out, though it be small; and from which something is left beside a profile.
A season that is taken out needlessly costs a little power, one that is left in makes false alerts."""
_PLACED_LEFT_AT = {"steps": 0.15, "line": 0.02}
"""Steps are put where they leave least, so that a slope passes for a stair more often than the test says; and so, less
often, are the breaks of a line."""
_MOST_STEPS, _MOST_BREAKS = 4, 2
_LEAST_FREE = 20
_SPLITS = 63
"""Ways to part the seven days in two."""
_NOTHING = 1e-8
"""Of all rows: what is known beforehand."""

Profile = tuple[str, tuple[int, ...]]
"""("harmonics", (how many,)), ("steps", the hours that begin one), ("line", where it breaks), or ("hours", ())."""
NO_PROFILE: Profile = ("harmonics", (0,))
PLACED = ("steps", "line")
"""Those that are put where they leave least, and follow what is no step and no line only roughly."""


@dataclass(frozen=True)
class Season:
    """profiles: of days that are not marked, and of those that are. marked: of the week, counted from Thursday.

    days: whether each day of the week has a level of its own, rather than each of the two kinds.
    """

    profiles: tuple[Profile, ...] = (NO_PROFILE,)
    marked: tuple[bool, ...] = (False,) * 7
    days: bool = False

    def __bool__(self) -> bool:
        return self != NONE

    def whole(self) -> Season:
        """The same with each hour by itself."""
        return replace(self, profiles=(("hours", ()),) * len(self.profiles))

    def columns(self, hours: Floats) -> Floats:
        """The regressors, one row for each of `hours` since 1970; the first is 1 everywhere."""
        day = np.floor(hours % WEEK_H / DAY_H).astype(np.int64)
        is_marked = np.array(self.marked)[day].astype(np.float64)[:, None]
        parts = [np.ones((len(hours), 1))]
        if self.days:
            parts.append(_contrasts(day, 7))
        elif any(self.marked):
            parts.append(is_marked)
        if len(self.profiles) == 1:
            parts.append(_profile(self.profiles[0], hours))
        else:
            one, other = self.profiles
            parts += [_profile(one, hours) * (1 - is_marked), _profile(other, hours) * is_marked]
        return np.hstack(parts)

    def groups(self) -> list[Group]:
        """What was taken in because it showed."""
        found: list[Group] = []
        at = 1
        if any(self.marked):
            width = 6 if self.days else 1
            found.append(Group(np.arange(at, at + width), _SPLITS, np.eye(width)))
            at += width
        for kind, numbers in self.profiles:
            if kind == "harmonics":
                parts = [(2, 1)] * numbers[0]
            elif kind == "hours":
                parts = [(DAY_H - 1, 1)]
            else:
                parts = [(1, 1)] * (kind == "line") + [(1, DAY_H - 1)] * len(numbers)
            for width, places in parts:
                group = np.arange(at, at + width)
                found.append(Group(group, places, _beyond_two_sines() if kind == "hours" else np.eye(width)))
                at += width
        return found


@dataclass(frozen=True)
class Group:
    """regressors: their places. places: in how many it could have been found.

    shows: what of them showed, as rows of contrasts: of the 24 hours what two sines leave, of others all.
    """

    regressors: NDArray[np.intp]
    places: int
    shows: Floats


def _beyond_two_sines() -> Floats:
    """Contrasts of the regressors of 24 hours, which are orthonormal in hours and to a constant and two sines."""
    hours: Floats = np.arange(DAY_H, dtype=np.float64) + 0.5
    sines = np.hstack([np.ones((DAY_H, 1)), _profile(("harmonics", (2,)), hours)])
    whole, _ = np.linalg.qr(np.hstack([sines, np.eye(DAY_H)]))
    found: Floats = whole[:, sines.shape[1] :].T @ _profile(("hours", ()), hours)
    return found


NONE = Season()


def season_of(means: Floats, rows: Floats, hours: Floats, variances: Floats) -> Season:
    """means: of each block and aspect, shape (blocks, aspects). rows, hours: of each block, its rows and its middle.

    variances: of one row's score of each aspect.
    """
    asked = variances > 0
    if not asked.any() or np.ptp(hours) < LEAST_DAYS * DAY_H - 1:
        return NONE
    left = _Left.of_hours(means[:, asked], rows, hours, variances[asked])
    weekly = bool(np.ptp(hours) >= 2 * WEEK_H - 1)
    marked = _marked(left) if weekly else NONE.marked
    if not any(marked):
        return Season((_simplest(left),))
    apart = left.of_days(marked)
    common = Season((("hours", ()),), marked)
    if left.differs(common, Season((("harmonics", (2,)),) * 2, marked), beside=True) or left.differs(
        common, Season((("hours", ()),) * 2, marked)
    ):
        profiles = tuple(_simplest(each) for each in apart)
    else:
        profiles = (_simplest(left.without(Season(marked=marked))),)
    found = Season(profiles, marked)
    by_day = Season(profiles, marked, days=True)
    return by_day if left.differs(found, by_day) else found


class _Left:
    """What is left of the means of some blocks, and whether one season leaves more of it than another."""

    def __init__(self, means: Floats, rows: Floats, hours: Floats, variances: Floats, blocks: int) -> None:
        self.means, self.rows, self.hours, self.variances, self.blocks = means, rows, hours, variances, blocks

    @classmethod
    def of_hours(cls, means: Floats, rows: Floats, hours: Floats, variances: Floats) -> _Left:
        """Blocks of the same hour of the week are one: no season tells them apart."""
        each, place = np.unique(hours % WEEK_H, return_inverse=True)
        held: Floats = np.bincount(place, rows).astype(np.float64)
        sums = np.column_stack([np.bincount(place, rows * column) for column in means.T])
        means_of = sums / held[:, None]
        free = len(rows) - len(each)
        if free < _LEAST_FREE:
            return cls(means_of, held, each, variances, len(rows))
        # Hours with levels of their own differ by more than rows do, and a season by more than such hours do.
        varies = rows @ np.square(means - means_of[place]) / variances / free
        return cls(means_of, held, each, variances * np.maximum(varies, 1.0), len(rows))

    def of_days(self, marked: tuple[bool, ...]) -> Iterator[_Left]:
        """Of days that are not marked, and of those that are."""
        is_marked: NDArray[np.bool_] = np.array(marked)[np.floor(self.hours % WEEK_H / DAY_H).astype(np.int64)]
        for kept in (~is_marked, is_marked):
            blocks = round(self.blocks * float(kept.mean()))
            yield _Left(self.means[kept], self.rows[kept], self.hours[kept], self.variances, blocks)

    def without(self, season: Season) -> _Left:
        design = season.columns(self.hours)
        coefficients, _ = fit(design, self.means, self.rows)
        around = self.means - design[:, 1:] @ coefficients[1:]
        return _Left(around, self.rows, self.hours, self.variances, self.blocks)

    def squares(self, design: Floats) -> Floats:
        """Of each aspect, in its variances: chi-squared, where the design holds all that there is."""
        coefficients, _ = fit(design, self.means, self.rows)
        found: Floats = self.rows @ np.square(self.means - design @ coefficients) / self.variances
        return found

    def differs(self, less: Season, more: Season, level: float = _LEFT_AT, *, beside: bool = False) -> bool:
        """Whether `more` fits better than `less` by more than chance would. beside: it is added to it."""
        one, two = less.columns(self.hours), more.columns(self.hours)
        if beside:
            two = np.hstack([one, two])
        rank = _rank(two)
        free = rank - _rank(one)
        if free <= 0 or rank > self.blocks // 2:
            return False
        # Aspects of one column are much alike, so not each of them is a test of its own.
        level /= math.sqrt(len(self.variances))
        return bool(special.chdtrc(free, self.squares(one) - self.squares(two)).min() < level)


def _simplest(left: _Left) -> Profile:
    """The profile of the fewest numbers beside which none of the 24 hours shows anything."""
    whole = Season((("hours", ()),))
    found = NO_PROFILE

    def fits(profile: Profile) -> bool:
        return not left.differs(Season((profile,)), whole, _PLACED_LEFT_AT.get(profile[0], _LEFT_AT))

    for wider in (("harmonics", (1,)), ("harmonics", (2,))):
        if left.differs(Season((found,)), Season((wider,)), _SHOWS_AT):
            found = wider
    if fits(found):
        return found
    for candidate in _wider(left):
        if fits(candidate):
            return candidate
    return "hours", ()


def _wider(left: _Left) -> Iterator[Profile]:
    """By how many numbers they have."""
    steps: Profile = ("steps", ())
    line: Profile = ("line", ())
    for count in range(1, _MOST_STEPS + 1):
        steps = _with_a_step(left, steps)
        yield steps
        if count <= _MOST_BREAKS + 1:
            line = line if count == 1 else _with_a_step(left, line)
            yield line
    for count in (3, 4):
        yield "harmonics", (count,)


def _with_a_step(left: _Left, profile: Profile) -> Profile:
    kind, steps = profile

    def remains(hour: int) -> float:
        return float(left.squares(Season(((kind, (*steps, hour)),)).columns(left.hours)).sum())

    best = min((hour for hour in range(1, DAY_H) if hour not in steps), key=remains)
    return kind, tuple(sorted((*steps, best)))


def _marked(left: _Left) -> tuple[bool, ...]:
    """The days of another level, where any are: those below the widest gap between the levels of days, ordered."""
    day = np.floor(left.hours % WEEK_H / DAY_H).astype(np.int64)
    if len(np.unique(day)) < 7:
        return NONE.marked
    hourly = Season((("hours", ()),))
    if not left.differs(hourly, Season(hourly.profiles, days=True)):
        return NONE.marked
    rows = np.bincount(day, left.rows, 7)
    levels = np.array([np.bincount(day, left.rows * each, 7) / rows for each in left.means.T]).T
    plainest = levels[:, (levels.std(axis=0) / np.sqrt(left.variances)).argmax()]
    ordered = np.sort(plainest)
    return tuple(bool(each <= ordered[np.diff(ordered).argmax()]) for each in plainest)


def _profile(profile: Profile, hours: Floats) -> Floats:
    kind, numbers = profile
    hour = np.floor(hours % DAY_H).astype(np.int64)
    if kind == "hours":
        return _contrasts(hour, DAY_H)
    if kind in PLACED:
        slope = [(hour - (DAY_H - 1) / 2) / DAY_H] * (kind == "line")
        return np.column_stack([*slope, *(hour >= number for number in numbers)]).astype(np.float64)
    angle = 2 * np.pi * hours / DAY_H
    waves: list[Callable[[Floats], Floats]] = [np.cos, np.sin]
    turns = [wave(number * angle) for number in range(1, numbers[0] + 1) for wave in waves]
    return np.column_stack(turns) if turns else np.empty((len(hours), 0))


def _rank(design: Floats) -> int:
    """Its cross product has the same."""
    return int(np.linalg.matrix_rank(design.T @ design, hermitian=True))


def _contrasts(places: NDArray[np.int64], count: int) -> Floats:
    """One regressor fewer than there are places; the last is where the others are all -1, so they sum to nothing."""
    table = np.vstack([np.eye(count - 1), -np.ones(count - 1)])
    return table[places]


def fit(design: Floats, means: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(coefficients, inverse of the weighted cross product); of as many columns as `means` has.

    What the blocks say nothing of, such as an hour that none is of, gets a variance that is as good as endless."""
    cross = (design * weights[:, None]).T @ design
    inverse: Floats = np.asarray(np.linalg.inv(cross + _NOTHING * weights.sum() * np.eye(len(cross))), dtype=np.float64)
    return inverse @ (design.T @ (weights[:, None] * means if means.ndim > 1 else weights * means)), inverse
