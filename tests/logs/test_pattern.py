"""Which messages a filter pattern takes, and which patterns are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.logs.block import Block, merged
from kedge.logs.pattern import PatternRefused, parse

MESSAGES = ["ERROR one two", "error one", '[INFO] two "three"', "WARN ERROR", "", "é ERROR_2", "ER", "ROR"]


def matching(pattern: str) -> list[str]:
    block = Block.of(range(len(MESSAGES)), MESSAGES, 0)
    return [MESSAGES[index] for index in parse(pattern).matching(block, range(len(MESSAGES)))]


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ("", range(8)),
        (" ", range(8)),
        ("ERROR", [0, 3, 5]),
        ("ERROR two", [0]),
        ('"ERROR one"', [0]),
        ('"[INFO]"', [2]),
        (r'"\"three\""', [2]),
        ("?one ?three", [0, 1, 2]),
        ("ERROR -WARN", [0, 5]),
        ('-one -"[INFO]"', [3, 4, 5, 6, 7]),
        ("é", [5]),
        ("ERROR_2", [5]),
        ("nothing", []),
    ],
)
def test_terms(pattern, numbers):
    assert matching(pattern) == [MESSAGES[number] for number in numbers]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("{ $.level = 5 }", "JSON"),
        ("[ip, user]", "space-delimited"),
        ("%ERR.R%", "regular expressions"),
        ("ERROR %x%", "regular expressions"),
        ("?A B", "mixes"),
        ("?A -B", "mixes"),
        ("a=b", '"a=b"'),
        ('"open', "quote"),
        ('a"b"', "quote"),
        ('""', "empty"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(pattern, says):
    with pytest.raises(PatternRefused, match=says):
        parse(pattern)


@given(st.lists(st.text("abé", max_size=4), min_size=1, max_size=30), st.text("abé", min_size=1, max_size=3))
def test_a_term_is_found_in_the_events_that_have_it_and_in_no_others(messages, term):
    block = Block.of(range(len(messages)), messages, 0)
    found = list(block.having(term.encode(), range(len(messages))))
    assert found == [index for index, message in enumerate(messages) if term in message]
    part = range(len(messages) // 3, len(messages) * 2 // 3)
    assert list(block.having(term.encode(), part)) == [index for index in found if index in part]


@given(st.lists(st.tuples(st.integers(0, 5), st.text(max_size=5)), min_size=1, max_size=20), st.integers(1, 19))
def test_blocks_that_are_joined_hold_the_same_in_order(events, cut):
    halves = [sorted(half, key=lambda each: each[0]) for half in (events[:cut], events[cut:]) if half]
    blocks = []
    sequence = 0
    for half in halves:
        made = Block.of([at for at, _ in half], [text for _, text in half], 7)
        blocks.append(Block.decode(made.encode(), len(half), made.raw_bytes, sequence))
        sequence += len(half)
    whole = merged(blocks)
    again = Block.decode(whole.encode(), len(events), whole.raw_bytes)
    want = sorted(event for block in blocks for event in block.events(range(len(block.at_ms)), 1))
    assert again.events(range(len(events)), 1) == want
