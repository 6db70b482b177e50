"""Which rows of a baseline with times are kept: few, of every hour, in runs, and the same however they were cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.monitoring.drift import spread_rows
from kedge.monitoring.drift.kept_rows import KeptRows
from kedge.monitoring.drift.spread_rows import RUN, SpreadRows
from kedge.monitoring.reading.pieces import Piece, Values

HOUR_S = 3600.0


def kept(rows: int, cuts: list[int], columns: int = 1) -> list[int]:
    def numbers(series: pl.Series) -> np.ndarray:
        return series.cast(pl.Float64).to_numpy()

    found = SpreadRows("t", numbers, numbers)
    for start, end in pairwise(sorted({0, rows, *(cut for cut in cuts if cut < rows)})):
        place = Values(pl.Series(np.arange(start, end)))
        found.add(Piece(end - start, {"t": place, **{f"x{number}": place for number in range(columns)}}))
    places = np.concatenate([part.places for part in found.parts])
    for part in found.parts:
        assert part.times_s is not None
        assert (part.times_s == part.places).all()
        assert (part.columns["x0"] == part.places).all()
    return [int(each) for each in places]


@given(st.integers(1, 5_000), st.lists(st.integers(1, 5_000), max_size=6))
@settings(max_examples=50, deadline=None)
def test_the_same_rows_are_kept_however_they_are_cut(rows: int, cuts: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spread_rows, "MOST", 500)
        places = kept(rows, cuts)
        assert places == kept(rows, [])
    assert min(rows, 500 // 2 - RUN) <= len(places) <= 500
    runs = sorted({place // RUN for place in places})
    assert len({after - before for before, after in pairwise(runs)}) <= 1, "evenly spread"


def test_many_columns_are_kept_of_fewer_rows() -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(spread_rows, "MOST_VALUES", 10_000)
        assert len(kept(20_000, [7_000], columns=50)) * 50 <= 10_000


def test_a_long_baseline_has_rows_of_each_hour_and_a_short_one_has_all() -> None:
    def hours(rows: int, of: float) -> int:
        found = KeptRows("t")
        times = 1.8e9 + np.linspace(0, HOUR_S * of, rows, endpoint=False)
        for start in range(0, rows, 100_000):
            part = times[start : start + 100_000]
            piece = Piece(len(part), {"t": Values(pl.Series(part)), "x": Values(pl.Series(part % 7))})
            found.add(piece)
            assert list(piece.columns) == ["x"]
        assert sum(each.rows for each in found.stretches) <= spread_rows.MOST
        return len(np.unique(np.concatenate([np.floor(each.times_s / HOUR_S) for each in found.stretches])))

    assert hours(400_000, of=336) == 336
    assert hours(20_000, of=336) == 336
    assert hours(200_000, of=5) <= 6
