"""CSV in blocks: a column holds what its texts say, however the file is cut; what is learnt of it makes it quicker."""

from __future__ import annotations

import io

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.monitoring.profiles.profile import Profile
from kedge.monitoring.reading import csv_text
from kedge.monitoring.reading.csv_table import Table
from kedge.monitoring.reading.pieces import Notes

VALUES = {
    "missing": [""],
    "integers": ["", "7", "-3", "12"],
    "fractions": ["", "0.5", "1.0", "2e3"],
    "texts": ["", "x", "true", "Rome"],
}


def profile(lines: list[str], size: int) -> Profile:
    notes, found, names = Notes(), Profile(), ["a", "b"]
    table = Table(names, notes)
    for block in csv_text.blocks(io.BytesIO("".join(lines).encode()), "file", size):
        piece = table.piece(block, "file")
        found.rows += piece.rows
        for name, values in piece.columns.items():
            found.column(name).add(values.series, values.integral)
    assert not notes.left_out
    return found


@settings(deadline=None, max_examples=80)
@given(st.data(), st.lists(st.tuples(st.sampled_from(list(VALUES)), st.integers(1, 8)), min_size=1, max_size=6))
def test_a_column_holds_what_is_written_however_the_file_is_cut(data, runs):
    """Stretches of nothing, of integers, of fractions and of texts, in any order."""
    cells = [data.draw(st.sampled_from(VALUES[kind])) for kind, n in runs for _ in range(n)]
    lines = [f"{cell},{number}\n" for number, cell in enumerate(cells)]
    whole = profile(lines, 1 << 20)
    for size in (1, 7, 40):
        parts = profile(lines, size)
        assert parts.rows == whole.rows == len(cells)
        for name in ("a", "b"):
            of, want = parts.column(name), whole.column(name)
            assert (of.tally.counts, of.moments.low) == (want.tally.counts, want.moments.low)
            # Among fractions alone an integer may go unnoticed: a column of both is fractional.
            kinds, wanted = of.kinds, want.kinds
            assert (kinds.numeric, kinds.boolean, kinds.text) == (wanted.numeric, wanted.boolean, wanted.text)
            assert kinds.inferred() == wanted.inferred()
    held = whole.column("a").kinds
    assert held.present == sum(cell != "" for cell in cells)
    assert held.text == sum(cell in ("x", "Rome") for cell in cells)


def test_a_column_without_a_value_does_not_make_the_others_texts():
    table = Table(["a", "b", "c", "d"], Notes())
    first = table.piece(b"1,0.5,x,\n2,0.25,y,\n", "file")
    assert [each.series.dtype for each in first.columns.values()] == [pl.Int64, pl.Float64, pl.String, pl.Null]
    later = table.piece(b"3,0.75,z,\n4,0.5,z,\n", "file")
    assert [each.series.dtype for each in later.columns.values()] == [pl.Int64, pl.Float64, pl.String, pl.Null]
    known = table.piece(b"3,0.75,z,7\n4,0.5,z,\n", "file")
    assert known.columns["d"].series.to_list() == [7, None]
    other = table.piece(b"3.5,0.75,z,8\n4,0.5,z,9\n", "file")
    assert other.columns["a"].series.to_list() == ["3.5", "4"]
    assert other.columns["d"].series.to_list() == [8, 9]
