"""A router without a control process: its routing table lies on disk, where a router looks when control is away."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.serving import own
from benchmarks.serving.own import Setup
from benchmarks.serving.prepared import Signer
from kedge.config import Settings
from kedge.home import open_home
from kedge.serving import table as tables
from kedge.serving.table import Endpoint, Instance, Key, RoutingTable, Variant

ACCOUNT, REGION = "123456789012", "us-east-1"
KEY = Key("AKIABENCHMARKBENCHMA", "no-secret-of-anybody", ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
_READY_S = 60.0
_ENDPOINTS_OF_A_WORKER = 250
"""A worker takes 256 connections, and a router makes one for each endpoint."""


def table(workers: Sequence[Instance], names: Sequence[str], *, signed: bool) -> RoutingTable:
    """Each endpoint has one variant of one instance; the instances are dealt out in turn."""
    arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint"
    variants = [(Variant("AllTraffic", 1.0, (worker,)),) for worker in workers]
    endpoints = tuple(
        Endpoint(ACCOUNT, REGION, name, f"{arn}/{name}", variants[number % len(workers)])
        for number, name in enumerate(names)
    )
    whole = RoutingTable(1, endpoints, (KEY,), seal_key="5e" * 32, default_account=ACCOUNT, default_region=REGION)
    return replace(whole, auth_required=signed)


class RouterAlone:
    """A router and as few workers as take a connection for each endpoint. `names` are its endpoints."""

    def __init__(self, model: str, setup: Setup, endpoints: int) -> None:
        self.names = [f"endpoint-{number}" for number in range(endpoints)]
        self.signer = Signer(KEY.access_key_id, KEY.secret, REGION) if setup.signed else None
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kedge-bench-")))
            workers = []
            for number in range(-(-endpoints // _ENDPOINTS_OF_A_WORKER)):
                workers.append(own.Worker(model, setup, number))
                stack.callback(workers[-1].stop)
            settings = Settings(data_dir=folder / "data")
            home = open_home(settings)
            stack.callback(shutil.rmtree, home.run, ignore_errors=True)
            instances = [Instance(worker.id, str(worker.socket)) for worker in workers]
            home.routing_file.write_bytes(tables.encode(table(instances, self.names, signed=setup.signed)))
            environment = {**setup.environment(), **settings.as_environment(), "KEDGE_TASK_ID": "router"}
            log = stack.enter_context((folder / "log").open("w+"))
            with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
                self.port = listener.getsockname()[1]
                descriptor = listener.fileno()
                command = [sys.executable, "-m", "kedge.serving.router", "--listen", str(descriptor), "--number", "0"]
                self._process = subprocess.Popen(
                    command, env=environment, pass_fds=[descriptor], stdout=log, stderr=subprocess.STDOUT
                )
            stack.callback(own.end, self._process)
            self._wait(folder / "log")
            self._stack = stack.pop_all()
        self.roots = (self._process.pid, *(worker.root for worker in workers))

    def stop(self) -> None:
        self._stack.close()

    def _wait(self, log: Path) -> None:
        """Until it is connected to an instance for each endpoint."""
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"the router ended: {log.read_text()[-2000:]}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/kedge/health", timeout=5) as answer:
                    if json.load(answer)["healthy_instances"] == len(self.names):
                        return
            except OSError:
                pass  # it does not listen yet
            time.sleep(0.05)
        raise RuntimeError(f"the router is not ready after {_READY_S:.0f} s: {log.read_text()[-2000:]}")
