"""Model data from the object store to a folder that instances can read: fetched, checked and unpacked.

    CACHE/SHA256/        what one archive held; SHA256 is the hash of the object's bytes. Never changed once it is there
    CACHE/.tmp-*/        being unpacked, or left by a crash

An archive is foreign input. Only regular files and folders below the root are unpacked; anything else names the member
and ends it. What it expands to is bounded by size, by ratio and by number.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import secrets
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from kedge.errors import ServiceError

if TYPE_CHECKING:
    from kedge.objects.files import Objects

BLOCK_BYTES = 1024 * 1024
GZIP_MAGIC = b"\x1f\x8b"
TEMPORARY = ".tmp-"
_EXTENDED = frozenset(
    (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
)


class ArtifactError(Exception):
    """The model data cannot be used; the message names the address and the problem."""


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


@dataclass(frozen=True)
class Artifact:
    sha256: str
    path: Path


DEFAULT_LIMITS = Limits()
NOTHING_SHA256 = hashlib.sha256(b"").hexdigest()
"""The name of the empty folder that a model without model data gets."""


def location(uri: str) -> tuple[str, str]:
    """(bucket, key) of an s3:// address. Raises ArtifactError."""
    # A key may hold "?" and "#", which a URL parser would cut off.
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not key:
        raise ArtifactError(f"Model data at {uri} cannot be fetched: its address has to be s3://BUCKET/KEY.")
    return bucket, key


def fetch(
    objects: Objects,
    uri: str,
    cache_dir: Path,
    *,
    account: str,
    limits: Limits = DEFAULT_LIMITS,
    timeout_s: float = 3600.0,
    monotonic_s: Callable[[], float] = time.monotonic,
    go_on: Callable[[], bool] = lambda: True,
    durable: bool = True,
) -> Artifact:
    """Unpack the tar.gz at `uri` into the cache; what is there already is used again. Blocks. Raises ArtifactError.

    account: whose model it is; the bucket has to be its own. go_on: asked again and again; False ends it.
    durable: what is in the cache survives a loss of power.
    """
    if not uri:
        return _nothing(cache_dir)
    bucket, key = location(uri)
    try:
        if objects.bucket(bucket).account != account:
            raise ArtifactError(f"Model data at {uri} cannot be fetched: the bucket belongs to another account.")
        if objects.head(bucket, key) is None:
            raise ArtifactError(f"Could not find model data at {uri}.")
        source = objects.open(bucket, key)
    except ServiceError as error:
        if error.status == 404:
            raise ArtifactError(f"Could not find model data at {uri}.") from error
        raise ArtifactError(f"Model data at {uri} cannot be fetched: {error.message}") from error
    with source:
        return _fetched(source, uri, cache_dir, limits, _Time(monotonic_s, timeout_s, go_on), durable)


