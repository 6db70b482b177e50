"""Every operation both ways through botocore's own client code, and what a request must not be able to do."""

import contextlib
import json
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import urlencode, urlsplit

import botocore.parsers
import botocore.serialize
import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, Shape
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge.errors import ResourceNotFound, SerializationFailed, ServiceError, ValidationFailed
from kedge.wire.gateway import CODECS
from kedge.wire.http import Request
from kedge.wire.models import NOT_SERVED, Models
from kedge.wire.query import tree
from kedge.wire.shapes import parse_time
from kedge.wire.xml import parse

SERVICES = ["sagemaker", "sagemaker-runtime", "s3", "sts", "iam"]
COUNT = "productionVariants.1.member.initialInstanceCount"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

NOT_READ_BACK = {
    "s3.GetBucketLocation": "the root element is the value; botocore reads it in a handler (see test_gateway)",
}
"""Answers that botocore's bare parser cannot read, with the reason."""


@cache
def models() -> Models:
    return Models(SERVICES)


def sample(shape: Shape, names: tuple[str, ...] = ()) -> Any:
    """A value with every member set, two of every list; a shape within itself is left empty."""
    shape_: Any = shape
    match shape.type_name:
        case "structure":
            if shape_.is_document_type:
                return {"a": [1, None, "x"]}
            if names.count(shape.name) > 1:
                return {}
            members = [(n, m) for n, m in shape_.members.items() if not m.serialization.get("eventstream")]
            members = members[:1] if shape_.is_tagged_union else members
            return {name: sample(member, (*names, shape.name)) for name, member in members}
        case "list":
            return [sample(shape_.member, (*names, shape.name)) for _ in range(2)]
        case "map":
            return {key: sample(shape_.value, (*names, shape.name)) for key in ("k-0", "k-1")}
        case "string":
            if shape_.enum:
                return shape_.enum[0]
            return "plain-x" if shape.serialization.get("location") else 'a b&<c>é,"q"\n\té/+%'
        case "integer" | "long":
            return 7
        case "float" | "double":
            return 1.5
        case "boolean":
            return True
        case "timestamp":
            return WHEN
        case "blob":
            return bytes(range(256))
    raise AssertionError(shape.type_name)


def plain(value: Any) -> Any:
    """What a client parsed, comparable with what an operation answered."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value.read() if isinstance(value, BytesIO) else value


def served() -> list[tuple[str, str]]:
    found = []
    for service, model in models().services.items():
        for name in model.operation_names:
            operation = model.operation_model(name)
            deprecated_twin = service == "s3" and name in ("GetBucketLifecycle", "PutBucketLifecycle")
            deprecated_twin |= service == "s3" and name in ("GetBucketNotification", "PutBucketNotification")
            if f"{service}.{name}" not in NOT_SERVED and not deprecated_twin:
                assert operation is not None
                found.append((service, name))
    return found


def written(operation: OperationModel, parameters: dict[str, Any]) -> Request:
    """What botocore's client puts on the wire."""
    protocol = operation.service_model.metadata["protocol"]
    serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
    raw = serializer.serialize_to_request(parameters, operation)
    body = raw["body"]
    if isinstance(body, dict):
        body = urlencode(body)
    url = urlsplit(raw["url_path"])
    query = raw.get("query_string") or {}
    pairs = [(k, v) for k, vs in query.items() for v in (vs if isinstance(vs, list) else [vs])] if query else []
    text = "&".join(part for part in (url.query, urlencode(pairs)) if part)
    headers = {"host": "127.0.0.1"} | {name.lower(): value for name, value in raw["headers"].items()}
    return Request(raw["method"], url.path, text, headers, body.encode() if isinstance(body, str) else body)


def test_every_operation_is_found_and_read() -> None:
    wrong = []
    for service, name in served():
        operation = models().services[service].operation_model(name)
        if operation.has_event_stream_input:
            continue
        parameters = sample(operation.input_shape) if operation.input_shape else {}
        request = written(operation, parameters)
        target = models().find(request)
        if target.key != f"{service}.{name}":
            wrong.append(f"{service}.{name} was taken for {target.key}")
        elif (got := CODECS[target.protocol].decode(target, request)) != parameters:
            wrong.append(f"{service}.{name}: {differences(parameters, got)}")
    assert not wrong, "\n".join(wrong)


def test_every_answer_is_read_by_the_client() -> None:
    wrong = []
    for service, name in served():
        operation = models().services[service].operation_model(name)
        if operation.has_event_stream_output or f"{service}.{name}" in NOT_READ_BACK:
            continue
        shape = operation.output_shape
        result = sample(shape) if shape else {}
        request = written(operation, sample(operation.input_shape) if operation.input_shape else {})
        target = models().find(request)
        response = CODECS[target.protocol].encode(target, result, "request-id")
        parser = botocore.parsers.create_parser(operation.service_model.metadata["protocol"])
        raw = {
            "status_code": 200,
            "headers": HeadersDict(response.headers),
            "body": response.body,
            "context": {"operation_name": name},
        }
        if operation.has_streaming_output:
            raw["body"] = BytesIO(response.body)
        got = plain(parser.parse(raw, shape))
        if got != result:
            wrong.append(f"{service}.{name}: {differences(result, got)}")
    assert not wrong, "\n".join(wrong)


def differences(want: Any, got: Any, path: str = "") -> str:
    if isinstance(want, dict) and isinstance(got, dict):
        keys = [key for key in want | got if want.get(key) != got.get(key)]
        return differences(want.get(keys[0]), got.get(keys[0]), f"{path}.{keys[0]}")
    return f"{path}: {want!r} became {got!r}"[:300]


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
