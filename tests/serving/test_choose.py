from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.serving.choose import (
    BLOCK_LENGTHS,
    CROWDED,
    CROWDING,
    NoTraffic,
    Split,
    apportion,
    at_first,
    at_home,
    block_length,
    by_prefix,
    instance,
    prefix_key,
    shares,
    sticky,
)

weights_of_an_endpoint = st.lists(
    st.one_of(st.floats(0, 1000, allow_nan=False), st.integers(0, 100).map(float)), min_size=1, max_size=10
).filter(any)


@pytest.mark.parametrize(
    ("weights", "length"),
    [
        ([1.0], 1),
        ([3.5, 0.0], 1),
        ([1.0, 1.0], 2),
        ([0.9, 0.1], 10),
        ([90.0, 10.0], 10),
        ([0.7, 0.2, 0.1], 10),
        ([0.95, 0.05], 20),
        ([0.99, 0.01], 100),
        ([0.999, 0.001], 1000),
        ([1.0, 2.0], 10),
        ([3.0, 4.0], 10),
        ([1.0, 1.0, 1.0], 10),
        ([0.9999, 0.0001], 1000),
        ([0.97, 0.0301], 40),
    ],
)
def test_block_length(weights: list[float], length: int) -> None:
    assert block_length(shares(weights)) == length


def test_block_lengths_divide_a_thousand() -> None:
    assert BLOCK_LENGTHS[0] == 1
    assert BLOCK_LENGTHS[-1] == 1000
    assert all(1000 % length == 0 for length in BLOCK_LENGTHS)


@settings(max_examples=50)
@given(weights_of_an_endpoint, st.integers())
def test_each_thousand_holds_the_shares(weights: list[float], seed: int) -> None:
    split = Split(weights, Random(seed))
    seen: Counter[int] = Counter()
    for thousands in range(1, 3):
        part = Counter(split.draw() for _ in range(1000))
        seen += part
        for index, weight in enumerate(weights):
            share = weight / sum(weights)
            assert abs(seen[index] - share * 1000 * thousands) < 1 + 1e-6
            if weight == 0:
                assert part[index] == 0


@settings(max_examples=50)
@given(weights_of_an_endpoint, st.integers(1, 40))
def test_debts_never_grow(weights: list[float], blocks: int) -> None:
    parts = shares(weights)
    length = block_length(parts)
    owed = [parts[0] * 0] * len(parts)
    for _ in range(blocks):
        counts, owed = apportion(parts, owed, length)
        assert sum(counts) == length
        assert sum(owed) == 0
        assert all(abs(debt) < 1 for debt in owed)
        assert all(count >= 0 for count in counts)


def test_ninety_to_ten_is_even_wherever_one_starts_to_count() -> None:
    split = Split([0.9, 0.1], Random(3))
    drawn = [split.draw() for _ in range(4000)]
    for start in range(3000):
        assert 99 <= sum(drawn[start : start + 1000]) <= 101


def test_the_order_is_random() -> None:
    split = Split([0.9, 0.1], Random(5))
    places = Counter([split.draw() for _ in range(10)].index(1) for _ in range(2000))
    assert set(places) == set(range(10))
    # 200 are expected at each place; 5 standard deviations are 67.
    assert all(math.isclose(count, 200, abs_tol=67) for count in places.values())


def test_all_weights_zero() -> None:
    with pytest.raises(NoTraffic):
        Split([0.0, 0.0], Random(1)).draw()


@pytest.mark.parametrize(
    ("routing", "outstanding", "draw", "chosen"),
    [
        ("RANDOM", [5, 0, 0], 0.0, 0),
        ("RANDOM", [5, 0, 0], 0.34, 1),
        ("RANDOM", [5, 0, 0], 0.999, 2),
        ("LEAST_OUTSTANDING_REQUESTS", [5, 1, 3], 0.999, 1),
        ("LEAST_OUTSTANDING_REQUESTS", [2, 1, 1], 0.0, 1),
        ("LEAST_OUTSTANDING_REQUESTS", [2, 1, 1], 0.5, 2),
        ("LEAST_OUTSTANDING_REQUESTS", [7], 0.5, 0),
    ],
)
def test_instance(routing: str, outstanding: list[int], draw: float, chosen: int) -> None:
    assert instance(routing, outstanding, draw) == chosen


