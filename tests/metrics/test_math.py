from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kedge.metrics.math import MathRefused, Series, Value, Window, evaluate, order, parse, returned
from kedge.metrics.math.functions import FUNCTIONS
from kedge.metrics.series import Metric

CASES = json.loads((Path(__file__).parent / "data" / "metric_math.json").read_text())["cases"]
START = 1_766_966_400  # Monday, 2025-12-29 00:00 UTC
PERIOD_S = 60
X = None


def window(periods: int) -> Window:
    return Window(START, START + PERIOD_S * periods, PERIOD_S)


def series(values: list[float | None], label: str = "", **fields: Any) -> Series:
    points = {START + PERIOD_S * n: float(value) for n, value in enumerate(values) if value is not None}
    return Series(label, PERIOD_S, points, **fields)


def no_search(query: str, stat: str, period_s: int | None) -> list[Series]:
    raise AssertionError("nobody searches")


def run(text: str, /, periods: int = 5, **known: list[float | None]) -> Value:
    values = {name: series(points, label=name.upper()) for name, points in known.items()}
    return evaluate(parse(text), values, window(periods), no_search)


def shown(value: Value, periods: int = 5) -> Any:
    """None for a missing point, as the cases write it."""
    if isinstance(value, list):
        return [shown(one, periods) for one in value]
    if not isinstance(value, Series):
        return value
    assert all(math.isfinite(number) for number in value.points.values())
    assert value.points.keys() <= set(window(periods).times(PERIOD_S))
    return [value.points.get(at) for at in window(periods).times(PERIOD_S)]


@pytest.mark.parametrize("case", CASES, ids=[f"{n} {case['expr']}" for n, case in enumerate(CASES)])
def test_the_documented_cases(case):
    known = {name: values for name, values in case.items() if name.startswith("m")}
    periods = len(case["out"])
    assert shown(run(case["expr"], periods, **known), periods) == case["out"]


