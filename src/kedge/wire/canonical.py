"""The one form of a request that signature version 4 signs. PURE.

Whoever signs and whoever verifies build this text each for themselves; a byte of difference is another signature.
Source: AWS's "Create a signed AWS API request", section "Create a canonical request".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from kedge import errors
from kedge.wire.http import Head

MAX_SIGNED_HEADERS = 128

Parameter = tuple[str, str, str]
"""Name, equals sign, value, as `str.partition` cuts them."""

_UNRESERVED = "-._~"
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~]|%[0-9A-F]{2})*\Z")
_ENCODED_PATH = re.compile(r"(?:[A-Za-z0-9\-._~/]|%[0-9A-F]{2})*\Z")
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9\-_~][A-Za-z0-9\-_.~]*)+/?\Z")
"""Neither to be encoded nor to be normalised."""
_BLANKS = re.compile(r"[ \t]+")


class Signed(NamedTuple):
    """The headers that a signature covers, by name, as the client lists them."""

    text: str
    names: tuple[str, ...]
    covered: frozenset[str]


@lru_cache(256)
def signed_headers(text: str) -> Signed:
    """text: names separated by semicolons; clients list the same ones over and over. Raises IncompleteSignature."""
    names = tuple(text.split(";"))
    if len(names) > MAX_SIGNED_HEADERS:
        raise errors.IncompleteSignature(f"{len(names)} signed headers; at most {MAX_SIGNED_HEADERS} are taken.")
    return Signed(text, names, frozenset(names))


def request_text(request: Head, service: str, query: str, signed: Signed, payload: str) -> str:
    """query: canonical. payload: what stands for the body. Raises HeadersNotSigned when host or an x-amz-... header is
    left out, SignatureMismatch when a signed header has not arrived."""
    headers, names, covered = request.headers, signed.names, signed.covered
    try:
        lines = [f"{name}:{headers[name]}" for name in names]
    except KeyError as missing:
        raise errors.SignatureMismatch(
            f"The signed header '{str(missing.args[0])[:128]}' is not in the request, so its signature cannot match."
        ) from None
    if "host" not in covered:
        raise errors.HeadersNotSigned("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in headers:
        if name.startswith("x-amz-") and name not in covered:
            raise errors.HeadersNotSigned(
                "There were headers present in the request which were not signed: "
                f"'{name[:128]}' must be a 'SignedHeader' in the AWS Authorization."
            )
    text = "\n".join(lines)
    if "  " in text or "\t" in text or ": " in text or " \n" in text or text.endswith(" "):
        text = "\n".join(f"{name}:{_BLANKS.sub(' ', headers[name]).strip(' ')}" for name in names)
    return f"{request.method}\n{path_text(request.path, service)}\n{query}\n{text}\n\n{signed.text}\n{payload}"


@lru_cache(1024)
def path_text(path: str, service: str) -> str:
    """S3's keys are signed as they are; elsewhere the path is normalised and its encoding is encoded once more."""
    if service == "s3":
        if _ENCODED_PATH.match(path):
            return path or "/"
        return quote(unquote_to_bytes(wire_bytes(path)), safe="/" + _UNRESERVED)
    if _PLAIN_PATH.match(path):
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment and segment != ".":
            kept.append(segment)
    if not kept:
        return "/"
    return quote(wire_bytes("/" + "/".join(kept) + ("/" if path.endswith("/") else "")), safe="/" + _UNRESERVED)


def parameters(query: str) -> list[Parameter]:
    return [pair.partition("=") for pair in query.split("&") if pair]


def query_text(given: Iterable[Parameter]) -> str:
    """Parameters percent-encoded the one way that is signed, sorted by name, then value."""
    return "&".join(f"{name}={value}" for name, value in sorted((_encoded(n), _encoded(v)) for n, _, v in given))


def wire_bytes(text: str) -> bytes:
    """The bytes that were on the wire: HTTP servers hand on the bytes of a head as Latin-1."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _encoded(component: str) -> str:
    if _ENCODED.match(component):
        return component
    return quote(unquote_to_bytes(wire_bytes(component.replace("+", " "))), safe=_UNRESERVED)
