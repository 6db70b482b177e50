from __future__ import annotations

import json
import math
import random
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.metrics.anomaly import DAY_S, HOUR_S, WEEK_S, Habits, Model, fit

MONDAY = 1_772_409_600  # 2026-03-02 00:00 UTC
PERIOD_S = 300
PLAIN = Habits(UTC)


def history(days: float, of: Any, *, start: int = MONDAY, noise: float = 1.0, seed: int = 1) -> list[tuple[int, float]]:
    draw = random.Random(seed)
    times = range(start, start + int(days * DAY_S), PERIOD_S)
    return [(at, of(at) + draw.gauss(0, noise)) for at in times]


def daily(at: int) -> float:
    return 100 + 40 * math.sin(at % DAY_S / DAY_S * 2 * math.pi)


def weekly(at: int) -> float:
    """Half of it at the weekend."""
    return daily(at) * (0.5 if (at - MONDAY) % WEEK_S >= 5 * DAY_S else 1)


def fitted(points: list[tuple[int, float]], habits: Habits = PLAIN) -> Model:
    model = fit(points, PERIOD_S, habits)
    assert model is not None
    return model


def share_inside(model: Model, points: list[tuple[int, float]], deviations: float, habits: Habits = PLAIN) -> float:
    bands = [model.band(at, habits.zone, deviations) for at, _ in points]
    inside = [low <= value <= high for (low, high), (_, value) in zip(bands, points, strict=True)]
    return sum(inside) / len(inside)


@pytest.mark.parametrize(
    ("days", "of", "season"),
    [(14, weekly, "hour of the week"), (5, daily, "hour of the day"), (0.5, lambda at: 50, "none")],
)
def test_what_comes_next_is_inside_the_band_and_what_is_not_normal_is_outside(days, of, season):
    model = fitted(history(days, of, noise=3))
    assert model.season == season
    after = history(1, of, start=MONDAY + int(days * DAY_S), noise=3, seed=2)
    assert share_inside(model, after, 3) > 0.95
    assert share_inside(model, after, 0.5) < 0.75
    assert share_inside(model, [(at, value + 25) for at, value in after], 3) < 0.05


def test_two_deviations_hold_as_many_as_they_should():
    """95 % of a normal distribution; the straight line between hours and the few days cost and give a little."""
    model = fitted(history(14, lambda at: 100, noise=5))
    assert 0.90 < share_inside(model, history(1, lambda at: 100, start=MONDAY + 14 * DAY_S, noise=5, seed=3), 2) < 0.99


def test_an_outage_neither_moves_nor_widens_the_band():
    whole = history(14, weekly, noise=2)
    outage = MONDAY + 3 * DAY_S, MONDAY + 3 * DAY_S + 6 * HOUR_S
    broken = [(at, 0.0 if outage[0] <= at < outage[1] else value) for at, value in whole]
    good, strict = fitted(whole), fitted(broken, Habits(UTC, filtering="STRICT"))
    for at in range(MONDAY + 10 * DAY_S, MONDAY + 11 * DAY_S, HOUR_S):
        if not outage[0] - HOUR_S <= at - WEEK_S < outage[1] + HOUR_S:
            assert strict.band(at, UTC, 2) == pytest.approx(good.band(at, UTC, 2), abs=3)
    noon = outage[0] + WEEK_S + 3 * HOUR_S
    without = fitted(broken, Habits(UTC, excluded=[outage])).band(noon, UTC, 2)
    assert without == pytest.approx(good.band(noon, UTC, 2), abs=6)
    assert fitted(broken).band(noon, UTC, 2)[0] < without[0] - 10


def test_seasons_move_with_daylight_saving_time():
    """In Berlin clocks go forward on 2026-03-29; the shop still opens at nine."""
    berlin = ZoneInfo("Europe/Berlin")
    start = MONDAY + 2 * WEEK_S - DAY_S
    assert start < 1_774_746_000  # the change

    def opening(at: int) -> float:
        return 100.0 if 9 <= (at + HOUR_S) % DAY_S / HOUR_S < 18 else 10.0

    points = history(13, opening, start=start, noise=1)
    half_past_nine = MONDAY + 5 * WEEK_S + 7 * HOUR_S + 1800  # after the change: two hours before UTC
    assert fitted(points, Habits(berlin)).band(half_past_nine, berlin, 2)[0] > 80
    assert fitted(points, Habits(UTC)).band(half_past_nine, UTC, 2)[1] < 40


