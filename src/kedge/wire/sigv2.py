"""Signature version 2 in the query string of S3 URLs. PURE.

boto3 still presigns so by default when it is given an endpoint. The signature covers the method, the resource, the
expiry, content-md5, content-type and the x-amz-... headers; no host, no region and no body.
Source: S3's "Signing and authenticating REST requests".
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Callable
from datetime import datetime
from urllib.parse import unquote

from kedge import errors
from kedge.identity.records import AccessKey
from kedge.wire import canonical
from kedge.wire.http import Head

_DIGITS = 12
"""Of a time in seconds that may come."""
_RESOURCE_PARAMETERS = re.compile(
    "accelerate|acl|analytics|cors|defaultObjectAcl|delete|inventory|lifecycle|location|logging|metrics|notification|"
    "object-lock|partNumber|policy|replication|requestPayment|response-cache-control|response-content-disposition|"
    "response-content-encoding|response-content-language|response-content-type|response-expires|restore|select|"
    "select-type|storageClass|tagging|torrent|uploadId|uploads|versionId|versioning|versions|website"
)
"""Query parameters that name what is asked for, and so are signed."""


def verify_url(
    request: Head, find_key: Callable[[str, str | None], AccessKey], now: datetime, bucket: str = ""
) -> AccessKey:
    """The key that signed. bucket: the one that the Host header names, if it does; it is part of the signed resource.

    Raises MalformedQueryAuth, AccessDenied, RequestExpired, UnknownAccessKey, ExpiredToken or SignatureMismatch.
    """
    query: dict[str, str] = {}
    for encoded_name, _, encoded_value in canonical.parameters(request.query):
        name = unquote(encoded_name)
        if name in query:
            raise errors.MalformedQueryAuth(f"The query parameter {name[:64]} is there more than once.")
        query[name] = unquote(encoded_value.replace("+", " "))
    expires = query.get("Expires", "")
    if not re.fullmatch(r"[0-9]+", expires):
        raise errors.AccessDenied(f"Invalid date (should be seconds since epoch): {expires[:64]}")
    # A later one than this has not come, however many digits it has; it may be signed, or not.
    if len(expires) <= _DIGITS and now.timestamp() > int(expires):
        raise errors.RequestExpired("Request has expired")
    amz = _amz_headers(request, query)
    key = find_key(query["AWSAccessKeyId"], amz.get("x-amz-security-token"))
    for path in _resources(request.path, bucket):
        text = canonical.wire_bytes(_text(request, query, expires, amz, path))
        want = binascii.b2a_base64(hmac.digest(key.secret.encode(), text, "sha1"), newline=False)
        if hmac.compare_digest(want, canonical.wire_bytes(query["Signature"])):
            break
    else:
        raise errors.SignatureMismatch(
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        )
    return key


def _resources(path: str, bucket: str) -> list[str]:
    """What may have been signed as the path: boto3 puts a slash behind a bucket's name, other clients do not."""
    whole = f"/{bucket}{path}" if bucket else path
    return [whole, whole + "/"] if whole.count("/") == 1 and whole != "/" else [whole]


def _amz_headers(request: Head, query: dict[str, str]) -> dict[str, str]:
    """A presigned URL may carry such headers as parameters."""
    amz = {name: value for name, value in request.headers.items() if name.startswith("x-amz-")}
    for name, value in query.items():
        lower = name.lower()
        if lower.startswith("x-amz-"):
            if lower in amz:
                raise errors.MalformedQueryAuth(f"{lower[:64]} is there more than once, as header or query parameter.")
            amz[lower] = value
    return amz


def _text(request: Head, query: dict[str, str], expires: str, amz: dict[str, str], path: str) -> str:
    headers = request.headers
    resource = "&".join(
        f"{name}={value}" if value else name
        for name, value in sorted(query.items())
        if _RESOURCE_PARAMETERS.fullmatch(name)
    )
    lines = [
        request.method,
        headers.get("content-md5", query.get("content-md5", "")).strip(),
        headers.get("content-type", query.get("content-type", "")).strip(),
        expires,
        *(f"{name}:{amz[name].strip()}" for name in sorted(amz)),
        path + (f"?{resource}" if resource else ""),
    ]
    return "\n".join(lines)
