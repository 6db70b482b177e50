"""Event streams: botocore reads what is framed here, and a stream's errors are events of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import EventStreamError
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import ServiceError, ValidationFailed
from kedge.wire import eventstream
from kedge.wire.gateway import CODECS
from kedge.wire.models import Models, Target

from .test_round_trips import events_read_back

MODELS = Models(["logs", "sagemaker-runtime"])
LONGS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.text(max_size=50) | st.binary(max_size=50) | st.booleans() | LONGS | st.uuids()
NAMES = st.text("abcdefg-:", min_size=1, max_size=20)


def read(data: bytes) -> list[Any]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


@given(st.lists(st.tuples(st.dictionaries(NAMES, VALUES, max_size=5), st.binary(max_size=200)), max_size=4))
def test_botocore_reads_what_is_framed(messages: list[tuple[dict[str, Any], bytes]]) -> None:
    got = read(b"".join(eventstream.message(headers, payload) for headers, payload in messages))
    want = [
        ({name: value.bytes if isinstance(value, UUID) else value for name, value in headers.items()}, payload)
        for headers, payload in messages
    ]
    assert [(message.headers, message.payload) for message in got] == want


def test_a_time_in_a_header() -> None:
    (message,) = read(eventstream.message({"t": datetime(2026, 1, 2, tzinfo=UTC)}, b""))
    assert message.headers == {"t": 1767312000000}


@pytest.mark.parametrize(
    "headers",
    [{"": "x"}, {"n" * 256: "x"}, {"n": "x" * 32_768}, {"n": b"x" * 32_768}, {"n": 2**63}, {"n": 1.5}],
)
def test_headers_that_cannot_be(headers: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="header"):
        eventstream.message(headers, b"")


def test_an_event_that_is_too_large() -> None:
    with pytest.raises(ValueError, match="too large"):
        eventstream.message({}, bytes(eventstream.MAX_PAYLOAD_BYTES + 1))


def test_an_error_as_long_as_it_likes() -> None:
    (message,) = read(eventstream.error("Code", "é" * 100_000))
    assert message.headers[":error-message"] == "é" * (32_767 // 2)


class ModelStreamError(ServiceError):
    code, status = "ModelStreamError", 424


async def parts(error: Exception | None, closed: list[str]) -> AsyncIterator[dict[str, Any]]:
    try:
        yield {"PayloadPart": {"Bytes": b"\0one"}}
        yield {"PayloadPart": {}}
        if error is not None:
            raise error
    finally:
        closed.append("closed")


def target(service: str, name: str, protocol: str) -> Target:
    operation = MODELS.services[service].operation_model(name)
    assert operation is not None
    return Target(service, name, protocol, operation)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ModelStreamError("It broke.", ErrorCode="ModelInvocationTimeExceeded"), "ModelStreamError", "It broke."),
        (ValidationFailed("No é."), "ValidationException", "No é."),
        (RuntimeError("a secret"), "InternalFailure", "An internal failure ended the stream"),
    ],
)
async def test_an_error_ends_the_stream(error: Exception, code: str, text: str) -> None:
    closed: list[str] = []
    asked = target("sagemaker-runtime", "InvokeEndpointWithResponseStream", "rest-json")
    response = CODECS["rest-json"].encode(asked, {"ContentType": "text/csv", "Body": parts(error, closed)}, "id")
    assert response.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert response.headers["x-amzn-sagemaker-content-type"] == "text/csv"
    with pytest.raises(EventStreamError) as raised:
        await events_read_back(asked.model(), "rest-json", response)
    assert raised.value.response["Error"]["Code"] == code
    assert raised.value.response["Error"]["Message"].startswith(text)
    assert closed == ["closed"]


async def test_a_stream_that_is_left_is_closed() -> None:
    closed: list[str] = []
    asked = target("sagemaker-runtime", "InvokeEndpointWithResponseStream", "rest-json")
    response = CODECS["rest-json"].encode(asked, {"Body": parts(None, closed)}, "id")
    body: Any = response.body
    (message,) = read(await anext(body))
    assert message.headers[":event-type"] == "PayloadPart"
    assert message.headers[":content-type"] == "application/octet-stream"
    assert message.payload == b"\0one"
    await body.aclose()
    assert closed == ["closed"]


async def test_rpc_begins_with_the_other_members() -> None:
    async def none() -> AsyncIterator[dict[str, Any]]:
        await asyncio.sleep(0)
        for _ in ():
            yield {}

    asked = target("logs", "StartLiveTail", "json")
    response = CODECS["json"].encode(asked, {"responseStream": none()}, "id")
    body: Any = response.body
    (message,) = read(b"".join([piece async for piece in body]))
    assert message.headers[":event-type"] == "initial-response"
    assert message.payload == b"{}"
