"""Every operation of every model, in each protocol of its service, both ways through botocore's client code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import urlencode, urlsplit

import botocore.parsers
import botocore.serialize
import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import NoShapeFoundError, OperationModel, Shape, StructureShape

from kedge.app import SERVICES
from kedge.errors import ServiceError
from kedge.wire.event_bodies import stream_member
from kedge.wire.gateway import CODECS
from kedge.wire.http import Request, Response
from kedge.wire.models import NOT_SERVED, Models, Target, metadata_of

LATER = [
    *("cloudwatch", "events", "logs", "application-autoscaling", "codepipeline", "codebuild", "codecommit", "kms"),
    *("sagemaker-metrics", "cloudformation", "cloudtrail", "scheduler", "sns", "sqs", "lambda"),
]
"""Services of which a part is or will be here; together they have every protocol and every kind of event stream."""

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

NOT_READ_BACK = {
    "s3.GetBucketLocation": "the root element is the value; botocore reads it in a handler (see test_gateway)",
}
"""Answers that botocore's bare parser cannot read, with the reason."""

SHADOWED = {"GetBucketLifecycle", "PutBucketLifecycle", "GetBucketNotification", "PutBucketNotification"}
"""Deprecated operations of S3 whose request is that of another one."""


@cache
def models() -> Models:
    return Models(dict.fromkeys([*SERVICES, *LATER]))


def spoken() -> list[Any]:
    return [
        pytest.param(service, protocol, id=f"{service}-{protocol}")
        for service, model in models().services.items()
        for protocol in metadata_of(model)["protocols"]
    ]


def operations(service: str) -> Iterator[OperationModel]:
    model = models().services[service]
    for name in model.operation_names:
        if f"{service}.{name}" not in NOT_SERVED and not (service == "s3" and name in SHADOWED):
            operation = model.operation_model(name)
            assert operation is not None
            yield operation


@cache
def request_to(service: str, name: str, protocol: str) -> Request:
    operation = models().services[service].operation_model(name)
    return written(operation, protocol, sample(operation.input_shape) if operation.input_shape else {})


