"""Reading a folder that foreign code writes: no link is followed, and nothing but regular files is read.

Whatever the job does meanwhile, what is opened lies below the folder.
"""

from __future__ import annotations

import os
import stat
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LEVEL = 6
"""Of gzip: the highest takes three times as long for little."""


@dataclass(frozen=True)
class Found:
    name: str
    """Its path below the folder."""
    size: int
    modified_ns: int


def files(root: Path, below: str = "") -> list[Found]:
    """The regular files in the folder `below`, by name; none where there is no such folder."""
    try:
        top = _folder(root, below)
    except OSError:  # none, or a link
        return []
    found = []
    try:
        for where, _, names, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            for name in names:
                try:
                    about = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:  # it has just gone
                    continue
                if stat.S_ISREG(about.st_mode):
                    found.append(Found(os.path.normpath(os.path.join(where, name)), about.st_size, about.st_mtime_ns))
    finally:
        os.close(top)
    return sorted(found, key=lambda each: each.name)


def open_file(root: Path, name: str) -> BinaryIO:
    """Raises OSError, also for what is no regular file."""
    folder, _, last = name.rpartition("/")
    top = _folder(root, folder)
    try:
        descriptor = os.open(last, _FILE, dir_fd=top)
    finally:
        os.close(top)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{name} is no file")
    return open(descriptor, "rb")


def text(root: Path, name: str, most: int) -> str:
    """The beginning of a file, in characters; "" where there is none that can be read."""
    try:
        with open_file(root, name) as file:
            return file.read(4 * most).decode(errors="replace").strip()[:most]
    except OSError:
        return ""


def pack(root: Path, below: str, target: Path) -> None:
    """A tar.gz of the files in the folder. Raises OSError."""
    with tarfile.open(target, "w:gz", compresslevel=_LEVEL) as archive:
        for each in files(root, below):
            with open_file(root, f"{below}/{each.name}") as file:
                about = os.fstat(file.fileno())
                member = tarfile.TarInfo(each.name)
                member.size, member.mtime = about.st_size, int(about.st_mtime)
                member.mode = 0o755 if about.st_mode & 0o100 else 0o644
                archive.addfile(member, file)


def _folder(root: Path, below: str) -> int:
    """A descriptor of it. Raises OSError where a part of the way is a link, or no folder."""
    descriptor = os.open(root, _FOLDER)
    for part in [each for each in below.split("/") if each]:
        try:
            inner = os.open(part, _FOLDER, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor
