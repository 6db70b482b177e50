"""Real boto3 against a gateway with toy operations, over a real server on a free port."""

import asyncio
import gzip
import hashlib
import http.client
import io
import json
import logging
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError

from kedge.errors import (
    ModelError,
    ResourceNotFound,
    SerializationFailed,
    ServiceError,
    SignatureMismatch,
    ValidationFailed,
)
from kedge.identity.records import AccessKey, Caller
from kedge.wire import sigv4
from kedge.wire.asgi import Limits, unzipped
from kedge.wire.connection import BoundedHttp
from kedge.wire.gateway import Gateway
from kedge.wire.http import Request, Response
from kedge.wire.models import Models, Target

KEY = AccessKey(
    "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "123456789012", "arn:aws:iam::123456789012:root", "123456789012"
)
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:model/m"
SERVICES = ["sagemaker", "sagemaker-runtime", "s3", "sts", "iam"]


def find_key(access_key_id: str, _token: str | None) -> AccessKey:
    if access_key_id != KEY.access_key_id:
        raise SignatureMismatch("no such key")
    return KEY


def authenticate(request: Request, body_sha256: str | None, target: Target) -> tuple[Caller, sigv4.Verified | None]:
    verified = sigv4.verify(
        request,
        body_sha256,
        find_key,
        datetime.now(UTC),
        service=target.signing_name,
        s3_bucket=target.bucket_in_host,
    )
    return verified.caller, verified


@dataclass(frozen=True)
class Call:
    caller: Caller
    request_id: str
    user_agent: str


class NoSuchKey(ServiceError):
    code, status = "NoSuchKey", 404


class NoSuchEntity(ServiceError):
    code, status = "NoSuchEntity", 404


