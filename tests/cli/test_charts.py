from __future__ import annotations

import click
import pytest

from kedge.cli import charts
from kedge.cli.durations import seconds
from kedge.cli.metrics import window_of


def test_columns_of_one_line():
    assert charts.columns([0, 1, 4, 8, None, 8], 8) == ["_▁▄█ █"]


def test_columns_of_several_lines():
    assert charts.columns([0, 1, 8, 16, 12, None], 16, 2) == [
        "   █▄ ",
        "_▁███ ",
    ]


def test_what_is_above_0_shows():
    assert charts.columns([0.001, 0], 1000) == ["▁_"]
    assert charts.columns([0, 0], 0) == ["__"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (12345.0, "12.3k"), (2e6, "2M")],
)  # fmt: skip
def test_numbers(value: float | None, text: str):
    assert charts.number(value) == text


@pytest.mark.parametrize(
    ("last", "columns", "period_s", "count"),
    [("60m", 60, 60, 60), ("60m", 40, 120, 30), ("90s", 100, 1, 90), ("3h", 60, 180, 60), ("7d", 100, 7200, 84)],
)
def test_periods_fit_into_the_columns(last: str, columns: int, period_s: int, count: int):
    window = window_of(1_700_000_001.5, seconds(last), columns)
    assert (window.period_s, len(window.times_s)) == (period_s, count)
    assert window.start_s % period_s == 0
    assert window.times_s[-1] <= 1_700_000_001 < window.end_s


@pytest.mark.parametrize("text", ["", "5", "m", "0m", "1.5h", "3w", "-1m"])
def test_what_is_no_time(text: str):
    with pytest.raises(click.UsageError, match="write 90s, 15m, 3h or 7d"):
        seconds(text)
