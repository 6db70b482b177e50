"""Which messages a subscription wants; refusals in the words that SNS was recorded with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kedge.topics.filter_policy import ATTRIBUTES, BODY, PolicyRefused, checked, matches


def by_attributes(policy: Any, **attributes: tuple[str, str]) -> bool:
    given = {name: {"Type": kind, "Value": value} for name, (kind, value) in attributes.items()}
    return matches(checked(json.dumps(policy), ATTRIBUTES), ATTRIBUTES, given, "")


def by_body(policy: Any, body: Any) -> bool:
    return matches(checked(json.dumps(policy), BODY), BODY, {}, json.dumps(body))


def text(value: str) -> tuple[str, str]:
    return "String", value


@pytest.mark.parametrize(
    ("condition", "wanted", "unwanted"),
    [
        ("a", ["a"], ["A", "ab", ""]),
        ({"prefix": "ab"}, ["abc", "ab"], ["a", "cab"]),
        ({"suffix": "bc"}, ["abc"], ["ab"]),
        ({"equals-ignore-case": "AbC"}, ["abc", "ABC"], ["ab"]),
        ({"anything-but": "a"}, ["b"], ["a"]),
        ({"anything-but": ["a", "b"]}, ["c"], ["a", "b"]),
        ({"anything-but": {"prefix": "x-"}}, ["y"], ["x-1"]),
        ({"anything-but": {"suffix": "-x"}}, ["y"], ["1-x"]),
        ({"cidr": "10.0.0.0/24"}, ["10.0.0.255"], ["10.0.1.0", "no address"]),
        ({"exists": True}, ["x", ""], []),
    ],
)
def test_conditions_on_texts(condition: Any, wanted: list[str], unwanted: list[str]) -> None:
    for value in wanted:
        assert by_attributes({"k": [condition]}, k=text(value)), value
    for value in unwanted:
        assert not by_attributes({"k": [condition]}, k=text(value)), value
    assert not by_attributes({"k": [condition]}, other=text("x"))


@pytest.mark.parametrize(
    ("condition", "wanted", "unwanted"),
    [
        (1, ["1", "1.0", "1e0"], ["2", "1.5"]),
        ({"numeric": [">", 0, "<=", 100]}, ["100", "0.1"], ["0", "100.1", "-1"]),
        ({"numeric": ["=", 5]}, ["5"], ["6"]),
        ({"anything-but": [1, 2]}, ["3"], ["1", "2.0"]),
    ],
)
def test_conditions_on_numbers(condition: Any, wanted: list[str], unwanted: list[str]) -> None:
    for value in wanted:
        assert by_attributes({"k": [condition]}, k=("Number", value)), value
    for value in unwanted:
        assert not by_attributes({"k": [condition]}, k=("Number", value)), value


def test_names_are_all_needed_and_conditions_one_of_them() -> None:
    policy = {"a": ["1", "2"], "b": ["3"]}
    assert by_attributes(policy, a=text("2"), b=text("3"))
    assert not by_attributes(policy, a=text("2"))
    assert not by_attributes(policy, a=text("3"), b=text("3"))


def test_exists_false_wants_what_is_not_there() -> None:
    assert by_attributes({"k": [{"exists": False}]}, other=text("x"))
    assert not by_attributes({"k": [{"exists": False}]}, k=text("x"))


def test_lists_in_attributes_offer_each_of_their_values() -> None:
    assert by_attributes({"k": [True, "b"]}, k=("String.Array", '["a", "b"]'))
    assert by_attributes({"k": [None]}, k=("String.Array", "[null]"))
    assert not by_attributes({"k": ["c"]}, k=("String.Array", '["a", "b"]'))
    assert not by_attributes({"k": [{"exists": True}]}, other=("Binary", "AA=="))
    assert not by_attributes({"k": ["AA=="]}, k=("Binary", "AA=="))


def test_bodies() -> None:
    policy = {"store": {"name": ["a"], "size": [{"numeric": [">", 1]}]}}
    assert by_body(policy, {"store": {"name": "a", "size": 2}, "more": []})
    assert by_body(policy, {"store": [{"name": "b"}, {"name": "a", "size": 3}]})
    assert not by_body(policy, {"store": {"name": "a"}})
    assert not by_body({"k": [1]}, {"k": True})
    assert not by_body({"k": [1]}, [1])
    assert not matches({"k": [1]}, BODY, {}, "no JSON")


def test_one_of_several() -> None:
    policy = {"a": ["1"], "$or": [{"b": ["2"]}, {"c": ["3"]}]}
    assert by_attributes(policy, a=text("1"), b=text("2"))
    assert by_attributes(policy, a=text("1"), c=text("3"))
    assert not by_attributes(policy, a=text("1"))
    assert not by_attributes(policy, b=text("2"))


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"key": [["value"]]}, "Match value must be String, number, true, false, or null"),
        ({"key": [{"wrong-operator": True}]}, "Unrecognized match type wrong-operator"),
        ({"key": [{"suffix": "value", "prefix": "value2"}]}, "Only one key allowed in match expression"),
        ({"key": [{"suffix": 100}]}, "suffix match pattern must be a string"),
        ({"key": [{"suffix": None}]}, "suffix match pattern must be a string"),
        ({"key": {"suffix": "value"}}, '"suffix" must be an object or an array'),
        ({"key_a": "value_one"}, '"key_a" must be an object or an array'),
        ({"key": [{"numeric": []}]}, "Invalid member in numeric match: ]"),
        ({"key": [{"numeric": ["operator"]}]}, "Unrecognized numeric range operator: operator"),
        ({"key": [{"numeric": [1, "<="]}]}, "Invalid member in numeric match: 1"),
        ({"key": [{"numeric": ["=", "000"]}]}, "Value of equals must be numeric"),
        ({"key": [{"numeric": [">="]}]}, "Value of >= must be numeric"),
        ({"key": [{"numeric": ["<", 100, ">", 10]}]}, "Too many elements in numeric expression"),
        ({"key": [{"numeric": [">=", 1, ">", 2]}]}, "Bad numeric range operator: >"),
        ({"key": [{"numeric": [">", 3, "<", 1]}]}, "Bottom must be less than top"),
        ({"key": [{"numeric": [">", 20, "<="]}]}, "Value of <= must be numeric"),
        ({"key": [{"numeric": [">", 20, 30]}]}, "Bad value in numeric range: 30"),
        ({"key": [{"numeric": [">", 20, "test"]}]}, "Bad numeric range operator: test"),
        ({"key": [{"numeric": [">", "20", "<", "30"]}]}, "Value of > must be numeric"),
        ({"key": [{"numeric": [">", 20, "<", "30"]}]}, "Value of < must be numeric"),
        ({"key": [{"numeric": [">", 20, "<", 30, "<", 50]}]}, "Too many terms in numeric range expression"),
        ({"key": [{"exists": None}]}, "exists match pattern must be either true or false."),
        ({"key": [{"exists": "no"}]}, "exists match pattern must be either true or false."),
        ({"a": [{"cidr": "x"}]}, "Malformed CIDR"),
        ({"a": []}, "Empty arrays are not allowed"),
        ({f"k{number}": ["v"] for number in range(6)}, "Filter policy can not have more than 5 keys"),
        ({"a": [str(number) for number in range(151)]}, "Filter policy is too complex"),
        ({"a": [1] * 13, "b": [1] * 12}, "Filter policy is too complex"),
    ],
)
def test_refusals(policy: Any, told: str) -> None:
    with pytest.raises(PolicyRefused) as caught:
        checked(json.dumps(policy), BODY)
    assert told in str(caught.value)
