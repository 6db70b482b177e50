"""What an instance may do with files, and whom it may signal, by Landlock: a second line behind the mount namespace.

Where no mount namespace can be made it is the only one. The kernel's ABI decides how much is bounded; what it does not
know is left out. Source: Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import struct
from collections.abc import Iterable, Sequence

from kedge.compute.namespaces import check, known_machine, libc

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_RULE_PATH, _RULE_PORT = 1, 2

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 12
_REFER, TRUNCATE, IOCTL = 1 << 13, 1 << 14, 1 << 15

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = (
    READ | WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
) | (_REFER | TRUNCATE)
SOCKETS = READ_DIR | _MAKE_SOCK | _REMOVE_FILE
"""For the folder of the instance's own socket: nothing can be stored there."""
DEVICE = READ_FILE | WRITE_FILE | IOCTL | TRUNCATE
APPEND = READ_FILE | WRITE_FILE | TRUNCATE
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL
"""Rights that a file can have; the others are for folders only."""
_CONNECT_TCP = 2
_SCOPE_ABSTRACT, _SCOPE_SIGNAL = 1, 2


@functools.cache
def abi() -> int:
    """Version of Landlock that the kernel offers; 0 for none."""
    if not known_machine():
        return 0
    number = libc().syscall(ctypes.c_long(_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION))
    return max(0, int(number))


def handled(version: int) -> int:
    """The rights over files that this version bounds. PURE."""
    rights = WRITE | _MAKE_CHAR | _MAKE_BLOCK
    if version < 5:
        rights &= ~IOCTL
    else:
        rights |= IOCTL
    if version < 3:
        rights &= ~TRUNCATE
    if version < 2:
        rights &= ~_REFER
    return rights


def restrict(
    rules: Iterable[tuple[str | int, int]], *, connect_to: Sequence[int] | None = None, version: int | None = None
) -> None:
    """Bound this process and all that it starts to what the rules allow. Needs no_new_privs. Raises OSError.

    rules: (path or open descriptor, rights); a path that is not there is passed over. connect_to: the TCP ports that it
    may connect to, from ABI 4 on; None does not bound them. version: as if the kernel offered no more than this.
    """
    known = abi() if version is None else min(version, abi())
    files = handled(known)
    ports = _CONNECT_TCP if connect_to is not None and known >= 4 else 0
    scopes = _SCOPE_ABSTRACT | _SCOPE_SIGNAL if known >= 6 else 0
    attributes = struct.pack("QQQ", files, ports, scopes)[: 24 if known >= 6 else 16 if known >= 4 else 8]
    ruleset = libc().syscall(
        ctypes.c_long(_CREATE), ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    check(ruleset, "landlock_create_ruleset")
    try:
        for place, rights in rules:
            if rights & files:
                _allow(ruleset, place, rights & files)
        for port in connect_to or () if ports else ():
            _add(ruleset, _RULE_PORT, struct.pack("QQ", ports, port))
        check(libc().syscall(ctypes.c_long(_RESTRICT), ctypes.c_long(ruleset), ctypes.c_uint32(0)), "landlock")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, place: str | int, rights: int) -> None:
    if isinstance(place, int):
        _add(ruleset, _RULE_PATH, struct.pack("=Qi", rights, place))
        return
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            if not os.path.isdir(place):
                rights &= _OF_FILES
            _add(ruleset, _RULE_PATH, struct.pack("=Qi", rights, descriptor))
        finally:
            os.close(descriptor)


def _add(ruleset: int, kind: int, rule: bytes) -> None:
    done = libc().syscall(
        ctypes.c_long(_ADD), ctypes.c_long(ruleset), ctypes.c_long(kind), ctypes.c_char_p(rule), ctypes.c_uint32(0)
    )
    check(done, "landlock_add_rule")
