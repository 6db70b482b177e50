from __future__ import annotations

import math

import pytest

from kedge.experiments.interval import UNKNOWN, Interval
from kedge.experiments.verdict import verdict, winner


@pytest.mark.parametrize(
    ("low", "high", "zone", "lower", "higher"),
    [
        (0.1, 0.3, 0.0, "worse", "better"),
        (-0.3, -0.1, 0.0, "better", "worse"),
        (-0.1, 0.3, 0.0, "not yet", "not yet"),
        (0.0, 0.3, 0.0, "not yet", "not yet"),
        (-0.1, 0.1, 0.2, "no difference", "no difference"),
        (0.05, 0.1, 0.2, "no difference", "no difference"),
        (-0.1, 0.3, 0.2, "not yet", "not yet"),
        (0.1, 0.3, 0.2, "worse", "better"),
        (-0.2, 0.2, 0.2, "not yet", "not yet"),
        (-math.inf, math.inf, 100.0, "not yet", "not yet"),
        (math.nan, math.nan, 1.0, "not yet", "not yet"),
    ],
)
def test_verdicts(low: float, high: float, zone: float, lower: str, higher: str) -> None:
    interval = Interval((low + high) / 2, low, high)
    assert verdict(interval, lower_is_better=True, indifference=zone) == lower
    assert verdict(interval, lower_is_better=False, indifference=zone) == higher


def test_nothing_known_is_not_yet() -> None:
    assert verdict(UNKNOWN, lower_is_better=True, indifference=1e9) == "not yet"


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({"b": "better"}, "b"),
        ({"b": "worse"}, "a"),
        ({"b": "no difference"}, None),
        ({"b": "not yet"}, None),
        ({"b": "better", "c": "not yet"}, None),
        ({"b": "better", "c": "worse"}, "b"),
        ({"b": "better", "c": "better"}, "c"),
        ({"b": "worse", "c": "no difference"}, None),
        ({"b": "worse", "c": "worse"}, "a"),
        ({}, None),
    ],
)
def test_the_winner(verdicts: dict, expected: str | None) -> None:
    assert winner("a", verdicts, {"a": 3.0, "b": 2.0, "c": 1.0}, lower_is_better=True) == expected


def test_of_several_the_best_where_higher_is_better() -> None:
    both = {"b": "better", "c": "better"}
    assert winner("a", both, {"a": 0.0, "b": 2.0, "c": 1.0}, lower_is_better=False) == "b"
