"""The output of a task: a file that many may append to, of bounded size on disk."""

from __future__ import annotations

import os
from pathlib import Path

from kedge.compute import linux

LIMIT_BYTES = 64 * 1024 * 1024
KEPT_BYTES = 16 * 1024 * 1024
"""What stays when the limit is passed: the newest part."""
_TAIL_BYTES = 64 * 1024
_BLOCK_BYTES = 4096


def open_for_append(path: Path) -> int:
    """A descriptor for a child's stdout and stderr. O_APPEND: writers of any age never overwrite one another."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def tail(path: Path, lines: int, limit_bytes: int = _TAIL_BYTES) -> str:
    """The last lines, oldest first, at most limit_bytes of them; empty when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit_bytes))
            data = file.read(limit_bytes)
    except FileNotFoundError:
        return ""
    text = data.lstrip(b"\0").decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""


def bound(path: Path, limit_bytes: int = LIMIT_BYTES, kept_bytes: int = KEPT_BYTES) -> None:
    """Give old output back to the disk once more than limit_bytes are used; who reads by offset is not disturbed.

    Where the file system has no holes all output goes: writers append, so they go on at the new end.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        found = os.fstat(descriptor)
        if found.st_blocks * 512 <= limit_bytes:
            return
        old = (found.st_size - kept_bytes) // _BLOCK_BYTES * _BLOCK_BYTES
        if not linux.punch_hole(descriptor, old):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
