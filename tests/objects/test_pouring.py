"""Large bodies, which threads take from the socket: from boto3, and from clients that misbehave in every way."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from kedge.objects import pouring
from kedge.wire import checksums
from kedge.wire.body_socket import LENT_BYTES
from kedge.wire.sigv4 import UNSIGNED_PAYLOAD, UNSIGNED_TRAILER
from tests.wire.live import ANSWER_S, Live, live_server

MIB = 1024 * 1024
DATA = os.urandom(pouring.BUFFERS * pouring.BUFFER_BYTES * 2 + 12_345)
"""Each buffer is used more than once, and the last is not full."""
ETAG = f'"{hashlib.md5(DATA).hexdigest()}"'


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_server() as server:
        yield server


@pytest.fixture
def s3(live: Live) -> Any:
    return live.client("s3")


@pytest.fixture
def connection(live: Live) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(live.urls["api"]).netloc, timeout=ANSWER_S)) as opened:
        yield opened


def head(live: Live, key: str, length: int = len(DATA), **headers: str) -> bytes:
    """Of a put, signed; the body is not."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"x-amz-content-sha256": UNSIGNED_PAYLOAD, **named, "content-length": str(length)}
    path = f"/{live.bucket}/{key}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in live.signed("s3", "PUT", path, named, b"").items())
    return f"PUT {path} HTTP/1.1\r\nHost: {urlsplit(live.urls['api']).netloc}\r\n{lines}\r\n".encode()


def answers(connection: socket.socket, count: int) -> list[int]:
    """The statuses of so many answers, and no more than these have come."""
    with connection.makefile("rb") as file:
        found = []
        for _ in range(count):
            found.append(int(file.readline().split()[1]))
            length = 0
            while (line := file.readline().lower()) != b"\r\n":
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            file.read(length)
    return found


def is_not_there(s3: Any, live: Live, key: str) -> bool:
    return "Contents" not in s3.list_objects_v2(Bucket=live.bucket, Prefix=key)


def stored(s3: Any, live: Live, key: str) -> bytes:
    return s3.get_object(Bucket=live.bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("algorithm", ["", "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_a_put_of_boto3(live: Live, s3: Any, algorithm: str) -> None:
    """It signs the hash of the body, and sends a checksum."""
    digest = checksums.new(algorithm or "CRC32")
    digest.update(DATA)
    sent = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    if algorithm in ("CRC32C", "CRC64NVME"):  # it works these out with another library only
        sent = {f"Checksum{algorithm}": base64.b64encode(digest.digest()).decode()}
    made = s3.put_object(Bucket=live.bucket, Key="k", Body=DATA, **sent)
    assert made["ETag"] == ETAG
    assert made["Checksum" + (algorithm or "CRC32")] == base64.b64encode(digest.digest()).decode()
    assert stored(s3, live, "k") == DATA


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_parts_of_boto3(live: Live, s3: Any, algorithm: str) -> None:
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
    data = DATA * 3
    s3.upload_fileobj(io.BytesIO(data), live.bucket, "parts", {"ChecksumAlgorithm": algorithm}, Config=config)
    assert stored(s3, live, "parts") == data
    assert s3.head_object(Bucket=live.bucket, Key="parts", ChecksumMode="ENABLED")[f"Checksum{algorithm}"]


def test_a_part_gets_the_checksum_of_its_upload_though_none_was_sent(live: Live, s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket=live.bucket, Key="part", ChecksumAlgorithm="CRC32")["UploadId"]
    path = f"/{live.bucket}/part?partNumber=1&uploadId={upload}"
    answer = live.ask("s3", "PUT", path, {"x-amz-content-sha256": UNSIGNED_PAYLOAD}, DATA)
    assert answer.status == 200
    (part,) = s3.list_parts(Bucket=live.bucket, Key="part", UploadId=upload)["Parts"]
    assert part["ChecksumCRC32"] == base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
    assert part["ETag"] == ETAG


def test_a_customers_key(live: Live, s3: Any) -> None:
    mine = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "0" * 32}
    s3.put_object(Bucket=live.bucket, Key="mine", Body=DATA, **mine)
    assert s3.get_object(Bucket=live.bucket, Key="mine", **mine)["Body"].read() == DATA


@pytest.mark.parametrize("chunk", [64 * 1024, 3 * MIB, len(DATA)])
def test_aws_chunked(live: Live, s3: Any, chunk: int) -> None:
    right = base64.b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
    cut = [DATA[at : at + chunk] for at in range(0, len(DATA), chunk)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in cut) + b"0\r\n"
    headers = {
        "x-amz-content-sha256": UNSIGNED_TRAILER,
        "x-amz-decoded-content-length": str(len(DATA)),
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    for crc, status in (right, 200), ("AAAAAA==", 400):
        body = framed + f"x-amz-checksum-crc32:{crc}\r\n\r\n".encode()
        key = f"chunked-{chunk}-{status}"
        assert live.ask("s3", "PUT", f"/{live.bucket}/{key}", headers, body).status == status
        assert is_not_there(s3, live, key) == (status != 200)
    assert stored(s3, live, f"chunked-{chunk}-200") == DATA


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content_md5": base64.b64encode(bytes(16)).decode()}, "BadDigest"),
        ({"x_amz_content_sha256": "0" * 64}, "XAmzContentSHA256Mismatch"),
        ({"x_amz_checksum_crc32": "AAAAAA=="}, "BadDigest"),
        ({"x_amz_checksum_sha256": base64.b64encode(bytes(32)).decode()}, "BadDigest"),
    ],
)
def test_what_is_not_what_its_head_says_is_not_stored(live: Live, s3: Any, headers: dict[str, str], code: str) -> None:
    with live.connected() as connection:
        for _ in range(2):  # the connection goes on
            connection.sendall(head(live, "wrong", **headers) + DATA)
            assert answers(connection, 1) == [400]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"x-amz-content-sha256": UNSIGNED_PAYLOAD, **named}
    assert live.ask("s3", "PUT", f"/{live.bucket}/wrong", named, DATA).code == code
    assert is_not_there(s3, live, "wrong")


