"""The router as a process of its own, as the supervisor starts it, driven by an unmodified boto3."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kedge import core
from kedge.clock import SystemClock
from kedge.config import Settings
from kedge.home import open_home
from kedge.identity.keys import KeyRing
from kedge.serving import kept
from kedge.serving import table as tables
from kedge.serving.passthrough import Passthrough
from kedge.serving.push import TablePush
from kedge.serving.table import Variant
from tests.serving.peers import ACCOUNT, KEY, REGION, Client, Worker, endpoint, never, request, table, until

SEAL_KEY = "5e" * 32


@pytest.fixture
def home(tmp_path, monkeypatch):
    # The path of a Unix socket has 108 bytes at most; a test's own folder may take most of them.
    with tempfile.TemporaryDirectory(prefix="kedge-") as run:
        monkeypatch.setenv("KEDGE_RUN_DIR", run)
        yield open_home(Settings(data_dir=tmp_path / "data"))


@pytest.fixture
async def worker(home):
    socket = home.instance_socket("i-1")
    socket.parent.mkdir(exist_ok=True)
    worker = await Worker("i-1", socket).start()
    yield worker
    await worker.close()


def signed(worker: Worker, version: int = 1, **options):
    variants = Variant("AllTraffic", 1.0, (worker.instance,))
    return table(endpoint(variants), version=version, auth_required=True, seal_key=SEAL_KEY, **options)


def put(home, first) -> None:
    home.routing_file.write_bytes(tables.encode(first))


class Process:
    def __init__(self, home, number: int, **settings) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        environment = {**os.environ, **Settings(data_dir=home.path, **settings).as_environment(), "KEDGE_TASK_ID": "r"}
        self.child = subprocess.Popen(
            [
                *(sys.executable, "-m", "kedge.serving.router"),
                *("--listen", str(self.listener.fileno()), "--number", str(number)),
            ],
            env=environment,
            pass_fds=[self.listener.fileno()],
            stderr=subprocess.PIPE,
        )

    async def ended(self) -> int:
        return await asyncio.to_thread(self.child.wait, 10)


@asynccontextmanager
async def router(home, number: int = 0, **settings):
    process = Process(home, number, **settings)
    try:
        yield process
    finally:
        process.child.kill()
        await process.ended()
        process.child.stderr.close()
        process.listener.close()
        kept.rescue(home.reports / str(number))  # what it has counted outlives it, and no router comes after it


def runtime(port: int, key: str = KEY.access_key_id, secret: str = KEY.secret, token: str | None = None, **options):
    options = {"region_name": REGION, "endpoint_url": f"http://127.0.0.1:{port}", **options}
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10)
    return boto3.client(
        "sagemaker-runtime",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=config,
        **options,
    )


async def invoke(client, **options):
    options = {"EndpointName": "an-endpoint", "Body": b"[1]", **options}
    answer = await asyncio.to_thread(lambda: client.invoke_endpoint(**options))
    return answer, answer["Body"].read()


async def test_an_unmodified_boto3(home, worker):
    put(home, signed(worker))
    async with router(home) as process:
        client = runtime(process.port)
        answer, body = await invoke(
            client,
            Body=b"1,2,3",
            ContentType="text/csv",
            Accept="application/json",
            CustomAttributes="who=me; what=a test",
            InferenceId="an id",
            TargetVariant="AllTraffic",
        )
        assert body == b"1,2,3"
        assert answer["ContentType"] == "application/json"
        assert answer["InvokedProductionVariant"] == "AllTraffic"
        assert answer["ResponseMetadata"]["RequestId"] == worker.calls[0].head["request_id"]
        assert worker.calls[0].head["custom_attributes"] == "who=me; what=a test"

        worker.serve = lambda call: call.error(500, "boom")
        with pytest.raises(client.exceptions.ModelError) as raised:
            await invoke(client)
        said = raised.value.response
        assert said["OriginalStatusCode"] == 500
        assert said["OriginalMessage"] == "boom"
        assert said["LogStreamArn"].startswith(f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:")
        assert 'Received server error (500) from primary with message "boom".' in said["Error"]["Message"]

        with pytest.raises(client.exceptions.ValidationError, match=f"Endpoint other of account {ACCOUNT} not found."):
            await invoke(client, EndpointName="other")
        too_large = b"x" * (26_214_400 + 1)
        with pytest.raises(ClientError, match="HTTP content length exceeded 26214400 bytes") as raised:
            await invoke(client, Body=too_large)
        assert raised.value.response["Error"]["Code"] == "413"
        worker.serve = type(worker).serve
        assert (await invoke(client, Body=too_large[:-1]))[1] == too_large[:-1]


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        ({"secret": "another"}, "InvalidSignatureException", 403),
        ({"key": "AKIANOBODYNOBODYNOBO"}, "UnrecognizedClientException", 400),
        ({"token": "no-token"}, "UnrecognizedClientException", 400),
    ],
)
async def test_who_may_not(home, worker, options, code, status):
    put(home, signed(worker))
    async with router(home) as process:
        with pytest.raises(ClientError) as raised:
            await invoke(runtime(process.port, **options))
        assert raised.value.response["Error"]["Code"] == code
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == status

        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        answer = await Client(reader, writer).send(request())
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "MissingAuthenticationTokenException")
        writer.close()
    assert not worker.calls


async def test_a_session_token_that_only_the_table_opens(home, worker):
    put(home, signed(worker))
    now = SystemClock().now()
    ring = KeyRing([], bytes.fromhex(SEAL_KEY))
    root = f"arn:aws:iam::{ACCOUNT}:root"
    key, secret, token = ring.seal(ACCOUNT, root, ACCOUNT, now.replace(year=now.year + 1))
    old_key, old_secret, old_token = ring.seal(ACCOUNT, root, ACCOUNT, now.replace(year=now.year - 1))
    async with router(home) as process:
        assert (await invoke(runtime(process.port, key, secret, token)))[1] == b"[1]"
        with pytest.raises(ClientError) as raised:
            await invoke(runtime(process.port, old_key, old_secret, old_token))
        assert raised.value.response["Error"]["Code"] == "ExpiredTokenException"


async def test_another_region_is_another_endpoint(home, worker):
    put(home, signed(worker))
    async with router(home) as process:
        with pytest.raises(ClientError, match="not found"):
            await invoke(runtime(process.port, region_name="us-east-1"))


async def test_tables_come_by_push(home, worker):
    pusher = TablePush(home.control_socket)
    await pusher.start()
    async with router(home) as process:
        await pusher.publish(signed(worker, version=3))
        await until(lambda: pusher.routers)
        await pusher.publish(signed(worker, version=4))
        assert (await invoke(runtime(process.port)))[1] == b"[1]"
        health = await get(process.port, "/kedge/health")
        assert {**health, "pid": 0, "connections": 0, "reports_waiting": 0} == {
            "role": "router",
            "number": 0,
            "pid": 0,
            "table_version": 4,
            "endpoints": 1,
            "healthy_instances": 1,
            "connections": 0,
            "reports_waiting": 0,
            "reports_dropped": 0,
            "core": core.found().name,
            "capture": {"connected": False, "queued_bytes": 0, "taken": 0, "dropped": 0},
        }
        # Killed and started again while control is away, it serves what it had accepted.
        file = home.routing_file
        await until(lambda: file.exists() and tables.decode(file.read_bytes()).version == 4)
        await pusher.stop()
        process.child.kill()
        await process.ended()
    async with router(home) as process:
        assert (await invoke(runtime(process.port)))[1] == b"[1]"


async def get(port: int, path: str):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = await Client(reader, writer).send(f"GET {path} HTTP/1.1\r\nhost: here\r\n\r\n".encode())
    writer.close()
    assert answer.status == 200
    return answer.json()


async def test_sigterm_finishes_what_is_in_flight(home, worker):
    worker.serve = never
    put(home, table(*signed(worker).endpoints))
    async with router(home) as process:
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        client = Client(reader, writer)
        writer.write(request(b"[1]"))
        await until(lambda: worker.calls)
        process.child.send_signal(signal.SIGTERM)
        # Who is next waits in the listener's queue for the router after this one.
        await until(lambda: not home.router_socket(0).exists() or refuses(home.router_socket(0)))
        worker.calls[0].answer()
        answer = await client.answer()
        assert (answer.body, answer.headers["connection"]) == (b"[1]", "close")
        assert await process.ended() == 0
        assert b"Traceback" not in process.child.stderr.read()
        writer.close()


def refuses(path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return True
    return False


async def test_a_connection_made_while_a_router_restarts_waits(home, worker):
    put(home, table(*signed(worker).endpoints))
    async with router(home) as process:
        await get(process.port, "/ping")
        process.child.kill()
        await process.ended()
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(request(b"[1]"))
        command = process.child.args
        child = await asyncio.to_thread(
            subprocess.Popen,
            command,
            env={**os.environ, **Settings(data_dir=home.path).as_environment()},
            pass_fds=[process.listener.fileno()],
        )
        try:
            assert (await Client(reader, writer).answer()).body == b"[1]"
        finally:
            child.terminate()
            assert await asyncio.to_thread(child.wait, 10) == 0
            writer.close()


async def test_tls(home, worker, tmp_path):
    put(home, signed(worker))
    certificate, key = self_signed(tmp_path)
    async with router(home, tls_cert=str(certificate), tls_key=str(key), tls=True) as process:
        client = runtime(process.port, endpoint_url=f"https://127.0.0.1:{process.port}", verify=str(certificate))
        body = b"x" * 3_000_000
        assert (await invoke(client, Body=body))[1] == body


async def test_tls_without_a_certificate(home):
    async with router(home, tls=True) as process:
        assert await process.ended() == 1
        said = process.child.stderr.read().decode()
        assert said.startswith("The router cannot start: ")
        assert "Traceback" not in said


def self_signed(folder):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    key = ec.generate_private_key(ec.SECP256R1())
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "server.key").write_bytes(private)
    return folder / "server.pem", folder / "server.key"


# Through the API port.


class Api:
    """What the ASGI server of control does with an application."""

    def __init__(self, raw_path: bytes, headers: list[tuple[bytes, bytes]], parts: list[bytes]) -> None:
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": raw_path.decode(),
            "raw_path": raw_path,
            "query_string": b"",
            "headers": headers,
        }
        self.parts = list(parts)
        self.gone = asyncio.Event()
        self.sent = []

    async def receive(self):
        if not self.parts:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        part = self.parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self.parts)}

    async def send(self, event) -> None:
        self.sent.append(event)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(event["body"] for event in self.sent[1:])


PATH = b"/endpoints/an-endpoint/invocations"


async def test_passthrough(home, worker):
    put(home, table(*signed(worker).endpoints))
    application = Passthrough([home.router_socket(0), home.router_socket(1)])
    async with router(home) as process:
        await get(process.port, "/ping")
        body = bytes(range(256)) * 4000
        parts = [body[n : n + 65536] for n in range(0, len(body), 65536)]
        for headers in (
            [(b"host", b"api:1"), (b"content-length", b"%d" % len(body)), (b"content-type", b"a/b")],
            [(b"host", b"api:1"), (b"transfer-encoding", b"chunked"), (b"content-type", b"a/b")],
        ):
            api = Api(PATH, headers, parts)
            await application(api.scope, api.receive, api.send)
            assert (api.status, api.body) == (200, body)
            assert api.headers[b"x-amzn-invoked-production-variant"] == b"AllTraffic"
            assert worker.calls[-1].head["content_type"] == "a/b"
        api = Api(b"/endpoints/other/invocations", [(b"host", b"a"), (b"content-length", b"0")], [b""])
        await application(api.scope, api.receive, api.send)
        assert api.status == 400
        assert api.headers[b"x-amzn-errortype"] == b"ValidationError"


async def test_passthrough_when_the_client_goes(home, worker):
    worker.serve = never
    put(home, table(*signed(worker).endpoints))
    async with router(home) as process:
        await get(process.port, "/ping")
        api = Api(PATH, [(b"host", b"a"), (b"content-length", b"3")], [b"[1]"])
        passing = asyncio.create_task(
            Passthrough([home.router_socket(0)])(api.scope, api.receive, api.send)  # type: ignore[arg-type]
        )
        await until(lambda: worker.calls)
        api.gone.set()
        await passing
        await until(lambda: worker.calls[0].cancelled)


async def test_passthrough_without_a_router(home):
    api = Api(PATH, [(b"host", b"a"), (b"content-length", b"0")], [b""])
    await Passthrough([home.router_socket(0)])(api.scope, api.receive, api.send)
    assert api.status == 503
    assert api.headers[b"x-amzn-errortype"] == b"ServiceUnavailable"
    assert b"No router is up" in json.loads(api.body)["Message"].encode()


def test_a_router_imports_nothing_heavy():
    code = (
        "import sys, kedge.serving.router\n"
        "heavy = {'botocore', 'boto3', 'sqlalchemy', 'numpy', 'sklearn', 'uvicorn', 'cryptography', 'click'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
