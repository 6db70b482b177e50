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
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from kedge.compute.batch_hints import BATCH, Hints, hints_of
from kedge.serving import frames, memory, runtimes
from kedge.serving.compiled import following
from kedge.serving.runtimes.base import (
    Answer,
    Busy,
    InvocationError,
    LoadError,
    ModelFailure,
    Runtime,
    Streamed,
    as_outcome,
    last_line,
)
from kedge.serving.runtimes.script import ScriptRuntime
from kedge.serving.streams import MAX_BODY_BYTES
from kedge.serving.watch import Unserviceable, Watch
from kedge.serving.work import MAX_BYTES, MAX_REQUESTS, Job, Work
from kedge.serving.worker_io import Abandoned, Connection, Hung, WorkerIo
from kedge.serving.worker_setup import (
    EXIT_DIED,
    EXIT_LOAD_FAILED,
    Entrance,
    Status,
    WorkerSpec,
    environment,
    listen,
    settle,
)

__all__ = ["EXIT_DIED", "EXIT_LOAD_FAILED", "WorkerSpec", "environment", "run"]

log = logging.getLogger(__name__)

LARGEST_BODY = "KEDGE_LARGEST_BODY_MIB"
"""Variable of an instance whose requests may be larger than usual."""
_QUICK_S = 100e-6
"""A batch that takes less is a quick one."""
_LOOK_S = 0.5
"""How long the model's thread waits for a slow reader before it says that this is not the model's doing."""
_QUICK_EACH_S = 50e-6
"""So are the answers within a batch, of any length, when one takes less than this on the mean."""


def run(spec: WorkerSpec, status_fd: int) -> int:
    """Load the model and serve until SIGTERM. Returns the exit code, with which the caller ends the process.

    Call it in the main thread of a process of its own: it takes over the environment, the signals and the current
    directory. Standard output and error are taken as they are.
    """
    status = Status(spec.state_file, status_fd)
    if spec.containers:
        # Imported here: an instance with one model needs neither this nor asyncio.
        from kedge.serving import composition

        return composition.run(spec, status)
    return serve_model(spec, status, lambda: listen(Path(spec.socket), spec.listener))


def serve_model(spec: WorkerSpec, status: Status, open_entrance: Callable[[], Entrance]) -> int:
    """As `run`, for one model. open_entrance: called once the model is loaded."""
    try:
        settle(spec)
        chosen = following.mode(os.environ)
        runtime = _load(spec)
        if not spec.state_file:
            status.tell({"state": "loaded", "memory_bytes": memory.own_bytes()})
        entrance = open_entrance()
    except LoadError as error:
        return status.end("failed", str(error), EXIT_LOAD_FAILED)
    except BaseException as error:
        log.exception("the instance cannot be started")
        return status.end("failed", last_line(error), EXIT_LOAD_FAILED)
    try:
        return _serve(spec, runtime, entrance, status, chosen)
    except Exception as error:
        log.exception("the worker died")
        return status.end("died", last_line(error), EXIT_DIED)
    finally:
        entrance.remove()


def _load(spec: WorkerSpec) -> Runtime:
    began_s = time.monotonic()
    runtime = runtimes.load(spec.runtime, Path(spec.artifact_dir), os.environ)
    _limit_threads(os.environ.get("OMP_NUM_THREADS", ""))
    runtimes.probe(runtime, Path(spec.artifact_dir))
    # What was loaded stays: the collector need not walk it, and pages shared with the fork server stay shared.
    gc.collect()
    gc.freeze()
    log.info("the model is loaded after %.0f ms", (time.monotonic() - began_s) * 1000)
    return runtime


def _limit_threads(count: str) -> None:
    """Libraries that were loaded before the environment was set, in a fork server, took the machine's core count."""
    if "threadpoolctl" in sys.modules and count.isdecimal():
        sys.modules["threadpoolctl"].threadpool_limits(int(count))


def _serve(spec: WorkerSpec, runtime: Runtime, entrance: Entrance, status: Status, chosen: str) -> int:
    largest_bytes = _largest_body_bytes(os.environ.get(LARGEST_BODY, ""))
    stop_in, stop_out = socket.socketpair()
    stop_out.setblocking(False)
    hello = {
        "instance": spec.id,
        "joinable": runtime.joinable,
        "tells_begun": True,
        "max_requests": MAX_REQUESTS,
        "max_body_bytes": largest_bytes,
    }
    # One of the largest, and beside it as much as ever.
    work: Work[Connection] = Work(MAX_BYTES if largest_bytes <= MAX_BODY_BYTES else largest_bytes + MAX_BYTES)
    watch = Watch()
    io = WorkerIo(entrance.socket, stop_in, hello, work, watch, on_stop=entrance.remove)

    def run_io() -> None:
        try:
            io.run()
        except Unserviceable as error:
            if isinstance(error, Hung):
                io.give_back()
            stack = traceback.extract_stack(sys._current_frames()[threading.main_thread().ident or 0])
            place = _place(stack, Path(spec.artifact_dir)) if isinstance(error, Hung) else ""
            reason = f"{error}{place}."
            code = status.end("died", reason, EXIT_DIED)
            # Last, since the model may hang with the log's lock in its hands; then the backstop ends it.
            log.error("%s The model's thread is at:\n%s", reason, "".join(traceback.format_list(stack)))
            os._exit(code)
        except Abandoned:
            log.warning("the model is at a request that nobody waits for any more; the instance ends all the same")
            os._exit(status.end("stopped", "", 0))
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
    status.tell({"state": "ready", **_batch(runtime, os.environ)})
    if spec.state_file:
        following.begin(runtime, spec.compiled, chosen, status.serves)
    _run_model(runtime, work, io, watch)
    thread.join()
    signal.set_wakeup_fd(-1)
    return status.end("stopped", "", 0)


