from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.metrics.series import DAY_S, Summary, is_period, metric, rounded_start

VALUES = st.lists(st.integers(-1000, 1000).map(float), min_size=1, max_size=50)


def known(summary: Summary) -> tuple[float, float, float, float, list[tuple[float, float]] | None]:
    sketch = summary.sketch
    return (
        summary.count, summary.total, summary.smallest, summary.largest, None if sketch is None else sketch.weighted()
    )  # fmt: skip


def test_a_metric_is_the_same_whatever_the_order_of_its_dimensions():
    one = metric("1", "r", "n", "m", [("b", "2"), ("a", "1")])
    assert one == metric("1", "r", "n", "m", [("a", "1"), ("b", "2")])
    assert one.dimensions == (("a", "1"), ("b", "2"))


@given(VALUES, VALUES)
def test_merging_is_as_if_all_values_had_come_at_once(some: list[float], others: list[float]):
    one, other = Summary.of(some), Summary.of(others)
    before = known(other)
    one.merge(other)
    assert known(one) == known(Summary.of(some + others))
    assert known(other) == before


@given(VALUES)
def test_counts_are_repetitions(values: list[float]):
    different = sorted(set(values))
    counted = Summary.of(different, [float(values.count(value)) for value in different])
    assert known(counted) == known(Summary.of(values))


def test_reading_the_sketch_between_merges_changes_nothing():
    whole = Summary.one(1.0)
    assert known(whole)[4] == [(1.0, 1.0)]
    first_sketch = whole.sketch
    whole.merge(Summary.one(2.0))
    assert known(whole) == (2.0, 3.0, 1.0, 2.0, [(1.0, 1.0), (2.0, 1.0)])
    assert first_sketch is not None
    assert first_sketch.weighted() == [(1.0, 1.0)]


@pytest.mark.parametrize(
    ("given_set", "has_values"),
    [
        ((1, 5, 5, 5), True),
        ((4, 20, 5, 5), True),
        ((3, 0.3, 0.1, 0.1), True),
        ((2, 3, 1, 2), False),
        ((4, 20, 4, 6), False),
    ],
)
def test_the_values_of_a_statistic_set_are_known_when_they_are_all_the_same(
    given_set: tuple[float, float, float, float], has_values: bool
):
    assert Summary.of_set(*given_set).has_values is has_values


def test_a_sketch_over_a_part_of_the_values_is_none():
    for mixed in (Summary.one(1.0), Summary.of_set(2, 3, 1, 2)):
        mixed.merge(Summary.of_set(2, 3, 1, 2))
        mixed.merge(Summary.one(7.0))
        assert mixed.sketch is None
        assert mixed.largest == 7.0


@pytest.mark.parametrize(
    ("summary", "most_bytes"),
    [
        (Summary.one(0.1), 0), (Summary.of([3.0, 3.0]), 33), (Summary.of_set(4, 20, 5, 5), 33),
        (Summary.of_set(3, 6, 1, 3), 33), (Summary.of([1.5, 2.5]), 49), (Summary.of([1.0, 2.0], [7.0, 0.5]), 70),
        (Summary.of([float(n) for n in range(1, 2000)]), 1200),
    ],
)  # fmt: skip
def test_it_is_kept_in_few_bytes(summary: Summary, most_bytes: int):
    packed = summary.packed()
    assert len(packed) <= most_bytes if isinstance(packed, bytes) else not most_bytes
    read = Summary.unpacked(packed)
    assert read.packed() == packed
    assert known(read) == known(summary)


def test_what_was_read_can_be_merged_and_kept_again():
    whole = Summary.unpacked(Summary.of([1.0, 2.0]).packed())
    whole.merge(Summary.unpacked(Summary.of([2.0, 4.0]).packed()))
    whole.merge(Summary.unpacked(8.0))
    assert known(Summary.unpacked(whole.packed())) == (
        5.0,
        17.0,
        1.0,
        8.0,
        [(1.0, 1.0), (2.0, 2.0), (4.0, 1.0), (8.0, 1.0)],
    )
    whole.merge(Summary.unpacked(Summary.of_set(2, 3, 1, 2).packed()))
    assert known(Summary.unpacked(whole.packed())) == (7.0, 20.0, 1.0, 8.0, None)


NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("age_s", "period_s", "want_age_s"),
    [
        (34.5, 60, 60), (34.5, 300, 60), (34.5, 1, 35), (34.5, 5, 35), (37, 10, 40), (37, 20, 40), (37, 30, 60),
        (120, 60, 120), (15 * DAY_S, 60, 15 * DAY_S),
        (15 * DAY_S + 61, 60, 15 * DAY_S + 300), (63 * DAY_S, 60, 63 * DAY_S), (63 * DAY_S + 61, 60, 63 * DAY_S + 3600),
        (63 * DAY_S + 61, 10, 63 * DAY_S + 3600), (20 * DAY_S + 1, 10, 20 * DAY_S + 300),
    ],
)  # fmt: skip
def test_a_start_is_rounded_down_as_its_age_and_period_ask(age_s: float, period_s: int, want_age_s: int):
    assert rounded_start(NOW - age_s, period_s, NOW) == NOW - want_age_s


def test_periods():
    assert [period for period in range(-60, 310) if is_period(period)] == [1, 5, 10, 20, 30, 60, 120, 180, 240, 300]
