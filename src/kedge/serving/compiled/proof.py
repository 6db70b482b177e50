"""Whether a program answers as its model does: on the model's own sample, on rows at every edge, and on any rows.

Labels have to be equal, numbers within TOLERANCE of one another: absolute for numbers up to 1, relative above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kedge.serving.compiled import run
from kedge.serving.compiled.program import Array, Forest, Program, Step

TOLERANCE = 1e-6
ROWS = 2000
"""Of random rows."""
LEAST_ROWS = 1000
MAX_NODES = 3000
"""Of a large forest so many nodes are chosen at random, to each of which rows are led."""
_BATCH = 1000
_SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e-300, 1e30, -1e30, 3e38)
_TOO_LARGE = (1e39, -1e39, 1e300)
"""For float32, so that many a model refuses them."""
_ONE_BY_ONE = 40
"""Rows that are asked alone where the model refuses some."""


@dataclass(frozen=True)
class Verdict:
    """program: as it may be served; None with the reason why not."""

    program: Program | None
    reason: str = ""
    rows: int = 0
    difference: float = 0.0
    """The largest between two numbers."""


def prove(program: Program, original: Callable[[Array], Any], samples: Sequence[Array] = ()) -> Verdict:
    """samples: rows as the model gets them."""
    random = np.random.default_rng(0)
    plain = [rows_for(program, random), *(each for each in samples if each.ndim == 2)]
    plain.append(_with(plain[0][:_ONE_BY_ONE], _TOO_LARGE, random))
    # What the model refuses is left to it; alike where it has an answer for some such rows only.
    for name, value in (("allows_nan", (np.nan,)), ("allows_infinity", (np.inf, -np.inf))):
        edged = _with(plain[0][:ROWS], value, random)
        if _answers(original, edged):
            program = replace(program, **{name: True})  # type: ignore[arg-type]
            plain.append(edged)
    count, furthest = 0, 0.0
    answer = run.compiled(program, original)
    for rows in plain:
        for start in range(0, len(rows), _BATCH):
            part = np.ascontiguousarray(rows[start : start + _BATCH], dtype=np.float64)
            try:
                want = original(part.copy())
            except Exception:  # noqa: BLE001 (a model may raise whatever it likes)
                part = _answered(original, part[:_ONE_BY_ONE])
                if not len(part):
                    continue
                want = original(part.copy())
            distance, wrong = difference(want, answer(part.copy()))
            if wrong:
                return Verdict(None, f"{wrong} ({describe(part, want, answer)})", count + len(part), distance)
            count, furthest = count + len(part), max(furthest, distance)
    if count < LEAST_ROWS:
        return Verdict(None, f"the model answered only {count} of the rows that it was given", count, furthest)
    return Verdict(program, "", count, furthest)


def difference(want: Any, got: Any) -> tuple[float, str]:
    """The largest difference of two answers, and what is wrong with it; "" when nothing is."""
    if not isinstance(want, np.ndarray) or not isinstance(got, np.ndarray):
        return 0.0, f"the model answers with a {type(want).__name__}"
    if want.shape != got.shape or want.dtype != got.dtype:
        return 0.0, f"the model answers {want.dtype} of shape {want.shape}, the program {got.dtype} of {got.shape}"
    if want.dtype.kind != "f":
        return 0.0, "" if np.array_equal(want, got) else "labels differ"
    with np.errstate(all="ignore"):
        apart = np.abs(want.astype(np.float64) - got) / np.maximum(1.0, np.abs(want))
    apart = np.where((want == got) | (np.isnan(want) & np.isnan(got)), 0.0, apart)
    worst = float(apart.max(initial=0.0))
    return worst, "" if worst <= TOLERANCE else f"numbers differ by {worst:.2g}"


def describe(rows: Array, want: Array, answer: Callable[[Array], Any]) -> str:
    """The first row that is answered otherwise, when it is so alone too."""
    for row, each in zip(rows, want, strict=True):
        got = answer(row.reshape(1, -1).copy())
        if difference(np.asarray(each).reshape(1, *np.shape(each)), got)[1]:
            return f"{each} and {got[0]} for {np.array2string(row, threshold=20)}"
    return "only among other rows"


def rows_for(program: Program, random: np.random.Generator) -> Array:
    """Random rows of the size of the thresholds; rows of special values; rows led to nodes, on and beside the split."""
    thresholds = _thresholds(program)
    centre = np.array([np.median(each) if len(each) else 0.0 for each in thresholds])
    spread = np.array([np.ptp(each) if len(each) > 1 else 1.0 for each in thresholds])
    spread = np.where(np.isfinite(spread) & (spread > 0), spread, 1.0)
    shape = (ROWS, program.width)
    rows = centre + random.normal(size=shape) * spread
    at_edges = rows[: ROWS // 2].copy()
    for column, each in enumerate(thresholds):
        chosen = beside(random.choice(each, len(at_edges))) if len(each) else None
        if chosen is not None:
            at_edges[:, column] = random.permuted(chosen, axis=1)[:, 0]
    special = random.choice(np.array(_SPECIAL), shape) * np.where(random.random(shape) < 0.2, 1.0, np.nan)
    special = np.where(np.isnan(special), rows, special)
    # Whole numbers: what encoders take for categories, and a fourth of them ties.
    whole = np.round(rows[: ROWS // 2])
    parts = [rows, at_edges, special, whole]
    known = categories(program.steps)
    for part in parts:
        for column, values in known.items():
            part[:, column] = random.choice(values, len(part))
    if known:
        parts.append(rows[:_ONE_BY_ONE] + 0.5)
    if _sees_its_columns(program):
        parts.append(_led(program, rows, random))
    return np.concatenate(parts)


def categories(steps: Sequence[Step], columns: Sequence[int] | None = None) -> dict[int, Array]:
    """Of each column that an encoder sees as it comes in, what it knows. columns: those that the steps get, or all."""
    found: dict[int, Array] = {}
    for step in steps:
        if step.name == "select":
            picked = step.arrays["columns"].tolist()
            columns = picked if columns is None else [columns[each] for each in picked]
        elif step.name == "side by side":
            for branch in step.branches:
                found |= categories(branch, columns)
            return found
        elif step.name in ("one hot", "ordinal"):
            for number in range(len(step.arrays) - 1):
                found[number if columns is None else columns[number]] = step.arrays[f"categories_{number}"]
            return found
        elif step.name == "project":
            return found
    return found


def beside(values: Array) -> Array:
    """Each value, and the numbers next to it in float64 and in float32; shape (values, 5)."""
    single = values.astype(np.float32)
    with np.errstate(over="ignore"):
        near = [np.nextafter(single, np.float32(way)).astype(np.float64) for way in (-np.inf, np.inf)]
    return np.stack([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf), *near], axis=1)


def _sees_its_columns(program: Program) -> bool:
    """Whether trees split the columns as they come in."""
    return isinstance(program.head, Forest) and all(each.name == "near zero" for each in program.steps)


def _thresholds(program: Program) -> list[Array]:
    """Of each column, where that can be told; of an encoder its categories."""
    found: list[Array] = [np.empty(0)] * program.width
    if isinstance(program.head, Forest) and _sees_its_columns(program):
        inner = ~program.head.is_leaf & np.isfinite(program.head.threshold)
        for column in range(program.width):
            found[column] = np.unique(program.head.threshold[inner & (program.head.feature == column)])
        return found
    for step in program.steps:
        if step.name in ("subtract", "impute") and step.arrays["by"].shape == (program.width,):
            # Of a scaler: its centre, with as much of a spread as the next step divides by.
            return [np.array([value]) for value in step.arrays["by"]]
    return found


def _led(program: Program, rows: Array, random: np.random.Generator) -> Array:
    """For each of so many nodes, five rows that come to it and lie on its threshold and next to it."""
    forest = program.head
    assert isinstance(forest, Forest)
    parent = np.full(len(forest.left), -1)
    inner = np.flatnonzero(~forest.is_leaf)
    parent[forest.left[inner]] = inner
    parent[forest.right[inner]] = inner
    chosen = inner if len(inner) <= MAX_NODES else random.choice(inner, MAX_NODES, replace=False)
    led = []
    for number, node in enumerate(chosen):
        low, high = np.full(program.width, -np.inf), np.full(program.width, np.inf)
        at = node
        while (above := parent[at]) >= 0:
            column, threshold = forest.feature[above], forest.threshold[above]
            if forest.left[above] == at:
                high[column] = min(high[column], threshold)
            else:
                low[column] = max(low[column], threshold)
            at = above
        row = np.clip(rows[number % len(rows)], np.nextafter(low, np.inf), high)
        block = np.repeat(row.reshape(1, -1), 5, axis=0)
        block[:, forest.feature[node]] = beside(forest.threshold[node : node + 1])[0]
        led.append(block)
    found = np.concatenate(led) if led else np.empty((0, program.width))
    return found[np.isfinite(found).all(axis=1)]


def _with(rows: Array, values: Sequence[float], random: np.random.Generator) -> Array:
    """One value of each row, and of every seventh row all, replaced."""
    edged = rows.copy()
    edged[np.arange(len(rows)), random.integers(0, rows.shape[1], len(rows))] = random.choice(values, len(rows))
    edged[::7] = random.choice(values, edged[::7].shape)
    return edged


def _answers(original: Callable[[Array], Any], rows: Array) -> bool:
    """Whether the model answers every such row."""
    try:
        original(rows.copy())
    except Exception:  # noqa: BLE001 (a model may raise whatever it likes)
        return False
    return True


def _answered(original: Callable[[Array], Any], rows: Array) -> Array:
    kept = [row for row in rows if _answers(original, row.reshape(1, -1))]
    return np.array(kept).reshape(-1, rows.shape[1])
