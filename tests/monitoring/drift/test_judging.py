"""The default alert: what it must not say of columns that did not drift, and what it must of those that did."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal, stats

from kedge.monitoring.drift import baseline, cells, effect, judging, tails
from kedge.monitoring.drift.cells import Floats, Numeric

HOURS = 240
START_H = 24 * 7 * 2900
STARTS_S = 3600.0 * (START_H + np.arange(HOURS))
TIMES_S = 3600.0 * (START_H - 336 + np.arange(336 * 60) // 60)


def season(hours: Floats) -> Floats:
    return np.asarray(np.sin(2 * np.pi * hours / 24))


DRAWS = {
    "normal": lambda r, hours: r.standard_normal(len(hours)),
    "cauchy": lambda r, hours: r.standard_cauchy(len(hours)),
    "mostly zero": lambda r, hours: np.where(r.random(len(hours)) < 0.05, r.exponential(1.0, len(hours)), 0.0),
    "counts": lambda r, hours: r.poisson(3, len(hours)).astype(float),
    "season": lambda r, hours: season(hours) + r.standard_normal(len(hours)),
}


def made(name: str, rows: int, shift: float = 0.0, hours: int = HOURS, seed: int = 1) -> tuple[baseline.Column, Floats]:
    random = np.random.default_rng(seed)
    column = baseline.column(DRAWS[name](random, TIMES_S / 3600), TIMES_S)
    assert isinstance(column.cells, Numeric)
    windows = [DRAWS[name](random, np.full(rows, START_H + hour)) + shift for hour in range(hours)]
    return column, np.array([cells.counted(column.cells, each) for each in windows])


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("rows", [200, 2_000])
def test_ten_days_without_drift_have_no_alert(name: str, rows: int) -> None:
    column, counts = made(name, rows)
    assert not judging.alerting(column, counts, 50, STARTS_S, judging.Settings()).any()


@pytest.mark.parametrize(("name", "sigma"), [("normal", 1.0), ("cauchy", 1.4826), ("counts", 1.73), ("season", 1.22)])
def test_a_shift_of_the_material_size_is_seen_in_its_first_window(name: str, sigma: float) -> None:
    seen = []
    for seed in range(10):
        column, counts = made(name, 1_000, 0.25 * sigma, hours=1, seed=seed)
        seen.append(judging.alerting(column, counts, 50, STARTS_S[:1], judging.Settings())[0])
    assert sum(seen) >= 8


def test_a_shift_that_is_too_small_to_matter_is_significant_and_no_alert() -> None:
    column, counts = made("normal", 100_000, 0.1, hours=2)
    (found,), _ = judging.findings({"x": column}, {"x": counts}, STARTS_S[:2])
    assert found.p < 1e-6
    assert not found.alerts
    assert found.high < 0.25


def test_rows_that_hang_together_are_not_taken_as_independent() -> None:
    random = np.random.default_rng(1)
    steps = random.standard_normal(220_000)
    for place in range(1, len(steps)):
        steps[place] = 0.9 * steps[place - 1] + np.sqrt(1 - 0.81) * steps[place]
    column = baseline.column(steps[:20_000])
    assert isinstance(column.cells, Numeric)
    counts = np.array([cells.counted(column.cells, each) for each in steps[20_000:].reshape(200, 1_000)])
    assert not judging.alerting(column, counts, 50, None, judging.Settings()).any()
    lengths = np.full((1, len(column.aspects.names)), 50.0)
    rows = np.full((1, len(column.aspects.names)), 1_000.0)
    assert column.usual.beyond(lengths, rows)[0][0, 0] > 0.01


def hanging_together(random: np.random.Generator, count: int) -> Floats:
    steps = np.sqrt(1 - 0.81) * random.standard_normal(count)
    return np.asarray(signal.lfilter([1.0], [1.0, -0.9], steps))


def test_fewer_rows_an_hour_than_the_baseline_had_hang_together_as_its_rows_do() -> None:
    random = np.random.default_rng(1)
    hours = np.arange(336 * 4_000) // 4_000
    column = baseline.column(hanging_together(random, len(hours)), 3600.0 * (START_H - 336 + hours))
    assert isinstance(column.cells, Numeric)
    rows = hanging_together(random, HOURS * 200).reshape(HOURS, 200)
    counts = np.array([cells.counted(column.cells, each) for each in rows])
    assert not judging.alerting(column, counts, 50, STARTS_S, judging.Settings()).any()


def test_a_level_that_takes_over_is_found_among_columns_that_did_not_move() -> None:
    random = np.random.default_rng(1)
    levels = np.array(["a", "b", "c"], dtype=object)
    plan = baseline.column(levels[random.choice(3, 20_160, p=[0.6, 0.39, 0.01])], TIMES_S, "categorical")
    assert isinstance(plan.cells, cells.Categorical)
    still, counts = made("normal", 1_000, hours=1)
    new = cells.tallied(plan.cells, {"a": 500, "b": 350, "d": 150})
    ((x, found),) = judging.findings({"x": still, "plan": plan}, {"x": counts, "plan": [new]}, STARTS_S[:1])
    assert not x.alerts
    assert found.alerts
    assert found.aspect == "level other"
    assert found.q < 1e-6
    assert found.severity != "none"


def test_values_that_go_missing_are_seen() -> None:
    column, _ = made("normal", 1_000, hours=1)
    assert isinstance(column.cells, Numeric)
    values = np.random.default_rng(2).standard_normal(1_000)
    values[:100] = np.nan
    ((found,),) = judging.findings({"x": column}, {"x": [cells.counted(column.cells, values)]}, STARTS_S[:1])
    assert found.alerts
    assert found.aspect == "missing"


def test_too_few_rows_are_not_judged() -> None:
    column, counts = made("normal", 150, shift=5.0, hours=1)
    ((found,),) = judging.findings({"x": column}, {"x": counts}, STARTS_S[:1])
    assert (found.alerts, found.p) == (False, 1.0)


@pytest.mark.parametrize(("names", "rows"), [({"y"}, 1), ({"x", "y"}, 1)])
def test_other_columns_than_the_baselines_are_named(names: set[str], rows: int) -> None:
    column, counts = made("normal", 200, hours=rows)
    with pytest.raises(ValueError, match=r"\['(x', 'y|y)'\]"):
        judging.findings({"x": column}, dict.fromkeys(names, counts))


def test_a_baseline_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite value"):
        baseline.column([float("nan")] * 3)
    with pytest.raises(ValueError, match="no value"):
        baseline.column([None], kind="categorical")


@pytest.mark.parametrize(("share", "count"), [(0.01, 12), (0.05, 26), (0.5, 135)])
def test_the_tail_of_a_share_is_near_fishers_exact_one(share: float, count: int) -> None:
    n, m = 200, 20_000
    held = round(m * share)
    exact = stats.hypergeom.sf(count - 1, n + m, held + count, n)
    both = np.array([[1 - (held + count) / (n + m), (held + count) / (n + m)]])
    apart = np.array([count / n - held / m])
    variance = both[0, 0] * both[0, 1] * (1 / n + 1 / m)
    one = np.array([1.0])
    found = tails.probability(
        apart, np.sqrt([variance]), np.array([np.inf]), n * one, m * one, np.array([[0.0, 1.0]]), both, one
    )
    assert found[0] / 2 == pytest.approx(exact, rel=0.15)


def test_the_distance_is_kolmogorovs() -> None:
    random = np.random.default_rng(1)
    one, two = random.poisson(3, 5_000).astype(float), random.poisson(4, 800).astype(float)
    known = cells.numeric(one)
    found = effect.kolmogorov(cells.counted(known, one)[:-1], cells.counted(known, two)[:-1])
    assert found.value == pytest.approx(stats.ks_2samp(one, two).statistic, abs=1e-3)
    assert found.low <= found.value <= found.high


def test_cramers_v_of_equal_shares_is_0_and_of_others_1() -> None:
    assert effect.cramers_v(np.array([300.0, 700.0]), np.array([30.0, 70.0])) == 0
    assert effect.cramers_v(np.array([1000.0, 0.0]), np.array([0.0, 1000.0])) == pytest.approx(1, abs=0.01)
    found = effect.largest_difference(np.array([300.0, 700.0]), np.array([50.0, 50.0]))
    assert found.low < 0.2 < found.high


def test_the_discovery_rate_is_scipys() -> None:
    p = np.random.default_rng(1).random(20) ** 4
    assert tails.adjusted(p) == pytest.approx(stats.false_discovery_control(p, method="by"))


def test_a_change_that_lasts() -> None:
    assert judging.lasting([True, False, True, True, False, False], 2, 3) == [False, False, True, True, True, False]
