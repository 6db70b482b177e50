"""Which process, also after its number has been given to another one.

A process is its number, the time at which the kernel started it and the boot in which it did. Where /proc and pidfd
exist a signal can only reach that very process; elsewhere the start time comes from ps and is compared before a kill.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.05
_POLLS_TO_COMPARE = 20
_PROC = Path("/proc")
_STAT_BYTES = 4096
"""More than the 52 numbers and the name have."""


@dataclass(frozen=True)
class ProcessId:
    pid: int
    start: str
    """When the kernel started it: clock ticks since the boot, or ps's lstart."""
    boot: str

    @classmethod
    def of(cls, pid: int, *, zombie: bool = False) -> ProcessId:
        """Raises ProcessLookupError when there is no such process; one that waits to be reaped counts if `zombie`."""
        start = _start(pid, zombie=zombie)
        if start is None:
            raise ProcessLookupError(pid)
        return cls(pid, start, boot_id())

    def alive(self) -> bool:
        return self.boot == boot_id() and _start(self.pid) == self.start

    def signal(self, number: int) -> bool:
        """Send it; False when the process is gone. Raises PermissionError for somebody else's."""
        return signal_by_pidfd(self, number) if pidfd_works() else signal_by_pid(self, number)

    async def exited(self) -> None:
        """Returns once it has ended; it need not be a child of this process."""
        await (exited_by_pidfd(self) if pidfd_works() else exited_by_polling(self))


def signal_by_pidfd(process: ProcessId, number: int) -> bool:
    with _pidfd(process) as descriptor:
        if descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        return True


def signal_by_pid(process: ProcessId, number: int) -> bool:
    if not process.alive():
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


async def exited_by_pidfd(process: ProcessId) -> None:
    loop = asyncio.get_running_loop()
    with _pidfd(process) as descriptor:
        if descriptor is None:
            return
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)


async def exited_by_polling(process: ProcessId) -> None:
    """Whether the number is in use costs nothing and is asked often; whose it is may cost a `ps`."""
    while process.alive():
        for _ in range(_POLLS_TO_COMPARE):
            await asyncio.sleep(_POLL_S)
            if not _in_use(process.pid):
                return


def _in_use(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's by now, which the comparison finds
    return True


@contextlib.contextmanager
def _pidfd(process: ProcessId) -> Iterator[int | None]:
    """A descriptor that means this process; None when it is gone. Checked after opening: it cannot change then."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor if process.alive() else None
    finally:
        os.close(descriptor)


@functools.cache
def pidfd_works() -> bool:
    """A sandbox may forbid a call that the kernel has."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return hasattr(signal, "pidfd_send_signal")


@functools.cache
def boot_id() -> str:
    """This boot's name; empty where the kernel gives none."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def has_proc() -> bool:
    return (_PROC / "self/stat").exists()


@dataclass(frozen=True)
class Stat:
    """What /proc/PID/stat says of a process."""

    state: str
    parent: int
    session: int
    start: str
    cpu_ticks: int = 0
    """What it has had of the processors, in user and system mode."""


def read_stat(pid: int) -> Stat | None:
    """None when there is no such process. Source: proc_pid_stat(5); the name in brackets may hold anything."""
    try:
        # By hand, at a third of the cost of a Path: the supervisor looks at every process once a second.
        descriptor = os.open(f"{_PROC}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(descriptor, _STAT_BYTES).decode(errors="replace")
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    cpu_ticks = int(fields[11]) + int(fields[12])
    return Stat(fields[0], parent=int(fields[1]), session=int(fields[3]), start=fields[19], cpu_ticks=cpu_ticks)


def marked(variable: str, value: str) -> list[int]:
    """Processes that were started with this environment variable, or forked from such a one. Needs /proc."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in _PROC.iterdir() if has_proc() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # gone, or not ours to read: then it is none of ours
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _start(pid: int, *, zombie: bool = False) -> str | None:
    """When a living process was started; a zombie does not live."""
    if has_proc():
        stat = read_stat(pid)
        return None if stat is None or (stat.state in "ZX" and not zombie) else stat.start
    return start_by_ps(pid, zombie=zombie)


def start_by_ps(pid: int, *, zombie: bool = False) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
    )
    state, _, start = done.stdout.strip().partition(" ")
    return None if not state or (state.startswith("Z") and not zombie) else " ".join(start.split())
