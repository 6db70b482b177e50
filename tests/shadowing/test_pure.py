"""How two answers are compared, how distributions are, and how pairs travel."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import astuple
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving.meter import VariantPlace
from kedge.shadowing import tally
from kedge.shadowing.comparison import cells, difference
from kedge.shadowing.distance import population_stability_index, rounded
from kedge.shadowing.pairs import MAX_BODY_BYTES, Answer, BadPair, Decoder, Pair, encode
from kedge.shadowing.tally import Tally

PLACE = VariantPlace("1" * 12, "us-east-1", "E", "shadow")
JSON, CSV, LINES = "application/json", "text/csv; charset=utf-8", "application/jsonlines"


def pair(production: Any, copied: Any, kind: str = JSON, statuses: tuple[int, int] = (200, 200)) -> Pair:
    one, other = (
        each if isinstance(each, bytes) else json.dumps(each).encode() if kind == JSON else each.encode()
        for each in (production, copied)
    )
    whole = max(len(one), len(other)) <= MAX_BODY_BYTES
    answers = Answer(statuses[0], 1000.0, kind, one), Answer(statuses[1], 1500.0, kind, other)
    return Pair(PLACE, "i-1", *answers, same=one == other, whole=whole)


@pytest.mark.parametrize(
    ("given", "want"),
    [
        # the whole answer is the same, labels, the same labels, differences of numbers
        (pair({"label": "cat"}, {"label": "cat"}), (True, 1, 1, [])),
        (pair({"label": "cat", "score": 0.5}, {"score": 0.25, "label": "dog"}), (False, 1, 0, [0.25])),
        (pair([1, 2, 3], [1, 2, 4]), (False, 3, 2, [0, 0, 1])),
        (pair([1.0, 2.0], [1.0 + 1e-9, 2.0]), (True, 0, 0, [1e-9, 0.0])),
        (pair([[0.9, 0.1], [0.4, 0.6]], [[0.8, 0.2], [0.6, 0.4]]), (False, 2, 1, [0.1, 0.1, 0.2, 0.2])),
        (pair([1, 2], [1, 2, 3]), (False, 2, 2, [0, 0])),
        (pair({"a": 1}, {"b": 1}), (False, 0, 0, [])),
        (pair([None, True], [None, False]), (False, 2, 1, [])),
        (pair("x", 1), (False, 1, 0, [])),
        (pair("1,2.5,cat\n0,1e3,dog\n", "1,2.0,cat\r\n1,1e3,dog\r\n", CSV), (False, 4, 3, [0, 0.5, 1, 0])),
        (pair('{"a": 1}\n{"a": 2}\n', '{"a": 1}\n\n{"a": 2}', LINES), (True, 2, 2, [0, 0])),
        (pair(b"\x00\x01", b"\x00\x01", "application/x-npy"), (True, 0, 0, [])),
        (pair(b"\x00\x01", b"\x00\x02", "application/x-npy"), (False, 0, 0, [])),
        (pair(b"{no json", b"{no json"), (True, 0, 0, [])),
        (pair(b"{no json", b"[1]"), (False, 0, 0, [])),
        (pair("nan,inf", "nan,1", CSV), (False, 2, 1, [])),
        (pair(b"[" + b"9" * 400 + b"]", b"[1]"), (False, 0, 0, [])),
        (pair("9" * 400, "9" * 400, CSV), (True, 0, 0, [])),
        (pair(b"1" * (MAX_BODY_BYTES + 1), b"1" * (MAX_BODY_BYTES + 1)), (True, 0, 0, [])),
        (pair([1], [1], statuses=(200, 500)), (False, 0, 0, [])),
        (pair([1], [2], statuses=(500, 500)), (True, 0, 0, [])),
        (pair([1], [1], statuses=(400, 0)), (False, 0, 0, [])),
    ],
)
def test_how_two_answers_differ(given: Pair, want: tuple[bool, int, int, list[float]]):
    same, labels, labels_same, numbers = astuple(difference(given))
    assert (same, labels, labels_same) == want[:3]
    assert numbers == pytest.approx(want[3])


def test_the_columns_of_an_answer():
    def columns(said: Any, kind: str = JSON) -> list[tuple[str, float | str]]:
        body = said.encode() if kind == CSV else json.dumps(said).encode()
        return list(cells(Answer(200, 1.0, kind, body)))

    assert columns({"predictions": [{"score": 0.5, "label": "a"}]}) == [
        ("predictions.score", 0.5),
        ("predictions.label", "a"),
    ]
    assert columns([0.25, 0.5]) == [("", 0.25), ("", 0.5)]
    assert columns([[0.1, 0.9], [0.2, 0.8]]) == [("[0]", 0.1), ("[1]", 0.9), ("[0]", 0.2), ("[1]", 0.8)]
    assert columns("1,a\n2,b\n", CSV) == [("[0]", 1.0), ("[1]", "a"), ("[0]", 2.0), ("[1]", "b")]
    assert {name for name, _ in columns([list(range(40))])} == {f"[{at}]" for at in range(16)}
    assert list(cells(Answer(500, 1.0, JSON, b"[1]"))) == []


def test_distance_between_distributions():
    draw = Random(1)
    one = Counter(rounded(draw.gauss(0, 1)) for _ in range(5000))
    alike = Counter(rounded(draw.gauss(0, 1)) for _ in range(5000))
    moved = Counter(rounded(draw.gauss(1, 1)) for _ in range(5000))
    assert population_stability_index(one, one) == 0
    assert population_stability_index(one, alike) < 0.02
    # For normal distributions apart by one deviation the symmetric divergence is 1; bins lose a little of it.
    assert 0.7 < population_stability_index(one, moved) < 1.1
    assert population_stability_index(Counter({3.0: 100}), Counter({2.0: 100})) > 2
    labels = Counter({"cat": 50, "dog": 50})
    by_hand = 0.4 * math.log(90.5 / 50.5) + 0.4 * math.log(50.5 / 10.5)
    found = population_stability_index(labels, Counter({"cat": 90, "dog": 10}))
    assert found == pytest.approx(by_hand * 100 / 101, rel=1e-9)
    assert population_stability_index(labels, Counter({"cat": 50, "bird": 50})) > 2
    with pytest.raises(ValueError, match="without values"):
        population_stability_index(labels, Counter())


VALUES = st.one_of(st.floats(-1e6, 1e6).map(rounded), st.sampled_from(["a", "b", "c"]))
COUNTS = st.dictionaries(VALUES, st.integers(1, 1000), min_size=1, max_size=40)


@given(COUNTS, COUNTS)
def test_a_distance_is_never_below_zero_and_zero_to_itself(one: dict[Any, int], other: dict[Any, int]):
    assert population_stability_index(one, one) == 0
    assert 0 <= population_stability_index(one, other) < math.inf


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=30)), max_size=5), st.integers(1, 40))
def test_pairs_travel(bodies: list[tuple[bytes, bytes]], step: int):
    sent = [pair(one, other) for one, other in bodies]
    data = b"".join(encode(each) for each in sent)
    decoder, got = Decoder(), []
    for at in range(0, len(data), step):
        got += decoder.feed(data[at : at + step])
    assert got == sent


def test_large_bodies_stay_where_they_are():
    large = pair(b"1" * (MAX_BODY_BYTES + 1), b"1" * (MAX_BODY_BYTES + 1))
    assert len(encode(large)) < 1000
    [got] = Decoder().feed(encode(large))
    assert (got.same, got.whole, got.production.body, got.copied.body) == (True, False, b"", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 20,
        b"\x00" * 8,
        b"\x0c\0\0\0\x08\0\0\0[1,2,3]x",
        b"\x06\0\0\0\x02\0\0\0[]",
        encode(pair(1, 2))[:-1] + b"",
    ],
)
def test_what_is_no_pair(data: bytes):
    if data == encode(pair(1, 2))[:-1]:
        assert Decoder().feed(data) == []
        return
    with pytest.raises(BadPair):
        Decoder().feed(data)


def test_what_comparisons_come_to():
    made = Tally(PLACE, "i-1")
    for _ in range(3):
        made.add(pair([1, 0.5], [1, 0.25]), 600)
    made.add(pair([1, 0.5], [1, 0.5]), 600)
    told = {each.name: each for each in made.roll(600)}
    assert set(told) == {tally.MATCHES, tally.LABEL_MATCHES, tally.NUMERIC_DIFFERENCE, tally.LATENCY_DIFFERENCE}
    assert (told[tally.MATCHES].values.total, told[tally.MATCHES].values.count) == (1, 4)
    assert (told[tally.LABEL_MATCHES].values.total, told[tally.LABEL_MATCHES].values.count) == (4, 4)
    assert told[tally.NUMERIC_DIFFERENCE].values.total / told[tally.NUMERIC_DIFFERENCE].values.count == 0.75 / 8
    assert told[tally.NUMERIC_DIFFERENCE].values.largest == 0.25
    assert (told[tally.LATENCY_DIFFERENCE].values.smallest, told[tally.LATENCY_DIFFERENCE].unit) == (
        500,
        "Microseconds",
    )
    assert list(made.roll(601)) == []


def test_distributions_are_compared_over_minutes():
    made = Tally(PLACE, "i-1")
    for at in range(60):
        made.add(pair({"label": "cat"}, {"label": "cat"}), 600 + at)
        assert tally.DISTANCE not in {each.name for each in made.roll(600 + at)}
    for at in range(60):
        made.add(pair({"label": "cat"}, {"label": "dog"}), 660 + at)
    [distance] = [each for each in made.roll(719) if each.name == tally.DISTANCE]
    assert distance.values.total > 0.25
    made.add(pair({"label": "cat"}, {"label": "cat"}), 721)
    assert tally.DISTANCE not in {each.name for each in made.roll(721)}  # it is told every few seconds
    made.add(pair({"label": "cat"}, {"label": "cat"}), 660 + 60 * tally.MINUTES)
    assert tally.DISTANCE not in {
        each.name for each in made.roll(660 + 60 * tally.MINUTES)
    }  # what is old counts no more
