"""What every process of an instance begins with: what it is told, its environment, and how it tells of itself."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kedge.compute.instance import EARLY
from kedge.serving import runtimes
from kedge.serving.worker_io import identity_of

log = logging.getLogger(__name__)

EXIT_LOAD_FAILED = 1
EXIT_DIED = 70
MAX_REASON_CHARACTERS = 1024
_BACKLOG = 128
_SWITCH_INTERVAL_S = 0.001
"""How long a model that computes in Python may keep the I/O thread from answering a PING."""
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE")
_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
"""A thread of OpenMP that waits for the others of a loop sleeps. Were it to spin for a core that somebody else has, the
others and whatever runs beside the process would be several times slower."""


@dataclass(frozen=True)
class ContainerSpec:
    """One of several containers of an instance; the fields of kedge.compute.base.Container, and where its model is."""

    name: str
    runtime: str
    artifact_dir: str
    environment: Mapping[str, str] = field(default_factory=dict)
    many_models: bool = False
    keeps_models: bool = True
    command: Sequence[str] = ()
    """Of an own server that the operator's map names: what to start."""
    port: int = 0
    """On which an own server is to listen."""
    door: str = ""
    """Of a container that runs beside the instance: its sidecar's sockets, without their endings."""


@dataclass(frozen=True)
class WorkerSpec:
    id: str
    runtime: str
    """A name of kedge.serving.runtimes."""
    artifact_dir: str
    socket: str
    state_file: str
    """"" for a process that only its parent watches."""
    work_dir: str
    """Current directory and HOME of the model's code; made when it is not there."""
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    listener: int = -1
    """Descriptor of a socket that listens already; -1: the worker makes one."""
    memory_bytes: int = 0
    """All that the instance may use; 0 is no bound."""
    containers: Sequence[Mapping[str, Any]] = ()
    """Fields of ContainerSpec. Not empty: these are served, and runtime and artifact_dir are empty."""
    direct: bool = False
    """A request names the container that it is for; otherwise it goes through all of them in turn."""
    compiled: str = ""
    """File with what was compiled of the model, or where that will lie; "" where nothing is compiled."""
    explainer: Mapping[str, Any] = field(default_factory=dict)
    """A ClarifyExplainerConfig: an explainer answers in the containers' place, and asks them. Only with containers."""
    models_dir: str = ""
    """Where models appear that are asked for on the status pipe."""

    @property
    def parts(self) -> list[ContainerSpec]:
        return [ContainerSpec(**each) for each in self.containers]

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> WorkerSpec:
        return cls(**fields)


def environment(spec: WorkerSpec, current: Mapping[str, str]) -> dict[str, str]:
    """What the model's code sees: nothing of the host but where its programs and locales are. PURE.

    The model's own variables go before everything; the standard ones are those of the SageMaker toolkits.
    """
    threads = str(runtimes.threads(spec.runtime, spec.cores))
    region = spec.labels.get("region", "")
    standard = {
        "HOME": spec.work_dir,
        "PYTHONUNBUFFERED": "1",
        "SM_MODEL_DIR": spec.artifact_dir,
        "SM_NUM_CPUS": str(max(1, int(spec.cores))),
        "SAGEMAKER_PROGRAM": "",
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": runtimes.default_accept(spec.runtime),
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
        "SAGEMAKER_REGION": region,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        **dict.fromkeys(_THREAD_COUNTS, threads),
        **PASSIVE,
    }
    kept = {name: current[name] for name in _KEPT if name in current}
    return kept | {name: value for name, value in standard.items() if value} | dict(spec.environment)


def settle(spec: WorkerSpec) -> None:
    """Make the process the model's: nothing of the one that forked it is left."""
    # What an earlier process of this instance said last is no longer so.
    if spec.state_file:
        Path(spec.state_file).unlink(missing_ok=True)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Ctrl-C on a terminal reaches every process of it; whether instances end is the supervisor's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    settled = environment(spec, os.environ)
    os.environ.clear()
    os.environ.update(settled)
    work_dir = Path(spec.work_dir)
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(work_dir)
    level = settled["SAGEMAKER_CONTAINER_LOG_LEVEL"]
    # As SageMaker's images do, so that a script's own logger is heard; a script may configure it anew with force=True.
    logging.basicConfig(
        stream=_StandardError(),
        level=int(level) if level.isdecimal() else logging.INFO,
        format="%(asctime)s %(levelname)s - %(name)s - %(message)s",
        force=True,
    )
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


