"""botocore's protocol compliance cases in reverse: what its client writes we read, what we write its client reads."""

import base64
import copy
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import NoShapeFoundError, OperationModel, ServiceModel, StructureShape
from botocore.parsers import PROTOCOL_PARSERS
from botocore.serialize import create_serializer
from botocore.utils import parse_timestamp

from kedge.errors import ServiceError
from kedge.wire.asgi import unzipped_request
from kedge.wire.gateway import CODECS
from kedge.wire.http import Request
from kedge.wire.models import Models, Target

VECTORS = Path(__file__).parent / "vectors"
NOT_REVERSIBLE = json.loads((VECTORS / "not-reversible.json").read_text())
TOKEN = "00000000-0000-4000-8000-000000000000"
ARRIVES: dict[str, dict[str, Any]] = {
    # The client fills in a token that the caller left out.
    "QueryIdempotencyTokenAutoFill": {"token": TOKEN},
    "QueryProtocolIdempotencyTokenAutoFill": {"token": TOKEN},
    "RestJsonQueryIdempotencyTokenAutoFill": {"token": TOKEN},
    # An empty document is a structure without members.
    "RestJsonHttpWithEmptyStructurePayload": {"payloadConfig": {}},
    "RestJsonHttpWithHeadersButNoPayload": {"testId": "t-12345", "payloadConfig": {}},
    # A map over the whole query string holds the named parameters too.
    "RestJsonQueryParamsStringListMap": {"qux": "named", "foo": {"corge": ["named"], "baz": ["bar", "qux"]}},
    "RestXmlQueryParamsStringListMap": {"qux": "named", "foo": {"corge": ["named"], "baz": ["bar", "qux"]}},
    "RestJsonQueryPrecedence": {"foo": "named", "baz": {"bar": "named", "qux": "alsoFromMap"}},
    "RestXmlQueryPrecedence": {"foo": "named", "baz": {"bar": "named", "qux": "alsoFromMap"}},
    # The case holds the JSON of the value, operations its value.
    "MediaTypeHeaderInputBase64": {"json": True},
}
"""What the wire says where it is not what the caller said."""

READ_TOO: dict[str, dict[str, Any]] = {
    # A client gives an empty body for no body.
    "HttpPayloadTraitsWithNoBlobBody": {"blob": ""},
    "RestJsonHttpPayloadTraitsWithNoBlobBody": {"blob": ""},
    # A prefix of nothing collects the headers that each answer has.
    "HttpPrefixHeadersResponse": {"prefixHeaders": {"content-type": "application/json", "x-amzn-requestid": "id"}},
}
"""What the client reads besides the result."""


def cases(kind: str) -> list[Any]:
    found = []
    for path in sorted((VECTORS / kind).glob("*.json")):
        for suite in json.loads(path.read_text()):
            for case in suite["cases"]:
                name = f"{path.stem}-{case.get('id', suite['description'])}"
                reason = NOT_REVERSIBLE[kind].get(case.get("id"))
                marks = [pytest.mark.skip(reason=reason)] if reason else []
                found.append(pytest.param(suite, case, id=name, marks=marks))
    return found


def model_of(suite: dict[str, Any], case: dict[str, Any]) -> OperationModel:
    description = copy.deepcopy({key: value for key, value in suite.items() if key != "cases"})
    name = case["given"].get("name", "OperationName")
    metadata = description["metadata"]
    metadata |= {"serviceId": "Example", "endpointPrefix": "example", "signatureVersion": "v4"} | metadata
    if metadata["protocol"] in ("query", "rest-xml"):
        metadata.setdefault("xmlNamespace", "https://example.com/")
    if metadata["protocol"] == "query":
        metadata.setdefault("apiVersion", "2020-01-08")
    description["operations"] = {name: copy.deepcopy(case["given"])}
    return ServiceModel(description, service_name="example").operation_model(name)


@pytest.mark.parametrize(("suite", "case"), cases("input"))
def test_we_read_what_the_client_writes(suite: dict[str, Any], case: dict[str, Any]) -> None:
    operation = model_of(suite, case)
    request = request_of(operation, case)
    target = Models([operation.service_model]).find(request)
    assert target.operation_name == operation.name
    got, want = CODECS[target.protocol].decode(target, request), ARRIVES.get(case.get("id", ""), case["params"])
    shape = operation.input_shape
    if shape is not None:
        want, got = settled(shape, target.protocol, plain(shape, want), plain(shape, got))
    assert got == want


@pytest.mark.parametrize(("suite", "case"), cases("output"))
def test_the_client_reads_what_we_write(suite: dict[str, Any], case: dict[str, Any]) -> None:
    operation = model_of(suite, case)
    protocol = operation.service_model.metadata["protocol"]
    target = Target("example", operation.name, protocol, operation)
    shape = operation.output_shape
    if "error" in case:
        error = error_of(operation, case)
        response = CODECS[protocol].encode_error(target, error, "id")
        parsed = client_reads(operation, response)
        assert response.status >= 300
        assert parsed.pop("Error")["Code"] == case["errorCode"]
        assert {k: v for k, v in parsed.items() if v is not None} == case["error"]
        return
    if protocol == "query" and shape is not None and shape.members:
        shape.serialization["resultWrapper"] = f"{operation.name}Result"
    result = rich(shape, case["result"]) if shape is not None else {}
    response = CODECS[protocol].encode(target, result, "id")
    got = client_reads(operation, response)
    want = plain(shape, case["result"]) if shape is not None else {}
    for name, value in READ_TOO.get(case.get("id", ""), {}).items():
        want[name] = want[name] | value if name in want else value
    assert plain(shape, got) == want


