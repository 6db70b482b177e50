"""aws-chunked: a body in pieces, each signed or not, with checksums after it. Sans-IO.

    HEX-LENGTH[;chunk-signature=HEX] CRLF data CRLF       any number of times
    0[;chunk-signature=HEX] CRLF
    [NAME:VALUE CRLF]...                                  trailers
    [x-amz-trailer-signature:HEX CRLF]
    CRLF

A chunk's signature covers its data and the signature before it, the first one that of the request's head: no chunk can
be left out, added or moved. Source: S3's "Signature calculations for the Authorization header: transferring payload in
multiple chunks", also "... including trailing headers".
"""

from __future__ import annotations

import hashlib
import hmac
import re

from kedge import errors
from kedge.wire.canonical import wire_bytes
from kedge.wire.http import AnyBuffer

MAX_LINE_BYTES = 8 * 1024
MAX_TRAILERS = 16
TRAILER_SIGNATURE = "x-amz-trailer-signature"

_EMPTY_SHA256 = hashlib.sha256().hexdigest()
_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;[ \t]*chunk-signature=([0-9a-f]{64})[ \t]*)?\Z")
_TRAILER_LINE = re.compile(rb"([A-Za-z0-9\-]{1,128})[ \t]*:[ \t]*([\x20-\x7e]*?)[ \t]*\Z")


class SignatureChain:
    """What each next signature has to be."""

    def __init__(self, signing_key: bytes, timestamp: str, scope: str, seed: str) -> None:
        self._key = signing_key
        self._when = f"{timestamp}\n{scope}"
        self._before = seed

    def check_chunk(self, data_sha256: str, signature: str) -> None:
        """Raises SignatureMismatch."""
        self._check(
            f"AWS4-HMAC-SHA256-PAYLOAD\n{self._when}\n{self._before}\n{_EMPTY_SHA256}\n{data_sha256}", signature
        )

    def check_trailers(self, text: str, signature: str) -> None:
        """text: a line NAME:VALUE and a line feed for each trailer. Raises SignatureMismatch."""
        digest = hashlib.sha256(text.encode("latin-1")).hexdigest()
        self._check(f"AWS4-HMAC-SHA256-TRAILER\n{self._when}\n{self._before}\n{digest}", signature)

    def _check(self, text: str, signature: str) -> None:
        want = hmac.digest(self._key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(want.encode(), wire_bytes(signature)):
            raise errors.SignatureMismatch(
                "The request signature we calculated does not match the signature you provided for a chunk of the "
                "body, or for its trailers. Check your key and signing method."
            )
        self._before = want


class Decoder:
    """Bytes in, data out. Data comes out before its chunk's signature is known: keep it aside until `finish`.

    signed: each chunk has to carry a signature. chain: checks them; None takes them unchecked. trailers: whether there
    may be any, and whether they have to be signed, too, when the chunks are.
    """

    def __init__(self, *, signed: bool, chain: SignatureChain | None, trailers: bool) -> None:
        self._signed = signed
        self._chain = chain
        self._may_trail = trailers
        self._state = self._size_line
        self._line = bytearray()
        self._left = 0
        self._signature = ""
        self._hash = hashlib.sha256()
        self._done = False
        self._trailer_signature: str | None = None
        self.trailers: dict[str, str] = {}
        """Complete after `finish`; names in lower case."""

    def feed(self, data: AnyBuffer) -> list[AnyBuffer]:
        """Raises IncompleteBody for a wrong frame, MalformedTrailer, SignatureMismatch."""
        out: list[AnyBuffer] = []
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                at += len(part)
                self._left -= len(part)
                if self._chain is not None:
                    self._hash.update(part)
                out.append(part)
                continue
            if self._done:
                raise _wrong("there is more behind its end")
            near = bytes(data[at : at + MAX_LINE_BYTES + 1])
            end = near.find(b"\n")
            stop = len(near) if end < 0 else end
            if len(self._line) + stop > MAX_LINE_BYTES:
                raise _wrong(f"a line of it is longer than {MAX_LINE_BYTES} bytes")
            self._line += near[:stop]
            at += stop + 1
            if end >= 0:
                line = bytes(self._line.removesuffix(b"\r"))
                self._line.clear()
                self._state(line)
        return out

    def finish(self) -> None:
        """The body is over. Raises IncompleteBody when its end is missing."""
        if not self._done:
            raise _wrong("it ends before its last line")

    def _size_line(self, line: bytes) -> None:
        match = _SIZE_LINE.match(line)
        if match is None:
            raise _wrong(f"{line[:40]!r} is not the length of a chunk")
        size, signature = match.groups()
        if self._signed and signature is None:
            raise _wrong("a chunk has no signature")
        self._left = int(size, 16)
        self._signature = (signature or b"").decode()
        self._hash = hashlib.sha256()
        if self._left:
            self._state = self._data_end
        else:
            self._check_chunk()
            self._state = self._trailer_line

    def _data_end(self, line: bytes) -> None:
        if line:
            raise _wrong("a chunk is longer than it says")
        self._check_chunk()
        self._state = self._size_line

    def _check_chunk(self) -> None:
        if self._chain is not None:
            self._chain.check_chunk(self._hash.hexdigest(), self._signature)

    def _trailer_line(self, line: bytes) -> None:
        if not line:
            if self._may_trail and self._signed:
                self._check_trailers()
            self._done = True
            return
        match = _TRAILER_LINE.match(line)
        if match is None or not self._may_trail or self._trailer_signature is not None:
            raise _trailer(f"{line[:40]!r} is not a trailer that belongs there")
        name, value = match[1].decode().lower(), match[2].decode()
        if name == TRAILER_SIGNATURE and self._signed:
            self._trailer_signature = value
            return
        if name in self.trailers or len(self.trailers) == MAX_TRAILERS:
            raise _trailer(f"{name} is there twice, or there are more than {MAX_TRAILERS} trailers")
        self.trailers[name] = value

    def _check_trailers(self) -> None:
        if self._trailer_signature is None:
            raise _trailer(f"{TRAILER_SIGNATURE} is missing")
        if self._chain is not None:
            text = "".join(f"{name}:{value}\n" for name, value in self.trailers.items())
            self._chain.check_trailers(text, self._trailer_signature)


def _wrong(what: str) -> errors.IncompleteBody:
    return errors.IncompleteBody(f"The request body is not aws-chunked as it says: {what}.")


def _trailer(what: str) -> errors.MalformedTrailer:
    return errors.MalformedTrailer(
        "The request contained trailing data that was not well-formed or did not conform to our published schema: "
        f"{what}."
    )
