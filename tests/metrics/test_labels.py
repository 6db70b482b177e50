from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.metrics.labels import VALUES, LabelRefused, Surroundings, check, written, zone
from kedge.metrics.math import Series
from kedge.metrics.series import Metric

START = 1_772_366_400  # 2026-03-01 12:00 UTC
METRIC = Metric("111122223333", "eu-west-1", "AWS/SageMaker", "ModelLatency", (("EndpointName", "e"), ("a b", "c")))
POINTS = {START + 3660: 2.0, START: 4.0, START + 60: 1.0, START + 120: 9.0}
SERIES = Series("ModelLatency", 60, POINTS, METRIC, "p99")
AROUND = Surroundings(START + 90_000, "999999999999", "us-east-1")


@pytest.mark.parametrize(
    ("template", "want"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$MAX {MAX} $", "$MAX {MAX} $"),
        ("${AVG}", "4"),
        ("${SUM}", "16"),
        ("${DATAPOINT_COUNT}", "4"),
        ("${FIRST}", "4"),
        ("${LAST}", "2"),
        ("${MIN}", "1"),
        ("${MAX}", "9"),
        ("${FIRST_TIME}", "2026-03-01 12:00:00 UTC"),
        ("${LAST_TIME}", "2026-03-01 13:01:00 UTC"),
        ("${MIN_TIME}", "2026-03-01 12:01:00 UTC"),
        ("${MAX_TIME}", "2026-03-01 12:02:00 UTC"),
        ("${FIRST_TIME_RELATIVE}", "1d 1h"),
        ("${LAST_TIME_RELATIVE}", "23h 59m"),
        ("${MIN_TIME_RELATIVE}", "1d"),
        ("${MAX_TIME_RELATIVE}", "1d"),
        ("${FIRST_LAST_RANGE}", "-2"),
        ("${FIRST_LAST_TIME_RANGE}", "1h 1m"),
        ("${MIN_MAX_RANGE}", "8"),
        ("${MIN_MAX_TIME_RANGE}", "1m"),
        ("${LABEL} at most ${ MAX }", "ModelLatency at most 9"),
        ("${PROP('AccountId')}", "111122223333"),
        ("${PROP('AccountLabel')}", "111122223333"),
        ("${PROP('Dim.EndpointName')}/${PROP('Dim.a b')}/${PROP('Dim.none')}", "e/c/"),
        ('${PROP("MetricName")} ${PROP("Namespace")}', "ModelLatency AWS/SageMaker"),
        ("${PROP('Period')} ${PROP('Region')} ${PROP('Stat')}", "60 eu-west-1 p99"),
        ("${AVG} ${MIN} ${MAX} ${SUM} ${LAST} ${LABEL} ${PROP('Stat')}", "4 1 9 16 2 ModelLatency p99"),
    ],
)
def test_the_table(template, want):
    assert written(template, SERIES, AROUND) == want


def test_every_value_is_in_the_table():
    templates = " ".join(template for template, _ in test_the_table.pytestmark[0].args[1])
    assert [name for name in VALUES if f"${{{name}}}" not in templates] == []


def test_a_series_without_points_has_a_label_too():
    empty = SERIES._replace(points={})
    assert written("${MAX} ${AVG} ${SUM} ${DATAPOINT_COUNT}", empty, AROUND) == "- - 0 0"
    assert written("${LAST_TIME} ${MIN_MAX_RANGE}", empty, AROUND) == "- -"


def test_what_an_expression_made_belongs_to_who_asks():
    sum_of_many = Series("e1", 300, POINTS)
    template = "${PROP('AccountId')} ${PROP('Region')} ${PROP('Period')}|${PROP('MetricName')}|${PROP('Stat')}"
    assert written(template, sum_of_many, AROUND) == "999999999999 us-east-1 300||"


@pytest.mark.parametrize(("value", "want"), [(1 / 3, "0.33333"), (1234.567, "1234.6"), (1e20, "1e+20"), (-2.0, "-2")])
def test_numbers_are_short(value, want):
    assert written("${MAX}", Series("", 60, {START: value}), AROUND) == want


def test_times_are_in_the_zone_that_is_asked_for():
    in_india = Surroundings(START, zone=zone("+0530"))
    assert written("${FIRST_TIME}", SERIES, in_india) == "2026-03-01 17:30:00 +0530"
    assert written("${FIRST_TIME}", SERIES, Surroundings(START, zone=zone("-0800"))) == "2026-03-01 04:00:00 -0800"
    assert written("${FIRST_TIME}", SERIES, Surroundings(START, zone=zone("+0000"))) == "2026-03-01 12:00:00 UTC"


@pytest.mark.parametrize("text", ["", "0530", "+530", "+2400", "+0060", "UTC", "+05:30"])
def test_zones_that_are_none(text):
    with pytest.raises(LabelRefused, match="has to be \\+ or -"):
        zone(text)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("${MEDIAN}", '"\\${MEDIAN}" in the label "\\${MEDIAN}" is none of AVG'),
        ("${max}", "is none of"),
        ("${}", "is none of"),
        ("${PROP('Dim.')}", "is none of"),
        ("${PROP('Unit')}", "is none of"),
        ("${PROP(Stat)}", "is none of"),
        ("${LABEL} ${LABEL}", "more than once"),
        ("${MAX}" * 6, "more than 5 dynamic values"),
    ],
)
def test_what_is_refused(template, says):
    with pytest.raises(LabelRefused, match=says):
        check(template)
    with pytest.raises(LabelRefused, match=says):
        written(template, SERIES, AROUND)


@given(st.text(max_size=30), st.dictionaries(st.integers(0, 4_000_000_000), st.floats(-1e300, 1e300), max_size=4))
def test_any_text_is_a_label_or_refused(template, points):
    try:
        check(template)
    except LabelRefused:
        return
    assert isinstance(written(template, Series("x", 60, points), AROUND), str)
