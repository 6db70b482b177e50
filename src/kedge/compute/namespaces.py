"""System calls around namespaces and mounts, by ctypes: the standard library has some of them from Python 3.12 on.

Each raises OSError that names what was asked. Nothing here decides anything.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import functools
import os
import platform
import re
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

FLAGS = {
    "user": 0x1000_0000,
    "mnt": 0x0002_0000,
    "pid": 0x2000_0000,
    "ipc": 0x0800_0000,
    "uts": 0x0400_0000,
    "net": 0x4000_0000,
}
"""CLONE_NEW* by the name of the file in /proc/PID/ns. Also the order in which they are entered: the user namespace
first, since it gives the right to enter the others."""

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
_REMOUNT, _BIND, _REC, _PRIVATE = 0x20, 0x1000, 0x4000, 0x4_0000
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTRIBUTES = {RDONLY: 1, NOSUID: 2, NODEV: 4, NOEXEC: 8}
_KEPT = {os.ST_RDONLY: RDONLY, os.ST_NOSUID: NOSUID, 4: NODEV, 8: NOEXEC, 1024: 1024, 2048: 2048, 4096: 1 << 21}
"""What statvfs says of a mount, as flags of mount(2): a user namespace may not take one of them away again."""
_NUMBERS = {
    "x86_64": {"pivot_root": 155, "mount_setattr": 442},
    "aarch64": {"pivot_root": 41, "mount_setattr": 442},
}
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def known_machine() -> bool:
    """Whether the numbers of system calls are known here."""
    return platform.system() == "Linux" and platform.machine() in _NUMBERS


def unshare(names: Sequence[str]) -> None:
    """Leave for new namespaces. A new pid namespace begins with the next child."""
    flags = 0
    for name in names:
        flags |= FLAGS[name]
    check(libc().unshare(flags), f"unshare {' '.join(names)}")


def enter(descriptors: Sequence[tuple[str, int]]) -> None:
    """(name, descriptor of a file in /proc/PID/ns) each. A pid namespace counts for the next child."""
    for name, descriptor in descriptors:
        check(libc().setns(descriptor, FLAGS[name]), f"setns {name}")


def map_own_ids(uid: int, gid: int) -> None:
    """In a new user namespace: this user and group alone, under the numbers that they have outside."""
    for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        descriptor = os.open(f"/proc/self/{file}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def keep_mounts_apart() -> None:
    """Nothing that is mounted from now on is seen outside this mount namespace, nor the other way round."""
    mount("", "/", "", _REC | _PRIVATE)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    texts = [text.encode() for text in (source, target, kind, options)]
    done = libc().mount(texts[0], texts[1], texts[2] or None, ctypes.c_ulong(flags), texts[3] or None)
    check(done, f"mount {kind or 'flags'} {source} on {target}")


def bind(source: str, target: str) -> None:
    """With all that is mounted below the source."""
    mount(source, target, "", _BIND | _REC)


def restrict(target: str, flags: int) -> None:
    """Set RDONLY, NOSUID, NODEV, NOEXEC on the mount at the target and on all below it."""
    attributes = sum(value for flag, value in _ATTRIBUTES.items() if flags & flag)
    if mount_setattr_works():
        record = struct.pack("QQQQ", attributes, 0, 0, 0)
        number = _NUMBERS[platform.machine()]["mount_setattr"]
        done = libc().syscall(
            *(ctypes.c_long(value) for value in (number, _AT_FDCWD)),
            ctypes.c_char_p(target.encode()),
            ctypes.c_long(_AT_RECURSIVE),
            ctypes.c_char_p(record),
            ctypes.c_size_t(len(record)),
        )
        check(done, f"mount_setattr {target}")
        return
    for each in mounts_below(Path("/proc/self/mountinfo").read_text(), target):
        restrict_one(each, flags)


def restrict_one(target: str, flags: int) -> None:
    """The mount at the target alone, as kernels before 5.12 do it; flags that it has stay."""
    found = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in _KEPT.items() if found & bit)
    mount("", target, "", _REMOUNT | _BIND | kept | flags)


def mounts_below(mountinfo: str, target: str) -> list[str]:
    """The paths of the mount at the target and of those below it. PURE. Source: proc_pid_mountinfo(5)."""
    paths = [re.sub(r"\\([0-7]{3})", _octal, line.split(" ")[4]) for line in mountinfo.splitlines()]
    prefix = target.rstrip("/") + "/"
    return list(dict.fromkeys(path for path in paths if path == target or path.startswith(prefix)))


def _octal(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))


def change_root(new_root: str) -> None:
    """new_root, a mount, becomes / for every process of this mount namespace whose / was the old one."""
    os.chdir(new_root)
    dot = ctypes.c_char_p(b".")
    check(libc().syscall(ctypes.c_long(_NUMBERS[platform.machine()]["pivot_root"]), dot, dot), "pivot_root")
    check(libc().umount2(dot, _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def set_host_name(name: str) -> None:
    data = name.encode()
    check(libc().sethostname(data, ctypes.c_size_t(len(data))), "sethostname")


def loopback_up() -> None:
    """Bring up lo, the only device of a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0)
        name, flags = struct.unpack("16sh22x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh22x", name, flags | _IFF_UP))


@functools.cache
def mount_setattr_works() -> bool:
    """Linux 5.12. A seccomp filter of a container may forbid a call that it does not know."""
    if not known_machine():
        return False
    number = _NUMBERS[platform.machine()]["mount_setattr"]
    libc().syscall(ctypes.c_long(number), ctypes.c_long(-1), None, ctypes.c_long(0), None, ctypes.c_size_t(0))
    return ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM)


@functools.cache
def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
