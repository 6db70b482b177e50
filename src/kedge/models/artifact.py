"""Model data from the object store to one folder that an instance can read: fetched, checked and put together.

    CACHE/SHA256/        what one archive, object or prefix held, or several of them together; SHA256 is a hash of the
                         content. Never changed once it is there
    CACHE/.tmp-*/        being filled, or left by a crash

An archive's hash is that of the object's bytes. What is put together of several parts shares their files (hard links).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.errors import ServiceError
from kedge.home import sync
from kedge.models.archive import BLOCK_BYTES, DEFAULT_LIMITS, Limits, Read, Refused, TimeLeft, Tree, unpack
from kedge.models.records import CODE, Form, Source

if TYPE_CHECKING:
    from kedge.objects.files import Objects

TEMPORARY = ".tmp-"
MAX_NAME_BYTES = 255
"""Of one part of a key that becomes a file's path: what file systems take."""

_FULL = "the disk of the data directory is full; free space, then create the endpoint again"


class ArtifactError(Exception):
    """The model data cannot be used; the message names the address and the problem."""


class NotThere(ArtifactError):
    """There is no object at the address."""


@dataclass(frozen=True)
class Artifact:
    sha256: str
    path: Path


NOTHING_SHA256 = hashlib.sha256(b"").hexdigest()
"""The name of the empty folder that a model without model data gets."""


def location(uri: str) -> tuple[str, str]:
    """(bucket, key) of an s3:// address. Raises ArtifactError."""
    # A key may hold "?" and "#", which a URL parser would cut off.
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not key:
        raise ArtifactError(f"Model data at {uri} cannot be fetched: its address has to be s3://BUCKET/KEY.")
    return bucket, key


