"""A minute of an endpoint's variant as a sketch: small, and without the baseline that it may be judged by. PURE.

Of a column of numbers there are at most MOST_POINTS values with their weights: all values as long as so few differ,
and otherwise evenly spaced ranks, so that a rank is wrong by half a point's weight at most, which is 0.1 % of the
minute's rows. Of texts there are the MOST_LEVELS most frequent ones. Sketches merge by being counted together: whoever
has a baseline counts each minute into its cells, and rows of counts add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import zstandard

from kedge.monitoring.drift.baseline import Column
from kedge.monitoring.drift.cells import Floats, Numeric, counted, tallied
from kedge.monitoring.profiles.column import Column as Profiled
from kedge.monitoring.profiles.profile import Profile
from kedge.monitoring.profiles.tally import text_of

MOST_COLUMNS = 1_000
MOST_POINTS, MOST_LEVELS = 512, 128
LONGEST_TEXT = 1_024
"""A longer one is counted with those that are rare."""
_MOST_BYTES = 64 << 20
"""Of a minute that is read."""
_POSITION = re.compile(r"_c(\d+)")


class BadSketch(ValueError):
    """Not written by this release."""


@dataclass(frozen=True)
class Sketched:
    """A column. present: rows with a value. values, weights: of its finite numbers. levels: rows of each text."""

    present: float
    values: Floats
    weights: Floats
    levels: Mapping[str, float]


@dataclass(frozen=True)
class Minute:
    """minute: since 1970. columns: as records named them; `_c3` is one that has no name but a place."""

    minute: int
    rows: int
    columns: Mapping[str, Sketched]


def of(minute: int, profile: Profile) -> Minute:
    columns = {name: _sketched(column) for name, column in list(profile.columns.items())[:MOST_COLUMNS]}
    return Minute(minute, profile.rows, columns)


def _sketched(column: Profiled) -> Sketched:
    counts = column.tally.counts
    numbers = {key: float(count) for key, count in counts.items() if not isinstance(key, str)}
    texts = [(key, count) for key, count in column.tally.top(MOST_LEVELS) if isinstance(key, str)]
    levels = {key: float(count) for key, count in texts if len(key) <= LONGEST_TEXT}
    if column.tally.exact and numbers and len(numbers) <= MOST_POINTS:
        finite = {key: numbers[key] for key in sorted(numbers) if np.isfinite(key)}
        values, weights = np.array(list(finite), dtype=np.float64), np.array(list(finite.values()), dtype=np.float64)
    else:
        values, weights = _points(*column.sketch.weighted())
    return Sketched(float(column.present), values, weights, levels)


def _points(values: Floats, weights: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Floats, Floats]:
    """values: sorted."""
    distinct, place = np.unique(values, return_inverse=True)
    if len(distinct) <= MOST_POINTS:
        return distinct, np.bincount(place, weights, len(distinct)).astype(np.float64)
    below = np.cumsum(weights)
    each = float(below[-1]) / MOST_POINTS
    chosen = values[np.searchsorted(below, (np.arange(MOST_POINTS) + 0.5) * each)]
    distinct, place = np.unique(chosen, return_inverse=True)
    held: Floats = np.bincount(place, minlength=len(distinct)).astype(np.float64) * each
    return distinct, held


def counts(minute: Minute, known: Mapping[str, Column], names: Sequence[str]) -> dict[str, Floats]:
    """A row of counts of each column of the baseline. A text where it has numbers is as good as missing.

    names: of all of the baseline's columns, in order.
    """
    columns = called(minute.columns, names)
    found = {}
    for name, column in known.items():
        of = columns.get(name)
        if of is None:
            row = np.zeros(column.cells.count + 1)
            row[-1] = minute.rows
        elif isinstance(column.cells, Numeric):
            row = counted(column.cells, of.values, of.weights)
            row[-1] = max(minute.rows - float(of.weights.sum()), 0.0)
        else:
            levels = dict(of.levels)
            for value, weight in zip(of.values.tolist(), of.weights.tolist(), strict=True):
                levels[text_of(value)] = levels.get(text_of(value), 0.0) + weight
            row = tallied(column.cells, levels, max(minute.rows - of.present, 0.0))
            row[-2] += max(of.present - sum(levels.values()), 0.0)  # what is in no level is rare
        found[name] = row
    return found


def called(columns: Mapping[str, Sketched], names: Sequence[str]) -> dict[str, Sketched]:
    """What has but a place gets the baseline's names, in order, that no column has: as records are read beside it."""
    free, known = [name for name in names if name not in columns], set(names)
    found = {}
    for name, column in columns.items():
        place = None if name in known else _POSITION.fullmatch(name)
        number = int(place[1]) if place else len(free)
        found[free[number] if number < len(free) else name] = column
    return found


def written(minute: Minute) -> bytes:
    columns = [
        {"name": name, "present": each.present, "numbers": len(each.values), "levels": each.levels}
        for name, each in minute.columns.items()
    ]
    head = orjson.dumps({"version": 1, "minute": minute.minute, "rows": minute.rows, "columns": columns})
    numbers = [part for each in minute.columns.values() for part in (each.values, each.weights)]
    body = np.concatenate(numbers).astype("<f8").tobytes() if numbers else b""
    return zstandard.ZstdCompressor(3).compress(len(head).to_bytes(4, "little") + head + body)


def read(data: bytes) -> Minute:
    """Raises BadSketch."""
    try:
        whole = zstandard.ZstdDecompressor().decompress(data, max_output_size=_MOST_BYTES)
        end = 4 + int.from_bytes(whole[:4], "little")
        head = orjson.loads(whole[4:end])
        numbers = np.frombuffer(whole, "<f8", offset=end) if len(whole) > end else np.empty(0)
        columns, at = {}, 0
        for each in head["columns"]:
            values, weights = numbers[at : at + each["numbers"]], numbers[at + each["numbers"] :][: each["numbers"]]
            at += 2 * each["numbers"]
            columns[str(each["name"])] = Sketched(float(each["present"]), values, weights, each["levels"])
        if head["version"] != 1 or at != len(numbers):
            raise ValueError(f"version {head['version']!r}, {at} of {len(numbers)} numbers")
        return Minute(int(head["minute"]), int(head["rows"]), columns)
    except (zstandard.ZstdError, KeyError, TypeError, ValueError) as error:
        raise BadSketch(f"A sketch of a minute cannot be read: {error!r}") from None
