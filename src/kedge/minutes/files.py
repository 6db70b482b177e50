"""Sketches of minutes on the disk: sealed, appended to, and dropped when they are too old or too many.

    FOLDER/VARIANT/HOUR-UUID.open      u32 length | sealed block | ...
    FOLDER/VARIANT/HOUR-UUID           of a process that closed it
    FOLDER/VARIANT/HOUR-UUID.cut       of a process that was killed
    FOLDER/VARIANT/label               whose they are
    FOLDER/baselines/ENDPOINT          what the minutes of an endpoint are judged by (baselines.py)

VARIANT and ENDPOINT are digests of names, HOUR counts since 1970. Each block is a u32 minute and a sketch of it, or
nothing: then records of that minute have begun to come. So a minute that has begun and of which nothing follows was
lost by the kill of its process, and is named. Appends are not flushed to the disk one by one: they survive the end of
every process, and a loss of power takes the last ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kedge.home import write_whole
from kedge.kms import aead
from kedge.minutes.frames import VariantKey

OPEN, CUT, BASELINES, LABEL, LOCK = ".open", ".cut", "baselines", "label", "lock"
PURPOSE = "capture minutes"
"""Of the key that seals them."""
KEPT_H = 14 * 24
HOUR_MIN = 60
_LENGTH, _MINUTE = struct.Struct("<I"), struct.Struct("<I")
_MOST_BLOCK_BYTES = 64 << 20

log = logging.getLogger(__name__)


def folder_of(variant: VariantKey) -> str:
    """An endpoint's name has no case."""
    account, region, endpoint, name = variant
    return _digest(account, region, endpoint.lower(), name)


def baseline_of(account: str, region: str, endpoint: str) -> str:
    return _digest(account, region, endpoint.lower())


def _digest(*names: str) -> str:
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]


class Files:
    """The writing half, of one process at a time: the others wait until it has ended."""

    def __init__(self, folder: Path, secret: bytes, limit_bytes: int, *, wait: bool = True) -> None:
        """secret: 32 bytes. wait: while another process has the folder; else BlockingIOError. Raises OSError."""
        self._folder, self._secret, self._limit_bytes = folder, secret, limit_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        self._files: dict[tuple[str, int], tuple[Path, int]] = {}
        for path in folder.glob(f"*/*{OPEN}"):
            path.rename(path.with_suffix(CUT))

    def begin(self, variant: VariantKey, minute: int) -> None:
        """Records of that minute have come. Raises OSError, as all that follow."""
        self._append(variant, minute, b"")

    def add(self, variant: VariantKey, minute: int, data: bytes) -> None:
        """A sketch of the minute, or of another part of it."""
        self._append(variant, minute, data)

    def tidy(self, hour: int) -> None:
        """hour: it is now, since 1970. Closes files of hours that are over, and drops what is too old or too much."""
        for (folder, of), (path, descriptor) in list(self._files.items()):
            if of < hour - 1:
                del self._files[folder, of]
                _close(path, descriptor)
        found = sorted((_hour_of(path), path.stat().st_size, path) for path in _all(self._folder))
        total = sum(size for _, size, _ in found)
        for of, size, path in found:
            if (of >= hour - KEPT_H and total <= self._limit_bytes) or path.suffix == OPEN:
                continue
            path.unlink(missing_ok=True)
            total -= size
            if not any(path.parent.glob("*-*")):
                (path.parent / LABEL).unlink(missing_ok=True)
                path.parent.rmdir()

    def forget(self) -> None:
        for path, descriptor in self._files.values():
            os.close(descriptor)
            path.unlink(missing_ok=True)
        self._files.clear()
        for path in _all(self._folder):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        for path, descriptor in self._files.values():
            _close(path, descriptor)
        self._files.clear()
        self.release()

    def release(self) -> None:
        """Another process may have the folder; what is open stays so, as after a kill."""
        os.close(self._lock)

    def _append(self, variant: VariantKey, minute: int, data: bytes) -> None:
        name, hour = folder_of(variant), minute // HOUR_MIN
        held = self._files.get((name, hour))
        if held is None:
            path = self._folder / name / f"{hour}-{uuid.uuid4()}{OPEN}"
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if not (path.parent / LABEL).exists():
                write_whole(path.parent / LABEL, aead.seal(self._secret, json.dumps(variant).encode(), name.encode()))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            held = self._files[name, hour] = path, descriptor
        block = aead.seal(self._secret, _MINUTE.pack(minute) + data, name.encode())
        view = memoryview(_LENGTH.pack(len(block)) + block)
        try:
            while view:
                view = view[os.write(held[1], view) :]
        except OSError:
            # What follows half a block could not be read: the next one begins another file.
            del self._files[name, hour]
            _close(*held)
            raise


