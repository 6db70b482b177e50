"""System calls that the standard library lacks, and what this machine can do. Always probed, never guessed by name."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import socket
from dataclasses import asdict, dataclass

from kedge.compute import cgroup, sandbox

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2


@dataclass(frozen=True)
class Capabilities:
    """What `kedge doctor` and docs/operations.md call by these names."""

    pidfd: bool
    """A process is waited for and signalled by a descriptor; otherwise by polling and comparing start times."""
    subreaper: bool
    """Orphans become children of the supervisor."""
    parent_death_signal: bool
    """The kernel kills the processes of --ephemeral with their supervisor; otherwise a held pipe does."""
    proc: bool
    """Processes that no record claims are found and killed."""
    peer_pid: bool
    """The kernel says who connected to the supervisor."""
    punch_hole: bool
    """The oldest output of an instance is given back to the disk; otherwise all of it at once."""
    fork_server: bool
    """Instances are forked from a process that has imported scikit-learn; otherwise each one imports it."""
    control_groups: bool
    """The memory and the number of processes of an instance are bounded by the kernel; otherwise by a watchdog."""
    own_proc: bool
    """A pid namespace can have a /proc of its own; otherwise an instance is shown that of outside."""
    user_namespace: bool
    """This and the following are the layers of `kedge.compute.sandbox.LAYERS`."""
    mount_namespace: bool
    pid_namespace: bool
    network_namespace: bool
    ipc_namespace: bool
    uts_namespace: bool
    landlock: bool
    seccomp: bool
    no_new_privileges: bool

    def missing_layers(self) -> list[str]:
        """Of the sandbox."""
        return [name for name in sandbox.LAYERS if not getattr(self, name)]

    def as_dict(self) -> dict[str, bool]:
        return asdict(self)


def probe() -> Capabilities:
    """Asks the kernel and changes nothing."""
    # Here, since it brings asyncio along, without which the small processes that use the rest of this start faster.
    from kedge.compute.process_id import has_proc, pidfd_works

    prctl = _prctl() is not None
    subreaper = prctl and _subreaper_known()
    return Capabilities(
        pidfd=pidfd_works(),
        subreaper=subreaper,
        parent_death_signal=prctl,
        proc=has_proc(),
        peer_pid=hasattr(socket, "SO_PEERCRED"),
        punch_hole=_fallocate() is not None,
        fork_server=subreaper and has_proc(),
        control_groups=cgroup.find("probe") is not None,
        own_proc=sandbox.own_proc_works(),
        **{name: name in sandbox.probe() for name in sandbox.LAYERS},
    )


def become_subreaper() -> None:
    """Orphans below this process become its children. Raises OSError."""
    _call_prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when its parent ends; call it in the child. parent: the pid it should have."""
    _call_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def name_process(name: str) -> None:
    """What ps and top call this process, at most 15 bytes; without it a fork bears its forker's name. Best effort."""
    prctl = _prctl()
    if prctl is not None:
        prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), *[ctypes.c_ulong(0)] * 3)


def punch_hole(descriptor: int, length: int) -> bool:
    """Give the first `length` bytes back to the disk; offsets and size stay. False where the file system cannot."""
    fallocate = _fallocate()
    if fallocate is None:
        return False
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    return bool(fallocate(descriptor, mode, ctypes.c_int64(0), ctypes.c_int64(length)) == 0)


def _call_prctl(option: int, value: int) -> None:
    prctl = _prctl()
    if prctl is None or prctl(option, ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} is not possible here")


def _subreaper_known() -> bool:
    prctl, found = _prctl(), ctypes.c_int()
    return prctl is not None and prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(found), *[ctypes.c_ulong(0)] * 3) == 0


@functools.cache
def _prctl() -> ctypes._NamedFuncPointer | None:
    return _function("prctl")


@functools.cache
def _fallocate() -> ctypes._NamedFuncPointer | None:
    return _function("fallocate64") or _function("fallocate")


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    try:
        found: ctypes._NamedFuncPointer = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError):
        return None
    return found
