"""How many instances a serverless variant has: none when idle, never more than it may."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.autoscaling.demand import Load, instances

IDLE_AFTER_S = 300.0
MINUTES = [0.0] * 120


def load(
    samples: list[float | None], *, waits: bool = False, idle_s: float = 0.0, since_out_s: float = math.inf
) -> Load:
    return Load(samples, waits, idle_s, since_out_s)


@pytest.mark.parametrize(
    ("what", "current", "provisioned", "want"),
    [
        (load(MINUTES, idle_s=300.0), 3, 0, 0),
        (load(MINUTES, idle_s=300.0), 3, 2, 2),
        (load(MINUTES, idle_s=299.0), 3, 0, 1),
        (load(MINUTES, idle_s=299.0), 0, 0, 0),
        (load([1.0], waits=True), 0, 0, 1),
        (load([1.0], waits=True, idle_s=400.0), 0, 0, 1),
        (load([], idle_s=0.0), 0, 2, 2),
        (load([*MINUTES[:114], *[4.0] * 6]), 1, 0, 4),
        (load([*MINUTES[:114], *[40.0] * 6]), 1, 0, 10),
        (load([*MINUTES[:114], *[0.2] * 6]), 1, 0, 1),
        (load([None] * 120), 3, 0, 3),
        (load([5.0] * 120), 5, 0, 5),
        (load([1.0] * 120), 5, 3, 3),
        (load([1.0] * 120, since_out_s=10.0), 5, 3, 5),
    ],
)
def test_a_table(what: Load, current: int, provisioned: int, want: int):
    assert instances(what, current, provisioned, 10, IDLE_AFTER_S) == want


@given(
    st.lists(st.none() | st.floats(0, 500), max_size=120),
    st.booleans(),
    st.floats(0, 1000),
    st.floats(0, 1000),
    st.integers(0, 200),
    st.integers(1, 200),
    st.data(),
)
def test_it_stays_within_what_it_may_have(samples, waits, idle_s, since_out_s, current, most, data):
    provisioned = data.draw(st.integers(0, most))
    found = instances(
        load(samples, waits=waits, idle_s=idle_s, since_out_s=since_out_s), current, provisioned, most, 300.0
    )
    assert provisioned <= found <= most
    if waits and not current:
        assert found >= 1
    if current and idle_s < IDLE_AFTER_S:
        assert found >= 1, "it sleeps only when it was idle for long enough"
