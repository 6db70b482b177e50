from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.metrics.sketch import ERROR, MOST_EXACT, Sketch, joined, listed

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300).filter(
    lambda value: value == 0 or abs(value) > 1e-300
)
MANY = st.lists(FINITE, min_size=1, max_size=3 * MOST_EXACT)
SHARES = st.floats(0, 1)


def exactly(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return next(value for rank, value in enumerate(ordered, 1) if rank >= share * len(ordered))


@given(st.lists(FINITE, min_size=1, max_size=MOST_EXACT), SHARES)
def test_a_small_one_is_exact(values: list[float], share: float):
    sketch = Sketch.of(values)
    assert sketch.is_exact
    assert sketch.quantile(share) == exactly(values, share)


@given(MANY, SHARES)
def test_a_large_one_is_within_its_error(values: list[float], share: float):
    sketch = Sketch.of(values)
    assert sketch.quantile(share) == pytest.approx(exactly(values, share), rel=ERROR * (1 + 1e-6))
    assert (sketch.quantile(0), sketch.quantile(1)) == (min(values), max(values))
    assert sketch.count == len(values)


@given(MANY, MANY, SHARES)
def test_merging_is_as_if_there_had_been_one(some: list[float], others: list[float], share: float):
    one, other, both = Sketch.of(some), Sketch.of(others), Sketch.of(some + others)
    other_before = other.as_json()
    one.merge(other)
    assert (one.count, one.smallest, one.largest) == (both.count, both.smallest, both.largest)
    assert one.weighted() == both.weighted()
    assert one.quantile(share) == both.quantile(share)
    assert other.as_json() == other_before


@given(MANY, MANY)
def test_many_at_once_are_as_one_by_one(some: list[float], others: list[float]):
    one_by_one, at_once = Sketch(), Sketch.of(some)
    for value in some + others:
        one_by_one.add(value)
    at_once.extend(others)
    assert at_once.weighted() == one_by_one.weighted()
    assert at_once.as_json()[:5] == one_by_one.as_json()[:5]


SHORT = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=40)


@given(SHORT, SHORT)
def test_lists_are_joined_as_bytes_until_it_is_time_to_count(some: list[float], others: list[float]):
    whole = joined(Sketch.of(some).as_bytes(), Sketch.of(others).as_bytes())
    if whole is not None:
        assert Sketch.from_bytes(whole).as_json()[:5] == Sketch.of(some + others).as_json()[:5]
        assert Sketch.from_bytes(whole).weighted() == Sketch.of(some + others).weighted()


def test_a_list_that_grows_is_counted_now_and_then():
    grown = listed(0.0)
    for n in range(1, 300):
        value = float(n % 2)
        added = joined(grown, listed(value))
        if added is None:
            sketch = Sketch.from_bytes(grown)
            sketch.add(value)
            added = sketch.as_bytes()
        grown = added
    assert Sketch.from_bytes(grown).weighted() == [(0.0, 150.0), (1.0, 150.0)]
    assert len(grown) < 80


@given(MANY, st.lists(st.floats(0.25, 1e6), max_size=20))
def test_it_travels_as_bytes(values: list[float], counts: list[float]):
    sketch = Sketch.of(values)
    for value, count in zip(values, counts, strict=False):
        sketch.add(value, count)
    read = Sketch.from_bytes(sketch.as_bytes())
    assert read.as_json()[:5] == sketch.as_json()[:5]
    assert read.weighted() == sketch.weighted()
    read.add(values[0])
    sketch.add(values[0])
    assert read.weighted() == sketch.weighted()


@given(MANY)
def test_it_travels_as_json(values: list[float]):
    sketch = Sketch.of(values)
    there = Sketch.from_json(json.loads(json.dumps(sketch.as_json())))
    assert there.as_json() == sketch.as_json()
    assert there.weighted() == sketch.weighted()


def test_an_empty_one():
    assert Sketch.from_json(Sketch().as_json()).count == 0
    with pytest.raises(ValueError, match="empty"):
        Sketch().quantile(0.5)


def test_counts_weigh():
    sketch = Sketch()
    sketch.add(1.0, 99)
    sketch.add(5.0)
    assert (sketch.count, sketch.total) == (100, 104)
    assert (sketch.quantile(0.99), sketch.quantile(0.995)) == (1.0, 5.0)
