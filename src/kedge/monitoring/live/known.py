"""The columns of statistics.json, as drift is told of. PURE.

The file holds a sketch of each number and the most frequent texts, and no times: of its columns no season is known.
"""

from __future__ import annotations

import numpy as np

from kedge.monitoring.data_quality.statistics_file import Feature, Statistics
from kedge.monitoring.drift import baseline, cells
from kedge.monitoring.drift.baseline import Column


def columns(statistics: Statistics) -> tuple[dict[str, Column], list[str]]:
    """(columns, in the file's order; names of those that hold nothing to compare with)."""
    found: dict[str, Column] = {}
    empty = []
    for name, feature in statistics.features.items():
        column = _column(feature, statistics.rows)
        if column is None:
            empty.append(name)
        else:
            found[name] = column
    return found, empty


def _column(feature: Feature, rows: int) -> Column | None:
    missing = float(max(rows - feature.present, 0))
    if feature.sketch is not None and feature.sketch.count:
        values, weights = feature.sketch.weighted()
        numbers = cells.numeric(values, weights)
        counts = cells.counted(numbers, values, weights)
        counts[-1] += missing
        return baseline.learned(numbers, np.atleast_2d(counts))
    if feature.values and sum(feature.values.values()) > 0:
        levels = cells.categorical(feature.values)
        counts = cells.tallied(levels, feature.values, missing)
        # Those beyond the most frequent ones, which alone are in the file.
        counts[-2] += max(feature.present - sum(feature.values.values()), 0.0)
        return baseline.learned(levels, np.atleast_2d(counts))
    return None
