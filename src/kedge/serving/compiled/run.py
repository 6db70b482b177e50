"""A program as a function of rows: numpy, but for trees, which C walks down where it is built (`walker.c`).

Both add the same leaves in the same order, that of the trees, so that their sums are the same to the last bit. C is
some ten times as fast (docs/compiled.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit

from kedge import core
from kedge.serving.compiled.program import Array, Forest, Linear, Program, Step

Function = Callable[[Array], Array]

NATIVE, NUMPY = ENGINES = ("native", "numpy")
CLOSE = 1e-6
"""Two outputs that differ by less decide no label: those rows are given to the model itself."""


_NOTHING = Linear(np.empty((0, 0)), np.empty(0))


class Elsewhere(Exception):
    """Only the model itself can answer these rows."""


def engine(program: Program) -> str:
    """The one that is used here."""
    return NATIVE if isinstance(program.head, Forest) and has_native() else NUMPY


def has_native() -> bool:
    return core.found(core.NATIVE).compiled


def compiled(
    program: Program, original: Callable[[Any], Any], which: str = "", *, most_rows: int = 0
) -> Callable[[Any], Any]:
    """What stands in for `original`, to which it gives the rows that it cannot answer as that would.

    which: one of ENGINES; "" takes the best that there is. most_rows: `original` takes a call with more; 0 is no bound.
    """
    steps = _chain(program.steps)
    if isinstance(program.head, Linear):
        head = _linear(program.head)
    elif (which or engine(program)) == NATIVE:
        head = _natively(program.head, _width_after(program))
    else:
        head = _with_numpy(program.head)
    # A head holds what it walks in an order of its own; the arrays of a forest may be large.
    program = replace(program, head=_NOTHING)
    check = _check_of(program)
    finish = _finish_of(program)

    def answer(rows: Any) -> Any:
        if type(rows) is not np.ndarray or rows.dtype != np.float64 or rows.ndim != 2 or rows.shape[1] != program.width:
            return original(rows)
        if most_rows and len(rows) > most_rows:
            return original(rows)
        try:
            columns = steps(rows)
            if program.single:
                with np.errstate(over="ignore"):
                    columns = columns.astype(np.float32).astype(np.float64)
            if check is not None:
                check(rows)
                if columns is not rows:
                    # float32 has an infinity where float64 has none, and a step may divide by zero.
                    check(columns)
            scores = head(columns)
        except Elsewhere:
            return original(rows)
        return finish(scores, rows)

    def _labels(scores: Array, rows: Array) -> Array:
        assert program.classes is not None, "a classifier has classes"
        if scores.shape[1] == 1:
            distance = scores[:, 0] - program.middle
            chosen = (distance > 0).astype(np.intp)
            unsure = ~(np.abs(distance) > CLOSE)
        else:
            chosen = scores.argmax(axis=1)
            best = np.partition(scores, -2, axis=1)[:, -2:]
            unsure = ~(best[:, 1] - best[:, 0] > CLOSE * (1 + np.abs(best[:, 1])))
        labels = program.classes.take(chosen)
        if program.object_labels:
            labels = labels.astype(object)
        if unsure.any():
            labels[unsure] = original(rows[unsure])
        return labels

    if program.answer == "labels":
        finish = _labels
    return answer


def _check_of(program: Program) -> Callable[[Array], None] | None:
    if program.allows_nan and program.allows_infinity:
        return None

    def check(columns: Array) -> None:
        if not program.allows_nan and not program.allows_infinity:
            if not np.isfinite(columns).all():
                raise Elsewhere
        elif not program.allows_nan:
            if np.isnan(columns).any():
                raise Elsewhere
        elif not program.allows_infinity and np.isinf(columns).any():
            raise Elsewhere

    return check


def _finish_of(program: Program) -> Callable[[Array, Array], Array]:
    link = _LINKS[program.link]

    def finish(scores: Array, rows: Array) -> Array:
        values = link(scores)
        if program.answer == "probabilities" and values.shape[1] == 1:
            positive = values[:, 0]
            values = np.empty((len(positive), 2))
            np.subtract(1, positive, out=values[:, 0])
            values[:, 1] = positive
        if program.flat and program.answer == "values":
            values = values[:, 0]
        return values.astype(program.dtype, copy=False)

    return finish


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _one_vs_rest(scores: Array) -> Array:
    each = expit(scores)
    return each / each.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


_LINKS: Mapping[str, Function] = {
    "none": lambda scores: scores,
    "sigmoid": expit,
    "softmax": _softmax,
    "one-vs-rest": _one_vs_rest,
    "exp": np.exp,
}


def _linear(head: Linear) -> Function:
    # Not a matrix product: that rounds otherwise for several rows than for one.
    return lambda columns: np.einsum("nc,oc->no", columns, head.coefficients) + head.base


def _with_numpy(forest: Forest) -> Function:
    """All rows go down all trees at once, a level at a time."""
    children = np.stack([forest.right, forest.left], axis=1).ravel().astype(np.intp)
    feature, threshold = forest.feature.astype(np.intp), forest.threshold
    roots, depth = forest.roots.astype(np.intp), _depth(forest)
    missing_left = forest.missing_left
    outputs = [(base, column.copy()) for base, column in zip(forest.base, forest.values.T, strict=True)]

    def scores(columns: Array) -> Array:
        count, width = columns.shape
        flat, starts = columns.ravel(), (np.arange(count) * width)[:, None]
        has_nan = bool(np.isnan(flat).any())
        at = np.broadcast_to(roots, (count, len(roots)))
        for _ in range(depth):
            values = flat.take(feature.take(at) + starts)
            goes_left = values <= threshold.take(at)
            if has_nan:
                goes_left |= np.isnan(values) & missing_left.take(at)
            at = children.take(2 * at + goes_left)
        return np.stack([_added_up(base, each.take(at)) for base, each in outputs], axis=1)

    return scores


def _added_up(base: float, leaves: Array) -> Array:
    """base + leaves[:, 0] + leaves[:, 1] and so on, in this order. `sum` adds in another, which numpy may choose."""
    sums = np.empty((len(leaves), 1 + leaves.shape[1]))
    sums[:, 0] = base
    sums[:, 1:] = leaves
    return np.add.accumulate(sums, axis=1, out=sums)[:, -1]


def _depth(forest: Forest) -> int:
    """Of the deepest leaf."""
    depth, level = 0, forest.roots
    inner = ~forest.is_leaf
    while (level := level[inner[level]]).size:
        level = np.concatenate([forest.left[level], forest.right[level]])
        depth += 1
    return depth


def _natively(forest: Forest, width: int) -> Function:
    """Raises ValueError for a forest that is damaged."""
    from kedge.serving.compiled.walker import Walker

    arrays = {name: np.ascontiguousarray(array) for name, array in vars(forest).items()}
    walker, outputs = Walker(**arrays, width=width), forest.values.shape[1]

    def scores(columns: Array) -> Array:
        sums = np.empty((len(columns), outputs))
        walker.sums_into(np.ascontiguousarray(columns), sums)
        return sums

    return scores


def _width_after(program: Program) -> int:
    """Columns that reach the head."""
    if not program.steps:
        return program.width
    return int(_chain(program.steps)(np.zeros((1, program.width))).shape[1])


def _chain(steps: tuple[Step, ...]) -> Function:
    functions = [STEPS[each.name](each) for each in steps]

    def run(columns: Array) -> Array:
        for function in functions:
            columns = function(columns)
        return columns

    return run


def _side_by_side(step: Step) -> Function:
    branches = [_chain(each) for each in step.branches]
    return lambda columns: np.concatenate([branch(columns) for branch in branches], axis=1)


def _categories(step: Step) -> list[tuple[Array, Array]]:
    """Of each column: the categories in ascending order, and the place of each in the encoder's own order."""
    found = []
    for number in range(len(step.arrays) - 1):
        own = step.arrays[f"categories_{number}"]
        order = np.argsort(own, kind="stable")
        found.append((own[order], order))
    return found


