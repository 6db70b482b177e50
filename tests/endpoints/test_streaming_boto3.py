"""Answers that come part by part: boto3 against a running server, with scripts and servers that stream."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from kedge.testing import Kedge

SCRIPT = """
import json, os, time

def model_fn(model_dir):
    return None

def until(name):
    while not os.path.exists(name):
        time.sleep(0.005)

def parts(asked, context):
    context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "set=late")
    try:
        for number in range(asked.get("parts", 3)):
            if number == asked.get("raise_at"):
                raise ValueError("no more")
            if number == asked.get("die_at"):
                os._exit(9)
            if number == asked.get("wait_at"):
                until(asked["file"])
            yield f"part {number};" if "size" not in asked else b"x" * asked["size"]
            with open("given", "w") as file:
                file.write(str(number + 1))
    finally:
        open("closed", "a").close()

def transform_fn(model, body, content_type, accept, context):
    asked = json.loads(body)
    if "cwd" in asked:
        return os.getcwd(), "text/plain"
    if "whole" in asked:
        return "w" * asked["whole"], "text/plain"
    return parts(asked, context), accept
"""
SERVE = """#!/usr/bin/env python
import json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", "own=server")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(asked.get("parts", 3)):
            if number == asked.get("raise_at"):
                self.close_connection = True
                return
            while number == asked.get("wait_at") and not os.path.exists(asked["file"]):
                time.sleep(0.005)
            part = f"part {number};".encode() if "size" not in asked else b"x" * asked["size"]
            self.wfile.write(b"%x\\r\\n%s\\r\\n" % (len(part), part))
            self.wfile.flush()
        self.wfile.write(b"0\\r\\n\\r\\n")

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


def archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o755
            packed.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Streaming:
    def __init__(self, kedge: Kedge) -> None:
        self.kedge = kedge
        self.sagemaker, self.s3 = kedge.client("sagemaker"), kedge.client("s3")
        once = Config(retries={"total_max_attempts": 1}, read_timeout=30)
        self.runtime = kedge.client("sagemaker-runtime", config=once)
        self.by_api = kedge.client("sagemaker-runtime", config=once, endpoint_url=kedge.api_url)

    def container(self, key: str, files: dict[str, str], image: str) -> dict[str, Any]:
        self.s3.put_object(Bucket=self.kedge.bucket, Key=key, Body=archive(files))
        return {"Image": image, "ModelDataUrl": f"s3://{self.kedge.bucket}/{key}"}

    def deploy(self, name: str, *containers: dict[str, Any], count: int = 1, **config: Any) -> None:
        model = {"PrimaryContainer": containers[0]} if len(containers) == 1 else {"Containers": list(containers)}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=self.kedge.role_arn, **model)
        variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": count, "InstanceType": "ml.t2.medium"}
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **config)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        self.sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def ask(self, name: str, client: Any = None, **asked: Any) -> dict[str, Any]:
        found: dict[str, Any] = (client or self.runtime).invoke_endpoint_with_response_stream(
            EndpointName=name, Body=json.dumps(asked), ContentType="application/json", Accept="text/plain"
        )
        return found

    def whole(self, name: str, **asked: Any) -> bytes:
        answer = self.runtime.invoke_endpoint(
            EndpointName=name, Body=json.dumps(asked), ContentType="application/json", Accept="text/plain"
        )
        found: bytes = answer["Body"].read()
        return found

    def folder(self) -> Path:
        """In which the script's instance works."""
        return Path(self.whole("script", cwd=1).decode())


def parts(answer: dict[str, Any]) -> Generator[bytes, None, None]:
    try:
        for event in answer["Body"]:
            yield event["PayloadPart"]["Bytes"]
    finally:
        answer["Body"].close()


@pytest.fixture(scope="module")
def streaming(kedge_server: Kedge) -> Streaming:
    kedge_server.reset()
    found = Streaming(kedge_server)
    script = found.container("script.tar.gz", {"code/inference.py": SCRIPT}, "kedge/script")
    found.deploy("script", script)
    found.deploy("server", found.container("server.tar.gz", {"code/serve": SERVE}, "kedge/server"))
    return found


@pytest.mark.parametrize("by", ["router", "api"])
def test_a_script_that_yields(streaming: Streaming, by: str):
    answer = streaming.ask("script", streaming.by_api if by == "api" else None)
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("text/plain", "v")
    assert answer["CustomAttributes"] == "set=late"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-type"] == "application/vnd.amazon.eventstream"
    assert list(parts(answer)) == [b"part 0;", b"part 1;", b"part 2;"]


@pytest.mark.parametrize("by", ["router", "api"])
def test_a_part_leaves_when_the_model_gives_it(streaming: Streaming, by: str):
    go = streaming.folder() / f"go-{by}"
    answer = streaming.ask("script", streaming.by_api if by == "api" else None, wait_at=1, file=str(go))
    found = parts(answer)
    assert next(found) == b"part 0;"  # while the model waits for this test
    go.touch()
    assert list(found) == [b"part 1;", b"part 2;"]


def test_a_server_that_streams(streaming: Streaming, tmp_path: Path):
    answer = streaming.ask("server")
    assert (answer["ContentType"], answer["CustomAttributes"]) == ("text/event-stream", "own=server")
    assert b"".join(parts(answer)) == b"part 0;part 1;part 2;"
    assert streaming.whole("server") == b"part 0;part 1;part 2;"