def test_the_exceptions_are_about_cases_that_there_are() -> None:
    for kind, tables in {
        "input": [NOT_REVERSIBLE["input"], ARRIVES],
        "output": [NOT_REVERSIBLE["output"], READ_TOO],
    }.items():
        known = {
            case.get("id")
            for path in VECTORS.glob(f"{kind}/*.json")
            for suite in json.loads(path.read_text())
            for case in suite["cases"]
        }
        assert not [name for table in tables for name in table if name not in known]


def request_of(operation: OperationModel, case: dict[str, Any]) -> Request:
    written = case["serialized"]
    body = written.get("body", "").encode()
    if operation.service_model.metadata["protocol"] == "smithy-rpc-v2-cbor":
        body = base64.b64decode(body)
    if "gzip" in written.get("headers", {}).get("Content-Encoding", "") and not body:
        body = compressed(operation, case["params"])
    url = urlsplit(written.get("uri", "/"))
    headers = {"host": written.get("host", "example.us-east-1.amazonaws.com")} | {
        k.lower(): v for k, v in written.get("headers", {}).items()
    }
    metadata = operation.service_model.metadata
    if metadata["protocol"] == "query":
        headers.setdefault("content-type", "application/x-www-form-urlencoded; charset=utf-8")
    if metadata["protocol"] == "json":
        headers.setdefault("x-amz-target", f"{metadata['targetPrefix']}.{operation.name}")
    method = written.get("method") or case["given"].get("http", {}).get("method", "POST")
    return unzipped_request(Request(method, url.path, url.query, headers), body, 10**6)


def compressed(operation: OperationModel, parameters: dict[str, Any]) -> bytes:
    """The body that the case leaves out, as the client writes it."""
    serializer = create_serializer(operation.service_model.metadata["protocol"], include_validation=False)
    body = serializer.serialize_to_request(parameters, operation)["body"]
    if isinstance(body, dict):
        body = urlencode(body)
    return gzip.compress(body.encode() if isinstance(body, str) else body)


def error_of(operation: OperationModel, case: dict[str, Any]) -> ServiceError:
    try:
        shape = operation.service_model.shape_for_error_code(case["errorCode"])
    except NoShapeFoundError:
        shape = None
    members = rich(shape, case["error"]) if shape is not None else {}
    message = case.get("errorMessage", "")

    class Modelled(ServiceError):
        code, status = case["errorCode"], 400

    return Modelled(message, **{k: v for k, v in members.items() if k.lower() != "message"})


def client_reads(operation: OperationModel, response: Any) -> dict[str, Any]:
    model, shape = operation.service_model, operation.output_shape
    parser = PROTOCOL_PARSERS[model.metadata["protocol"]](
        timestamp_parser=lambda text: parse_timestamp(text).astimezone(UTC).timestamp()
    )
    raw = {
        "status_code": response.status,
        "headers": HeadersDict(response.headers),
        "body": response.body,
        "context": {"operation_name": operation.name},
    }
    parsed = dict(parser.parse(raw, shape))
    if response.status >= 300:
        try:
            error_shape = model.shape_for_error_code(parsed["Error"]["Code"])
        except NoShapeFoundError:
            error_shape = None
        if error_shape is not None:
            modelled = parser.parse(raw, error_shape)
            parsed |= plain(error_shape, {k: v for k, v in modelled.items() if k in error_shape.members})
    parsed.pop("ResponseMetadata", None)
    return parsed


def plain(shape: Any, value: Any) -> Any:
    """A value of any representation in the one of the JSON files."""
    if hasattr(value, "read"):
        value = value.read()
    kind = shape.type_name if shape is not None else None
    if value is None or getattr(shape, "is_document_type", False):
        return value
    if kind == "structure":
        return {k: plain(shape.members.get(k), v) for k, v in value.items() if v is not None}
    if kind == "list":
        return [plain(shape.member, item) for item in value]
    if kind == "map":
        return {k: plain(shape.value, v) for k, v in value.items()}
    if kind == "timestamp":
        value = parse_timestamp(value) if isinstance(value, str) else value
        return round(float(value.timestamp() if isinstance(value, datetime) else value), 3)
    if kind in ("float", "double"):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(float(value)), float(value))
    return value.decode() if isinstance(value, bytes) else value


def rich(shape: Any, value: Any) -> Any:
    """A value of the JSON files in the representation that operations use."""
    kind = shape.type_name if shape is not None else None
    if value is None or getattr(shape, "is_document_type", False):
        return value
    if kind == "structure":
        return {k: rich(shape.members.get(k), v) for k, v in value.items()}
    if kind == "list":
        return [rich(shape.member, item) for item in value]
    if kind == "map":
        return {k: rich(shape.value, v) for k, v in value.items()}
    if kind == "blob":
        return value.encode()
    if kind == "timestamp":
        return datetime.fromtimestamp(value, UTC)
    return float(value) if kind in ("float", "double") else value


def settled(shape: StructureShape, protocol: str, want: Any, got: Any) -> tuple[Any, Any]:
    """Both without what the wire leaves open: a list or map that is empty or absent is the same in forms and headers,
    and a map over the whole query string catches what the case does not speak of."""
    loose = {
        name: member.serialization.get("location") == "querystring" and member.type_name == "map"
        for name, member in shape.members.items()
        if protocol == "query" or member.serialization.get("location") in ("querystring", "header", "headers")
    }
    want = {k: v for k, v in want.items() if not (k in loose and v in ([], {}))}
    got = {k: v for k, v in got.items() if not (k in loose and (v in ([], {}) or (loose[k] and k not in want)))}
    return want, got
