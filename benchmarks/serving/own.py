"""Kedge itself as rows of the benchmark: a worker alone, and a whole server with or without signatures."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import joblib
from botocore.config import Config

from benchmarks.serving import works
from benchmarks.serving.load import environment
from benchmarks.serving.prepared import Signer
from kedge.serving.worker import WorkerSpec

ECHO = """
import orjson

KEDGE_JOINABLE = True


def model_fn(model_dir):
    return None


def input_fn(body, content_type):
    return orjson.loads(body)


def predict_fn(data, model):
    return data


def output_fn(prediction, accept):
    return orjson.dumps(prediction), "application/json"
"""
"""Parses and writes as the Granian app does."""
GBDT_ENVIRONMENT = {"KEDGE_PREDICT_METHOD": "predict_proba", "KEDGE_JOINABLE": "true", "OMP_NUM_THREADS": "1"}
"""The other servers answer with probabilities too, and have one thread; trees look at each row by itself."""
_READY_S = 60.0
_COMPILED_S = 300.0
"""Compiling has the lowest priority there is: it stands still while others use the machine."""


@dataclass(frozen=True)
class Artifact:
    """What is put in service under the name of a model, of which several works may make use."""

    files: Mapping[str, bytes]
    image: str
    runtime: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def unpack(self, folder: Path) -> Path:
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder

    def archive(self) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, data in self.files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return out.getvalue()


def artifact(model: str) -> Artifact:
    """model: echo or gbdt."""
    if model == "echo":
        return Artifact({"code/inference.py": ECHO.encode()}, "kedge/script", "script")
    out = io.BytesIO()
    joblib.dump(works.model(), out)
    return Artifact({"model.joblib": out.getvalue()}, "kedge/sklearn", "sklearn", GBDT_ENVIRONMENT)


def model_of(work: str) -> str:
    return "echo" if work == "echo" else "gbdt"


@dataclass(frozen=True)
class Setup:
    """Which Kedge: two of them are compared by the paired mode."""

    source: str = ""
    """Folder of a checkout; empty: this one."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """KEDGE_ variables."""
    model_environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the models."""
    signed: bool = True
    """False: with --insecure-no-auth."""

    def environment(self) -> dict[str, str]:
        where = {"PYTHONPATH": str(Path(self.source).resolve() / "src")} if self.source else {}
        return environment(**where, **self.settings)


class Worker:
    """One worker process with one model. `root` is its process, `socket` where it takes frames, `id` its instance's."""

    def __init__(self, model: str, setup: Setup, number: int = 0) -> None:
        self.id = f"benchmark-{number}"
        self._folder = tempfile.TemporaryDirectory(prefix="kedge-bench-")
        folder = Path(self._folder.name)
        what = artifact(model)
        self.socket = folder / "worker.sock"
        spec = WorkerSpec(
            id=self.id,
            runtime=what.runtime,
            artifact_dir=str(what.unpack(folder / "artifact")),
            socket=str(self.socket),
            state_file=str(folder / "state.json"),
            work_dir=str(folder / "work"),
            environment={**what.environment, **setup.model_environment},
        )
        spec_in, spec_out = os.pipe()
        status_in, status_out = os.pipe()
        command = [sys.executable, "-m", "kedge.serving.worker"]
        command += ["--spec-fd", str(spec_in), "--status-fd", str(status_out)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, pass_fds=(spec_in, status_out), stdout=log, stderr=log, env=setup.environment()
            )
        os.close(spec_in)
        os.close(status_out)
        os.write(spec_out, spec.as_json().encode())
        os.close(spec_out)
        self.root = self._process.pid
        try:
            if b'"ready"' not in (said := _line(status_in)):
                raise RuntimeError(f"the worker said {said!r}: {(folder / 'log').read_text()[-2000:]}")
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(status_in)

    def stop(self) -> None:
        end(self._process)
        self._folder.cleanup()


class Server:
    """`kedge up` on free ports with state of its own. `deploy` puts models in service."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        command = [sys.executable, "-m", "kedge", "up", "--ephemeral", "--api-port", "0", "--inference-port", "0"]
        self._process = subprocess.Popen(
            [*command, "--until-stdin-closes", "--json", *([] if setup.signed else ["--insecure-no-auth"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=setup.environment(),
            start_new_session=True,
        )
        self.root = self._process.pid
        assert self._process.stdout is not None
        try:
            self.ready: dict[str, Any] = json.loads(_line(self._process.stdout.fileno()) or b"{}")
            if not self.ready:
                self._log.seek(0)
                raise RuntimeError(f"kedge up ended: {self._log.read().decode(errors='replace')[-2000:]}")
        except BaseException:
            self.stop()
            raise
        self.port = int(self.ready["inference_url"].rstrip("/").rpartition(":")[2])

    @property
    def signer(self) -> Signer | None:
        ready = self.ready
        if not self._setup.signed:
            return None
        return Signer(ready["access_key_id"], ready["secret_access_key"], ready["region"])

    def client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]  # the published types know each service by a literal
            endpoint_url=self.ready["inference_url" if service == "sagemaker-runtime" else "api_url"],
            region_name=self.ready["region"],
            aws_access_key_id=self.ready["access_key_id"],
            aws_secret_access_key=self.ready["secret_access_key"],
            config=Config(retries={"total_max_attempts": 1}),
        )

    def deploy(self, name: str, what: Artifact, instances: int = 1) -> None:
        """Endpoint `name` answers with this model once this returns, compiled where that is what it will be."""
        sagemaker, bucket = self.client("sagemaker"), f"sagemaker-{self.ready['region']}-{self.ready['account']}"
        self.client("s3").put_object(Bucket=bucket, Key=f"{name}.tar.gz", Body=what.archive())
        environment = {**what.environment, **self._setup.model_environment}
        container = {"Image": what.image, "ModelDataUrl": f"s3://{bucket}/{name}.tar.gz"}
        sagemaker.create_model(ModelName=name, PrimaryContainer={**container, "Environment": environment})
        variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.t3.medium"}
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": instances}]
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        deadline = time.monotonic() + _READY_S
        while (found := sagemaker.describe_endpoint(EndpointName=name))["EndpointStatus"] != "InService":
            if found["EndpointStatus"] == "Failed" or time.monotonic() > deadline:
                raise RuntimeError(f"{name} is {found['EndpointStatus']}: {found.get('FailureReason', '')}")
            time.sleep(0.05)
        deadline = time.monotonic() + _COMPILED_S
        # Of a script nothing is said, as it is never compiled.
        while what.runtime != "script" and ":" not in _resolved_image(sagemaker.describe_endpoint(EndpointName=name)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} is still being compiled after {_COMPILED_S:.0f} s; is the machine busy?")
            time.sleep(0.2)

    def stop(self) -> None:
        end(self._process)
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()


def _resolved_image(endpoint: Any) -> str:
    """Its tag says what all of the instances serve, once that is settled: docs/compiled.md."""
    return str(endpoint["ProductionVariants"][0]["DeployedImages"][0]["ResolvedImage"])


def _line(descriptor: int) -> bytes:
    """One line of a pipe; nothing when it ended or said nothing for long."""
    line, deadline = b"", time.monotonic() + _READY_S
    while not line.endswith(b"\n"):
        if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return b""
        part = os.read(descriptor, 65536)
        if not part:
            return b""
        line += part
    return line


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
