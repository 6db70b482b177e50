"""Which features are a row's own and which a baseline's in each sample of Kernel SHAP, and how samples count. PURE.

All coalitions where the budget allows it, which makes the values exact; else whole sizes from the outside in (one
feature, and all but one; two; ...), whose weights are largest, and then random ones of the sizes left, each with its
complement. Sources: Lundberg and Lee, "A unified approach to interpreting model predictions" (2017); Covert and Lee,
"Improving KernelSHAP" (2021) of the pairs.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]
_EXTRA = 2**11
MOST_ALL = 30
"""Features, beyond which the number of all coalitions is no number to compute with."""


class Coalitions(NamedTuple):
    """masks: shape (samples, features), True is the row's own value; weights: (samples,), their sum is 1."""

    masks: Masks
    weights: Numbers


def default_samples(features: int) -> int:
    """Source: the documented default of Clarify."""
    return min(2 * features + _EXTRA, every(features))


def every(features: int) -> int:
    """How many coalitions there are that are neither empty nor whole; bounded, as more are never asked for."""
    return int(2 ** min(features, MOST_ALL) - 2)


def coalitions(features: int, samples: int, random: np.random.Generator) -> Coalitions:
    """features: at least 2; samples: at least 2 are made. Never more than there are."""
    samples = max(2, min(samples, every(features)))
    masks: list[Masks] = []
    weights: list[Numbers] = []
    sizes = np.arange(1, features // 2 + 1)
    mass = (features - 1) / (sizes * (features - sizes))
    mass[sizes * 2 != features] *= 2
    mass /= mass.sum()
    left, rest = samples, 1.0
    for place, size in enumerate(sizes):
        number = comb(features, int(size)) * (1 if size * 2 == features else 2)
        # As many of this size as its share of the budget that is left, or all: then it is done with.
        if left * mass[place] / rest < number * (1 - 1e-9):
            break
        whole = _of_size(features, int(size))
        both = whole if size * 2 == features else np.concatenate([whole, ~whole])
        masks.append(both)
        weights.append(np.full(len(both), mass[place] / len(both)))
        left, rest = left - len(both), rest - mass[place]
    else:
        place = len(sizes)
    if place < len(sizes) and left >= 2:
        drawn, counts = _drawn(features, sizes[place:], mass[place:], left, random)
        masks.append(drawn)
        weights.append(rest * counts / counts.sum())
    found = np.concatenate(weights)
    return Coalitions(np.concatenate(masks), found / found.sum())


def _of_size(features: int, size: int) -> Masks:
    chosen = np.array(list(combinations(range(features), size)))
    found = np.zeros((len(chosen), features), dtype=bool)
    found[np.arange(len(chosen))[:, None], chosen] = True
    return found


def _drawn(
    features: int, sizes: npt.NDArray[np.int64], mass: Numbers, samples: int, random: np.random.Generator
) -> tuple[Masks, Numbers]:
    """Different coalitions and how often each was drawn, in pairs. samples: about as many different ones."""
    pairs = samples // 2
    seen: dict[bytes, int] = {}
    chosen: list[Masks] = []
    counts: list[int] = []
    for _ in range(4):  # draws that repeat others make a coalition count more, and are made up for
        drawn = random.choice(sizes, size=pairs, p=mass / mass.sum())
        order = np.argsort(random.random((pairs, features)), axis=1)
        for mask in np.argsort(order, axis=1) < drawn[:, None]:
            # Of a pair of halves the one without the first feature stands for both.
            key = (mask if not mask[0] else ~mask).tobytes()
            at = seen.get(key)
            if at is not None:
                counts[at] += 1
            elif len(chosen) < pairs:
                seen[key] = len(chosen)
                chosen.append(mask)
                counts.append(1)
        if len(chosen) >= pairs:
            break
    found = np.array(chosen)
    times = np.array(counts, dtype=float)
    return np.concatenate([found, ~found]), np.concatenate([times, times]) / 2