def test_a_server_that_breaks_off(streaming: Streaming):
    answer = streaming.ask("server", raise_at=2)
    seen = []
    with pytest.raises(EventStreamError, match=r"ModelStreamError.*closed the connection"):
        seen += parts(answer)
    with pytest.raises(ClientError, match="closed the connection") as refusal:
        streaming.whole("server", raise_at=2)
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424


def test_an_error_on_the_way_and_one_before(streaming: Streaming):
    answer = streaming.ask("script", raise_at=2)
    found = parts(answer)
    assert [next(found), next(found)] == [b"part 0;", b"part 1;"]
    with pytest.raises(EventStreamError, match=r"ModelStreamError.*ValueError: no more"):
        next(found)
    for call in (streaming.ask, streaming.whole):
        with pytest.raises(ClientError, match="ValueError: no more") as refusal:
            call("script", raise_at=0)
        assert refusal.value.response["Error"]["Code"] == "ModelError"
        assert refusal.value.response["OriginalStatusCode"] == 500
    with pytest.raises(ClientError, match="ValueError: no more"):
        streaming.whole("script", raise_at=2)
    assert streaming.whole("script") == b"part 0;part 1;part 2;"


def test_a_model_that_does_not_stream(streaming: Streaming):
    assert list(parts(streaming.ask("script", whole=1000))) == [b"w" * 1000]
    found = list(parts(streaming.ask("script", whole=700_000)))
    assert (b"".join(found), len(found)) == (b"w" * 700_000, 3)
    assert list(parts(streaming.ask("script", parts=0))) == []
    assert streaming.whole("script", parts=0) == b""


def test_what_is_refused(streaming: Streaming):
    with pytest.raises(ClientError, match="not found") as refusal:
        streaming.ask("nobody")
    assert refusal.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match="NEW_SESSION") as refusal:
        streaming.runtime.invoke_endpoint_with_response_stream(
            EndpointName="script", Body=b"{}", SessionId="NEW_SESSION"
        )
    assert refusal.value.response["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize("by", ["router", "api"])
def test_a_slow_reader_holds_the_model_not_the_memory(streaming: Streaming, by: str):
    folder = streaming.folder()
    answer = streaming.ask("script", streaming.by_api if by == "api" else None, parts=64, size=1 << 20)
    found = parts(answer)
    first = next(found)
    given = steady(folder / "given")
    assert given < 32  # MiB: a window, and what the kernel takes
    assert len(first) + sum(map(len, found)) == 64 << 20
    assert int((folder / "given").read_text()) == 64


def steady(file: Path) -> int:
    """What it says once it has said it for a while."""
    said, since = "", time.monotonic()
    while time.monotonic() - since < 0.3:
        now = file.read_text()
        if now != said:
            said, since = now, time.monotonic()
        time.sleep(0.01)
    return int(said or 0)


@pytest.mark.parametrize("size", [1000, 1 << 20])
def test_a_client_that_hangs_up(streaming: Streaming, size: int):
    closed = streaming.folder() / "closed"
    closed.unlink(missing_ok=True)
    answer = streaming.ask("script", parts=10**9, size=size)
    found = parts(answer)
    next(found)
    found.close()
    until(closed.exists)
    assert streaming.whole("script") == b"part 0;part 1;part 2;"


def test_an_instance_that_is_lost(streaming: Streaming):
    answer = streaming.ask("script", die_at=2)
    with pytest.raises(EventStreamError, match=r"ModelStreamError.*instance ended"):
        list(parts(answer))
    # Before the first part it is an answer like any other: tried again, and given up when it was the cause twice.
    with pytest.raises(ClientError, match="ended twice before it answered"):
        streaming.ask("script", die_at=0)
    assert streaming.whole("script") == b"part 0;part 1;part 2;"


def test_nobody_waits_behind_a_stream_while_another_instance_is_free(streaming: Streaming):
    script = streaming.container("script.tar.gz", {"code/inference.py": SCRIPT}, "kedge/script")
    streaming.deploy("two", script, count=2)
    go = streaming.folder() / "never"
    answers = [streaming.ask("two", wait_at=1, file=str(go))]
    found = parts(answers[0])
    next(found)
    began_s = time.monotonic()
    for _ in range(6):  # by chance half of them come to the instance that streams
        assert streaming.whole("two") == b"part 0;part 1;part 2;"
    assert time.monotonic() - began_s < 20, "less than the time-out"
    found.close()


def test_a_pipeline_whose_last_container_streams(streaming: Streaming):
    first = 'def model_fn(d): pass\ndef transform_fn(m, body, kind, accept): return "{}", "application/json"'
    streaming.deploy(
        "chain",
        streaming.container("first.tar.gz", {"code/inference.py": first}, "kedge/script"),
        streaming.container("last.tar.gz", {"code/inference.py": SCRIPT}, "kedge/script"),
    )
    assert list(parts(streaming.ask("chain"))) == [b"part 0;", b"part 1;", b"part 2;"]
    assert streaming.whole("chain") == b"part 0;part 1;part 2;"


def until(condition: Any, timeout_s: float = 10.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)
