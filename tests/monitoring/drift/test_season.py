"""Which season a column has, and in how few numbers it is told."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kedge.monitoring.drift import baseline, cells, judging
from kedge.monitoring.drift.cells import Floats
from kedge.monitoring.drift.season import NONE, Season, season_of

START_H = 24.0 * 7 * 2900
HOURS = START_H + np.arange(336) + 0.5
ROWS = np.full(336, 60.0)


def office(hours: Floats) -> Floats:
    hour, day = np.floor(hours % 24), np.floor(hours / 24) % 7
    return np.where((hour >= 9) & (hour < 17) & (day < 5), 0.8, 0.0)


def found(level: Callable[[Floats], Floats], seed: int = 1, hours: int = 336) -> Season:
    noise = np.random.default_rng(seed).standard_normal(hours) / np.sqrt(60)
    return season_of((level(HOURS[:hours]) + noise)[:, None], ROWS[:hours], HOURS[:hours], np.ones(1))


@pytest.mark.parametrize("seed", range(5))
def test_what_has_none_gets_at_most_a_small_one(seed: int) -> None:
    assert found(np.zeros_like, seed).columns(HOURS).shape[1] <= 5


def test_a_sine_costs_few_numbers() -> None:
    season = found(lambda hours: 0.7 * np.sin(2 * np.pi * hours / 24))
    assert season.columns(HOURS).shape[1] <= 5
    assert season.profiles[0][0] == "harmonics"


def test_office_hours_are_two_steps_on_days_of_one_kind() -> None:
    season = found(office)
    assert ("steps", (9, 17)) in season.profiles
    assert sum(season.marked) in (2, 5)
    assert season.columns(HOURS).shape[1] <= 8


@pytest.mark.parametrize(("begins", "breaks"), [(0, ()), (6, (6,))])
def test_what_rises_through_the_day_and_begins_anew_is_a_line(begins: int, breaks: tuple[int, ...]) -> None:
    season = found(lambda hours: np.floor((hours - begins) % 24) / 24)
    assert season.profiles == (("line", breaks),)
    assert season.columns(HOURS).shape[1] == 2 + len(breaks)


def test_hours_that_no_few_numbers_tell_stand_by_themselves() -> None:
    levels = np.random.default_rng(3).standard_normal(24)
    season = found(lambda hours: levels[np.floor(hours % 24).astype(int)])
    assert season.profiles == (("hours", ()),)


def test_hours_by_themselves_leave_nothing_that_varies_more_than_rows() -> None:
    varies = 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        times_h = START_H + np.arange(336 * 60) // 60
        level = 0.5 * random.standard_normal(24)[np.floor(times_h % 24).astype(int)]
        column = baseline.column(level + random.standard_normal(len(times_h)), 3600.0 * times_h)
        assert column.usual.season.profiles == (("hours", ()),)
        varies += bool(column.usual.excess.any())
    assert varies <= 1


def test_what_a_season_is_told_too_smoothly_in_is_error() -> None:
    """Daylight has corners at six and at eighteen, which two sines cut by a tenth of a deviation."""

    def daylight(hours: Floats) -> Floats:
        return np.maximum(np.sin(2 * np.pi * (np.floor(hours) - 6) / 24), 0.0)

    later, corners = START_H + 336 + np.arange(24.0), [6, 18]
    cut: list[float] = []
    for seed in range(24):
        random = np.random.default_rng(seed)
        times_h = START_H + np.arange(336 * 60) // 60
        column = baseline.column(daylight(times_h) + random.standard_normal(len(times_h)), 3600.0 * times_h)
        assert isinstance(column.cells, cells.Numeric)
        if column.usual.season.profiles != (("harmonics", (2,)),):
            continue
        many = daylight(np.repeat(later, 5_000)) + random.standard_normal(5_000 * 24)
        means, _ = column.aspects.means(np.array([cells.counted(column.cells, each) for each in many.reshape(24, -1)]))
        regressors = column.usual.regressors(later + 0.5, 24)
        apart = np.abs(means - column.usual.expected(regressors))[corners, 0]
        errors = np.sqrt(column.usual.spread(regressors) + 1 / 1_000)[corners, 0]
        cut.extend(apart / errors)
    assert len(cut) >= 4, "two sines are found to fit in some"
    assert np.mean(cut) < 2.6, "of two sines alone it is 3.2"


def test_one_day_has_no_season() -> None:
    assert found(lambda hours: np.sin(2 * np.pi * hours / 24), hours=24) == NONE


@pytest.mark.parametrize("level", [np.zeros_like, office, lambda hours: np.sin(2 * np.pi * hours / 24)])
def test_what_is_expected_of_an_hour_is_near_what_it_is(level: Callable[[Floats], Floats]) -> None:
    random = np.random.default_rng(2)
    times_h = START_H + np.arange(336 * 60) // 60
    column = baseline.column(level(times_h + 0.5) + random.standard_normal(len(times_h)), 3600.0 * times_h)
    later = HOURS + 336
    regressors = column.usual.regressors(later, len(later))
    many = level(np.repeat(later, 500)) + random.standard_normal(500 * len(later))
    assert isinstance(column.cells, cells.Numeric)
    means, _ = column.aspects.means(np.array([cells.counted(column.cells, each) for each in many.reshape(-1, 500)]))
    apart = (means - column.usual.expected(regressors))[:, 0]
    errors = np.sqrt(column.usual.variance(regressors) / 500 + column.usual.spread(regressors))[:, 0]
    assert np.abs(apart / errors).max() < 5
    assert 0.8 < (apart / errors).std() < 1.3


def test_hours_that_the_baseline_never_saw_are_not_judged() -> None:
    random = np.random.default_rng(4)
    times_h = np.array([hour for hour in START_H + np.arange(336) if 8 <= hour % 24 < 20]).repeat(120)
    levels = random.standard_normal(24)
    column = baseline.column(levels[(times_h % 24).astype(int)] + random.standard_normal(len(times_h)), 3600 * times_h)
    seen, unseen = (column.usual.regressors(START_H + 336 + np.array([hour]) + 0.5, 1) for hour in (9.0, 3.0))
    assert column.usual.spread(seen)[0, 0] < 0.01
    assert column.usual.spread(unseen)[0, 0] > 1


def test_a_baseline_without_times_takes_its_season_from_windows_and_keeps_its_level() -> None:
    random = np.random.default_rng(6)
    hours = START_H + np.arange(336)

    def windows(at: Floats, shift: float = 0.0) -> Floats:
        assert isinstance(column.cells, cells.Numeric)
        level = np.sin(2 * np.pi * (at + 0.5) / 24) + shift
        return np.array([cells.counted(column.cells, each + random.standard_normal(1_000)) for each in level])

    shuffled = np.sin(2 * np.pi * random.random(20_000)) + random.standard_normal(20_000)
    column = baseline.column(shuffled)
    later, starts_s = hours + 336, 3600.0 * (hours + 336)
    settings = judging.Settings()
    assert judging.alerting(column, windows(later), 50, starts_s, settings).any()
    for shift in (0.0, 0.1):  # though the windows that it was learnt from were shifted a little already
        known = baseline.seasoned(column, windows(hours, shift), 3600.0 * hours)
        assert known.usual.season
        assert not judging.alerting(known, windows(later), 50, starts_s, settings).any()
        assert judging.alerting(known, windows(later[:24], 0.5), 50, starts_s[:24], settings).all()


@pytest.mark.parametrize(("again", "wanted"), [(0.0, 1.0), (0.5, 3.0), (0.7, 5.67)])
def test_rows_that_repeat_the_one_before_tell_less(again: float, wanted: float) -> None:
    random = np.random.default_rng(1)
    place = np.arange(20_000)
    place[1:][random.random(19_999) < again] = 0
    place = np.maximum.accumulate(place)
    assert baseline.repeating(random.standard_normal(20_000)[place]) == pytest.approx(wanted, rel=0.1)
    assert baseline.repeating(random.poisson(2, 20_000).astype(float)[place]) == pytest.approx(wanted, rel=0.15)


def test_a_shift_of_rows_that_repeat_is_seen_within_a_day_and_none_without_it() -> None:
    random = np.random.default_rng(5)

    def rows(count: int) -> Floats:
        place = np.arange(count)
        place[1:][random.random(count - 1) < 0.7] = 0
        return random.standard_normal(count)[np.maximum.accumulate(place)]

    column = baseline.column(rows(336 * 60), 3600.0 * (START_H + np.arange(336 * 60) // 60))
    assert isinstance(column.cells, cells.Numeric)
    for shift, alerts in ((0.0, False), (0.25, True)):
        counts = np.array([cells.counted(column.cells, rows(1_000) + shift) for _ in range(24)])
        starts_s = 3600.0 * (START_H + 336 + np.arange(24))
        assert judging.alerting(column, counts, 50, starts_s, judging.Settings()).any() == alerts


def baseline_of(random: np.random.Generator, amplitude: float) -> baseline.Column:
    hours = np.arange(14 * 24 * 60) // 60
    return baseline.column(
        amplitude * np.sin(2 * np.pi * hours / 24) + random.standard_normal(len(hours)), hours * 3600.0
    )


def test_a_season_that_may_be_chance_is_error_where_it_is_far_from_none() -> None:
    hours = np.arange(24) + 0.5
    found = 0
    for seed in range(40):
        column = baseline_of(np.random.default_rng(seed), 0.0)
        usual = column.usual
        if not usual.season:
            continue
        found += 1
        regressors = usual.regressors(hours, 24)
        away = usual.expected(regressors)[:, 0] - usual.expected(usual.typical[None, :])[0, 0]
        spread = usual.spread(regressors)[:, 0]
        assert (spread >= 0.4 * away**2).all()
        assert spread.max() > 3 / column.counts.sum()
    assert found >= 1, "what is looked for in 40 columns shows in some"


def test_a_season_that_is_plain_costs_no_more_than_its_numbers() -> None:
    column = baseline_of(np.random.default_rng(2), 0.5)
    usual = column.usual
    assert usual.season.profiles[0][0] == "harmonics"
    spread = usual.spread(usual.regressors(np.arange(24) + 0.5, 24))[:, 0]
    assert spread.max() < 1.5 * (1 + 2 * usual.season.profiles[0][1][0]) / column.counts.sum()
