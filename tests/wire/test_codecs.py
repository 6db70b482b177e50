"""What a request must not be able to do, and what it may leave open, by protocol."""

import contextlib
import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.errors import ResourceNotFound, SerializationFailed, ServiceError, ValidationFailed
from kedge.wire.gateway import CODECS
from kedge.wire.http import Request
from kedge.wire.models import Models
from kedge.wire.query import tree
from kedge.wire.shapes import parse_time
from kedge.wire.xml import parse

SERVICES = ["sagemaker", "sagemaker-runtime", "s3", "sts", "iam"]
COUNT = "productionVariants.1.member.initialInstanceCount"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@cache
def models() -> Models:
    return Models(SERVICES)


def json_request(body: bytes | Any, operation: str = "CreateEndpointConfig") -> Request:
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"host": "x", "x-amz-target": f"SageMaker.{operation}", "content-type": "application/x-amz-json-1.1"}
    return Request("POST", "/", "", headers, body)


def decode(request: Request) -> dict[str, Any]:
    target = models().find(request)
    return CODECS[target.protocol].decode(target, request)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"ProductionVariants": [{"InitialInstanceCount": "1"}]},
            f"STRING_VALUE can not be converted to an Integer at '{COUNT}'",
        ),
        ({"EndpointConfigName": 1}, "NUMBER_VALUE can not be converted to a String at 'endpointConfigName'"),
        ({"EndpointConfigName": ["a"]}, "START_ARRAY can not be converted to a String at 'endpointConfigName'"),
        ({"ProductionVariants": {}}, "START_OBJECT can not be converted to a List at 'productionVariants'"),
        (
            {"ProductionVariants": [True]},
            "TRUE_VALUE can not be converted to a Structure at 'productionVariants.1.member'",
        ),
        (
            {"EnableNetworkIsolation": "true"},
            "STRING_VALUE can not be converted to a Boolean at 'enableNetworkIsolation'",
        ),
        (
            {"ProductionVariants": [{"InitialInstanceCount": 1.5}]},
            f"NUMBER_VALUE can not be converted to an Integer at '{COUNT}'",
        ),
        (
            {"ProductionVariants": [{"InitialInstanceCount": 2**31}]},
            f"The value at '{COUNT}' can not be converted to an Integer of 32 bits",
        ),
        ([], "START_ARRAY can not be converted to a Structure"),
        (b"null", "NULL_VALUE can not be converted to a Structure"),
        (b"{", "The body is not JSON: Expecting property name enclosed in double quotes at line 1 column 2"),
        (b'{"a": NaN}', "The body is not JSON: NaN is no JSON number"),
        (b'{"a": 1, "a": 2}', 'The body is not JSON: the name "a" stands twice in one object'),
        (b'{"EndpointConfigName": "\xff"}', "The body is not UTF-8: byte 24 is not valid"),
        (
            b'{"EndpointConfigName": "\\ud800"}',
            "The text at 'endpointConfigName' holds half of a surrogate pair",
        ),
        (
            b'{"ProductionVariants": [{"InitialVariantWeight": 1e999}]}',
            "The value at 'productionVariants.1.member.initialVariantWeight' can not be converted to a Float",
        ),
        (b'{"a": ' + b"[" * 100_000, "The body is nested more than 64 levels deep"),
    ],
)
def test_json_that_is_refused(body: Any, message: str) -> None:
    with pytest.raises(SerializationFailed) as refused:
        decode(json_request(body))
    assert refused.value.message == message


def test_a_number_of_thousands_of_digits() -> None:
    with pytest.raises(SerializationFailed, match="not JSON"):
        decode(json_request(b'{"ProductionVariants": [{"InitialInstanceCount": ' + b"9" * 10_000 + b"}]}"))


def test_a_shape_within_itself_is_bounded() -> None:
    node: dict[str, Any] = {}
    for _ in range(200):
        node = {"SubExpressions": [node]}
    with pytest.raises(SerializationFailed, match="nested more than 64 levels"):
        decode(json_request({"Resource": "Endpoint", "SearchExpression": node}, "Search"))


def test_what_json_may_leave_out_or_add() -> None:
    body = {"EndpointConfigName": None, "NewerMember": 1, "ProductionVariants": [{"InitialInstanceCount": 2.0}, None]}
    assert decode(json_request(body)) == {"ProductionVariants": [{"InitialInstanceCount": 2}, None]}
    assert decode(json_request(b"")) == {}


