"""In front of the gateway: what web pages need of S3.

- A preflight, OPTIONS, is answered from the bucket's CORS configuration; so are the headers by which the browser lets
  a page see the answer to its request.
- A form posts a file together with a signed policy; it becomes a PutObject.

Everything else is passed on untouched.
"""

from __future__ import annotations

import base64
import hmac
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from kedge.call import Call
from kedge.clock import Clock
from kedge.errors import InternalFailure, InvalidDigest, ServiceError, SignatureMismatch, Throttled
from kedge.identity.records import AccessKey, Caller
from kedge.objects import configuration, cors, form_policy, tags
from kedge.objects.errors import (
    AccessForbidden,
    BadRequest,
    EntityTooLarge,
    EntityTooSmall,
    InvalidArgument,
    NoSuchBucket,
)
from kedge.objects.files import Objects
from kedge.objects.form_data import Form
from kedge.store.store import Store
from kedge.wire import checksums, sigv4
from kedge.wire.asgi import App, Held, Incoming, Limits, Receive, Scope, Send, reply
from kedge.wire.gateway import Authenticate
from kedge.wire.http import Request, Response
from kedge.wire.models import Models, Target
from kedge.wire.rest_xml import S3, s3_headers
from kedge.wire.streams import BodyStream
from kedge.wire.xml import DECLARATION, escape, parse

log = logging.getLogger(__name__)

_MEMBERS = {
    "acl": "ACL",
    "cache-control": "CacheControl",
    "content-type": "ContentType",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "x-amz-storage-class": "StorageClass",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-server-side-encryption-context": "SSEKMSEncryptionContext",
    "x-amz-server-side-encryption-bucket-key-enabled": "BucketKeyEnabled",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
    "x-amz-server-side-encryption-customer-key": "SSECustomerKey",
    "x-amz-server-side-encryption-customer-key-md5": "SSECustomerKeyMD5",
}
"""Field of a form -> member of PutObject."""

