"""A server that outlives its parts: started, killed piece by piece, and ended by id."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from kedge.node.report import status as node_status

START_S = 30.0
NO_RETRY = Config(retries={"total_max_attempts": 1}, read_timeout=20, connect_timeout=5)


def until(condition: Callable[[], Any], timeout_s: float = 15.0, what: str = "the condition") -> Any:
    """The first true value of `condition`; fails after timeout_s."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if found := condition():
                return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {timeout_s} s")


@dataclass
class Server:
    data: Path
    flags: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    """A command that runs the server's."""
    ready: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def up(self) -> Server:
        ports = [str(p) for p in (self.ready.get("api_port", 0), self.ready.get("inference_port", 0))]
        self.process = subprocess.Popen(
            [
                *(*self.prefix, sys.executable, "-m", "kedge", "up", "--json", "--data", str(self.data)),
                *("--api-port", ports[0], "--inference-port", ports[1], *self.flags),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        line = b""
        timer = threading.Timer(START_S, self.process.kill)
        timer.start()
        try:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise AssertionError(f"no ready line: {self.process.communicate()[1].decode()}")
        self.ready = json.loads(line)
        for name in ("api", "inference"):
            self.ready[f"{name}_port"] = int(self.ready[f"{name}_url"].rpartition(":")[2].strip("/"))
        return self

    def down(self) -> None:
        subprocess.run(
            [sys.executable, "-m", "kedge", "down", "--data", str(self.data)],
            check=False,
            timeout=60,
            capture_output=True,
        )
        self.reap()

    def reap(self) -> None:
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(40)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
            self.process = None

    def status(self) -> dict[str, Any]:
        """As `kedge status --json` says it, which costs a process more: many of these tests wait for what it says."""
        return node_status(self.data)

    def pids(self, role: str) -> list[int]:
        """Process ids of "supervisor", "control", "router", "forkserver" or "instance"."""
        status = self.status()
        if role == "instance":
            return [each["pid"] for each in status["instances"] if each["pid"]]
        return [each["pid"] for each in status["roles"] if each["role"] == role and each["pid"]]

    def kill(self, role: str) -> list[int]:
        """SIGKILL; returns the ids that were ended."""
        pids = self.pids(role)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pids

    def kill_everything(self) -> None:
        status = self.status()
        pids = [each["pid"] for each in (*status["roles"], *status["instances"]) if each["pid"]]
        # The supervisor first, or it would bring back what dies.
        supervisor = [each["pid"] for each in status["roles"] if each["role"] == "supervisor"]
        for pid in [*supervisor, *pids]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.reap()

    def client(self, service: str, config: Config = NO_RETRY, **options: Any) -> Any:
        url = self.ready["inference_url" if service == "sagemaker-runtime" else "api_url"]
        return boto3.client(
            service,
            endpoint_url=url,
            region_name=self.ready["region"],
            aws_access_key_id=self.ready["access_key_id"],
            aws_secret_access_key=self.ready["secret_access_key"],
            config=config,
            **options,
        )

    @property
    def bucket(self) -> str:
        return f"sagemaker-{self.ready['region']}-{self.ready['account']}"

    def endpoint(self, name: str, *, instances: int = 1, start: int = 0) -> None:
        """A model that answers its input plus `start`, in service."""
        key = f"models/{name}-{start}.tar.gz"
        self.client("s3").put_object(Bucket=self.bucket, Key=key, Body=adding_model(start))
        sagemaker = self.client("sagemaker")
        full = f"{name}-{start}"
        sagemaker.create_model(
            ModelName=full,
            ExecutionRoleArn=f"arn:aws:iam::{self.ready['account']}:role/kedge-execution-role",
            PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{self.bucket}/{key}"},
        )
        sagemaker.create_endpoint_config(EndpointConfigName=full, ProductionVariants=[variant(full, instances)])
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=full)
        sagemaker.get_waiter("endpoint_in_service").wait(
            EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )


def variant(model: str, instances: int = 1) -> dict[str, Any]:
    return {
        "VariantName": "AllTraffic",
        "ModelName": model,
        "InitialInstanceCount": instances,
        "InstanceType": "ml.t3.medium",
    }


SCRIPT = """
import json
def model_fn(model_dir):
    return int(open(model_dir + "/start").read())
def transform_fn(model, body, content_type, accept):
    return json.dumps(json.loads(body) + model), "application/json"
"""


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def adding_model(start: int) -> bytes:
    return archive({"start": str(start).encode(), "code/inference.py": SCRIPT.encode()})


def pickled(model: Any) -> bytes:
    return archive({"model.pkl": pickle.dumps(model)})


@dataclass
class Load:
    """Clients that ask at a steady rate, check each answer and never retry."""

    server: Server
    endpoint: str
    rate_per_s: float = 200.0
    threads: int = 8
    adds: int = 0
    """What the endpoint's model adds to its input."""
    answers: int = 0
    errors: list[str] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._workers = [threading.Thread(target=self._ask, args=(n,)) for n in range(self.threads)]
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for worker in self._workers:
            worker.join(60)

    def _ask(self, number: int) -> None:
        runtime = self.server.client("sagemaker-runtime")
        pause_s = self.threads / self.rate_per_s
        due = time.monotonic() + number * pause_s / self.threads
        value = number
        while not self._end.wait(max(0.0, due - time.monotonic())):
            due += pause_s
            value += self.threads
            try:
                answer = runtime.invoke_endpoint(
                    EndpointName=self.endpoint, ContentType="application/json", Body=str(value)
                )
                got = answer["Body"].read()
                problem = "" if got == str(value + self.adds).encode() else f"{value} was answered {got!r}"
            except Exception as error:  # noqa: BLE001 (every failure a client can see is one)
                problem = repr(error)
            with self._lock:
                self.answers += 1
                if problem:
                    self.errors.append(problem)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "data").up()
    try:
        yield started
    finally:
        started.down()