M1, M2, M3 = [1, X, 3, 0, X], [10, 20, X, X, X], [X, X, X, X, X]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        # Operators: union of the times, missing is 0, what cannot be computed is dropped.
        ("m1 + m2", [11, 20, 3, 0, X]),
        ("m2 - m1", [9, 20, -3, 0, X]),
        ("m1 * m2", [10, 0, 0, 0, X]),
        ("m1 / m2", [0.1, 0, X, X, X]),
        ("m2 / m1", [10, X, 0, X, X]),
        ("m1 / 0", [X, X, X, X, X]),
        ("100 * m1", [100, X, 300, 0, X]),
        ("-m1", [-1, X, -3, 0, X]),
        ("--m1", [1, X, 3, 0, X]),
        ("2 - -m1", [3, X, 5, 2, X]),
        ("m1 ^ 2", [1, X, 9, 0, X]),
        ("-m1 ^ 2", [-1, X, -9, 0, X]),
        ("2 ^ m1 ^ 2", [2, X, 512, 1, X]),
        ("m1 ^ -1", [1, X, 1 / 3, X, X]),
        ("(0 - m1) ^ 0.5", [X, X, X, 0, X]),
        ("10 - m1 - 2", [7, X, 5, 8, X]),
        ("8 / m2 / 2", [0.4, 0.2, X, X, X]),
        ("1 + 2 * m1", [3, X, 7, 1, X]),
        ("(1 + 2) * m1", [3, X, 9, 0, X]),
        ("m1 == 0", [0, X, 0, 1, X]),
        ("m1 != m2", [1, 1, 1, 0, X]),
        ("m1 <= m2", [1, 1, 0, 1, X]),
        ("m1 > 0 && m2 > 0", [1, 0, 0, 0, X]),
        ("m1 > 0 || m2 > 0", [1, 1, 1, 0, X]),
        ("m1 > 2 OR m1 == 0 AND m2 == 0", [0, 0, 1, 0, X]),
        ("m1 + 1 > 1", [1, X, 1, 0, X]),
        ("m1*1e2 + .5", [100.5, X, 300.5, 0.5, X]),
        # Scalars take part.
        ("m1 - AVG(m1)", [1 - 4 / 3, X, 3 - 4 / 3, -4 / 3, X]),
        ("m1 / SUM(m1)", [0.25, X, 0.75, 0, X]),
        ("m1 * MAX(m2)", [20, X, 60, 0, X]),
        ("m1 + MIN(m2)", [11, X, 13, 10, X]),
        ("m1 + DATAPOINT_COUNT(m1)", [4, X, 6, 3, X]),
        ("m1 * STDDEV(m2)", [5, X, 15, 0, X]),
        ("m1 * AVG(m3)", [X, X, X, X, X]),
        ("m1 > AVG(m3)", [X, X, X, X, X]),
        ("m1 + SUM(m3) + DATAPOINT_COUNT(m3)", [1, X, 3, 0, X]),
        ("TIME_SERIES(MAX(m1))", [3, 3, 3, 3, 3]),
        ("TIME_SERIES(AVG(m3))", [X, X, X, X, X]),
        # Arrays.
        ("SUM([m1, m2])", [11, 20, 3, 0, X]),
        ("AVG([m1, m2])", [5.5, 10, 1.5, 0, X]),
        ("MIN([m1, m2])", [1, 20, 3, 0, X]),
        ("MAX([m1, m2, m3])", [10, 20, 3, 0, X]),
        ("STDDEV([m1, m2])", [4.5, 0, 0, 0, X]),
        ("DATAPOINT_COUNT([m1, m2])", [2, 1, 1, 1, X]),
        ("SUM([])", [X, X, X, X, X]),
        ("[m1, m2] / 2", [[0.5, X, 1.5, 0, X], [5, 10, X, X, X]]),
        ("SUM(100 / [m1, m2])", [110, 5, 100 / 3, X, X]),
        ("[m1, m2] - m1", [[0, X, 0, 0, X], [9, 20, -3, 0, X]]),
        ("m1 - [m1, m2]", [[0, X, 0, 0, X], [-9, -20, 3, 0, X]]),
        ("m1 / METRIC_COUNT([m1, m2])", [0.5, X, 1.5, 0, X]),
        ("[m1, [m2, m3]]", [M1, M2, M3]),
        ("REMOVE_EMPTY([m1, m3, m2])", [M1, M2]),
        ("FIRST([m2, m1])", M2),
        ("LAST([m2, m1])", M1),
        ("FIRST([])", [X, X, X, X, X]),
        ("SLICE([m1, m2, m3], 1)", [M2, M3]),
        ("SLICE([m1, m2, m3], 0, 2)", [M1, M2]),
        ("SLICE([m1, m2], 5)", []),
        ("SORT([m1, m2], AVG, DESC)", [M2, M1]),
        ("SORT([m2, m1], SUM, ASC)", [M1, M2]),
        ("SORT([m3, m1, m2], MAX, DESC, 2)", [M2, M1]),
        ("SORT([m3, m1, m2], MIN, ASC)", [M1, M2, M3]),
        ("SLICE(SORT([m1, m2], SUM, DESC), 0, 1)", [M2]),
        # Functions of one series.
        ("ABS(-m1)", [1, X, 3, 0, X]),
        ("CEIL(m1 / 2)", [1, X, 2, 0, X]),
        ("FLOOR(m1 / 2)", [0, X, 1, 0, X]),
        ("LOG(m1)", [0, X, math.log(3), X, X]),
        ("LOG10(m2)", [1, math.log10(20), X, X, X]),
        ("LOG10([m2, m3])", [[1, math.log10(20), X, X, X], M3]),
        ("DIFF(m1)", [X, X, 2, -3, X]),
        ("DIFF_TIME(m1)", [X, X, 120, 60, X]),
        ("RATE(m1)", [X, X, 2 / 120, -3 / 60, X]),
        ("RATE([m1, m3])", [[X, X, 2 / 120, -3 / 60, X], M3]),
        ("RUNNING_SUM(m1)", [1, X, 4, 4, X]),
        ("FILL(m1, 7)", [1, 7, 3, 0, 7]),
        ("FILL(m3, 7)", [7, 7, 7, 7, 7]),
        ("FILL(m1, REPEAT)", [1, 1, 3, 0, 0]),
        ("FILL(DIFF(m1), REPEAT)", [X, X, 2, -3, -3]),
        ("FILL(m1, LINEAR)", [1, 2, 3, 0, X]),
        ("FILL(m1, MIN(m2))", [1, 10, 3, 0, 10]),
        ("FILL(m1, AVG(m3))", M1),
        ("FILL([m1, m3], m2)", [[1, 20, 3, 0, X], M2]),
        ("FILL([m1, m2], 0)", [[1, 0, 3, 0, 0], [10, 20, 0, 0, 0]]),
        # IF.
        ("IF(m1, m2)", [10, X, 0, X, X]),
        ("IF(m1 > 1, m1)", [X, X, 3, X, X]),
        ("IF(m1 < 2, 10, 2)", [10, X, 2, 10, X]),
        ("IF(-m1, 1, 0)", [1, X, 1, 0, X]),
        ("IF(1, m1, m2)", M1),
        ("IF(0, m1, m2)", M2),
        ("IF(0, m1)", [X, X, X, X, X]),
        ("IF(SUM(m2) > 5, m1)", M1),
        ("IF(AVG(m3) > 5, m1, m2)", [X, X, X, X, X]),
        ("IF(1, 5, m1)", [5, 5, 5, 5, 5]),
        ("m1 * IF(1, 2, 3)", [2, X, 6, 0, X]),
        # Time.
        ("m1 / PERIOD(m1)", [1 / 60, X, 0.05, 0, X]),
        ("MINUTE(m1)", [0, 1, 2, 3, 4]),
        ("HOUR(m3)", [0, 0, 0, 0, 0]),
        ("DAY(m1)", [1, 1, 1, 1, 1]),
        ("DATE(m1)", [29, 29, 29, 29, 29]),
        ("MONTH(m1)", [12, 12, 12, 12, 12]),
        ("YEAR(m1)", [2025, 2025, 2025, 2025, 2025]),
        ("EPOCH(m1)", [START, START + 60, START + 120, START + 180, START + 240]),
        ("IF(DAY(m1) < 6, m1)", [1, 0, 3, 0, 0]),
        ("IF(DAY(m1) == 7, m1)", [X, X, X, X, X]),
        # METRICS sees what was read, by a part of its id.
        ("SUM(METRICS())", [11, 20, 3, 0, X]),
        ('METRICS("2")', [M2]),
        ("METRICS('none')", []),
        ("METRICS() * 2", [[2, X, 6, 0, X], [20, 40, X, X, X], M3]),
    ],
)
def test_the_table(text, want):
    found = shown(run(text, m1=M1, m2=M2, m3=M3))
    if not any(isinstance(part, list) for part in want):
        found, want = [found], [want]
    assert len(found) == len(want)
    assert all(one == pytest.approx(other) for one, other in zip(found, want, strict=True))


