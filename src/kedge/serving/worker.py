"""What runs inside an instance: one model, served over one Unix socket.

The main thread loads the model and runs it, since scripts expect the main thread. A second thread speaks to routers
(`worker_io`); whatever arrives while the model is busy waits in `Work` and forms the next batch, so that batching costs
an idle instance nothing and needs no timer.

States are told as one JSON line each on the status pipe, and the last one stands in the spec's state_file:

    {"state": "ready", "pid": N}
    {"state": "failed", "reason": "...", "pid": N}    the model cannot be loaded; exit code 1
    {"state": "died", "reason": "...", "pid": N}      the model hangs, its code closed the sockets, or a defect of the
                                                      worker itself; exit code 70
    {"state": "stopped", "pid": N}                    after SIGTERM, all that had been read is answered; exit code 0
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from kedge.home import write_whole
from kedge.serving import runtimes
from kedge.serving.runtimes.base import Busy, LoadError, ModelFailure, Runtime, last_line
from kedge.serving.streams import MAX_BODY_BYTES
from kedge.serving.watch import Unserviceable, Watch
from kedge.serving.work import MAX_REQUESTS, Job, Work
from kedge.serving.worker_io import Connection, Hung, WorkerIo, identity_of

log = logging.getLogger(__name__)

EXIT_LOAD_FAILED = 1
EXIT_DIED = 70
MAX_REASON_CHARACTERS = 1024
_BACKLOG = 128
_SWITCH_INTERVAL_S = 0.001
"""How long a model that computes in Python may keep the I/O thread from answering a PING."""
_KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE")
_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class WorkerSpec:
    id: str
    runtime: str
    """A name of kedge.serving.runtimes."""
    artifact_dir: str
    socket: str
    state_file: str
    work_dir: str
    """Current directory and HOME of the model's code; made when it is not there."""
    environment: Mapping[str, str] = field(default_factory=dict)
    cores: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> WorkerSpec:
        return cls(**fields)


def environment(spec: WorkerSpec, current: Mapping[str, str]) -> dict[str, str]:
    """What the model's code sees: nothing of the host but where its programs and locales are. PURE.

    The model's own variables go before everything; the standard ones are those of the SageMaker toolkits.
    """
    threads = str(max(1, int(spec.cores)))
    region = spec.labels.get("region", "")
    standard = {
        "HOME": spec.work_dir,
        "PYTHONUNBUFFERED": "1",
        "SM_MODEL_DIR": spec.artifact_dir,
        "SM_NUM_CPUS": threads,
        "SAGEMAKER_PROGRAM": "",
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json",
        "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
        "SAGEMAKER_REGION": region,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        **dict.fromkeys(_THREAD_COUNTS, threads),
    }
    kept = {name: current[name] for name in _KEPT if name in current}
    return kept | {name: value for name, value in standard.items() if value} | dict(spec.environment)


def run(spec: WorkerSpec, status_fd: int) -> int:
    """Load the model and serve until SIGTERM. Returns the exit code, with which the caller ends the process.

    Call it in the main thread of a process of its own: it takes over the environment, the signals and the current
    directory. Standard output and error are taken as they are.
    """
    status = _Status(spec, status_fd)
    try:
        _settle(spec)
        runtime = _load(spec)
        listener, identity = _bind(Path(spec.socket))
    except LoadError as error:
        return status.end("failed", str(error), EXIT_LOAD_FAILED)
    except BaseException as error:
        log.exception("the instance cannot be started")
        return status.end("failed", last_line(error), EXIT_LOAD_FAILED)
    try:
        return _serve(spec, runtime, listener, identity, status)
    except Exception as error:
        log.exception("the worker died")
        return status.end("died", last_line(error), EXIT_DIED)
    finally:
        _unlink_own(Path(spec.socket), identity)


def _settle(spec: WorkerSpec) -> None:
    """Make the process the model's: nothing of the one that forked it is left."""
    # What an earlier process of this instance said last is no longer so.
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


def _load(spec: WorkerSpec) -> Runtime:
    began_s = time.monotonic()
    runtime = runtimes.load(spec.runtime, Path(spec.artifact_dir), os.environ)
    _limit_threads(os.environ.get("OMP_NUM_THREADS", ""))
    # What was loaded stays: the collector need not walk it, and pages shared with the fork server stay shared.
    gc.collect()
    gc.freeze()
    log.info("the model is loaded after %.0f ms", (time.monotonic() - began_s) * 1000)
    return runtime


def _limit_threads(count: str) -> None:
    """Libraries that were loaded before the environment was set, in a fork server, took the machine's core count."""
    if "threadpoolctl" in sys.modules and count.isdecimal():
        sys.modules["threadpoolctl"].threadpool_limits(int(count))


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


def _unlink_own(path: Path, identity: tuple[int, int]) -> None:
    """Not when a successor has put its own socket there."""
    try:
        found = path.stat()
        if (found.st_dev, found.st_ino) == identity:
            path.unlink()
    except FileNotFoundError:
        return


