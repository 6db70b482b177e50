from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.metrics.insights import MOST_SERIES, Condition, Query, evaluate, is_query, parse
from kedge.metrics.math import MathRefused
from kedge.metrics.series import Metric, Summary

EVERYTHING = """SELECT MIN(CPU)
FROM SCHEMA("AWS/EC2", InstanceId, "a b")
WHERE InstanceId != 'i-1' AND "a b" = 'it\\'s'
GROUP BY InstanceId, "a b"
ORDER BY COUNT() ASC
LIMIT 7"""


def metric(name: str = "CPU", namespace: str = "AWS/EC2", **dimensions: str) -> Metric:
    return Metric("1", "r", namespace, name, tuple(sorted(dimensions.items())))


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("SELECT AVG(CPU) FROM Mine", Query("AVG", "CPU", "Mine")),
        ('select max("a b") from "AWS/EC2"', Query("MAX", "a b", "AWS/EC2")),
        ('SELECT SUM(CPU) FROM SCHEMA("AWS/EC2")', Query("SUM", "CPU", "AWS/EC2", frozenset())),
        (
            EVERYTHING,
            Query(
                "MIN", "CPU", "AWS/EC2", frozenset({"InstanceId", "a b"}),
                (Condition("InstanceId", False, "i-1"), Condition("a b", True, "it's")), ("InstanceId", "a b"),
                "COUNT", False, 7,
            ),
        ),
        (
            "SELECT COUNT(CPU) FROM Mine ORDER BY MAX() DESC",
            Query("COUNT", "CPU", "Mine", order_by="MAX", is_descending=True),
        ),
        ("SELECT COUNT(maximum) FROM summary LIMIT 500", Query("COUNT", "maximum", "summary")),
    ],
)  # fmt: skip
def test_queries(text, want):
    assert parse(text) == want
    assert is_query(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SELECT MEDIAN(CPU) FROM Mine", 'at character 8, "MEDIAN(CPU) FROM Min"'),
        ("SELECT AVG(CPU)", "at its end"),
        ("SELECT AVG(CPU) FROM AWS/EC2", 'at character 25, "/EC2"'),
        ("SELECT AVG(CPU) FROM Mine WHERE a = b", 'at character 37, "b"'),
        ("SELECT AVG(CPU) FROM Mine WHERE a > '1'", "at character 35, \"> '1'\""),
        ("SELECT AVG(CPU) FROM Mine WHERE a = '1' OR b = '2'", 'at character 41, "OR b'),
        ("SELECT AVG(CPU) FROM Mine LIMIT 0", "LIMIT 0 has to be 1 to 500"),
        ("SELECT AVG(CPU) FROM Mine LIMIT 501", "LIMIT 501 has to be 1 to 500"),
        ("SELECT AVG(CPU) FROM Mine ORDER BY CPU", "at character 36"),
        ("SELECT AVG(CPU) FROM Mine GROUP BY tag.env", "at character 39"),
    ],
)
def test_what_is_refused(text, says):
    with pytest.raises(MathRefused) as refused:
        parse(text)
    assert says in str(refused.value)


def test_an_expression_is_no_query():
    assert not is_query("SUM(METRICS())")
    assert not is_query("selected + 1")


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ('SELECT AVG(CPU) FROM "AWS/EC2"', [0, 1, 2]),
        ('SELECT AVG(CPU) FROM SCHEMA("AWS/EC2", Host)', [0, 1]),
        ('SELECT AVG(CPU) FROM SCHEMA("AWS/EC2", Type, Host)', [2]),
        ('SELECT AVG(CPU) FROM SCHEMA("AWS/EC2")', []),
        ("SELECT AVG(CPU) FROM \"AWS/EC2\" WHERE Host = 'a'", [0, 2]),
        ("SELECT AVG(CPU) FROM \"AWS/EC2\" WHERE Host != 'a'", [1]),
        ("SELECT AVG(CPU) FROM \"AWS/EC2\" WHERE Host = 'a' AND Type != 'x'", [0]),
        ("SELECT AVG(cpu) FROM Mine", []),
    ],
)
def test_which_metrics_match(text, want):
    known = [metric(Host="a"), metric(Host="b"), metric(Host="a", Type="x"), metric("CPU", "Mine")]
    assert [place for place, each in enumerate(known) if parse(text).matches(each)] == want


A = metric(Host="a"), {0: Summary.of([1, 2, 3]), 60: Summary.of([10])}
B = metric(Host="b"), {0: Summary.of([6])}
C = metric(Type="x"), {60: Summary.of([20, 30])}


@pytest.mark.parametrize(
    ("function", "want"),
    [
        ("AVG", {0: 3, 60: 20}),
        ("SUM", {0: 12, 60: 60}),
        ("MIN", {0: 1, 60: 10}),
        ("MAX", {0: 6, 60: 30}),
        ("COUNT", {0: 4, 60: 3}),
    ],
)
def test_values_are_taken_together(function, want):
    (found,) = evaluate(Query(function, "CPU", "AWS/EC2"), [A, B, C], 60)
    assert found.points == want
    assert A[1][0].count == 3  # what was read is not changed


def test_groups_are_ordered_and_limited():
    def labels(text: str) -> list[str]:
        return [series.label for series in evaluate(parse(f'SELECT SUM(CPU) FROM "AWS/EC2" {text}'), [A, B, C], 60)]

    assert labels("") == [""]
    assert labels("GROUP BY Host") == ["Other", "a", "b"]
    assert labels("GROUP BY Type, Host") == ["Other a", "Other b", "x Other"]
    assert labels("GROUP BY Host ORDER BY SUM() DESC") == ["Other", "a", "b"]
    assert labels("GROUP BY Host ORDER BY SUM() ASC") == ["b", "a", "Other"]
    assert labels("GROUP BY Host ORDER BY COUNT() DESC LIMIT 1") == ["a"]
    assert labels("GROUP BY Host ORDER BY MIN()") == ["a", "b", "Other"]
    assert evaluate(parse("SELECT SUM(CPU) FROM Mine"), [], 60) == []


NAMES = st.text(min_size=1, max_size=8).map(lambda text: text.replace("\\", "").replace('"', "") or "x")


@given(NAMES, NAMES, NAMES, st.integers(1, MOST_SERIES))
def test_whatever_is_quoted_comes_back(name, namespace, value, limit):
    text = 'SELECT AVG("{}") FROM "{}" WHERE "{}" = \'{}\' LIMIT {}'
    query = parse(text.format(name, namespace, name, value.replace("'", "\\'"), limit))
    assert query == Query("AVG", name, namespace, conditions=(Condition(name, True, value),), limit=limit)