@pytest.mark.parametrize(("service", "protocol"), spoken())
def test_every_operation_is_found_and_read(service: str, protocol: str) -> None:
    wrong = []
    for operation in operations(service):
        if operation.has_event_stream_input:
            continue
        want = sample(operation.input_shape) if operation.input_shape else {}
        request = request_to(service, operation.name, protocol)
        target = models().find(request)
        if target.key != f"{service}.{operation.name}":
            wrong.append(f"{operation.name} was taken for {target.key}")
        elif (got := CODECS[target.protocol].decode(target, request)) != want:
            wrong.append(f"{operation.name}: {differences(want, got)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("service", "protocol"), spoken())
def test_every_answer_is_read_by_the_client(service: str, protocol: str) -> None:
    wrong = []
    for operation in operations(service):
        if operation.has_event_stream_output or f"{service}.{operation.name}" in NOT_READ_BACK:
            continue
        shape = operation.output_shape
        want = sample(shape) if shape else {}
        target = models().find(request_to(service, operation.name, protocol))
        response = CODECS[target.protocol].encode(target, want, "request-id")
        got = read_back(operation, protocol, response)
        if got != want:
            wrong.append(f"{operation.name}: {differences(want, got)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("service", "protocol"), spoken())
def test_every_error_can_be_caught_by_its_name(service: str, protocol: str) -> None:
    """As `except client.exceptions.NAME` does it: by the shape that the model has for the code."""
    wrong = []
    for operation in operations(service):
        target = models().find(request_to(service, operation.name, protocol))
        for shape in operation.error_shapes:
            error = error_of(shape)
            response = CODECS[target.protocol].encode_error(target, error, "request-id")
            parsed = read_back(operation, protocol, response)
            code = parsed["Error"]["Code"]
            try:
                caught = operation.service_model.shape_for_error_code(code)
            except NoShapeFoundError:
                wrong.append(f"{operation.name}: {shape.name} has become {code}, which nothing catches")
                continue
            if caught.error_code != shape.error_code or parsed["Error"].get("Message") != error.message:
                wrong.append(f"{operation.name}: {shape.name} was read as {parsed}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("service", "protocol"), spoken())
async def test_every_event_is_read_by_the_client(service: str, protocol: str) -> None:
    for operation in operations(service):
        found = stream_member(operation)
        if found is None:
            continue
        name, union = found
        events = [{n: sample(m)} for n, m in union.members.items() if not m.metadata.get("exception")]
        others = {n: sample(m) for n, m in operation.output_shape.members.items() if n != name}
        target = models().find(request_to(service, operation.name, protocol))
        response = CODECS[target.protocol].encode(target, others | {name: items(events)}, "request-id")
        got = await events_read_back(operation, protocol, response)
        assert got == (others, events)


async def items(events: list[dict[str, Any]], error: Exception | None = None) -> AsyncIterator[dict[str, Any]]:
    for event in events:
        yield event
    if error is not None:
        raise error


class Chunks:
    """A body as urllib3 hands it to botocore."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        for at in range(0, len(self._body), 7):
            yield self._body[at : at + 7]

    def close(self) -> None: ...


async def events_read_back(
    operation: OperationModel, protocol: str, response: Response
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(other members, events)."""
    assert not isinstance(response.body, bytes)
    body = b"".join([piece async for piece in response.body])
    parsed = botocore.parsers.create_parser(protocol).parse(
        {
            "status_code": response.status,
            "headers": HeadersDict(response.headers),
            "body": Chunks(body),
            "context": {"operation_name": operation.name},
        },
        operation.output_shape,
    )
    name = operation.output_shape.event_stream_name
    stream = parsed.pop(name)
    return plain(parsed), plain(list(stream))


def error_of(shape: StructureShape) -> ServiceError:
    """An error as an operation raises it: its class has the name of the shape."""

    class Modelled(ServiceError):
        code, status = shape.name, 400
        elsewhere = {"query": (shape.error_code, 400), "s3": (shape.name, 400)}

    members = {
        name: sample(member)
        for name, member in shape.members.items()
        if name.lower() not in ("message", "code") and member.serialization.get("location") != "statusCode"
    }
    return Modelled("It did not work: <&> é", **members)


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


def written(operation: OperationModel, protocol: str, parameters: dict[str, Any]) -> Request:
    """What botocore's client puts on the wire."""
    serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
    raw = serializer.serialize_to_request(parameters, operation)
    body = raw["body"]
    if isinstance(body, dict):
        body = urlencode(body)
    url = urlsplit(raw["url_path"])
    query = raw.get("query_string") or {}
    pairs = [(k, v) for k, vs in query.items() for v in (vs if isinstance(vs, list) else [vs])] if query else []
    text = "&".join(part for part in (url.query, urlencode(pairs)) if part)
    # A model may put a prefix in front of the host; over a bucket's it is no more than that.
    headers = {"host": raw.get("host_prefix", "") + "127.0.0.1:8770"}
    headers |= {name.lower(): value for name, value in raw["headers"].items()}
    return Request(raw["method"], url.path, text, headers, body.encode() if isinstance(body, str) else body)


def read_back(operation: OperationModel, protocol: str, response: Response) -> Any:
    assert isinstance(response.body, bytes)
    raw = {
        "status_code": response.status,
        "headers": HeadersDict(response.headers),
        "body": response.body,
        "context": {"operation_name": operation.name},
    }
    if operation.has_streaming_output and response.status < 300:
        raw["body"] = BytesIO(response.body)
    return plain(botocore.parsers.create_parser(protocol).parse(raw, operation.output_shape))


def differences(want: Any, got: Any, path: str = "") -> str:
    if isinstance(want, dict) and isinstance(got, dict):
        keys = [key for key in want | got if want.get(key) != got.get(key)]
        return differences(want.get(keys[0]), got.get(keys[0]), f"{path}.{keys[0]}")
    return f"{path}: {want!r} became {got!r}"[:300]


def target_of(service: str, name: str, protocol: str) -> Target:
    return models().find(request_to(service, name, protocol))
