"""Another server, started with its environment and stopped with all that it started."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.serving import environments, works
from benchmarks.serving.checking import Asker
from benchmarks.serving.load import Load, environment
from benchmarks.serving.machine import Tree, processes
from benchmarks.serving.registry import Peer
from benchmarks.serving.rows import Requests, Row

ROOT = Path(__file__).parent.parent.parent
_GRACE_S = 10.0


def row(peer: Peer, cache: Path) -> Row:
    return Row(peer.name, tuple(peer.routes), lambda works, folder: Started(peer, works, folder, cache), peer.one_model)


class Started:
    """A server that has answered one request of each work rightly."""

    def __init__(self, peer: Peer, wanted: tuple[str, ...], folder: Path, cache: Path) -> None:
        self._peer = peer
        venv = environments.make(peer, cache)
        shared = cache.absolute() / "models"
        shared.mkdir(exist_ok=True)
        port = _free_port()
        self._requests = Requests(port, peer.routes, folder)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        names = {"python": str(venv / "bin" / "python"), "bin": str(venv / "bin"), "port": str(port)}
        models = sorted({"echo" if work == "echo" else "gbdt" for work in wanted})
        more = {
            "PORT": str(port),
            "BENCH_FOLDER": str(shared),
            "BENCH_MODEL": models[0] if peer.one_model else "all",
            "PYTHONPATH": str(ROOT),
            "PATH": f"{names['bin']}:{os.environ['PATH']}:/usr/sbin",
            "VIRTUAL_ENV": str(venv),
        }
        self._process = subprocess.Popen(
            [part.format(**names) for part in peer.command],
            cwd=ROOT,
            env=environment(**more, **peer.environment),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        self.roots = (self._process.pid,)
        self._tree = Tree(*self.roots)
        try:
            self._wait(port, wanted)
        except BaseException:
            self.stop()
            raise

    def load(self, work: str, connections: int, rate: float) -> Load:
        return self._requests.load(work, connections, rate, checked=self._peer.checked)

    def stop(self) -> None:
        members = self._tree.members()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        left = members | self._tree.members()
        now = processes()
        for pid, process in left.items():
            if pid in now and now[pid].started == process.started:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _wait(self, port: int, wanted: tuple[str, ...]) -> None:
        """Raises RuntimeError when it ends, is not ready in time, or is ready and answers wrongly."""
        deadline, said = time.monotonic() + self._peer.start_s, ""
        for work in wanted:
            number, raw = self._requests.sample(work)
            while True:
                if self._process.poll() is not None:
                    raise RuntimeError(f"it ended with status {self._process.returncode}. {self._tail()}")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{work} was not answered in time: {said}. {self._tail()}")
                try:
                    status, body = _asked(port, raw)
                except (OSError, http.client.HTTPException) as error:
                    said = repr(error)
                else:
                    said = f"{status} {body[:300]!r}"
                    if status == 200 and self._peer.checked and not works.right(work, number, body):
                        raise RuntimeError(f"a wrong answer to {work}: {body[:500]!r}")
                    if status == 200:
                        break
                time.sleep(0.05)

    def _tail(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]


def _asked(port: int, raw: bytes) -> tuple[int, bytes]:
    asker = Asker(port)
    try:
        return asker.ask(raw)
    finally:
        asker.close()


def _free_port() -> int:
    """One with two free ones behind it, which some servers take too, below those that the kernel gives to clients."""
    while True:
        port = random.randrange(20_000, 30_000)
        try:
            for each in range(port, port + 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", each))
        except OSError:
            continue
        return port
