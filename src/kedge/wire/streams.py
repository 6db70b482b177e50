"""A body that is checked while it passes, in constant memory.

What is wrong with a body may show only behind its last byte: its hash, a chunk's signature, a checksum in the trailer.
Whoever reads a `BodyStream` therefore reads it to the end, and shows what was read only when nothing was raised.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from typing import Protocol

from kedge import errors
from kedge.wire import checksums, sigv4
from kedge.wire.checksums import Checksum
from kedge.wire.chunked import Decoder, SignatureChain
from kedge.wire.http import AnyBuffer, Request
from kedge.wire.sigv4 import Verified

_CHECKSUM_HEADER = "x-amz-checksum-"
_NO_CHECKSUM = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})
_SHA256_HEX = re.compile(r"[0-9a-f]{64}\Z")


class Lending(Protocol):
    """A request whose body may go past the event loop: asgi.Incoming."""

    def lent(self) -> bool: ...

    async def more(self) -> bool: ...

    def fill(self, buffer: memoryview, /) -> int: ...


class BodyStream:
    """Bytes of the body, without what the transfer added. Can be read once, by iterating or by what `poured` gives."""

    def __init__(
        self,
        chunks: AsyncIterable[bytes],
        length: int | None,
        *,
        decoder: Decoder | None = None,
        sha256: str | None = None,
        md5: bytes | None = None,
        checksum: tuple[str, bytes | None] | None = None,
        trailers: frozenset[str] = frozenset(),
        lending: Lending | None = None,
    ) -> None:
        """sha256: hex, md5: what they have to be. checksum: (algorithm, what it has to be; None when the trailer says).
        trailers: names that have to come behind the body. lending: the request that `chunks` come from."""
        self.length = length
        """Bytes that will come; None when the client does not say."""
        self.checksums: dict[str, str] = {}
        """After the end: algorithm (CRC32, SHA256, ...) -> the checksum that the client sent, base64; it was right."""
        self.algorithm = checksum[0] if checksum is not None else ""
        """Of the checksum that there will be after the end."""
        self._chunks = chunks
        self._lending = lending
        self._checks = _Checks(length, decoder, sha256, md5, checksum, trailers)
        self._pieces = self._read()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def read(self, limit: int) -> bytes:
        """The whole of it. Raises RequestTooLarge above `limit` bytes."""
        if self.length is not None and self.length > limit:
            raise errors.RequestTooLarge(f"The body has {self.length} bytes; at most {limit} are taken.")
        whole = bytearray()
        async for piece in self:
            whole += piece
            if len(whole) > limit:
                raise errors.RequestTooLarge(f"The body has more than {limit} bytes, which is the most that is taken.")
        return bytes(whole)

    def poured(self) -> Pouring | None:
        """The body for threads to take; None where it comes over the event loop only, and has to be iterated over."""
        if self._lending is None or self.length is None or not self._lending.lent():
            return None
        return Pouring(self._lending, self.length, self._checks, self.checksums)

    async def _read(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            for piece in self._checks.plain(chunk):
                for digest in self._checks.digests:
                    digest.update(piece)
                if piece:
                    yield piece
        self.checksums |= self._checks.finish()


class Pouring:
    """A body that threads take: `take` as long as there is `more`."""

    def __init__(self, lending: Lending, length: int, checks: _Checks, checksums: dict[str, str]) -> None:
        """length: as that of the stream. checksums: gets those that were right."""
        self.length = length
        self._lending = lending
        self._checks = checks
        self._checksums = checksums

    @property
    def digests(self) -> Sequence[Checksum]:
        """Who takes the body updates these, with all of it, before `more` is asked again."""
        return self._checks.digests

    async def more(self) -> bool:
        """Whether there is more to take; returns when it has come. Raises as reading the stream does."""
        if await self._lending.more():
            return True
        self._checksums |= self._checks.finish()
        return False

    def take(self, buffer: memoryview) -> Sequence[memoryview]:
        """In a thread: the next pieces of the body, in this buffer. None: ask `more`. Raises as reading does."""
        count = self._lending.fill(buffer)
        return self._checks.plain(buffer[:count]) if count else []


class _Checks:
    """All that a head says of its body."""

    def __init__(
        self,
        length: int | None,
        decoder: Decoder | None,
        sha256: str | None,
        md5: bytes | None,
        checksum: tuple[str, bytes | None] | None,
        trailers: frozenset[str],
    ) -> None:
        self._length = length
        self._decoder = decoder
        self._trailers = trailers
        self._want_sha256, self._want_md5, self._want_checksum = sha256, md5, checksum
        self._sha256 = hashlib.sha256() if sha256 is not None else None
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 is not None else None
        self._checksum = checksums.new(checksum[0]) if checksum is not None else None
        self._seen = 0
        self.digests = [digest for digest in (self._sha256, self._md5, self._checksum) if digest is not None]
        """They have to see all that `plain` gives, in order."""

    def plain(self, chunk: AnyBuffer) -> list[AnyBuffer]:
        """The body in a chunk of what was transferred. Raises IncompleteBody, MalformedTrailer, SignatureMismatch."""
        pieces = [chunk] if self._decoder is None else self._decoder.feed(chunk)
        self._seen += sum(map(len, pieces))
        if self._length is not None and self._seen > self._length:
            raise errors.IncompleteBody(f"The body has more than the {self._length} bytes that it was said to have.")
        return pieces

    def finish(self) -> dict[str, str]:
        """There is no more: algorithm -> the checksum that the client sent, base64. Raises for what is not right."""
        if self._decoder is not None:
            self._decoder.finish()
        if self._length is not None and self._seen != self._length:
            raise errors.IncompleteBody(
                "You did not provide the number of bytes specified by the Content-Length HTTP header: "
                f"{self._seen} of {self._length} came."
            )
        if self._sha256 is not None and self._sha256.hexdigest() != self._want_sha256:
            raise errors.ContentHashMismatch(
                "The provided 'x-amz-content-sha256' header does not match what was computed."
            )
        if self._md5 is not None and self._md5.digest() != self._want_md5:
            raise errors.BadDigest("The Content-MD5 you specified did not match what we received.")
        given = self._decoder.trailers if self._decoder is not None else {}
        if given.keys() != self._trailers:
            raise errors.MalformedTrailer(
                f"x-amz-trailer announces {sorted(self._trailers)}; behind the body came {sorted(given)}."
            )
        if self._want_checksum is None or self._checksum is None:
            return {}
        algorithm, want = self._want_checksum
        if want is None:
            want = _parsed(algorithm, given[_CHECKSUM_HEADER + algorithm.lower()])
        if not hmac.compare_digest(self._checksum.digest(), want):
            raise errors.BadDigest(f"The {algorithm} you specified did not match the calculated checksum.")
        return {algorithm: base64.b64encode(want).decode()}


def open_body(
    request: Request, chunks: AsyncIterable[bytes], verified: Verified | None, lending: Lending | None = None
) -> BodyStream:
    """The body of an S3 request, checked against all that its head says of it.

    chunks: the body as it arrives, without HTTP's own transfer encoding. verified: None when signatures are not asked
    for; then all but the signatures is checked. lending: the request that the chunks are of.
    Raises ValidationFailed, MissingLength, InvalidDigest or InvalidChecksum for a head that cannot be. Reading raises
    IncompleteBody, ContentHashMismatch, SignatureMismatch, BadDigest, InvalidChecksum or MalformedTrailer.
    """
    headers = request.headers
    mode = verified.payload if verified is not None else headers.get("x-amz-content-sha256", sigv4.UNSIGNED_PAYLOAD)
    trailers = frozenset(
        name for text in headers.get("x-amz-trailer", "").lower().split(",") if (name := text.strip(" \t"))
    )
    decoder = None
    if mode in sigv4.CHUNKED:
        chain = None
        signed = mode != sigv4.UNSIGNED_TRAILER
        if signed and verified is not None:
            chain = SignatureChain(verified.signing_key, verified.timestamp, verified.scope, verified.signature)
        may_trail = mode != sigv4.SIGNED_CHUNKS
        decoder = Decoder(signed=signed, chain=chain, trailers=may_trail)
        length = _length(headers, "x-amz-decoded-content-length")
        if length is None:
            raise errors.MissingLength("You must provide the x-amz-decoded-content-length HTTP header.")
        trailers = trailers if may_trail else frozenset()
    else:
        length = _length(headers, "content-length")
        trailers = frozenset()
    return BodyStream(
        chunks,
        length,
        decoder=decoder,
        sha256=mode if _SHA256_HEX.match(mode) else None,
        md5=_content_md5(headers),
        checksum=None if _completes_upload(request) else _checksum(headers, trailers),
        trailers=trailers,
        lending=lending,
    )


def _completes_upload(request: Request) -> bool:
    """CompleteMultipartUpload: its checksum header is that of the object, not of this body."""
    return request.method == "POST" and any(pair.startswith("uploadId=") for pair in request.query.split("&"))


def _length(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise errors.ValidationFailed(f'{name} is "{text[:64]}"; it has to be a number of bytes.')
    return int(text)


def _content_md5(headers: Mapping[str, str]) -> bytes | None:
    text = headers.get("content-md5")
    if text is None:
        return None
    try:
        md5 = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        md5 = b""
    if len(md5) != 16:
        raise errors.InvalidDigest(
            f'The Content-MD5 you specified was invalid: "{text[:64]}" is not 16 bytes in base64.'
        )
    return md5


def _checksum(headers: Mapping[str, str], trailers: frozenset[str]) -> tuple[str, bytes | None] | None:
    """(algorithm, value; None when the trailer says it)."""
    named = [name for name in (*headers, *trailers) if name.startswith(_CHECKSUM_HEADER) and name not in _NO_CHECKSUM]
    if not named:
        return None
    if len(named) > 1:
        raise errors.InvalidChecksum(
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed: "
            f"{', '.join(named)[:256]}."
        )
    algorithm = named[0].removeprefix(_CHECKSUM_HEADER).upper()
    if algorithm not in checksums.SIZES:
        raise errors.InvalidChecksum(
            f"{named[0][:64]} is not a checksum that is known; these are: {', '.join(checksums.SIZES)}."
        )
    return algorithm, None if named[0] in trailers else _parsed(algorithm, headers[named[0]])


def _parsed(algorithm: str, text: str) -> bytes:
    value = checksums.parse(algorithm, text)
    if value is None:
        raise errors.InvalidChecksum(
            f'Value for x-amz-checksum-{algorithm.lower()} header is invalid: "{text[:64]}" is not '
            f"{checksums.SIZES[algorithm]} bytes in base64."
        )
    return value
