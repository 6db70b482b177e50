"""Effects in a column's own terms."""

from __future__ import annotations

import numpy as np
import pytest

from kedge.monitoring.drift import baseline, cells
from kedge.monitoring.drift.telling import was_and_is

RANDOM = np.random.default_rng(1)
AGE = baseline.column(RANDOM.normal(40, 10, 50_000))
PLAN = baseline.column(RANDOM.choice(["basic", "plus"], 50_000, p=[0.9, 0.1]), kind="categorical")


def ages(values: np.ndarray) -> np.ndarray:
    assert isinstance(AGE.cells, cells.Numeric)
    return cells.counted(AGE.cells, values)


@pytest.mark.parametrize("aspect", ["shift", "centre"])
def test_the_middle_of_numbers(aspect: str) -> None:
    was, now = was_and_is(AGE, ages(RANDOM.normal(46, 10, 50_000)), aspect).split(" -> ")
    assert (float(was), float(now)) == (pytest.approx(40, abs=0.5), pytest.approx(46, abs=0.7))
    assert was_and_is(AGE, ages(np.full(10, 500.0)), aspect).endswith("-> above " + f"{AGE.cells.uppers[-1]:.4g}")  # type: ignore[union-attr]
    assert was_and_is(AGE, ages(np.full(10, np.nan)), aspect).endswith("-> none")


def test_the_mean_of_numbers() -> None:
    assert isinstance(AGE.cells, cells.Numeric)
    was, now = was_and_is(AGE, ages(RANDOM.normal(46, 10, 50_000)), "value").removeprefix("mean ").split(" -> ")
    assert (float(was), float(now)) == (pytest.approx(40, abs=0.2), pytest.approx(46, abs=0.4))
    assert was_and_is(AGE, ages(np.full(10, np.nan)), "value").endswith("-> none")


def test_shares_above_a_bound_of_a_level_and_of_what_is_missing() -> None:
    wide = ages(RANDOM.normal(40, 20, 50_000))
    above = next(name for name in AGE.aspects.names if name.startswith("above 0.8"))
    bound, was, now = was_and_is(AGE, wide, above).replace(": ", " -> ").split(" -> ")
    assert float(bound.removeprefix("above ")) == pytest.approx(50.4, abs=1)
    assert float(was[:-1]) == pytest.approx(15, abs=1)
    assert float(now[:-1]) == pytest.approx(30, abs=2)
    assert isinstance(PLAN.cells, cells.Categorical)
    counts = cells.tallied(PLAN.cells, {"basic": 60, "plus": 20, "pro": 20}, 100)
    assert was_and_is(PLAN, counts, "level basic").endswith("% -> 60.0%")
    assert was_and_is(PLAN, counts, "level other") == "0.0% -> 20.0%"
    assert was_and_is(PLAN, counts, "missing") == "0.0% -> 50.0%"
