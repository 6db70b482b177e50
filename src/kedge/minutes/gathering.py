"""From captured records to minutes: lines wait until there are many, or their minute is over, and are read together."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from polars.exceptions import PolarsError

from kedge.minutes.frames import VariantKey
from kedge.monitoring.live import sketch
from kedge.monitoring.live.minutes import NO_TIME, by_minute
from kedge.monitoring.live.sketch import Minute
from kedge.monitoring.profiles.column import Column
from kedge.monitoring.profiles.profile import Profile
from kedge.monitoring.reading.captured import Reader
from kedge.monitoring.reading.pieces import Notes, Piece, Unreadable

MINUTE_S = 60
LATE_S = 2.0
"""How long after its end records of a minute are waited for; those that come later are another part of it."""
READ_BYTES = 1 << 20
"""Of a minute's records: then they are read, and only what they come to is kept."""
CAPACITY = 512
"""Different values of a column that are counted one by one."""

Place = tuple[VariantKey, int]

log = logging.getLogger(__name__)


@dataclass
class _Gathered:
    profile: Profile = field(default_factory=Profile)
    waiting: list[bytes] = field(default_factory=list)
    bytes: int = 0


class Gathering:
    def __init__(self) -> None:
        self._gathered: dict[Place, _Gathered] = {}
        self.left_out = 0
        """Records that could not be read."""
        self._said: set[VariantKey] = set()

    def add(self, variant: VariantKey, lines: Iterable[bytes]) -> list[int]:
        """Minutes of which these are the first records."""
        begun = []
        found, odd = by_minute(lines)
        if odd:
            self._leave_out(variant, odd, NO_TIME)
        for minute, of_it in found.items():
            place = variant, minute
            gathered = self._gathered.get(place)
            if gathered is None:
                gathered = self._gathered[place] = _Gathered()
                begun.append(minute)
            gathered.waiting += of_it
            gathered.bytes += sum(map(len, of_it))
            if gathered.bytes >= READ_BYTES:
                self._read(place, gathered)
        return begun

    def due(self, now_s: float) -> Iterator[tuple[VariantKey, Minute]]:
        """Those that are over; endless gives all."""
        for place in sorted(self._gathered, key=lambda place: place[1]):
            if now_s >= (place[1] + 1) * MINUTE_S + LATE_S:
                gathered = self._gathered.pop(place)
                self._read(place, gathered)
                yield place[0], sketch.of(place[1], gathered.profile)

    def forget(self) -> None:
        self._gathered.clear()

    def _read(self, place: Place, gathered: _Gathered) -> None:
        lines, gathered.waiting, gathered.bytes = gathered.waiting, [], 0
        notes = Notes()
        before = gathered.profile.rows
        try:
            for piece in _pieces(lines, notes):
                _count(gathered.profile, piece)
        except (Unreadable, PolarsError, ArithmeticError, RecursionError, ValueError, TypeError) as error:
            notes.leave_out(repr(error), max(len(lines) - (gathered.profile.rows - before), 0))
        if notes.left_out:
            self._leave_out(place[0], notes.left_out, notes.told())

    def _leave_out(self, variant: VariantKey, records: int, reason: str) -> None:
        self.left_out += records
        if variant not in self._said:
            self._said.add(variant)
            log.warning("records of %s/%s are not in its minutes: %s", *variant[2:], reason)


def _pieces(lines: Sequence[bytes], notes: Notes) -> Iterator[Piece]:
    reader = Reader(notes)
    yield from reader.read(io.BytesIO(b"".join(lines)), "captured records")
    yield from reader.rest()


def _count(profile: Profile, piece: Piece) -> None:
    profile.rows += piece.rows
    for name, values in piece.columns.items():
        column = profile.columns.get(name)
        if column is None:
            if len(profile.columns) >= sketch.MOST_COLUMNS:
                continue
            column = profile.columns[name] = Column(CAPACITY)
        column.add(values.series, values.integral)
