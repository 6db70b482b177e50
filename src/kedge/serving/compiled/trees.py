"""Trees of several libraries put together as one Forest. PURE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kedge.serving.compiled.program import Array, Forest


@dataclass(frozen=True)
class Tree:
    """Arrays over the nodes of one tree, whose root is the first; `left` and `right` mean nothing in a leaf."""

    is_leaf: Array
    feature: Array
    threshold: Array
    """x <= threshold goes left."""
    left: Array
    right: Array
    missing_left: Array
    values: Array
    """Shape (nodes, outputs)."""


def forest(trees: Sequence[Tree], base: Array) -> Forest:
    counts = [len(each.is_leaf) for each in trees]
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    leaf = np.concatenate([each.is_leaf for each in trees]).astype(bool)
    itself = np.arange(len(leaf))
    left, right = (
        np.concatenate(
            [getattr(each, side).astype(np.int64) + start for each, start in zip(trees, starts, strict=False)]
        )
        for side in ("left", "right")
    )
    values = np.concatenate([each.values for each in trees]).astype(np.float64)
    return Forest(
        roots=starts[:-1],
        feature=np.where(leaf, 0, np.concatenate([each.feature for each in trees])).astype(np.int64),
        threshold=np.where(leaf, np.inf, np.concatenate([each.threshold for each in trees])).astype(np.float64),
        left=np.where(leaf, itself, left),
        right=np.where(leaf, itself, right),
        missing_left=np.where(leaf, True, np.concatenate([each.missing_left for each in trees])).astype(bool),
        values=np.where(leaf[:, None], values, 0.0),
        base=np.asarray(base, dtype=np.float64),
    )


def at_output(values: Array, output: int, count: int) -> Array:
    """Values of a tree, shape (nodes,), as those of one of several outputs."""
    table = np.zeros((len(values), count))
    table[:, output] = values
    return table