def test_what_follows_on_a_connection_is_the_next_request(live: Live, s3: Any) -> None:
    with live.connected() as connection:
        small = head(live, "small", 5) + b"small"
        connection.sendall(head(live, "one") + DATA + small + head(live, "two") + DATA[::-1] + small)
        assert answers(connection, 4) == [200] * 4
    assert (stored(s3, live, "one"), stored(s3, live, "two")) == (DATA, DATA[::-1])


def test_100_continue(live: Live, s3: Any) -> None:
    with live.connected() as connection:
        for key in ("first", "second"):
            connection.sendall(head(live, key, Expect="100-continue"))
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(DATA)
            assert answers(connection, 1) == [200]
            assert stored(s3, live, key) == DATA


def test_one_that_is_refused_costs_its_client_no_connection(live: Live) -> None:
    with live.connected() as connection:
        lines = head(live, "x")
        connection.sendall(lines.replace(b"AKIA", b"AKIB", 1) + DATA + head(live, "y", 1) + b"y")
        assert answers(connection, 2) == [403, 200]


@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_goes_leaves_nothing(live: Live, s3: Any, reset: bool) -> None:
    bodies = Path(live._log).parent / "objects" / "bodies"
    before = sum(each.is_file() for each in bodies.rglob("*"))
    for sent in (LENT_BYTES // 2, len(DATA) - 1):
        with live.connected() as connection:
            connection.sendall(head(live, "gone") + DATA[:sent])
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
    live.is_well()
    assert is_not_there(s3, live, "gone")
    deadline = 200
    while sum(each.is_file() for each in bodies.rglob("*")) != before and deadline:
        deadline -= 1
        live.is_well()
    assert deadline, "a file was left"


def test_slow_clients_hold_no_thread(live: Live, s3: Any) -> None:
    """Many more than there are threads, each with a body that has begun."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(live.connected()) for _ in range(40)]
        for number, connection in enumerate(slow):
            connection.sendall(head(live, f"slow{number}") + DATA[: 2 * MIB])
        s3.put_object(Bucket=live.bucket, Key="quick", Body=DATA)
        assert stored(s3, live, "quick") == DATA
        for connection in slow[:8]:
            connection.sendall(DATA[2 * MIB :])
        assert [answers(connection, 1) for connection in slow[:8]] == [[200]] * 8
    assert all(s3.head_object(Bucket=live.bucket, Key=f"slow{n}")["ETag"] == ETAG for n in range(8))
    live.is_well()


def test_a_condition_that_does_not_hold(live: Live, s3: Any) -> None:
    s3.put_object(Bucket=live.bucket, Key="there", Body=b"old")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket=live.bucket, Key="there", Body=DATA, IfNoneMatch="*")
    assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
    assert stored(s3, live, "there") == b"old"


def test_nothing_of_this_is_a_failure_in_the_log(live: Live) -> None:
    assert live.failures_since(0) == ""
