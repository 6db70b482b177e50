"""The hand-written C of the compiled core says what the Python that it stands for says, or nothing."""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import shutil
import sysconfig
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

from kedge import core, errors
from kedge.identity.keys import KeyRing
from kedge.identity.records import AccessKey
from kedge.serving import head
from kedge.wire import sigv4
from kedge.wire.http import Request

COMPILER = (sysconfig.get_config_var("CC") or "cc").split()[0]
KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "1" * 12, "arn:root", "1" * 12)
RING = KeyRing([KEY], b"s" * 32)
HOST = "127.0.0.1:8771"
PATH = "/endpoints/wine/invocations"
BODIES = st.binary(max_size=300)
PIECES = [
    *(b"", b"\0", b" ", b"  ", b"\t", b"\r", b"\n", b"\r\n", b":", b"/", b".", b"%", b"?", b"#", b";", b",", b"="),
    *(b"a", b"A", b"0", b"9", b"\x7f", b"\x80", b"\xff", b"X-Amz-A: b\r\n", b"Host: a\r\n", b"Te: a\r\n"),
    *(b"Connection: Keep-Alive\r\n", b"Connection: close\r\n", b"Content-Length: 3\r\n", b"X-A: b\r\n"),
]
EDITS = st.lists(
    st.tuples(st.integers(0, 700), st.sampled_from([0, 0, 1, 1, 2, 20]), st.sampled_from(PIECES)), max_size=4
)
"""(place, how many bytes go, what comes instead)"""


@pytest.fixture(scope="module", params=["by the processor", "portable"])
def native(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Made of this very source; with SHA-256 by the processor's instructions, where it has them, and without."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"there is no C compiler ({COMPILER}), so nobody here can have a compiled core")
    folder = tmp_path_factory.mktemp("native")
    macros: list[tuple[str, str | None]] = [("KEDGE_PORTABLE", None)] if request.param == "portable" else []
    warnings = ["-Wall", "-Wextra", "-Werror"]
    source = shutil.copy(core.SOURCE / "wire" / "native.c", folder)
    extension = Extension("native", [source], define_macros=macros, extra_compile_args=warnings)
    command = build_ext(Distribution({"name": "native", "ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(folder), str(folder / "objects")
    command.ensure_finalized()
    command.run()
    spec = importlib.util.spec_from_file_location("native", Path(command.get_ext_fullpath("native")))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sent(body: bytes, path: str = PATH, token: str | None = None, **headers: str) -> bytes:
    """A signed request as bytes, all of its headers signed but the two that come behind."""
    request = AWSRequest("POST", f"http://{HOST}{path}", headers={"Host": HOST, **headers}, data=body)
    SigV4Auth(Credentials(KEY.access_key_id, KEY.secret, token), "sagemaker", "eu-west-1").add_auth(request)
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    more = f"User-Agent: Boto3/1.43 md/x#1 lang/python\r\nContent-Length: {len(body)}\r\n"
    return f"POST {path} HTTP/1.1\r\n{lines}{more}\r\n".encode() + body


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, gone, instead in edits:
        data = data[:at] + instead + data[at + gone :]
    return data


def verified(plain: head.Plain, keys: sigv4.SigningKeys) -> sigv4.Verified:
    request = Request(*plain)
    now = datetime.now(UTC)
    digest = hashlib.sha256(request.body).hexdigest()
    return sigv4.verify(request, digest, lambda key, token: RING.find(key, token, now), now, cache=keys)


def known_to(native: ModuleType, plain: head.Plain) -> dict[str, tuple[bytes, str]]:
    """As SigningKeys has it for the compiled core: of a request that has verified."""
    found = verified(plain, sigv4.SigningKeys())
    credential = f"{KEY.access_key_id}/{found.scope}"
    return {credential: (native.key_halves(found.signing_key), "the signer")}


def plain_of(data: bytes) -> head.Plain:
    plain = head.parse(data)
    assert plain is not None
    return plain


@given(body=BODIES, edits=EDITS)
@settings(max_examples=400)
def test_a_head_is_read_as_the_python_reads_it_or_not_at_all(native: ModuleType, body: bytes, edits: Any):
    data = edited(sent(body, **{"Content-Type": "text/csv"}), edits)
    found = native.read_head(data)
    assert found is None or found == head.parse(data)
    assert edits or found is not None


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nhost:a\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHOST:  a b  \r\nContent-Length: 002\r\nA-:\r\nConnection: Keep-ALIVE\r\n\r\n\0\xff",
        b"POST /a/%20b;c=~ HTTP/1.1\r\nHost: a\r\n" + b"".join(b"x%d: %d\r\n" % (n, n) for n in range(63)) + b"\r\n",
    ],
)
def test_heads_that_are_usual(native: ModuleType, data: bytes):
    assert native.read_head(data) == head.parse(data) != None  # noqa: E711


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST /",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /?a=b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: \xe9\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4294967296\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n" + b"n" * 65 + b": b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"x%d: %d\r\n" % (n, n) for n in range(64)) + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: " + b"a" * 16 * 1024 + b"\r\n\r\n",
    ],
)
def test_heads_that_are_left_to_the_python(native: ModuleType, data: bytes):
    assert native.read_head(data) is None


@pytest.mark.parametrize("body", [b"", b"1,2\n", bytes(range(256)) * 200])
@pytest.mark.parametrize("path", [PATH, "/endpoints/a-B_c.d/invocations", "/a/"])
@pytest.mark.parametrize("token", [None, "a/token+with=all=of//it"])
def test_who_is_known_has_signed(native: ModuleType, body: bytes, path: str, token: str | None):
    plain = plain_of(sent(body, path, token, **{"X-Amzn-SageMaker-Inference-Id": "a: b c", "X-Empty": ""}))
    known = known_to(native, plain_of(sent(b"another")))
    assert native.signer(known, plain[1], plain[3], plain[4]) == "the signer"
    assert native.signer({}, plain[1], plain[3], plain[4]) is None
    assert native.signer(known, plain[1], plain[3], plain[4] + b" ") is None


@given(body=st.binary(max_size=300), text=st.text("ab ", max_size=200))
def test_bodies_and_heads_of_any_length_are_hashed(native: ModuleType, body: bytes, text: str):
    plain = plain_of(sent(body, **{"X-A": text.strip().replace("  ", "")}))
    assert native.signer(known_to(native, plain), plain[1], plain[3], plain[4]) == "the signer"


@given(body=BODIES, edits=EDITS)
@settings(max_examples=400)
def test_what_is_signed_is_signed_for_the_python_too(native: ModuleType, body: bytes, edits: Any):
    plain = head.parse(edited(sent(body, token="T" * 40), edits))
    if plain is None or plain[0] != "POST" or plain[2]:
        return  # nobody asks
    known = known_to(native, plain_of(sent(b"")))
    found = native.signer(known, plain[1], plain[3], plain[4])
    assert found is None or signs_by_python(plain)
    assert edits or found is not None


def signs_by_python(plain: head.Plain) -> bool:
    """Whether the signature is right; the token is not this ring's, so any stands for the key."""
    now = datetime.now(UTC)
    request = Request(*plain)
    try:
        sigv4.verify(request, hashlib.sha256(request.body).hexdigest(), lambda _key, _token: KEY, now)
    except errors.ServiceError:
        return False
    return True


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("authorization", lambda value: value[:-1] + ("0" if value[-1] != "0" else "1")),
        ("authorization", lambda value: value[:-1]),
        ("authorization", lambda value: value + "0"),
        ("authorization", lambda value: value.replace("Signature=", "Signature=A")),
        ("authorization", lambda value: value.replace(";x-amz-date", "")),
        ("authorization", lambda value: value.replace("host;", "")),
        ("authorization", lambda value: value.replace("SignedHeaders=", "SignedHeaders=" + "host;" * 60)),
        ("authorization", lambda value: value.replace("AKIA", "AKIB")),
        ("authorization", lambda value: value.replace(", ", ",  ")),
        ("authorization", lambda value: value.upper()),
        ("x-amz-date", lambda value: value[:-1]),
        ("x-amz-date", lambda _: "20130524T000000Z"),
        ("x-amz-target", lambda _: "not signed"),
        ("host", lambda value: value + "  b"),
        ("host", lambda value: value + "é"),
        ("host", lambda _: "a" * 5000),
    ],
)
def test_what_is_not_usual_or_not_right_is_left_to_the_python(
    native: ModuleType, what: str, instead: Callable[[str], str]
):
    plain = plain_of(sent(b"1,2", **{"Content-Type": "text/csv"}))
    known = known_to(native, plain)
    headers = {**plain[3], what: instead(plain[3].get(what, ""))}
    assert native.signer(known, plain[1], headers, plain[4]) is None


@pytest.mark.parametrize("path", ["", "/", "a", "//a", "/a//b", "/./a", "/a/..", "/a%20b", "/é", "/a" * 3000])
def test_a_path_that_is_normalised_or_encoded_is_left_to_the_python(native: ModuleType, path: str):
    plain = plain_of(sent(b""))
    assert native.signer(known_to(native, plain), path, plain[3], b"") is None


@pytest.mark.parametrize("given_", [(), ({},), ([], "", {}, b""), ({}, b"", {}, b""), ({}, "", {}, "")])
def test_other_types_are_refused(native: ModuleType, given_: Any):
    with pytest.raises(TypeError):
        native.signer(*given_)
    with pytest.raises(TypeError):
        native.read_head("POST /")
    with pytest.raises(ValueError, match="64 bytes"):
        native.key_halves(b"k" * 65)


@pytest.mark.parametrize("entry", [(b"short", "x"), "x", (b"h" * 64,), ("h" * 64, "x")])
def test_an_entry_of_another_form_is_none(native: ModuleType, entry: Any):
    plain = plain_of(sent(b""))
    known = dict.fromkeys(known_to(native, plain), entry)
    assert native.signer(known, plain[1], plain[3], plain[4]) is None


def signed_as_it_is(headers: dict[str, str], names: str) -> dict[str, str]:
    """headers with a signature of just these names and of the values as they are: by the letter, whatever the rules."""
    time = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    headers = {**headers, "x-amz-date": time}
    scope = f"{time[:8]}/eu-west-1/sagemaker/aws4_request"
    lines = "".join(f"{name}:{headers[name]}\n" for name in names.split(";"))
    request = f"POST\n{PATH}\n\n{lines}\n{names}\n{hashlib.sha256(b'').hexdigest()}"
    text = f"{sigv4.ALGORITHM}\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = sigv4.signing_key(KEY.secret, time[:8], "eu-west-1", "sagemaker")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{KEY.access_key_id}/{scope}"
    authorization = f"{sigv4.ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": authorization}


@pytest.mark.parametrize(
    ("headers", "names", "found"),
    [
        ({"host": HOST, "x-a": "a b"}, "host;x-a;x-amz-date", "the signer"),
        ({"host": HOST, "x-a": "a b"}, "host;x-amz-date", "the signer"),
        ({"host": HOST}, "x-amz-date", None),
        ({"host": HOST, "x-amz-a": "a"}, "host;x-amz-date", None),
        ({"host": HOST, "x-a": "a\tb"}, "host;x-a;x-amz-date", None),
        ({"host": HOST, "x-a": "a  b"}, "host;x-a;x-amz-date", None),
        ({"host": HOST, "x-a": " a"}, "host;x-a;x-amz-date", None),
        ({"host": HOST, "x-a": "a "}, "host;x-a;x-amz-date", None),
    ],
)
def test_what_the_rules_do_not_let_be_signed_so(native: ModuleType, headers: dict[str, str], names: str, found: Any):
    known = known_to(native, plain_of(sent(b"")))
    signed = signed_as_it_is(headers, names)
    assert native.signer(known, PATH, signed, b"") == found
    assert signs_by_python(("POST", PATH, "", signed, b"")) is (found is not None)