def test_every_function_is_in_the_table():
    mark = test_the_table.pytestmark[0]
    used = {name for text, _ in mark.args[1] for name in parse(text).functions}
    assert FUNCTIONS.keys() - used == {"SEARCH", "ANOMALY_DETECTION_BAND"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Syntax error at its end: expected an id, a number, a function or an opening bracket"),
        ("m1 +", "Syntax error at its end: expected an id"),
        ("m1 m2", 'Syntax error at character 4, "m2": expected an operator or the end'),
        ("(m1", 'at its end: expected ")"'),
        ("SUM(m1,)", 'at character 8, ")": expected an id'),
        ("m1 ! m2", 'at character 4, "! m2"'),
        ("SUM(METRICS(\u201c4xx\u201d))", "at character 13"),
        ("m1 = 2", 'at character 4, "= 2"'),
        ("sum(m1)", '"sum" at character 1 is no function; names of functions are in upper case: SUM'),
        ("m1 + MEDIAN(m2)", '"MEDIAN" at character 6 is no function of metric math'),
        ("M1 + 1", '"M1" at character 1 is no id, which begins with a lower-case letter'),
        ("_m + 1", '"_m" at character 1 is no id'),
        ("m1 * SUM", '"SUM" at character 6 is no id, which begins with a lower-case letter; a function needs brackets'),
        ("ABS()", "ABS at character 1 takes 1 argument, not 0: ABS(Scalar | TimeSeries | Array[TimeSeries])"),
        ("SLICE(METRICS())", "SLICE at character 1 takes 2 to 3 arguments, not 1"),
        ("SORT(METRICS(), MEDIAN, ASC)", "Argument 2 of SORT at character 17 has to be AVG | MIN | MAX | SUM"),
        ("SORT(METRICS(), AVG, 5)", "Argument 3 of SORT at character 22 has to be ASC | DESC"),
        ("FILL(m1, REPEATED)", '"REPEATED" at character 10 is no id'),
        ("METRICS(m1)", "Argument 1 of METRICS at character 9 has to be 'text'"),
        ('m1 + "a"', 'The text "a" at character 6 stands where a number or a series has to be'),
        ('ABS("a")', 'The text "a" at character 5 stands where'),
        ("SEARCH('CPU')", "SEARCH at character 1 takes 2 to 3 arguments, not 1"),
        ("SERVICE_QUOTA(m1)", "The function SERVICE_QUOTA at character 1 is not supported by Kedge"),
        ("INSIGHT_RULE_METRIC('a', 'b')", "The function INSIGHT_RULE_METRIC at character 1 is not supported"),
        ("1 + LAMBDA('f')", "The function LAMBDA at character 5 is not supported"),
        ("DB_PERF_INSIGHTS('a', 'b', 'c')", "The function DB_PERF_INSIGHTS at character 1 is not supported"),
        ("-" * 3 + "(1+" * 70 + "1" + ")" * 70, "nested more than 60 deep"),
    ],
)
def test_what_can_be_seen_without_data_is_refused(text, says):
    with pytest.raises(MathRefused) as refused:
        parse(text)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[m1] + [m2]", "Unsupported operand type(s) for +: '[Array[TimeSeries], Array[TimeSeries]]'"),
        ("[m1, 5]", "The element at character 6 of an array is Scalar"),
        ("SUM(5)", "Unsupported operand type(s) for SUM: argument 1 is Scalar, it has to be TimeSeries | Array"),
        ("SORT(m1, AVG, ASC)", "argument 1 is TimeSeries, it has to be Array[TimeSeries]; write [...] around it"),
        ("IF([m1], 1)", "Unsupported operand type(s) for IF: argument 1 is Array[TimeSeries]"),
        ("TIME_SERIES(m1)", "argument 1 is TimeSeries, it has to be Scalar"),
        ("DAY([m1])", "argument 1 is Array[TimeSeries], it has to be TimeSeries"),
        ("PERIOD(m1 + m2)", "PERIOD takes a metric, not the result of an expression"),
        ("SLICE([m1], 0.5)", "SLICE counts in whole numbers from 0; 0.5 is none"),
        ("SLICE([m1], -1)", "SLICE counts in whole numbers from 0; -1 is none"),
        ("SORT([m1], AVG, ASC, 1 / 0)", "SORT counts in whole numbers from 0; nan is none"),
        ("ANOMALY_DETECTION_BAND(m1)", "ANOMALY_DETECTION_BAND cannot be used here"),
        ("m9 + 1", '"m9" at character 1 is the id of no query'),
    ],
)
@pytest.mark.parametrize("points", [[1.0], []], ids=["with points", "without"])
def test_wrong_types_are_refused_with_data_and_without(text, says, points):
    with pytest.raises(MathRefused) as refused:
        run(text, m1=points, m2=points)
    assert says in str(refused.value)


