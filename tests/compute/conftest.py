"""A server made of stand-ins: started as a process, killed piece by piece, and ended by id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from kedge import node
from kedge.compute.base import TaskSpec, TaskState, TaskStatus
from kedge.compute.process_id import ProcessId, read_stat
from kedge.compute.processes import LocalEngine
from kedge.config import Settings
from kedge.home import Home, open_home

ROOT = Path(__file__).parents[2]
WITHIN_S = 40.0


def until(condition: Callable[[], Any], what: str = "the condition", timeout_s: float = WITHIN_S) -> Any:
    """The first true value of `condition`."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            if found := condition():
                return found
        time.sleep(0.01)
    raise AssertionError(f"{what} did not come true within {timeout_s} s")


def gone(pid: int) -> bool:
    """Ended; a zombie that pid 1 has yet to reap counts."""
    stat = read_stat(pid)
    return stat is None or stat.state in "ZX"


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass
class Server:
    data: Path
    ready: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    errors: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def spawn(self, *flags: str, **environment: str) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.compute.standins", "up", "--data", str(self.data), *flags],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SECRET_OF_THE_OPERATOR": "s", **environment},
        )
        return self.process

    def up(self, *flags: str, **environment: str) -> Server:
        process = self.spawn(*flags, **environment)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, self.said()
        self.ready = json.loads(line)
        self.data = Path(self.ready["data_dir"])
        return self

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode()

    def wait(self) -> int:
        """The exit code of the process that was started."""
        assert self.process is not None
        code = self.process.wait(WITHIN_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def end(self) -> None:
        if self.data.exists():
            node.down(self.data)
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
            self.wait()
        self.errors.close()

    @property
    def home(self) -> Home:
        return open_home(Settings(data_dir=self.data))

    def status(self) -> dict[str, Any]:
        return node.status(self.data)

    def pid(self, task: str) -> int:
        return next(each["pid"] for each in self.status()["roles"] if each["task"] == task and each["pid"])

    def pids(self) -> list[int]:
        found = self.status()
        return [each["pid"] for each in (*found["roles"], *found["instances"]) if each["pid"]]

    def kill_supervisor(self) -> None:
        kill(self.pid("supervisor"))
        if self.process is not None:
            self.wait()

    def ask(self, name: str = "api_url") -> dict[str, Any]:
        with urllib.request.urlopen(self.ready[name] + "/kedge/health", timeout=5) as answer:
            found = json.load(answer)
        assert isinstance(found, dict)
        return found

    def seen(self, task: str) -> dict[str, Any]:
        found = json.loads((self.data / "tasks" / task / "work" / "seen.json").read_text())
        assert isinstance(found, dict)
        return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "data")
    try:
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the tests of a file that leave it as it was."""
    made = Server(tmp_path_factory.mktemp("shared") / "data")
    try:
        yield made.up()
    finally:
        made.end()


@pytest.fixture
async def engine(running: Server) -> AsyncIterator[LocalEngine]:
    """Without any task, before and after."""
    made = LocalEngine(running.home)
    try:
        yield made
        for status in await made.observe():
            await made.stop(status.id, at_once=True)
            await vanished(made, status.id)
    finally:
        await made.close()


def spec(task: str = "one", do: str = "serve", **fields: Any) -> TaskSpec:
    fields.setdefault("stop_grace_s", 5.0)
    return TaskSpec(
        id=task, runtime="none", artifact_uri="s3://b/k", artifact_sha256="0" * 64, environment={"DO": do}, **fields
    )


async def reached(engine: LocalEngine, task: str, *states: TaskState, not_pid: int | None = None) -> TaskStatus:
    """The task's status once it is in one of the states, by another process than not_pid."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            for status in await engine.observe():
                if status.id == task and status.state in states and (not_pid is None or status.pid != not_pid):
                    return status
            await asyncio.sleep(0.01)


async def vanished(engine: LocalEngine, task: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while any(status.id == task for status in await engine.observe()):  # noqa: ASYNC110 (another process's doing)
            await asyncio.sleep(0.01)


def identity(pid: int | None) -> ProcessId:
    assert pid is not None
    return ProcessId.of(pid)