class Found(NamedTuple):
    """sketches: of minutes, in order; several of one are its parts. lost: minutes that a kill took."""

    sketches: list[tuple[int, bytes]]
    lost: list[int]


def read(folder: Path, secret: bytes, variant: VariantKey, first: int, last: int) -> Found:
    """Minutes since 1970, both included."""
    sketches: list[tuple[int, bytes]] = []
    lost: set[int] = set()
    name = folder_of(variant)
    is_kept = _is_kept(folder)
    for path in sorted((folder / name).glob("*-*")):
        if not first // HOUR_MIN <= _hour_of(path) <= last // HOUR_MIN:
            continue
        begun, ended = set(), set()
        for minute, data in _blocks(path, secret, name.encode()):
            if first <= minute <= last:
                begun.add(minute)
                if data:
                    ended.add(minute)
                    sketches.append((minute, data))
        if path.suffix == CUT or (path.suffix == OPEN and not is_kept):
            lost |= begun - ended
    return Found(sorted(sketches, key=lambda each: each[0]), sorted(lost))


def variants(folder: Path, secret: bytes, account: str, region: str, endpoint: str) -> list[VariantKey]:
    """Of which there are minutes; the endpoint's name has no case."""
    found = []
    for path in sorted(folder.glob(f"*/{LABEL}")):
        try:
            held = json.loads(aead.unseal(secret, path.read_bytes(), path.parent.name.encode()))
        except (aead.NotOpened, FileNotFoundError):
            continue
        variant = VariantKey(*held)
        if (variant.account, variant.region, variant.endpoint.lower()) == (account, region, endpoint.lower()):
            found.append(variant)
    return found


def seal_baseline(folder: Path, secret: bytes, name: str, data: bytes) -> None:
    """It appears whole. Raises OSError."""
    (folder / BASELINES).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(folder / BASELINES / name, aead.seal(secret, data, name.encode()))


def read_baseline(folder: Path, secret: bytes, name: str) -> bytes | None:
    """None where there is none, or none that this server has sealed."""
    try:
        return aead.unseal(secret, (folder / BASELINES / name).read_bytes(), name.encode())
    except FileNotFoundError:
        return None
    except aead.NotOpened:
        log.error("baseline %s of the minutes cannot be opened", name)
        return None


def _blocks(path: Path, secret: bytes, bound: bytes) -> Iterator[tuple[int, bytes]]:
    """Up to the first that is not whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # it was closed, or dropped, just now
        closed = path.with_suffix("")
        data = closed.read_bytes() if path.suffix == OPEN and closed.exists() else b""
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        end = at + _LENGTH.size + length
        if length > _MOST_BLOCK_BYTES or end > len(data):
            return
        try:
            block = aead.unseal(secret, data[at + _LENGTH.size : end], bound)
        except aead.NotOpened:
            log.error("%s holds a block that cannot be opened; what follows is not read", path.name)
            return
        yield _MINUTE.unpack_from(block)[0], block[_MINUTE.size :]
        at = end


def _is_kept(folder: Path) -> bool:
    """Whether there is a process that keeps minutes: what is open then is no loss yet."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def _all(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*-*") if path.parent.name != BASELINES]


def _hour_of(path: Path) -> int:
    hour = path.name.partition("-")[0]
    return int(hour) if hour.isdecimal() else 0


def _close(path: Path, descriptor: int) -> None:
    os.close(descriptor)
    path.rename(path.with_suffix(""))