XML_BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]><Delete><Quiet>&c;</Quiet></Delete>'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (XML_BOMB, "document type declaration"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><Delete/>', "document type declaration"),
        (b"<Delete><Object></Delete>", "not well-formed"),
        (b"", "not well-formed"),
        (b'<?xml version="1.0" encoding="nonsense"?><Delete/>', "not well-formed"),
        (b"<a>" * 1000, "nested more than 64 levels"),
        (b"<a>\xff</a>", "not well-formed"),
    ],
)
def test_xml_that_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(SerializationFailed, match=message) as refused:
        parse(body)
    assert refused.value.named_for("s3") == ("MalformedXML", 400)


def test_xml_values_are_checked() -> None:
    body = b"<Delete><Object><Key>k</Key></Object><Quiet>perhaps</Quiet></Delete>"
    with pytest.raises(SerializationFailed, match=r"'perhaps' at 'quiet' can not be converted to a Boolean"):
        decode(Request("POST", "/b", "delete", {"host": "x"}, body))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("list-type=2&max-keys=abc", "'abc' at 'maxKeys' can not be converted to an Integer"),
        ("prefix=%FF", "UTF-8|utf-8"),
    ],
)
def test_a_query_string_that_is_refused(query: str, message: str) -> None:
    with pytest.raises(ValidationFailed, match=message):
        decode(Request("GET", "/b", query, {"host": "x"}))


def test_a_key_that_is_no_text() -> None:
    with pytest.raises(ValidationFailed, match="percent-encoded UTF-8 at 'key'"):
        decode(Request("GET", "/b/%FF", "", {"host": "x"}))


def form(text: str) -> Request:
    return Request("POST", "/", "", {"host": "x", "content-type": "application/x-www-form-urlencoded"}, text.encode())


def test_forms() -> None:
    head = "Action=CreateRole&Version=2010-05-08&RoleName=r&"
    tags = "Tags.member.2.Key=b&Tags.member.2.Value=2&Tags.member.10.Key=c&Tags.member.1.Key=a"
    assert decode(form(head + tags)) == {
        "RoleName": "r",
        "Tags": [{"Key": "a"}, {"Key": "b", "Value": "2"}, {"Key": "c"}],
    }
    assert decode(form(head + "Tags=")) == {"RoleName": "r", "Tags": []}
    for wrong in ("Tags=x", "MaxSessionDuration=1_0", "Tags.member.1=x"):
        with pytest.raises(SerializationFailed):
            decode(form(head + wrong))
    for number in ("x", "-1", "99999999999"):
        with pytest.raises(SerializationFailed, match="at 'tags' is not the number of an item"):
            decode(form(f"{head}Tags.member.{number}.Key=a"))
    with pytest.raises(SerializationFailed, match="nested"):
        tree({"a" + ".b" * 1000: ""})
    with pytest.raises(SerializationFailed, match="percent-encoded"):
        models().find(form("Action=%FF"))


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05+01:00",
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "1767323045",
        "1767323045.0",
    ],
)
def test_times(text: str) -> None:
    assert parse_time(text) == WHEN


@pytest.mark.parametrize("text", ["", "yesterday", "1e400", "nan", "99999999999999", "2026-13-01T00:00:00Z", "1_0"])
def test_times_that_are_none(text: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        parse_time(text)


TREES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["EndpointConfigName", "ProductionVariants", "Tags", "Key"]), inner)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_any_json_is_read_or_refused(node: Any) -> None:
    with contextlib.suppress(SerializationFailed):
        decode(json_request(node))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["json", "xml", "form", "path"]))
def test_any_bytes_are_read_or_refused(body: bytes, kind: str) -> None:
    requests = {
        "json": json_request(body),
        "xml": Request("POST", "/b", "delete", {"host": "x"}, body),
        "form": Request("POST", "/", "", {"content-type": "application/x-www-form-urlencoded"}, body),
        "path": Request("GET", "/" + body.decode("latin-1"), body.decode("latin-1"), {"host": "x"}),
    }
    with contextlib.suppress(ServiceError):
        target = models().find(requests[kind])
        CODECS[target.protocol].decode(target, requests[kind])


def test_text_that_xml_cannot_hold() -> None:
    request = Request("GET", "/", "", {"host": "x"})
    target = models().find(request)
    response = CODECS["s3"].encode(target, {"Buckets": [{"Name": "a\x00\ud800\r\n]]>"}]}, "request-id")
    assert isinstance(response.body, bytes)
    assert parse(response.body).children[0].children[0].children[0].text == "a\ufffd\ufffd\r\n]]>"


def test_the_old_name_of_an_error_for_clients_of_a_former_query_service() -> None:
    request = json_request({})
    target = models().find(Request("POST", "/", "", {**request.headers, "x-amzn-query-mode": "true"}, b"{}"))
    response = CODECS["json"].encode_error(target, ResourceNotFound("x"), "request-id")
    assert response.headers["x-amzn-query-error"] == "ResourceNotFound;Sender"
