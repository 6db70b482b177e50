"""Drift as a baseline is learned: what statistics.json carries beside AWS's keys, for windows to be judged by. PURE.

`kedge_drift` of a feature holds its cells, and how many of its rows each cell had in block after block: hours, where
rows have times, else runs of rows in order; and how many of its rows tell as much as one, where rows repeat. Captured
records say themselves when they were. `kedge_segments` holds the same for each value of a chosen column. Who
reads it is `known`.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kedge.monitoring.data_quality.statistics_file import BadFile
from kedge.monitoring.drift.cells import Categorical, Cells, Floats, Numeric, categorical, numeric
from kedge.monitoring.drift.kept_rows import HOUR_S, LEAST_HOURS, KeptRows, Stretch, as_texts, hashes_of, places
from kedge.monitoring.drift.repeats import repeating
from kedge.monitoring.profiles import kinds
from kedge.monitoring.profiles.tally import text_of

if TYPE_CHECKING:
    from kedge.monitoring.profiles.profile import Profile

FEATURE, SEGMENTS, TIME = "kedge_drift", "kedge_segments", "kedge_time_column"
INFERENCE_TIME = "eventMetadata.inferenceTime"
"""The column of times of captured records."""
MOST_COLUMNS = 1_000
"""Columns beyond are judged by AWS's distance alone."""
MOST_SEGMENTS, LEAST_SEGMENT_ROWS = 20, 1_000
_MOST_BLOCKS, _LEAST_BLOCK_ROWS = 256, 20


def write(document: dict[str, Any], profile: Profile, rows: KeptRows, segment: str = "") -> None:
    """Adds to statistics.json what drift needs. segment: the column whose values are segments, if one is chosen.

    Raises BadFile where a column that was chosen is not there, or no row has a time.
    """
    if segment and segment not in profile.columns:
        raise BadFile(f"kedge_segment_column is {segment!r}; the columns are {', '.join(list(profile.columns)[:20])}.")
    stretches = rows.stretches
    if rows.time and rows.time != INFERENCE_TIME:
        document[TIME] = rows.time
        if all(each.times_s is None for each in stretches):
            raise BadFile(f"{TIME} is {rows.time!r}: no row has seconds since 1970 there, nor a time in ISO 8601.")
    named = {each["name"]: each for each in document["features"]}
    cells = dict(list(_cells(profile))[:MOST_COLUMNS])
    for name, of_column in cells.items():
        found = _blocks(stretches, name, of_column)
        if found is not None:
            named[name][FEATURE] = found
    if segment:
        document[SEGMENTS] = {"column": segment, "values": dict(_segments(profile, stretches, segment, cells))}


def _cells(profile: Profile) -> Iterator[tuple[str, Cells]]:
    for name, column in profile.columns.items():
        if column.kinds.inferred() in kinds.NUMERIC:
            if column.sketch.count:
                yield name, numeric(*column.sketch.weighted())
        elif column.present and column.tally.counts:
            yield name, categorical(levels_of(column.tally.counts, column.present))


def levels_of(counts: Mapping[Any, float], present: float) -> dict[str, float]:
    """Of what a tally does not hold one level stands for all: it is rare, or many are."""
    found = {text_of(key): float(count) for key, count in counts.items()}
    rest = present - sum(found.values())
    if rest > 0:  # in portions that are too rare for a cell of their own
        found |= {f"\0{number}": rest / 200 for number in range(200)}
    return found


def _segments(
    profile: Profile, stretches: list[Stretch], segment: str, cells: Mapping[str, Cells]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, _ in profile.columns[segment].tally.top(MOST_SEGMENTS):
        value = text_of(key)
        part = [_of_segment(each, segment, value) for each in stretches]
        held = sum(each.rows for each in part)
        if held < LEAST_SEGMENT_ROWS:
            continue
        found = {}
        for name, common in cells.items():
            blocks = None if name == segment else _blocks(part, name, _own(part, name, common))
            if blocks is not None:
                found[name] = blocks
        yield value, found


def _of_segment(stretch: Stretch, segment: str, value: str) -> Stretch:
    column = stretch.columns.get(segment)
    if column is None:
        return Stretch(stretch.start, 0, {})
    where = as_texts(column) == hashes_of(pl.Series([value]))[0]
    times = None if stretch.times_s is None else stretch.times_s[where]
    columns = {name: each[where] for name, each in stretch.columns.items()}
    return Stretch(stretch.start, int(where.sum()), columns, times)


def _own(part: list[Stretch], name: str, common: Cells) -> Cells:
    """Cells of the segment's own numbers: they may lie elsewhere than those of all rows."""
    if isinstance(common, Categorical):
        return common
    values = [each.columns[name] for each in part if name in each.columns]
    numbers = [np.asarray(each, dtype=np.float64) for each in values if each.dtype == np.float64]
    found = np.concatenate(numbers) if numbers else np.empty(0)
    return numeric(found) if np.isfinite(found).any() else common


def _blocks(stretches: list[Stretch], name: str, cells: Cells) -> dict[str, Any] | None:
    """None: no row was kept that has a value."""
    held = [each for each in stretches if each.rows]
    if not held:
        return None
    place = _places(held, name, cells)
    block, starts = _by_hour(held) or _by_runs(held)
    wide = cells.count + 1
    number = int(block.max()) + 1
    counts = np.bincount(block * wide + place, minlength=number * wide).reshape(number, wide)
    if not counts[:, :-1].any():
        return None
    found: dict[str, Any] = (
        {"uppers": cells.uppers.tolist()} if isinstance(cells, Numeric) else {"levels": cells.levels}
    )
    packed = base64.b64encode(zlib.compress(counts.astype("<u4").tobytes(), 1)).decode()
    if (repeats := _repeats(held, name)) > 1:
        found["repeats"] = repeats
    return {**found, "blocks": number, "counts": packed, **({} if starts is None else {"starts_s": starts.tolist()})}


def _repeats(held: list[Stretch], name: str) -> float:
    columns = [each.columns[name] for each in held if name in each.columns]
    if len({column.dtype for column in columns}) != 1:
        return 1.0
    whole: Any = np.concatenate(columns)
    return repeating(whole)


def _places(held: list[Stretch], name: str, cells: Cells) -> NDArray[np.int64]:
    columns = [each.columns.get(name) for each in held]
    there = [column for column in columns if column is not None]
    if len(there) == len(held) and len({column.dtype for column in there}) == 1:
        whole: Any = np.concatenate(there)
        return places(cells, whole)
    return np.concatenate(
        [
            np.full(each.rows, cells.count) if column is None else places(cells, column)
            for each, column in zip(held, columns, strict=True)
        ]
    )


def _by_hour(held: list[Stretch]) -> tuple[NDArray[np.int64], Floats | None] | None:
    """(block of each row, start of each block); None without times, or of too few hours."""
    times = [each.times_s for each in held if each.times_s is not None]
    if len(times) < len(held) or any(np.isnan(each).any() for each in times):
        return None
    hours, block = np.unique(np.floor(np.concatenate(times) / HOUR_S), return_inverse=True)
    return (block, hours * HOUR_S) if len(hours) >= LEAST_HOURS else None


def _by_runs(held: list[Stretch]) -> tuple[NDArray[np.int64], Floats | None]:
    """Runs of rows that stood together, of about one length."""
    total = sum(each.rows for each in held)
    length = max(_LEAST_BLOCK_ROWS, -(-total // _MOST_BLOCKS))
    block, number = [], 0
    for each in held:
        runs = max(1, each.rows // length)
        block.append(number + np.arange(each.rows) * runs // each.rows)
        number += runs
    return np.concatenate(block), None
