"""Form uploads and CORS, as far as they are decisions; test_browser.py sends them to a server."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import AccessDenied
from kedge.objects import cors, form_policy
from kedge.objects.errors import InvalidPolicyDocument, MalformedForm
from kedge.objects.form_data import Form

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATER = (NOW + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
B = "----bound"


def body(*parts: tuple[str, str, bytes], end: bytes = b"--\r\n") -> bytes:
    out = b""
    for name, more, value in parts:
        head = f'--{B}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n'
        out += head.encode() + (b"Content-Type: text/csv\r\n" if name == "file" else b"") + b"\r\n" + value + b"\r\n"
    return out + f"--{B}".encode() + end


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(data: bytes, size: int = 7) -> tuple[dict[str, str], bytes, Form]:
    form = Form(pieces(data, size), f"multipart/form-data; boundary={B}")
    fields = await form.fields()
    return fields, b"".join([piece async for piece in form.file()]), form


@pytest.mark.parametrize("size", [1, 2, 13, 1000])
async def test_a_form_is_read_however_it_is_cut(size):
    data = body(
        ("Key", "", "é".encode()), ("file", '; filename="C:\\\\d\\\\a\\"b.csv"', b"1,2\r\n--\r\n3"), ("late", "", b"x")
    )
    fields, file, form = await read(data, size)
    assert (fields, file) == ({"key": "é"}, b"1,2\r\n--\r\n3")
    assert (form.file_name, form.file_type) == ('a"b.csv', "text/csv")


@given(st.binary(max_size=200), st.integers(1, 50))
async def test_any_file_comes_through(content, size):
    content = content.replace(B.encode(), b"")
    assert (await read(body(("file", '; filename="f"', content)), size))[1] == content


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no form",
        body(("key", "", b"k")),
        body(("key", "", b"k"), ("key", "", b"k"), ("file", "", b"")),
        body(("file", "", b"x"))[:-10],
        body(("key", "", b"\xff"), ("file", "", b"x")),
        body(("key", "", b"k" * 30_000), ("file", "", b"x")),
        body(*[(f"f{n}", "", b"") for n in range(200)], ("file", "", b"x")),
        b"--" + B.encode() + b"\r\nX: y\r\n\r\n\r\n--" + B.encode() + b"--",
        b"--" + B.encode() + b"\r\nnone\r\n\r\n",
        b"--" + B.encode() + b"X\r\n",
    ],
)
async def test_forms_that_are_none(data):
    with pytest.raises(MalformedForm):
        await read(data)


def test_a_form_has_a_boundary():
    with pytest.raises(MalformedForm):
        Form(pieces(b"", 1), "multipart/form-data")


def policy(*conditions, **more):
    document = {"expiration": LATER, "conditions": list(conditions), **more}
    return base64.b64encode(json.dumps({k: v for k, v in document.items() if v is not None}).encode()).decode()


FIELDS = {
    "bucket": "b",
    "key": "in/a",
    "content-type": "text/csv",
    "policy": "",
    "x-amz-signature": "s",
    "x-ignore-y": "",
}
KEY, TYPE = ["starts-with", "$key", "in/"], {"Content-Type": "text/csv"}


def test_a_policy_that_holds():
    assert form_policy.check(policy(KEY, TYPE, {"bucket": "b"}), FIELDS, NOW) == (0, None)
    ranged = policy(KEY, TYPE, ["content-length-range", 1, "10"], ["EQ", "$Key", "in/a"])
    assert form_policy.check(ranged, FIELDS, NOW) == (1, 10)
    assert form_policy.check(policy({"key": "in/a", "content-type": "text/csv"}), FIELDS, NOW) == (0, None)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (policy(KEY), AccessDenied, "Extra input fields: content-type"),
        (policy(KEY, TYPE, {"bucket": "c"}), AccessDenied, "Condition failed"),
        (policy(KEY, TYPE, {"acl": "private"}), AccessDenied, "Condition failed"),
        (policy(["starts-with", "$key", "out/"], TYPE), AccessDenied, "Condition failed"),
        (policy(KEY, TYPE, expiration="2029-12-31T23:59:59Z"), AccessDenied, "expired"),
        (policy(KEY, TYPE, expiration="soon"), InvalidPolicyDocument, "expiration"),
        (policy(KEY, TYPE, expiration=None), InvalidPolicyDocument, "expiration"),
        (policy(conditions=None), InvalidPolicyDocument, "conditions"),
        (policy(conditions=[["ends-with", "$key", "a"]]), InvalidPolicyDocument, "condition"),
        (policy(conditions=[["eq", "key", "a"]]), InvalidPolicyDocument, "condition"),
        (policy(conditions=[{}]), InvalidPolicyDocument, "condition"),
        (policy(["content-length-range", "a", 5]), InvalidPolicyDocument, "content-length-range"),
        ("!", InvalidPolicyDocument, "JSON"),
        (base64.b64encode(b"[]").decode(), InvalidPolicyDocument, "JSON"),
        (base64.b64encode(b"[" * 100_000).decode(), InvalidPolicyDocument, "JSON"),
    ],
)
def test_policies_that_do_not_hold(text, error, message):
    with pytest.raises(error, match=message):
        form_policy.check(text, FIELDS, NOW)


RULES = [
    {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]},
    {
        "AllowedMethods": ["PUT", "DELETE"],
        "AllowedOrigins": ["https://*.example.com"],
        "AllowedHeaders": ["x-amz-*", "Content-Type"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    },
]


@pytest.mark.parametrize(
    ("origin", "method", "headers", "rule"),
    [
        ("http://any", "GET", [], 0),
        ("http://any", "GET", ["x-amz-date"], None),
        ("https://a.example.com", "PUT", ["X-Amz-Date", "content-type"], 1),
        ("https://a.example.com", "PUT", ["authorization"], None),
        ("https://example.com", "PUT", [], None),
        ("http://a.example.com", "PUT", [], None),
        ("http://any", "PUT", [], None),
    ],
)
def test_which_rule_allows(origin, method, headers, rule):
    found = cors.matching(RULES, origin, method, headers)
    assert found is (None if rule is None else RULES[rule])


def test_what_is_said_to_a_page():
    assert cors.answer_headers(RULES[0], "http://any") == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET",
        "vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
    }
    said = cors.answer_headers(RULES[1], "https://a.example.com", ["X-Amz-Date"])
    assert said["access-control-allow-origin"] == "https://a.example.com"
    assert said["access-control-allow-credentials"] == "true"
    assert said["access-control-allow-headers"] == "x-amz-date"
    assert (said["access-control-expose-headers"], said["access-control-max-age"]) == ("ETag", "60")