def test_a_result_has_to_be_a_series():
    with pytest.raises(MathRefused, match="The result of the expression is a Scalar"):
        returned(run("AVG(m1)", m1=[1]))
    assert len(returned(run("[m1, m1]", m1=[1]))) == 2
    assert len(returned(run("m1", m1=[1]))) == 1


def test_search_and_the_band_are_asked_of_what_is_handed_in():
    asked: list[Any] = []

    def search(query: str, stat: str, period_s: int | None) -> list[Series]:
        asked.append((query, stat, period_s))
        return [series([1, 2], label="a"), series([3], label="b")]

    def band(of: Series, deviations: float) -> list[Series]:
        asked.append((of.label, deviations))
        return [of.with_points({START: 9.0}), of.with_points({START: -9.0})]

    known: dict[str, Value] = {"m1": series([5], label="M1")}
    found = evaluate(parse("SUM(SEARCH('{AWS/X,\"a b\"} \"c\"', 'Sum', 300))"), known, window(5), search, band)
    assert shown(found) == [4, 2, X, X, X]
    evaluate(parse("SEARCH('x', 'p99')"), known, window(5), search, band)
    assert shown(evaluate(parse("LAST(ANOMALY_DETECTION_BAND(m1))"), known, window(5), search, band))[0] == -9
    evaluate(parse("ANOMALY_DETECTION_BAND(m1, 3)"), known, window(5), search, band)
    assert asked == [('{AWS/X,"a b"} "c"', "Sum", 300), ("x", "p99", None), ("M1", 2.0), ("M1", 3.0)]
    with pytest.raises(MathRefused, match="above 0, not 0"):
        evaluate(parse("ANOMALY_DETECTION_BAND(m1, 0)"), known, window(5), search, band)