def _places(column: Array, sorted_categories: Array, order: Array) -> tuple[Array, Array]:
    """The place of each value among the categories, and whether it is one of them."""
    near = np.searchsorted(sorted_categories, column).clip(max=len(sorted_categories) - 1)
    return order[near], sorted_categories[near] == column


def _one_hot(step: Step) -> Function:
    """unknown: NaN makes an unknown value the model's own affair; otherwise it is no category at all."""
    categories, refuses = _categories(step), bool(np.isnan(step.arrays["unknown"]))

    def run(columns: Array) -> Array:
        blocks = []
        for number, (values, order) in enumerate(categories):
            places, known = _places(columns[:, number], values, order)
            if refuses and not known.all():
                raise Elsewhere
            block = np.zeros((len(columns), len(values)))
            block[np.flatnonzero(known), places[known]] = 1.0
            blocks.append(block)
        return np.concatenate(blocks, axis=1)

    return run


def _ordinal(step: Step) -> Function:
    categories, unknown = _categories(step), float(step.arrays["unknown"])

    def run(columns: Array) -> Array:
        out = np.empty(columns.shape)
        for number, (values, order) in enumerate(categories):
            places, known = _places(columns[:, number], values, order)
            if np.isnan(unknown) and not known.all():
                raise Elsewhere
            out[:, number] = np.where(known, places, unknown)
        return out

    return run


STEPS: Mapping[str, Callable[[Step], Function]] = {
    "subtract": lambda step: lambda columns: columns - step.arrays["by"],
    "add": lambda step: lambda columns: columns + step.arrays["by"],
    "multiply": lambda step: lambda columns: columns * step.arrays["by"],
    "divide": lambda step: lambda columns: columns / step.arrays["by"],
    "clip": lambda step: lambda columns: columns.clip(step.arrays["low"], step.arrays["high"]),
    "impute": lambda step: lambda columns: np.where(np.isnan(columns), step.arrays["by"], columns),
    "near zero": lambda step: lambda columns: np.where(np.abs(columns) <= step.arrays["within"], 0.0, columns),
    "select": lambda step: lambda columns: columns[:, step.arrays["columns"]],
    "project": lambda step: lambda columns: np.einsum("nc,oc->no", columns, step.arrays["onto"]),
    "one hot": _one_hot,
    "ordinal": _ordinal,
    "side by side": _side_by_side,
}