class Bucket:
    """Toy objects, and what the operations saw."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.closed = threading.Event()
        self.threads: set[str] = set()

    async def put(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        whole = b"".join([piece async for piece in request["Body"]])
        self.objects[request["Key"]] = whole
        return {"ETag": f'"{hashlib.md5(whole).hexdigest()}"'}

    async def get(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        whole = self.objects.get(request["Key"])
        if whole is None:
            raise NoSuchKey("The specified key does not exist.", Key=request["Key"])
        kind = request.get("ResponseContentType", "text/plain")
        result: dict[str, Any] = {"ContentLength": len(whole), "ContentType": kind, "Metadata": {"a": "b"}}
        if "Range" in request:
            whole = whole[:4]
            result |= {"ContentRange": "bytes 0-3/9", "ContentLength": 4}
        return result | {"Body": self.pieces(whole)}

    async def pieces(self, whole: bytes) -> AsyncIterator[bytes]:
        try:
            for at in range(0, len(whole), 65536):
                yield whole[at : at + 65536]
        finally:
            self.closed.set()

    async def head(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in (await self.get(call, request)).items() if k != "Body"}

    def delete(self, call: Call, request: dict[str, Any]) -> dict[str, Any]:
        self.threads.add(threading.current_thread().name)
        keys = [item["Key"] for item in request["Delete"]["Objects"]]
        return {"Deleted": [{"Key": key} for key in keys if self.objects.pop(key, None) is not None]}


def describe_endpoint(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    name = request["EndpointName"]
    if name == "broken":
        raise RuntimeError("secret words that only the log may have")
    if name == "misspelt":
        return {"EndpointNam": name}
    if name != "here":
        raise ValidationFailed(f'Could not find endpoint "{name}".')
    when = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    arn = f"arn:aws:sagemaker:{call.caller.region}:{call.caller.account}:endpoint/{name}"
    return {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointConfigName": "c",
        "EndpointStatus": "InService",
        "CreationTime": when,
        "LastModifiedTime": when,
    }


def describe_model(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    raise ResourceNotFound("no such model")


def get_role(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    raise NoSuchEntity(f"The role with name {request['RoleName']} cannot be found. <&>")


def who_am_i(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    return {"Account": call.caller.account, "Arn": call.caller.arn, "UserId": call.user_agent}


async def invoke(call: Call, request: dict[str, Any]) -> dict[str, Any]:
    if request["Body"] == b"bad":
        raise ModelError("it failed", OriginalStatusCode=500, OriginalMessage="boom", LogStreamArn="arn:x")
    return {"Body": request["Body"][::-1], "ContentType": request.get("ContentType", "x"), "CustomAttributes": "c"}


async def health(request: Request) -> Response:
    return Response(200, {"content-type": "text/plain"}, b"ok")


async def refuse(request: Request) -> Response:
    raise ValidationFailed(f"no: {request.body!r}")


@dataclass(frozen=True)
class Server:
    port: int
    bucket: Bucket
    gateway: Gateway

    def client(self, service: str, **config: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://127.0.0.1:{self.port}",
            region_name="eu-west-1",
            aws_access_key_id=KEY.access_key_id,
            aws_secret_access_key=KEY.secret,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    bucket = Bucket()
    operations = {
        "s3.DeleteObjects": bucket.delete,
        "s3.GetObject": bucket.get,
        "s3.HeadObject": bucket.head,
        "s3.ListBuckets": lambda call, request: {},
        "s3.PutObject": bucket.put,
        "s3.GetBucketLocation": lambda call, request: {"LocationConstraint": "eu-west-1"},
        "iam.GetRole": get_role,
        "iam.ListRoles": lambda call, request: {"IsTruncated": False},
        "sagemaker-runtime.InvokeEndpoint": invoke,
        "sagemaker.CreateModel": lambda call, request: {"ModelArn": ARN},
        "sagemaker.DescribeEndpoint": describe_endpoint,
        "sagemaker.DescribeModelPackage": describe_model,
        "sagemaker.ListTags": lambda call, request: {},
        "sts.GetCallerIdentity": who_am_i,
    }
    gateway = Gateway(
        Models(SERVICES),
        operations,
        authenticate,
        Call,
        routes={("GET", "/kedge/health"): health, ("POST", "/kedge/reset"): refuse},
        limits=Limits(body_idle_s=0.5),
        strict=True,
    )
    with serving(gateway) as port:
        yield Server(port, bucket, gateway)


class serving:  # noqa: N801 - used as `with serving(app) as port`
    """A uvicorn server in a thread, stopped and joined at the end."""

    def __init__(self, app: Any) -> None:
        config = uvicorn.Config(app, http=BoundedHttp, log_config=None, lifespan="off", loop="asyncio")
        self.server = uvicorn.Server(config)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve([self.socket])))

    def __enter__(self) -> int:
        self.socket.listen()  # a connection that is made before the server is up waits
        self.thread.start()
        port: int = self.socket.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()
        assert not self.thread.is_alive()


def test_json(server: Server) -> None:
    answer = server.client("sagemaker").describe_endpoint(EndpointName="here")
    assert answer["EndpointArn"] == "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/here"
    assert answer["CreationTime"] == datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
    assert answer["ResponseMetadata"]["RequestId"] == answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]


def test_query(server: Server) -> None:
    answer = server.client("sts", user_agent="toy").get_caller_identity()
    assert (answer["Account"], answer["Arn"]) == ("123456789012", KEY.arn)
    assert answer["UserId"].startswith("toy")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_query_by_presigned_url(server: Server, method: str) -> None:
    url = server.client("sts").generate_presigned_url("get_caller_identity", HttpMethod=method)
    status, _, body = server.send(method, url.removeprefix(f"http://127.0.0.1:{server.port}"))
    assert (status, b"<Account>123456789012</Account>" in body) == (200, True)


def test_rest_json_keeps_bytes(server: Server) -> None:
    body = bytes(range(256))
    answer = server.client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=body, ContentType="image/png")
    assert (answer["Body"].read(), answer["ContentType"]) == (body[::-1], "image/png")


@pytest.mark.parametrize("size", [0, 9, 300_000])
def test_an_object_streams_both_ways(server: Server, size: int) -> None:
    s3, body = server.client("s3"), b"123456789" * (size // 9) + b"x" * (size % 9)
    s3.put_object(Bucket="bucket", Key="a//b c/ü+", Body=io.BytesIO(body))
    answer = s3.get_object(Bucket="bucket", Key="a//b c/ü+")
    assert (answer["Body"].read(), answer["ContentLength"]) == (body, len(body))
    assert (answer["Metadata"], answer["ContentType"]) == ({"a": "b"}, "text/plain")


def test_a_range_is_partial_content(server: Server) -> None:
    s3 = server.client("s3")
    s3.put_object(Bucket="bucket", Key="r", Body=b"123456789")
    answer = s3.get_object(Bucket="bucket", Key="r", Range="bytes=0-3")
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read()) == (206, b"1234")
    assert s3.head_object(Bucket="bucket", Key="r")["ContentLength"] == 9


def test_a_body_that_is_no_stream_is_read_before_its_operation(server: Server) -> None:
    s3 = server.client("s3")
    s3.put_object(Bucket="bucket", Key="d", Body=b"1")
    answer = s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "d"}, {"Key": "none"}]})
    assert answer["Deleted"] == [{"Key": "d"}]
    assert server.bucket.threads
    assert threading.main_thread().name not in server.bucket.threads


def test_a_bucket_in_the_host(server: Server) -> None:
    server.bucket.objects["v"] = b"virtual"
    url = server.client("s3", signature_version="s3v4").generate_presigned_url(
        "get_object", {"Bucket": "b", "Key": "v"}
    )
    assert server.send("GET", url[url.index("/b/v") :])[2] == b"virtual"
    status, _, body = server.send("GET", "/v", Host=f"bucket.localhost:{server.port}")
    assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)


def test_lists_are_sent_when_empty(server: Server) -> None:
    assert server.client("sagemaker").list_tags(ResourceArn=ARN)["Tags"] == []
    assert server.client("iam").list_roles()["Roles"] == []
    assert server.client("s3").list_buckets()["Buckets"] == []


def test_the_location_of_a_bucket(server: Server) -> None:
    assert server.client("s3").get_bucket_location(Bucket="b")["LocationConstraint"] == "eu-west-1"


def test_modelled_errors_are_caught_by_name(server: Server) -> None:
    sagemaker, iam, s3 = server.client("sagemaker"), server.client("iam"), server.client("s3")
    runtime = server.client("sagemaker-runtime")
    with pytest.raises(sagemaker.exceptions.ResourceNotFound, match="no such model"):
        sagemaker.describe_model_package(ModelPackageName="m")
    with pytest.raises(iam.exceptions.NoSuchEntityException, match=r"name r cannot be found\. <&>"):
        iam.get_role(RoleName="r")
    with pytest.raises(s3.exceptions.NoSuchKey) as missing:
        s3.get_object(Bucket="bucket", Key="missing")
    assert missing.value.response["Error"]["Key"] == "missing"
    with pytest.raises(runtime.exceptions.ModelError) as failed:
        runtime.invoke_endpoint(EndpointName="e", Body=b"bad")
    assert failed.value.response["OriginalStatusCode"] == 500
    assert failed.value.response["OriginalMessage"] == "boom"
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424


def test_a_head_that_fails_has_no_body(server: Server) -> None:
    with pytest.raises(ClientError) as missing:
        server.client("s3").head_object(Bucket="bucket", Key="missing")
    assert missing.value.response["Error"]["Code"] == "404"


def code_of(failure: Any) -> tuple[str, int, str]:
    response = failure.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


def test_a_violated_constraint(server: Server) -> None:
    with pytest.raises(ClientError) as refused:
        server.client("sagemaker", parameter_validation=False).create_model(ModelName="a_b")
    message = (
        "1 validation error detected: Value 'a_b' at 'modelName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: ^[a-zA-Z0-9]([\\-a-zA-Z0-9]*[a-zA-Z0-9])?"
    )
    assert code_of(refused) == ("ValidationException", 400, message)


@pytest.mark.parametrize(
    ("service", "method", "arguments", "code", "status", "named"),
    [
        ("sagemaker", "list_apps", {}, "UnknownOperationException", 400, "sagemaker.ListApps"),
        ("sts", "get_session_token", {}, "InvalidAction", 400, "sts.GetSessionToken"),
        ("s3", "get_bucket_acl", {"Bucket": "b"}, "NotImplemented", 501, "s3.GetBucketAcl"),
    ],
)
def test_what_is_not_implemented_is_named(
    server: Server, service: str, method: str, arguments: Any, code: str, status: int, named: str
) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(server.client(service), method)(**arguments)
    assert code_of(refused)[:2] == (code, status)
    assert named in code_of(refused)[2]


def renamed(name: str) -> Any:
    def rename(request: Any, **_: Any) -> None:
        if "X-Amz-Target" in request.headers:
            request.headers.replace_header("X-Amz-Target", f"SageMaker.{name}")
        else:
            request.data["Action"] = name

    return rename


@pytest.mark.parametrize(
    ("service", "method", "code"),
    [("sagemaker", "list_tags", "UnknownOperationException"), ("sts", "get_caller_identity", "InvalidAction")],
)
def test_an_operation_that_no_model_has_is_named(server: Server, service: str, method: str, code: str) -> None:
    client = server.client(service)
    client.meta.events.register("before-sign", renamed("MakeCoffee"))
    arguments = {"ResourceArn": ARN} if service == "sagemaker" else {}
    with pytest.raises(ClientError) as refused:
        getattr(client, method)(**arguments)
    assert code_of(refused)[0] == code
    assert "MakeCoffee" in code_of(refused)[2]


def test_a_wrong_signature_in_each_protocol(server: Server) -> None:
    for service, method, arguments, code in (
        ("sagemaker", "list_tags", {"ResourceArn": ARN}, "InvalidSignatureException"),
        ("sts", "get_caller_identity", {}, "SignatureDoesNotMatch"),
        ("s3", "list_buckets", {}, "SignatureDoesNotMatch"),
        ("s3", "put_object", {"Bucket": "b", "Key": "k", "Body": b"x" * 1000}, "SignatureDoesNotMatch"),
    ):
        client = server.client(service)
        client.meta.events.register("request-created", lambda request, **_: spoil(request), unique_id="last")
        with pytest.raises(ClientError) as refused:
            getattr(client, method)(**arguments)
        assert code_of(refused)[:2] == (code, 403)


def spoil(request: Any) -> None:
    authorization = request.headers["Authorization"]
    request.headers.replace_header("Authorization", authorization[:-4] + "0000")


def test_unsigned_requests_learn_nothing(server: Server) -> None:
    for operation in ("DescribeEndpoint", "MakeCoffee"):
        status, headers, body = server.send(
            "POST", "/", b"{}", X_Amz_Target=f"SageMaker.{operation}", Content_Type="application/x-amz-json-1.1"
        )
        assert (status, headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")
        assert json.loads(body)["__type"] == "MissingAuthenticationTokenException"


def test_an_exception_stays_in_the_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(ClientError) as failed:
        server.client("sagemaker").describe_endpoint(EndpointName="broken")
    code, status, message = code_of(failed)
    request_id = failed.value.response["ResponseMetadata"]["RequestId"]
    assert (code, status) == ("InternalFailure", 500)
    assert request_id in message
    assert "secret words" not in str(failed.value.response)
    assert "secret words" in caplog.text
    assert request_id in caplog.text


def test_a_result_that_does_not_fit_is_our_mistake(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(ClientError):
        server.client("sagemaker").describe_endpoint(EndpointName="misspelt")
    assert "EndpointNam is unknown" in caplog.text
    assert "EndpointArn is missing" in caplog.text


def test_plain_routes(server: Server) -> None:
    assert server.send("GET", "/kedge/health")[::2] == (200, b"ok")
    status, _, body = server.send("POST", "/kedge/reset", b"please")
    assert (status, json.loads(body)["message"]) == (400, "no: b'please'")


def test_a_body_above_the_limit(server: Server) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: SageMaker.CreateModel\r\nContent-Length: 99999999999\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"RequestEntityTooLargeException" in answer
    assert b"connection: close" in answer


def test_a_body_that_does_not_come_ends_in_a_timeout(server: Server) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: SageMaker.CreateModel\r\nContent-Length: 10\r\n\r\nabc"
        )
        answer = read_to_end(connection)
    assert b"RequestTimeoutException" in answer


def test_slow_uploads_hold_no_thread(server: Server) -> None:
    """More uploads hang than there are threads, and an operation that needs a thread is answered."""
    head = b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    hanging = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    try:
        for connection in hanging:
            connection.sendall(head)
        assert server.client("sts").get_caller_identity()["Account"] == "123456789012"
    finally:
        for connection in hanging:
            connection.close()


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def zipped(request: Any, **_: Any) -> None:
    request.data = gzip.compress(request.data)
    request.headers["Content-Encoding"] = "gzip"


def test_a_compressed_body(server: Server) -> None:
    client = server.client("sagemaker")
    client.meta.events.register("before-sign", zipped)
    assert client.describe_endpoint(EndpointName="here")["EndpointName"] == "here"


def bomb(request: Any, **_: Any) -> None:
    squeeze = zlib.compressobj(wbits=31)
    request.data = b"".join([squeeze.compress(b" " * 2**20) for _ in range(20)]) + squeeze.flush()
    request.headers["Content-Encoding"] = "gzip"


def test_a_body_that_unpacks_to_too_much(server: Server) -> None:
    client = server.client("sagemaker")
    client.meta.events.register("before-sign", bomb)
    with pytest.raises(ClientError) as refused:
        client.describe_endpoint(EndpointName="here")
    assert code_of(refused)[:2] == ("RequestEntityTooLargeException", 413)


def test_a_stream_is_closed_when_the_client_goes_away(server: Server) -> None:
    server.bucket.objects["large"] = b"x" * 50_000_000
    server.bucket.closed.clear()
    body = server.client("s3").get_object(Bucket="bucket", Key="large")["Body"]
    body.read(10)
    body.close()
    assert server.bucket.closed.wait(10)


def test_an_answer_cannot_be_given_headers_of_its_own(server: Server) -> None:
    server.bucket.objects["h"] = b"h"
    answer = server.client("s3").get_object(Bucket="b", Key="h", ResponseContentType="a\r\nX-Evil: \u0100\0")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert "x-evil" not in headers
    assert headers["content-type"].startswith("a  X-Evil: ")


def test_what_is_held_in_memory_is_bounded() -> None:
    gateway = Gateway(
        Models(["sts"]), {"sts.GetCallerIdentity": who_am_i}, authenticate, Call, limits=Limits(held_bytes=9)
    )
    with serving(gateway) as port:
        client = Server(port, Bucket(), gateway).client("sts")
        for _ in range(2):
            with pytest.raises(ClientError) as refused:
                client.get_caller_identity()
    assert code_of(refused)[0] == "Throttling"
    assert gateway._held._bytes == 0


def test_operations_that_take_long_keep_no_others_waiting() -> None:
    go_on = threading.Event()

    def slow(call: Call, request: dict[str, Any]) -> dict[str, Any]:
        assert go_on.wait(20)
        return {}

    operations = {"iam.ListUsers": slow, "sts.GetCallerIdentity": who_am_i}
    with ThreadPoolExecutor(1) as plain, ThreadPoolExecutor(1) as long, ThreadPoolExecutor(3) as clients:
        gateway = Gateway(
            Models(["iam", "sts"]), operations, authenticate, Call, executor=plain, apart={"iam.ListUsers": long}
        )
        with serving(gateway) as port:
            server = Server(port, Bucket(), gateway)
            iam, sts = server.client("iam"), server.client("sts")
            waiting = [clients.submit(iam.list_users) for _ in range(3)]
            try:
                assert sts.get_caller_identity()["Account"]
                assert not any(each.done() for each in waiting)
            finally:
                go_on.set()
            assert [each.result()["Users"] for each in waiting] == [[], [], []]


def test_gzip_in_several_members() -> None:
    assert unzipped(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 2) == b"ab"
    for body, encoding, wrong in (
        (b"plain text", "gzip", "not gzip"),
        (b"", "br", "br"),
        (gzip.compress(b"a")[:-4], "gzip", "short"),
    ):
        with pytest.raises(SerializationFailed, match=wrong):
            unzipped(body, encoding, 100)


def test_what_clients_send_at_once(server: Server) -> None:
    client = server.client("sagemaker", max_pool_connections=16)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: client.describe_endpoint(EndpointName="here"), range(100)))
    assert len({answer["ResponseMetadata"]["RequestId"] for answer in found}) == 100


def test_invocations_are_handed_on_unread() -> None:
    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-seen", scope["path"].encode())]})
        await send({"type": "http.response.body", "body": body})

    gateway = Gateway(Models(SERVICES), {}, authenticate, Call, passthrough=elsewhere)
    with serving(gateway) as port:
        server = Server(port, Bucket(), gateway)
        answer = server.client("sagemaker-runtime").invoke_endpoint(EndpointName="e", Body=b"raw")
    assert answer["Body"].read() == b"raw"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-seen"] == "/endpoints/e/invocations"


def test_too_many_requests_at_once() -> None:
    gateway = Gateway(Models(["sts"]), {}, authenticate, Call, limits=Limits(requests=0))
    with serving(gateway) as port:
        client = Server(port, Bucket(), gateway).client("sts")
        with pytest.raises(ClientError) as refused:
            client.get_caller_identity()
    assert code_of(refused)[0] == "Throttling"


def test_an_operation_that_no_model_has_cannot_be_given() -> None:
    with pytest.raises(ValueError, match=r"sts\.MakeCoffee"):
        Gateway(Models(["sts"]), {"sts.MakeCoffee": who_am_i}, authenticate, Call)
