"""An operation's answer that is a stream of events: what its shape says, as event stream messages.

The operation's result holds an async iterator under the stream's member; each item is a dict of one member, the event's
name: {"PayloadPart": {"Bytes": b"..."}}. The other members of the result go first: by headers where the protocol is
REST, else in a message of their own, "initial-response".
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.model import OperationModel, Shape, StructureShape

from kedge.errors import ServiceError
from kedge.wire import eventstream
from kedge.wire.http import Response

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EventFormat:
    """How a protocol writes an event's payload."""

    content_type: str
    document: Callable[[Shape, Any], bytes]
    initial: bool
    """Whether a message ahead of the events carries the members that are no events."""


def stream_member(operation: OperationModel) -> tuple[str, StructureShape] | None:
    """The member that is the answer's stream of events, if it has one."""
    shape = operation.output_shape
    if not isinstance(shape, StructureShape):
        return None
    for name, member in shape.members.items():
        if isinstance(member, StructureShape) and member.serialization.get("eventstream"):
            return name, member
    return None


def event_response(
    operation: OperationModel, result: Mapping[str, Any], response: Response, form: EventFormat
) -> Response:
    """The answer of an operation whose output has a stream of events. response: its status and headers."""
    found = stream_member(operation)
    assert found is not None, f"{operation.name} answers with no event stream"
    name, shape = found
    first = b""
    if form.initial:
        assert operation.output_shape is not None
        others = {key: value for key, value in result.items() if key != name}
        first = eventstream.event("initial-response", form.content_type, form.document(operation.output_shape, others))
    response.headers.setdefault("content-type", eventstream.MEDIA_TYPE)
    response.body = _messages(operation.name, shape, first, result.get(name), form)
    return response


async def _messages(
    operation_name: str,
    shape: StructureShape,
    first: bytes,
    events: AsyncIterator[Mapping[str, Any]] | None,
    form: EventFormat,
) -> AsyncIterator[bytes]:
    if first:
        yield first
    if events is None:
        return
    async with contextlib.AsyncExitStack() as stack:
        if hasattr(events, "aclose"):
            stack.push_async_callback(events.aclose)
        try:
            async for item in events:
                yield event_message(shape, item, form)
        except ServiceError as error:
            last = error_message(shape, error, form)
        except Exception:
            log.exception("the events of %s broke off", operation_name)
            last = eventstream.error("InternalFailure", "An internal failure ended the stream; the log has it.")
        else:
            return
        yield last


def event_message(shape: StructureShape, item: Mapping[str, Any], form: EventFormat) -> bytes:
    """shape: of the stream. item: {event's name: its members}."""
    ((name, value),) = item.items()
    member = shape.members[name]
    assert isinstance(member, StructureShape)
    headers = _headers(member, value)
    explicit = next((key for key, part in member.members.items() if part.serialization.get("eventpayload")), None)
    if explicit is None:
        document = {key: part for key, part in value.items() if key not in headers}
        return eventstream.event(name, form.content_type, form.document(member, document), headers)
    if value.get(explicit) is None:
        return eventstream.event(name, "", b"", headers)
    content_type, payload = _payload(member.members[explicit], value[explicit], form)
    return eventstream.event(name, content_type, payload, headers)


def _headers(shape: StructureShape, value: Mapping[str, Any]) -> dict[str, eventstream.Header]:
    return {
        key: value[key]
        for key, member in shape.members.items()
        if member.serialization.get("eventheader") and value.get(key) is not None
    }


def _payload(shape: Shape, value: Any, form: EventFormat) -> tuple[str, bytes]:
    if shape.type_name == "blob":
        return "application/octet-stream", bytes(value)
    if shape.type_name == "string":
        return "text/plain", value.encode(errors="replace")
    return form.content_type, form.document(shape, value)


def error_message(shape: StructureShape, error: ServiceError, form: EventFormat) -> bytes:
    """The last message of a stream: an exception that its shape lists, else an error with code and text."""
    code, _ = error.named_for("json")
    for name, member in shape.members.items():
        if isinstance(member, StructureShape) and member.metadata.get("exception") and code in (name, member.name):
            message_name = next((key for key in member.members if key.lower() == "message"), None)
            told = {message_name: error.message} if message_name else {}
            return eventstream.exception(name, form.content_type, form.document(member, told | error.members))
    return eventstream.error(code, error.message)