def test_how_fast_a_new_level_becomes_normal():
    points = [(at, value + (60 if at >= MONDAY + 13 * DAY_S else 0)) for at, value in history(14, daily, noise=1)]
    at = MONDAY + 14 * DAY_S + HOUR_S * 6
    centers = {
        speed: sum(fitted(points, Habits(UTC, adaptation=speed)).band(at, UTC, 1)) / 2
        for speed in ("FAST", "NORMAL", "SLOW")
    }
    assert centers["FAST"] > centers["NORMAL"] + 15 > centers["SLOW"] + 30
    assert centers["SLOW"] == pytest.approx(daily(at), abs=5)


def test_spikes_that_come_again_and_again_can_be_normal():
    points = history(14, lambda at: 500.0 if at % HOUR_S == 600 else 10.0, noise=1)
    spike = MONDAY + 14 * DAY_S + 600
    assert fitted(points).band(spike, UTC, 2)[1] < 100
    assert fitted(points, Habits(UTC, has_spikes=True)).band(spike, UTC, 2)[1] > 450
    once = [(at, 500.0 if at == MONDAY + 3 * DAY_S else 10.0 + value % 1) for at, value in history(14, daily)]
    assert fitted(once, Habits(UTC, has_spikes=True)).band(MONDAY + 17 * DAY_S, UTC, 2)[1] < 300


@pytest.mark.parametrize("points", [[], history(0.02, daily), history(1, daily)[:14], [(MONDAY, 1.0)] * 20])
def test_too_little_is_no_model(points):
    assert fit(points, PERIOD_S, PLAIN) is None


def test_all_of_it_excluded_is_no_model():
    assert fit(history(7, daily), PERIOD_S, Habits(UTC, excluded=[(0, MONDAY * 2)])) is None


def test_what_never_varied_has_a_band_all_the_same():
    model = fitted([(at, 50.0) for at, _ in history(3, daily)])
    assert model.band(MONDAY, UTC, 2) == (49.0, 51.0)
    assert fitted([(at, 0.0) for at, _ in history(3, daily)]).band(MONDAY, UTC, 2) == (0.0, 0.0)


def test_what_was_never_negative_has_no_band_below_0():
    points = [(at, max(0.0, value)) for at, value in history(3, lambda at: 1, noise=5)]
    assert fitted(points).band(MONDAY, UTC, 3)[0] == 0
    assert fitted([(at, value - 1) for at, value in points]).band(MONDAY, UTC, 3)[0] < -3


@settings(max_examples=25)
@given(
    st.lists(st.floats(1, 1e6), min_size=20, max_size=60),
    st.floats(0.01, 100),
    st.sampled_from(["FAST", "NORMAL", "SLOW"]),
    st.sampled_from(["MINIMAL", "MODERATE", "STRICT"]),
    st.booleans(),
)
def test_a_model_is_kept_as_json_and_knows_no_unit(values, factor, adaptation, filtering, has_spikes):
    habits = Habits(UTC, (), adaptation, filtering, has_spikes)
    points = [(MONDAY + 3 * HOUR_S * n, value) for n, value in enumerate(values)]
    model, scaled = fitted(points, habits), fitted([(at, value * factor) for at, value in points], habits)
    kept = Model.from_json(json.loads(json.dumps(model.as_json())))
    for at in range(MONDAY, MONDAY + WEEK_S, 5 * HOUR_S):
        low, high = model.band(at, UTC, 2)
        assert low <= high
        assert kept.band(at, UTC, 2) == pytest.approx((low, high), rel=1e-5, abs=1e-5 * max(values))
        want = (low * factor, high * factor)
        assert scaled.band(at, UTC, 2) == pytest.approx(want, rel=1e-6, abs=1e-6 * factor * max(values))
        wider = model.band(at, UTC, 3)
        assert wider[0] <= low
        assert wider[1] >= high
