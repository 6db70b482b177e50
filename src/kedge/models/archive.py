"""Reading a model.tar.gz: checked while it is unpacked. An archive is foreign input.

Only regular files and folders below the root are unpacked; anything else names the member and ends it. What it expands
to is bounded by size, by ratio and by number.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

BLOCK_BYTES = 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
MAX_NAME_CHARS = 1024
MAX_DEPTH = 100
"""Folders within one another: a path of any depth could be made, and then not be removed again."""
_EXTENDED = frozenset(
    (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
)


@dataclass(frozen=True)
class Limits:
    """How large an archive may become."""

    expanded_bytes: int = 20 * 1024**3
    members: int = 100_000
    ratio: int = 100
    """Expanded to compressed size; counts from `ratio_from_bytes` on, since a small file of zeros packs far better."""
    ratio_from_bytes: int = 1024**3
    header_bytes: int = 1024**2
    """Of one member: tarfile reads a long name and the like into memory whole."""


DEFAULT_LIMITS = Limits()


class Refused(Exception):
    """What is wrong with the model data, as the end of a sentence."""


class TimeLeft:
    """How long the whole may take."""

    def __init__(self, monotonic_s: Callable[[], float], timeout_s: float, go_on: Callable[[], bool]) -> None:
        self._monotonic_s, self._timeout_s, self._go_on = monotonic_s, timeout_s, go_on
        self._end_s = monotonic_s() + timeout_s

    def check(self) -> None:
        if not self._go_on():
            raise Refused("fetching it was stopped")
        if self._monotonic_s() > self._end_s:
            raise Refused(f"it took longer than {self._timeout_s:.0f} s to fetch")


class Read:
    """The object's bytes as they come: hashed, counted, and cut off when the time is over."""

    def __init__(self, source: BinaryIO, time_left: TimeLeft) -> None:
        self._source, self._time_left = source, time_left
        self._hash = hashlib.sha256()
        self._first = b""
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        self._time_left.check()
        data = self._source.read(size if size >= 0 else BLOCK_BYTES)
        self._hash.update(data)
        self._first = (self._first + data[:2])[:2]
        self.count += len(data)
        return data

    @property
    def is_gzip(self) -> bool:
        return self._first == GZIP_MAGIC

    def sha256(self) -> str:
        return self._hash.hexdigest()


class _Expanded:
    """The archive's bytes after gzip, counted, so that a small object cannot fill the disk."""

    def __init__(self, read: Read, limits: Limits) -> None:
        self._read, self._limits = read, limits
        self._file: Any = gzip.GzipFile(fileobj=read, mode="rb")  # type: ignore[call-overload]  # it needs only read
        self._count = 0

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._file.read(size)
        except gzip.BadGzipFile as error:
            what = "it is damaged" if self._read.is_gzip else "it is not a gzip archive (a model is a .tar.gz)"
            raise Refused(f"{what}: {_small(error)}") from error
        except EOFError as error:
            raise Refused("it is cut off before its end") from error
        except zlib.error as error:
            raise Refused(f"it is damaged: {error}") from error
        self._count += len(data)
        limits = self._limits
        if self._count > limits.expanded_bytes:
            raise Refused(f"it expands to more than {limits.expanded_bytes} bytes")
        if self._count > max(limits.ratio_from_bytes, limits.ratio * self._read.count):
            raise Refused(f"it expands more than {limits.ratio} times, which no model does")
        return data


def _header_of(limits: Limits) -> type[tarfile.TarInfo]:
    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
            header = super().frombuf(buf, encoding, errors)
            if header.size < 0:
                raise Refused(f'"{header.name}" in it has a size of {header.size} bytes')
            if header.type in _EXTENDED and header.size > limits.header_bytes:
                raise Refused(f"a member's header has {header.size} bytes; at most {limits.header_bytes} are read")
            return header

    return Header


class Tree:
    """A folder that is being filled from names that others chose. No name leads out of it, and no link is ever made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: set[Path] = {root}
        self._files: set[Path] = set()

    @property
    def paths(self) -> list[Path]:
        """Every file and folder that was made."""
        return [*self._files, *self._folders]

    def folder(self, name: str) -> None:
        self._make(self._inside(name), name)

    def file(self, name: str, mode: int = 0o644) -> BinaryIO:
        """Open for writing; of two files of one name the last wins. Raises Refused."""
        path = self._inside(name)
        if path in self._folders:
            raise Refused(f'"{name}" in it is a file where a folder is')
        self._make(path.parent, name)
        self._files.add(path)
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb")

    def _inside(self, name: str) -> Path:
        if len(name) > MAX_NAME_CHARS:
            shown = f'"{name[:40]}..." in it has a name of {len(name)} characters'
            raise Refused(f"{shown}; at most {MAX_NAME_CHARS} are taken")
        pure = PurePosixPath(name)
        if len(pure.parts) > MAX_DEPTH:
            depth = len(pure.parts) - 1
            raise Refused(f'"{name[:40]}..." in it lies {depth} folders deep; at most {MAX_DEPTH} are taken')
        if pure.is_absolute() or ".." in pure.parts or "\0" in name:
            raise Refused(f'"{name}" in it would lie outside of its folder')
        return self.root.joinpath(*pure.parts)

    def _make(self, path: Path, name: str) -> None:
        for step in (*reversed(path.relative_to(self.root).parents), path.relative_to(self.root)):
            part = self.root / step
            if part not in self._folders:
                try:
                    part.mkdir(mode=0o755)
                except FileExistsError:
                    raise Refused(f'"{name}" in it needs a folder where a file is') from None
                self._folders.add(part)


def unpack(read: Read, tree: Tree, limits: Limits) -> None:
    """Raises Refused, OSError."""
    expanded = _Expanded(read, limits)
    try:
        with tarfile.open(fileobj=expanded, mode="r|", bufsize=BLOCK_BYTES, tarinfo=_header_of(limits)) as archive:  # type: ignore[call-overload]
            for number, member in enumerate(archive, 1):
                if number > limits.members:
                    raise Refused(f"it holds more than {limits.members} members")
                _unpack_member(archive, member, tree)
                archive.members.clear()  # or memory grows with the archive
    except (tarfile.TarError, ValueError, LookupError, OverflowError) as error:
        # The last three are how tarfile takes some of the numbers that a header can hold.
        raise Refused(f"there is no readable tar archive in it: {error}") from error
    # The rest holds padding and gzip's own check sum, and belongs to the hash.
    while expanded.read(BLOCK_BYTES):
        pass
    while read.read(BLOCK_BYTES):
        pass


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree) -> None:
    if member.isdir():
        tree.folder(member.name)
        return
    if not member.isreg() or member.issparse():
        raise Refused(f'"{member.name}" in it is {_kind(member)}; only files and folders are taken')
    source = archive.extractfile(member)
    assert source is not None
    with tree.file(member.name, 0o755 if member.mode & 0o100 else 0o644) as file:
        shutil.copyfileobj(source, file, BLOCK_BYTES)


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f'a link to "{member.linkname[:MAX_NAME_CHARS]}"'
    if member.isdev():
        return "a device or pipe"
    return "a sparse file" if member.issparse() else "of an unknown type"


def _small(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
