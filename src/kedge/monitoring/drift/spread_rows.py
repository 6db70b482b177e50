"""Rows of a baseline with times: short runs of them, evenly spread, so that no hour of a long baseline is missed. PURE.

All rows up to MOST; of more every second, fourth ... run of RUN rows, by their number among all rows, however they were
cut into pieces. What repeats, or hangs together within a run, still shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kedge.monitoring.drift.cells import Floats
from kedge.monitoring.reading.pieces import Piece

RUN = 64
MOST, MOST_VALUES = 65_536, 4_000_000
_MOST_EVERY = 2**32

Column = Floats | NDArray[np.uint64]
"""Numbers, NaN for what is missing or none; or hashes of texts, 0 for what is missing."""


@dataclass(frozen=True)
class Part:
    """Of a piece. places: of its rows among all."""

    places: NDArray[np.int64]
    columns: dict[str, Column]
    times_s: Floats | None

    @property
    def values(self) -> int:
        return len(self.places) * max(len(self.columns), 1)

    def thinned(self, every: int) -> Part:
        kept = _is_kept(self.places, every)
        times = None if self.times_s is None else self.times_s[kept]
        return Part(self.places[kept], {name: each[kept] for name, each in self.columns.items()}, times)


class SpreadRows:
    def __init__(
        self, time: str, kept: Callable[[pl.Series], Column], seconds: Callable[[pl.Series], Floats | None]
    ) -> None:
        """time: the column of times. kept, seconds: what is kept of a column, and of that one."""
        self._time, self._kept, self._seconds = time, kept, seconds
        self.parts: list[Part] = []
        self._seen, self._every = 0, 1

    def add(self, piece: Piece) -> None:
        all_places = np.arange(self._seen, self._seen + piece.rows)
        self._seen += piece.rows
        places = all_places[_is_kept(all_places, self._every)]
        while self._every < _MOST_EVERY and not self._have_room(len(places), len(piece.columns)):
            self._every *= 2
            places = places[_is_kept(places, self._every)]
            self.parts = [each for each in (part.thinned(self._every) for part in self.parts) if len(each.places)]
        if not len(places):
            return
        chosen = pl.Series(places - all_places[0])
        columns = {name: values.series.gather(chosen) for name, values in piece.columns.items()}
        when = columns.pop(self._time, None)
        self.parts.append(
            Part(
                places,
                {name: self._kept(each) for name, each in columns.items()},
                None if when is None else self._seconds(when),
            )
        )

    def _have_room(self, rows: int, columns: int) -> bool:
        held = sum(len(part.places) for part in self.parts) + rows
        return held <= MOST and sum(part.values for part in self.parts) + rows * columns <= MOST_VALUES


def _is_kept(places: NDArray[np.int64], every: int) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = places // RUN % every == 0
    return found
