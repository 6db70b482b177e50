"""The system calls that an instance may not make, as a filter that the kernel runs before each one.

What is refused answers EPERM, as a container's filter does, so that a program which only tries goes on. Everything else
is allowed: models call what they like. The filter also holds for whatever the instance starts.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import platform
import socket
import struct
from collections.abc import Mapping, Sequence

from kedge.compute.namespaces import FLAGS, check, libc

REFUSED: Mapping[str, tuple[int, int]] = {
    # Other processes' memory and descriptors. x86_64, aarch64; -1: not there. Source: the kernel's syscall tables.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    # Mounts and namespaces: what was set up stays as it is.
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    # Files by handle go past what is visible.
    "open_by_handle_at": (304, 265),
    # The kernel itself, and its keys.
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Large surfaces that served break-outs before, and that no model needs.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
}
LOCAL = (socket.AF_UNIX,)
INTERNET = (socket.AF_INET, socket.AF_INET6)
FAMILIES = (*LOCAL, *INTERNET)
"""Of sockets; all others are refused."""

_CALLS = {
    "x86_64": {"arch": 0xC000_003E, "column": 0, "clone": 56, "clone3": 435, "socket": 41, "socketpair": 53},
    "aarch64": {"arch": 0xC000_00B7, "column": 1, "clone": 220, "clone3": 435, "socket": 198, "socketpair": 199},
}
_X32 = 0x4000_0000
_NR, _ARCH, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
"""Where they stand in what the kernel hands to the filter: the low half of each argument on these machines."""
_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_KIND_OF_SOCKET = 0xF
"""Without SOCK_CLOEXEC and SOCK_NONBLOCK."""
_ALLOW, _ERROR = 0x7FFF_0000, 0x0005_0000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_INSTRUCTION = struct.Struct("HBBI")

Instruction = tuple[int, int, int, int]
"""(code, steps when true, steps when false, operand): struct sock_filter."""


def program(machine: str, families: Sequence[int] = FAMILIES, *, streams_only: bool = False) -> list[Instruction]:
    """The filter for "x86_64" or "aarch64". PURE. Raises KeyError for another machine.

    families: of the sockets that can be made; pairs of local ones always can. streams_only: no datagrams, no raw
    sockets. Each test either falls through or returns, so a step never has to be counted over more than one return.
    """
    calls = _CALLS[machine]
    refuse = (_RETURN, 0, 0, _ERROR | errno.EPERM)
    unknown = (_RETURN, 0, 0, _ERROR | errno.ENOSYS)
    filter_ = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, calls["arch"]),  # a 32-bit program numbers its calls otherwise
        refuse,
        (_LOAD, 0, 0, _NR),
    ]
    if machine == "x86_64":
        filter_ += [(_AT_LEAST, 0, 1, _X32), unknown]
    for columns in REFUSED.values():
        if (number := columns[calls["column"]]) >= 0:
            filter_ += [(_EQUAL, 0, 1, number), refuse]
    # Its flags lie in memory, where a filter cannot look. Without it the C library takes clone.
    filter_ += [(_EQUAL, 0, 1, calls["clone3"]), unknown]
    namespaces = 0x0200_0000 | sum(FLAGS.values())  # also CLONE_NEWCGROUP
    filter_ += [
        (_EQUAL, 0, 3, calls["clone"]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, namespaces),
        refuse,
        (_LOAD, 0, 0, _NR),
    ]
    for call, allowed in (("socket", families), ("socketpair", LOCAL)):
        filter_ += [(_EQUAL, 0, 2 + len(allowed), calls[call]), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
        filter_ += [(_EQUAL, len(allowed) - at, 0, int(family)) for at, family in enumerate(allowed)]
        filter_ += [refuse, (_LOAD, 0, 0, _NR)]
    if streams_only:
        filter_ += [
            (_EQUAL, 0, 4, calls["socket"]),
            (_LOAD, 0, 0, _SECOND_ARGUMENT),
            (_AND, 0, 0, _KIND_OF_SOCKET),
            (_EQUAL, 1, 0, int(socket.SOCK_STREAM)),
            refuse,
        ]
    return [*filter_, (_RETURN, 0, 0, _ALLOW)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


@functools.cache
def packed(families: tuple[int, ...] = FAMILIES, *, streams_only: bool = False) -> bytes:
    """This machine's filter as the kernel reads it. What forks asks for it before, so that the forks have it."""
    return b"".join(
        _INSTRUCTION.pack(*each) for each in program(platform.machine(), families, streams_only=streams_only)
    )


def install(families: Sequence[int] = FAMILIES, *, streams_only: bool = False) -> None:
    """For this process and all that it starts. Needs no_new_privs. Raises OSError."""
    data = packed(tuple(families), streams_only=streams_only)
    given = _Program(len(data) // _INSTRUCTION.size, data)
    zero = ctypes.c_ulong(0)
    done = libc().prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(given), zero, zero)
    check(done, "seccomp filter")