def _fetched(source: BinaryIO, uri: str, cache_dir: Path, limits: Limits, time_left: _Time, durable: bool) -> Artifact:
    cache_dir.mkdir(parents=True, exist_ok=True)
    temporary = cache_dir / f"{TEMPORARY}{secrets.token_hex(8)}"
    temporary.mkdir(mode=0o755)
    try:
        read = _Read(source, time_left)
        written = _unpack(read, temporary, limits)
        if durable:
            _sync(written)
        return _keep(temporary, cache_dir / read.sha256(), durable)
    except _Refused as error:
        raise ArtifactError(f"Model data at {uri} cannot be used: {error}.") from error
    except OSError as error:
        raise ArtifactError(f"Model data at {uri} could not be unpacked: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def present(cache_dir: Path, sha256: str) -> bool:
    """Whether this artifact lies unpacked in the cache."""
    return bool(sha256) and (cache_dir / sha256).is_dir()


def collect(cache_dir: Path, in_use: Collection[str]) -> list[Path]:
    """Take what nobody uses out of the cache, at once; the returned folders are for `remove`, which takes longer.

    Nothing may be fetched into this cache meanwhile.
    """
    gone = []
    if not cache_dir.is_dir():
        return []
    for entry in sorted(cache_dir.iterdir()):
        if entry.name.startswith(TEMPORARY):
            gone.append(entry)
        elif entry.name not in in_use:
            aside = entry.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
            entry.rename(aside)
            gone.append(aside)
    return gone


def remove(folders: Collection[Path]) -> None:
    """Delete what `collect` set aside. What cannot be deleted now is found again by the next `collect`."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


class _Refused(Exception):
    """What is wrong with the archive, as the end of a sentence."""


class _Time:
    """How long the whole may take."""

    def __init__(self, monotonic_s: Callable[[], float], timeout_s: float, go_on: Callable[[], bool]) -> None:
        self._monotonic_s, self._timeout_s, self._go_on = monotonic_s, timeout_s, go_on
        self._end_s = monotonic_s() + timeout_s

    def check(self) -> None:
        if not self._go_on():
            raise _Refused("fetching it was stopped")
        if self._monotonic_s() > self._end_s:
            raise _Refused(f"it took longer than {self._timeout_s:.0f} s to fetch")


class _Read:
    """The object's bytes as they come: hashed, counted, and cut off when the time is over."""

    def __init__(self, source: BinaryIO, time_left: _Time) -> None:
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

    def __init__(self, read: _Read, limits: Limits) -> None:
        self._read, self._limits = read, limits
        self._file: Any = gzip.GzipFile(fileobj=read, mode="rb")  # type: ignore[call-overload]  # it needs only read
        self._count = 0

    def read(self, size: int) -> bytes:
        try:
            data: bytes = self._file.read(size)
        except gzip.BadGzipFile as error:
            what = "it is damaged" if self._read.is_gzip else "it is not a gzip archive (a model is a .tar.gz)"
            raise _Refused(f"{what}: {_small(error)}") from error
        except EOFError as error:
            raise _Refused("it is cut off before its end") from error
        except zlib.error as error:
            raise _Refused(f"it is damaged: {error}") from error
        self._count += len(data)
        limits = self._limits
        if self._count > limits.expanded_bytes:
            raise _Refused(f"it expands to more than {limits.expanded_bytes} bytes")
        if self._count > max(limits.ratio_from_bytes, limits.ratio * self._read.count):
            raise _Refused(f"it expands more than {limits.ratio} times, which no model does")
        return data


def _header_of(limits: Limits) -> type[tarfile.TarInfo]:
    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Header:
            header = super().frombuf(buf, encoding, errors)
            if header.size < 0:
                raise _Refused(f'its member "{header.name}" has a size of {header.size} bytes')
            if header.type in _EXTENDED and header.size > limits.header_bytes:
                raise _Refused(f"a member's header has {header.size} bytes; at most {limits.header_bytes} are read")
            return header

    return Header


def _unpack(read: _Read, folder: Path, limits: Limits) -> list[Path]:
    """Returns every file and folder that was made."""
    expanded = _Expanded(read, limits)
    folders: set[Path] = {folder}
    files: set[Path] = set()
    try:
        with tarfile.open(fileobj=expanded, mode="r|", bufsize=BLOCK_BYTES, tarinfo=_header_of(limits)) as archive:  # type: ignore[call-overload]
            for number, member in enumerate(archive, 1):
                if number > limits.members:
                    raise _Refused(f"it holds more than {limits.members} members")
                if (file := _unpack_member(archive, member, folder, folders)) is not None:
                    files.add(file)
                archive.members.clear()  # or memory grows with the archive
    except (tarfile.TarError, ValueError, LookupError, OverflowError) as error:
        # The last three are how tarfile takes some of the numbers that a header can hold.
        raise _Refused(f"there is no readable tar archive in it: {error}") from error
    # The rest holds padding and gzip's own check sum, and belongs to the hash.
    while expanded.read(BLOCK_BYTES):
        pass
    while read.read(BLOCK_BYTES):
        pass
    return [*files, *folders]


def _unpack_member(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, made: set[Path]) -> Path | None:
    """The file that it became, or None for a folder. `made`: the folders so far."""
    path = _inside(folder, member.name)
    if member.isdir():
        _make(path, folder, made, member.name)
        return None
    if not member.isreg() or member.issparse():
        raise _Refused(f'its member "{member.name}" is {_kind(member)}; only files and folders are taken')
    if path == folder or path in made:
        raise _Refused(f'its member "{member.name}" is a file where a folder is')
    _make(path.parent, folder, made, member.name)
    source = archive.extractfile(member)
    assert source is not None
    mode = 0o755 if member.mode & 0o100 else 0o644
    # No link is ever made below `folder`, so a name cannot lead out of it; of two members of one name the last wins.
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode), "wb") as file:
        shutil.copyfileobj(source, file, BLOCK_BYTES)
    return path


def _inside(folder: Path, name: str) -> Path:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\0" in name:
        raise _Refused(f'its member "{name}" would lie outside the archive')
    return folder.joinpath(*pure.parts)


def _make(path: Path, folder: Path, made: set[Path], name: str) -> None:
    for step in (*reversed(path.relative_to(folder).parents), path.relative_to(folder)):
        part = folder / step
        if part not in made:
            try:
                part.mkdir(mode=0o755)
            except FileExistsError:
                raise _Refused(f'its member "{name}" needs a folder where a file is') from None
            made.add(part)


def _kind(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return f'a link to "{member.linkname}"'
    if member.isdev():
        return "a device or pipe"
    return "a sparse file" if member.issparse() else "of an unknown type"


def _keep(temporary: Path, final: Path, durable: bool) -> Artifact:
    try:
        os.rename(temporary, final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if durable:
        _sync([final.parent])
    return Artifact(final.name, final)


def _nothing(cache_dir: Path) -> Artifact:
    final = cache_dir / NOTHING_SHA256
    final.mkdir(mode=0o755, parents=True, exist_ok=True)
    return Artifact(NOTHING_SHA256, final)


def _sync(paths: Collection[Path]) -> None:
    for path in paths:
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _small(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
