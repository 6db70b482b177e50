"""Who signed this request? Signature version 4 by header and by query; sigv2.py reads S3's older URLs. PURE.

A signature is recomputed from the request exactly as it arrived and compared in constant time. Nothing here reads a
clock, a body or a store: the time, the body's hash and the look-up of keys are arguments. It imports nothing heavy,
because a router verifies every invocation with it.

Sources: AWS's "Create a signed AWS API request"; S3's "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple, Protocol, Self
from urllib.parse import unquote

from kedge import errors
from kedge.identity.records import AccessKey, Caller, Signature
from kedge.wire import canonical, sigv2
from kedge.wire.http import Head

_native: ModuleType | None = None
try:
    from kedge.wire import native

    _native = native
except ImportError:
    pass  # the core is not compiled

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
CHUNKED = frozenset({UNSIGNED_TRAILER, SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER})
"""Payload modes whose body is aws-chunked."""

MAX_AUTHORIZATION_CHARS = 8 * 1024
MAX_QUERY_CHARS = 64 * 1024
MAX_EXPIRES_S = 604_800
SKEW = timedelta(minutes=5)
S3_SKEW = timedelta(minutes=15)

_USUAL = re.compile(
    rf"{ALGORITHM} Credential=([^\s,=]+), ?SignedHeaders=([^\s,=]+), ?Signature=([0-9a-f]{{64}})\Z", re.ASCII
)
"""An Authorization header as nearly all clients write it."""
_SHA256_HEX = re.compile(r"[0-9a-f]{64}\Z")
_BASIC_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z\Z")
_MOST_HASHED_BYTES = 64 * 1024
"""Of a body that `known_signer` looks at: a larger one is hashed while it arrives."""
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)
FindKey = Callable[[str, str | None], AccessKey]
"""(access key id, session token) -> key. Raises UnknownAccessKey or ExpiredToken."""


class Verified(NamedTuple):
    """A request whose signature is right, and what its body still has to be checked against."""

    caller: Caller
    service: str
    """Of the credential scope. The gateway compares it with the service that it found the request to be for."""
    region: str
    payload: str
    """Hex SHA-256 of the body, UNSIGNED_PAYLOAD, or one of CHUNKED."""
    signature: str
    """Hex; the seed of the chunk signatures."""
    signing_key: bytes
    """Empty for version 2."""
    timestamp: str
    """Of the signature, as 20130524T000000Z; empty for version 2."""
    scope: str
    """DATE/REGION/SERVICE/aws4_request; empty for version 2."""

    def __repr__(self) -> str:
        return f"Verified({self.caller!r}, service={self.service!r}, payload={self.payload!r})"


class _Scope(NamedTuple):
    access_key_id: str
    date: str
    region: str
    service: str
    text: str


class Hash(Protocol):
    """A hash of hashlib's, which has no name there."""

    def update(self, data: bytes, /) -> None: ...

    def copy(self) -> Self: ...

    def digest(self) -> bytes: ...

    def hexdigest(self) -> str: ...


class Signer(NamedTuple):
    """What follows from a credential and its key."""

    scope: _Scope
    key: AccessKey
    signing_key: bytes
    caller: Caller
    inner: Hash
    """SHA-256 of the padded key: copied, it is half of an HMAC (RFC 2104), for each signature the same half."""
    outer: Hash

    def sign(self, text: bytes) -> str:
        inner, outer = self.inner.copy(), self.outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.hexdigest()


