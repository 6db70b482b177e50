"""In which periods datapoints are kept, for how long, and where a datapoint is among them. PURE.

CloudWatch's own retention: seconds for three hours, minutes for 15 days, five minutes for 63, hours for 455. Within a
tier, what is kept lies in chunks: all series of one chunk are neighbours, and one series of one chunk is a run of
periods. So writing is mostly at the end of the file, and reading a series takes one search for each chunk. A chunk of
one tier is one period of the next: rolling it up is one pass over neighbours.
"""

from __future__ import annotations

from typing import NamedTuple

from kedge.metrics.series import DAY_S, HOUR_S


class Tier(NamedTuple):
    step_s: int
    """The period of what is kept."""
    chunk_s: int
    keep_s: int

    def place(self, at_s: int) -> tuple[int, int]:
        """(chunk, slot in it) of the period that at_s lies in."""
        chunk, within_s = divmod(at_s, self.chunk_s)
        return chunk, within_s // self.step_s

    def start_s(self, chunk: int, slot: int) -> int:
        return chunk * self.chunk_s + slot * self.step_s


TIERS = (
    Tier(1, 60, 3 * HOUR_S),
    Tier(60, 300, 15 * DAY_S),
    Tier(300, HOUR_S, 63 * DAY_S),
    Tier(HOUR_S, DAY_S, 455 * DAY_S),
)


def first(resolution_s: int) -> int:
    """Index of the tier that a datapoint of this storage resolution is written to. resolution_s: 1 or 60."""
    return 0 if resolution_s < TIERS[1].step_s else 1


def readable(period_s: int, start_s: int) -> int:
    """Index of the coarsest tier from which periods of this length that begin at start_s can be put together."""
    return max(n for n, tier in enumerate(TIERS) if period_s % tier.step_s == 0 and start_s % tier.step_s == 0)


class Mark(NamedTuple):
    """How far a tier is rolled up into the next: every chunk before `chunk`, and of it the series up to `series`."""

    chunk: int
    series: int

    def rolled_to_s(self, tier: Tier, series: int) -> int:
        """Before this, the series' datapoints are in the next tier; from it on, in this one alone."""
        return (self.chunk + (series <= self.series)) * tier.chunk_s


NOTHING_ROLLED = Mark(-1, -1)
