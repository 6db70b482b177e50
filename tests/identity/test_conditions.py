"""Condition operators, wildcards and variables, by tables and against a slower twin."""

from __future__ import annotations

import fnmatch
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.identity.conditions import OPERATORS, UnknownOperator, conditions
from kedge.identity.patterns import Template, Values, filled, fixed

CONTEXT: dict[str, Values] = {
    "aws:username": ("ann",),
    "aws:userid": ("AIDA*",),
    "aws:principalarn": ("arn:aws:iam::111111111111:user/team/ann",),
    "aws:sourceip": ("203.0.113.7",),
    "aws:currenttime": ("2026-05-04T12:00:00Z",),
    "aws:epochtime": ("1777896000",),
    "aws:securetransport": ("false",),
    "aws:tagkeys": ("team", "cost"),
    "aws:requesttag/team": ("Blue",),
    "s3:max-keys": ("100",),
    "k:binary": ("AQI=",),
    "k:v6": ("2001:db8::1",),
    "k:mapped": ("::ffff:203.0.113.7",),
    "k:word": ("no number",),
}


def holds(condition: dict[str, Any], context: dict[str, Values] | None = None) -> bool:
    lookup = filled(CONTEXT if context is None else context)
    return all(each.holds(lookup) for each in conditions(condition, variables=True))


