"""A season learnt from minutes that were kept, for a baseline without times."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from kedge.cli import drift_sources
from kedge.cli.failures import Failed
from kedge.cli.main import commands
from kedge.monitoring.drift import baseline, judging
from kedge.monitoring.drift.cells import Numeric, counted
from kedge.monitoring.live import sketch
from kedge.monitoring.live.minutes import Minutes
from kedge.monitoring.profiles.profiling import profiled
from kedge.monitoring.reading.pieces import Piece, Values

HOUR_S, DAY_S = 3600, 86_400
UNTIL_S = 20_000 * DAY_S


def warmth(random: np.random.Generator, at_s: int, rows: int) -> np.ndarray:
    return random.normal(np.sin(2 * np.pi * at_s / DAY_S), 1, rows)


class Kept:
    """Sketches of a minute of each hour."""

    within_s = 0.0

    def __init__(self, minutes: Minutes, random: np.random.Generator, hours: int) -> None:
        self.minutes, self.lost = minutes, set[int]()
        self._random, self._hours = random, hours

    def read(self, begin_s: int, end_s: int) -> None:
        for at_s in range(max(begin_s, end_s - self._hours * HOUR_S), end_s, HOUR_S):
            rows = pl.Series(warmth(self._random, at_s, 60))
            self.minutes.add_sketch(sketch.of(at_s // 60 + 7, profiled([Piece(60, {"warmth": Values(rows)})], cores=1)))


def test_hours_that_differ_are_known_once_they_were_seen() -> None:
    random = np.random.default_rng(1)
    shuffled = random.permutation(np.concatenate([warmth(random, at_s, 60) for at_s in range(0, 14 * DAY_S, HOUR_S)]))
    without = {"warmth": baseline.column(shuffled)}
    kept = Kept(Minutes(without, ["warmth"], every=60), random, hours=14 * 24)
    columns = drift_sources.seasoned(kept, UNTIL_S + 60, 14 * DAY_S)
    starts_s = UNTIL_S + float(HOUR_S) * np.arange(24)
    cells = without["warmth"].cells
    assert isinstance(cells, Numeric)
    windows = {"warmth": np.array([counted(cells, warmth(random, int(at_s), 1000)) for at_s in starts_s])}

    def alerting(known: dict[str, baseline.Column]) -> int:
        return sum(each[0].alerts for each in judging.findings(known, windows, starts_s))

    assert alerting(without) > 10
    assert alerting(columns) == 0


def test_too_few_hours_are_no_season() -> None:
    random = np.random.default_rng(2)
    without = {"warmth": baseline.column(random.normal(size=1000))}
    with pytest.raises(Failed, match="records of 20 hours"):
        drift_sources.seasoned(Kept(Minutes(without, ["warmth"], every=60), random, hours=20), UNTIL_S, 14 * DAY_S)
    said = CliRunner().invoke(commands, ["drift", "wine", "--season", "1d"]).output
    assert "two days are the least" in said