Operation = Callable[[Call, dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Parts:
    """What it is built from. put: PutObject, with all that is asked before it."""

    models: Models
    objects: Objects
    store: Store
    find_key: Callable[[str, str | None, datetime], AccessKey]
    """(access key id, session token, now). Raises UnknownAccessKey, ExpiredToken."""
    authenticate: Authenticate
    """For a form that nobody has signed."""
    put: Operation
    new_call: Callable[[Caller, str, str], Call]
    clock: Clock
    region: str


class Browser:
    """An ASGI application around another."""

    def __init__(self, inner: App, parts: Parts, limits: Limits | None = None) -> None:
        self._inner = inner
        self._parts = parts
        self._limits = limits or Limits()
        self._in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _concerns(scope):
            return await self._inner(scope, receive, send)
        incoming = Incoming(scope, receive, self._limits, Held(self._limits.held_bytes))
        target = self._parts.models.guess(incoming.request)
        if target.service != "s3" or "Bucket" not in target.labels:
            return await self._inner(scope, receive, send)
        origin = incoming.request.headers.get("origin", "")
        if scope["method"] == "OPTIONS":
            return await self._answered(incoming, target, send, lambda _: self._preflight(incoming.request, target))
        if origin:
            said = await self._allowed(target, origin, scope["method"])
            if said:
                send = _adding(said, send)
        if _is_form(incoming.request, target):
            return await self._answered(incoming, target, send, lambda id_: self._post(incoming, target, id_))
        return await self._inner(scope, receive, send)

    async def _answered(
        self, incoming: Incoming, target: Target, send: Send, make: Callable[[str], Awaitable[Response]]
    ) -> None:
        request_id = str(uuid.uuid4())
        self._in_progress += 1
        try:
            if self._in_progress > self._limits.requests:
                raise Throttled(f"Rate exceeded: {self._limits.requests} requests are in progress.")
            response = await make(request_id)
            response.headers = s3_headers(request_id) | response.headers
        except ServiceError as error:
            response = S3.encode_error(target, error, request_id)
        except Exception:
            log.exception("%s %s failed", request_id, target.key)
            failure = InternalFailure(f"An internal failure; the server's log has it under request id {request_id}.")
            response = S3.encode_error(target, failure, request_id)
        finally:
            self._in_progress -= 1
        await reply(response, incoming, send, self._limits)

    # CORS

    async def _rules(self, target: Target) -> list[cors.Rule] | None:
        """None: the bucket has no configuration. Raises NoSuchBucket."""

        def find() -> list[cors.Rule] | None:
            bucket = self._parts.objects.bucket(unquote(target.labels["Bucket"]))
            return configuration.read(self._parts.store, bucket).get("Cors")

        return await self._parts.objects.run(find)

    async def _allowed(self, target: Target, origin: str, method: str) -> dict[str, str]:
        """The headers for a page of that origin; {} when the answer is none of its business."""
        try:
            rule = cors.matching(await self._rules(target) or [], origin, method)
        except ServiceError:
            return {}
        return {} if rule is None else cors.answer_headers(rule, origin)

    async def _preflight(self, request: Request, target: Target) -> Response:
        origin = request.headers.get("origin", "")
        method = request.headers.get("access-control-request-method", "")
        if not origin:
            raise BadRequest("Insufficient information. Origin request header needed.")
        if method not in cors.METHODS:
            raise BadRequest(f"Invalid Access-Control-Request-Method: {method[:64] or 'null'}")
        headers = [
            name
            for text in request.headers.get("access-control-request-headers", "").split(",")
            if (name := text.strip())
        ]
        kind = "OBJECT" if "Key" in target.labels else "BUCKET"
        try:
            rules = await self._rules(target)
        except NoSuchBucket:
            rules = None
        if rules is None:
            raise AccessForbidden(
                "CORSResponse: CORS is not enabled for this bucket.", Method=method, ResourceType=kind
            )
        rule = cors.matching(rules, origin, method, headers)
        if rule is None:
            raise AccessForbidden(
                "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, "
                "request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted "
                "by the resource's CORS spec.",
                Method=method,
                ResourceType=kind,
            )
        return Response(200, cors.answer_headers(rule, origin, headers))

    # Forms

    async def _post(self, incoming: Incoming, target: Target, request_id: str) -> Response:
        request = incoming.request
        bucket = unquote(target.labels["Bucket"])
        form = Form(incoming.chunks(), request.headers["content-type"])
        fields = await form.fields()
        if not fields.get("key"):
            raise InvalidArgument(
                "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the "
                "fields.",
                ArgumentName="key",
                ArgumentValue="",
            )
        fields["key"] = fields["key"].replace("${filename}", form.file_name)
        now = self._parts.clock.now()
        caller = self._sender(request, fields, now)
        fewest, most = 0, None
        if "policy" in fields:
            fewest, most = form_policy.check(fields["policy"], {**fields, "bucket": bucket}, now)
        parameters = _parameters(bucket, fields, form)
        parameters["Body"] = _body(_within(form.file(), fewest, most), fields)
        call = self._parts.new_call(caller, request_id, request.headers.get("user-agent", ""))
        made = await self._parts.put(call, parameters)
        return _created(request, bucket, fields, made)

    def _sender(self, request: Request, fields: Mapping[str, str], now: datetime) -> Caller:
        """Raises AccessDenied, InvalidArgument, UnknownAccessKey, ExpiredToken, SignatureMismatch."""
        policy, token = fields.get("policy"), fields.get("x-amz-security-token")
        if policy is None:
            put = self._parts.models.services["s3"].operation_model("PutObject")
            target = Target("s3", "PutObject", "s3", put, "s3")
            return self._parts.authenticate(request, None, target)[0]
        if "awsaccesskeyid" in fields:
            key = self._parts.find_key(fields["awsaccesskeyid"], token, now)
            want = base64.b64encode(hmac.digest(key.secret.encode(), policy.encode(), "sha1")).decode()
            region, given = self._parts.region, fields.get("signature", "")
        else:
            if fields.get("x-amz-algorithm") != sigv4.ALGORITHM:
                raise InvalidArgument(
                    f"Bucket POST must contain a field named 'x-amz-algorithm' with the value {sigv4.ALGORITHM}.",
                    ArgumentName="x-amz-algorithm",
                    ArgumentValue=fields.get("x-amz-algorithm", ""),
                )
            parts = fields.get("x-amz-credential", "").split("/")
            date = fields.get("x-amz-date", "")
            if len(parts) != 5 or parts[3:] != ["s3", "aws4_request"] or not date.startswith(parts[1] or "-"):
                raise InvalidArgument(
                    "x-amz-credential has to be KEY/YYYYMMDD/REGION/s3/aws4_request, of the day of x-amz-date.",
                    ArgumentName="x-amz-credential",
                    ArgumentValue=fields.get("x-amz-credential", "")[:256],
                )
            key = self._parts.find_key(parts[0], token, now)
            region, given = parts[2], fields.get("x-amz-signature", "")
            want = hmac.digest(sigv4.signing_key(key.secret, parts[1], region, "s3"), policy.encode(), "sha256").hex()
        if not hmac.compare_digest(want.encode(), given.encode()):
            raise SignatureMismatch(
                "The request signature we calculated does not match the signature you provided. "
                "Check your key and signing method."
            )
        sender = key.caller(region).sent(request.client, request.headers, secure=request.secure)
        return replace(sender, signature=sigv4.signature("POST", fields.get("x-amz-date", "")))


def _concerns(scope: Scope) -> bool:
    """Seen from the head alone: most requests come from no browser."""
    if scope["method"] == "OPTIONS":
        return True
    return any(
        name == b"origin" or (name == b"content-type" and value[:19].lower() == b"multipart/form-data")
        for name, value in scope["headers"]
    )


def _is_form(request: Request, target: Target) -> bool:
    content_type = request.headers.get("content-type", "").lower()
    return request.method == "POST" and "Key" not in target.labels and content_type.startswith("multipart/form-data")


def _adding(said: Mapping[str, str], send: Send) -> Send:
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in said.items()]

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *raw]}
        await send(message)

    return sending


