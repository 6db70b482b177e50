"""A call arrives: the ASGI application in front of every operation.

One request goes once down and once up: read, un-gzip, find the operation, verify who calls, decode, check, call,
encode. Every ServiceError on that way becomes bytes in one place, in the caller's protocol; anything else is
InternalFailure with the request id, and its traceback goes to the log alone.

Three things leave that way early: the plain routes of Kedge itself, invocations (handed on unread), and S3, whose
bodies are read by the operation as they arrive, so that no slow upload holds a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from kedge.errors import InternalFailure, ServiceError, Throttled, UnknownOperation
from kedge.identity.records import Caller
from kedge.wire.asgi import App, Held, Incoming, Limits, Receive, Scope, Send, reply, unzipped_request
from kedge.wire.aws_json import AWS_JSON
from kedge.wire.constraints import check
from kedge.wire.http import Request, Response, Told
from kedge.wire.models import RPC_V2_CBOR, Codec, Models, Target
from kedge.wire.query import QUERY
from kedge.wire.rest_json import REST_JSON
from kedge.wire.rest_xml import REST_XML, S3
from kedge.wire.rpc_v2_cbor import SMITHY_RPC_V2_CBOR
from kedge.wire.shapes import completed, mistakes
from kedge.wire.sigv4 import Verified
from kedge.wire.streams import open_body

log = logging.getLogger(__name__)

CODECS: Mapping[str, Codec] = {
    "json": AWS_JSON,
    "query": QUERY,
    "rest-json": REST_JSON,
    "rest-xml": REST_XML,
    "s3": S3,
    RPC_V2_CBOR: SMITHY_RPC_V2_CBOR,
}

BODY_BYTES = {"cloudwatch": 1024 * 1024}
"""The most that a body may have, as sent and unpacked, where a service takes less than the limits do."""

INLINE_BYTES = 64 * 1024
"""A body up to this is decoded on the event loop: a thread would take longer to wake."""

Operation = Callable[[Any, dict[str, Any]], Any]
"""(call, parameters by wire name) -> result by wire name. Plain functions run in a thread, coroutines on the loop."""

T = TypeVar("T")


class Authenticate(Protocol):
    def __call__(self, request: Request, body_sha256: str | None, target: Target) -> tuple[Caller, Verified | None]:
        """Who calls. Raises ServiceError.

        body_sha256: hex, of the body as sent; None for S3, whose body has not been read. target.signing_name is the
        service that the signature has to be for, target.bucket_in_host what version 2 signs. The second answer is None
        where signatures are not asked for.
        """


class Gateway:
    """The ASGI application. Raises ValueError for an operation that no model has."""

    def __init__(
        self,
        models: Models,
        operations: Mapping[str, Operation],
        authenticate: Authenticate,
        new_call: Callable[[Caller, str, str], Any],
        *,
        routes: Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]] | None = None,
        passthrough: App | None = None,
        executor: Executor | None = None,
        apart: Mapping[str, Executor] | None = None,
        limits: Limits | None = None,
        strict: bool = False,
    ) -> None:
        """operations: by "service.Operation". new_call: (caller, request id, user agent) -> what operations are given.
        routes: (method, path) -> handler of a request that belongs to no AWS service; it authenticates for itself.
        passthrough: gets those requests of sagemaker-runtime that are no operation here, with their bodies unread.
        executor: runs plain functions; None is the loop's own. apart: by "service.Operation", what runs those that may
        take seconds, so that however many of them there are the others need not wait. strict: a result that does not
        fit its shape is an AssertionError, for tests.
        """
        for key in operations:
            service, _, name = key.partition(".")
            if service not in models.services or name not in models.services[service].operation_names:
                raise ValueError(f'there is no operation "{key}" in the models')
        self.models = models
        self._operations = dict(operations)
        self._authenticate = authenticate
        self._new_call = new_call
        self._routes = dict(routes or {})
        self._passthrough = passthrough
        self._executor = executor
        self._apart = dict(apart or {})
        self._limits = limits or Limits()
        self._strict = strict
        self._held = Held(self._limits.held_bytes)
        self._in_progress = 0

    @property
    def operation_names(self) -> list[str]:
        """Everything that can be asked, as "service.Operation"."""
        return sorted(self._operations)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1003})
        request_id = str(uuid.uuid4())
        incoming = Incoming(scope, receive, self._limits, self._held)
        guess = self.models.guess(incoming.request)
        elsewhere = guess.service == "sagemaker-runtime" and guess.key not in self._operations
        if self._passthrough is not None and elsewhere:
            return await self._passthrough(scope, receive, send)
        self._in_progress += 1
        try:
            response = await self._handle(incoming, guess, request_id)
            await reply(response, incoming, send, self._limits)
        finally:
            self._in_progress -= 1
            incoming.release()
        return None

    async def _handle(self, incoming: Incoming, target: Target, request_id: str) -> Response:
        request = incoming.request
        route = self._routes.get((request.method, request.path))
        if route is not None:
            target = Target("", f"{request.method} {request.path}", "rest-json", path=request.path)
        try:
            if self._in_progress > self._limits.requests:
                raise Throttled(f"Rate exceeded: {self._limits.requests} requests are in progress.")
            if route is not None:
                return await route(replace(request, body=await incoming.read()))
            sha256: str | None = None
            if target.protocol != "s3":
                request, sha256 = await self._whole(incoming, target)
            target = self.models.find(request)
            caller, verified = self._authenticate(incoming.request, sha256, target)
            operation = self._operation(target)
            stream = None
            if target.protocol == "s3":
                stream = open_body(request, incoming.chunks(), verified, incoming)
                if target.streamed_input() is None:
                    request = replace(request, body=await stream.read(self._limits.body_bytes))
            parameters = await self._decoded(target, request)
            if stream is not None and (member := target.streamed_input()) is not None:
                parameters[member] = stream
            call = self._new_call(caller, request_id, request.headers.get("user-agent", ""))
            return await self._carried_out(target, operation, call, parameters, request_id)
        except Exception as error:  # noqa: BLE001 (whatever it is becomes an answer)
            return _unsuccessful(target, error, request_id)

    async def answer(self, request: Request, request_id: str) -> Response:
        """To a request that another process has read whole and handed over. Never raises."""
        target = self.models.guess(request)
        try:
            target = self.models.find(request)
            caller, _ = self._authenticate(request, hashlib.sha256(request.body).hexdigest(), target)
            operation = self._operation(target)
            parameters = await self._decoded(target, request)
            call = self._new_call(caller, request_id, request.headers.get("user-agent", ""))
            return await self._carried_out(target, operation, call, parameters, request_id)
        except Exception as error:  # noqa: BLE001 (whatever it is becomes an answer)
            return _unsuccessful(target, error, request_id)

    async def _carried_out(
        self, target: Target, operation: Operation, call: Any, parameters: dict[str, Any], request_id: str
    ) -> Response:
        if inspect.iscoroutinefunction(operation):
            return self._encoded(target, await operation(call, parameters), request_id)
        return await self._in_thread(
            lambda: self._encoded(target, operation(call, parameters), request_id),
            self._apart.get(target.key, self._executor),
        )

    async def _whole(self, incoming: Incoming, target: Target) -> tuple[Request, str]:
        """The request with its body unpacked, and the hash of the body as it was sent."""
        limit = min(self._limits.body_bytes, BODY_BYTES.get(target.service, self._limits.body_bytes))
        body = await incoming.read(limit)

        def unpack() -> tuple[Request, str]:
            request = unzipped_request(incoming.request, body, limit)
            return request, hashlib.sha256(body).hexdigest()

        small = len(body) <= INLINE_BYTES and "content-encoding" not in incoming.request.headers
        return unpack() if small else await self._in_thread(unpack, self._executor)

    def _operation(self, target: Target) -> Operation:
        """Raises UnknownOperation: not in the model, or not here."""
        target.model()
        operation = self._operations.get(target.key)
        if operation is None:
            raise UnknownOperation(f"The operation {target.key} is not implemented here.")
        return operation

    async def _decoded(self, target: Target, request: Request) -> dict[str, Any]:
        def decode() -> dict[str, Any]:
            parameters = CODECS[target.protocol].decode(target, request)
            check(target.model(), parameters)
            return parameters

        if len(request.body) <= INLINE_BYTES:
            return decode()
        return await self._in_thread(decode, self._executor)

    def _encoded(self, target: Target, result: dict[str, Any], request_id: str) -> Response:
        if self._strict:
            operation = target.model()
            wrong = mistakes(operation.output_shape, completed(operation, result))
            assert not wrong, f"the result of {target.key}: {'; '.join(wrong)}"
        response = CODECS[target.protocol].encode(target, result, request_id)
        if isinstance(result, Told):
            response.headers |= result.headers
        return response

    async def _in_thread(self, work: Callable[[], T], executor: Executor | None) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)


def _unsuccessful(target: Target, error: Exception, request_id: str) -> Response:
    """Call it where the error is handled."""
    if not isinstance(error, ServiceError):
        log.exception("%s %s failed", request_id, target.key)
        return _failure(target, request_id)
    if error.status >= 500:
        log.warning("%s %s: %s", request_id, target.key, error)
    return _refusal(target, error, request_id)


def _refusal(target: Target, error: ServiceError, request_id: str) -> Response:
    try:
        return CODECS[target.protocol].encode_error(target, error, request_id)
    except Exception:
        log.exception("%s %s: %s %r cannot be written", request_id, target.key, error, error.members)
        return _failure(target, request_id)


def _failure(target: Target, request_id: str) -> Response:
    error = InternalFailure(f"An internal failure; the server's log has it under request id {request_id}.")
    return CODECS[target.protocol].encode_error(target, error, request_id)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
