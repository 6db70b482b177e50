"""One supervisor for each data directory: whoever holds the lock file, in which it says who it is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

from kedge.compute.process_id import ProcessId

_POLL_S = 0.02


class Held(Exception):
    """Somebody else holds it."""


def acquire(path: Path, wait_s: float = 0.0) -> int:
    """The descriptor that holds the lock until it is closed, which every kind of end does. Raises Held after wait_s.

    It is not inherited, so what the supervisor starts does not hold the lock.
    """
    end = time.monotonic() + wait_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(descriptor)
                raise Held from None
            time.sleep(_POLL_S)
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """False for the lock of a folder that its server removed while this process waited for it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def sign(descriptor: int) -> ProcessId:
    """Write into the held lock file who this process is."""
    me = ProcessId.of(os.getpid())
    data = json.dumps(asdict(me)).encode()
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))
    return me


def holder(path: Path) -> ProcessId | None:
    """The living supervisor of the directory; None when there is none."""
    try:
        found = ProcessId(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.alive() else None
