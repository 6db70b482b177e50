"""One request as the inference port read it, and the limits within which it reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kedge import errors

ORIGIN_HEADER = "x-kedge-origin"
"""SCHEME ADDRESS, by which control tells of a request that it passes on. From anybody else it says nothing."""


@dataclass(frozen=True)
class Limits:
    head_bytes: int = 64 * 1024
    """Request line and headers together."""
    headers: int = 256
    head_s: float = 10.0
    """From a request's first byte to the end of its headers."""
    body_idle_s: float = 20.0
    """Between two pieces of a body."""
    body_s: float = 300.0
    """From the end of the headers to the end of the body."""
    keep_alive_s: float = 75.0
    """Between two requests."""
    write_stall_s: float = 60.0
    """How long a client may take none of an answer that is ready."""
    linger_s: float = 5.0
    """After a refusal: how long what is still being sent is thrown away, so that the client gets to read the answer."""
    pipelined: int = 16
    """Complete requests that may wait on one connection; reading pauses then."""
    pipelined_bytes: int = 1024 * 1024
    connections: int = 10_000
    held_bytes: int = 1024 * 1024 * 1024
    """Of bodies, in and out, over all connections of this router."""
    stalled_bytes: int = 512 * 1024 * 1024
    """Of answers that clients are slow to take, over all connections; beyond, who has been slow for longest goes."""
    sweep_s: float = 0.5
    """How often the times above are checked."""


class MalformedRequest(errors.ServiceError):
    """Not HTTP, or HTTP that two readers could understand differently."""

    code = "MalformedHttpRequestException"
    status = 400


class HeadTooLarge(errors.ServiceError):
    code = "MalformedHttpRequestException"
    status = 431


class RequestTimeout(errors.ServiceError):
    code = "RequestTimeoutException"
    status = 408


class ExpectationFailed(errors.ServiceError):
    code = "MalformedHttpRequestException"
    status = 417


class Responder(Protocol):
    """The connection by which a request came."""

    def respond(self, inbound: Inbound, status: int, headers: bytes, body: bytes) -> None: ...

    def begin(self, inbound: Inbound, headers: bytes) -> None: ...

    def write(self, inbound: Inbound, data: bytes) -> bool: ...

    def finish(self, inbound: Inbound) -> None: ...

    def origin(self) -> tuple[str, bool] | None: ...


class Inbound:
    """One request. Who handles it calls `respond` once, or `begin`, `write` and `finish`, from the loop's thread."""

    __slots__ = (
        "_connection",
        "_sha256",
        "body",
        "cut",
        "drained",
        "gone",
        "headers",
        "http_1_0",
        "keep_alive",
        "method",
        "path",
        "query",
        "refusal",
    )

    def __init__(self, connection: Responder, method: str, path: str, query: str, headers: dict[str, str]) -> None:
        self._connection = connection
        self.method = method
        self.path = path
        """As sent, still percent-encoded."""
        self.query = query
        self.headers = headers
        """Names in lower case; the values of a repeated header joined by a comma."""
        self.body = b""
        self._sha256 = ""
        self.keep_alive = True
        self.http_1_0 = False
        self.refusal: errors.ServiceError | None = None
        self.gone: Callable[[], None] | None = None
        """Called when the client has gone before it was answered."""
        self.cut: Callable[[], None] | None = None
        """Called when the router ends before an answer that has begun is whole: to say so, and finish."""
        self.drained: Callable[[], None] | None = None
        """Called when the client, after a `write` that said no, has taken what was written."""

    def body_sha256(self) -> str:
        if not self._sha256:
            self._sha256 = hashlib.sha256(self.body).hexdigest()
        return self._sha256

    def origin(self) -> tuple[str, bool]:
        """(address of the sender, whether it came over TLS). What control has passed on says so in a header."""
        found = self._connection.origin()
        if found is None:
            scheme, _, address = self.headers.get(ORIGIN_HEADER, "").partition(" ")
            found = address, scheme == "https"
        return found

    @property
    def is_local(self) -> bool:
        """Whether it came over the Unix socket, which is this user's alone."""
        return self._connection.origin() is None

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """headers: whole lines, each ending in CR LF, without content-length. Ignored once the client has gone."""
        self._connection.respond(self, status, headers, body)

    def begin(self, headers: bytes) -> None:
        """An answer with status 200 whose body follows piece by piece. headers: as for `respond`."""
        self._connection.begin(self, headers)

    def write(self, data: bytes) -> bool:
        """A piece of the body. False when the client is slow to take what it has: `drained` will be called."""
        return self._connection.write(self, data)

    def finish(self) -> None:
        """The body is whole."""
        self._connection.finish(self)

    def answered_to(self, body: bytes, sha256: str) -> None:
        self.body, self._sha256 = body, sha256