@pytest.mark.parametrize(
    ("condition", "want"),
    [
        ({}, True),
        ({"StringEquals": {"aws:username": "ann"}}, True),
        ({"StringEquals": {"AWS:UserName": "ann"}}, True),
        ({"stringequals": {"aws:username": "ann"}}, True),
        ({"StringEquals": {"aws:username": "Ann"}}, False),
        ({"StringEquals": {"aws:username": "a*"}}, False),
        ({"StringEquals": {"aws:username": ["bob", "ann"]}}, True),
        ({"StringEquals": {"aws:username": []}}, False),
        ({"StringEquals": {"missing": "x"}}, False),
        ({"StringEqualsIfExists": {"missing": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:username": "x"}}, False),
        ({"StringNotEquals": {"aws:username": ["bob", "eve"]}}, True),
        ({"StringNotEquals": {"aws:username": ["bob", "ann"]}}, False),
        ({"StringNotEquals": {"missing": "x"}}, True),
        ({"StringEqualsIgnoreCase": {"aws:username": "ANN"}}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:username": "ANN"}}, False),
        ({"StringLike": {"aws:username": "a*"}}, True),
        ({"StringLike": {"aws:username": "a?n"}}, True),
        ({"StringLike": {"aws:username": "a?"}}, False),
        ({"StringNotLike": {"aws:username": "a*"}}, False),
        ({"StringEquals": {"aws:username": "ann", "aws:userid": "x"}}, False),
        ({"StringEquals": {"aws:username": "ann"}, "Bool": {"aws:SecureTransport": "true"}}, False),
        ({"StringEquals": {"aws:username": "${aws:username}"}}, True),
        ({"StringLike": {"aws:userid": "${aws:userid}"}}, True),
        ({"StringLike": {"aws:username": "${aws:userid}"}}, False),
        ({"StringLike": {"aws:userid": "AIDA${*}"}}, True),
        ({"StringEquals": {"aws:userid": "AIDA${*}"}}, True),
        ({"StringLike": {"aws:username": "an${*}"}}, False),
        ({"StringEquals": {"aws:username": "${missing}"}}, False),
        ({"StringEquals": {"aws:username": "${missing, 'ann'}"}}, True),
        ({"StringEquals": {"aws:username": "${aws:tagkeys}"}}, False),
        ({"NumericEquals": {"s3:max-keys": 100}}, True),
        ({"NumericEquals": {"s3:max-keys": "100.0"}}, True),
        ({"NumericNotEquals": {"s3:max-keys": "100"}}, False),
        ({"NumericLessThanEquals": {"s3:max-keys": "100"}}, True),
        ({"NumericLessThan": {"s3:max-keys": "100"}}, False),
        ({"NumericGreaterThan": {"s3:max-keys": "99"}}, True),
        ({"NumericGreaterThanEquals": {"s3:max-keys": "101"}}, False),
        ({"NumericEquals": {"k:word": "1"}}, False),
        ({"NumericLessThan": {"s3:max-keys": "many"}}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2026-05-04T11:59:59Z"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2026-05-04"}}, False),
        ({"DateEquals": {"aws:CurrentTime": "2026-05-04T14:00:00+02:00"}}, True),
        ({"DateNotEquals": {"aws:CurrentTime": "2026-05-04T12:00:00Z"}}, False),
        ({"DateLessThanEquals": {"aws:EpochTime": 1777896000}}, True),
        ({"DateGreaterThanEquals": {"aws:EpochTime": "never"}}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": False}}, True),
        ({"Bool": {"aws:username": "ann"}}, False),
        ({"BinaryEquals": {"k:binary": "AQI="}}, True),
        ({"BinaryEquals": {"k:binary": "AQM="}}, False),
        ({"BinaryEquals": {"k:binary": "="}}, False),
        ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, True),
        ({"IpAddress": {"aws:SourceIp": "203.0.113.7"}}, True),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "nonsense"]}}, False),
        ({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, False),
        ({"IpAddress": {"k:v6": "2001:db8::/32"}}, True),
        ({"IpAddress": {"k:v6": "203.0.113.0/24"}}, False),
        ({"IpAddress": {"k:mapped": "203.0.113.0/24"}}, True),
        ({"IpAddress": {"aws:username": "0.0.0.0/0"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::*:user/team/ann"}}, True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:*:111111111111:user/*"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111111111111:user/*/${aws:username}"}}, True),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}, True),
        ({"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, False),
        ({"ArnLike": {"aws:username": "ann"}}, False),
        ({"Null": {"missing": "true"}}, True),
        ({"Null": {"missing": "false"}}, False),
        ({"Null": {"aws:username": "false"}}, True),
        ({"Null": {"aws:username": True}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost", "x"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}, False),
        ({"ForAllValues:StringEquals": {"missing": ["team"]}}, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": ["x"]}}, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": ["team"]}}, False),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["team", "x"]}}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": "x"}}, False),
        ({"ForAnyValue:StringEquals": {"missing": "x"}}, False),
        ({"ForAnyValue:StringEqualsIfExists": {"missing": "x"}}, True),
        ({"ForAnyValue:StringNotEquals": {"aws:TagKeys": "team"}}, True),
        ({"ForAnyValue:StringLike": {"aws:TagKeys": "co*"}}, True),
    ],
)
def test_operators(condition: dict[str, Any], want: bool) -> None:
    assert holds(condition) is want


def test_every_operator_is_in_the_table_above() -> None:
    table = next(mark for mark in test_operators.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    used = {re.sub(r"^.*:|IfExists$", "", name).lower() for condition, _ in table.args[1] for name in condition}
    assert used == OPERATORS.keys()


@pytest.mark.parametrize(
    "operator", ["", "StringIs", "ForSomeValues:StringEquals", "NullIfExists", "ForAllValues:Null", "IfExists"]
)
def test_unknown_operators(operator: str) -> None:
    with pytest.raises(UnknownOperator):
        conditions({operator: {"aws:username": "x"}}, variables=True)


def test_variables_are_text_in_policies_of_the_older_version() -> None:
    assert not Template("${aws:username}", variables=False).matches("ann", filled(CONTEXT))
    assert Template("${aws:username}", variables=False).matches("${aws:username}", filled(CONTEXT))


TEXT = st.text(st.sampled_from("ab*?/:.[]\\"), max_size=10)


@given(TEXT, TEXT)
def test_wildcards_are_those_of_the_shell_without_its_brackets(pattern: str, text: str) -> None:
    twin = re.compile("".join({"*": "(?s:.*)", "?": "(?s:.)"}.get(each, re.escape(each)) for each in pattern))
    assert fixed(pattern)(text) == (twin.fullmatch(text) is not None)
    if not set(pattern) & set("[]\\"):
        assert fixed(pattern)(text) == fnmatch.fnmatchcase(text, pattern)


@given(TEXT, TEXT)
def test_what_a_variable_stands_for_is_no_pattern(value: str, text: str) -> None:
    template = Template("<${k}>", variables=True)
    assert template.matches(f"<{text}>", {"k": (value,)}.get) == (value == text)


def test_a_pattern_made_to_be_slow_is_not() -> None:
    started_s = time.monotonic()
    assert not fixed("*a" * 1000 + "b")("a" * 1024)
    assert not fixed("?*" * 500 + "b")("a" * 1024)
    assert time.monotonic() - started_s < 2
