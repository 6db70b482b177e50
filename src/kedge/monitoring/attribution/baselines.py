"""Rows that stand for what is usual in a data set, from which explanations start. PURE.

The centres of k clusters (k-means, with one column for each frequent text); of a column of texts its most frequent
one in the cluster, as k-prototypes has it. Sources: Lloyd (1982); Huang, "Extensions to the k-means algorithm for
clustering large data sets with categorical values" (1998).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

USUAL_CLUSTERS, MOST_CLUSTERS = 5, 12
_MOST_ROWS, _MOST_TEXTS = 20_000, 20


def clustered(rows: npt.NDArray[Any], clusters: int | None, seed: int) -> npt.NDArray[Any]:
    """rows: (n, features), float64 or objects; at least one. Never more centres than there are different rows."""
    rows = rows[np.random.default_rng(seed).permutation(len(rows))[:_MOST_ROWS]]
    coded = np.column_stack([_coded(rows[:, place]) for place in range(rows.shape[1])])
    number = min(clusters or USUAL_CLUSTERS, len(np.unique(coded, axis=0)))
    if number == 1:
        return _centre(rows)[None, :]
    members = KMeans(n_clusters=number, n_init=1, random_state=seed).fit_predict(coded)
    return np.stack([_centre(rows[members == each]) for each in np.unique(members)])


def _centre(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    found = np.empty(rows.shape[1], dtype=rows.dtype)
    for place in range(rows.shape[1]):
        column = rows[:, place]
        numbers = numeric(column)
        found[place] = numbers.mean() if numbers is not None else Counter(column.tolist()).most_common(1)[0][0]
    return found


def numeric(column: npt.NDArray[Any]) -> npt.NDArray[np.float64] | None:
    """Numbers, those that are missing as the mean of the others; None: of texts, or of nothing at all."""
    try:
        found = column.astype(float)
    except (TypeError, ValueError):
        return None
    there = np.isfinite(found)
    return np.where(there, found, found[there].mean()) if there.any() else None


def _coded(column: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    numbers = numeric(column)
    if numbers is not None:
        spread = numbers.std()
        return ((numbers - numbers.mean()) / spread if spread else numbers * 0)[:, None]
    texts = [str(each) for each in column]
    frequent = [text for text, _ in Counter(texts).most_common(_MOST_TEXTS)]
    return np.array([[float(text == each) for each in frequent] for text in texts])
