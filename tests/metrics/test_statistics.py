from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.metrics.series import Summary
from kedge.metrics.sketch import ERROR, MOST_EXACT
from kedge.metrics.statistics import StatisticUnknown, parse, value

SMALL = st.lists(st.one_of(st.integers(-50, 50).map(float), st.floats(-1e6, 1e6)), min_size=1, max_size=100)
LARGE = st.lists(st.floats(1e-3, 1e9), min_size=MOST_EXACT + 1, max_size=MOST_EXACT + 100, unique=True)
PERCENT = st.integers(0, 100)


def of(text: str, values: list[float]) -> float | None:
    return value(parse(text), Summary.of(values))


TEN = [float(n) for n in range(1, 11)]


@pytest.mark.parametrize(
    ("text", "values", "want"),
    [
        ("SampleCount", TEN, 10), ("Sum", TEN, 55), ("Average", TEN, 5.5), ("Minimum", TEN, 1), ("Maximum", TEN, 10),
        ("p0", TEN, 1), ("p100", TEN, 10), ("p50", TEN, 5.5), ("p90", TEN, 9.1), ("p99.9", TEN, 9.991), ("p50", [7], 7),
        ("p25.", TEN, 3.25), ("p0.0", TEN, 1),
        ("tm90", TEN, 5), ("tm100", TEN, 5.5), ("TM(:90%)", TEN, 5), ("TM(10%:)", TEN, 6), ("TM(10%:90%)", TEN, 5.5),
        ("TM(2:5)", TEN, 4), ("TM(:2)", TEN, 1.5), ("TM(8:)", TEN, 9.5), ("TM(20:30)", TEN, None),
        ("tc90", TEN, 9), ("TC(10%:90%)", TEN, 8), ("TC(2:5)", TEN, 3), ("TC(20:30)", TEN, 0),
        ("ts90", TEN, 45), ("TS(80%:)", TEN, 19), ("TS(2:5)", TEN, 12), ("TS(20:30)", TEN, 0),
        ("wm80", [1, 2, 3, 4, 5, 106], 20 / 6), ("WM(:3)", TEN, 2.7), ("WM(3:8)", TEN, 5.5), ("WM(10%:90%)", TEN, 5.5),
        ("PR(:3)", TEN, 30), ("PR(3:)", TEN, 70), ("PR(3:5)", TEN, 20), ("PR(1e1:2E+1)", TEN, 0),
        ("PR(0.5:1.)", TEN, 10),
        ("IQM", [1, 2, 3, 100], 2.5), ("IQM", [1, 2], 1.5), ("IQM", [5, 5, 5, 5], 5), ("IQM", TEN, 5.5),
        ("IQM", [4], 4), ("PR(-5:0)", [-7, -5, -1, 0, 3], 40), ("p50", [-4, -2], -3),
    ],
)  # fmt: skip
def test_what_a_statistic_says(text: str, values: list[float], want: float | None):
    assert of(text, [float(each) for each in values]) == (None if want is None else pytest.approx(want))


@pytest.mark.parametrize(
    "text",
    [
        "", "sum", "average", "Sum ", "p", "p101", "p100.5", "p-1", "p1e1", "p99.12345678901", "P99", "pp9", "p9 9",
        "tm", "tm0", "tm(1:2)", "TM", "TM()", "TM(:)", "TM(5)", "TM(90%:10%)", "TM(50%:50%)", "TM(10%:500)", "TM(5:5)",
        "TM(10:5)", "TM(0%:101%)", "TM(1%:2%:3%)", "PR(10%:90%)", "PR(:90%)", "PR90", "pr90", "IQM(25%:75%)", "iqm",
        "p99_E", "p99_L", "o90", "u10", "TM(a:b)", "TM( 1:2)", "p٩", "WM(:0%)",
    ],
)  # fmt: skip
def test_what_is_none(text: str):
    with pytest.raises(StatisticUnknown, match="is no statistic"):
        parse(text)


