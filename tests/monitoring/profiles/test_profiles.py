"""Sketches and counts against exact ones: numpy's, scipy's, and whole columns at once."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kedge.monitoring.data_quality import distances, statistics_file
from kedge.monitoring.profiles import moments
from kedge.monitoring.profiles.column import Column
from kedge.monitoring.profiles.kll import SIZE, Kll
from kedge.monitoring.profiles.profile import Profile, capacity
from kedge.monitoring.profiles.tally import Tally
from tests.monitoring.values import SHAPES

ERROR = 0.003


def exact(values, at):
    return np.searchsorted(np.sort(values), at, side="right") / len(values)


def column_of(values, pieces: int = 1) -> Column:
    made = Column()
    for part in np.array_split(np.asarray(values), pieces):
        made.add(pl.Series(part))
    return made


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_ranks_are_within_the_stated_error(shape, pieces):
    values = SHAPES[shape](np.random.default_rng(11), 200_000)
    sketch = column_of(values, pieces).sketch
    at = np.unique(np.quantile(values, np.linspace(0, 1, 501)))
    assert sketch.count == len(values)
    assert int(sketch.weighted()[1].sum()) == len(values)
    assert np.abs(sketch.shares(at) - exact(values, at)).max() <= ERROR
    assert sum(map(len, sketch.levels)) < 4 * SIZE


def test_thinning_stays_within_the_stated_error_also_where_rows_take_turns():
    rng = np.random.default_rng(5)
    values = rng.normal(size=2_000_000)
    values[::2] += 3  # two devices whose rows alternate
    made = column_of(values, 40)
    at = np.quantile(values[:200_000], np.linspace(0.01, 0.99, 99))
    assert made.sketch.count == len(values)
    assert np.abs(made.sketch.shares(at) - exact(values, at)).max() <= ERROR
    assert made.moments.mean == pytest.approx(values.mean())


@pytest.mark.parametrize("shape", SHAPES)
def test_merged_parts_are_as_the_whole(shape):
    values = SHAPES[shape](np.random.default_rng(2), 300_000)
    whole, merged = column_of(values), Column()
    for part in np.array_split(values, 6):
        merged.merge(column_of(part))
    assert merged.kinds == whole.kinds
    assert merged.moments.count == whole.moments.count
    assert merged.moments.mean == pytest.approx(whole.moments.mean, rel=1e-9, abs=1e-9)
    assert merged.moments.deviation == pytest.approx(whole.moments.deviation, rel=1e-9)
    assert distances.of_numbers(whole.sketch, merged.sketch) <= 2 * ERROR
    assert merged.distinct == whole.distinct
    assert merged.tally.counts == whole.tally.counts


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(1, 5))
def test_few_values_are_all_kept(values, pieces):
    made = column_of(values, min(pieces, len(values)))
    assert np.array_equal(np.sort(np.concatenate(made.sketch.levels)), np.sort(values))
    assert made.moments.deviation == pytest.approx(np.std(values), abs=1e-6)
    assert made.moments.total == pytest.approx(np.sum(values), abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=300), st.integers(1, 20), st.integers(1, 6))
def test_a_tally_errs_only_by_what_it_says(numbers, size, parts):
    tally, true = Tally(size), Counter(map(float, numbers))
    for part in np.array_split(np.array(numbers, dtype=float), parts):
        one = Tally(size)
        uniques, counts = np.unique(part, return_counts=True)
        if len(uniques):
            one.add(
                counts,
                lambda where, u=uniques: (u if where is None else u[where]).tolist(),
                lambda u=uniques: u.view(np.uint64),
            )
        tally.merge(one)
    assert len(tally.counts) <= size
    assert tally.lost <= len(numbers) / (size + 1)
    for value, count in true.items():
        assert count - tally.lost <= tally.counts.get(value, 0) <= count
    if len(true) <= size:
        assert tally.exact
        assert tally.distinct() == len(true)


@pytest.mark.parametrize(
    ("count", "texts"), [(100, True), (100, False), (2_048, False), (5_000, True), (60_000, True), (1_000_000, True)]
)
def test_different_values_are_counted_within_the_stated_error(count, texts):
    column = Column()
    for start in range(0, count, 50_000):
        numbers = np.arange(start, min(start + 50_000, count))
        column.add(pl.Series(numbers).cast(pl.String) + "x" if texts else pl.Series(numbers * 1.5))
    assert column.distinct[0] == pytest.approx(count, rel=0.05)
    assert column.distinct[1] == (count <= 2_048)


@pytest.mark.parametrize("merging", [False, True])
def test_numbers_that_only_the_sketch_knows_are_counted_once_a_text_comes(merging):
    rng = np.random.default_rng(4)
    numbers = np.where(rng.random(100_000) < 0.3, 7.5, rng.normal(size=100_000))
    column, texts = column_of(numbers, 3), pl.Series(["n/a"] * 5_000 + ["7.5"] * 1_000)
    assert column.distinct == (2_049.0, False)
    assert not column.tally.counts
    if merging:
        other = Column()
        other.add(texts)
        column.merge(other)
    else:
        column.add(texts)
    counts = dict(column.tally.top(2))
    want = np.count_nonzero(numbers == 7.5) + 1_000
    assert abs(counts[7.5] - want) <= column.tally.lost + ERROR * 100_000
    assert counts["n/a"] >= 5_000 - column.tally.lost
    assert column.distinct[0] > 2_048


def test_columns_of_many_numbers_merge_into_one_that_the_sketch_knows():
    one, other = column_of(np.arange(2_000)), column_of(np.arange(1_000, 9_000))
    one.merge(other)
    assert one.distinct == (2_049.0, False)
    assert not one.tally.counts
    one.merge(column_of(np.arange(5)))
    assert not one.tally.counts
    assert one.sketch.count == 10_005


@pytest.mark.parametrize(("delta", "n"), [(0.0, 300), (0.25, 1_000), (0.5, 20_000)])
def test_the_distance_of_numbers_is_that_of_kolmogorov_and_smirnov(delta, n):
    rng = np.random.default_rng(9)
    baseline, current = rng.normal(size=20_000), rng.normal(delta, size=n)
    found = distances.of_numbers(column_of(baseline, 4).sketch, column_of(current).sketch)
    assert found == pytest.approx(stats.ks_2samp(baseline, current).statistic, abs=ERROR)


def test_ties_do_not_make_a_distance():
    values = np.repeat([0.0, 1.0, 2.0], [500, 300, 200])
    assert distances.of_numbers(column_of(values).sketch, column_of(np.tile(values, 50)).sketch) <= ERROR


def test_robust_takes_off_chance():
    assert distances.robust(0.1, 100, 10_000) == 0
    assert distances.robust(0.3, 1000, 1000) == pytest.approx(0.3 - 1.8 * (2 / 1000) ** 0.5)


def test_shares_differ_by_the_largest_of_any_value():
    assert distances.of_shares({"a": 50, "b": 50}, {"a": 10, "b": 80, "c": 10}) == pytest.approx(0.4)


def test_chi_squared_is_scipys_and_joins_rare_values():
    baseline, current = {"a": 600, "b": 300, "c": 100}, {"a": 55, "b": 33, "c": 12, "new": 40}
    want = stats.chisquare([55, 33, 12], [60, 30, 10])
    found = distances.chi_squared(baseline, current)
    assert found is not None
    assert found.statistic == pytest.approx(want.statistic)
    assert found.p_value == pytest.approx(want.pvalue)
    rare = distances.chi_squared({"a": 900, "b": 60, "c": 40}, {"a": 90, "b": 10, "c": 0})
    assert rare is not None
    assert rare.statistic == pytest.approx(stats.chisquare([90, 10], [90, 10]).statistic)
    assert distances.chi_squared({"a": 1000, "b": 1}, {"a": 50}) is None
    assert distances.chi_squared({"a": 1000}, {"z": 50}) is None


def test_moments_of_nearly_equal_large_numbers_do_not_cancel():
    values = 1e9 + np.random.default_rng(1).normal(size=10_000)
    parts = [moments.of(part) for part in np.array_split(values, 9)]
    found = moments.Moments()
    for part in parts:
        found = moments.merged(found, part)
    assert found.deviation == pytest.approx(values.std(), rel=1e-7)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.lists(st.integers(1, 20_000), min_size=2, max_size=6),
    st.integers(0, 2**31),
    st.randoms(use_true_random=False),
)
def test_however_parts_are_merged_a_rank_is_within_the_stated_error(shape, sizes, seed, order):
    values = SHAPES[shape](np.random.default_rng(seed), sum(sizes))
    sketches = [column_of(part).sketch for part in np.split(values, np.cumsum(sizes)[:-1])]
    order.shuffle(sketches)
    while len(sketches) > 1:  # as a tree, or a chain, or anything between
        one = sketches.pop(order.randrange(len(sketches)))
        sketches[order.randrange(len(sketches))].merge(one)
    (merged,) = sketches
    at = np.unique(np.quantile(values, np.linspace(0, 1, 101)))
    assert merged.count == len(values)
    assert np.abs(merged.shares(at) - exact(values, at)).max() <= ERROR


@pytest.mark.parametrize("n", [1, 100, 2_048, 5_000, 400_000])
def test_a_reader_that_knows_the_published_layout_alone_reads_the_sketch(n):
    """Levels of items that stand for 2 to the level rows each; a level holds no more than k times c to its depth."""
    values = np.random.default_rng(n).lognormal(size=n)
    profile = Profile()
    profile.rows = n
    for part in np.array_split(values, 1 + n // 50_000):
        profile.column("x").add(pl.Series(part))
    held = json.loads(json.dumps(statistics_file.statistics(profile)))["features"][0]["numerical_statistics"]
    sketch = held["distribution"]["kll"]["sketch"]
    k, c, levels = sketch["parameters"]["k"], sketch["parameters"]["c"], sketch["data"]
    weighted = sorted((item, 2**level) for level, items in enumerate(levels) for item in items)
    assert sum(weight for _, weight in weighted) == n
    assert sum(map(len, levels)) <= sum(max(8, math.ceil(k * c**depth)) for depth in range(len(levels)))
    for quantile in (0.01, 0.25, 0.5, 0.75, 0.99):
        at = float(np.quantile(values, quantile))
        assert sum(weight for item, weight in weighted if item <= at) / n == pytest.approx(
            float(exact(values, at)), abs=ERROR
        )
    buckets = held["distribution"]["kll"]["buckets"]
    assert [buckets[0]["lower_bound"], buckets[-1]["upper_bound"]] == [held["min"], held["max"]]
    assert sum(each["count"] for each in buckets) == pytest.approx(n)


def test_a_sketch_does_not_take_what_is_no_number():
    with pytest.raises(ValueError, match="not a finite number"):
        Kll.of_levels([[1.0, float("inf")]])
    with pytest.raises(ValueError, match="empty sketch"):
        Kll().shares(np.array([1.0]))


def test_profiles_merge_where_columns_differ():
    one, other = Profile(), Profile()
    one.rows, other.rows = 3, 2
    one.column("a").add(pl.Series([1, 2, 3]))
    other.column("b").add(pl.Series(["x", None]))
    one.merge(other)
    assert one.rows == 5
    assert (one.missing("a"), one.missing("b")) == (2, 4)
    assert capacity(1) > capacity(10_000)
