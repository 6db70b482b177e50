"""One task from its start to its end: launched, watched, brought back, stopped."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kedge.compute import ended, output, restart, sidecars
from kedge.compute.base import TaskSpec, TaskState, TaskStatus
from kedge.compute.batch_hints import hints_of
from kedge.compute.children import Children
from kedge.compute.launcher import Launcher, LaunchFailed
from kedge.compute.process_id import ProcessId
from kedge.compute.records import OUTPUT, STATE, TaskRecord, write_task
from kedge.compute.reports import (
    COMPILING,
    Report,
    Reports,
    StateFile,
    StatusPipe,
    exit_of,
    loaded_of,
    serves_of,
    wants_of,
)
from kedge.home import Home

REASON_LINES = 20
REASON_CHARACTERS = 8192
_REST_ENDS_WITHIN_S = 5.0
"""Of a sandbox, once its instance has ended; then it is killed."""
_LAST_WORDS_S = 1.0
"""How long an instance that said that it failed may take to end by itself."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class End:
    """How one process of the task ended."""

    reason: str
    told_failure: bool = False
    timed_out: bool = False
    ready_s: float = 0.0
    killed: bool = False
    """By SIGKILL, while it was ready and within its memory."""


class Task:
    """Its record is always what stands on disk. `changed` hears of every change, last of all of STOPPED."""

    def __init__(
        self,
        home: Home,
        record: TaskRecord,
        launcher: Launcher,
        children: Children,
        changed: Callable[[TaskStatus], None],
        want_compiled: Callable[[TaskSpec], None],
    ) -> None:
        self.record = record
        self._want_compiled = want_compiled
        self._home = home
        self._launcher = launcher
        self._children = children
        self._changed = changed
        self._living: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._told = asyncio.Event()
        self._lines: list[socket.socket] = []
        self._over_memory = False
        self._failure = ""
        self._last_words = ""
        self._ready_at = 0.0
        self._exit: int | None = None
        self.loaded: int | None = None
        """Models of a multi-model instance that can answer; None before it has said so."""

    def begin(self) -> None:
        """Take the task up where its record left it."""
        process = self.record.process
        adopted = process if process is not None and process.alive() else None
        if self.record.state is TaskState.STOPPING:
            self.stop()
        elif self.record.state is not TaskState.FAILED and self.record.state is not TaskState.ENDED:
            if adopted is None and self.record.spec.job is not None and self.record.ever_ready:
                self._end_unseen()
                return
            if adopted is None:
                self._set(state=self._starting_state(), process=None)
            self._living = asyncio.create_task(self._live(adopted))
            self._living.add_done_callback(_log_failure)

    def stop(self, *, at_once: bool = False) -> None:
        """End it and forget it. Recorded when this returns; may be called again, also to hurry. Raises OSError."""
        if self.record.state is not TaskState.STOPPING:
            self.record = replace(self.record, state=TaskState.STOPPING)
            write_task(self._home, self.record)
            self._changed(self.record.status())
        if at_once:
            self._hurry.set()
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(forget=True))

    async def halt(self, *, at_once: bool = False) -> None:
        """End its process and keep its record: the next supervisor starts it again. One that drains has less time."""
        if at_once:
            self._hurry.set()
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(forget=False))
        await asyncio.wait({self._leaving}, timeout=self.record.spec.stop_grace_s)
        self._hurry.set()
        await self._leaving

    def end_for_memory(self) -> None:
        """It uses more memory than it may: kill it; what follows is as after any other end."""
        if self.record.process is not None:
            self._over_memory = True
            self.record.process.signal(signal.SIGKILL)

    async def gone(self) -> None:
        """Waits for the end that `stop` asked for."""
        if self._leaving is not None:
            await self._leaving

    async def _live(self, adopted: ProcessId | None) -> None:
        failures = 0
        while True:
            end = await self._once(adopted)
            adopted = None
            if self.record.spec.job is not None:
                self._end_job(end)
                return
            failures = restart.failures_after(failures, end.ready_s, killed=end.killed)
            step = restart.next_step(
                ever_ready=self.record.ever_ready,
                failures=failures,
                told_failure=end.told_failure,
                timed_out=end.timed_out,
            )
            log.warning("instance %s: %s", self.record.spec.id, end.reason.partition("\n")[0])
            if isinstance(step, restart.GiveUp):
                self._set(state=TaskState.FAILED, process=None, reason=end.reason)
                return
            restarts = self.record.restarts + 1
            self._set(
                state=self._starting_state(), process=None, reason=end.reason, restarts=restarts, wants={}, serves=""
            )
            await asyncio.sleep(step.after_s)

    def _end_job(self, end: End) -> None:
        """It has run, or could not be started, or used too much memory; whatever it was, it is not started again."""
        ran = self._exit is not None or (self._ready_at > 0 and not self._used_too_much())
        state = TaskState.ENDED if ran else TaskState.FAILED
        self._set(state=state, process=None, reason=end.reason, exit_status=self._exit)

    def _end_unseen(self) -> None:
        """The job ended while there was no supervisor: what it wrote last says how."""
        StateFile(self._home.tasks / self.record.spec.id / STATE, self._hear).close()
        self._set(state=TaskState.ENDED, process=None, exit_status=self._exit)

    async def _once(self, adopted: ProcessId | None) -> End:
        """One process from its launch, or its adoption, to its end."""
        spec = self.record.spec
        self._told.clear()
        self._over_memory = False
        self._failure, self._last_words, self._ready_at = "", "", 0.0
        self._exit = None
        self.loaded = None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + spec.start_timeout_s
        exit_status: int | None = None
        reports: Reports
        if adopted is None:
            await self._rest_ended()
            try:
                async with asyncio.timeout_at(deadline):
                    launched = await self._launcher.launch(spec, self.record.gpus)
            except LaunchFailed as error:
                return End(f"The instance could not be started: {error}.")
            except TimeoutError:
                return self._end_of(None, timed_out=True)
            process, exit_status = launched.process, launched.exit_status
            reports = StatusPipe(launched.reports, self._hear)
            self._lines = launched.lines
            self._set(process=process, gate=launched.gate, sidecars=launched.sidecars)
        else:
            process = adopted
            if self.record.state is TaskState.READY:
                self._ready_at = loop.time()
                self._told.set()
            reports = StateFile(self._home.tasks / spec.id / STATE, self._hear, self._says_more)
        timed_out = False
        try:
            if process is not None:
                timed_out = not await self._settled(process, deadline - loop.time())
                exit_status = await self._children.ended(process)
        finally:
            reports.close()
        await self._rest_ended()
        end = self._end_of(exit_status, timed_out=timed_out)
        if spec.job is not None and self._exit is None and self._ready_at:
            self._exit = _of_its_own(exit_status)
        return end

    async def _rest_ended(self) -> None:
        """Waits until nothing is left of an instance that has ended."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        gate = self.record.gate
        if gate is not None:
            ended = asyncio.ensure_future(self._children.ended(gate))
            try:
                await asyncio.wait({ended}, timeout=_REST_ENDS_WITHIN_S)
                if not ended.done():
                    gate.signal(signal.SIGKILL)
                    await asyncio.wait({ended}, timeout=_REST_ENDS_WITHIN_S)
            finally:
                ended.cancel()
        await sidecars.settled(self.record.sidecars, self._children, _REST_ENDS_WITHIN_S)
        self._launcher.end_rest(self.record.spec.id)

    async def _settled(self, process: ProcessId, within_s: float) -> bool:
        """Waits until the instance is ready or has ended; kills one that does neither in time and returns False."""
        ended = asyncio.ensure_future(self._children.ended(process))
        told = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait({ended, told}, timeout=max(0.0, within_s), return_when=asyncio.FIRST_COMPLETED)
            if self._failure:
                await asyncio.wait({ended}, timeout=_LAST_WORDS_S)
            if not ended.done() and not self._ready_at:
                process.signal(signal.SIGKILL)
            return ended.done() or told.done()
        finally:
            ended.cancel()
            told.cancel()

    def _says_more(self) -> bool:
        """Whether an instance that is ready is to be heard further."""
        return self.record.spec.many_models or self.record.serves == COMPILING

    def _hear(self, report: Report) -> None:
        if (wants := wants_of(report)) is not None and wants != self.record.wants:
            self._set(wants=wants)
        if (loaded := loaded_of(report)) is not None:
            self.loaded = loaded
        if (serves := serves_of(report)) is not None and serves != self.record.serves:
            self._set(serves=serves)
        if batch := hints_of(report.get("batch")):
            self._set(batch=batch)
        if serves == COMPILING:
            self._want_compiled(self.record.spec)
        if (status := exit_of(report)) is not None and self.record.spec.job is not None:
            self._exit = status
        if "state" not in report or (report["state"] == "ready" and self._ready_at):
            return
        if report.get("state") == "ready":
            self._ready_at = asyncio.get_running_loop().time()
            self._set(state=TaskState.READY, ever_ready=True)
        elif report.get("state") == "failed":
            self._failure = str(report.get("reason") or "The instance gave no reason.")
            self._ready_at = 0.0
        else:
            self._last_words = str(report.get("reason") or "")
            return
        self._told.set()

    def _end_of(self, exit_status: int | None, *, timed_out: bool) -> End:
        spec = self.record.spec
        killed = False
        if self._failure:
            what = self._failure
        elif timed_out:
            what = f"The model was not loaded within {spec.start_timeout_s:g} s."
        elif self._used_too_much():
            what = f"The instance used more memory than the {spec.memory_bytes / 2**30:g} GiB of its instance type."
        elif self._exit is not None:
            what = f"The program ended with exit status {self._exit}."
        elif self._last_words:
            what = self._last_words
        elif exit_status is None:
            what = "The instance ended."
        elif exit_status < 0:
            killed = exit_status == -signal.SIGKILL and self._ready_at > 0
            what = f"The instance was ended by {_name(-exit_status)}."
        else:
            what = f"The instance ended with exit status {exit_status}."
        said = output.tail(self._home.tasks / spec.id / OUTPUT, REASON_LINES)
        reason = f"{what}\n{said}" if said else what
        ready_s = asyncio.get_running_loop().time() - self._ready_at if self._ready_at else 0.0
        return End(reason[:REASON_CHARACTERS], bool(self._failure), timed_out, ready_s, killed)

    def _used_too_much(self) -> bool:
        return self._over_memory or self._launcher.out_of_memory(self.record.spec.id)

    async def _leave(self, *, forget: bool) -> None:
        if self._living is not None:
            self._living.cancel()
            await asyncio.wait({self._living})
        process = self.record.process
        if process is not None:
            spec = self.record.spec
            await self._end(process, max(spec.stop_grace_s, spec.drain_s) if forget else spec.stop_grace_s)
        await self._rest_ended()
        self._launcher.clean(self.record.spec)
        if forget:
            self._keep_output()
            shutil.rmtree(self._home.tasks / self.record.spec.id, ignore_errors=True)
            self._changed(replace(self.record.status(), state=TaskState.STOPPED, pid=None))

    def _keep_output(self) -> None:
        try:
            ended.keep(self._home, self.record.spec.id)
        except OSError as error:
            log.error("the output of %s cannot be kept: %s", self.record.spec.id, error)

    async def _end(self, process: ProcessId, grace_s: float) -> None:
        ended = asyncio.ensure_future(self._children.ended(process))
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            if not self._hurry.is_set() and process.signal(signal.SIGTERM):
                await asyncio.wait({ended, hurry}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.signal(signal.SIGKILL)
            await ended
        finally:
            hurry.cancel()

    def _starting_state(self) -> TaskState:
        return TaskState.RESTARTING if self.record.ever_ready else TaskState.STARTING

    def _set(self, **fields: Any) -> None:
        """A full disk stops no serving: the record is then older than the truth, and adoption checks it anyhow."""
        if self.record.state is TaskState.STOPPING:
            fields.pop("state", None)
        self.record = replace(self.record, **fields)
        try:
            write_task(self._home, self.record)
        except OSError as error:
            log.error("the record of %s cannot be written: %s", self.record.spec.id, error)
        self._changed(self.record.status())


def _of_its_own(exit_status: int | None) -> int | None:
    """The exit status of a job whose process ended without a word, where that was its own doing, a shell's number for a
    signal; None where it was ended from outside, or nobody knows."""
    if not exit_status or exit_status in (-signal.SIGKILL, -signal.SIGTERM):
        return None
    return exit_status if exit_status > 0 else 128 - exit_status


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of the real-time signals, of which only the first and the last have names
        return f"signal {number}"


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a task is not watched any more", exc_info=error)