@given(SMALL, st.floats(0, 100).map(lambda percent: f"{percent:.6f}"))
def test_percentiles_are_numpy_s(values: list[float], percent: str):
    assert of(f"p{percent}", values) == pytest.approx(np.percentile(values, float(percent)), rel=1e-9, abs=1e-6)


@given(SMALL, PERCENT, PERCENT)
def test_bounds_in_percent_trim_by_rank(values: list[float], one: int, other: int):
    low, high = sorted((one, other))
    if low == high:
        return
    inside = np.sort(np.repeat(values, 100))[low * len(values) : high * len(values)]  # each value in a hundred parts
    bounds = f"({low}%:{high}%)"
    assert of(f"TC{bounds}", values) == pytest.approx(len(inside) / 100)
    assert of(f"TS{bounds}", values) == pytest.approx(inside.sum() / 100, abs=1e-6)
    assert of(f"TM{bounds}", values) == pytest.approx(inside.mean(), abs=1e-6)
    clipped = np.clip(values, np.percentile(values, low), np.percentile(values, high))
    assert of(f"WM{bounds}", values) == pytest.approx(clipped.mean(), abs=1e-6)
    if low == 0:
        for short, long in (("tm", "TM"), ("tc", "TC"), ("ts", "TS"), ("wm", "WM")):
            assert of(f"{short}{high}", values) == of(f"{long}(:{high}%)", values)


@given(SMALL, st.integers(-60, 60), st.integers(-60, 60))
def test_absolute_bounds_exclude_the_lower_and_include_the_upper(values: list[float], one: int, other: int):
    low, high = sorted((one, other))
    if low == high:
        return
    inside, bounds = [each for each in values if low < each <= high], f"({low}:{high})"
    assert of(f"TC{bounds}", values) == len(inside)
    assert of(f"TS{bounds}", values) == pytest.approx(math.fsum(inside), abs=1e-6)
    assert of(f"PR{bounds}", values) == pytest.approx(float(Fraction(100 * len(inside), len(values))))
    assert of(f"TM{bounds}", values) == (pytest.approx(np.mean(inside), abs=1e-6) if inside else None)
    assert of(f"WM{bounds}", values) == pytest.approx(np.clip(values, low, high).mean(), abs=1e-6)


@settings(max_examples=25)
@given(LARGE, st.integers(1, 100))
def test_many_values_are_within_the_error_of_the_sketch(values: list[float], percent: int):
    close = ERROR * (1 + 1e-6)
    inside = np.sort(np.repeat(values, 100))[: percent * len(values)]
    assert of(f"p{percent}", values) == pytest.approx(np.percentile(values, percent), rel=close)
    assert of(f"tm{percent}", values) == pytest.approx(inside.mean(), rel=close)
    assert of(f"tc{percent}", values) == pytest.approx(len(values) * percent / 100)
    clipped = np.clip(values, None, np.percentile(values, percent))
    assert of(f"wm{percent}", values) == pytest.approx(clipped.mean(), rel=close)


@given(SMALL)
def test_counts_are_repetitions(values: list[float]):
    counted = Counter(values)
    summary = Summary.of(list(counted), [float(count) for count in counted.values()])
    for text in ("p90", "IQM", "TC(5%:95%)", "WM(5%:95%)", "PR(:0)", "Sum"):
        assert value(parse(text), summary) == pytest.approx(of(text, values), abs=1e-6)


def test_a_statistic_set_has_no_percentiles_unless_all_values_are_the_same():
    unknown, known = Summary.of_set(4, 20, 1, 9), Summary.of_set(4, 20, 5, 5)
    for text in ("p50", "tm99", "TC(1:2)", "PR(:3)", "IQM", "wm90"):
        assert parse(text).needs_values
        assert value(parse(text), unknown) is None
        assert value(parse(text), known) is not None
    for text, want in (("SampleCount", 4), ("Sum", 20), ("Average", 5), ("Minimum", 1), ("Maximum", 9)):
        assert not parse(text).needs_values
        assert value(parse(text), unknown) == want


def test_a_set_of_nothing_says_nothing():
    assert value(parse("Average"), Summary.of_set(0, 0, 0, 0)) is None
