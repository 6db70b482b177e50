"""What keeps an instance apart from the rest, what of it this machine offers, and how it is made.

Namespaces are made by the keeper (`make`), before there is a process of the instance; the instance's first process
enters them and gives up what it still may (`confine`), before it reads anything of the model.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedge.compute import landlock, namespaces, seccomp, view
from kedge.compute.namespaces import libc

LAYERS = {
    "user_namespace": "an instance has no right outside its own namespaces, even when the server runs as root",
    "mount_namespace": "an instance sees Python, libraries and its own model, and no other file",
    "pid_namespace": "an instance sees no process but its own, and leaves none behind",
    "network_namespace": "an instance reaches the API port and nothing else",
    "ipc_namespace": "shared memory and message queues are an instance's own",
    "uts_namespace": "an instance does not learn the host's name",
    "landlock": "files that may be changed, and processes that may be signalled, are bounded once more",
    "seccomp": "system calls that no model needs are refused",
    "no_new_privileges": "no program gives an instance more rights",
}
"""What each one gives. docs/isolation.md has the same table."""
_NAMES = {
    "user": "user_namespace",
    "mnt": "mount_namespace",
    "pid": "pid_namespace",
    "net": "network_namespace",
    "ipc": "ipc_namespace",
    "uts": "uts_namespace",
}
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_SET_DUMPABLE = 38, 24, 28, 47, 4
_CLEAR_ALL = 4
_NO_ROOT_RIGHTS = 0x01 | 0x02 | 0x40 | 0x80
"""Being root gives no capability (and that is locked); none is kept over an exec (locked). capabilities(7)."""
_ABI_OF_PORTS = 4
_CAPABILITY_VERSION = 0x2008_0522


@dataclass(frozen=True)
class Confinement:
    """What a process gives up for good. Paths are those that it sees."""

    landlock: bool = False
    seccomp: bool = False
    no_new_privileges: bool = False
    readable: Sequence[str] = ()
    writable: Sequence[str] = ()
    sockets: Sequence[str] = ()
    """Folders in which it may make sockets and nothing else."""
    devices: Sequence[str] = ()
    system_besides: Sequence[str] | None = None
    """Not None: Python and libraries may be read too, but no folder in which one of these lies."""
    local: bool = True
    """Whether it may make Unix sockets of its own; its listening one is made before."""
    internet: bool = True
    """Whether it may make sockets of the internet."""
    connect_to: Sequence[int] | None = None
    """The only TCP ports to which it may connect, where Landlock can say so (ABI 4); None: any."""
    processes: int = 0
    """RLIMIT_NPROC; 0: not set."""
    data_bytes: int = 0
    """How much the memory of its own may grow (RLIMIT_DATA); 0: not set."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Confinement:
        return cls(**fields)


def confine(to: Confinement, outputs: Sequence[int] = ()) -> None:
    """For this process and all that it starts. Raises OSError.

    outputs: descriptors of files that may be opened anew, as /dev/stdout is.
    """
    if to.processes:
        _lower(resource.RLIMIT_NPROC, to.processes)
    if to.data_bytes:
        _lower(resource.RLIMIT_DATA, own_data_bytes() + to.data_bytes)
    drop_capabilities()
    if to.no_new_privileges:
        zeros = [ctypes.c_ulong(0)] * 3
        namespaces.check(libc().prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *zeros), "no_new_privs")
    if to.landlock:
        rules: list[tuple[str | int, int]] = [(path, landlock.READ) for path in to.readable]
        if to.system_besides is not None:
            rules += [(path, landlock.READ) for path in _system(to.system_besides)]
        rules += [(path, landlock.WRITE) for path in to.writable]
        rules += [(path, landlock.SOCKETS) for path in to.sockets]
        rules += [(path, landlock.DEVICE) for path in to.devices]
        rules += [(descriptor, landlock.APPEND) for descriptor in outputs]
        landlock.restrict(rules, connect_to=to.connect_to)
    if to.seccomp:
        families = (*(seccomp.LOCAL if to.local else ()), *(seccomp.INTERNET if to.internet else ()))
        bounded = to.landlock and to.connect_to is not None and landlock.abi() >= _ABI_OF_PORTS
        seccomp.install(families, streams_only=bounded)


def _system(besides: Sequence[str]) -> list[str]:
    found = [*view.system_paths(host_network=True), "/proc", *(os.path.realpath(each) for each in view.LINKED)]
    return [path for path in found if not any(f"{each}/".startswith(f"{path}/") for each in besides)]


def prepare() -> None:
    """Work out, before forking, what each fork needs."""
    if namespaces.known_machine():
        seccomp.packed()
        namespaces.mount_setattr_works()
        landlock.abi()
        _last_capability()


@functools.cache
def _last_capability() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    return 63