class Fetching:
    """Fills a cache from an object store, for models of one account."""

    def __init__(
        self,
        objects: Objects,
        cache_dir: Path,
        account: str,
        *,
        limits: Limits = DEFAULT_LIMITS,
        monotonic_s: Callable[[], float] = time.monotonic,
        go_on: Callable[[], bool] = lambda: True,
        durable: bool = True,
    ) -> None:
        """account: whose buckets may be read. go_on: asked again and again; False ends a fetch.

        durable: what is in the cache survives a loss of power.
        """
        self._objects, self._cache_dir, self._account = objects, cache_dir, account
        self._limits, self._monotonic_s, self._go_on, self._durable = limits, monotonic_s, go_on, durable

    def fetch(self, sources: Sequence[Source], timeout_s: float = 3600.0) -> Artifact:
        """One folder with all of `sources`; what is there already is used again. Blocks. Raises ArtifactError."""
        time_left = TimeLeft(self._monotonic_s, timeout_s, self._go_on)
        self._cache_dir.mkdir(parents=True, exist_ok=True)
        parts = [(source, self._part(source, time_left)) for source in sources]
        if not parts:
            nothing = self._cache_dir / NOTHING_SHA256
            nothing.mkdir(mode=0o755, exist_ok=True)
            return Artifact(NOTHING_SHA256, nothing)
        if len(parts) == 1 and not parts[0][0].folder:
            return parts[0][1]
        return self._together(parts)

    def etags(self, sources: Sequence[Source]) -> tuple[str, ...]:
        """What the objects at the sources are now, without reading them. Raises ArtifactError."""
        found = []
        for source in sources:
            with self._explained(source.uri):
                bucket, key = self._checked_location(source.uri)
                if source.form is Form.PREFIX:
                    keys = self._objects.list_keys(bucket, key)
                    infos = [self._objects.head(bucket, each) for each in keys]
                else:
                    infos = [self._objects.head(bucket, key)]
                if not infos or infos[0] is None:
                    raise _not_there(source.uri)
                found += [f"{each.key} {each.etag} {each.size}" for each in infos if each is not None]
        return tuple(found)

    def _part(self, source: Source, time_left: TimeLeft) -> Artifact:
        with self._explained(source.uri):
            bucket, key = self._checked_location(source.uri)
            if source.form is Form.PREFIX:
                return self._files(bucket, key, list(self._objects.list_keys(bucket, key)), source.uri, time_left)
            if self._objects.head(bucket, key) is None:
                raise _not_there(source.uri)
            if source.form is Form.OBJECT:
                prefix = key.rpartition("/")[0]
                return self._files(bucket, f"{prefix}/" if prefix else "", [key], source.uri, time_left)
            with self._objects.open(bucket, key) as opened, self._new_folder() as folder:
                read, tree = Read(opened, time_left), Tree(folder)
                unpack(read, tree, self._limits)
                return self._keep(tree.paths, folder, read.sha256())

    def _files(self, bucket: str, prefix: str, keys: Sequence[str], uri: str, time_left: TimeLeft) -> Artifact:
        """Each key without the prefix becomes a file's path."""
        if not keys:
            raise _not_there(uri)
        if len(keys) > self._limits.members:
            raise Refused(f"it holds more than {self._limits.members} objects")
        with self._new_folder() as folder:
            tree, hashes, count = Tree(folder), {}, 0
            for key in keys:
                name = key[len(prefix) :]
                with self._objects.open(bucket, key) as opened:
                    read = Read(opened, time_left)
                    if not name or name.endswith("/"):
                        _check_marker(name, read)
                        continue
                    if name in hashes or not _is_path(name):
                        raise Refused(f'"{name}" in it is no name that a file can have')
                    with tree.file(name) as file:
                        while block := read.read(BLOCK_BYTES):
                            count += len(block)
                            if count > self._limits.expanded_bytes:
                                raise Refused(f"it has more than {self._limits.expanded_bytes} bytes")
                            file.write(block)
                    hashes[name] = read.sha256()
            return self._keep(tree.paths, folder, _digest(["files", hashes]))

    def _together(self, parts: Sequence[tuple[Source, Artifact]]) -> Artifact:
        """Their files in one folder. A source for the folder "code" replaces the one that model data brings along."""
        digest = _digest(["together", [[source.folder, part.sha256] for source, part in parts]])
        if present(self._cache_dir, digest):
            return Artifact(digest, self._cache_dir / digest)
        folders = [source.folder for source, _ in parts if source.folder]
        with self._explained(parts[0][0].uri), self._new_folder() as folder:
            for source, part in parts:
                with self._explained(source.uri):
                    if not source.folder:
                        link_tree(part.path, folder, without=(CODE,) if CODE in folders else ())
                        continue
                    if folders.count(source.folder) > 1 or os.path.lexists(folder / source.folder):
                        raise Refused(f'it goes into the folder "{source.folder}", which something else has taken')
                    link_tree(part.path, folder / source.folder)
            made = [Path(where) for where, _, _ in os.walk(folder)]
            return self._keep(made, folder, digest)

    def _checked_location(self, uri: str) -> tuple[str, str]:
        bucket, key = location(uri)
        if self._objects.bucket(bucket).account != self._account:
            raise ArtifactError(f"Model data at {uri} cannot be fetched: the bucket belongs to another account.")
        return bucket, key

    @contextlib.contextmanager
    def _explained(self, uri: str) -> Iterator[None]:
        """Turns what can go wrong into an ArtifactError that names the address."""
        try:
            yield
        except ServiceError as error:
            if error.status == 404:
                raise _not_there(uri) from error
            raise ArtifactError(f"Model data at {uri} cannot be fetched: {error.message}") from error
        except Refused as error:
            raise ArtifactError(f"Model data at {uri} cannot be used: {error}.") from error
        except OSError as error:
            why = _FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or error
            raise ArtifactError(f"Model data at {uri} could not be unpacked: {why}.") from error

    @contextlib.contextmanager
    def _new_folder(self) -> Iterator[Path]:
        folder = self._cache_dir / f"{TEMPORARY}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _keep(self, written: Collection[Path], folder: Path, sha256: str) -> Artifact:
        if self._durable:
            for path in written:
                sync(path)
        final = self._cache_dir / sha256
        try:
            os.rename(folder, final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if self._durable:
            sync(self._cache_dir)
        return Artifact(sha256, final)


def link_tree(source: Path, target: Path, without: Collection[str] = ()) -> None:
    """The same files below another folder, made here if need be; copies where the file system has no more links.

    source: an artifact, which holds only files and folders. without: names in its root that are left out.
    """
    target.mkdir(mode=0o755, exist_ok=True)
    for where, folders, files in os.walk(source):
        below = os.path.relpath(where, source)
        if below == os.curdir:
            folders[:] = [each for each in folders if each not in without]
            files = [each for each in files if each not in without]
        for name in folders:
            (target / below / name).mkdir(mode=0o755)
        for name in files:
            _link(Path(where, name), target / below / name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        shutil.copy2(source, target)


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


def _not_there(uri: str) -> NotThere:
    return NotThere(f"Could not find model data at {uri}.")


def _check_marker(name: str, read: Read) -> None:
    """A key that ends with a slash is how consoles show a folder; it holds nothing."""
    if read.read(1):
        raise Refused(f'"{name}" in it ends with a slash and is not empty')


def _is_path(name: str) -> bool:
    parts = name.split("/")
    return all(part.strip() and part not in (".", "..") and len(part.encode()) <= MAX_NAME_BYTES for part in parts)


def _digest(content: Sequence[str | Mapping[str, str] | Sequence[Sequence[str]]]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
