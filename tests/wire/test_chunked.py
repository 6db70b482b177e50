"""aws-chunked bodies: the manual's examples, every way of cutting them, every altered byte."""

from __future__ import annotations

import hashlib
import hmac
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge import errors
from kedge.wire.chunked import MAX_LINE_BYTES, Decoder, SignatureChain
from kedge.wire.sigv4 import signing_key

STAMP = "20130524T000000Z"
SCOPE = "20130524/us-east-1/s3/aws4_request"
KEY = signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
EMPTY = hashlib.sha256().hexdigest()


def decoded(decoder: Decoder, *pieces: bytes) -> bytes:
    data = b"".join(part for piece in pieces for part in decoder.feed(piece))
    decoder.finish()
    return data


def unsigned() -> Decoder:
    return Decoder(signed=False, chain=None, trailers=True)


def signed(seed: str, trailers: bool = False) -> Decoder:
    return Decoder(signed=True, chain=SignatureChain(KEY, STAMP, SCOPE, seed), trailers=trailers)


def sign(chunks: list[bytes], seed: str, trailers: dict[str, str] | None = None) -> bytes:
    """A signer of its own, written from the manual."""

    def mac(kind: str, *rest: str) -> str:
        return hmac.new(KEY, "\n".join([kind, STAMP, SCOPE, before, *rest]).encode(), hashlib.sha256).hexdigest()

    body, before = b"", seed
    for chunk in [*chunks, b""]:
        before = mac("AWS4-HMAC-SHA256-PAYLOAD", EMPTY, hashlib.sha256(chunk).hexdigest())
        body += f"{len(chunk):X};chunk-signature={before}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
    if trailers is not None:
        text = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        body += text.replace("\n", "\r\n").encode()
        signature = mac("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(text.encode()).hexdigest())
        body += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return body + b"\r\n"


def manual(signatures: list[str]) -> bytes:
    """65 KiB of the letter a in a chunk of 64 KiB, one of 1 KiB and the last, empty one; without the end."""
    chunks = zip((b"a" * 65536, b"a" * 1024), signatures[:2], strict=True)
    data = b"".join(b"%x;chunk-signature=%b\r\n%b\r\n" % (len(c), s.encode(), c) for c, s in chunks)
    return data + b"0;chunk-signature=%b\r\n" % signatures[2].encode()


def test_example_of_the_s3_manual() -> None:
    body = manual(
        [
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ]
    )
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    assert decoded(signed(seed), body + b"\r\n") == b"a" * 66560


def test_example_of_the_s3_manual_with_a_trailer() -> None:
    body = manual(
        [
            "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
            "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
            "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
        ]
    )
    body += b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    body += b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n"
    decoder = signed("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e", trailers=True)
    assert decoded(decoder, body + b"\r\n") == b"a" * 66560
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}


def test_split_anywhere() -> None:
    body = sign([b"hello", b" world\r\n0"], "5eed", {"x-amz-checksum-crc32": "AAAAAA==", "x-a": "b"})
    for at in range(len(body) + 1):
        decoder = signed("5eed", trailers=True)
        assert decoded(decoder, body[:at], body[at:]) == b"hello world\r\n0"
        assert decoder.trailers == {"x-amz-checksum-crc32": "AAAAAA==", "x-a": "b"}
    assert decoded(signed("5eed", trailers=True), *(bytes([byte]) for byte in body)) == b"hello world\r\n0"


def test_each_altered_byte_is_refused() -> None:
    """Nothing of a signed body can be changed; only a length can be written in other ways."""
    body = sign([b"hello", b"abc"], "5eed", {"x-amz-checksum-crc32": "AAAAAA=="})
    for at, byte in enumerate(body):
        for other in {byte ^ 1, byte ^ 0x80}:
            altered = body[:at] + bytes([other]) + body[at + 1 :]
            with pytest.raises(errors.ServiceError):
                decoded(signed("5eed", trailers=True), altered)


