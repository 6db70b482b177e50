"""The split of an endpoint's traffic through every change of its weights, as an experiment relies on it."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.serving.capture.tap import Tap
from kedge.serving.choose import Split, block_length, shares
from kedge.serving.fleet import Fleet
from kedge.serving.table import Endpoint, RoutingTable, Variant

ACCOUNT, REGION, NAME = "111122223333", "us-east-1", "shop"

some_weights = st.lists(st.integers(0, 20).map(float), min_size=2, max_size=6).filter(any)
phases = st.lists(st.tuples(some_weights, st.integers(1, 400)), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(phases, st.integers())
def test_after_each_change_the_split_is_even_from_its_first_request(
    changes: list[tuple[list[float], int]], seed: int
) -> None:
    """Of a block, the worst order holds back or brings forward a variant's whole part of it; and one for rounding."""
    random = Random(seed)
    for weights, count in changes:
        split, seen = Split(weights, random), Counter[int]()
        length = block_length(shares(weights))
        for number in range(1, count + 1):
            seen[split.draw()] += 1
            for index, part in enumerate(shares(weights)):
                away = abs(seen[index] - float(part) * number)
                assert away <= length * float(part * (1 - part)) + 2
                assert part or not seen[index], "a variant of weight 0 gets nothing"


def test_changes_in_the_middle_of_blocks_favour_no_variant() -> None:
    """A block that is cut short was shuffled, so what was drawn of it is as good as any other part of it."""
    random, seen, due, variance = Random(11), 0, 0.0, 0.0
    for turn in range(4000):
        weights = [9.0, 1.0] if turn % 2 else [3.0, 2.0]
        split, part, length = Split(weights, random), weights[1] / sum(weights), 10 if turn % 2 else 5
        drawn = 1 + turn % 4
        seen += sum(split.draw() for _ in range(drawn))
        due += part * drawn
        variance += drawn * part * (1 - part) * (length - drawn) / (length - 1)
    assert abs(seen - due) < 5 * math.sqrt(variance)


def test_a_change_costs_a_split_without_whole_blocks_less_than_a_request() -> None:
    """Thirds do not fit into blocks of ten; the first block after a change rounds, and always the same way."""
    random, rounds = Random(12), 3000
    seen = Counter(split.draw() for _ in range(rounds) for split in [Split([1.0, 1.0, 1.0], random)] for _ in range(10))
    assert all(abs(seen[index] / rounds - 10 / 3) < 1 for index in range(3))


def test_neighbours_say_nothing_of_one_another_but_by_the_block() -> None:
    """Who comes after the last of a block is as likely as ever, whatever that one was."""
    random = Random(13)
    after: dict[int, Counter[int]] = {0: Counter(), 1: Counter()}
    split = Split([3.0, 2.0], random)
    for _ in range(8000):
        *_, last = [split.draw() for _ in range(5)]
        first, *_ = [split.draw() for _ in range(5)]
        after[last][first] += 1
    for counts in after.values():
        total = counts.total()
        assert abs(counts[1] / total - 0.4) < 5 * math.sqrt(0.24 / total)


def table(version: int, weights: dict[str, float], **others: dict[str, float]) -> RoutingTable:
    def endpoint(name: str, weights: dict[str, float]) -> Endpoint:
        variants = tuple(Variant(each, weight, ()) for each, weight in weights.items())
        return Endpoint(ACCOUNT, REGION, name, f"arn:{name}", variants)

    return RoutingTable(version, (endpoint(NAME, weights), *(endpoint(*each) for each in others.items())))


def test_a_new_table_with_the_same_weights_goes_on_in_its_block() -> None:
    """Tables come with every change of any endpoint. Each block of ten is whole, however many came within it."""
    fleet, weights = Fleet(Random(14), Tap(Path("/nowhere"), lambda: 0.0)), {"a": 7.0, "b": 2.0, "c": 1.0}
    drawn = []
    for version in range(1, 301):
        fleet.swap(table(version, weights, other={"x": float(version)}), 0.0)
        route = fleet.find(ACCOUNT, REGION, NAME)
        assert route is not None
        drawn.append(route.draw())
    for start in range(0, 300, 10):
        assert Counter(drawn[start : start + 10]) == {"a": 7, "b": 2, "c": 1}


def test_new_weights_count_from_the_next_request_on() -> None:
    fleet = Fleet(Random(15), Tap(Path("/nowhere"), lambda: 0.0))
    for version, weights in enumerate(
        [{"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 1.0}, {"b": 1.0, "a": 3.0}, {"a": 1.0, "b": 0.0, "c": 1.0}], 1
    ):
        fleet.swap(table(version, weights), 0.0)
        route = fleet.find(ACCOUNT, REGION, NAME)
        assert route is not None
        seen = Counter(route.draw() for _ in range(40))
        total = sum(weights.values())
        assert seen == {name: 40 * weight / total for name, weight in weights.items() if weight}