def test_what_was_read_keeps_its_name_through_functions_of_itself():
    metric = Metric("1", "us-east-1", "N", "Errors", (("Host", "a"),))
    known: dict[str, Value] = {
        "m1": series([1], label="Errors", metric=metric, stat="Sum"),
        "e1": series([2], label="e1", derived=True),
    }
    found = evaluate(parse("FILL(METRICS(), 0)"), known, window(2), no_search)
    assert isinstance(found, list)
    assert [(one.label, one.metric, one.stat, one.derived) for one in found] == [("Errors", metric, "Sum", True)]
    both = evaluate(parse("m1 + e1"), known, window(2), no_search)
    assert isinstance(both, Series)
    assert both.metric is None
    again = evaluate(parse("m1"), known, window(2), no_search)
    assert isinstance(again, Series)
    assert again.derived  # so a later METRICS() does not take the expression "m1" for a metric


def test_two_periods_meet_at_the_shorter_one():
    long = Series("long", 300, {START: 5.0})
    found = evaluate(parse("m1 + m2"), {"m1": series([1, 1]), "m2": long}, window(5), no_search)
    assert isinstance(found, Series)
    assert (found.period_s, shown(found)) == (60, [6, 1, X, X, X])


def test_a_sum_of_500_metrics_is_no_deep_tree():
    known = {f"a{n}": [1.0] for n in range(500)}
    assert shown(run("+".join(known), **known))[0] == 500


@pytest.mark.parametrize(
    "text",
    ["TIME_SERIES(1)", "FILL(m1, 0)", "DAY(m1)", "ANOMALY_DETECTION_BAND(m1)", "m1 + 0 * EPOCH(m1)", "SUM([{}])"],
)
def test_no_request_makes_points_without_bound(text):
    whole = Window(0, 1_700_000_000, 1)
    if text == "SUM([{}])":  # each of them is small
        whole, text = Window(0, 100_000, 1), text.format(", ".join(["FILL(m1, 0)"] * 30))
    known: dict[str, Value] = {"m1": Series("m1", 1, {0: 1.0})}
    with pytest.raises(MathRefused, match=r"would make \d+ datapoints; it can make 2000000"):
        evaluate(parse(text), known, whole, no_search, lambda of, deviations: [of, of])


def test_queries_are_evaluated_behind_what_they_refer_to():
    expressions = {"e1": parse("e2 + m1"), "e2": parse("m1 / e3"), "e3": parse("SUM(METRICS())")}
    assert order(expressions, ["m1"]) == ["e3", "e2", "e1"]
    with pytest.raises(MathRefused, match=r'"m2" in the expression "m1 \+ m2" is the id of no query'):
        order({"e1": parse("m1 + m2")}, ["m1"])
    with pytest.raises(MathRefused, match=r"in a circle: e1 -> e2 -> e1|in a circle: e2 -> e1 -> e2"):
        order({"e1": parse("e2"), "e2": parse("e1")}, [])
    with pytest.raises(MathRefused, match="in a circle: e1 -> e1"):
        order({"e1": parse("e1 + 1")}, [])


