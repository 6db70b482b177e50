"""Which models go when memory is short."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.serving import memory
from kedge.serving.memory import Loaded, to_unload

loaded_models = st.lists(
    st.builds(Loaded, st.uuids().map(str), st.integers(0, 1000), st.booleans()), max_size=12, unique_by=lambda m: m.name
)


@pytest.mark.parametrize(
    ("sizes", "coming", "budget", "most", "gone"),
    [
        ("", 50, 10, 9, []),  # alone it is tried whatever it takes
        ("a5 b5", 10, 20, 9, []),
        ("a5 b5", 11, 20, 9, ["a"]),
        ("a5! b5", 11, 20, 9, ["b"]),
        ("a5! b5!", 11, 20, 9, None),
        ("a5 b5", 100, 20, 9, ["a", "b"]),
        ("a5 b5", 11, 0, 9, []),
        ("a5 b5", 1, 0, 2, ["a"]),
        ("a5! b5!", 1, 0, 2, None),
    ],
)
def test_to_unload(sizes: str, coming: int, budget: int, most: int, gone: list[str] | None):
    loaded = [Loaded(each[0], int(each[1]), not each.endswith("!")) for each in sizes.split()]
    assert to_unload(loaded, coming, budget, most) == gone


@given(loaded_models, st.integers(0, 1000), st.integers(0, 3000), st.integers(1, 12))
def test_what_goes_is_idle_and_what_stays_fits(loaded: list[Loaded], coming: int, budget: int, most: int):
    def fits(models: list[Loaded]) -> bool:
        return len(models) < most and (not budget or sum(each.bytes for each in models) + coming <= budget)

    gone = to_unload(loaded, coming, budget, most)
    if gone is None:
        assert not all(each.idle for each in loaded)
        return
    assert {each.name for each in loaded if each.idle} >= set(gone)
    stays = [each for each in loaded if each.name not in gone]
    assert not stays or fits(stays)
    assert not gone or not fits([each for each in loaded if each.name not in gone[:-1]]), "one went in vain"


def test_own_memory_is_known():
    # In a fresh process, whose allocator has nothing left over from earlier tests.
    program = """
from kedge.serving import memory
before = memory.own_bytes()
held = b"x" * 30_000_000
print(memory.own_bytes() - before)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert int(told.stdout) > 20_000_000
    assert memory.bytes_of(os.getpid()) > 0
    assert memory.bytes_of(2**30) == 0
