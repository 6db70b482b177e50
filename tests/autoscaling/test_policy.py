"""Which capacity follows from wishes: never outside the bounds, never in a cooldown, whatever their order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.autoscaling.policy import AT_MAXIMUM, AT_MINIMUM, Limits, Wish, decide
from kedge.autoscaling.records import Suspended

NOW_S = 1000.0
CAPACITIES = st.integers(0, 20)
WISHES = st.lists(st.builds(Wish, st.sampled_from(["a", "b", "c"]), CAPACITIES), max_size=5)


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    low, high = sorted([draw(CAPACITIES), draw(CAPACITIES)])
    suspended = Suspended(draw(st.booleans()), draw(st.booleans()))
    ends = st.sampled_from([0.0, NOW_S - 1, NOW_S, NOW_S + 1])
    return Limits(low, high, suspended, draw(ends), draw(CAPACITIES), draw(ends))


@pytest.mark.parametrize(
    ("current", "wishes", "want"),
    [
        (2, [], None),
        (2, [3], 3),
        (2, [3, 5], 5),
        (2, [1], 1),
        (2, [1, 1], 1),
        (4, [1, 3], 3),
        (2, [1, 2], None),  # one of them holds it
        (2, [1, 3], 3),  # out wins over in
        (2, [99], 10),
        (2, [0], 1),
    ],
)
def test_out_goes_the_largest_wish_and_in_goes_it_only_when_all_agree(current, wishes, want):
    found = decide(current, Limits(1, 10), [Wish(str(n), each) for n, each in enumerate(wishes)], NOW_S)
    assert found.capacity == want


@pytest.mark.parametrize(("current", "wish", "code"), [(10, 11, AT_MAXIMUM), (1, 0, AT_MINIMUM), (12, 13, AT_MAXIMUM)])
def test_at_a_bound_the_reason_is_told(current, wish, code):
    found = decide(current, Limits(1, 10), [Wish("p", wish)], NOW_S)
    assert (found.capacity, found.not_scaled) == (None, code)


def test_what_is_suspended_is_not_done():
    out, into = [Wish("p", 5)], [Wish("p", 1)]
    assert decide(2, Limits(1, 10, Suspended(scale_out=True)), out, NOW_S).capacity is None
    assert decide(2, Limits(1, 10, Suspended(scale_out=True)), into, NOW_S).capacity == 1
    assert decide(2, Limits(1, 10, Suspended(scale_in=True)), into, NOW_S).capacity is None
    assert decide(2, Limits(1, 10, Suspended(scale_in=True)), out, NOW_S).capacity == 5


def test_a_scale_in_waits_for_every_cooldown_and_a_scale_out_for_none():
    for cooling in (Limits(1, 10, out_until_s=NOW_S + 1), Limits(1, 10, in_until_s=NOW_S + 1)):
        assert decide(2, cooling, [Wish("p", 1)], NOW_S).capacity is None
        assert decide(2, cooling, [Wish("p", 1)], NOW_S + 1).capacity == 1
        assert decide(2, cooling, [Wish("p", 3)], NOW_S).capacity == 3


def test_during_a_cooldown_what_was_added_counts():
    cooling = Limits(1, 10, out_until_s=NOW_S + 1, out_base=2)
    assert cooling.counted_from(4, NOW_S) == 2
    assert cooling.counted_from(4, NOW_S + 1) == 4
    assert cooling.counted_from(1, NOW_S) == 1, "somebody has taken more away meanwhile"


@given(CAPACITIES, limits(), WISHES)
def test_a_change_lies_within_the_bounds_and_is_one(current, bounds, wishes):
    found = decide(current, bounds, wishes, NOW_S)
    if found.capacity is not None:
        assert bounds.minimum <= found.capacity <= bounds.maximum
        assert found.capacity != current
        assert found.wish in wishes


@given(CAPACITIES, limits(), WISHES)
def test_nothing_goes_in_a_cooldown(current, bounds, wishes):
    found = decide(current, bounds, wishes, NOW_S)
    if found.capacity is not None and found.capacity < current:
        assert max(bounds.out_until_s, bounds.in_until_s) <= NOW_S
        assert all(wish.capacity < current for wish in wishes)


@given(CAPACITIES, limits(), WISHES, st.randoms(use_true_random=False))
def test_the_order_of_policies_does_not_matter(current, bounds, wishes, random):
    shuffled = list(wishes)
    random.shuffle(shuffled)
    one, other = (decide(current, bounds, each, NOW_S) for each in (wishes, shuffled))
    assert (one.capacity, one.not_scaled) == (other.capacity, other.not_scaled)
