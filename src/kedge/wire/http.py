"""An HTTP request and response as the wire sees them, whatever server read them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

Buffer = bytes | memoryview
"""Bytes that are only looked at; a memoryview may show others later."""
AnyBuffer = TypeVar("AnyBuffer", bytes, memoryview)


class Head(Protocol):
    """What a signature covers of a request, besides its body; as in Request."""

    @property
    def method(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def query(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    """As sent: still percent-encoded, without the query string. A signature covers exactly this."""
    query: str
    """As sent, without the question mark."""
    headers: Mapping[str, str]
    """Names in lower case; the values of a repeated header joined by a comma."""
    body: bytes = b""
    """The whole body, unless the operation streams it."""
    client: str = ""
    """Address of the sender; empty where it is not known."""
    secure: bool = False
    """It came over TLS."""


@dataclass
class Response:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    """An iterator is sent as it comes; then content-length is among the headers where it is known."""


class Told(dict[str, Any]):
    """A result that is sent with headers which its shape does not know."""

    def __init__(self, members: Mapping[str, Any], *, headers: Mapping[str, str]) -> None:
        super().__init__(members)
        self.headers = headers
