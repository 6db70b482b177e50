"""The first steps of an instance: leaving behind what it inherited, then becoming a worker.

Forked by the fork server, or started as `python -m kedge.compute.instance` where forking is not possible.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import importlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from kedge.compute import held_pipe, linux

OPEN_FILES = 16384
OOM_SCORE_ADJ = "500"
"""When memory runs out the kernel takes an instance first, and never the supervisor."""
_STATUS = 3
_ORPHANED_WITHIN_S = 5.0


@dataclass(frozen=True)
class Request:
    """What an instance is told."""

    module: str
    """Has `WorkerSpec` and `run(spec, status_fd) -> exit code`: kedge.serving.worker."""
    worker: Mapping[str, Any]
    """The fields of its WorkerSpec."""
    environment: Mapping[str, str]
    """All of it."""
    work_dir: str
    cgroup_file: str = ""
    """Where it enters itself to be bounded in memory; empty: no bound."""
    supervisor: int = 0
    """With whom it has to die; 0: with nobody."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def become(request: Request, status_fd: int) -> NoReturn:
    """Take the environment, limits and folder of the request and run the worker; ends this process."""
    code = 1
    try:
        _settle(request)
        module = importlib.import_module(request.module)
        code = module.run(module.WorkerSpec(**request.worker), status_fd)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 (the last frame: it goes to the output, which ends up in FailureReason)
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def become_forked(request: Request, status_fd: int, output_fd: int, forker: int) -> NoReturn:
    """As `become`, after leaving the fork server behind. forker: the process that forked this one and then ends."""
    os.setsid()
    for number in range(1, signal.NSIG):
        with contextlib.suppress(OSError, ValueError):
            if callable(signal.getsignal(number)) and number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    # Both may lie on low numbers: move them out of the way of one another before they take their places.
    status_fd, output_fd = _above(status_fd), _above(output_fd)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.dup2(status_fd, _STATUS, inheritable=False)
    os.closerange(_STATUS + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if request.supervisor:
        _die_with(request.supervisor, forker)
    become(request, _STATUS)


def _settle(request: Request) -> None:
    if request.cgroup_file:
        with contextlib.suppress(OSError):  # best effort: the supervisor reports whether there is a bound
            Path(request.cgroup_file).write_text("0")
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_ADJ)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES if most == resource.RLIM_INFINITY else min(most, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    linux.name_process("kedge-instance")
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    tempfile.tempdir = request.work_dir
    os.chdir(request.work_dir)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    gc.enable()


def _above(descriptor: int) -> int:
    """The same file under a number that no one is given by name."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STATUS + 1)


def _die_with(supervisor: int, forker: int) -> None:
    """Bind this process to the supervisor, to which it falls as soon as its forker is gone."""
    end = time.monotonic() + _ORPHANED_WITHIN_S
    while os.getppid() == forker and time.monotonic() < end:
        time.sleep(0.0005)
    linux.die_with_parent(supervisor)


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description="One instance; started by the supervisor.")
    parser.add_argument("--request-fd", type=int, required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    options = parser.parse_args()
    held_pipe.die_with_supervisor()
    with open(options.request_fd) as file:
        request = Request(**json.load(file))
    os.set_inheritable(options.status_fd, False)
    become(request, options.status_fd)


if __name__ == "__main__":
    main()