def drop_capabilities() -> None:
    """All of them, also out of the sets from which they could come back. Nothing where there is none."""
    if not namespaces.known_machine():
        return
    zeros = [ctypes.c_ulong(0)] * 3
    libc().prctl(_PR_SET_SECUREBITS, ctypes.c_ulong(_NO_ROOT_RIGHTS), *zeros)
    prctl = libc().prctl
    for number in range(_last_capability() + 1):
        if prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:  # without the right to, or not known to the kernel
            break
    libc().prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_CLEAR_ALL), *zeros)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    none = (ctypes.c_uint32 * 6)()
    namespaces.check(libc().capset(header, none), "capset")


def hide_memory() -> None:
    """No process of the same user may look into this one from now on, whatever else it may."""
    libc().prctl(_PR_SET_DUMPABLE, *[ctypes.c_ulong(0)] * 4)


def own_data_bytes() -> int:
    """How much of RLIMIT_DATA this process uses; 0 where /proc does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _lower(kind: int, value: int) -> None:
    _, most = resource.getrlimit(kind)
    if most != resource.RLIM_INFINITY:
        value = min(value, most)
    resource.setrlimit(kind, (value, value))


@functools.cache
def probe() -> frozenset[str]:
    """The layers that work here, found by trying each in a child process. Changes nothing."""
    found = set()
    if namespaces.known_machine():
        # A user namespace gives the rights that the others need; root may have them without.
        with_user = _in_child(lambda say: _try_namespaces(say, ["user"]))
        without = _in_child(lambda say: _try_namespaces(say, [])) if os.geteuid() == 0 else set()
        best = without if len(without) > len(with_user) else with_user
        found |= {_NAMES[name] for name in best}
        found |= _in_child(_try_confinement)
    return frozenset(found)


def namespace_names(layers: Mapping[str, bool]) -> list[str]:
    """The namespaces to make, as in /proc/PID/ns, the user namespace first. PURE."""
    return [name for name, layer in _NAMES.items() if layers.get(layer)]


def _try_namespaces(say: Callable[[str], None], first: Sequence[str]) -> None:
    uid, gid = os.getuid(), os.getgid()
    if first:
        namespaces.unshare(first)
        namespaces.map_own_ids(uid, gid)
        say("user")
    for name, usable in (("mnt", _mounts_work), ("net", namespaces.loopback_up), ("ipc", None), ("uts", None)):
        with contextlib.suppress(OSError):
            namespaces.unshare([name])
            if usable is not None:
                usable()
            say(name)
    with contextlib.suppress(OSError):
        namespaces.unshare(["pid"])
        pid = os.fork()
        if pid == 0:
            os._exit(0 if os.getpid() == 1 else 1)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
            say("pid")


def _mounts_work() -> None:
    namespaces.keep_mounts_apart()
    namespaces.mount("tmpfs", "/proc", "tmpfs", 0)
    os.mkdir("/proc/there")
    namespaces.bind("/dev/null", "/dev/null")
    namespaces.bind("/usr", "/proc/there")
    namespaces.restrict("/proc/there", namespaces.RDONLY)
    namespaces.change_root("/proc")


def _try_confinement(say: Callable[[str], None]) -> None:
    zeros = [ctypes.c_ulong(0)] * 3
    if libc().prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *zeros) == 0:
        say("no_new_privileges")
    with contextlib.suppress(OSError):
        if landlock.abi() > 0:
            landlock.restrict([("/", landlock.READ)])
            say("landlock")
    with contextlib.suppress(OSError):
        seccomp.install()
        say("seccomp")


def _in_child(attempt: Callable[[Callable[[str], None]], None]) -> set[str]:
    """What the attempt said in a process of its own, which ends whatever happens there."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child makes system calls only
        pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            with open(write_end, "w", buffering=1) as pipe:
                attempt(lambda name: print(name, file=pipe))
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end) as pipe:
        said = pipe.read().split()
    os.waitpid(pid, 0)
    return set(said)


@functools.cache
def own_proc_works() -> bool:
    """Whether a pid namespace can have a /proc of its own; in a container that hides parts of /proc it cannot."""
    layers = probe()
    if not {"mount_namespace", "pid_namespace"} <= layers:
        return False

    def attempt(say: Callable[[str], None]) -> None:
        uid, gid = os.getuid(), os.getgid()
        first = ["user"] if "user_namespace" in layers else []
        namespaces.unshare([*first, "mnt", "pid"])
        if first:
            namespaces.map_own_ids(uid, gid)
        namespaces.keep_mounts_apart()
        pid = os.fork()
        if pid == 0:
            try:
                namespaces.mount("proc", "/proc", "proc", namespaces.NOSUID)
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0:
            say("proc")

    return bool(_in_child(attempt))
