"""A minute's sketch: what it says of ranks and levels beside the rows themselves, and on its way through bytes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.monitoring.drift import baseline, cells
from kedge.monitoring.live import sketch
from kedge.monitoring.live.minutes import Minutes
from kedge.monitoring.live.sketch import BadSketch, Minute, Sketched
from kedge.monitoring.profiles.profiling import profiled
from kedge.monitoring.reading.pieces import Piece, Values

MINUTE = 29_000_000


def minute(**columns: pl.Series) -> Minute:
    rows = max(map(len, columns.values()))
    return sketch.of(MINUTE, profiled([Piece(rows, {name: Values(each) for name, each in columns.items()})], cores=1))


@pytest.mark.parametrize("rows", [1, 500, 20_000])
@pytest.mark.parametrize("draw", ["normal", "mostly zero", "cauchy", "integers"])
def test_ranks_are_right_within_a_thousandth(rows: int, draw: str) -> None:
    random = np.random.default_rng(rows)
    values = {
        "normal": random.normal(size=rows),
        "mostly zero": np.where(random.random(rows) < 0.9, 0.0, random.random(rows)),
        "cauchy": random.standard_cauchy(rows),
        "integers": random.integers(0, 50, rows).astype(np.float64),
    }[draw]
    found = minute(x=pl.Series(values)).columns["x"]
    assert len(found.values) <= sketch.MOST_POINTS
    assert found.weights.sum() == pytest.approx(rows)
    for at in np.quantile(values, [0.01, 0.1, 0.5, 0.9, 0.99]):
        share = found.weights[found.values <= at].sum() / rows
        assert share == pytest.approx((values <= at).mean(), abs=0.0011 + (0.002 if rows > 2048 else 0))


@given(st.lists(st.one_of(st.none(), st.floats(-5, 5), st.integers(-3, 3).map(float)), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_few_values_are_counted_as_rows_are(values: list[float | None]) -> None:
    rows = np.array([np.nan if each is None else each for each in values])
    column = baseline.column(np.random.default_rng(1).normal(size=5000))
    assert isinstance(column.cells, cells.Numeric)
    counts = sketch.counts(minute(x=pl.Series(rows)), {"x": column}, ["x"])["x"]
    assert counts.tolist() == cells.counted(column.cells, rows).tolist()


def test_texts_numbers_and_what_is_missing_have_their_cells() -> None:
    random = np.random.default_rng(3)
    plan = baseline.column(random.choice(["a", "b", "7"], 1000), kind="categorical")
    age = baseline.column(random.normal(size=1000))
    whole = minute(plan=pl.Series(["a", "7", None, "z"]), age=pl.Series(["1.5", "old", None, "2"]))
    known = {"plan": plan, "age": age, "gone": age}
    counts = sketch.counts(whole, known, list(known))
    assert isinstance(plan.cells, cells.Categorical)
    by_level = dict(zip([*plan.cells.levels, "rare", "missing"], counts["plan"].tolist(), strict=True))
    assert by_level == {"a": 1, "b": 0, "7": 1, "rare": 1, "missing": 1}
    assert counts["age"][-1] == 2
    assert counts["gone"].tolist() == [0.0] * age.cells.count + [4.0]


def test_ten_thousand_levels_are_rare_together_and_take_little() -> None:
    random = np.random.default_rng(4)
    ids = pl.Series([f"user-{number}" for number in random.integers(0, 10**9, 10_000)])
    plan = baseline.column(random.choice(["a", "b"], 1000), kind="categorical")
    found = minute(plan=ids)
    assert len(found.columns["plan"].levels) <= sketch.MOST_LEVELS
    assert len(sketch.written(found)) < 8_000
    assert sketch.counts(found, {"plan": plan}, ["plan"])["plan"].tolist() == [0.0, 0.0, 10_000.0, 0.0]


def test_what_has_no_name_gets_the_baselines_in_order() -> None:
    one = Sketched(0.0, np.empty(0), np.empty(0), {})
    names = ["score", "age", "plan"]
    assert list(sketch.called(dict.fromkeys(["_c0", "_c1", "_c2", "_c3"], one), names)) == [*names, "_c3"]
    assert list(sketch.called(dict.fromkeys(["_c0", "age", "plan"], one), names)) == ["score", "age", "plan"]
    assert list(sketch.called({"_c0": one}, ["_c1", "_c0"])) == ["_c0"]


def test_it_goes_through_bytes_and_what_is_none_is_refused() -> None:
    before = minute(x=pl.Series([1.0, 2.5, None]), plan=pl.Series(["é", "b", "b"]))
    after = sketch.read(sketch.written(before))
    assert (after.minute, after.rows, list(after.columns)) == (MINUTE, 3, ["x", "plan"])
    assert after.columns["x"].values.tolist() == [1.0, 2.5]
    assert after.columns["plan"].levels == {"b": 2.0, "é": 1.0}
    empty = sketch.read(sketch.written(Minute(MINUTE, 5, {})))
    assert (empty.rows, dict(empty.columns)) == (5, {})
    for data in (b"", b"no", sketch.written(before)[:-3], sketch.written(before)[4:]):
        with pytest.raises(BadSketch):
            sketch.read(data)


def test_parts_of_minutes_make_windows() -> None:
    random = np.random.default_rng(5)
    minutes = Minutes({"x": baseline.column(random.random(2000))}, ["x"])
    for at in (0, 1, 1):
        minutes.add_sketch(sketch.of(MINUTE + at, profiled([Piece(100, {"x": Values(pl.Series(random.random(100)))})])))
    assert minutes.windows(MINUTE, 2, 1)["x"].sum(axis=1).tolist() == [100, 200]
    assert minutes.windows(MINUTE, 1, 2)["x"].sum() == 300
    minutes.forget_from(MINUTE + 1)
    assert minutes.windows(MINUTE, 2, 1)["x"].sum(axis=1).tolist() == [100, 0]
