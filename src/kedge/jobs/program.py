"""The first process of a job in its sandbox: starts the job's program, and says how it ended.

A program is a module of Kedge's, which runs in this very process, a command, or a container beside it. Its exit status
is told to the supervisor that is there, and written down for the one that comes later. Of a program that was asked to
end nothing is told: whoever asked knows, and a machine that was shut down begins the job once more.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kedge.compute.sidecar import LINE
from kedge.serving import worker_setup
from kedge.serving.worker_setup import Status

NICENESS = 10
"""A job gives way to what serves."""
NOT_FOUND, NOT_STARTED, LOST = 127, 126, 1
_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE")
_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_CONNECT_WITHIN_S = 10.0


@dataclass(frozen=True)
class WorkerSpec:
    """The fields of kedge.compute.jobs.worker_fields."""

    id: str
    environment: Mapping[str, str]
    work_dir: str
    state_file: str
    cores: float
    opt_ml: str
    module: str = ""
    command: Sequence[str] = ()
    starts_in: str = ""
    door: str = ""
    socket: str = ""
    listener: int = -1


def run(spec: WorkerSpec, status_fd: int) -> int:
    """Returns the exit code of this process, which is 0 when the program ran, however it ended."""
    Path(spec.state_file).unlink(missing_ok=True)
    status = Status(spec.state_file, status_fd)
    # That the supervisor does not hear it any more, or not yet, is nothing for who reads the job's log.
    logging.getLogger(worker_setup.__name__).setLevel(logging.ERROR)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    settled = environment(spec, os.environ, os.cpu_count() or 1)
    os.environ.clear()
    os.environ.update(settled)
    if spec.module:
        try:
            main = importlib.import_module(spec.module).main
        except (ImportError, AttributeError) as error:
            return status.end("failed", f"This release of Kedge cannot run {spec.module}: {error}.", LOST)
        status.tell({"state": "ready"})
        code: int | None = _called(main, Path(spec.opt_ml))
    else:
        status.tell({"state": "ready"})
        code = _container(spec.door) if spec.door else _command(spec)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if code is not None:
        status.tell({"state": "ended", "exit": code & 0xFF})
    return 0


def environment(spec: WorkerSpec, current: Mapping[str, str], cores: int) -> dict[str, str]:
    """What the program sees; its own variables go before everything. cores: of this machine."""
    kept = {name: current[name] for name in _KEPT if name in current}
    # `python3` is the Python that this process runs in, with its packages.
    path = os.pathsep.join([os.path.dirname(sys.executable), current.get("PATH", os.defpath)])
    threads = str(max(1, min(int(spec.cores), cores)))
    return {
        **kept,
        "PATH": path,
        "HOME": spec.work_dir,
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(_THREAD_COUNTS, threads),
        **worker_setup.PASSIVE,
        **spec.environment,
    }


def _called(main: Callable[[Mapping[str, str], Path], int], opt_ml: Path) -> int:
    try:
        return int(main(dict(os.environ), opt_ml))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 (the last frame: its traceback is the job's output)
        traceback.print_exc()
        return 1


def _command(spec: WorkerSpec) -> int | None:
    """Its exit status; None when it was asked to end."""
    folder = spec.starts_in or spec.work_dir
    try:
        # Where it cannot be started, its log says so.
        program = subprocess.Popen(list(spec.command), cwd=folder, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        print(f"[kedge]: {spec.command[0]} cannot be started: there is no {error.filename}.", flush=True)  # noqa: T201
        return NOT_FOUND
    except OSError as error:
        print(f"[kedge]: {spec.command[0]} cannot be started: {error}.", flush=True)  # noqa: T201
        return NOT_STARTED
    asked: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        asked.append(number)
        program.terminate()

    signal.signal(signal.SIGTERM, pass_on)
    code = program.wait()
    if asked:
        return None
    return 128 - code if code < 0 else code  # as a shell tells of a program that was ended by a signal


def _container(door: str) -> int | None:
    """Until the container has ended, of which the sidecar tells."""
    asked: list[int] = []
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.settimeout(_CONNECT_WITHIN_S)
            line.connect(door + LINE)
            line.settimeout(None)

            def pass_on(number: int, _frame: object) -> None:
                asked.append(number)
                line.sendall(b"stop\n")

            signal.signal(signal.SIGTERM, pass_on)
            said = line.makefile("rb").readline()
            found = json.loads(said) if said else {}
        except (OSError, ValueError) as error:
            found = {"reason": f"The line to the container broke: {error}."}
    code = found.get("code")
    if asked:
        return None
    if not isinstance(code, int):
        print(f"[kedge]: {found.get('reason', 'The sidecar of the container ended.')}", flush=True)  # noqa: T201
        return LOST
    if code:
        print(f"[kedge]: {found.get('reason')}", flush=True)  # noqa: T201
    return code