def test_no_instance() -> None:
    with pytest.raises(ValueError, match="no healthy instance"):
        instance("RANDOM", [], 0.5)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.floats(0, 1, exclude_max=True))
def test_least_outstanding_is_least(outstanding: list[int], draw: float) -> None:
    chosen = instance("LEAST_OUTSTANDING_REQUESTS", outstanding, draw)
    assert outstanding[chosen] == min(outstanding)


ids = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=8, unique=True)


@given(st.text(max_size=20), ids, st.data())
def test_a_key_stays_at_home_until_it_is_crowded(key: str, names: list[str], data: st.DataObject) -> None:
    quiet = [0] * len(names)
    home = at_home(key, names, quiet)
    order = data.draw(st.permutations(names))
    assert order[at_home(key, order, quiet)] == names[home], "whatever the order in which instances are known"
    leaving = data.draw(st.sampled_from(names))
    if leaving != names[home]:
        rest = [name for name in names if name != leaving]
        assert rest[at_home(key, rest, quiet[1:])] == names[home], "only the keys of who goes move"
    outstanding = data.draw(st.lists(st.integers(0, 100), min_size=len(names), max_size=len(names)))
    chosen = at_home(key, names, outstanding)
    assert outstanding[chosen] < CROWDED + CROWDING * sum(outstanding) / len(outstanding)


@given(st.binary(max_size=50), st.text("ab", max_size=3), ids, st.integers(1, 5), st.floats(0, 0.999), st.data())
def test_bodies_that_begin_alike_have_one_home_until_it_is_busy(
    body: bytes, id_: str, names: list[str], threshold: int, draw: float, data: st.DataObject
) -> None:
    key = prefix_key(body, 20, id_)
    assert key == prefix_key(body[:20] + (b"more" if len(body) >= 20 else b""), 20, id_)
    assert key != prefix_key(body, 20, id_ + "c")
    home = by_prefix(key, names, [0] * len(names), threshold, draw)
    order = data.draw(st.permutations(names))
    assert order[by_prefix(key, order, [0] * len(names), threshold, draw)] == names[home]
    outstanding = data.draw(st.lists(st.integers(0, 10), min_size=len(names), max_size=len(names)))
    chosen = by_prefix(key, names, outstanding, threshold, draw)
    if outstanding[home] < threshold:
        assert chosen == home
    else:
        assert outstanding[chosen] == min(outstanding)


@given(weights_of_an_endpoint, st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_a_first_block_is_rounded_by_less_than_one_each(weights: list[float], length: int, random: float) -> None:
    parts = shares(weights)
    counts, owed = at_first(parts, length, random)
    assert sum(counts) == length
    assert sum(owed) == 0
    assert all(abs(each) < 1 for each in owed)
    assert all(count == 0 for part, count in zip(parts, counts, strict=True) if not part)


def test_splits_that_are_begun_anew_are_fair_on_average() -> None:
    random = Random(1)
    drawn = Counter(Split((1.0, 2.0), random).draw() for _ in range(6000))
    assert abs(drawn[0] / 6000 - 1 / 3) < 4 * math.sqrt(2 / 9 / 6000)


NAMES = ["a", "b", "c"]


def test_a_key_keeps_its_variant_and_each_variant_has_its_share() -> None:
    keys = [f"session-{at}" for at in range(4000)]
    chosen = [sticky(key, NAMES, [70.0, 20.0, 10.0]) for key in keys]
    assert chosen == [sticky(key, NAMES, [70.0, 20.0, 10.0]) for key in keys]
    counts = Counter(chosen)
    for index, share in enumerate((0.7, 0.2, 0.1)):
        assert abs(counts[index] / len(keys) - share) < 5 * math.sqrt(share * (1 - share) / len(keys))
    moved = [(was, now) for was, now in zip(chosen, (sticky(k, NAMES, [70.0, 40.0, 10.0]) for k in keys), strict=True)]
    assert {now for was, now in moved if was != now} == {1}, "only what has to move moves"
    assert {sticky(key, NAMES, [0.0, 1.0, 0.0]) for key in keys[:100]} == {1}


def test_no_traffic_for_a_key_either() -> None:
    with pytest.raises(NoTraffic):
        sticky("key", NAMES, [0.0, 0.0, 0.0])