def _parameters(bucket: str, fields: Mapping[str, str], form: Form) -> dict[str, Any]:
    """Of PutObject. Raises InvalidArgument and what tags raise."""
    parameters: dict[str, Any] = {"Bucket": bucket, "Key": fields["key"], "Metadata": {}}
    for name, value in fields.items():
        if name in _MEMBERS:
            parameters[_MEMBERS[name]] = value
        elif name.startswith("x-amz-meta-"):
            parameters["Metadata"][name.removeprefix("x-amz-meta-")] = value
    if "expires" in fields:
        try:
            parameters["Expires"] = parsedate_to_datetime(fields["expires"])
        except (ValueError, TypeError):
            raise InvalidArgument(
                "expires has to be an HTTP date.", ArgumentName="expires", ArgumentValue=fields["expires"][:64]
            ) from None
    if "tagging" in fields:
        root = parse(fields["tagging"].encode())
        pairs = [
            {child.name: child.text for child in tag.children}
            for found in root.named("TagSet")
            for tag in found.named("Tag")
        ]
        labels = tags.of_document({"TagSet": pairs}, tags.MOST_OF_OBJECT)
        parameters["Tagging"] = urlencode(labels)
    if "ContentType" not in parameters and form.file_type and "policy" not in fields:
        parameters["ContentType"] = form.file_type
    return parameters


async def _within(pieces: AsyncIterator[bytes], fewest: int, most: int | None) -> AsyncIterator[bytes]:
    """Raises EntityTooLarge, EntityTooSmall."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        if most is not None and size > most:
            raise EntityTooLarge(
                "Your proposed upload exceeds the maximum allowed size", ProposedSize=size, MaxSizeAllowed=most
            )
        yield piece
    if size < fewest:
        raise EntityTooSmall(
            "Your proposed upload is smaller than the minimum allowed size", ProposedSize=size, MinSizeAllowed=fewest
        )


def _body(pieces: AsyncIterator[bytes], fields: Mapping[str, str]) -> BodyStream:
    """Checked against the checksums that the form has. Raises InvalidDigest."""
    md5 = None
    if "content-md5" in fields:
        md5 = _decoded("content-md5", fields["content-md5"], 16)
    checksum = None
    for algorithm, size in checksums.SIZES.items():
        name = f"x-amz-checksum-{algorithm.lower()}"
        if name in fields:
            checksum = (algorithm, _decoded(name, fields[name], size))
    return BodyStream(pieces, None, md5=md5, checksum=checksum)


def _decoded(name: str, text: str, size: int) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise InvalidDigest(f'{name} is "{text[:64]}", which is not {size} bytes in base64.')
    return raw


def _created(request: Request, bucket: str, fields: Mapping[str, str], made: Mapping[str, Any]) -> Response:
    key, etag = fields["key"], made["ETag"]
    scheme, host = ("https" if request.secure else "http"), request.headers.get("host", "")
    own = request.path.rstrip("/")
    location = f"{scheme}://{host}{own}/{quote(key, safe='/')}"
    headers = {"etag": etag, "location": location}
    if "VersionId" in made:
        headers["x-amz-version-id"] = made["VersionId"]
    onward = fields.get("success_action_redirect") or fields.get("redirect") or ""
    parts = urlsplit(onward)
    if parts.scheme in ("http", "https") and parts.netloc:
        told = urlencode({"bucket": bucket, "key": key, "etag": etag})
        query = f"{parts.query}&{told}" if parts.query else told
        return Response(303, headers | {"location": urlunsplit(parts._replace(query=query))})
    status = fields.get("success_action_status", "")
    if status != "201":
        return Response(200 if status == "200" else 204, headers)
    text = (
        f"{DECLARATION}<PostResponse><Location>{escape(location)}</Location><Bucket>{escape(bucket)}</Bucket>"
        f"<Key>{escape(key)}</Key><ETag>{escape(etag)}</ETag></PostResponse>"
    )
    return Response(201, headers | {"content-type": "application/xml"}, text.encode())
