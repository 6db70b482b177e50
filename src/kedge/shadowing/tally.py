"""What the comparisons of one shadow variant come to, second by second. PURE.

Rates and differences are those of the second. The distance between the distributions needs more answers than a second
has: it is taken over the last minutes, and told every few seconds while there are new ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from kedge.metrics.sketch import Sketch
from kedge.serving.meter import Told, VariantPlace
from kedge.shadowing.comparison import cells, difference
from kedge.shadowing.distance import population_stability_index, rounded
from kedge.shadowing.pairs import Answer, Pair

MATCHES = "ShadowMatches"
LABEL_MATCHES = "ShadowLabelMatches"
NUMERIC_DIFFERENCE = "ShadowNumericDifference"
LATENCY_DIFFERENCE = "ShadowLatencyDifference"
DISTANCE = "ShadowDistributionDistance"
NONE, MICROSECONDS = "None", "Microseconds"
MINUTES = 5
"""How far back distributions are compared."""
FEWEST = 100
"""Values of a column; with fewer, equal distributions look far apart by chance."""
DISTANCE_EVERY_S = 5
MOST_VALUES = 4096
"""Distinct ones of a column in a minute; later ones are not counted."""
MOST_COLUMNS = 32

_Counts = Counter[float | str]
_Columns = dict[str, tuple[_Counts, _Counts]]
"""By column: what production answered, what the shadow did."""


class Tally:
    def __init__(self, place: VariantPlace, generation: str) -> None:
        self.place = place
        self.generation = generation
        self.last_second = 0
        self._second: dict[tuple[str, str], Sketch] = {}
        """By (metric, unit), of the second that is going on."""
        self._minutes: dict[int, _Columns] = {}
        self._distance_second = 0

    def add(self, pair: Pair, second: int) -> None:
        self.last_second = second
        found = difference(pair)
        self._sketch(MATCHES, NONE).add(float(found.same))
        if found.labels_same:
            self._sketch(LABEL_MATCHES, NONE).add(1.0, found.labels_same)
        if found.labels > found.labels_same:
            self._sketch(LABEL_MATCHES, NONE).add(0.0, found.labels - found.labels_same)
        if numbers := [each for each in found.numbers if math.isfinite(each)]:
            self._sketch(NUMERIC_DIFFERENCE, NONE).extend(numbers)
        if pair.copied.status:
            self._sketch(LATENCY_DIFFERENCE, MICROSECONDS).add(pair.copied.latency_us - pair.production.latency_us)
        if pair.whole:
            columns = self._minutes.setdefault(second // 60, {})
            _count(columns, 0, pair.production)
            _count(columns, 1, pair.copied)

    def roll(self, second: int) -> Iterator[Told]:
        """What is to be told of the second, which is over."""
        sketches, self._second = self._second, {}
        for (name, unit), sketch in sketches.items():
            yield Told(self.place, name, unit, sketch)
        self._minutes = {at: each for at, each in self._minutes.items() if at > second // 60 - MINUTES}
        if sketches and second >= self._distance_second + DISTANCE_EVERY_S:
            self._distance_second = second
            if (distance := self.distance()) is not None:
                yield Told(self.place, DISTANCE, NONE, Sketch.of([distance]))

    def distance(self) -> float | None:
        """Of the column that moved farthest; None while there is too little to tell."""
        columns: _Columns = {}
        for minute in self._minutes.values():
            for name, sides in minute.items():
                together = columns.setdefault(name, (Counter(), Counter()))
                for whole, part in zip(together, sides, strict=True):
                    whole.update(part)
        found = [
            population_stability_index(production, copied)
            for production, copied in columns.values()
            if min(production.total(), copied.total()) >= FEWEST
        ]
        return max(found, default=None)

    def _sketch(self, name: str, unit: str) -> Sketch:
        return self._second.setdefault((name, unit), Sketch())


def _count(columns: _Columns, side: int, answer: Answer) -> None:
    for name, value in cells(answer):
        if name not in columns:
            if len(columns) >= MOST_COLUMNS:
                continue
            columns[name] = (Counter(), Counter())
        counts = columns[name][side]
        key = value[:64] if isinstance(value, str) else rounded(value)
        if key in counts or len(counts) < MOST_VALUES:
            counts[key] += 1