def test_body_cut_anywhere_is_refused() -> None:
    for body, decoder in (
        (sign([b"hello", b"abc"], "5eed", {"a": "b"}), lambda: signed("5eed", trailers=True)),
        (b"5\r\nhello\r\n0\r\nx-a:b\r\n\r\n", unsigned),
    ):
        decoded(decoder(), body)
        for at in range(len(body)):
            with pytest.raises(errors.IncompleteBody):
                decoded(decoder(), body[:at])


def test_chunks_cannot_be_left_out_swapped_or_repeated() -> None:
    body = sign([b"one", b"two"], "5eed")
    first, second, last = body.split(b"3;")[1], body.split(b"3;")[2].split(b"0;chunk")[0], b"0;chunk"
    rest = body[body.rindex(last) :]
    for order in ([second], [first], [second, first], [first, first, second], [first, second, second], []):
        with pytest.raises(errors.SignatureMismatch):
            decoded(signed("5eed"), b"".join(b"3;" + chunk for chunk in order) + rest)
    with pytest.raises(errors.SignatureMismatch):
        decoded(signed("other"), body)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 800), max_size=8))
def test_any_chunks_cut_in_any_way(chunks: list[bytes], cuts: list[int]) -> None:
    for body, decoder in (
        (sign(chunks, "5eed"), signed("5eed")),
        (b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\nx-a: 1 \r\n\r\n", unsigned()),
    ):
        places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
        assert decoded(decoder, *(body[a:b] for a, b in pairwise(places))) == b"".join(chunks)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_nonsense_is_answered_with_a_service_error(body: bytes) -> None:
    for decoder in (unsigned(), signed("5eed"), signed("5eed", trailers=True)):
        with pytest.raises(errors.ServiceError):
            decoded(decoder, body, b"!")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"-5\r\n", errors.IncompleteBody),
        (b"0x5\r\nhello\r\n0\r\n\r\n", errors.IncompleteBody),
        (b"5_0\r\n", errors.IncompleteBody),
        (b"1" * 17 + b"\r\n", errors.IncompleteBody),
        (b"5\r\nhello!\r\n0\r\n\r\n", errors.IncompleteBody),
        (b"5\r\nhello\r\n0\r\n\r\nmore", errors.IncompleteBody),
        (b"5;x=" + b"y" * MAX_LINE_BYTES, errors.IncompleteBody),
        (b"0\r\nno colon\r\n\r\n", errors.MalformedTrailer),
        (b"0\r\na:b\r\nA:c\r\n\r\n", errors.MalformedTrailer),
        (b"0\r\n" + b"".join(b"a%d:b\r\n" % n for n in range(17)), errors.MalformedTrailer),
    ],
)
def test_refused_frames(body: bytes, error: type[errors.ServiceError]) -> None:
    with pytest.raises(error):
        decoded(unsigned(), body)


def test_signatures_where_they_have_to_be() -> None:
    with pytest.raises(errors.IncompleteBody, match="no signature"):
        decoded(signed("5eed"), b"0\r\n\r\n")
    with pytest.raises(errors.MalformedTrailer, match="x-amz-trailer-signature is missing"):
        decoded(signed("5eed", trailers=True), sign([b"a"], "5eed"))
    with pytest.raises(errors.MalformedTrailer):
        decoded(signed("5eed"), sign([b"a"], "5eed", {"a": "b"}))
    unchecked = Decoder(signed=True, chain=None, trailers=True)
    assert decoded(unchecked, sign([b"a"], "other", {"a": "b"})) == b"a"


def test_views_of_a_buffer_that_is_used_again() -> None:
    chunks = [b"a" * 5000, b"b" * 70_000]
    body, buffer = sign(chunks, "5eed"), bytearray(999)
    decoder, data = signed("5eed"), b""
    for start in range(0, len(body), len(buffer)):
        piece = body[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        data += b"".join(decoder.feed(memoryview(buffer)[: len(piece)]))
        buffer[:] = bytes(len(buffer))
    decoder.finish()
    assert data == b"".join(chunks)
