"""A process of an instance that has several: it runs one container, or one model of one, as a worker of its own.

It is forked from the process that speaks to the routers, which runs no code of a model and has no threads, so the fork
is as good as the instance's own was. Both ends of its only connection are there from the start; HELLO on it says that
the model is loaded. It ends with its parent.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import logging
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from kedge.compute import linux
from kedge.serving import worker
from kedge.serving.asking import Streaming, Waiting, Wire
from kedge.serving.worker_setup import Entrance, Status, WorkerSpec

log = logging.getLogger(__name__)

_CONNECTION, _STATUS, _BESIDE = 3, 4, 5
_LAST_WORDS_S = 2.0
"""How long a process that has closed its connection may take to say why, and end."""
_STOP_S = 5.0
_HELD = {signal.SIGTERM, signal.SIGCHLD}


Main = Callable[[WorkerSpec, Status, Entrance, "socket.socket | None"], int]
"""What a process runs, with its connection and the one beside it. Returns its exit code."""


class Part:
    """Started when it is made. It is `gone` when the process has ended; those who wait are told by its connection."""

    def __init__(
        self,
        spec: WorkerSpec,
        on_ready: Callable[[], None],
        on_ending: Callable[[], None],
        main: Main | None = None,
        beside: socket.socket | None = None,
    ) -> None:
        """on_ready: the model is loaded. on_ending: it takes no more requests. main: what it runs, a model if None.
        beside: a further connection for `main`, which is closed here. Raises OSError.
        """
        self.instance_id = spec.id
        self.ready = False
        self.stopping = False
        self.memory_bytes = 0
        """Its own when it became ready, as it said itself; 0 where that is not known."""
        self.reason = ""
        """Why it ended, once it has."""
        self.told_failure = False
        self.was_killed = False
        """By SIGKILL, as the kernel does for want of memory."""
        self.grace_s = _STOP_S
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_ready, self._on_ending = on_ready, on_ending
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._said = b""
        self.pid, connection, self._status = _fork(spec, main or _model, beside)
        self._loop.add_reader(self._status, self._hear)
        self._connecting = self._loop.create_task(self._connect(connection))

    @property
    def wants_room(self) -> bool:
        """Whether it was ended as the kernel does it for want of memory."""
        return self.was_killed

    @property
    def outstanding(self) -> int:
        return len(self._wire.streams) if self._wire is not None else 0

    def send(
        self, waiting: Waiting, head: bytes, body: bytes, limit_bytes: int, streaming: Streaming | None = None
    ) -> int:
        """One request, only while `ready`; returns its stream. As Wire.send."""
        assert self._wire is not None
        return self._wire.send(waiting, head, body, limit_bytes, streaming)

    def credit(self, stream: int, count: int) -> None:
        if self._wire is not None:
            self._wire.credit(stream, count)

    def cancel(self, stream: int) -> None:
        if self._wire is not None:
            self._wire.cancel(stream)

    def stop(self) -> None:
        """Ends it, at the latest after some seconds. Who still waits for it is told that it is lost."""
        if not self.stopping and not self.gone.done():
            self.stopping = True
            self._end_readiness()
            self._signal(signal.SIGTERM)
            self._loop.call_later(_STOP_S, self.kill)

    def kill(self) -> None:
        if not self.gone.done():
            self._signal(signal.SIGKILL)

    def reap(self) -> None:
        """Looks whether it has ended; for the handler of SIGCHLD."""
        if self.gone.done():
            return
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = self.pid, 0
        if pid:
            self._ended(os.waitstatus_to_exitcode(status))

    # What the connection tells.

    def now_connected(self, wire: Wire) -> None:
        self._wire = wire

    def now_ready(self) -> None:
        if not self.stopping:
            self._hear()
            self.ready = True
            self._on_ready()

    def now_ending(self) -> None:
        self._end_readiness()

    def now_refused(self, why: str) -> None:
        log.warning("%s: %s", self.instance_id, why)

    def now_lost(self) -> None:
        self._end_readiness()
        if not self.stopping:
            self._loop.call_later(_LAST_WORDS_S, self.kill)

    def _end_readiness(self) -> None:
        if self.ready:
            self.ready = False
            self._on_ending()

    async def _connect(self, sock: socket.socket) -> None:
        try:
            await self._loop.create_unix_connection(lambda: Wire(self), sock=sock)
        except OSError as error:
            log.warning("%s cannot be spoken to: %s", self.instance_id, error)
            sock.close()
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        # Not reaped yet, so the number is still its own.
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _hear(self) -> None:
        """Its status pipe: the lines that a worker tells."""
        try:
            while data := os.read(self._status, 65536):
                self._said = (self._said + data)[-65536:]
        except BlockingIOError:
            pass
        else:
            self._loop.remove_reader(self._status)
        for line in self._said.splitlines():
            with suppress(ValueError, TypeError, AttributeError):
                said = json.loads(line)
                self.memory_bytes = int(said.get("memory_bytes") or self.memory_bytes)
                self.told_failure = self.told_failure or said.get("state") == "failed"
                self.reason = str(said.get("reason") or "") or self.reason

    def _ended(self, code: int) -> None:
        self.was_killed = code == -signal.SIGKILL
        self._hear()
        self._loop.remove_reader(self._status)
        os.close(self._status)
        if not self.reason:
            self.reason = (
                f"The process was ended by {signal.Signals(-code).name}."
                if code < 0
                else f"The process ended with exit status {code}."
            )
        self._end_readiness()
        if self._wire is not None:
            # What it sent last may still be on its way; only a descendant that keeps the connection needs this.
            self._loop.call_later(_LAST_WORDS_S, self._wire.close)
        self.gone.set_result(None)


def _model(spec: WorkerSpec, status: Status, entrance: Entrance, beside: socket.socket | None) -> int:
    return worker.serve_model(spec, status, lambda: entrance)


def _fork(spec: WorkerSpec, main: Main, beside: socket.socket | None) -> tuple[int, socket.socket, int]:
    """(pid, our end of its connection, the end of its status pipe that is read). Raises OSError."""
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        pid = os.fork()
        if not pid:
            _become(spec, main, (theirs.detach(), write_end, beside.detach() if beside else -1), parent, before)
    except OSError:
        ours.close()
        os.close(read_end)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        os.close(write_end)
        if beside is not None:
            beside.close()
    ours.setblocking(False)
    os.set_blocking(read_end, False)
    return pid, ours, read_end


def _become(
    spec: WorkerSpec, main: Main, own: tuple[int, int, int], parent: int, mask: set[int | signal.Signals]
) -> NoReturn:
    """own: descriptors of the connection, of the status pipe, and of the connection beside; -1 for none."""
    code = 1
    try:
        _leave_behind(own, parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        entrance = Entrance(socket.socket(fileno=_CONNECTION), lambda: None)
        beside = socket.socket(fileno=_BESIDE) if own[2] >= 0 else None
        code = main(spec, Status(spec.state_file, _STATUS), entrance, beside)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 (the last frame: it goes to the output, which ends up in FailureReason)
        traceback.print_exc()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _leave_behind(own: tuple[int, int, int], parent: int) -> None:
    """Nothing of the parent's loop, descriptors and draws. Its objects stay referenced by the frames below this one:
    none of them is ever collected, so none closes a number that means another file here."""
    gc.freeze()
    with suppress(OSError):
        linux.die_with_parent(parent)
    signal.set_wakeup_fd(-1)
    for number in _HELD:
        signal.signal(number, signal.SIG_DFL)
    kept = [(fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _BESIDE + 1), to) for to, each in enumerate(own, 3) if each >= 0]
    for each, to in kept:
        os.dup2(each, to, inheritable=False)
    os.closerange(kept[-1][1] + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    asyncio.events._set_running_loop(None)
    asyncio.set_event_loop(None)
    tempfile.tempdir = None
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