def _batch(runtime: Runtime, environment: Mapping[str, str]) -> dict[str, Hints]:
    """How a transform job is best to send batches, where the script says so."""
    if environment.get(BATCH) != "true" or not isinstance(runtime, ScriptRuntime):
        return {}
    try:
        hints = hints_of(runtime.execution_parameters())
    except Exception:
        log.exception("execution_parameters_fn raised; it counts as if it were not there")
        return {}
    return {"batch": hints} if hints else {}


def _largest_body_bytes(mib: str) -> int:
    return int(mib) * 1024 * 1024 if mib.isdecimal() and int(mib) else MAX_BODY_BYTES


def _place(stack: traceback.StackSummary, artifact: Path) -> str:
    """Where in the artifact's code a thread is; nothing when it is in none of it."""
    for frame in reversed(stack):
        if Path(frame.filename).is_relative_to(artifact.resolve()) or Path(frame.filename).is_relative_to(artifact):
            return f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"
    return ""


def _run_model(runtime: Runtime, work: Work[Connection], io: WorkerIo, watch: Watch) -> None:
    """Answer everything until the work is closed. Requests of one batch are answered as they become ready.

    Of a model that takes microseconds the sending would cost as much as the rest: answers go out together then.
    """
    while (jobs := work.take(runtime.takes)) is not None:
        began_s = time.monotonic()
        late = [job for job in jobs if job.deadline_s is not None and job.deadline_s <= began_s]
        if late:
            io.answer((job, Busy("The request's time was over before the model was free.")) for job in late)
        batch = [job for job in jobs if job.deadline_s is None or job.deadline_s > began_s] if late else jobs
        if batch:
            if asked := [job for job in batch if job.tells_begun]:
                io.begun(asked)
            watch.begin(batch)
            run_batch(runtime, batch, io, watch, began_s + _QUICK_S)
            watch.end()
            io.may_hold = time.monotonic() - began_s < max(_QUICK_S, _QUICK_EACH_S * len(batch))
        if work.done(jobs):
            io.wake()


def run_batch(runtime: Runtime, batch: list[Job[Connection]], io: WorkerIo, watch: Watch, quick_until_s: float) -> None:
    """quick_until_s: until then the last answers may go out with those of the batch that comes after."""
    open_jobs = set(range(len(batch)))
    try:
        for outcomes in runtime.answer([job.request for job in batch]):
            open_jobs.difference_update(index for index, _ in outcomes)
            answers: list[tuple[Job[Connection], Answer | InvocationError]] = []
            streams: list[tuple[Job[Connection], Streamed]] = []
            for index, outcome in outcomes:
                if isinstance(outcome, Streamed):
                    streams.append((batch[index], outcome))
                else:
                    answers.append((batch[index], outcome))
            hold = io.may_hold and (bool(open_jobs) or (io.more_wait and time.monotonic() < quick_until_s))
            io.answer(answers, hold=hold and not streams)
            watch.step()
            for job, streamed in streams:
                send_parts(job, streamed, io, watch)
    except BaseException:
        log.exception("the runtime raised")
    if open_jobs:
        io.answer((batch[index], ModelFailure("The runtime gave no answer.")) for index in open_jobs)


def send_parts(job: Job[Connection], streamed: Streamed, io: WorkerIo, watch: Watch) -> None:
    """Each part as soon as the model gives it, and no sooner than the reader takes it. Ends with its last reader."""
    said = (streamed.status, streamed.content_type, streamed.custom_attributes)
    head = frames.told_head(*said, (), streamed.session) if streamed.session else frames.response_head(*said)
    watch.stream(goes_on=True)
    begun = False
    try:
        for part in streamed.parts:
            for start in range(0, len(part), frames.PART_BYTES):
                piece = part[start : start + frames.PART_BYTES]
                while (sent := io.part(job, head, piece, _LOOK_S)) is None:
                    watch.step()
                if not sent:
                    return
                begun = True
            watch.step()
        if begun:
            io.end(job)
        else:
            io.answer([(job, Answer(b"", *said[1:], streamed.status, streamed.session))])
    except BaseException as error:  # noqa: BLE001 (as_outcome logs it)
        io.answer([(job, as_outcome(error))])
    finally:
        try:
            streamed.parts.close()
        except BaseException:
            log.exception("a stream could not be closed")
        watch.stream(goes_on=False)


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