VALUES = st.floats(-1e6, 1e6, allow_nan=False)
POINTS = st.lists(st.none() | VALUES, min_size=5, max_size=5)


@settings(max_examples=50)
@given(POINTS, POINTS, st.sampled_from(["+", "-", "*", "/", "^", "<", "<=", ">", ">=", "==", "!=", "AND", "OR"]))
def test_two_series_meet_on_the_union_of_their_times(left, right, symbol):
    found = shown(run(f"m1 {symbol} m2", m1=left, m2=right))
    for one, other, got in zip(left, right, found, strict=True):
        if one is None and other is None:
            assert got is None
        elif symbol in ("+", "-", "*"):
            assert got == {"+": float.__add__, "-": float.__sub__, "*": float.__mul__}[symbol](one or 0.0, other or 0.0)
        elif symbol == "/":
            divisor = other or 0.0
            assert got is None if divisor == 0 or math.isinf((one or 0.0) / divisor) else got == (one or 0.0) / divisor
        elif symbol != "^":
            assert got in (0.0, 1.0)


@settings(max_examples=50)
@given(POINTS, POINTS)
def test_comparisons_complement_one_another(left, right):
    for one, other in (("<", ">="), (">", "<="), ("==", "!=")):
        first, second = run(f"m1 {one} m2", m1=left, m2=right), run(f"m1 {other} m2", m1=left, m2=right)
        assert isinstance(first, Series)
        assert isinstance(second, Series)
        assert first.points.keys() == second.points.keys()
        assert all(first.points[at] + second.points[at] == 1 for at in first.points)


@settings(max_examples=50)
@given(POINTS, POINTS, POINTS)
def test_sum_of_an_array_is_the_chain_of_plus(one, other, third):
    known = {"m1": one, "m2": other, "m3": third}
    summed, chained = shown(run("SUM([m1, m2, m3])", **known)), shown(run("m1 + m2 + m3", **known))
    assert summed == pytest.approx(chained, abs=1e-6)


@settings(max_examples=50)
@given(POINTS)
def test_filled_series_have_no_gaps_and_keep_their_points(points):
    for filler in ("3", "REPEAT", "LINEAR"):
        found = shown(run(f"FILL(m1, {filler})", m1=points))
        assert all(got == had for got, had in zip(found, points, strict=True) if had is not None)
        known = [n for n, point in enumerate(points) if point is not None]
        if filler == "3":
            assert None not in found
        elif known:
            assert None not in found[known[0] : known[-1] + 1]


@settings(max_examples=50)
@given(POINTS)
def test_a_running_sum_undoes_differences(points):
    assume(any(point is not None for point in points))
    first = next(point for point in points if point is not None)
    found = shown(run("RUNNING_SUM(DIFF(m1))", m1=points))
    had = [point for point in points if point is not None]
    assert [got for got in found if got is not None] == pytest.approx([point - first for point in had[1:]], abs=1e-6)


NUMBERS = st.integers(0, 99).map(str)
TREES = st.recursive(
    NUMBERS | st.sampled_from(["m1", "m2"]),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "<", "=="]), inner).map(
        lambda parts: "({} {} {})".format(*parts)
    ) | inner.map("ABS({})".format) | inner.map("-({})".format),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=50)
@given(TREES, VALUES, VALUES)
def test_expressions_agree_with_python(text, one, other):
    found = run(f"m1 * 0 + {text}", 1, m1=[one], m2=[other])
    assert isinstance(found, Series)
    # The grammar shares its operators with Python, where the two mean the same.
    want = float(eval(text, {"ABS": abs, "m1": one, "m2": other}))
    assert found.points[START] == pytest.approx(want)


@settings(max_examples=50)
@given(st.text(max_size=40) | st.text(alphabet="m1+-*/^()[],.'\"<=>!&| SUMFILAVGIF", max_size=60))
def test_any_text_is_an_expression_or_refused(text):
    with contextlib.suppress(MathRefused):  # and nothing else
        evaluate(parse(text), {"m1": series([1.0, None, 3.0])}, window(5), lambda query, stat, period_s: [])