@dataclass(frozen=True)
class Entrance:
    """Where requests come in: a listening socket, or one that is connected; `remove` takes its file away, if any."""

    socket: socket.socket
    remove: Callable[[], None]


def listen(path: Path, early: int = -1) -> Entrance:
    """A listening socket at the path, which replaces a stale one in one step.

    early: one that listens already, under the name EARLY beside it; -1 for none.
    """
    listener, identity = _bind(path) if early < 0 else _named(path, early)
    return Entrance(listener, lambda: _unlink_own(path, identity))


def _bind(path: Path) -> tuple[socket.socket, tuple[int, int]]:
    """A listening socket at the path, which replaces a stale one in one step, and the identity of its file."""
    temporary = path.with_name(f".{secrets.token_hex(4)}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(temporary))
        listener.listen(_BACKLOG)
        found = temporary.stat()
        temporary.rename(path)
    except BaseException:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise
    return listener, (found.st_dev, found.st_ino)


def _named(path: Path, early: int) -> tuple[socket.socket, tuple[int, int]]:
    place = path.with_name(EARLY)
    found = place.stat()
    place.rename(path)
    return socket.socket(fileno=early), (found.st_dev, found.st_ino)


def _unlink_own(path: Path, identity: tuple[int, int]) -> None:
    """Not when a successor has put its own socket there."""
    try:
        found = path.stat()
        if (found.st_dev, found.st_ino) == identity:
            path.unlink()
    except FileNotFoundError:
        return


class Status:
    """Tells the supervisor that is there, by the pipe, and the one that comes later, by the file."""

    def __init__(self, state_file: str, fd: int) -> None:
        """state_file: "" for a process that only its parent watches."""
        os.set_inheritable(fd, False)
        self._fd = fd
        self._identity = identity_of(fd)
        self._file = Path(state_file) if state_file else None
        self._state: Mapping[str, Any] = {}
        self._unsent = self._next = b""
        self._telling = threading.Lock()

    def tell(self, state: Mapping[str, Any]) -> None:
        with self._telling:
            self._tell(state)

    def serves(self, what: str) -> None:
        """Added to what a ready instance says; nothing once it says something else."""
        with self._telling:
            if self._state.get("state") == "ready":
                self._tell({**self._state, "serves": what})

    def _tell(self, state: Mapping[str, Any]) -> None:
        self._state = state
        line = self._line(state)
        self.write_file()
        try:
            # The model's code may have closed it, and opened a file of its own there.
            if identity_of(self._fd) == self._identity:
                os.write(self._fd, line + b"\n")
        except OSError as error:
            # A supervisor that was killed: the file is for its successor.
            log.warning("the supervisor cannot be told: %s", error)

    def write_file(self, **more: Any) -> None:
        """The last state that was told, and what else a later supervisor has to know."""
        if self._file is None:
            return
        temporary = self._file.with_name(f".{self._file.name}.{secrets.token_hex(4)}")
        try:
            # No fsync: it is for a supervisor of this boot.
            temporary.write_bytes(self._line({**self._state, **more}))
            temporary.replace(self._file)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file.name, error)
            temporary.unlink(missing_ok=True)

    def want(self, wants: Mapping[str, str], loaded: int) -> None:
        """The models that are to lie in models_dir: name of the folder -> name of the model. In a running event loop.

        loaded: how many of them can answer.

        A supervisor that reads slowly gets the last of several.
        """
        self.write_file(wants=wants, loaded=loaded)
        loop = asyncio.get_running_loop()
        if not self._unsent:
            os.set_blocking(self._fd, False)
            loop.add_writer(self._fd, self._send)
        self._next = json.dumps({"wants": wants, "loaded": loaded}).encode() + b"\n"
        self._send()

    def _send(self) -> None:
        try:
            while self._unsent or self._next:
                if not self._unsent:
                    self._unsent, self._next = self._next, b""
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            log.warning("the supervisor cannot be told: %s", error)
            self._unsent = self._next = b""
        asyncio.get_running_loop().remove_writer(self._fd)

    def end(self, state: str, reason: str, code: int) -> int:
        self.tell({"state": state, "reason": reason[:MAX_REASON_CHARACTERS]} if reason else {"state": state})
        return code

    def close(self) -> None:
        os.close(self._fd)

    @staticmethod
    def _line(state: Mapping[str, Any]) -> bytes:
        return json.dumps({**state, "pid": os.getpid()}).encode()


class _StandardError:
    """Whatever sys.stderr is at the time, so that a script may replace it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
