"""Bodies as clients send them are handed on; a body that is not what its head says ends in an error."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge import errors
from kedge.identity.records import Caller
from kedge.wire import checksums, sigv4
from kedge.wire.http import Request
from kedge.wire.sigv4 import Verified
from kedge.wire.streams import BodyStream, open_body
from tests.wire.test_chunked import KEY, SCOPE, STAMP, sign
from tests.wire.test_sigv4 import boto3_request, verify

DATA = b"some bytes of a body"
CRC32 = base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
HASH = hashlib.sha256(DATA).hexdigest()


def verified(payload: str, seed: str = "5eed") -> Verified:
    caller = Caller("1" * 12, "us-east-1", "arn", "u", "AKIA")
    return Verified(caller, "s3", "us-east-1", payload, seed, KEY, STAMP, SCOPE)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        await asyncio.sleep(0)
        yield piece


def put(**headers: str) -> Request:
    return Request("PUT", "/b/k", "", {name.replace("_", "-"): value for name, value in headers.items()})


async def read(stream: BodyStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def body(request: Request, payload: str | None, *data: bytes) -> tuple[bytes, dict[str, str]]:
    stream = open_body(request, pieces(*data), None if payload is None else verified(payload))
    return await read(stream), stream.checksums


async def test_boto3_over_http() -> None:
    request = boto3_request("s3", "put_object", Bucket="b", Key="k", Body=DATA)
    stream = open_body(request, pieces(request.body[:7], request.body[7:]), verify(request, body_sha256=None))
    assert stream.length == len(DATA)
    assert await read(stream) == DATA
    assert stream.checksums == {"CRC32": CRC32}


async def test_boto3_over_https() -> None:
    request = boto3_request("s3", "put_object", endpoint_url="https://127.0.0.1:1", Bucket="b", Key="k", Body=DATA)
    assert request.body.endswith(b"0\r\nx-amz-checksum-crc32:" + CRC32.encode() + b"\r\n\r\n")
    for at in range(len(request.body)):
        stream = open_body(request, pieces(request.body[:at], request.body[at:]), verify(request, body_sha256=None))
        assert stream.length == len(DATA)
        assert await read(stream) == DATA
        assert stream.checksums == {"CRC32": CRC32}
    with pytest.raises(errors.BadDigest):
        await read(
            open_body(request, pieces(request.body.replace(b"some", b"Some")), verify(request, body_sha256=None))
        )


async def test_plain_bodies() -> None:
    length = str(len(DATA))
    assert await body(put(content_length=length), HASH, DATA) == (DATA, {})
    assert await body(put(), HASH, DATA[:3], b"", DATA[3:]) == (DATA, {})
    assert await body(put(content_length=length, content_md5=MD5), "UNSIGNED-PAYLOAD", DATA) == (DATA, {})
    assert await body(put(content_length="0"), hashlib.sha256().hexdigest()) == (b"", {})
    assert await body(put(x_amz_content_sha256=HASH), None, DATA) == (DATA, {})
    assert await body(put(), None, DATA) == (DATA, {})
    assert open_body(put(), pieces(), None).length is None


@pytest.mark.parametrize(
    ("headers", "payload", "data", "error"),
    [
        ({}, HASH, DATA + b"!", errors.ContentHashMismatch),
        ({}, HASH, b"", errors.ContentHashMismatch),
        ({"x_amz_content_sha256": HASH}, None, DATA + b"!", errors.ContentHashMismatch),
        ({"content_length": "20"}, "UNSIGNED-PAYLOAD", DATA[:-1], errors.IncompleteBody),
        ({"content_length": "20"}, "UNSIGNED-PAYLOAD", DATA + b"!", errors.IncompleteBody),
        ({"content_length": "many"}, "UNSIGNED-PAYLOAD", DATA, errors.ValidationFailed),
        ({"content_length": "-1"}, "UNSIGNED-PAYLOAD", DATA, errors.ValidationFailed),
        ({"content_md5": MD5}, "UNSIGNED-PAYLOAD", DATA[1:], errors.BadDigest),
        ({"content_md5": "AAAA"}, "UNSIGNED-PAYLOAD", DATA, errors.InvalidDigest),
        ({"content_md5": "é"}, "UNSIGNED-PAYLOAD", DATA, errors.InvalidDigest),
        ({"x_amz_checksum_crc32": CRC32}, "UNSIGNED-PAYLOAD", DATA[1:], errors.BadDigest),
        ({"x_amz_checksum_crc32": "AAAA"}, "UNSIGNED-PAYLOAD", DATA, errors.InvalidChecksum),
        ({"x_amz_checksum_xxhash3": "AAAA"}, "UNSIGNED-PAYLOAD", DATA, errors.InvalidChecksum),
        ({"x_amz_checksum_crc32": CRC32, "x_amz_checksum_sha1": ""}, HASH, DATA, errors.InvalidChecksum),
        ({}, sigv4.UNSIGNED_TRAILER, b"0\r\n\r\n", errors.MissingLength),
        ({"x_amz_decoded_content_length": "1"}, sigv4.UNSIGNED_TRAILER, b"2\r\nab\r\n0\r\n\r\n", errors.IncompleteBody),
        ({"x_amz_decoded_content_length": "3"}, sigv4.UNSIGNED_TRAILER, b"2\r\nab\r\n0\r\n\r\n", errors.IncompleteBody),
        ({"x_amz_decoded_content_length": "2"}, sigv4.UNSIGNED_TRAILER, b"2\r\nab\r\n0\r\n", errors.IncompleteBody),
        (
            {"x_amz_decoded_content_length": "2", "x_amz_trailer": "x-amz-checksum-crc32"},
            sigv4.UNSIGNED_TRAILER,
            b"2\r\nab\r\n0\r\n\r\n",
            errors.MalformedTrailer,
        ),
        (
            {"x_amz_decoded_content_length": "2"},
            sigv4.UNSIGNED_TRAILER,
            b"2\r\nab\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
            errors.MalformedTrailer,
        ),
        (
            {"x_amz_decoded_content_length": "2", "x_amz_trailer": "x-amz-checksum-crc32"},
            sigv4.UNSIGNED_TRAILER,
            b"2\r\nab\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",
            errors.InvalidChecksum,
        ),
        ({"x_amz_decoded_content_length": "1"}, sigv4.SIGNED_CHUNKS, sign([b"a"], "other"), errors.SignatureMismatch),
    ],
)
async def test_refused_bodies(
    headers: dict[str, str], payload: str | None, data: bytes, error: type[errors.ServiceError]
) -> None:
    with pytest.raises(error) as raised:
        await body(put(**headers), payload, data)
    assert 400 <= raised.value.named_for("s3")[1] < 500


async def test_too_long_a_body_ends_at_once() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10

    with pytest.raises(errors.IncompleteBody, match="more than the 25 bytes"):
        await read(open_body(put(content_length="25"), endless(), None))
    with pytest.raises(errors.RequestTooLarge):
        await open_body(put(), endless(), None).read(100)
    with pytest.raises(errors.RequestTooLarge):
        await open_body(put(content_length="101"), pieces(), None).read(100)
    assert await open_body(put(), pieces(DATA), None).read(100) == DATA


async def test_signed_chunks() -> None:
    request = put(x_amz_decoded_content_length=str(len(DATA)))
    data = sign([DATA[:9], DATA[9:]], "5eed")
    assert await body(request, sigv4.SIGNED_CHUNKS, *(bytes([byte]) for byte in data)) == (DATA, {})
    unchecked = replace(request, headers={**request.headers, "x-amz-content-sha256": sigv4.SIGNED_CHUNKS})
    assert await body(unchecked, None, data) == (DATA, {})
    md5 = replace(request, headers={**request.headers, "content-md5": MD5})
    assert await body(md5, sigv4.SIGNED_CHUNKS, data) == (DATA, {})


async def test_signed_trailer() -> None:
    sha256 = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    request = put(x_amz_decoded_content_length=str(len(DATA)), x_amz_trailer="x-amz-checksum-sha256")
    data = sign([DATA], "5eed", {"x-amz-checksum-sha256": sha256})
    assert await body(request, sigv4.SIGNED_CHUNKS_TRAILER, data) == (DATA, {"SHA256": sha256})
    wrong = sign([DATA], "5eed", {"x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode()})
    with pytest.raises(errors.BadDigest):
        await body(request, sigv4.SIGNED_CHUNKS_TRAILER, wrong)


async def test_checksum_of_a_finished_upload_is_not_that_of_its_request() -> None:
    headers = {"x-amz-checksum-crc32": "AAAAAA=="}
    request = Request("POST", "/b/k", "uploadId=u", headers)
    assert await body(request, "UNSIGNED-PAYLOAD", DATA) == (DATA, {})
    with pytest.raises(errors.BadDigest):
        await body(Request("PUT", "/b/k", "partNumber=1&uploadId=u", headers), "UNSIGNED-PAYLOAD", DATA)


@pytest.mark.parametrize("algorithm", checksums.SIZES)
async def test_checksums_in_a_header(algorithm: str) -> None:
    digest = checksums.new(algorithm)
    digest.update(DATA)
    text = base64.b64encode(digest.digest()).decode()
    request = Request("PUT", "/b/k", "", {f"x-amz-checksum-{algorithm.lower()}": text})
    assert await body(request, HASH, DATA[:5], DATA[5:]) == (DATA, {algorithm: text})


@pytest.mark.parametrize("algorithm", checksums.SIZES)
async def test_checksums_in_a_trailer(algorithm: str) -> None:
    digest = checksums.new(algorithm)
    digest.update(DATA)
    text, name = base64.b64encode(digest.digest()).decode(), f"x-amz-checksum-{algorithm.lower()}"
    request = put(x_amz_decoded_content_length=str(len(DATA)), x_amz_trailer=name)
    framed = f"{len(DATA):x}\r\n{DATA.decode()}\r\n0\r\n{name}:{text}\r\n\r\n".encode()
    assert await body(request, sigv4.UNSIGNED_TRAILER, framed) == (DATA, {algorithm: text})
    with pytest.raises(errors.BadDigest):
        await body(request, sigv4.UNSIGNED_TRAILER, framed.replace(b"some", b"Some"))


@pytest.mark.parametrize(
    ("algorithm", "of_digits"),
    [("CRC32", "cbf43926"), ("CRC32C", "e3069283"), ("CRC64NVME", "ae8b14860a799888")],
)
def test_crcs_check_values(algorithm: str, of_digits: str) -> None:
    """The catalogues of CRCs give that of the digits 1 to 9."""
    digest = checksums.new(algorithm)
    digest.update(b"123456789")
    assert digest.digest().hex() == of_digits


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 140_000),
    st.lists(st.integers(0, 140_000), max_size=4),
    st.sampled_from(["CRC32C", "CRC64NVME"]),
    st.randoms(use_true_random=False),
)
def test_crcs_of_blocks_are_those_of_single_bytes(size: int, cuts: list[int], algorithm: str, random: object) -> None:
    data = random.randbytes(size)  # type: ignore[attr-defined]
    digest = checksums.new(algorithm)
    for a, b in pairwise([0, *sorted(min(cut, size) for cut in cuts), size]):
        digest.update(data[a:b])
    ones = (1 << 8 * checksums.SIZES[algorithm]) - 1
    want = checksums._short(algorithm, ones, data) ^ ones
    assert digest.digest() == want.to_bytes(checksums.SIZES[algorithm], "big")


async def test_memory_stays_constant() -> None:
    """64 MiB in one chunk of aws-chunked."""
    piece, count = bytes(256 * 1024), 256

    async def sent() -> AsyncIterator[bytes]:
        yield b"%x\r\n" % (len(piece) * count)
        for _ in range(count):
            yield piece
        yield b"\r\n0\r\n\r\n"

    request = put(x_amz_decoded_content_length=str(len(piece) * count))
    stream = open_body(request, sent(), verified(sigv4.UNSIGNED_TRAILER))
    tracemalloc.start()
    try:
        seen = 0
        async for part in stream:
            seen += len(part)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == len(piece) * count
    assert peak < 4 * 1024 * 1024


async def test_a_body_of_boto3_is_bound_to_its_head() -> None:
    """What was signed is the hash; the same head with another body ends in an error."""
    request = boto3_request("s3", "upload_part", Bucket="b", Key="k", UploadId="u", PartNumber=1, Body=DATA)
    head = verify(request, datetime.now(UTC), body_sha256=None)
    for data in (DATA.upper(), DATA[:-1] + b"?"):
        with pytest.raises(errors.ContentHashMismatch):
            await read(open_body(request, pieces(data), head))
