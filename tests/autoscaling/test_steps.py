"""Steps: which one holds an excess, what it makes of a capacity, which sets of them are refused."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.autoscaling import steps
from kedge.errors import ValidationFailed


def step(adjustment: int, lower: float | None = None, upper: float | None = None) -> dict[str, Any]:
    bounds = {"MetricIntervalLowerBound": lower, "MetricIntervalUpperBound": upper}
    return {"ScalingAdjustment": adjustment, **{name: each for name, each in bounds.items() if each is not None}}


def config(kind: str, *given_steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"AdjustmentType": kind, "StepAdjustments": list(given_steps), **more}


GUIDE = config("PercentChangeInCapacity", step(0, 0, 10), step(10, 10, 20), step(30, 20), MinAdjustmentMagnitude=1)
"""The user guide's example of a threshold of 50."""


@pytest.mark.parametrize(
    ("value", "want"),
    [(59, 10), (60, 11), (69, 11), (70, 13), (500, 13), (49, None)],
)
def test_the_example_of_the_guide(value, want):
    assert steps.adjusted(GUIDE, 10, value - 50, below=False) == want


def test_bounds_belong_to_the_step_that_is_nearer_to_the_threshold_below_it():
    into = config("ChangeInCapacity", step(-1, -10, 0), step(-3, None, -10))
    assert steps.adjusted(into, 10, 0, below=True) == 9
    assert steps.adjusted(into, 10, -10, below=True) == 7
    assert steps.adjusted(into, 10, -9.9, below=True) == 9
    assert steps.adjusted(into, 2, -11, below=True) == 0


@pytest.mark.parametrize(
    ("kind", "adjustment", "least", "capacity", "want"),
    [
        ("ExactCapacity", 7, 0, 3, 7),
        ("ChangeInCapacity", 2, 0, 3, 5),
        ("ChangeInCapacity", -2, 0, 3, 1),
        ("PercentChangeInCapacity", 50, 0, 3, 4),
        ("PercentChangeInCapacity", 10, 0, 3, 4),
        ("PercentChangeInCapacity", -10, 0, 3, 2),
        ("PercentChangeInCapacity", -50, 0, 3, 2),
        ("PercentChangeInCapacity", 10, 3, 3, 6),
        ("PercentChangeInCapacity", -10, 2, 10, 8),
        ("PercentChangeInCapacity", 100, 0, 0, 0),
        ("PercentChangeInCapacity", 58, 0, 50, 79),
    ],
)
def test_what_an_adjustment_makes_of_a_capacity(kind, adjustment, least, capacity, want):
    more = {"MinAdjustmentMagnitude": least} if least else {}
    assert steps.adjusted(config(kind, step(adjustment), **more), capacity, 0.0, below=False) == want


@pytest.mark.parametrize(
    ("given_config", "says"),
    [
        ({"StepAdjustments": [step(1)]}, "AdjustmentType has to be given"),
        (config("ChangeInCapacity"), "has 0 steps"),
        (config("ChangeInCapacity", *[step(1, n, n + 1) for n in range(21)]), "has 21 steps"),
        (config("ChangeInCapacity", step(1, 5, 5)), "has to be below"),
        (config("ChangeInCapacity", step(1, 0, 10), step(2, 5)), "overlap"),
        (config("ChangeInCapacity", step(1, 0), step(2, 5)), "overlap"),
        (config("ChangeInCapacity", step(1, 0, 10), step(2, 20)), "leave a gap from 10 to 20"),
        (config("ChangeInCapacity", step(1), MinAdjustmentMagnitude=1), "PercentChangeInCapacity alone"),
        (config("ExactCapacity", step(-1)), "must not be below 0"),
        (config("ChangeInCapacity", step(1), Cooldown=-1), "Cooldown is -1"),
    ],
)
def test_what_is_refused(given_config, says):
    with pytest.raises(ValidationFailed, match=says):
        steps.check(given_config)


def test_what_is_not_refused():
    for each in (GUIDE, config("ExactCapacity", step(0)), config("ChangeInCapacity", step(-1, None, 0), step(1, 0))):
        steps.check(each)


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=6, unique=True),
    st.floats(-100, 100),
    st.integers(0, 50),
    st.booleans(),
)
def test_steps_without_a_gap_hold_every_value_once(edges, excess, capacity, below):
    edges = sorted(edges)
    bounds = [None, *edges, None]
    whole = config("ChangeInCapacity", *[step(1, low, high) for low, high in itertools.pairwise(bounds)])
    steps.check(whole)
    assert steps.adjusted(whole, capacity, excess, below=below) == capacity + 1


@pytest.mark.parametrize(("kind", "want"), [("Average", 2.0), ("Minimum", 1.0), ("Maximum", 3.0)])
def test_values_of_several_periods(kind, want):
    assert steps.aggregated(kind, [1.0, 3.0, 2.0]) == want
