"""A baseline for drift, read from statistics.json, and a window counted in its cells. PURE.

A file without what `learning` writes, such as one of AWS's, gives each column as a whole: then rows are taken to
be independent of one another.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kedge.monitoring.data_quality.statistics_file import BadFile, Feature, Statistics
from kedge.monitoring.drift.baseline import Column, learned
from kedge.monitoring.drift.cells import Categorical, Cells, Floats, Numeric, categorical, counted, numeric, tallied
from kedge.monitoring.drift.learning import FEATURE, MOST_COLUMNS, SEGMENTS, levels_of
from kedge.monitoring.drift.repeats import MOST_REPEATS
from kedge.monitoring.profiles.tally import text_of

if TYPE_CHECKING:
    from kedge.monitoring.profiles.profile import Profile

_LARGEST_BYTES = 64 << 20


@dataclass(frozen=True)
class Known:
    """columns: of all rows. segments: of the rows with each value of the column `by`.

    in_order: whether it knows how columns behave in time. names: of all columns in order, also of those that hold
    nothing to compare with.
    """

    columns: dict[str, Column]
    names: tuple[str, ...] = ()
    by: str = ""
    segments: dict[str, dict[str, Column]] = field(default_factory=dict)
    in_order: bool = True


def read(document: Mapping[str, Any], statistics: Statistics) -> Known:
    """statistics: what the same document says. Raises BadFile."""
    features = [held for held in document["features"] if FEATURE in held]
    if features:
        columns = {str(held["name"]): _read(held[FEATURE], str(held["name"])) for held in features}
    else:
        wholes = ((name, _whole(feature)) for name, feature in statistics.features.items())
        columns = dict([(name, whole) for name, whole in wholes if whole is not None][:MOST_COLUMNS])
    segments = document.get(SEGMENTS) or {}
    try:
        by, values = str(segments.get("column", "")), dict(segments.get("values", {}))
        parts = {value: {name: _read(each, name) for name, each in of.items()} for value, of in values.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise BadFile(f"{SEGMENTS} of the baseline statistics cannot be read: {error!r}") from None
    return Known(columns, tuple(statistics.features), by, parts, bool(features))


def _read(held: Any, name: str) -> Column:
    try:
        cells: Cells
        if "uppers" in held:
            cells = Numeric(np.asarray(held["uppers"], dtype=np.float64))
        else:
            cells = Categorical(tuple(map(str, held["levels"])))
        shape = int(held["blocks"]), cells.count + 1
        packed = zlib.decompressobj().decompress(base64.b64decode(held["counts"], validate=True), _LARGEST_BYTES)
        counts = np.frombuffer(packed, "<u4").reshape(shape).astype(np.float64)
        starts = held.get("starts_s")
        if not counts[:, :-1].any():
            raise ValueError("no row has a value")
        repeats = float(held.get("repeats", 1.0))
        if not 1 <= repeats <= MOST_REPEATS:
            raise ValueError(f"repeats is {repeats}; it has to be 1 to {MOST_REPEATS:.0f}")
        return learned(cells, counts, None if starts is None else np.asarray(starts, dtype=np.float64), repeats)
    except (binascii.Error, zlib.error, KeyError, TypeError, ValueError) as error:
        raise BadFile(f"{FEATURE} of {name} in the baseline statistics cannot be read: {error!r}") from None


def _whole(feature: Feature) -> Column | None:
    """Of a file without blocks: all rows are one."""
    if feature.sketch is not None and feature.sketch.count:
        values, weights = feature.sketch.weighted()
        of_numbers = numeric(values, weights)
        counts = counted(of_numbers, values, weights)
        counts[-1] = feature.missing
        return learned(of_numbers, counts[None, :])
    if feature.values and sum(feature.values.values()):
        levels = levels_of(feature.values, feature.present)
        of_texts = categorical(levels)
        return learned(of_texts, tallied(of_texts, levels, feature.missing)[None, :])
    return None


def window(profile: Profile, known: Mapping[str, Column]) -> dict[str, Floats]:
    """Counts of a window in the baseline's cells, a row for each column; of one that is not there nothing but zeros."""
    found = {}
    for name, column in known.items():
        cells, of = column.cells, profile.columns.get(name)
        if of is None:
            found[name] = np.zeros(cells.count + 1)
        elif isinstance(cells, Numeric):
            row = counted(cells, *of.sketch.weighted()) if of.sketch.count else np.zeros(cells.count + 1)
            row[-1] = profile.rows - of.sketch.count
            found[name] = row
        else:
            row = tallied(cells, {text_of(key): float(count) for key, count in of.tally.counts.items()})
            row[-1] = profile.rows - of.present
            row[-2] += max(of.present - row[:-1].sum(), 0.0)  # what the tally does not hold is rare
            found[name] = row
    return found
