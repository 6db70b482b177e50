"""The first steps of an instance: into its sandbox, leaving behind what it inherited, then becoming a worker.

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
import site
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from kedge.compute import held_pipe, linux, namespaces, sandbox

OPEN_FILES = 16384
OOM_SCORE_ADJ = "500"
"""When memory runs out the kernel takes an instance first, and never the supervisor."""
EARLY = ".early"
"""Name of the listening socket, beside its own, until the worker is ready."""
_STATUS = 3
_BACKLOG = 128
_ORPHANED_WITHIN_S = 5.0


@dataclass(frozen=True)
class Entry:
    """Where an instance goes before it is one. Nothing of the model stands here: the fork server reads it."""

    namespaces: Sequence[str] = ()
    """A descriptor comes with each."""
    groups: Sequence[str] = ()
    """Files of control groups into which it enters itself."""
    supervisor: int = 0
    """With whom it has to die; 0: with nobody, or its sandbox sees to it."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Request:
    """What an instance is told. It reads this itself, so that no other instance's ever passes through its memory."""

    module: str
    """Has `WorkerSpec` and `run(spec, status_fd) -> exit code`: kedge.serving.worker."""
    worker: Mapping[str, Any]
    """The fields of its WorkerSpec."""
    environment: Mapping[str, str]
    """All of it."""
    work_dir: str
    confinement: Mapping[str, Any] = field(default_factory=dict)
    """The fields of sandbox.Confinement."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def enter(entry: Entry, descriptors: Sequence[int]) -> None:
    """Into control groups and namespaces. A pid namespace begins with the next child. Raises OSError."""
    for file in entry.groups:
        Path(file).write_text("0")
    with contextlib.suppress(OSError):  # no /proc, or not to be written
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE_ADJ)
    if entry.namespaces:
        with contextlib.suppress(PermissionError):  # only root may, and only root has those of others
            os.setgroups([])
        namespaces.enter(list(zip(entry.namespaces, descriptors, strict=True)))


def become(request: Request, status_fd: int) -> NoReturn:
    """Take the environment, limits and folder of the request and run the worker; ends this process."""
    code = 1
    worker = dict(request.worker)
    try:
        _settle(request)
        confinement = sandbox.Confinement.of(request.confinement)
        early = None if confinement.local else _listen(worker["socket"])
        if early is not None:
            worker["listener"] = early.fileno()
        sandbox.confine(confinement, outputs=[1, 2])
        if sys.flags.no_site:
            # An environment of the model's: what its packages run at a start, they run in here.
            site.main()
        module = importlib.import_module(request.module)
        code = module.run(module.WorkerSpec(**worker), status_fd)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 (the last frame: it goes to the output, which ends up in FailureReason)
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def become_forked(entry: Entry, descriptors: Sequence[int], forker: int) -> NoReturn:
    """As `become`, after leaving the fork server behind.

    descriptors: the status pipe, the output and the request. forker: the process that forked this one and then ends.
    """
    os.setsid()
    for number in range(1, signal.NSIG):
        with contextlib.suppress(OSError, ValueError):
            if callable(signal.getsignal(number)) and number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
    # All may lie on low numbers: move them out of the way of one another before they take their places.
    status_fd, output_fd, request_fd = (_above(each) for each in descriptors)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.dup2(status_fd, _STATUS, inheritable=False)
    request = Request(**_read(request_fd))
    os.closerange(_STATUS + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if entry.supervisor:
        _die_with(entry.supervisor, forker)
    become(request, _STATUS)


def _read(descriptor: int) -> dict[str, Any]:
    with open(descriptor) as file:
        file.seek(0)
        found = json.load(file)
    assert isinstance(found, dict)
    return found


def _listen(path: str) -> socket.socket:
    """The socket on which the worker listens, where it cannot make one itself. It gets its name when that is ready."""
    place = Path(path).with_name(EARLY)
    place.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(place))
    listener.listen(_BACKLOG)
    return listener


def _settle(request: Request) -> None:
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


def _stand_by(pid: int) -> NoReturn:
    """In the process that the supervisor started, while the instance lives in a pid namespace below it: end as it ends.

    Should this process be killed, the sandbox ends the instance.
    """
    linux.name_process("kedge-instance")
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sandbox.drop_capabilities()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other action
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def main() -> NoReturn:
    parser = argparse.ArgumentParser(description="One instance; started by the supervisor.")
    parser.add_argument("--entry", type=json.loads, required=True)
    parser.add_argument("--request-fd", type=int, required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--namespace-fd", type=int, action="append", default=[])
    options = parser.parse_args()
    entry = Entry(**options.entry)
    os.set_inheritable(options.status_fd, False)
    request = Request(**_read(options.request_fd))
    if "pid" not in entry.namespaces:
        # A process with a thread cannot enter a user namespace.
        enter(entry, options.namespace_fd)
        held_pipe.die_with_supervisor()
        become(request, options.status_fd)
    held_pipe.forget()
    enter(entry, options.namespace_fd)
    for descriptor in options.namespace_fd:
        os.close(descriptor)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        become(request, options.status_fd)
    os.close(options.status_fd)
    _stand_by(pid)


if __name__ == "__main__":
    main()
