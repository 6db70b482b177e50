"""What a compiled model is: arrays, and the names of a few kinds of arithmetic. PURE.

A program is written as an .npz file without pickled objects, so that reading one never runs code of its writer.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]

VERSION = 1
LINKS = ("none", "sigmoid", "softmax", "one-vs-rest", "exp")
ANSWERS = ("values", "probabilities", "labels")


class Damaged(Exception):
    """The file holds no program of this version."""


class NotCompiled(Exception):
    """The model is of a kind that is not compiled; the message is a sentence that says which."""


@dataclass(frozen=True)
class Step:
    """One transformation of all columns; `name` is a key of `run.STEPS`."""

    name: str
    arrays: Mapping[str, Array] = field(default_factory=dict)
    branches: tuple[tuple[Step, ...], ...] = ()
    """Of "side by side": each gets all columns, and what comes out of them stands side by side."""


@dataclass(frozen=True)
class Forest:
    """Trees, as arrays over the nodes of all of them.

    A row is at roots[t] first; from node i it goes to left[i] when its value of column feature[i] is at most
    threshold[i], and to right[i] when it is more; with NaN where missing_left[i] says. A leaf leads to itself on both
    sides.
    """

    roots: Array
    """Shape (trees,), int64."""
    feature: Array
    threshold: Array
    """float64; infinity in a leaf."""
    left: Array
    right: Array
    missing_left: Array
    values: Array
    """Shape (nodes, outputs), float64: what a leaf adds to each output; zero elsewhere."""
    base: Array
    """Shape (outputs,): what the sums begin with."""

    @property
    def is_leaf(self) -> Array:
        return self.left == np.arange(len(self.left))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Linear:
    coefficients: Array
    """Shape (outputs, columns)."""
    base: Array
    """Shape (outputs,)."""


@dataclass(frozen=True)
class Program:
    width: int
    """Columns of a row."""
    head: Forest | Linear
    steps: tuple[Step, ...] = ()
    """What is done to the columns before."""
    single: bool = False
    """Columns are rounded to float32 before the head sees them."""
    link: str = "none"
    """From the head's outputs, and of a classifier to probabilities; one of LINKS."""
    answer: Literal["values", "probabilities", "labels"] = "values"
    classes: Array | None = None
    """Of a classifier, in the order of its outputs; of one with a single output the second is the positive one."""
    middle: float = 0.0
    """Of a single output: above it lies the second class."""
    flat: bool = True
    """Whether values are answered as (rows,), not (rows, outputs)."""
    dtype: str = "f8"
    """Of values and probabilities."""
    object_labels: bool = False
    allows_nan: bool = False
    """Whether it stands for the model also where a row holds NaN; alike for the infinities."""
    allows_infinity: bool = False


def dump(program: Program) -> bytes:
    arrays: dict[str, Array] = {}

    def keep(array: Array) -> str:
        name = f"a{len(arrays)}"
        arrays[name] = array
        return name

    def described(steps: tuple[Step, ...]) -> list[Any]:
        return [
            [each.name, {name: keep(a) for name, a in each.arrays.items()}, [described(b) for b in each.branches]]
            for each in steps
        ]

    kind = "forest" if isinstance(program.head, Forest) else "linear"
    fields = {name: value for name, value in vars(program).items() if name not in ("head", "steps", "classes")}
    text = {
        **fields,
        "version": VERSION,
        "kind": kind,
        "head": {name: keep(array) for name, array in vars(program.head).items()},
        "steps": described(program.steps),
        "classes": None if program.classes is None else keep(program.classes),
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, program=np.array(json.dumps(text)), **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def load(data: bytes) -> Program:
    """Raises Damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            text = json.loads(str(file["program"]))
            if text.pop("version") != VERSION:
                raise Damaged("it is of another version")
            arrays = {name: file[name] for name in file.files}
        kind = {"forest": Forest, "linear": Linear}[text.pop("kind")]
        head = kind(**{name: arrays[key] for name, key in text.pop("head").items()})
        steps = _steps(text.pop("steps"), arrays)
        classes = text.pop("classes")
        return Program(**text, head=head, steps=steps, classes=None if classes is None else arrays[classes])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise Damaged(f"it cannot be read: {error}") from error


def _steps(described: Any, arrays: Mapping[str, Array]) -> tuple[Step, ...]:
    return tuple(
        Step(name, {key: arrays[value] for key, value in keys.items()}, tuple(_steps(b, arrays) for b in branches))
        for name, keys, branches in described
    )
