"""The processes below the supervisor: starting them, and learning of every end exactly once.

The supervisor is a subreaper, so it is also told of processes that it did not start itself: instances, which the fork
server starts, and orphans of anybody below.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from kedge.compute import held_pipe, linux
from kedge.compute.linux import Capabilities
from kedge.compute.process_id import ProcessId

_REMEMBERED = 1000
"""How many ends are kept for those who ask late. An instance may end before the fork server's answer is read."""


class Children:
    """One for each supervisor. tied: children die with it, also when it is killed."""

    def __init__(self, capabilities: Capabilities, *, tied: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._capabilities = capabilities
        self._tied = tied
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._ended: OrderedDict[int, int] = OrderedDict()
        self._held: tuple[int, int] | None = None
        if capabilities.subreaper:
            linux.become_subreaper()
        if tied and not capabilities.parent_death_signal:
            self._held = os.pipe()
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def spawn(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        output: int,
        descriptors: Sequence[int] = (),
    ) -> ProcessId:
        """Start a program in a session of its own, with `output` as stdout and stderr. Raises OSError."""
        environment = dict(environment)
        descriptors = list(descriptors)
        if self._held is not None:
            descriptors.append(self._held[0])
            environment[held_pipe.VARIABLE] = str(self._held[0])
        child = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=descriptors,
            start_new_session=True,
            preexec_fn=self._tie(),
        )
        self._started[child.pid] = child
        self._ended.pop(child.pid, None)
        return ProcessId.of(child.pid, zombie=True)

    def claim(self, pid: int) -> ProcessId | None:
        """The identity of a child that the fork server started; None when it has already ended."""
        try:
            found = ProcessId.of(pid)
        except ProcessLookupError:
            return None
        self._ended.pop(pid, None)  # that was another process with this number
        return found

    async def ended(self, process: ProcessId) -> int | None:
        """Waits for the end. The exit status, negative for a signal; None for a process that is not our child."""
        pid = process.pid
        if pid in self._ended and not process.alive():
            return self._ended.pop(pid)
        if not _is_child(pid):
            await process.exited()
            return self._ended.pop(pid, None)
        if pid not in self._waiting:
            self._waiting[pid] = self._loop.create_future()
        return await asyncio.shield(self._waiting[pid])

    def exit_status(self, pid: int) -> int | None:
        """Of a child that ended before anybody waited for it, perhaps so lately that its signal was not heard yet."""
        self._reap()
        return self._ended.pop(pid, None)

    def close(self) -> None:
        self._loop.remove_signal_handler(signal.SIGCHLD)
        self._reap()
        for descriptor in self._held or ():
            os.close(descriptor)

    def _tie(self) -> Callable[[], None] | None:
        if not self._tied or not self._capabilities.parent_death_signal:
            return None
        supervisor = os.getpid()
        return lambda: linux.die_with_parent(supervisor)

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            # Not reaped yet, so its number still means it: what it leaves in its process group goes with it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if (child := self._started.pop(pid, None)) is not None:
                child.returncode = status  # or Popen would look for it when it is collected
            waiting = self._waiting.pop(pid, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(status)
            self._ended[pid] = status  # also then: who waited may have been cancelled and ask again
            while len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)


def _is_child(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