def _serve(
    spec: WorkerSpec, runtime: Runtime, listener: socket.socket, identity: tuple[int, int], status: _Status
) -> int:
    stop_in, stop_out = socket.socketpair()
    stop_out.setblocking(False)
    hello = {
        "instance": spec.id,
        "joinable": runtime.joinable,
        "max_requests": MAX_REQUESTS,
        "max_body_bytes": MAX_BODY_BYTES,
    }
    work: Work[Connection] = Work()
    watch = Watch()
    io = WorkerIo(listener, stop_in, hello, work, watch, on_stop=lambda: _unlink_own(Path(spec.socket), identity))

    def run_io() -> None:
        try:
            io.run()
        except Unserviceable as error:
            stack = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident or 0])
            place = _place(stack, Path(spec.artifact_dir)) if isinstance(error, Hung) else ""
            reason = f"{error}{place}."
            code = status.end("died", reason, EXIT_DIED)
            # Last, since the model may hang with the log's lock in its hands; then the backstop ends it.
            log.error("%s The model's thread is at:\n%s", reason, "".join(traceback.format_list(stack)))
            os._exit(code)
        except BaseException as error:
            # The model's thread may never come back to look: without this thread nobody would ever be answered.
            log.exception("the I/O thread died")
            os._exit(status.end("died", last_line(error), EXIT_DIED))

    # A SIGTERM to a process that the model forked must not stop the instance, nor be lost before the child is settled.
    before_fork = threading.local()

    def hold_sigterm() -> None:
        # A child that ends would wait for this thread, which it has not; the I/O thread brings it back here.
        faulthandler.cancel_dump_traceback_later()
        before_fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def release_sigterm() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before_fork.mask)

    def in_child() -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        io.close_in_child()
        stop_out.close()
        status.close()
        release_sigterm()

    def on_sigterm(*_: object) -> None:
        if stop_out.fileno() >= 0:
            stop_out.send(b"\0")

    os.register_at_fork(before=hold_sigterm, after_in_parent=release_sigterm, after_in_child=in_child)
    # The descriptor is written even while the model is inside a long call, when Python runs no handler; the handler
    # covers a script whose own loop has taken the descriptor.
    signal.signal(signal.SIGTERM, on_sigterm)
    signal.set_wakeup_fd(stop_out.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=run_io, name="kedge-io", daemon=True)
    thread.start()
    status.tell({"state": "ready"})
    _run_model(runtime, work, io, watch)
    thread.join()
    signal.set_wakeup_fd(-1)
    return status.end("stopped", "", 0)


def _place(stack: traceback.StackSummary, artifact: Path) -> str:
    """Where in the artifact's code a thread is; nothing when it is in none of it."""
    for frame in reversed(stack):
        if Path(frame.filename).is_relative_to(artifact.resolve()) or Path(frame.filename).is_relative_to(artifact):
            return f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"
    return ""


def _run_model(runtime: Runtime, work: Work[Connection], io: WorkerIo, watch: Watch) -> None:
    """Answer everything until the work is closed. Requests of one batch are answered as they become ready."""
    while (jobs := work.take(runtime.takes)) is not None:
        now_s = time.monotonic()
        late = [job for job in jobs if job.deadline_s is not None and job.deadline_s <= now_s]
        if late:
            io.answer((job, Busy("The request's time was over before the model was free.")) for job in late)
        batch = [job for job in jobs if job.deadline_s is None or job.deadline_s > now_s] if late else jobs
        watch.begin(batch)
        _run_batch(runtime, batch, io, watch)
        watch.end()
        if work.done(jobs):
            io.wake()


def _run_batch(runtime: Runtime, batch: list[Job[Connection]], io: WorkerIo, watch: Watch) -> None:
    if not batch:
        return
    open_jobs = set(range(len(batch)))
    try:
        for outcomes in runtime.answer([job.request for job in batch]):
            open_jobs.difference_update(index for index, _ in outcomes)
            io.answer((batch[index], outcome) for index, outcome in outcomes)
            watch.step()
    except BaseException:
        log.exception("the runtime raised")
    if open_jobs:
        io.answer((batch[index], ModelFailure("The runtime gave no answer.")) for index in open_jobs)


class _Status:
    """Tells the supervisor that is there, by the pipe, and the one that comes later, by the file."""

    def __init__(self, spec: WorkerSpec, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd
        self._identity = identity_of(fd)
        self._file = Path(spec.state_file)

    def tell(self, state: Mapping[str, Any]) -> None:
        line = json.dumps({**state, "pid": os.getpid()}).encode()
        try:
            write_whole(self._file, line)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._file.name, error)
        try:
            # The model's code may have closed it, and opened a file of its own there.
            if identity_of(self._fd) == self._identity:
                os.write(self._fd, line + b"\n")
        except OSError as error:
            # A supervisor that was killed: the file is for its successor.
            log.warning("the supervisor cannot be told: %s", error)

    def end(self, state: str, reason: str, code: int) -> int:
        self.tell({"state": state, "reason": reason[:MAX_REASON_CHARACTERS]} if reason else {"state": state})
        return code

    def close(self) -> None:
        os.close(self._fd)


class _StandardError:
    """Whatever sys.stderr is at the time, so that a script may replace it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def main(arguments: list[str] | None = None) -> NoReturn:
    """A worker as a fresh process: the spec is read as JSON from --spec-fd until its end."""
    parser = argparse.ArgumentParser(prog="python -m kedge.serving.worker")
    parser.add_argument("--spec-fd", type=int, required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    chosen = parser.parse_args(arguments)
    with os.fdopen(chosen.spec_fd, "rb") as file:
        spec = WorkerSpec.of(json.load(file))
    code = run(spec, chosen.status_fd)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Threads and exit hooks of the model's code shall not hold up an end that the supervisor waits for.
    os._exit(code)


if __name__ == "__main__":
    main()
