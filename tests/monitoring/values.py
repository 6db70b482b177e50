"""Columns of every shape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "cauchy": lambda rng, n: rng.standard_cauchy(n),
    "sorted": lambda rng, n: np.sort(rng.normal(size=n)),
    "integers": lambda rng, n: rng.integers(0, 7, n),
    "wide integers": lambda rng, n: rng.integers(-(2**50), 2**50, n),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.exponential(size=n)),
    "far apart": lambda rng, n: np.where(rng.random(n) < 0.5, 1e12, 0.0) + rng.normal(size=n),
    "constant": lambda rng, n: np.full(n, 2.5),
}
