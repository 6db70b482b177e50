"""Small programs in the places of Kedge's own, so that the supervisor is tested without the rest.

    python -m tests.compute.standins up --data DIR [...]      `kedge up` with these programs
    python -m tests.compute.standins role --listen FD         control and router: answer /kedge/health, keep the link
    python -m tests.compute.standins role                     capture: keeps the link

As a module that the fork server imports it is the worker: what it does stands in the task's environment (DO).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kedge import config
from kedge.compute.link import keep_link
from kedge.compute.linux import probe
from kedge.home import open_home
from kedge.node import up
from kedge.node.programs import Programs


@dataclass(frozen=True)
class WorkerSpec:
    id: str
    runtime: str
    artifact_dir: str
    socket: str
    state_file: str
    work_dir: str
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    listener: int = -1


def run(spec: WorkerSpec, status_fd: int) -> int:
    """DO: serve | fail | crash | crash-once | sleep | deaf | eat | grow | rt-signal.

    What it sees goes to seen.json in its folder.
    """

    def tell(**state: Any) -> None:
        Path(spec.state_file).write_text(json.dumps(state))
        os.write(status_fd, json.dumps(state).encode() + b"\n")

    do = spec.environment["DO"]
    seen = {
        "environment": dict(os.environ),
        "cwd": os.getcwd(),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "session": os.getsid(0) == os.getpid(),
        "parent": os.getppid(),
        "draw": random.random(),
        "own": dict(spec.environment),
        "host_name": socket.gethostname(),
        "etc": [],
    }
    with contextlib.suppress(PermissionError):
        seen["etc"] = sorted(os.listdir("/etc"))
    Path("seen.json").write_text(json.dumps(seen))
    print(f"doing {do}")
    marker = Path("been-here")
    if do == "fail":
        tell(state="failed", reason="The model is not there.")
        return 1
    if do == "crash" or (do == "crash-once" and not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    if do == "eat":
        sys.stdout.write(f"{len(bytearray(os.urandom(1 << 20) * 200))}")
    if do == "grow":
        grown = []
        while len(grown) < 400:
            grown.append(bytearray(os.urandom(1 << 20)))
            time.sleep(0.002)
        time.sleep(60)
    if do == "rt-signal":
        os.kill(os.getpid(), signal.SIGRTMIN + 3)
    if do == "sleep":
        time.sleep(60)
    if do == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if spec.listener >= 0:
        listener = socket.socket(fileno=spec.listener)
        Path(spec.socket).with_name(".early").rename(spec.socket)
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(spec.socket)
        listener.listen()
    tell(state="ready", pid=os.getpid())
    while True:
        signal.pause()


async def _role(descriptor: int | None) -> None:
    home = open_home(config.read())
    task = os.environ["KEDGE_TASK_ID"]
    if "REFUSE_SECOND_START" in os.environ and task == "control":
        starts = home.path / "starts"
        starts.write_text(starts.read_text() + "x" if starts.exists() else "x")
        if len(starts.read_text()) == 2:
            sys.exit(config.CANNOT_START)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    if descriptor is None:
        link = asyncio.create_task(keep_link(home, task, task))
        await ended.wait()
        link.cancel()
        return
    listener = socket.socket(fileno=descriptor)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"pid": os.getpid(), "task": task}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, sock=listener.dup())
    link = asyncio.create_task(keep_link(home, task.partition("-")[0], task, listener))
    await ended.wait()
    server.close()
    link.cancel()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("up", "role"))
    parser.add_argument("--listen", type=int)
    parser.add_argument("--number", type=int)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--api-port", type=int, default=0)
    parser.add_argument("--inference-port", type=int, default=0)
    parser.add_argument("--routers", type=int, default=1)
    parser.add_argument("--ephemeral", action="store_true")
    parser.add_argument("--in-data", action="store_true", help="an ephemeral server keeps its state in --data")
    parser.add_argument("--detach", action="store_true")
    parser.add_argument("--without", default="", help="capabilities that this machine shall not have")
    parser.add_argument("--broken-control", action="store_true")
    parser.add_argument("--threaded", action="store_true", help="what the fork server imports starts a thread")
    options = parser.parse_args()
    if options.what == "role":
        asyncio.run(_role(options.listen))
        return 0
    me = (sys.executable, "-m", "tests.compute.standins", "role")
    broken = (sys.executable, "-c", "raise SystemExit('no table 5')")
    programs = Programs(
        control=broken if options.broken_control else me,
        router=me,
        capture=me,
        worker="tests.compute.standins",
        preloaded=("tests.compute.threaded",) if options.threaded else ("tests.compute.not_there",),
    )
    settings = config.read(
        data_dir=options.data,
        api_port=options.api_port,
        inference_port=options.inference_port,
        routers=options.routers,
        ephemeral=options.ephemeral or None,
    )
    capabilities = replace(probe(), **dict.fromkeys(filter(None, options.without.split(",")), False))
    return up(
        settings,
        ephemeral_at=options.data if options.in_data else None,
        detach=options.detach,
        as_json=True,
        programs=programs,
        capabilities=capabilities,
    )


if __name__ == "__main__":
    sys.exit(main())
