"""The walker in C: its sums are those of numpy's walk to the last bit, and no forest makes it read outside."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge import core
from kedge.serving.compiled import run, trees
from kedge.serving.compiled.program import Forest

if not core.found(core.NATIVE).compiled:
    pytest.skip(f"the walker is {core.found(core.NATIVE).why}", allow_module_level=True)

from kedge.serving.compiled.walker import Walker

EDGES = (0.0, -0.0, 1.0, 5e-324, 1e300, np.inf, -np.inf, np.nan)


def grown(random: np.random.Generator, width: int, outputs: int, leaves: int) -> trees.Tree:
    """A tree of any form: each time one of its leaves becomes a node."""
    left, right = [0], [0]
    for _ in range(leaves - 1):
        at = int(random.choice([node for node, child in enumerate(left) if child == 0]))
        left[at], right[at] = len(left), len(left) + 1
        left += [0, 0]
        right += [0, 0]
        if random.random() < 0.5:
            left[at], right[at] = right[at], left[at]
    count = len(left)
    values = random.normal(size=(count, outputs)) * 10.0 ** random.integers(-9, 9, (count, outputs))
    if outputs > 1 and random.random() < 0.7:
        # As boosters have it: a tree for each class.
        values[:, np.arange(outputs) != random.integers(outputs)] = 0.0
    return trees.Tree(
        is_leaf=np.array(left) == 0,
        feature=random.integers(0, width, count),
        threshold=np.where(random.random(count) < 0.3, random.choice(EDGES[:-1], count), random.normal(size=count)),
        left=np.array(left),
        right=np.array(right),
        missing_left=random.random(count) < 0.5,
        values=values,
    )


def rows_of(random: np.random.Generator, count: int, forest: Forest, width: int, *, with_nan: bool) -> Any:
    rows = random.normal(size=(count, width))
    known = np.concatenate([forest.threshold, EDGES[: None if with_nan else -1]])
    return np.where(random.random(rows.shape) < 0.4, random.choice(known, rows.shape), rows)


def walker(forest: Forest, width: int, **changed: Any) -> Walker:
    return Walker(**{**vars(forest), **changed}, width=width)


def sums(made: Walker, rows: Any, outputs: int) -> Any:
    found = np.full((len(rows), outputs), np.nan)
    made.sums_into(rows, found)
    return found


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    width=st.integers(1, 30),
    outputs=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=45),
    counts=st.lists(st.integers(1, 150), min_size=1, max_size=3),
    with_nan=st.booleans(),
)
def test_sums_are_those_of_numpy_to_the_last_bit(
    seed: int, width: int, outputs: int, sizes: list[int], counts: list[int], with_nan: bool
):
    random = np.random.default_rng(seed)
    base = random.choice([0.0, -0.0, 0.1, -3.7], outputs)
    forest = trees.forest([grown(random, width, outputs, leaves) for leaves in sizes], base)
    made, by_numpy = walker(forest, width), run._with_numpy(forest)
    for count in counts:
        rows = rows_of(random, count, forest, width, with_nan=with_nan)
        found = sums(made, rows, outputs)
        assert found.tobytes() == by_numpy(rows).tobytes()
        # And alike alone.
        assert sums(made, rows[count // 2 :][:1].copy(), outputs).tobytes() == found[count // 2 :][:1].tobytes()


def forest_of(count: int = 3) -> Forest:
    random = np.random.default_rng(7)
    return trees.forest([grown(random, 4, 2, 6) for _ in range(count)], np.zeros(2))


def with_one(array: Any, at: int, value: Any) -> Any:
    changed = array.copy()
    changed[at] = value
    return changed


FOREST = forest_of()
INNER = int(np.flatnonzero(~FOREST.is_leaf)[-1])
LEAF = int(np.flatnonzero(FOREST.is_leaf)[0])
NODES = len(FOREST.left)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"roots": with_one(FOREST.roots, 1, NODES)}, "a root is no node"),
        ({"roots": with_one(FOREST.roots, 1, -1)}, "a root is no node"),
        ({"roots": with_one(FOREST.roots, 1, 0)}, "two ways lead to a node"),
        ({"feature": with_one(FOREST.feature, INNER, 4)}, "a column that is not there"),
        ({"feature": with_one(FOREST.feature, INNER, -1)}, "a column that is not there"),
        ({"left": with_one(FOREST.left, INNER, NODES)}, "a child is no node"),
        ({"right": with_one(FOREST.right, INNER, -(2**62))}, "a child is no node"),
        ({"left": with_one(FOREST.left, INNER, 2**32 + LEAF)}, "a child is no node"),
        ({"left": with_one(FOREST.left, INNER, FOREST.roots[2])}, "two ways lead to a node"),
        ({"left": with_one(FOREST.left, INNER, INNER)}, "two ways lead to a node"),
        ({"right": with_one(FOREST.right, INNER, FOREST.left[INNER])}, "two ways lead to a node"),
        ({"left": with_one(FOREST.left, LEAF, INNER)}, "two ways lead to a node"),
        ({"width": 0}, "size is none"),
        ({"width": 2**40}, "size is none"),
        ({"values": FOREST.values[:-1]}, "values: "),
        ({"values": FOREST.values[:, :0].copy(), "base": np.zeros(0)}, "size is none"),
        ({"values": FOREST.values.astype(np.float32)}, "values: "),
        ({"values": FOREST.values[:, 0].copy()}, "values: "),
        ({"base": np.zeros(3)}, "base: "),
        ({"left": FOREST.left.astype(np.int32)}, "left: "),
        ({"left": FOREST.left.astype(np.float64)}, "left: "),
        ({"threshold": FOREST.threshold[1:].copy()}, "threshold: "),
        ({"missing_left": FOREST.missing_left.astype(np.int64)}, "missing_left: "),
        ({"roots": FOREST.roots.reshape(1, -1)}, "roots: "),
    ],
)
def test_a_damaged_forest_is_refused(changed: dict[str, Any], why: str):
    with pytest.raises(ValueError, match=why):
        Walker(**{**vars(FOREST), "width": 4, **changed})


def test_arrays_of_another_type_or_shape_are_refused():
    made, rows, found = walker(FOREST, 4), np.zeros((5, 4)), np.zeros((5, 2))
    frozen = found.copy()
    frozen.flags.writeable = False
    for wrong in (
        (np.zeros((5, 3)), found),
        (np.zeros(4), found),
        (rows.astype(np.float32), found),
        (rows.astype(">f8"), found),
        (rows, np.zeros((4, 2))),
        (rows, np.zeros((5, 1))),
        (rows, np.zeros((5, 2), dtype=np.int64)),
        (rows[:, ::-1], found),
        (rows, frozen),
    ):
        with pytest.raises(ValueError, match=r"."):
            made.sums_into(*wrong)
    with pytest.raises(TypeError):
        made.sums_into(rows)  # type: ignore[call-arg]
    made.sums_into(np.zeros((0, 4)), np.zeros((0, 2)))


def test_no_row_of_a_damaged_forest_is_read_after_all():
    """Whatever bits arrays hold, a forest is refused, or walked within its bounds."""
    random = np.random.default_rng(3)
    rows, refused = random.normal(size=(40, 4)), 0
    for _ in range(3000):
        name = random.choice(["roots", "feature", "left", "right"])
        array = getattr(FOREST, name).copy()
        array[random.integers(len(array))] = random.choice([random.integers(-3, NODES + 3), random.integers(2**63)])
        try:
            made = walker(FOREST, 4, **{name: array})
        except ValueError:
            refused += 1
            continue
        assert np.isfinite(sums(made, rows, 2)).all()
    assert 1000 < refused < 3000


def test_threads_walk_side_by_side():
    forest = forest_of(200)
    made = walker(forest, 4)
    rows = np.random.default_rng(0).normal(size=(4000, 4))
    want, wrong = sums(made, rows, 2), []

    def walk() -> None:
        for _ in range(5):
            if not np.array_equal(sums(made, rows, 2), want):
                wrong.append(1)

    threads = [threading.Thread(target=walk) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []
