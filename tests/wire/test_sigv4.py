"""Whatever botocore's own signers sign is verified, and nothing else is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import pytest
from botocore.auth import (
    HmacV1QueryAuth,
    S3SigV4Auth,
    S3SigV4QueryAuth,
    SigV4Auth,
    SigV4QueryAuth,
)
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from kedge import core, errors
from kedge.identity.keys import KeyRing
from kedge.identity.records import AccessKey
from kedge.wire import canonical, sigv4
from kedge.wire.http import Request

KEY = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "1" * 12, "arn:root", "1" * 12)
CREDENTIALS = Credentials(KEY.access_key_id, KEY.secret)
RING = KeyRing([KEY], b"s" * 32)
BASE = "http://127.0.0.1:8770"


def verify(request: Request, now: datetime | None = None, ring: KeyRing = RING, **more: Any) -> sigv4.Verified:
    now = now or datetime.now(UTC)
    body_sha256 = more.pop("body_sha256", hashlib.sha256(request.body).hexdigest())
    return sigv4.verify(request, body_sha256, lambda key, token: ring.find(key, token, now), now, **more)


def received(prepared: Any) -> Request:
    """What a server sees of a signed AWSRequest, or of the prepared one that boto3 sends."""
    url = urlsplit(prepared.url)
    headers = {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in prepared.headers.items()
    }
    headers.setdefault("host", url.netloc)
    body = getattr(prepared, "body", None) or getattr(prepared, "data", None) or b""
    body = body.encode() if isinstance(body, str) else body
    body = body if isinstance(body, bytes) else body.read()
    return Request(prepared.method, url.path or "/", url.query, headers, body)


def signed(signer: Callable[..., Any], service: str, url: str, **request: Any) -> Request:
    method = request.pop("method", "GET")
    aws_request = AWSRequest(method=method, url=url, **request)
    signer(CREDENTIALS, service, "eu-west-1").add_auth(aws_request)
    return received(aws_request.prepare())


class Sent(Exception):
    pass


def boto3_request(service: str, operation: str, session_token: str | None = None, **call: Any) -> Request:
    """The request that an unmodified client would have sent."""
    config = call.pop("config", None)
    client = boto3.client(
        service,
        endpoint_url=call.pop("endpoint_url", BASE),
        region_name="eu-west-1",
        aws_access_key_id=call.pop("access_key_id", KEY.access_key_id),
        aws_secret_access_key=call.pop("secret", KEY.secret),
        aws_session_token=session_token,
        config=config,
    )
    caught: list[Any] = []

    def catch(request: Any, **_: Any) -> None:
        caught.append(request)
        raise Sent

    client.meta.events.register("before-send", catch)
    with pytest.raises(Sent):
        getattr(client, operation)(**call)
    return received(caught[0])


CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("sagemaker", "list_endpoints", {}),
    ("sagemaker", "create_model", {"ModelName": "ä", "ExecutionRoleArn": "arn:aws:iam::111111111111:role/x"}),
    ("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "a-b", "Body": b"1,2\n", "ContentType": "text/csv"}),
    (
        "sagemaker-runtime",
        "invoke_endpoint",
        {"EndpointName": "x", "Body": b"", "CustomAttributes": "a  b   c\t d", "TargetVariant": "green"},
    ),
    ("sts", "get_caller_identity", {}),
    ("iam", "list_roles", {"PathPrefix": "/x/ y/"}),
    ("cloudwatch", "put_metric_data", {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.0}] * 400}),
    ("s3", "list_buckets", {}),
    ("s3", "list_objects_v2", {"Bucket": "b", "Prefix": "a b/+~ü&=", "Delimiter": "/"}),
    ("s3", "put_object", {"Bucket": "b", "Key": "k//../x +%~ü.txt", "Body": b"x", "Metadata": {"a": " two  blanks"}}),
    ("s3", "delete_objects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}]}}),
    ("s3", "upload_part", {"Bucket": "b", "Key": "k", "UploadId": "u", "PartNumber": 1, "Body": b"xyz"}),
]


@pytest.mark.parametrize(("service", "operation", "call"), CALLS, ids=[f"{s}.{o}" for s, o, _ in CALLS])
def test_requests_of_boto3(service: str, operation: str, call: dict[str, Any]) -> None:
    request = boto3_request(service, operation, **call)
    verified = verify(request)
    assert verified.caller.access_key_id == KEY.access_key_id
    assert verified.caller.account == KEY.account
    assert verified.caller.region == verified.region == "eu-west-1"
    name = {"sagemaker-runtime": "sagemaker", "cloudwatch": "monitoring"}.get(service, service)
    assert verified.service == name
    assert verify(request, service=name) == verified
    assert KEY.secret not in repr(verified)


def test_streamed_upload_over_https() -> None:
    request = boto3_request("s3", "put_object", endpoint_url="https://127.0.0.1:8770", Bucket="b", Key="k", Body=b"x")
    verified = verify(request, body_sha256=None)
    assert verified.payload == sigv4.UNSIGNED_TRAILER
    assert len(verified.signing_key) == 32
    assert verified.scope.endswith("/eu-west-1/s3/aws4_request")


URLS = [
    (SigV4Auth, "sagemaker", "/endpoints/a/invocations"),
    (SigV4Auth, "sagemaker", "//a//b/../c/./d%20e/"),
    (SigV4Auth, "sagemaker", "/?b=2&a=1&a=0&c"),
    (S3SigV4Auth, "s3", "/bucket//a/./../b%20c%2Bd/?x-id=1&a=%C3%BC"),
    (SigV4QueryAuth, "sts", "/?Action=GetCallerIdentity&Version=2011-06-15"),
    (S3SigV4QueryAuth, "s3", "/bucket/a%20b?versionId=x%2Fy"),
]


@pytest.mark.parametrize(("signer", "service", "path"), URLS, ids=[f"{s.__name__}{p}" for s, _, p in URLS])
def test_signers_of_botocore(signer: Callable[..., Any], service: str, path: str) -> None:
    request = signed(signer, service, BASE + path)
    verified = verify(request)
    assert verified.service == service
    if signer is S3SigV4QueryAuth:
        assert verified.payload == sigv4.UNSIGNED_PAYLOAD


def flips(text: str) -> list[str]:
    """`text` with one character changed, at each place."""
    return [text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :] for at in range(len(text))]


@pytest.mark.parametrize("case", [0, 3, 4, 5], ids=["header", "s3", "query", "s3-query"])
def test_each_altered_character_is_refused(case: int) -> None:
    signer, service, path = URLS[case]
    body = b"" if "Query" in signer.__name__ else b"body"
    request = signed(signer, service, BASE + path, headers={"x-amz-meta": "some value"}, data=body, method="POST")
    verify(request)
    altered = [replace(request, method=method) for method in flips(request.method)]
    altered += [replace(request, path=path) for path in flips(request.path)]
    altered += [replace(request, query=query) for query in flips(request.query)]
    covered = ("host", "x-amz-meta", "x-amz-date", "authorization", "x-amz-content-sha256")
    for name in covered:
        for value in flips(request.headers.get(name, "")):
            altered.append(replace(request, headers={**request.headers, name: value}))
    altered += [replace(request, body=each.encode()) for each in flips(body.decode())]
    assert len(altered) > 100
    for each in altered:
        with pytest.raises(errors.ServiceError):
            verify(each)


def test_added_and_dropped_headers_are_refused() -> None:
    request = boto3_request("sagemaker", "list_endpoints")
    with pytest.raises(errors.HeadersNotSigned, match="x-amz-extra"):
        verify(replace(request, headers={**request.headers, "x-amz-extra": "1"}))
    for name in ("host", "x-amz-target", "x-amz-date", "content-type"):
        with pytest.raises(errors.ServiceError):
            verify(replace(request, headers={n: v for n, v in request.headers.items() if n != name}))
    verify(replace(request, headers={**request.headers, "x-forwarded-for": "10.0.0.1", "x-amzn-trace-id": "Root=1"}))


def test_host_has_to_be_signed() -> None:
    request = signed(SigV4Auth, "sagemaker", BASE + "/")
    headers = dict(request.headers)
    headers["authorization"] = headers["authorization"].replace("SignedHeaders=host;", "SignedHeaders=")
    with pytest.raises(errors.HeadersNotSigned, match="'Host'"):
        verify(replace(request, headers=headers))


SEGMENT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).map(lambda text: quote(text, safe="~"))


@settings(max_examples=150, deadline=None)
@given(st.lists(SEGMENT | st.sampled_from(["", ".", "..", "a"]), max_size=6), st.sampled_from(["s3", "sagemaker"]))
def test_any_path(segments: list[str], service: str) -> None:
    path = "/" + "/".join(segments)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    request = AWSRequest(method="GET", url=BASE + path)
    signer(CREDENTIALS, service, "eu-west-1").add_auth(request)
    headers = {name.lower(): str(value) for name, value in request.headers.items()} | {"host": "127.0.0.1:8770"}
    verify(Request("GET", path, "", headers))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(SEGMENT.filter(bool), SEGMENT), max_size=6))
def test_any_query(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    verify(signed(SigV4Auth, "sagemaker", f"{BASE}/?{query}"))


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab \t,;:=\"'é"), max_size=20))
def test_any_blanks_in_a_header(value: str) -> None:
    request = AWSRequest(method="GET", url=BASE + "/", headers={"x-amz-meta-a": value})
    SigV4Auth(CREDENTIALS, "sagemaker", "eu-west-1").add_auth(request)
    headers = {name.lower(): str(text) for name, text in request.headers.items()} | {"host": "127.0.0.1:8770"}
    # A header field is bytes: a client sends what it signed, UTF-8, and the server reads it as Latin-1.
    headers["x-amz-meta-a"] = value.encode().decode("latin-1").strip(" \t")
    verify(Request("GET", "/", "", headers))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.text(max_size=100), st.text(max_size=100))
def test_nonsense_is_answered_with_a_service_error(authorization: str, query: str, path: str) -> None:
    for text in (authorization, f"AWS4-HMAC-SHA256 {authorization}", f"AWS4-HMAC-SHA256 Credential={authorization}"):
        for form in (query, f"X-Amz-Algorithm={query}&X-Amz-Credential={authorization}", f"Signature=&{query}"):
            for headers in ({"authorization": text, "x-amz-date": query}, {}):
                with pytest.raises(errors.ServiceError):
                    verify(Request("GET", path, form, headers))


def test_query_is_canonical_whatever_way_it_was_written() -> None:
    def text(query: str) -> str:
        return canonical.query_text(canonical.parameters(query))

    assert text("prefix=a/b&list-type=2&") == text("list-type=2&prefix=a%2fb") == "list-type=2&prefix=a%2Fb"
    assert text("a-b=1&a=1&a=0&b") == "a=0&a=1&a-b=1&b="
    assert text("q=a+b%20c") == "q=a%20b%20c"
    assert canonical.path_text("/a+b(c)%2f", "s3") == "/a%2Bb%28c%29/"
    assert canonical.path_text("", "s3") == canonical.path_text("", "sts") == "/"


PUBLISHED = "20130524T000000Z"
PUBLISHED_GET = {
    "host": "examplebucket.s3.amazonaws.com",
    "range": "bytes=0-9",
    "x-amz-content-sha256": hashlib.sha256().hexdigest(),
    "x-amz-date": PUBLISHED,
    "authorization": (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    ),
}


def test_example_of_the_s3_manual() -> None:
    """The GET of "Signature calculations: transferring payload in a single chunk"."""
    now = datetime(2013, 5, 24, tzinfo=UTC)
    request = Request("GET", "/test.txt", "", PUBLISHED_GET)
    assert verify(request, now).timestamp == PUBLISHED
    with pytest.raises(errors.SignatureMismatch):
        verify(replace(request, headers={**PUBLISHED_GET, "range": "bytes=0-8"}), now)


def test_presigned_example_of_the_s3_manual() -> None:
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    request = Request("GET", "/test.txt", query, {"host": "examplebucket.s3.amazonaws.com"})
    start = datetime(2013, 5, 24, tzinfo=UTC)
    verify(request, start)
    verify(request, start + timedelta(days=1))
    verify(request, start - timedelta(minutes=15))
    for late in (timedelta(days=1, seconds=1), -timedelta(minutes=15, seconds=1)):
        with pytest.raises(errors.RequestExpired):
            verify(request, start + late)


@pytest.mark.parametrize(
    ("service", "off_s", "code"),
    [
        ("sagemaker", 300, None),
        ("sagemaker", -300, None),
        ("sagemaker", 301, "InvalidSignatureException"),
        ("sagemaker", -301, "InvalidSignatureException"),
        ("s3", 900, None),
        ("s3", -900, None),
        ("s3", 901, "InvalidSignatureException"),
        ("s3", -901, "InvalidSignatureException"),
    ],
)
def test_clock_skew(service: str, off_s: int, code: str | None) -> None:
    request = signed(S3SigV4Auth if service == "s3" else SigV4Auth, service, BASE + "/")
    moment = datetime.fromisoformat(request.headers["x-amz-date"])
    now = moment + timedelta(seconds=off_s)
    if code is None:
        verify(request, now)
        return
    with pytest.raises(errors.ClockSkew) as raised:
        verify(request, now)
    assert raised.value.code == code
    assert raised.value.named_for("s3") == ("RequestTimeTooSkewed", 403)
    if service != "s3":
        stamp = request.headers["x-amz-date"]
        want = "Signature expired: " if off_s > 0 else "Signature not yet current: "
        assert raised.value.message.startswith(want + stamp)
        assert "5 min.)" in raised.value.message


def test_date_header_instead_of_x_amz_date() -> None:
    now = datetime(2013, 5, 24, 1, 2, 3, tzinfo=UTC)
    date = "Fri, 24 May 2013 01:02:03 GMT"
    scope = "20130524/eu-west-1/sagemaker/aws4_request"
    canonical_request = f"GET\n/\n\ndate:{date}\nhost:h\n\ndate;host\n{hashlib.sha256().hexdigest()}"
    text = f"AWS4-HMAC-SHA256\n20130524T010203Z\n{scope}\n{hashlib.sha256(canonical_request.encode()).hexdigest()}"
    key = sigv4.signing_key(KEY.secret, "20130524", "eu-west-1", "sagemaker")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={KEY.access_key_id}/{scope}, SignedHeaders=date;host, Signature={signature}"
    )
    headers = {"host": "h", "date": date, "authorization": authorization}
    assert verify(Request("GET", "/", "", headers), now).timestamp == "20130524T010203Z"
    with pytest.raises(errors.ServiceError):
        verify(Request("GET", "/", "", {**headers, "date": "Fri, 24 May 2013 01:02:04 GMT"}), now)


def test_session_token_by_header_and_by_query() -> None:
    end = datetime.now(UTC) + timedelta(minutes=10)
    key_id, secret, token = RING.seal("2" * 12, "arn:aws:sts::222222222222:assumed-role/r/s", "AROA:s", end)
    request = boto3_request("sts", "get_caller_identity", token, access_key_id=key_id, secret=secret)
    assert verify(request).caller.account == "2" * 12
    with pytest.raises(errors.ServiceError):
        verify(replace(request, headers={n: v for n, v in request.headers.items() if n != "x-amz-security-token"}))
    aws_request = AWSRequest(method="GET", url=BASE + "/b/k")
    S3SigV4QueryAuth(Credentials(key_id, secret, token), "s3", "eu-west-1").add_auth(aws_request)
    presigned = received(aws_request.prepare())
    assert verify(presigned).caller.arn.endswith("assumed-role/r/s")
    with pytest.raises(errors.ExpiredToken):
        verify(presigned, end)


PRESIGNED: list[tuple[str, str, dict[str, Any]]] = [
    ("get_object", "us-east-1", {"Bucket": "b", "Key": "dir/a b+ü~.txt"}),
    ("get_object", "eu-west-1", {"Bucket": "b", "Key": "k", "ResponseContentType": "text/x y", "VersionId": "v/+1"}),
    ("put_object", "us-east-1", {"Bucket": "b", "Key": "k", "ContentType": "text/csv"}),
    ("list_objects_v2", "us-east-1", {"Bucket": "b", "Prefix": "x/"}),
    ("upload_part", "us-east-1", {"Bucket": "b", "Key": "k", "UploadId": "u=", "PartNumber": 3}),
]


@pytest.mark.parametrize("version", ["default", "s3v4", "s3"])
@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(("operation", "region", "call"), PRESIGNED, ids=[o for o, _, _ in PRESIGNED])
def test_presigned_urls_of_boto3(operation: str, region: str, call: dict[str, Any], token: bool, version: str) -> None:
    key = KEY.access_key_id, KEY.secret, None
    if token:
        key = RING.seal("2" * 12, "arn:x", "u", datetime.now(UTC) + timedelta(hours=1))  # type: ignore[assignment]
    client = boto3.client(
        "s3",
        endpoint_url=BASE,
        region_name=region,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        aws_session_token=key[2],
        config=None if version == "default" else Config(signature_version=version),
    )
    url = urlsplit(client.generate_presigned_url(operation, Params=call, ExpiresIn=60))
    headers = {"host": url.netloc}
    if "ContentType" in call and version != "default":
        headers["content-type"] = call["ContentType"]
    request = Request("PUT" if operation[:2] in ("pu", "up") else "GET", url.path, url.query, headers)
    assert verify(request, body_sha256=None).payload == sigv4.UNSIGNED_PAYLOAD
    assert verify(request).service == "s3"
    with pytest.raises(errors.RequestExpired) as raised:
        verify(request, datetime.now(UTC) + timedelta(seconds=62))
    assert raised.value.named_for("s3") == ("AccessDenied", 403)
    for altered in (replace(request, path=request.path + "x"), replace(request, method="DELETE")):
        with pytest.raises(errors.SignatureMismatch):
            verify(altered)


def test_version_2_covers_resource_headers_and_expiry() -> None:
    aws_request = AWSRequest(method="GET", url=BASE + "/b/k?uploads&prefix=p")
    HmacV1QueryAuth(CREDENTIALS, expires=60).add_auth(aws_request)
    request = received(aws_request.prepare())
    verify(request)
    later = str(int(datetime.now(UTC).timestamp()) + 3600)
    expires = next(pair for pair in request.query.split("&") if pair.startswith("Expires="))
    for query in (
        request.query.replace("uploads&", ""),
        request.query.replace("uploads", "uploads=1"),
        request.query.replace(expires, f"Expires={later}"),
        request.query.replace(expires, expires + "000000000"),
        request.query + "&acl",
        request.query + "&x-amz-acl=public-read",
        request.query.replace("Signature=", "Signature=a"),
    ):
        with pytest.raises(errors.SignatureMismatch):
            verify(replace(request, query=query))
    with pytest.raises(errors.MalformedQueryAuth):
        verify(replace(request, query=request.query + "&" + expires))
    for query in (request.query.replace(expires, "Expires=soon"), request.query.replace(expires, expires + "x")):
        with pytest.raises(errors.AccessDenied) as denied:
            verify(replace(request, query=query))
        assert denied.value.named_for("s3") == ("AccessDenied", 403)
    with pytest.raises(errors.SignatureMismatch):
        verify(replace(request, headers={**request.headers, "x-amz-acl": "public-read"}))


def test_version_2_of_a_bucket_in_the_host() -> None:
    aws_request = AWSRequest(method="GET", url="http://b.localhost:8770/k", auth_path="/b/k")
    HmacV1QueryAuth(CREDENTIALS, expires=60).add_auth(aws_request)
    request = received(aws_request.prepare())
    assert verify(request, s3_bucket="b").region == "us-east-1"
    for bucket in ("", "c"):
        with pytest.raises(errors.SignatureMismatch):
            verify(request, s3_bucket=bucket)


def with_authorization(request: Request, old: str, new: str) -> Request:
    assert old in request.headers["authorization"]
    return replace(
        request, headers={**request.headers, "authorization": request.headers["authorization"].replace(old, new)}
    )


REFUSALS: list[tuple[Callable[[Request], Request], type[errors.ServiceError], str]] = [
    (lambda r: replace(r, headers={"host": "h"}), errors.MissingAuthentication, "Missing Authentication Token"),
    (lambda r: with_authorization(r, "AWS4-HMAC-SHA256 ", "Bearer "), errors.UnsupportedAuth, "Please use AWS4"),
    (lambda r: with_authorization(r, "Signature=", "X="), errors.IncompleteSignature, "requires 'Signature'"),
    (lambda r: with_authorization(r, "SignedHeaders=", "X="), errors.IncompleteSignature, "'SignedHeaders'"),
    (lambda r: with_authorization(r, "Credential=", "X="), errors.IncompleteSignature, "'Credential'"),
    (lambda r: with_authorization(r, "/aws4_request", ""), errors.IncompleteSignature, "5 slash-delimited"),
    (lambda r: with_authorization(r, "/aws4_request", "/aws3"), errors.IncompleteSignature, "terminator"),
    (lambda r: with_authorization(r, KEY.access_key_id, "AKIANOBODY"), errors.UnknownAccessKey, "is invalid"),
    (lambda r: with_authorization(r, "Credential=", "Credential=x,Credential="), errors.IncompleteSignature, "twice"),
    (lambda r: with_authorization(r, "Signature=", "Signature=" + "a" * 9000), errors.IncompleteSignature, "8192"),
    (lambda r: with_authorization(r, "=host", "=" + "a;" * 200 + "host"), errors.IncompleteSignature, "signed headers"),
    (lambda r: replace(r, query="X-Amz-Signature=1"), errors.ValidationFailed, "Only one auth mechanism"),
    (
        lambda r: replace(r, headers={**r.headers, "x-amz-date": "20131324T000000Z"}),
        errors.SignatureMismatch,
        "does not match YYYYMMDD",
    ),
    (lambda r: with_authorization(r, "/eu-west-1/", "/eu-west-2/"), errors.SignatureMismatch, "we calculated"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSALS, ids=[m for _, _, m in REFUSALS])
def test_refusals(change: Callable[[Request], Request], error: type[errors.ServiceError], message: str) -> None:
    request = signed(SigV4Auth, "sagemaker", BASE + "/")
    with pytest.raises(error, match=message):
        verify(change(request))


def test_dates_that_are_none() -> None:
    request = signed(SigV4Auth, "sagemaker", BASE + "/")
    day = request.headers["x-amz-date"][:8]
    for stamp in (f"{day}T250000Z", f"{day}T000000", day, f"{day}T00:00:00Z"):
        with pytest.raises(errors.IncompleteSignature, match="ISO-8601 'basic format'"):
            verify(replace(request, headers={**request.headers, "x-amz-date": stamp}))
    bare = {name: value for name, value in request.headers.items() if name != "x-amz-date"}
    with pytest.raises(errors.IncompleteSignature, match="existence of either"):
        verify(replace(request, headers=bare))
    with pytest.raises(errors.IncompleteSignature, match="RFC 1123"):
        verify(replace(request, headers={**bare, "date": "yesterday"}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("X-Amz-Expires=3600", "X-Amz-Expires=0", "1 to 604800"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=604801", "1 to 604800"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=soon", "should be a number"),
        ("X-Amz-Expires=3600", "", "should be a number"),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS4", "X-Amz-Algorithm only supports"),
        ("X-Amz-SignedHeaders=host", "", "X-Amz-SignedHeaders is missing"),
        ("X-Amz-Expires=3600", "X-Amz-Expires=3600&X-Amz-Expires=3600", "more than once"),
        ("aws4_request", "aws5_request", "terminator"),
    ],
)
def test_query_parameters_that_cannot_be(old: str, new: str, message: str) -> None:
    request = signed(S3SigV4QueryAuth, "s3", BASE + "/b/k")
    assert old in request.query
    with pytest.raises(errors.MalformedQueryAuth, match=message) as raised:
        verify(replace(request, query=request.query.replace(old, new)))
    assert raised.value.named_for("s3") == ("AuthorizationQueryParametersError", 400)


def test_a_service_scope_is_good_for_that_service_only() -> None:
    """The body of an S3 request may stay unsigned; nowhere else."""
    headers = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-target": "SageMaker.DeleteModel"}
    request = signed(S3SigV4Auth, "s3", BASE + "/", headers=headers, method="POST", data=b"{}")
    verify(request)
    with pytest.raises(errors.SignatureMismatch, match="correct service: 'sagemaker'"):
        verify(request, service="sagemaker")
    with pytest.raises(errors.SignatureMismatch, match="correct service"):
        verify(signed(SigV4Auth, "sagemaker", BASE + "/"), body_sha256=None)


def test_declared_hash_has_to_be_the_bodys() -> None:
    request = boto3_request("s3", "put_object", Bucket="b", Key="k", Body=b"xyz")
    assert verify(request, body_sha256=None).payload == hashlib.sha256(b"xyz").hexdigest()
    with pytest.raises(errors.ContentHashMismatch) as raised:
        verify(replace(request, body=b"xyZ"))
    assert raised.value.named_for("s3") == ("XAmzContentSHA256Mismatch", 400)
    for text, error in (("abc", errors.ValidationFailed), (None, errors.UnsupportedAuth)):
        headers = {n: v for n, v in request.headers.items() if n != "x-amz-content-sha256"}
        with pytest.raises(error):
            verify(replace(request, headers=headers if text is None else headers | {"x-amz-content-sha256": text}))


def test_cache_holds_only_what_verified_and_no_more_than_its_limit() -> None:
    cache = sigv4.SigningKeys(limit=2)
    keys = [AccessKey(f"AKIA{n}", f"secret{n}", "1" * 12, "arn:root", "1" * 12) for n in range(4)]
    ring = KeyRing(keys, b"s" * 32)
    for key in keys * 2:
        aws_request = AWSRequest(method="GET", url=BASE + "/")
        SigV4Auth(Credentials(key.access_key_id, key.secret), "sagemaker", "eu-west-1").add_auth(aws_request)
        request = received(aws_request.prepare())
        for _ in range(2):
            assert verify(request, ring=ring, cache=cache).caller.access_key_id == key.access_key_id
        with pytest.raises(errors.SignatureMismatch):
            verify(with_authorization(request, "/eu-west-1/", "/eu-west-9/"), ring=ring, cache=cache)
        credential = request.headers["authorization"].partition("Credential=")[2].partition(",")[0]
        assert cache.get(credential) is not None
        assert cache.get(credential.replace("eu-west-1", "eu-west-9")) is None
    assert len(cache._signers) == 2


def test_a_key_that_changed_is_not_taken_from_the_cache() -> None:
    cache = sigv4.SigningKeys()
    request = signed(SigV4Auth, "sagemaker", BASE + "/")
    verify(request, cache=cache)
    other = KeyRing([replace(KEY, secret="another")], b"s" * 32)
    with pytest.raises(errors.SignatureMismatch):
        verify(request, ring=other, cache=cache)
    moved = KeyRing([replace(KEY, account="9" * 12)], b"s" * 32)
    assert verify(request, ring=moved, cache=cache).caller.account == "9" * 12


def test_what_a_request_claims_unverified() -> None:
    request = signed(SigV4Auth, "sagemaker", BASE + "/")
    assert sigv4.claimed(request) == (KEY.access_key_id, "eu-west-1")
    assert sigv4.claimed(replace(request, headers={"host": "h"})) == ("", "")
    assert sigv4.claimed(with_authorization(request, "/aws4_request", "")) == ("", "")


def test_a_known_signer_is_found_by_the_compiled_core_alone():
    """Whichever core runs, `verify` decides where this says nothing; tests/wire/test_native.py has the C itself."""
    keys, now = sigv4.SigningKeys(), datetime.now(UTC)
    url = f"{BASE}/endpoints/wine/invocations"
    request = signed(SigV4Auth, "sagemaker", url, method="POST", data=b"1,2", headers={"Host": "127.0.0.1:8770"})

    def known(service: str = "sagemaker", at: datetime = now, **other: Any) -> sigv4.Signer | None:
        asked = replace(request, **other)
        return sigv4.known_signer(asked, asked.body, service, at, keys)

    assert known() is None  # nobody has verified yet
    verified = verify(request, now, cache=keys)
    found = known()
    assert (found is not None) == core.found(core.NATIVE).compiled
    assert found is None or (found.caller, found.key) == (verified.caller, KEY)
    assert known("s3") is None
    assert known(body=b"1,3") is None
    assert known(method="PUT") is None
    assert known(query="a=b") is None
    large = b"a" * 100_000
    signed_large = signed(SigV4Auth, "sagemaker", url, method="POST", data=large, headers={"Host": "127.0.0.1:8770"})
    assert sigv4.known_signer(signed_large, large, "sagemaker", now, keys) is None
    if found is not None:
        with pytest.raises(errors.ClockSkew):
            known(at=now + timedelta(minutes=6))


def test_what_is_remembered_for_the_compiled_core_has_a_bound():
    keys = sigv4.SigningKeys(limit=2)
    for region in ("eu-west-1", "eu-west-2", "eu-west-3"):
        aws_request = AWSRequest(method="POST", url=f"{BASE}/a", data=b"", headers={"Host": "127.0.0.1:8770"})
        SigV4Auth(CREDENTIALS, "sagemaker", region).add_auth(aws_request)
        verify(received(aws_request.prepare()), cache=keys)
    regions = [credential.split("/")[2] for credential in keys.with_halves]
    assert regions == (["eu-west-2", "eu-west-3"] if core.found(core.NATIVE).compiled else [])
