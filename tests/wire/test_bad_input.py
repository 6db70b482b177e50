"""Bytes that no client should send, to a real server: AWS's answer in the caller's protocol, and no traceback."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from .live import Live, live_server


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with live_server() as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_goes_wrong(live: Live) -> Iterator[None]:
    mark = live.mark()
    yield
    live.is_well()
    assert not live.failures_since(mark)


JSON = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "SageMaker.CreateModel"}
DEEP = 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b'{"ModelName":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"ModelName": "a", "ModelName": "b"}',
        b'{"Tags": [{"Key": "a", "Key": "b", "Value": ""}]}',
        b'{"EnableNetworkIsolation": ' + b"9" * 100_000 + b"}",
        b'{"EnableNetworkIsolation": 1e999999}',
        b'{"EnableNetworkIsolation": NaN}',
        b'{"EnableNetworkIsolation": -Infinity}',
        b'{"ModelName": "\xff\xfe"}',
        b'{"ModelName": "\xed\xa0\x80"}',
        b'{"ModelName": "\\ud800"}',
        b'\xef\xbb\xbf{"ModelName": "a"}',
        '{"ModelName": "a"}'.encode("utf-16"),
        b'{"ModelName": "a"',
        b'{"ModelName": "a"} {}',
        b'{"ModelName": "a\x00"}',
        b"{'ModelName': 'a'}",
        b"\x00",
        b" " * 1_000_000,
        b"null",
        b"true",
        b'"text"',
        b"[]",
        b"12",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_json(live: Live, body: bytes) -> None:
    answer = live.ask("sagemaker", "POST", "/", JSON, body)
    assert (answer.status, answer.code) == (400, "SerializationException")
    assert json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"ModelName": 1e3}',
        b'{"\\udfff": "a"}',
        json.dumps({"ModelName": "a" * 5_000_000}).encode(),
        json.dumps({"x" * 1_000_000: 1}).encode(),
        json.dumps({"ModelName": "a\r\nx-injected: 1", "ExecutionRoleArn": "\r\n"}).encode(),
        json.dumps({"ModelName": "a", "Containers": [None] * 100_000}).encode(),
        json.dumps({"ModelName": "a", "Tags": [{}] * 10_000}).encode(),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_json_of_wrong_values(live: Live, body: bytes) -> None:
    answer = live.ask("sagemaker", "POST", "/", JSON, body)
    assert answer.status == 400
    assert answer.code in ("ValidationException", "SerializationException")
    assert len(answer.body) < 50_000
    assert "x-injected" not in answer.headers


BOMB = b"".join(
    [
        b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a0 "lol">',
        *(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10)),
        b"]><Delete><Object><Key>&a9;</Key></Object></Delete>",
    ]
)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        BOMB.decode().replace('"1.0"', '"1.0" encoding="utf-16"').encode("utf-16"),
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&b;</Key></Object></Delete>',
        b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1:1/x"> %b;]><Delete/>',
        b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 100_000 + b'">]><Delete>' + b"&b;" * 100_000 + b"</Delete>",
        b"<Delete>&undefined;</Delete>",
        b"<Delete>" + b"<Object>" * DEEP,
        b"<Delete>" + b"<Object/>" * 250_000 + b"</Delete>",
        b"<Delete><Object><Key>\xff</Key></Object></Delete>",
        b"<Delete><Object><Key>&#0;</Key></Object></Delete>",
        b"<Delete><Object><Key>&#xD800;</Key></Object></Delete>",
        b'<?xml version="1.0" encoding="no-such"?><Delete/>',
        b"<Delete><Object></Delete></Object>",
        b"<Delete",
        b"<Delete/><Delete/>",
        b"\x00",
        b"{}",
        b'<Delete a="1" a="2"/>',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_xml(live: Live, body: bytes) -> None:
    answer = live.ask("s3", "POST", f"/{live.bucket}?delete=", {"content-type": "application/xml"}, body)
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert b"root:" not in answer.body


FORM = {"content-type": "application/x-www-form-urlencoded"}
LIST = b"Action=ListRoles&Version=2010-05-08&"
CREATE = b"Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D&"


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (LIST + b"MaxItems=" + b"9" * 10_000, {"MalformedQueryString"}),
        (LIST + b"MaxItems=1e400", {"MalformedQueryString"}),
        (LIST + b"MaxItems=%00", {"MalformedQueryString"}),
        (LIST + b"MaxItems=1_0", {"MalformedQueryString"}),
        (LIST + b"PathPrefix=%FF", {"MalformedQueryString"}),
        (LIST + b"PathPrefix=\xff", {"MalformedQueryString"}),
        (LIST + b"PathPrefix=%0D%0Ax-injected%3A%201", {"ValidationError"}),
        (LIST + b"x=1&" * 60_000, {"MalformedQueryString"}),
        (LIST + b"a" + b".b" * 100_000 + b"=1", {"MalformedQueryString"}),
        (LIST + b"".join(b"a%d.b.c.d.e=1&" % n for n in range(45_000)), {"MalformedQueryString"}),
        (CREATE + b"Tags.member.99999999999.Key=a", {"MalformedQueryString"}),
        (CREATE + b"Tags.member.x.Key=a", {"MalformedQueryString"}),
        (CREATE + b"Tags=a", {"MalformedQueryString"}),
        (CREATE + b"Tags.member.1=a", {"MalformedQueryString"}),
        (CREATE + b"Tags.member.1.Key.x=a", {"MalformedQueryString"}),
        (b"Action=" + b"x" * 100_000 + b"&Version=2010-05-08", {"InvalidAction"}),
        (b"Action=%3CListRoles%3E&Version=2010-05-08", {"InvalidAction"}),
        (b"Version=2010-05-08", {"InvalidAction", "MissingAction"}),
        (b"", {"InvalidAction", "MissingAction"}),
        (b"&&&===&&&", {"InvalidAction", "MissingAction"}),
        (b"\x00\x01\x02", {"InvalidAction", "MissingAction", "MalformedQueryString"}),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else "",
)
def test_forms(live: Live, body: bytes, codes: set[str]) -> None:
    answer = live.ask("iam", "POST", "/", FORM, body)
    assert answer.status == 400
    assert answer.code in codes
    assert answer.headers["content-type"] == "text/xml"
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/{bucket}?list-type=2&max-keys=abc", {}),
        ("GET", "/{bucket}?list-type=2&max-keys=" + "9" * 5000, {}),
        ("GET", "/{bucket}?list-type=2&prefix=%FF%FE", {}),
        ("GET", "/{bucket}/%FF%C0%80", {}),
        ("GET", "/?prefix=%FF", {}),
        ("GET", "/{bucket}/k?partNumber=-1", {}),
        ("PUT", "/{bucket}/k?partNumber=99999999999&uploadId=x", {}),
        ("PUT", "/{bucket}/k", {"content-md5": "nonsense"}),
        ("PUT", "/{bucket}/k", {"x-amz-checksum-crc32": "nonsense"}),
        ("PUT", "/{bucket}/k", {"x-amz-checksum-crc64nvme": "AAAAAA=="}),
        ("PUT", "/{bucket}/k", {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "AAAA"}),
        ("PUT", "/{bucket}/k", {"x-amz-copy-source": "%FF%FE"}),
        ("PUT", "/{bucket}/k", {"x-amz-copy-source": "/"}),
        ("PUT", "/{bucket}/k", {"x-amz-storage-class": "CARDBOARD"}),
        ("PUT", "/{bucket}/" + "k" * 2000, {}),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_heads_of_s3(live: Live, method: str, path: str, headers: dict[str, str]) -> None:
    answer = live.ask("s3", method, path.format(bucket=live.bucket), headers, b"")
    assert 400 <= answer.status < 500, answer.body
    assert answer.code not in ("", "InternalError", "ValidationException")
    assert answer.headers["content-type"] == "application/xml"


@pytest.mark.parametrize("port", ["api", "inference"])
@pytest.mark.parametrize(
    "name",
    [
        *("%FF", "%00", "a%0D%0Ab", "a" * 64, "%F0%9F%98%80", "..%2F..%2Fetc", "%25", "-", "a" * 5000, "%zz"),
    ],
)
def test_names_of_endpoints(live: Live, port: str, name: str) -> None:
    headers = {"content-type": "application/json"}
    answer = live.ask("sagemaker", "POST", f"/endpoints/{name}/invocations", headers, b"1", port)
    assert 400 <= answer.status < 500
    assert answer.code


BEGIN = b"POST / HTTP/1.1\r\nHost: x\r\n"
PORTS = pytest.mark.parametrize("port", ["api", "inference"])


@PORTS
@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1 extra\r\nHost: x\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x:y:z/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
        BEGIN + b"no colon\r\n\r\n",
        BEGIN + b"sp ace: 1\r\n\r\n",
        BEGIN + b": 1\r\n\r\n",
        BEGIN + b"a: 1\rb: 2\r\n\r\n",
        BEGIN + b"a: 1\n b: 2\r\n\r\n",
        BEGIN + b"a: 1\r\n folded\r\n\r\n",
        BEGIN + b"a: \x00\x01\r\n\r\n",
        BEGIN + b"x-amz-target: SageMaker.\xff\xfe\r\n\r\n",
        BEGIN + b"x-amz-target: \xc3\xa9.\xc3\xa9\r\ncontent-length: 0\r\n\r\n",
        BEGIN + b"authorization: AWS4-HMAC-SHA256 \xff\r\ncontent-length: 0\r\n\r\n",
        BEGIN + b"content-length: -1\r\n\r\n",
        BEGIN + b"content-length: +1\r\n\r\nx",
        BEGIN + b"content-length: 1e3\r\n\r\n",
        BEGIN + b"content-length: 9" + b"9" * 40 + b"\r\n\r\n",
        BEGIN + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        BEGIN + b"content-length: 1, 2\r\n\r\nxx",
        BEGIN + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        BEGIN + b"content-length: 1000\r\n\r\nonly this",
        BEGIN + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        BEGIN + b"transfer-encoding: chunked\r\n\r\n-1\r\n",
        BEGIN + b"transfer-encoding: chunked\r\n\r\n" + b"F" * 40 + b"\r\n",
        BEGIN + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
        BEGIN + b"transfer-encoding: chunked\r\n\r\n2\r\nabcdef\r\n0\r\n\r\n",
        BEGIN + b"transfer-encoding: chunked\r\n\r\n" + b"1;" + b"e" * 100_000 + b"\r\na\r\n0\r\n\r\n",
        BEGIN + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"t: 1\r\n" * 20_000 + b"\r\n",
        BEGIN + b"transfer-encoding: cow\r\n\r\nmoo",
        BEGIN + b"transfer-encoding: chunked, cow\r\n\r\nmoo",
        BEGIN
        + b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: x\r\nsec-websocket-version: 13\r\n\r\n",
        BEGIN + b"expect: 100-continue\r\ncontent-length: 10\r\n\r\n",
        BEGIN + b"expect: coffee\r\ncontent-length: 1\r\n\r\nx",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /?" + b"a=b&" * 15_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        BEGIN + b"a: " + b"b" * 100_000 + b"\r\n\r\n",
        BEGIN + b"".join(b"h%d: 1\r\n" % n for n in range(20_000)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"a." * 20_000 + b"localhost\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=lambda data: repr(data.removeprefix(BEGIN)[:40]),
)
def test_heads_and_frames(live: Live, port: str, data: bytes) -> None:
    answer = live.raw(data, port)
    first = answer.partition(b"\r\n")[0]
    if first:
        version, _, status = first.partition(b" ")
        assert version == b"HTTP/1.1"
        assert status[:3].isdigit()
        assert status[:1] != b"5" or status[:3] == b"501"
    assert b"Traceback" not in answer


@PORTS
def test_a_length_that_never_comes_holds_nobody_else(live: Live, port: str) -> None:
    with live.connected(port) as connection:
        connection.sendall(BEGIN + b"content-length: 1000\r\n\r\nonly this")
        live.is_well()
        connection.shutdown(socket.SHUT_WR)
        # Nothing of it is left to wait for.
        while connection.recv(65536):
            pass


def test_answers_are_no_headers(live: Live) -> None:
    """What a client wrote comes back in messages and headers, and never as a line of its own."""
    target = "SageMaker.\r\n x-injected: 1"
    head = f"POST / HTTP/1.1\r\nHost: x\r\nx-amz-target: {target}\r\ncontent-length: 0\r\n\r\n"
    assert b"\r\nx-injected" not in live.raw(head.encode())
    key = live.ask("s3", "PUT", f"/{live.bucket}/a%0D%0Ax-injected%3A%201", {"content-type": "text/plain"}, b"x")
    assert key.status == 200
    got = live.ask(
        "s3", "GET", f"/{live.bucket}/a%0D%0Ax-injected%3A%201?response-content-type=a%0D%0Ax-injected%3A%201", {}, b""
    )
    assert (got.status, got.body) == (200, b"x")
    assert "x-injected" not in got.headers


@pytest.mark.parametrize(
    ("encoding", "body", "status", "code"),
    [
        ("gzip", b"not gzip", 400, "SerializationException"),
        ("gzip", gzip.compress(b"{}")[:-4], 400, "SerializationException"),
        ("gzip", gzip.compress(b" " * 50_000_000), 413, "RequestEntityTooLargeException"),
        ("gzip", gzip.compress(gzip.compress(b"{}")), 400, "SerializationException"),
        ("br", b"x", 400, "SerializationException"),
        ("gzip, br", b"x", 400, "SerializationException"),
        ("\xff", b"x", 400, "SerializationException"),
    ],
    ids=["no gzip", "cut short", "bomb", "twice", "brotli", "list", "no text"],
)
def test_compressed_bodies(live: Live, encoding: str, body: bytes, status: int, code: str) -> None:
    answer = live.ask("sagemaker", "POST", "/", JSON | {"content-encoding": encoding}, body)
    assert (answer.status, answer.code) == (status, code)


@pytest.mark.parametrize(
    "frame",
    [
        b"zz;chunk-signature=" + b"0" * 64 + b"\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFF;chunk-signature=" + b"0" * 64 + b"\r\nx",
        b"5;chunk-signature=" + b"0" * 64 + b"\r\nhello\r\n0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n",
        b"x" * 20_000,
        b"",
    ],
    ids=lambda frame: repr(frame[:30]),
)
def test_chunks_of_aws(live: Live, frame: bytes) -> None:
    path = f"/{live.bucket}/chunked"
    headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-decoded-content-length": "5"}
    answer = live.ask("s3", "PUT", path, headers, frame)
    assert 400 <= answer.status < 500
    assert answer.code in ("IncompleteBody", "SignatureDoesNotMatch", "XAmzContentSHA256Mismatch", "InvalidArgument")
    assert live.ask("s3", "HEAD", path, {}, b"").status == 404


def test_many_connections_that_say_nothing(live: Live) -> None:
    parts = urlsplit(live.urls["api"])
    idle = [socket.create_connection((parts.hostname, parts.port), timeout=5) for _ in range(200)]
    try:
        for connection in idle[::2]:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\ncontent-length: 10\r\n\r\n")
        live.is_well()
    finally:
        for connection in idle:
            connection.close()
