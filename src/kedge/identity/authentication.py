"""Who sends a request to the API port: by its signature, or by its word where signatures are switched off."""

from __future__ import annotations

import threading

from kedge.clock import Clock
from kedge.identity.keys import KeyRing
from kedge.identity.records import AccessKey, Caller
from kedge.wire import sigv4
from kedge.wire.http import Request
from kedge.wire.models import Target


class Authentication:
    """What the gateway asks; implements kedge.wire.gateway.Authenticate."""

    def __init__(self, keys: KeyRing, root: AccessKey, region: str, clock: Clock, *, required: bool) -> None:
        """region: of a request that names none, which is an unsigned one or an old presigned S3 URL."""
        self._keys = keys
        self._root = root
        self._region = region
        self._clock = clock
        self._required = required
        self._signing_keys = sigv4.SigningKeys()
        self._one_at_a_time = threading.Lock()

    def __call__(
        self, request: Request, body_sha256: str | None, target: Target
    ) -> tuple[Caller, sigv4.Verified | None]:
        """Raises what sigv4.verify raises."""
        if not self._required:
            return self._root_caller(sigv4.claimed(request)[1] or self._region), None
        now = self._clock.now()
        with self._one_at_a_time:
            verified = sigv4.verify(
                request,
                body_sha256,
                lambda access_key_id, token: self._keys.find(access_key_id, token, now),
                now,
                service=target.signing_name,
                cache=self._signing_keys,
                s3_bucket=target.bucket_in_host,
                s3_region=self._region,
            )
        return verified.caller, verified

    def root_only(self, request: Request, body_sha256: str) -> bool:
        """Whether the root key has signed a request that belongs to no AWS service. Raises what sigv4.verify raises."""
        if not self._required:
            return True
        now = self._clock.now()
        verified = sigv4.verify(
            request, body_sha256, lambda access_key_id, token: self._keys.find(access_key_id, token, now), now
        )
        return verified.caller.access_key_id == self._root.access_key_id

    def _root_caller(self, region: str) -> Caller:
        return Caller(self._root.account, region, self._root.arn, self._root.user_id, self._root.access_key_id)
