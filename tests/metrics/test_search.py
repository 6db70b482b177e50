from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.metrics.math import MathRefused
from kedge.metrics.search import parse, tokens
from kedge.metrics.series import Metric

FILE = json.loads((Path(__file__).parent / "data" / "metric_math.json").read_text())


def metric(namespace: str, name: str, **dimensions: str) -> Metric:
    return Metric("111122223333", "us-east-1", namespace, name, tuple(sorted(dimensions.items())))


@pytest.mark.parametrize(("string", "want"), FILE["search_tokens"].items())
def test_the_documented_tokens(string, want):
    assert list(tokens(string)) == want


@pytest.mark.parametrize("case", FILE["search_match"], ids=[case["term"] for case in FILE["search_match"]])
def test_the_documented_matches(case):
    assert parse(case["term"]).matches(metric("N", case["name"])) is case["match"]


@pytest.mark.parametrize(
    ("term", "name", "want"),
    [
        ("CustomCount", "CustomCount1", True),
        ("customcount", "CustomCount1", False),
        ("Count", "CustomCount1", True),
        ("customcount1", "CustomCount1", True),  # the whole string is a token, and tokens have no case
        ("network/errors", "NetworkErrors2", True),
        ("network+errors", "NetworkErrors2", True),
        ("Network_Errors", "Network-Errors-2", True),
        ("errors/network", "Network-Errors-2", False),
        ('"Network-Errors-2"', "Network-Errors-2", True),
        ('"Network_Errors_2"', "Network-Errors-2", False),
        (r'"Europe\\France Traffic\(Network\)"', "Europe\\France Traffic(Network)", True),
        (r'"say \"it\""', 'say "it"', True),
        ("1", "CustomCount1", True),
        ("1", "CustomCount10", False),
        ("--", "CustomCount1", False),
        ("i-1234567890123456", "i-1234567890123456", True),
        ("EC2", "AWS/EC2", True),
        ("ec2", "AWS/EC2", False),
    ],
)
def test_terms(term, name, want):
    assert parse(term).matches(metric("N", name)) is want


CPU = metric("AWS/EC2", "CPUUtilization", InstanceId="i-1")
CPU_OF_TYPE = metric("AWS/EC2", "CPUUtilization", InstanceType="t2.micro")
READS = metric("AWS/EBS", "VolumeReadOps", VolumeId="v-1")
ERRORS = metric("AWS/Lambda", "Errors", FunctionName="ProjectA-pay")
CALLS = metric("AWS/Lambda", "Invocations", FunctionName="ProjectA-pay")
OTHER_CALLS = metric("AWS/Lambda", "Invocations", FunctionName="ProjectC-pay")
MINE = metric("My Namespace", "Latency")
EVERYTHING = [CPU, CPU_OF_TYPE, READS, ERRORS, CALLS, OTHER_CALLS, MINE]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("{AWS/EC2,InstanceId}", [CPU]),
        ("{AWS/EC2}", [CPU, CPU_OF_TYPE]),
        ("{AWS/EC2, InstanceId, InstanceType}", []),
        ('{"My Namespace"}', [MINE]),
        ('{AWS/EC2,InstanceId} MetricName="CPUUtilization"', [CPU]),
        ('{AWS/EC2}, "CPUUtilization"', [CPU, CPU_OF_TYPE]),
        ("{AWS/EC2},CPUUtilization", [CPU, CPU_OF_TYPE]),
        ('{AWS/EC2} MetricName="CPU"', []),
        ("{AWS/EC2} MetricName=CPU", [CPU, CPU_OF_TYPE]),
        ("InstanceType=micro", [CPU_OF_TYPE]),
        ('InstanceType="t2.micro" Namespace="AWS/EC2"', [CPU_OF_TYPE]),
        ('"InstanceType" = micro', [CPU_OF_TYPE]),
        ("InstanceId", [CPU]),
        ("(EC2 OR EBS) AND MetricName=ReadOps", [READS]),
        ("(EC2 OR EBS) MetricName=ReadOps", [READS]),
        ("NOT Namespace=AWS", [MINE]),
        ("NOT NOT Namespace=AWS", EVERYTHING[:-1]),
        ("{AWS/Lambda} NOT ProjectC NOT Errors", [CALLS]),
        ("{AWS/Lambda} NOT (ProjectC OR Errors)", [CALLS]),
        ("Latency OR Errors", [ERRORS, MINE]),
        ("Errors OR Invocations AND ProjectC", [ERRORS, OTHER_CALLS]),
        ("(Errors OR Invocations) AND ProjectC", [OTHER_CALLS]),
        (
            '{AWS/Lambda,FunctionName} MetricName="Errors" OR (MetricName="Invocations" AND (ProjectA OR ProjectB))',
            [ERRORS, CALLS],
        ),
        (":aws.AccountId = 111122223333 Latency", [MINE]),
        (":aws.AccountId=LOCAL Latency", [MINE]),
        (":aws.AccountId=999999999999", []),
        ("and", []),  # operators are in capitals; this is a term
        ("ORDER", []),
        ("Nowhere=x", []),
    ],
)
def test_queries(query, found):
    assert [one for one in EVERYTHING if parse(query).matches(one)] == found


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ('{A} MetricName="x" NOT y', "x"),
        ('MetricName="x"', "x"),
        ("MetricName=x", None),
        ('MetricName="x" OR y', None),
        ('NOT MetricName="x"', None),
        ("{A}", None),
    ],
)
def test_the_name_that_is_required(query, name):
    assert parse(query).metric_name == name


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "neither a schema"),
        ("  ", "neither a schema"),
        ("{}", 'at character 2, "}"'),
        ("{AWS/EC2", "at its end"),
        ("a AND", "at its end"),
        ("OR b", 'at character 1, "OR b"'),
        ("(a", "at its end"),
        ("a)", 'at character 2, ")"'),
        ('"open', 'at character 1, ""open"'),
        ("MetricName=", "at its end"),
        ("a {AWS/EC2}", 'at character 3, "{AWS/EC2}"'),
        ("x" * 1025, "has 1025 characters; at most 1024"),
        ("(a " * 70 + "a" + ")" * 70, "nested more than 60 deep"),
    ],
)
def test_what_is_refused(query, says):
    with pytest.raises(MathRefused) as refused:
        parse(query)
    assert says in str(refused.value)


WORDS = st.sampled_from(["Errors", "EC2", "micro", "MetricName=CPU", '"Latency"', "Namespace=AWS"])


@settings(max_examples=40)
@given(WORDS, WORDS, WORDS)
def test_operators_are_boolean(one, other, third):
    for found in EVERYTHING:
        a, b, c = (parse(word).matches(found) for word in (one, other, third))
        assert parse(f"{one} {other} OR NOT {third}").matches(found) is ((a and b) or not c)
        assert parse(f"NOT ({one} OR {other}) AND {third}").matches(found) is (not (a or b) and c)


@given(st.text(alphabet='abAB1-/_ .=()"\\ANDORT{},', max_size=40))
def test_any_text_is_a_query_or_refused(query):
    try:
        found = parse(query)
    except MathRefused:
        return
    assert found.matches(CPU) in (True, False)