class SigningKeys:
    """Remembers what follows from a credential, at most `limit` of them; deriving a key takes four HMACs.

    Only credentials with which a request has verified are kept, so a stranger cannot fill it.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._signers: dict[str, Signer] = {}
        self.with_halves: dict[str, tuple[bytes, Signer]] = {}
        """The same as the compiled core wants them; empty without it."""

    def get(self, credential: str) -> Signer | None:
        return self._signers.get(credential)

    def put(self, credential: str, signer: Signer) -> None:
        if len(self._signers) >= self._limit and credential not in self._signers:
            first = next(iter(self._signers))
            del self._signers[first]
            self.with_halves.pop(first, None)
        self._signers[credential] = signer
        if _native is not None:
            self.with_halves[credential] = _native.key_halves(signer.signing_key), signer


def claimed(request: Head) -> tuple[str, str]:
    """(access key id, region) that a request names in its credential, not verified; empty where it names none."""
    _, found, credential = request.headers.get("authorization", "").partition("Credential=")
    parts = credential.partition(",")[0].split("/")
    return (parts[0], parts[2]) if found and len(parts) == 5 else ("", "")


def known_signer(request: Head, body: bytes, service: str, now: datetime, keys: SigningKeys) -> Signer | None:
    """Who has signed a usual request, among those that have signed one before. Raises ClockSkew.

    None says nothing: `verify` has to decide. Whether the key is still good is for who calls. Only the compiled core
    finds anything, in one pass over the head, and only what `verify` finds too.
    """
    if _native is None or request.method != "POST" or request.query or len(body) > _MOST_HASHED_BYTES:
        return None
    signer: Signer | None = _native.signer(keys.with_halves, request.path, request.headers, body)
    if signer is None or signer.scope.service != service:
        return None
    _check_skew(request.headers["x-amz-date"], service, now)
    return signer


def is_signed(request: Head) -> bool:
    """Whether a request says who sends it, rightly or not."""
    return "authorization" in request.headers or bool(request.query and _query_form(request.query))


def verify(
    request: Head,
    body_sha256: str | None,
    find_key: FindKey,
    now: datetime,
    *,
    service: str = "",
    cache: SigningKeys | None = None,
    s3_bucket: str = "",
    s3_region: str = "us-east-1",
) -> Verified:
    """The sender. Raises MissingAuthentication, IncompleteSignature, ClockSkew, UnknownAccessKey, ExpiredToken or
    SignatureMismatch (or a class below one of these).

    body_sha256: hex, of the body as received (still compressed). None: not read yet; allowed for service s3 alone,
    where the hash that the client declares is taken and `streams.open_body` checks it.
    service: signing name of the service that the request was found to be for; a signature for another is refused, or
    the freedom that S3 gives, not to sign the body, could be used elsewhere.
    s3_bucket: the bucket that the Host header names, if it does; version 2 signs it. s3_region: of a version 2 caller.
    """
    verified = _verify(request, body_sha256, find_key, now, cache, s3_bucket, s3_region)
    if service and verified.service != service:
        raise errors.SignatureMismatch(
            f"Credential should be scoped to correct service: '{service}', not '{verified.service[:64]}'."
        )
    return verified


def _verify(
    request: Head,
    body_sha256: str | None,
    find_key: FindKey,
    now: datetime,
    cache: SigningKeys | None,
    s3_bucket: str,
    s3_region: str,
) -> Verified:
    authorization = request.headers.get("authorization")
    form = _query_form(request.query) if request.query else ""
    if authorization is None:
        if form == "v4":
            return _verify_query(request, body_sha256, find_key, now)
        if form == "v2":
            key = sigv2.verify_url(request, find_key, now, s3_bucket)
            caller = key.caller(s3_region)
            return Verified(caller, "s3", s3_region, UNSIGNED_PAYLOAD, "", b"", "", "")
        raise errors.MissingAuthentication("Missing Authentication Token")
    if form:
        raise errors.ValidationFailed(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
            "parameter or the Authorization header should be specified"
        )
    credential, signed, signature = _parse_authorization(authorization)
    known = cache.get(credential) if cache is not None else None
    scope = known.scope if known is not None else _parse_scope(credential, errors.IncompleteSignature)
    timestamp = _timestamp(request.headers)
    _check_date(scope, timestamp, errors.SignatureMismatch)
    _check_skew(timestamp, scope.service, now)
    key = find_key(scope.access_key_id, request.headers.get("x-amz-security-token"))
    payload = _payload(scope.service, request.headers.get("x-amz-content-sha256"), body_sha256)
    query = canonical.query_text(canonical.parameters(request.query)) if request.query else ""
    text = canonical.request_text(request, scope.service, query, canonical.signed_headers(signed), payload)
    signer = known if known is not None and (known.key is key or known.key == key) else _signer(scope, key)
    verified = _compare(signer, timestamp, text, signature, payload)
    if cache is not None and signer is not known:
        cache.put(credential, signer)
    return verified


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _parse_scope(credential: str, malformed: type[errors.ServiceError]) -> _Scope:
    access_key_id, _, text = credential.partition("/")
    parts = text.split("/")
    if len(parts) != 4 or not access_key_id:
        raise malformed(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{credential[:256]}'"
        )
    date, region, service, terminator = parts
    if terminator != "aws4_request":
        raise malformed(
            f"Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator[:64]}'."
        )
    if not region or not service:
        raise malformed(f"Credential should name a region and a service, got '{credential[:256]}'")
    return _Scope(access_key_id, date, region, service, text)


def _signer(scope: _Scope, key: AccessKey) -> Signer:
    derived = signing_key(key.secret, scope.date, scope.region, scope.service)
    padded = derived.ljust(64, b"\0")
    inner, outer = (hashlib.sha256(bytes(byte ^ pad for byte in padded)) for pad in (0x36, 0x5C))
    return Signer(scope, key, derived, key.caller(scope.region), inner, outer)


def _verify_query(request: Head, body_sha256: str | None, find_key: FindKey, now: datetime) -> Verified:
    pairs = canonical.parameters(request.query)
    auth: dict[str, str] = {}
    for name, _, value in pairs:
        if name.startswith("X-Amz-"):
            if name in auth:
                raise errors.MalformedQueryAuth(f"The query parameter {name} is there more than once.")
            auth[name] = unquote(value)
    for name in ("Algorithm", "Credential", "Date", "SignedHeaders", "Signature"):
        if not auth.get(f"X-Amz-{name}"):
            raise errors.MalformedQueryAuth(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
                "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters. "
                f"X-Amz-{name} is missing."
            )
    if auth["X-Amz-Algorithm"] != ALGORITHM:
        raise errors.MalformedQueryAuth(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    scope = _parse_scope(auth["X-Amz-Credential"], errors.MalformedQueryAuth)
    timestamp = auth["X-Amz-Date"]
    _moment(timestamp, errors.MalformedQueryAuth)
    _check_date(scope, timestamp, errors.MalformedQueryAuth)
    _check_expiry(timestamp, scope.service, auth.get("X-Amz-Expires"), now)
    key = find_key(scope.access_key_id, auth.get("X-Amz-Security-Token"))
    declared = auth.get("X-Amz-Content-Sha256") or request.headers.get("x-amz-content-sha256")
    if scope.service == "s3" and declared is None:
        declared = UNSIGNED_PAYLOAD
    payload = _payload(scope.service, declared, body_sha256)
    query = canonical.query_text(pair for pair in pairs if pair[0] != "X-Amz-Signature")
    signed = canonical.signed_headers(auth["X-Amz-SignedHeaders"])
    text = canonical.request_text(request, scope.service, query, signed, payload)
    return _compare(_signer(scope, key), timestamp, text, auth["X-Amz-Signature"], payload)


def signature(place: str, timestamp: str) -> Signature:
    """What policies may ask about it. place: as Signature has it. timestamp: as Verified has it."""
    moment = moment_of(timestamp)
    return Signature("AWS", place) if moment is None else Signature(ALGORITHM, place, moment.timestamp())


def _query_form(query: str) -> str:
    """ "v4", "v2", or "" when the query string carries no signature."""
    if "X-Amz-" in query and any(f"X-Amz-{name}=" in query for name in ("Algorithm", "Signature", "Credential")):
        form = "v4"
    elif "AWSAccessKeyId=" in query and "Signature=" in query:
        form = "v2"
    else:
        return ""
    if len(query) > MAX_QUERY_CHARS:
        raise errors.MalformedQueryAuth(
            f"The query string has {len(query)} characters; at most {MAX_QUERY_CHARS} are taken."
        )
    names = {pair.partition("=")[0] for pair in query.split("&")}
    if form == "v4":
        return form if names & {"X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential"} else ""
    return form if names >= {"AWSAccessKeyId", "Signature"} else ""


def _parse_authorization(header: str) -> tuple[str, str, str]:
    """(credential, signed headers, signature)."""
    if len(header) > MAX_AUTHORIZATION_CHARS:
        raise errors.IncompleteSignature(
            f"The Authorization header has {len(header)} characters; at most {MAX_AUTHORIZATION_CHARS} are taken."
        )
    if usual := _USUAL.match(header):
        return usual[1], usual[2], usual[3]
    algorithm, _, rest = header.partition(" ")
    if algorithm != ALGORITHM:
        raise errors.UnsupportedAuth(
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}."
        )
    found: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, value = part.strip(" \t").partition("=")
        if not equals or name in found:
            raise errors.IncompleteSignature(
                f"'{part.strip()[:64]}' not a valid key=value pair (missing equal-sign, or given twice) "
                "in Authorization header."
            )
        found[name] = value
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not found.get(name)]
    if missing:
        raise errors.IncompleteSignature(
            " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        )
    return found["Credential"], found["SignedHeaders"], found["Signature"]


def _timestamp(headers: Mapping[str, str]) -> str:
    """As 20130524T000000Z, from x-amz-date or else Date."""
    text = headers.get("x-amz-date")
    if text is None:
        text = headers.get("date")
        if text is None:
            raise errors.IncompleteSignature(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
            )
        if not _BASIC_TIME.match(text):
            from email.utils import parsedate_to_datetime  # seldom needed, and slow to import

            try:
                moment = parsedate_to_datetime(text)
                moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
                return moment.strftime("%Y%m%dT%H%M%SZ")
            except (ValueError, OverflowError):
                raise errors.IncompleteSignature(f"Date is '{text[:64]}'; it has to be an RFC 1123 time.") from None
    return text


def _moment(timestamp: str, malformed: type[errors.ServiceError]) -> datetime:
    moment = moment_of(timestamp)
    if moment is None:
        raise malformed(f"Date must be in ISO-8601 'basic format'. Got '{timestamp[:64]}'; 20130524T000000Z is one.")
    return moment


@lru_cache(64)
def moment_of(timestamp: str) -> datetime | None:
    """Of a time as signatures have it; None for any other text. Requests of one second share it."""
    try:
        return datetime.fromisoformat(timestamp) if _BASIC_TIME.match(timestamp) else None
    except ValueError:
        return None  # a 13th month


def _check_date(scope: _Scope, timestamp: str, wrong: type[errors.ServiceError]) -> None:
    if not timestamp.startswith(scope.date) or len(scope.date) != 8:
        raise wrong(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope.date[:64]}' != '{timestamp[:8]}', from '{timestamp[:64]}'."
        )


def _check_skew(timestamp: str, service: str, now: datetime) -> None:
    """A recorded request must not be good for ever."""
    moment = _moment(timestamp, errors.IncompleteSignature)
    allowed = S3_SKEW if service == "s3" else SKEW
    if -allowed <= moment - now <= allowed:
        return
    if service == "s3":
        raise errors.ClockSkew("The difference between the request time and the current time is too large.")
    here = now.strftime("%Y%m%dT%H%M%SZ")
    allowed_min = allowed // timedelta(minutes=1)
    if moment < now:
        raise errors.ClockSkew(
            f"Signature expired: {timestamp} is now earlier than "
            f"{now - allowed:%Y%m%dT%H%M%SZ} ({here} - {allowed_min} min.)"
        )
    raise errors.ClockSkew(
        f"Signature not yet current: {timestamp} is still later than "
        f"{now + allowed:%Y%m%dT%H%M%SZ} ({here} + {allowed_min} min.)"
    )


def _check_expiry(timestamp: str, service: str, expires: str | None, now: datetime) -> None:
    if expires is None and service != "s3":
        return _check_skew(timestamp, service, now)
    if expires is None or not re.fullmatch(r"[0-9]{1,9}", expires):
        raise errors.MalformedQueryAuth(f'X-Amz-Expires should be a number; it is "{(expires or "")[:64]}".')
    if not 1 <= int(expires) <= MAX_EXPIRES_S:
        raise errors.MalformedQueryAuth(
            f"X-Amz-Expires must be less than a week (in seconds); it is {expires}, and 1 to {MAX_EXPIRES_S} are taken."
        )
    moment = _moment(timestamp, errors.MalformedQueryAuth)
    if now > moment + timedelta(seconds=int(expires)):
        raise errors.RequestExpired("Request has expired")
    if moment > now + (S3_SKEW if service == "s3" else SKEW):
        raise errors.RequestExpired("Request is not yet valid")
    return None


def _payload(service: str, declared: str | None, body_sha256: str | None) -> str:
    """What stands for the body in the signed text."""
    if service != "s3":
        if body_sha256 is None:
            raise errors.SignatureMismatch(f"Credential should be scoped to correct service: 's3', not '{service}'.")
        return body_sha256
    if declared is None:
        raise errors.UnsupportedAuth("Missing required header for this request: x-amz-content-sha256")
    if _SHA256_HEX.match(declared):
        if body_sha256 is not None and body_sha256 != declared:
            raise errors.ContentHashMismatch(
                "The provided 'x-amz-content-sha256' header does not match what was computed."
            )
        return declared
    if declared == UNSIGNED_PAYLOAD or declared in CHUNKED:
        return declared
    raise errors.ValidationFailed(
        f"x-amz-content-sha256 is '{declared[:80]}'; it must be {UNSIGNED_PAYLOAD}, {', '.join(sorted(CHUNKED))}, "
        "or a valid sha256 value."
    )


def _compare(signer: Signer, timestamp: str, request_text: str, signature: str, payload: str) -> Verified:
    scope = signer.scope
    digest = hashlib.sha256(canonical.wire_bytes(request_text)).hexdigest()
    text = f"{ALGORITHM}\n{timestamp}\n{scope.text}\n{digest}"
    if not signature.isascii() or not hmac.compare_digest(signer.sign(canonical.wire_bytes(text)), signature):
        raise errors.SignatureMismatch(_MISMATCH)
    return Verified(
        signer.caller, scope.service, scope.region, payload, signature, signer.signing_key, timestamp, scope.text
    )
