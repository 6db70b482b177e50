"""Who sends a request to the API port: by its signature, or by its word where signatures are switched off."""

from __future__ import annotations

import base64
import hmac
import threading
from dataclasses import replace
from datetime import datetime

from kedge.clock import Clock
from kedge.errors import AccessDenied
from kedge.identity.actions import BY_LINK
from kedge.identity.keys import KeyRing, unknown_key
from kedge.identity.known import Known
from kedge.identity.records import AccessKey, Caller
from kedge.wire import sigv4
from kedge.wire.http import Request
from kedge.wire.models import Target

_LOOPBACK = ("127.0.0.1", "::1")


class Authentication:
    """What the gateway asks; implements kedge.wire.gateway.Authenticate."""

    def __init__(
        self, keys: KeyRing, known: Known, root: AccessKey, region: str, clock: Clock, *, required: bool
    ) -> None:
        """known: keeps `keys` true. region: of a request that names none: an unsigned one, or an old presigned URL."""
        self._keys = keys
        self._known = known
        self._root = root
        self._region = region
        self._clock = clock
        self._required = required
        self._signing_keys = sigv4.SigningKeys()
        self._one_at_a_time = threading.Lock()

    def __call__(
        self, request: Request, body_sha256: str | None, target: Target
    ) -> tuple[Caller, sigv4.Verified | None]:
        """Raises what sigv4.verify raises.

        An unsigned request of S3, or by a link in a message of SNS, comes from nobody, and may be let in for that.
        """
        if not self._required:
            caller = self._root.caller(sigv4.claimed(request)[1] or self._region)
            return _sent_by(caller, request), None
        opens = target.service == "s3" or target.key in BY_LINK
        if opens and target.operation is not None and not sigv4.is_signed(request):
            return self.nobody(request), None
        now = self._clock.now()
        with self._one_at_a_time:
            verified = sigv4.verify(
                request,
                body_sha256,
                lambda access_key_id, token: self.find_key(access_key_id, token, now),
                now,
                service=target.signing_name,
                cache=self._signing_keys,
                s3_bucket=target.bucket_in_host,
                s3_region=self._region,
            )
        caller = verified.caller
        if not caller.is_root and caller.session is None:
            self._known.use(caller.access_key_id, target.signing_name, caller.region, now)
        place = "REST-HEADER" if "authorization" in request.headers else "REST-QUERY-STRING"
        return replace(_sent_by(caller, request), signature=sigv4.signature(place, verified.timestamp)), verified

    def nobody(self, request: Request) -> Caller:
        """Who sends an unsigned request."""
        return _sent_by(Caller("", self._region, "", "", ""), request)

    def find_key(self, access_key_id: str, session_token: str | None, now: datetime) -> AccessKey:
        """Raises UnknownAccessKey, also when its user or role is gone, or ExpiredToken."""
        directory = self._known.current().directory
        key = self._keys.find(access_key_id, session_token, now)
        if not directory.knows(key.caller("")):
            raise unknown_key()
        return key

    def scraper(self, request: Request, body_sha256: str) -> Caller:
        """Who asks for /metrics: by a signature, or by HTTP's Basic with an access key id and its secret key.

        Scrapers can do the latter alone. It shows the secret to whoever reads the network, so it is taken over TLS and
        from this machine only. Raises what sigv4.verify raises, and AccessDenied.
        """
        if not self._required:
            return _sent_by(self._root.caller(self._region), request)
        now = self._clock.now()
        given = request.headers.get("authorization", "")
        if not given.lower().startswith("basic "):
            verified = sigv4.verify(
                request, body_sha256, lambda access_key_id, token: self.find_key(access_key_id, token, now), now
            )
            return _sent_by(verified.caller, request)
        if not (request.secure or request.client in _LOOPBACK):
            raise AccessDenied("HTTP Basic is taken over TLS and from the server's own machine only.")
        try:
            access_key_id, _, secret = base64.b64decode(given[6:].strip(), validate=True).decode().partition(":")
        except ValueError:
            raise AccessDenied("The Authorization header is no HTTP Basic.") from None
        key = self.find_key(access_key_id, None, now)
        if not hmac.compare_digest(key.secret.encode(), secret.encode()):
            raise AccessDenied("The secret access key is another one.")
        return _sent_by(key.caller(self._region), request)

    def signer(self, request: Request, body_sha256: str) -> Caller:
        """Who has signed a request that belongs to no AWS service. Raises what sigv4.verify raises."""
        if not self._required:
            return _sent_by(self._root.caller(sigv4.claimed(request)[1] or self._region), request)
        now = self._clock.now()
        with self._one_at_a_time:
            verified = sigv4.verify(
                request, body_sha256, lambda access_key_id, token: self.find_key(access_key_id, token, now), now
            )
        return _sent_by(verified.caller, request)

    def root_only(self, request: Request, body_sha256: str) -> bool:
        """Whether the root key has signed a request that belongs to no AWS service. Raises what sigv4.verify raises."""
        if not self._required:
            return True
        now = self._clock.now()
        verified = sigv4.verify(
            request, body_sha256, lambda access_key_id, token: self._keys.find(access_key_id, token, now), now
        )
        return verified.caller.access_key_id == self._root.access_key_id


def _sent_by(caller: Caller, request: Request) -> Caller:
    return caller.sent(request.client, request.headers, secure=request.secure)
